"""What distgan's step does beside the bare loop's, operation by operation: counted, not timed, so other users of the
machine change nothing. Where a row of benchmarks/speed misses its target, this says whether the program did.

python -m benchmarks.speed.operations [--rows 'step_*_no_*'] [--into docs/performance.md]

Rows are those of benchmarks/speed that have a bare loop. Views move nothing and are left out. Bytes are those of the
tensors that an operation reads and writes; of a gather, those of what it takes.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import importlib
import multiprocessing
import os
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.common.markdown import filled
from benchmarks.speed.baselines.dataset import shapes
from benchmarks.speed.cpu_rows import cpu_rows
from benchmarks.speed.interleave import BASELINES, Side
from benchmarks.speed.rows import Row
from distgan.training.run_dir import write_text
from distgan.utils.errors import ConfigError

MAX = 3  # operations that are named
HEADER = (
    "| what | FLOPs | operations, beside the bare loop's | moved, beside the bare loop's | most of what is more |\n"
    "| --- | --- | --- | --- | --- |"
)


class Work(NamedTuple):
    """Of one step."""

    flops: float
    calls: Mapping[str, float]
    """By operation; in place or not is the same one."""
    moved: Mapping[str, float]
    """Bytes read and written, by operation."""


class Moves(TorchDispatchMode):
    """A context: how often each operation is called, and the bytes that it reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.moved = Counter[str](), Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given, made = _tensors((args, kwargs)), _tensors(out) or _written(func, args)
        if func._schema.is_mutable or not _places(given) & _places(made):
            name = func._overloadpacket.__name__.removesuffix("_")
            read = made if name.startswith("index") else given
            self.calls[name] += 1
            self.moved[name] += sum(tensor.numel() * tensor.element_size() for tensor in [*read, *made])
        return out


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _written(func: Any, args: Sequence[Any]) -> list[Tensor]:
    """Arguments that are changed in place: all that an operation such as `_foreach_add_` leaves."""
    places = (place.alias_info is not None and place.alias_info.is_write for place in func._schema.arguments)
    return _tensors([argument for argument, changed in zip(args, places, strict=False) if changed])


def _places(tensors: Sequence[Tensor]) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


class _Done(Exception):
    """Enough was counted."""


class _Lap:
    """As a contender's (interleave.py): the first turn warms up, the second is counted, there is no third."""

    def __init__(self) -> None:
        self.moves, self.flops, self.units = Moves(), 0.0, 0

    def __call__(self, units: int, facts: Mapping[str, float] | None = None) -> None:
        if self.units:
            self.moves.__exit__(None, None, None)
            raise _Done
        self.flops, self.units = (facts or {})["flops"], units
        self.moves.__enter__()


def work(side: Side) -> Work:
    """In a process and a directory of its own: a training changes settings of its process and leaves files."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, spawn, os.chdir, (scratch,)) as pool:
            return pool.submit(_work, side).result()


def _work(side: Side) -> Work:
    module, _, name = side.name.rpartition(".")
    lap = _Lap()
    with contextlib.suppress(_Done):
        getattr(importlib.import_module(f"{BASELINES}.{module}"), name)(lap, **side.arguments)
    calls, moved = (
        {name: count / lap.units for name, count in counter.items()} for counter in (lap.moves.calls, lap.moves.moved)
    )
    return Work(lap.flops, calls, moved)


def line(row: Row, ours: Work, bare: Work) -> str:
    """Markdown."""
    cells = (
        f"{ours.flops / 1e9:,.1f} GFLOP" + ("" if ours.flops == bare.flops else f", {bare.flops / 1e9:,.1f} GFLOP"),
        _beside(sum(ours.calls.values()), sum(bare.calls.values())),
        _beside(sum(ours.moved.values()) / 1e6, sum(bare.moved.values()) / 1e6, " MB"),
        _most(ours, bare),
    )
    return f"| {' | '.join((row.what, *cells))} |"


def _beside(ours: float, bare: float, unit: str = "") -> str:
    return f"{ours:,.0f}{unit}, {bare:,.0f}{unit}: {ours / bare - 1:+.1%}"


def _most(ours: Work, bare: Work) -> str:
    more = Counter({name: moved - bare.moved.get(name, 0.0) for name, moved in ours.moved.items()})
    return ", ".join(
        f"{name} {moved / 1e6:,.1f} MB in {ours.calls[name] - bare.calls.get(name, 0.0):+,.1f}"
        for name, moved in more.most_common(MAX)
        if moved > 0
    )


def lines(rows: Sequence[Row]) -> Iterator[str]:
    yield from HEADER.splitlines()
    for row in rows:
        assert row.other
        print(f"counting {row.key}", file=sys.stderr, flush=True)
        yield line(row, work(row.ours), work(row.other))


def parse(arguments: Sequence[str]) -> tuple[list[Row], Path | None]:
    """The rows to count, the document to write into."""
    known = {row.key: row for row in cpu_rows() if row.key.startswith("step_") and row.other}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="step_*_no_*", metavar="PATTERN")
    parser.add_argument("--into", type=Path, help="document whose table is replaced")
    args = parser.parse_args(arguments)
    if not (chosen := fnmatch.filter(known, args.rows)):
        parser.error(f"no row {args.rows}; there are {', '.join(known)}")
    return [known[key] for key in chosen], args.into


def main() -> None:
    rows, into = parse(sys.argv[1:])
    if into:
        filled(into, "operations", "")  # a document without marks is better known before
    shapes("pictures")
    command = shlex.join(["python", "-m", "benchmarks.speed.operations", *sys.argv[1:]])
    text = "\n".join(lines(rows)) + f"\n\n`{command}`; torch {torch.__version__}."
    print(text)
    if into:
        write_text(into, filled(into, "operations", text))


if __name__ == "__main__":
    try:
        main()
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
