"""How fast distgan is, beside what it is measured by: one command makes the table of docs/performance.md.

python benchmarks/speed.py [--rows step_seed,loading_png,...] [--rounds 7] [--keras-python PYTHON]
    [--out results.jsonl] [--into docs/performance.md]

Each row has two sides, in processes of their own, which take turns: in every round one works while the other rests, so
the ratio holds on a noisy machine. The table has medians over the rounds, the spread (half the range that the middle
half of the rounds lies in), the ratio's median and range, and the share of this machine's peak: that of a large matrix
product or convolution, whichever is faster, in the same precision. Every finished row is added to --out at once; a call
with the same file does not measure it again. With a GPU, the rows are those of gpu_rows in benchmarks/rows.py.

--keras-python: an environment that has Keras 3 and one of its backends; none of distgan's packages is needed there.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch
from contest import Contender, Failed, Turn
from document import filled
from rows import Row, cpu_rows, gpu_rows

from distgan.errors import DistganError
from distgan.progress import track
from distgan.run_dir import write_text

NAME = "speed"  # of the table's place in a document
PRECISIONS = {"no": "fp32"}


def parse(arguments: Sequence[str], known: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(known), type=lambda text: text.split(","), help="default: all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keras-python", default=sys.executable)
    parser.add_argument("--out", type=Path, default=Path("speed.jsonl"))
    parser.add_argument("--into", type=Path, help="document whose table is replaced")
    args = parser.parse_args(arguments)
    if unknown := [row for row in args.rows if row not in known]:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(known)}")
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: at least 1")
    return args


def measure(row: Row, rounds: int, log: Path) -> dict[str, Any]:
    """The row's turns: {"sides": [[...], [...]]}, or why there are none: {"failed": sentence}."""
    sides = [row.ours, *([row.other] if row.other else [])]
    turns: list[list[Turn]] = [[] for _ in sides]
    try:
        with ExitStack() as stack:
            contenders = []
            for number, side in enumerate(sides):
                contender = stack.enter_context(closing(Contender(side, log.with_suffix(f".{number}"))))
                contender.ready()
                contenders.append(contender)
            for number in track(range(rounds), rounds, row.key, "rounds"):
                order = range(len(sides))
                for place in order if number % 2 == 0 else reversed(order):
                    turns[place].append(contenders[place].turn())
    except Failed as error:
        return {"row": row.key, "failed": str(error)}
    return {"row": row.key, "sides": [[turn._asdict() for turn in side] for side in turns], "date": today()}


def today() -> str:
    return str(datetime.date.today())


