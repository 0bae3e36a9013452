"""Hands forged files to distgan's readers and reports every one that does what it should not.

    python -m tests.fuzz [--target generators|checkpoints|manifests|configs|shards|blocks|cifar10|runs|zips|npz|idx|
                                    parquet|tables|cifar100|all]
                                 [--seconds 60] [--seed 0] [--case N] [--keep DIR]

In: good files that it makes itself (targets.py), changed by structure and by byte (mutations.py). Out: executions,
executions per second and different error sentences per target; for each different finding (a traceback, more than 10 s,
more than 256 MiB, a control character in a sentence, a file outside the directory) the forged files in DIR and the
command that makes and reads them again. Exit code 1 if anything was found. A case is a function of target, seed and N.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("ACCELERATE_USE_CPU", "true")

from tests.fuzz import targets
from tests.fuzz.targets import ADDRESSES, SECONDS, TARGETS, Outcome, judge

PATIENCE = SECONDS + 5  # seconds without a finished case, after which the reader is killed


class Report(NamedTuple):
    executions: int
    seconds: float
    sentences: int
    accepted: int
    findings: dict[str, int]
    """What was found -> the first case that shows it."""


def run_case(name: str, seed: int, case: int, work: Path) -> Outcome:
    """Makes and reads one case in WORK/in; the working directory is WORK/cwd, and must stay empty."""
    target, place, here = TARGETS[name], work / "in", work / "cwd"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(work / "good", place)
    (place / "out").mkdir(exist_ok=True)
    target.forge(Random(f"{name} {seed} {case}"), place)
    here.mkdir(exist_ok=True)
    os.chdir(here)
    outcome = judge(lambda: target.read(place))
    if strays := [*here.iterdir(), *(path for path in work.iterdir() if path.name not in ("in", "cwd", "good"))]:
        return Outcome(outcome.sentence, f"wrote {strays[0].name} outside the directory")
    return outcome


def worker(name: str, seed: int, first: int, until: float, work: Path, out: int) -> None:
    """Cases from `first` on; a line per case goes to the pipe."""
    # in the child: what it does to its limits and its working directory is its own affair
    resource.setrlimit(resource.RLIMIT_AS, (targets._addresses() + ADDRESSES,) * 2)
    case = first
    while time.monotonic() < until:
        outcome = run_case(name, seed, case, work)
        os.write(out, json.dumps([case, outcome.sentence[:300], outcome.finding]).encode() + b"\n")
        case += 1
        if outcome.finding.startswith("memory"):
            return  # its peak hides smaller ones: the next process has its own


def fuzz(name: str, seed: int, seconds: float, keep: Path) -> Report:
    """One target for so long. Findings are kept in KEEP/NAME-CASE."""
    start = time.monotonic()
    executions, accepted, sentences, findings = 0, 0, set[str](), dict[str, int]()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(os.path.realpath(folder))
        (work / "good").mkdir()
        targets.make(name, work / "good")
        case = 0
        while time.monotonic() - start < seconds:
            reading, writing = os.pipe()
            child = os.fork()
            if not child:
                with open(os.devnull, "w") as nothing:
                    os.dup2(nothing.fileno(), 2)
                try:
                    worker(name, seed, case, start + seconds, work, writing)
                finally:
                    os._exit(0)
            os.close(writing)
            for done, sentence, finding in _lines(reading, child):
                case, executions = done + 1, executions + 1
                sentences.add(_shape(sentence))
                accepted += not sentence and not finding
                if finding:
                    _keep(finding, findings, name, seed, done, work, keep)
            status = os.waitpid(child, 0)[1]
            if os.WIFSIGNALED(status):
                found = (
                    f"killed after {PATIENCE} s"
                    if os.WTERMSIG(status) == signal.SIGKILL
                    else f"signal {os.WTERMSIG(status)}"
                )
                _keep(found, findings, name, seed, case, work, keep)
                case, executions = case + 1, executions + 1
    return Report(executions, time.monotonic() - start, len(sentences - {""}), accepted, findings)


def _lines(reading: int, child: int) -> Any:
    """What the worker has written, line by line; kills it when it is silent."""
    import select

    rest = b""
    with os.fdopen(reading, "rb", buffering=0) as file:
        while True:
            if not select.select([file], [], [], PATIENCE)[0]:
                os.kill(child, signal.SIGKILL)
                return
            if not (data := file.read(1 << 16)):
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield json.loads(line)


def _shape(sentence: str) -> str:
    """A sentence without its numbers and names, to count the different ones."""
    return re.sub(r"\S*/\S*|[0-9a-f]{8,}|\d+|'[^']*'|\\\S+", "_", sentence)[:80]


def _keep(finding: str, findings: dict[str, int], name: str, seed: int, case: int, work: Path, keep: Path) -> None:
    key = re.sub(r"\d{3,}|\S*/\S*", "_", finding)[:160] if finding.startswith(("memory", "time")) else finding
    if key in findings:
        return
    findings[key] = case
    kept = keep / f"{name}-{case}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(work / "good", kept)
    TARGETS[name].forge(Random(f"{name} {seed} {case}"), kept)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=60.0, help="per target (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="only this one, with its sentence or its finding")
    parser.add_argument("--keep", type=Path, help="where the files of findings go (default: a new temporary directory)")
    options = parser.parse_args(arguments)
    torch_threads()
    if options.case is not None:
        return one(options.target, options.seed, options.case)
    keep = (options.keep or Path(tempfile.mkdtemp(prefix="distgan-fuzz-"))).resolve()
    found = 0
    for name in TARGETS if options.target == "all" else [options.target]:
        report = fuzz(name, options.seed, options.seconds, keep)
        found += len(report.findings)
        print(
            f"{name}: {report.executions:,} executions, {report.executions / report.seconds:,.0f} per second, "
            f"{report.accepted:,} accepted, {report.sentences} different sentences, {len(report.findings)} findings",
            flush=True,
        )
        for finding, case in report.findings.items():
            print(f"  {finding}\n    files: {keep}/{name}-{case}\n    again: python -m tests.fuzz --target {name} "
                  f"--seed {options.seed} --case {case}", flush=True)  # fmt: skip
    return 1 if found else 0


def one(name: str, seed: int, case: int) -> int:
    if name == "all":
        sys.exit("--case needs --target NAME")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(os.path.realpath(folder))
        (work / "good").mkdir()
        targets.make(name, work / "good")
        outcome = targets.judge_apart(lambda: _raise(run_case(name, seed, case, work)))
    print(outcome.finding or outcome.sentence or "read")
    return 1 if outcome.finding else 0


def _raise(outcome: Outcome) -> None:
    if outcome.finding:
        raise RuntimeError(outcome.finding)
    if outcome.sentence:
        raise targets.DistganError(outcome.sentence)


def torch_threads() -> None:
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    sys.exit(main())
