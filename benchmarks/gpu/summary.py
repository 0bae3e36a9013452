"""What was found, as text: a table of the stages, and tables as docs/performance.md and docs/quality.md have them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.plan import Outcome, Outcomes, Stage
from benchmarks.gpu.stages import Work, of_group
from benchmarks.quality.rows import Key, finished
from benchmarks.quality.table import NAME, Asked, page
from benchmarks.speed import __main__ as speed
from benchmarks.speed.cpu_rows import cpu_rows
from benchmarks.speed.gpu_rows import MODERN, gpu_rows
from benchmarks.speed.table import Found, facts, paired, table
from distgan.utils.safe_io import parse_json, read_json

FASTER = {"compiled": 0.90, "graphs": 0.95}
"""Mode -> the mean share of eager's time up to which `auto` would use it; compiling itself takes a minute."""
SLOWEST = 1.03
"""No recipe may take more than this share of eager's time: the noise of a row."""
KEYS = {"compiled": "train.compile", "graphs": "train.graphs"}


def stage_table(stages: Sequence[Stage], known: Outcomes) -> str:
    """Markdown, every stage that was asked for."""
    lines = ["| stage | result | exit code | seconds | of at most | told |", "| --- | --- | --- | ---: | ---: | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(stage, known.get(stage.name)))} |" for stage in stages)])


def _cells(stage: Stage, outcome: Outcome | None) -> list[str]:
    if stage.lacks:
        return [stage.name, stage.lacks, "", "", "", ""]
    if outcome is None:
        return [stage.name, "not done yet", "", "", f"{stage.limit}", ""]
    code = "" if outcome.exit is None else f"{outcome.exit}"
    told = outcome.said.replace("|", "\\|") if stage.tells or not outcome.passed else ""
    return [stage.name, outcome.result, code, f"{outcome.seconds:.1f}", f"{outcome.limit}", told]


def measured(folder: Path) -> tuple[Found, dict[str, str]]:
    """What the stages of speed have left: what was measured, and why what failed did. Raises ConfigError for files of
    another machine."""
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for out in sorted(folder.glob("*.jsonl")):
        found |= speed.load(out)
        lines = [parse_json(line) for line in out.read_text().splitlines()[1:]]
        failed |= {line["row"]: line["failed"] for line in lines if "failed" in line}
    return found, {row: why for row, why in failed.items() if row not in found}


def speed_table(work: Work, stages: Sequence[Stage], command: str) -> str:
    """The rows of the stages, and those below them; empty if nothing was measured."""
    found, failed = measured(work.out / "speed")
    if not found:
        return ""
    patterns = [stage.command[stage.command.index("--rows") + 1] for stage in of_group(stages, "speed")]
    asked = [pattern for each in patterns for pattern in each.split(",")]
    rows = gpu_rows() if work.gpu else cpu_rows()
    names = {*found, *speed.matching(asked, [row.key for row in rows])}
    shown = [row for row in rows if row.key in names]
    return f"{table(shown, found, failed)}\n\n{facts(found, speed.machine(), command)}"


def ratios(found: Found, mode: str) -> dict[str, float]:
    """Recipe -> its step in that mode as a share of its eager step, the median over the rounds."""
    rows = {recipe: found.get(f"own_{recipe}_{mode}") for recipe in MODERN}
    return {
        recipe: statistics.median(paired(*([turn["seconds"] for turn in side] for side in row["sides"])))
        for recipe, row in rows.items()
        if row
    }


def verdict(found: Found, mode: str) -> str:
    """What `auto` is to be by these rows: on where every recipe was measured, the geometric mean of their shares of
    eager's time is at most FASTER, and none is above SLOWEST."""
    shares, key, enough = ratios(found, mode), KEYS[mode], FASTER[mode]
    if missing := [recipe for recipe in MODERN if recipe not in shares]:
        return f"`{key}=auto`: undecided, not measured: {', '.join(missing)}."
    mean = math.exp(statistics.fmean(map(math.log, shares.values())))
    worst = max(shares, key=shares.__getitem__)
    choice = "on" if mean <= enough and shares[worst] <= SLOWEST else "off"
    return (
        f"`{key}=auto`: {choice}; {mean:.3f} of eager's time in the geometric mean of {len(shares)} recipes "
        f"(on: at most {enough:.2f}), {worst} {shares[worst]:.3f} (on: none above {SLOWEST:.2f})."
    )


def quality_table(work: Work, stages: Sequence[Stage], known: Outcomes, command: str) -> str:
    """The rows that are there, as benchmarks/quality makes the table; empty if there is none."""
    out, seconds = work.out / "quality", work.seconds
    rows = finished(out)
    if not rows:
        return ""
    ended = {stage.name.partition("-")[2]: known.get(stage.name) for stage in of_group(stages, "quality")}
    failed = {Key(name, seconds, 0): end.exit for name, end in ended.items() if end and end.exit}
    return page(rows, failed, Asked(list(ended), [seconds], ()), read_json(out / "settings.json", 1 << 16), command)


def grids(out: Path) -> list[str]:
    return [str(path.relative_to(out)) for path in sorted(out.glob("quality/*/grid.png"))]


def machine_line(machine: Mapping[str, Any], known: Outcomes, command: str) -> str:
    dates = sorted({outcome.date for outcome in known.values()}) or [speed.today()]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "accelerate", "distgan", "python"))
    day = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    made_on = f"{machine['hardware']}; driver {machine['driver']}; {versions}"
    return f"`{command}`; {made_on}; {day}, n = 1; rows of speed have an n of their own."


def markdown(work: Work, stages: Sequence[Stage], known: Outcomes, machine: Mapping[str, Any], command: str) -> str:
    """results.md."""
    title = "A rehearsal: no figures for a document" if work.small else "Found on this machine"
    parts = [f"# {title}", machine_line(machine, known, command), stage_table(stages, known)]
    if text := speed_table(work, stages, command):
        parts += [_heading(work, "docs/performance.md", speed.place(work.gpu)), text]
        if work.gpu:
            parts += [verdict(measured(work.out / "speed")[0], mode) for mode in KEYS]
    if text := quality_table(work, stages, known, command):
        parts += [_heading(work, "docs/quality.md", NAME), text, f"Grids: {', '.join(grids(work.out))}."]
    return "\n\n".join(parts) + "\n"


def _heading(work: Work, document: str, marks: str) -> str:
    return f"## {'As for' if work.small else 'For'} {document}, between its marks `{marks}`"


def to_json(known: Outcomes, machine: Mapping[str, Any], rounds: int) -> str:
    """results.json: what `known_from` reads. rounds: n of a row of speed."""
    stages = {name: outcome._asdict() for name, outcome in known.items()}
    return (
        json.dumps({"machine": dict(machine), "n": {"stage": 1, "row of speed": rounds}, "stages": stages}, indent=1)
        + "\n"
    )


def known_from(path: Path) -> dict[str, Outcome]:
    """The outcomes of earlier calls; none if there is no file."""
    if not path.is_file():
        return {}
    return {name: Outcome(**outcome) for name, outcome in read_json(path, 1 << 20)["stages"].items()}