def machine() -> dict[str, str]:
    """What the figures depend on."""
    cores, name = len(os.sched_getaffinity(0)), platform.processor() or platform.machine()
    if (cpus := Path("/proc/cpuinfo")).exists():
        name = next((line.split(":")[1].strip() for line in cpus.open() if line.startswith("model name")), name)
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return {
        "hardware": f"{gpu}{cores} cores of {name}",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def load(out: Path) -> dict[str, dict[str, Any]]:
    """Row -> what was measured, failures left out: they are tried again. Exits if it is of another machine."""
    if not out.exists():
        out.write_text(json.dumps(machine()) + "\n")
    first, *lines = (json.loads(line) for line in out.read_text().splitlines())
    if first != machine():
        sys.exit(f"{out} was measured on {first}, this is {machine()}; choose another --out")
    return {line["row"]: line for line in lines if "sides" in line}


def peaks(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """FLOP/s by precision: the best of the rows `peak_...`."""
    best: dict[str, float] = {}
    for row in (row for row in found if row.startswith("peak_")):
        for name, side in zip(("bf16", "no"), found[row]["sides"], strict=True):
            rate = statistics.median(turn["facts"]["flops"] / turn["seconds"] for turn in side)
            best[name] = max(rate, best.get(name, 0.0))
    return best


def table(rows: Iterable[Row], found: Mapping[str, Mapping[str, Any]], failed: Mapping[str, str]) -> str:
    """Markdown. A row that could not be measured says why."""
    lines = [
        "| what | measured | beside | ratio (range) | target | share of peak | peak memory |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if row.key in found:
            cells = [row.what, *_cells(row, found[row.key]["sides"], peaks(found))]
        else:
            cells = [row.what, f"not measured{': ' + failed[row.key] if row.key in failed else ''}", "", "", row.goal]
            cells += ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(row: Row, sides: Sequence[Sequence[Mapping[str, Any]]], peak: Mapping[str, float]) -> list[str]:
    ours = [turn["seconds"] for turn in sides[0]]
    beside, ratio, ratios = "", "", [float("nan")]
    if row.other:
        theirs = [turn["seconds"] for turn in sides[1]]
        ratios = [mine / its for mine, its in zip(ours, theirs, strict=True)]
        beside = f"{_speed(row, theirs)}: {row.other.label}"
        ratio = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    memory = [turn["memory"] for turn in sides[0]]
    value = row.value(statistics.median(ours), statistics.median(ratios), memory[-1] - memory[0])
    verdict = "" if row.target is None else ("met" if row.met(value) else "**missed**")
    shown = f", {row.shown(value)}" if row.measure in ("share", "growth") else ""
    return [
        f"{_speed(row, ours)}{shown}",
        beside,
        ratio,
        f"{row.goal}: {verdict}" if row.target is not None else "",
        _share(row, sides, peak),
        f"{max(memory):.2f} GiB",
    ]


def _share(row: Row, sides: Sequence[Sequence[Mapping[str, Any]]], peak: Mapping[str, float]) -> str:
    """Of ours; both sides do the same number of FLOPs, and a compiled one cannot count them."""
    flops = next((side[0]["facts"]["flops"] for side in sides if side[0]["facts"]), None)
    precision = row.precision
    if flops is None or precision not in peak:
        return ""
    share = flops / statistics.median(turn["seconds"] for turn in sides[0]) / peak[precision]
    return f"{share:.0%} of {PRECISIONS.get(precision, precision)}, {flops / 1e9:,.1f} GFLOP"


def _speed(row: Row, seconds: Sequence[float]) -> str:
    middle = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else (middle,) * 3
    spread = f"± {(high - low) / 2 / middle:.1%}"
    if row.unit in ("picture", "call"):
        return f"{1 / middle:,.0f} {row.unit}s/s {spread}"
    return f"{1000 * middle:,.1f} ms/{row.unit} {spread}" if middle < 1 else f"{middle:,.2f} s/{row.unit} {spread}"


def facts(found: Mapping[str, Mapping[str, Any]], command: str) -> str:
    dates = sorted({line["date"] for line in found.values()})
    rounds = sorted({len(line["sides"][0]) for line in found.values()})
    about = machine()
    peak = ", ".join(f"{PRECISIONS.get(name, name)} {rate / 1e12:.2f} TFLOP/s" for name, rate in peaks(found).items())
    return (
        f"`{command}`; {about['hardware']}; torch {about['torch']}, Python {about['python']}; "
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}; n = {' to '.join(map(str, rounds))} rounds"
        f"{f'; peak: {peak}' if peak else ''}."
    )


def main() -> int:
    """Returns 1 if a row could not be measured, else 0."""
    rows = gpu_rows() if torch.cuda.is_available() else cpu_rows()
    args = parse(sys.argv[1:], [row.key for row in rows])
    if args.into:
        filled(args.into, NAME, "")  # a document without marks is better known before
    command = shlex.join(["python", "benchmarks/speed.py", *sys.argv[1:]])
    found, failed, text = load(args.out), dict[str, str](), ""
    with tempfile.TemporaryDirectory() as scratch:
        for row in (row.with_python(args.keras_python) for row in rows):
            if row.key in args.rows and row.key not in found:
                line = measure(row, args.rounds, Path(scratch) / row.key)
                with args.out.open("a") as out:
                    out.write(json.dumps(line) + "\n")
                if "failed" in line:
                    failed[row.key] = line["failed"]
                    print(f"{row.key}: {line['failed']}", file=sys.stderr, flush=True)
                else:
                    found[row.key] = line
    if found:
        text = f"{table(rows, found, failed)}\n\n{facts(found, command)}"
        print(text)
        if args.into:
            write_text(args.into, filled(args.into, NAME, text))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DistganError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on")
