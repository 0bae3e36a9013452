"""The speed table: what was measured in, Markdown out.

found: by row, {"sides": [[turn, ...], ...], "date": day}; a turn has seconds and facts of one unit, and memory in GiB.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.speed.rows import FP32, Row
from distgan.utils.safe_io import printable

Found = Mapping[str, Mapping[str, Any]]
Turns = Sequence[Mapping[str, Any]]
HEADER = (
    "| what | measured | beside | ratio (range) | target | share of peak | peak memory | n |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def peaks(found: Found) -> dict[str, float]:
    """FLOP/s by precision: the best of the rows `peak_...`."""
    best: dict[str, float] = {}
    for row in (row for row in found if row.startswith("peak_")):
        for name, side in zip(("bf16", "no"), found[row]["sides"], strict=True):
            rate = statistics.median(turn["facts"]["flops"] / turn["seconds"] for turn in side)
            best[name] = max(rate, best.get(name, 0.0))
    return best


def table(rows: Iterable[Row], found: Found, failed: Mapping[str, str]) -> str:
    """Markdown. failed: by row, why it could not be measured."""
    peak = peaks(found)
    lines = [
        _line(row, _cells(row, found[row.key]["sides"], peak) if row.key in found else _blank(row, failed))
        for row in rows
    ]
    return "\n".join([HEADER, *lines])


def facts(found: Found, machine: Mapping[str, str], command: str) -> str:
    """What stands below the table."""
    dates = sorted({line["date"] for line in found.values()})
    peak = ", ".join(f"{FP32.get(name, name)} {rate / 1e12:.2f} TFLOP/s" for name, rate in peaks(found).items())
    return (
        f"`{command}`; {machine['hardware']}; torch {machine['torch']}, Python {machine['python']}; "
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}{f'; peak: {peak}' if peak else ''}."
    )


def paired(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ratios of two rounds each; where their number is odd, the last is of one.

    In one of the two ours goes first, in the other theirs (interleave.py): so what going first is worth falls out, and
    what a machine gains or loses from turn to turn.
    """
    pairs = [slice(begin, begin + 2) for begin in range(0, len(ours), 2)]
    return [sum(ours[pair]) / sum(theirs[pair]) for pair in pairs]


def _line(row: Row, cells: Sequence[str]) -> str:
    return f"| {' | '.join([row.what, *cells])} |"


def _blank(row: Row, failed: Mapping[str, str]) -> list[str]:
    why = f": {printable(failed[row.key])}".replace("|", "\\|") if row.key in failed else ""
    return [f"not measured{why}", "", "", row.goal, _least(row), "", ""]


def _cells(row: Row, sides: Sequence[Turns], peak: Mapping[str, float]) -> list[str]:
    ours, memory = ([turn[name] for turn in sides[0]] for name in ("seconds", "memory"))
    beside, ratio, ratios = "", "", [math.nan]
    if row.other:
        theirs = [turn["seconds"] for turn in sides[1]]
        ratios = paired(ours, theirs)
        beside = f"{_speed(row, theirs)}: {row.other.label}"
        ratio = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    growth = memory[-1] - memory[0] if len(memory) > 1 else math.nan
    value = row.value(statistics.median(ours), statistics.median(ratios), growth)
    return [
        f"{_speed(row, ours)}{_told(row, value, len(ours))}",
        beside,
        ratio,
        f"{row.goal}: {_verdict(row, value)}" if row.target is not None else "",
        _share(row, sides, peak),
        "" if row.unit == "launch" else f"{max(memory):.2f} GiB",  # a launch's is not its stopwatch's
        f"{len(ours)}",
    ]


def _told(row: Row, value: float, turns: int) -> str:
    """The value, where it is neither the speed nor the ratio."""
    if row.measure == "share":
        return f", {row.shown(value)}"
    if row.measure == "growth" and turns > 1:
        return f", {row.shown(value)} after {(turns - 1) * int(row.ours.options['steps']):,} {row.unit}s"
    return ""


def _verdict(row: Row, value: float) -> str:
    if math.isnan(value):
        return "needs two rounds"
    return "met" if row.met(value) else "**missed**"


def _share(row: Row, sides: Sequence[Turns], peak: Mapping[str, float]) -> str:
    """Of ours; both sides do the same number of FLOPs, and not every one of them can count."""
    flops = next((side[0]["facts"]["flops"] for side in sides if side[0]["facts"]), None)
    if flops is None or row.precision not in peak:
        return _least(row)
    share = flops / statistics.median(turn["seconds"] for turn in sides[0]) / peak[row.precision]
    told = f"{share:.0%} of {FP32.get(row.precision, row.precision)}, {flops / 1e9:,.1f} GFLOP"
    if row.share_of_peak is None:
        return told
    return f"{told}; {_least(row)}: {'met' if share >= row.share_of_peak else '**missed**'}"


def _least(row: Row) -> str:
    return "" if row.share_of_peak is None else f"at least {row.share_of_peak:.0%}"


def _speed(row: Row, seconds: Sequence[float]) -> str:
    middle = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else (middle,) * 3
    spread = f"± {(high - low) / 2 / middle:.1%}"
    if row.unit in ("image", "call"):
        return f"{1 / middle:,.0f} {row.unit}s/s {spread}"
    return f"{1000 * middle:,.1f} ms/{row.unit} {spread}" if middle < 1 else f"{middle:,.2f} s/{row.unit} {spread}"
