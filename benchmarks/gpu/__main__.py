"""Everything that a GPU is to show, in one call: does it run, its tests, speed, quality.

python -m benchmarks.gpu [--limit 570] [--stages runs,speed-cifar10,...] [--data DIR] [--out gpu] [--again] [--small]

Each stage has a limit and a log of its own, OUT/logs/STAGE.log; one that fails or hangs is ended, with all that it has
started, and the next one begins. OUT/results.md and results.json are written after each. The same command goes on with
what has not passed: first what was never tried; rows of speed that are measured are not measured again.

--limit: seconds for all; a stage begins only if enough of them are left. --stages: names or groups; all by default.
--data: CIFAR-10, as class folders or prepared, for quality. Without it the embedded shapes are trained on, and quality
is not measured. --again: also what has passed. --small: a rehearsal of every stage in tiny, also without a GPU, and of
quality on the shapes where there is no --data; what only a GPU can do is then reported as not done here.

Exit code 0: every stage that was asked for has passed (in a rehearsal: every one that this machine can do). 1: one
failed, or was not begun. 2: a mistake to mend.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.common.arguments import whole
from benchmarks.common.command import exit_code_of, spoken
from benchmarks.gpu.plan import Outcome, Stage, chosen, exit_code, passed, seconds_for, to_do
from benchmarks.gpu.runner import execute
from benchmarks.gpu.stages import Work, all_stages
from benchmarks.gpu.summary import known_from, markdown, to_json
from benchmarks.quality.options import keep_settings
from benchmarks.speed.__main__ import machine as speed_machine
from distgan import __version__
from distgan.training.run_dir import write_text
from distgan.utils.errors import ConfigError

SHOWN = 12  # lines of a stage that has not passed


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=whole, metavar="SECONDS", help="for all stages (default: none)")
    parser.add_argument("--stages", default=[], type=lambda text: text.split(","), metavar="NAMES")
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path("gpu"), metavar="DIR")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--small", action="store_true")
    return parser.parse_args(arguments)


def work_of(args: argparse.Namespace, gpu: bool) -> Work:
    """Raises ConfigError where there is no such data, or a file in the place of OUT."""
    if args.data and not args.data.is_dir():
        raise ConfigError(
            f"--data {args.data} is no directory; give CIFAR-10 as class folders, or what distgan prepare made"
        )
    if args.out.exists() and not args.out.is_dir():
        raise ConfigError(f"--out {args.out} is a file; name a directory")
    return Work(args.out.resolve(), args.data.resolve() if args.data else None, args.small, gpu)


def check_machine(work: Work) -> None:
    """Raises ConfigError where there is no GPU, but for a rehearsal."""
    if not work.gpu and not work.small:
        raise ConfigError("torch sees no GPU here; --small rehearses every stage on the CPU")


def machine() -> dict[str, str]:
    """What the results depend on."""
    return {
        **speed_machine(),
        "driver": driver() if torch.cuda.is_available() else "none",
        "accelerate": importlib.metadata.version("accelerate"),
        "distgan": __version__,
    }


def driver() -> str:
    """The version of NVIDIA's driver, or `unknown`."""
    command = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told[0] if told else "unknown"


def remove(stage: Stage) -> None:
    """What it has left."""
    if stage.leaves and stage.leaves.is_dir():
        shutil.rmtree(stage.leaves)
    elif stage.leaves:
        stage.leaves.unlink(missing_ok=True)


def tell(stage: Stage, outcome: Outcome, log: Path) -> None:
    """Prints a stage's end."""
    code = "" if outcome.exit is None else f" (exit {outcome.exit})"
    print(
        f"== {stage.name}: {outcome.result}{code} after {outcome.seconds:.0f} s of at most {outcome.limit}", flush=True
    )
    lines = log.read_text(errors="replace").splitlines()
    shown = (1 if stage.tells else 0) if outcome.passed else SHOWN
    for line in lines[len(lines) - shown :]:
        print(f"   {line[:240]}", flush=True)


def do_all(work: Work, stages: Sequence[Stage], args: argparse.Namespace, command: str) -> int:
    """Does what is left to do, as long as there is time. Returns the exit code."""
    began, found, logs = time.monotonic(), machine(), work.out / "logs"
    for folder in (logs, work.out / "speed"):
        folder.mkdir(parents=True, exist_ok=True)
    keep_settings(work.out / "settings.json", {**found, "data": str(work.data), "small": work.small})
    known = known_from(work.out / "results.json")
    if args.again:
        for stage in stages:
            remove(stage)
            known.pop(stage.name, None)

    def written() -> str:
        text = markdown(work, stages, known, found, command)
        write_text(work.out / "results.json", to_json(known, found, work.rounds))
        write_text(work.out / "results.md", text)
        return text

    text = written()
    for stage in to_do(stages, known):
        if stage.needs and not passed(stage.needs, known):
            print(f"== {stage.name}: not begun: {stage.needs} has not passed", flush=True)
            continue
        left = args.limit - (time.monotonic() - began) if args.limit else stage.limit
        if not (seconds := seconds_for(stage, left)):
            print(f"== {stage.name}: no time left", flush=True)
            continue
        log = logs / f"{stage.name}.log"
        known[stage.name] = execute(stage, seconds, log)
        tell(stage, known[stage.name], log)
        text = written()
    print(f"\n{text}\n{work.out / 'results.md'}")
    return exit_code(stages, known, excused=work.small)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    args = parse(given)

    def work() -> int:
        made = work_of(args, torch.cuda.is_available())
        stages = chosen(all_stages(made), args.stages)
        check_machine(made)  # last: on another machine the command is the same, and its other mistakes too
        return do_all(made, stages, args, command_of(given, args))

    return exit_code_of(work)


def command_of(arguments: Sequence[str], args: argparse.Namespace) -> str:
    return spoken("benchmarks.gpu", arguments, {args.data: "DIR", args.out: "OUT"})


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing that was started outlives this
    sys.exit(main())
