"""How fast distgan is, beside what it is measured by: one command makes the table of docs/performance.md.

python -m benchmarks.speed [--rows step_seed_frogs_no_20,loading_png,...] [--rounds 8] [--keras-python PYTHON]
    [--out results.jsonl] [--into docs/performance.md]

--rows takes names, or patterns such as 'feed_*'; the table has them and what else --out holds.

Most rows have two sides, in processes of their own, which take turns: in every round one works while the other rests,
and in every other round the other goes first, so the ratio holds on a noisy machine. The table has medians over the n
rounds, the spread (half the range that the middle half of the rounds lies in), the ratio of every two rounds, its
median and range, and the share of this machine's peak: that of a large matrix product or convolution, whichever is
faster, in the same precision. Every finished row is added to --out at once; a call with the same file does not measure
it again. With a GPU, the rows are those of benchmarks/speed/gpu_rows.py, and the table has a place of its own in the
document.

--keras-python: an environment that has Keras 3 and one of its backends; none of distgan's packages is needed there.
"""

from __future__ import annotations

import argparse
import datetime
import difflib
import fnmatch
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.arguments import whole
from benchmarks.common.command import spoken
from benchmarks.common.machine import processor
from benchmarks.common.markdown import filled
from benchmarks.speed.baselines.dataset import shapes
from benchmarks.speed.cpu_rows import cpu_rows
from benchmarks.speed.gpu_rows import gpu_rows
from benchmarks.speed.interleave import Contender, Failed, Turn
from benchmarks.speed.rows import Row
from benchmarks.speed.table import facts, table
from distgan.training.run_dir import write_text
from distgan.utils.errors import ConfigError, DistganError
from distgan.utils.progress import track


def place(gpu: bool) -> str:
    """Name of the table's place in a document: a GPU's table does not overwrite a CPU's."""
    return "speed-gpu" if gpu else "speed"


def parse(arguments: Sequence[str], known: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="*", metavar="NAMES", help="default: all")
    parser.add_argument("--rounds", type=whole, default=8)
    parser.add_argument("--keras-python", default=sys.executable)
    parser.add_argument("--out", type=Path, default=Path("speed.jsonl"))
    parser.add_argument("--into", type=Path, help="document whose table is replaced")
    args = parser.parse_args(arguments)
    patterns = args.rows.split(",")
    if unknown := [pattern for pattern in patterns if not fnmatch.filter(known, pattern)]:
        near = difflib.get_close_matches(unknown[0], known, n=3, cutoff=0.4) or known[:3]
        parser.error(f"no row {', '.join(unknown)}; nearest: {', '.join(near)}; all: {', '.join(known)}")
    args.rows = matching(patterns, known)
    return args


def matching(patterns: Sequence[str], known: Sequence[str]) -> list[str]:
    """The known rows that one of the patterns fits, in their order."""
    return [row for row in known if any(fnmatch.fnmatchcase(row, pattern) for pattern in patterns)]


def measure(row: Row, rounds: int, log: Path) -> dict[str, Any]:
    """The row's turns: {"sides": [[...], [...]]}, or why there are none: {"failed": sentence}."""
    sides = [row.ours, *([row.other] if row.other else [])]
    turns: list[list[Turn]] = [[] for _ in sides]
    try:
        with ExitStack() as stack:
            contenders = [
                stack.enter_context(closing(Contender(side, log.with_suffix(f".{number}"))))
                for number, side in enumerate(sides)
            ]
            for contender in contenders:
                contender.ready()
            for number in track(range(rounds), rounds, row.key, "rounds"):
                order = range(len(sides))
                for side in order if number % 2 == 0 else reversed(order):
                    turns[side].append(contenders[side].turn())
    except Failed as error:
        return {"row": row.key, "failed": str(error)}
    return {"row": row.key, "sides": [[turn._asdict() for turn in side] for side in turns], "date": today()}


def today() -> str:
    return str(datetime.date.today())


def machine() -> dict[str, str]:
    """What the figures depend on."""
    cores = len(os.sched_getaffinity(0))
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return {
        "hardware": f"{gpu}{cores} cores of {processor()}",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def load(out: Path) -> dict[str, dict[str, Any]]:
    """Row -> what was measured, failures left out: they are tried again.

    A new file begins with the machine. A last line that was cut when this was killed is taken away. Raises ConfigError
    if it is another machine's file, or none of this command's.
    """
    here, text = json.dumps(machine()) + "\n", out.read_text() if out.exists() else ""
    if here.startswith(text):
        text = here
    whole_lines = text[: text.rfind("\n") + 1]
    try:
        first, *lines = (json.loads(line) for line in whole_lines.splitlines())
        found = {line["row"]: line for line in lines if "sides" in line}
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"{out} has other lines than benchmarks/speed writes; choose another --out") from None
    if first != machine():
        raise ConfigError(f"{out} was measured on {first}, this is {machine()}; choose another --out")
    write_text(out, whole_lines)
    return found


def main() -> int:
    """Returns 1 if a row could not be measured, else 0."""
    gpu = torch.cuda.is_available()
    rows = gpu_rows() if gpu else cpu_rows()
    args = parse(sys.argv[1:], [row.key for row in rows])
    if args.into:
        filled(args.into, place(gpu), "")  # a document without marks is better known before
    found, failed = load(args.out), dict[str, str]()
    for layout in ("pictures", "blocks"):
        shapes(layout)  # now, and not by several contenders at a time
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:  # W&B's service may still write there
        for row in (row.with_python(args.keras_python) for row in rows):
            if row.key in args.rows and row.key not in found:
                line = measure(row, row.rounds(args.rounds), Path(scratch) / row.key)
                with args.out.open("a") as out:
                    out.write(json.dumps(line) + "\n")
                if "failed" in line:
                    failed[row.key] = line["failed"]
                    print(f"{row.key}: {line['failed']}", file=sys.stderr, flush=True)
                else:
                    found[row.key] = line
    if found:
        shown = [row for row in rows if row.key in found or row.key in args.rows]
        command = spoken("benchmarks.speed", sys.argv[1:], {args.keras_python: "PYTHON", args.out: "FILE"})
        text = f"{table(shown, found, failed)}\n\n{facts(found, machine(), command)}"
        print(text)
        if args.into:
            write_text(args.into, filled(args.into, place(gpu), text))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DistganError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on")
