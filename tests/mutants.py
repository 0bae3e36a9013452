"""Do the tests notice? Plants one fault at a time in a copy of the package and runs the tests that should fail.

python -m tests.mutants [--only WORD] [--into docs/testing.md]

Each fault is a text of a file and what takes its place; the tests are of those that CI runs. Exit code 1 if a fault was
not caught.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.markdown import filled

ROOT = Path(__file__).resolve().parent.parent

COPIED = ("distgan", "configs", "launch", "benchmarks", "tests", "docs", "examples", "pyproject.toml", "README.md")


class Mutant(NamedTuple):
    """One fault."""

    area: str
    fault: str
    file: str
    before: str
    after: str
    tests: str


MUTANTS = (
    Mutant(
        "averaging", "D's gradients are never averaged over the ranks", "distgan/training/player.py",
        "return nullcontext() if index == parts - 1 else self._accelerator.no_sync(self.wrapped)",
        'return self._accelerator.no_sync(self.wrapped) if "Disc" in type(self.network).__name__ else nullcontext()',
        "tests/integration/test_same_answer.py",
    ),
    Mutant(
        "randomness", "a rank draws from a seed of its own", "distgan/utils/rng.py",
        "generator(self.device, self.seed, ", "generator(self.device, self.seed + self.rows.start, ",
        "tests/integration/test_same_answer.py",
    ),
    Mutant(
        "checkpoints", "a checkpoint gets its name before its files are on the disk",
        "distgan/training/checkpoint/storage.py",
        "for path in (*temporary.iterdir(), temporary):", "for path in (temporary,):",
        "tests/unit/training/checkpoint/test_storage.py",
    ),
    Mutant(
        "metrics", "scores of a batch too few generated images", "distgan/metrics/evaluator.py",
        "for start in range(seeds.start, ", "for start in range(seeds.start + batch, ",
        "tests/unit/metrics/test_evaluator.py tests/integration/test_evaluate_ranks.py",
    ),
    Mutant(
        "the step", "D learns in G's step, too: it is not frozen", "distgan/training/player.py",
        "weight.requires_grad_(False)", "weight.requires_grad_(True)",
        "tests/unit/training/test_trainer.py",
    ),
    Mutant(
        "data", "a resumed run reads its data from the start again", "distgan/training/loop.py",
        "self.reals.batches(self.trainer.d.updates, self._gives_up)", "self.reals.batches(0, self._gives_up)",
        "tests/integration/test_faults.py -k bits",
    ),
    Mutant(
        "stopping", "a rank that is asked to stop does not stop the others", "distgan/distributed/stop.py",
        "flag, dist.ReduceOp.MAX", "flag, dist.ReduceOp.MIN",
        "tests/integration/test_lost_ranks.py -k one_rank_alone",
    ),
    Mutant(
        "health", "a rollback keeps the learning rates that led to NaN", "distgan/training/checkpoint/manager.py",
        "trainer.lr_scale = scale", "pass",
        "tests/integration/test_health.py -k nan",
    ),
    Mutant(
        "export", "the file holds the last generator, not the average", "distgan/training/export.py",
        "self.trainer.ema.network.state_dict(), description)", "self.trainer.g.network.state_dict(), description)",
        "tests/integration/test_quality_in_training.py tests/integration/test_faults.py",
    ),
    Mutant(
        "shards", "a damaged shard is read all the same", "distgan/data/shards/reader.py",
        "not is_intact(file, shard.bytes, shard.sha256)", "False",
        "tests/unit/data/shards/test_blocks.py tests/unit/data/test_streaming.py tests/fuzz/test_shards.py",
    ),
    Mutant(
        "trust", "a generator file whose weights were changed is loaded", "distgan/inference/generator_file.py",
        "if (digest := weight_digest(state)) != expected:", "if (digest := weight_digest(state)) == '':",
        "tests/unit/inference/test_generator_file.py",
    ),
    Mutant(
        "the run directory", "two trainings may write to one run", "distgan/training/run_dir.py",
        "fcntl.LOCK_EX", "fcntl.LOCK_SH",
        "tests/integration/test_faults.py -k second_trainer",
    ),
)  # fmt: skip


def copy_into(place: Path, mutant: Mutant) -> None:
    """The repository's files with the fault in them. Raises ValueError where its text is not found exactly once."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place / name)
    file = place / mutant.file
    text = file.read_text()
    if text.count(mutant.before) != 1:
        raise ValueError(f"{mutant.file} holds {mutant.before!r} {text.count(mutant.before)} times; mend MUTANTS")
    file.write_text(text.replace(mutant.before, mutant.after))


def caught_by(mutant: Mutant) -> tuple[str, float]:
    """The first test that fails with the fault, or nothing, and the seconds until then."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        copy_into(place, mutant)
        tests, _, words = mutant.tests.partition(" -k ")
        command = [sys.executable, "-m", "pytest", "-x", "-m", "not long", "-rf", *tests.split()]
        command += ["-k", words] if words else []
        begin = time.monotonic()
        done = subprocess.run(
            command, cwd=place, env={**os.environ, "PYTHONPATH": str(place)}, capture_output=True, text=True
        )
        found = re.search(r"^(?:FAILED|ERROR) (\S+?)(?: - .*)?$", done.stdout, re.MULTILINE)
        if done.returncode != 1 or not found:
            print(done.stdout[-2000:], done.stderr[-2000:], sep="\n", file=sys.stderr)
        return (found[1] if done.returncode == 1 and found else ""), time.monotonic() - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="the faults whose area or sentence holds it")
    parser.add_argument("--into", type=Path, metavar="FILE", help="the table goes between its marks, too")
    options = parser.parse_args()
    lines, missed = ["| area | planted fault | caught by | after |", "| --- | --- | --- | ---: |"], 0
    for mutant in MUTANTS:
        if options.only not in f"{mutant.area} {mutant.fault}":
            continue
        test, seconds = caught_by(mutant)
        missed += not test
        lines.append(f"| {mutant.area} | {mutant.fault} | {f'`{test}`' if test else '**nothing**'} | {seconds:.0f} s |")
        print(lines[-1], flush=True)
    if options.into:
        options.into.write_text(filled(options.into, "mutants", "\n".join(lines)))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
