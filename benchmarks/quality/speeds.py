"""Images per second of each recipe: the candidates train in turns, one at a time, before there is any row."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

from benchmarks.quality.options import MAX_BYTES, check_same
from benchmarks.quality.rows import UNLIMITED, emptied, train
from distgan.training.run_dir import write_text
from distgan.utils.errors import QualityError
from distgan.utils.safe_io import parse_json, read_json

TURNS = 3
SKIPPED = 0.25  # of a turn: the first steps choose algorithms and fill caches
STEPS = 4  # to a line of metrics; writing it takes time, too
RARE = 1_000_000_000  # steps: the turns draw no samples and write no checkpoints
FILE = "speed.json"
EVERY = 0.05  # seconds between two looks at a training's metrics
CLOCKS = {"wall": ("seconds", "images_per_second"), "cpu": ("cpu_seconds", "images_per_cpu_second")}
"""Clock -> what a line of metrics has of it, what a turn has."""
Turn = Mapping[str, float]
Line = dict[str, float]
Turns = dict[str, list[Turn]]


def measured(args: Namespace, machine: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, int]]:
    """Median images per second of each recipe, and the exit codes of those that failed. Turns that OUT/speed.json has
    are not taken again. Raises QualityError if they were taken under other conditions, or are too short.
    """
    path = args.out / FILE
    conditions = {**machine, "turn_seconds": args.turn_seconds}
    known = read_json(path, MAX_BYTES) if path.is_file() else {**conditions, "recipes": {}}
    turns: Turns = known.pop("recipes")
    check_same(path, known, conditions)
    failed: dict[str, int] = {}
    for number in range(TURNS):
        for recipe in args.recipes[:: -1 if number % 2 else 1]:
            if recipe in failed or len(turns.setdefault(recipe, [])) > number:
                continue
            taken = turn(recipe, args)
            if isinstance(taken, int):
                failed[recipe] = taken
                print(f"{recipe}: its turn failed (exit {taken}), as said above", file=sys.stderr, flush=True)
            else:
                turns[recipe].append(taken)
                write_text(path, json.dumps({**conditions, "recipes": turns}, indent=1) + "\n")
    return {recipe: median(turns[recipe], args.clock) for recipe in args.recipes if recipe not in failed}, failed


def turn(recipe: str, args: Namespace) -> Turn | int:
    """Images per second by both clocks, and the cores that other processes used meanwhile; the exit code of a training
    that failed.
    """
    partial = emptied(args.out / "speed.partial")
    only = [f"log.samples_every_steps={RARE}", f"checkpoint.every_steps={RARE}", f"log.every_steps={STEPS}"]
    end = [f"train.seconds={args.turn_seconds}", f"train.images={UNLIMITED}"]
    with others() as used, watched(partial / "metrics.jsonl") as lines:
        code = train(recipe, partial, args, [*only, *end])
    if code:
        return code
    emptied(partial)
    try:
        by_clock = {name: speed(lines, args.turn_seconds, column) for column, name in CLOCKS.values()}
    except ValueError:
        this = f"{recipe} makes fewer than {2 * STEPS} steps after the first quarter of {args.turn_seconds} s"
        raise QualityError(f"{this}; give longer turns by --turn-seconds") from None
    return {**by_clock, "cores_of_others": used[0]}


def speed(lines: Sequence[Line], seconds: float, column: str = "seconds") -> float:
    """Images per second between the lines of a turn. Raises ValueError if fewer than two follow its first quarter."""
    counted = [line for line in lines if line["seconds"] >= SKIPPED * seconds]
    if len(counted) < 2:
        raise ValueError(f"{len(counted)} lines")
    first, last = counted[0], counted[-1]
    return (last["images"] - first["images"]) / (last[column] - first[column])


@contextmanager
def watched(path: Path) -> Iterator[list[Line]]:
    """Collects the lines of a training's metrics as they come, each with the `cpu_seconds` that this process's children
    have worked until then.
    """
    lines: list[Line] = []
    over = Event()

    def look() -> None:
        seen = 0
        while not over.wait(EVERY):
            text = path.read_text() if path.is_file() else ""
            if (end := text.rfind("\n") + 1) > seen:
                seen = end
                lines.append({**parse_json(text[:end].splitlines()[-1]), "cpu_seconds": _of_running_children()})

    thread = Thread(target=look)
    thread.start()
    try:
        yield lines
    finally:
        over.set()
        thread.join()


@contextmanager
def others() -> Iterator[list[float]]:
    """Holds, at its end, the mean number of cores that were used by other processes than this one's children."""
    used: list[float] = []
    start, busy, own = time.perf_counter(), _busy(), _of_children()
    yield used
    rest = _busy() - busy - (_of_children() - own)
    used.append(round(max(rest, 0.0) / (time.perf_counter() - start), 2))


def _busy() -> float:
    """Seconds for which this machine's cores have worked."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0))


def _of_running_children() -> float:
    """Seconds for which child processes have worked that still run, and their own children."""
    worked = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            worked += times.user + times.system
    return worked


def _of_children() -> float:
    """Seconds for which ended child processes have worked."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def median(turns: Sequence[Turn], clock: str) -> float:
    return statistics.median(each[CLOCKS[clock][1]] for each in turns)


def told(out: Path, clock: str) -> str:
    """How the speeds of OUT/speed.json were measured; empty if there are none."""
    if not (out / FILE).is_file():
        return ""
    known = read_json(out / FILE, MAX_BYTES)
    most = max(each["cores_of_others"] for turns in known["recipes"].values() for each in turns)
    alone = "in so many seconds of its own CPU time" if clock == "cpu" else "training alone, in so many seconds"
    return (
        f"a row has trained as many images as its recipe sees {alone} ({FILE}: median of {TURNS} turns of "
        f"{known['turn_seconds']} s; other processes used up to {most:.2g} cores meanwhile)"
    )
