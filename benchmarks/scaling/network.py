"""A training step on two hosts against the rate of the network between them, and what the model says about it.

python -m benchmarks.scaling.network [RECIPE] [--rates unlimited,1gbit,200mbit,100mbit,50mbit] [--rounds 5] [--steps 4]
    [--against KEY=VALUE] [--into docs/scaling.md [--place NAME]] [KEY=VALUE ...]

The hosts are two network namespaces of this machine (as in tests/support/hosts.py), one gloo process on each, so it
needs root and iproute2. What each host may send is limited by tc's token bucket. Steps with and without averaged
gradients take turns in the same processes. Without is the computing; to it the model (model.py) adds what the
bytes take at the bandwidth that an all-reduce of as many bytes had in the same run. With --against, steps with one
setting more take turns, too. The hosts are removed at the end, also when it is interrupted or told to end.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import re
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from benchmarks.common.arguments import whole
from benchmarks.common.command import exit_code_of
from benchmarks.common.machine import processor
from benchmarks.common.markdown import filled
from benchmarks.scaling.model import Link, Traffic, cluster_of, communication, traffic
from distgan.config.load import load_config
from distgan.data.prepare import Request, prepare
from distgan.data.sources.shapes import Shapes
from distgan.training.run_dir import write_text
from distgan.utils.errors import ConfigError, LaunchError
from distgan.utils.progress import track
from tests.support import hosts
from tests.support.processes import ROOT

WORKER = "benchmarks.scaling.network_worker"
PORT = "29531"  # of hosts of our own: nobody else has it
COLUMNS = (
    "rate",
    "all-reduce, Mbit/s",
    "computing, ms",
    "step, ms",
    "predicted, ms",
    "step / predicted",
    "sent per step, kB",
    "counted, kB",
    "sent / counted",
)


class Figures(NamedTuple):
    """What network_worker.py measures, in seconds and bytes."""

    latency: float
    """Of an all-reduce of one number."""
    bandwidth: float
    together: float
    alone: float
    bytes: float
    ratio: float | None
    """Of `together` to the steps of --against."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="r3gan_small")
    parser.add_argument("--rates", type=rates, default="unlimited,1gbit,200mbit,100mbit,50mbit")
    parser.add_argument("--rounds", type=whole, default=5)
    parser.add_argument("--steps", type=whole, default=4, help="of a round")
    parser.add_argument("--against", default="", metavar="KEY=VALUE", help="what other steps have beside them")
    parser.add_argument("--into", type=Path, help="document whose table is replaced")
    parser.add_argument("--place", default="network", help="name of the table in the document")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    return parser.parse_intermixed_args(arguments)


def rates(text: str) -> list[str]:
    """Raises ValueError for what is neither `unlimited` nor a rate as tc writes it."""
    found = text.split(",")
    if not all(re.fullmatch(r"unlimited|[1-9]\d*[kmg]bit", rate) for rate in found):
        raise ValueError(text)
    return found


def check_possible() -> None:
    """Raises LaunchError where two hosts cannot be made."""
    lacking = hosts.missing() or ("" if shutil.which("tc") else "needs the command tc")
    if lacking:
        raise LaunchError(f"two hosts cannot be made here: {lacking}; run it as root on Linux with iproute2")


def measure(rate: str, args: argparse.Namespace, overrides: Sequence[str], scratch: Path) -> Figures:
    """One process on each of two hosts. Raises LaunchError with the end of its output if one fails."""
    out = scratch / "figures.json"
    counts = str(args.rounds), str(args.steps)
    command = [sys.executable, "-m", WORKER, str(out), *counts, args.against, args.recipe, *overrides]
    with hosts.two_hosts(scratch, None if rate == "unlimited" else rate) as two:
        place = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": two.addresses[0], "MASTER_PORT": PORT}
        path = {"PYTHONPATH": str(ROOT)}
        logs = [scratch / f"{rate}.{rank}.log" for rank in (0, 1)]
        started = [two.start(rank, command, logs[rank], RANK=str(rank), **place, **path) for rank in (0, 1)]
        for process, log in zip(started, logs, strict=True):
            if code := process.wait():
                raise LaunchError(f"a process ended with {code}; its last words: {log.read_text()[-2000:]}")
    return Figures(**json.loads(out.read_text()))


def predicted(figures: Figures, load: Traffic) -> float:
    """Seconds of a step by the model: on two hosts an all-reduce is two messages in a row."""
    link = Link(figures.bandwidth, figures.latency / 2)
    return figures.alone + communication(load, cluster_of(2, 1, link, link))


def line(rate: str, figures: Figures, load: Traffic) -> str:
    model = predicted(figures, load)
    cells = [
        rate.replace("mbit", " Mbit/s").replace("gbit", " Gbit/s").replace("kbit", " kbit/s"),
        f"{8 * figures.bandwidth / 1e6:,.0f}",
        *(f"{1000 * seconds:,.0f}" for seconds in (figures.alone, figures.together, model)),
        f"{figures.together / model:.2f}",
        f"{figures.bytes / 1000:,.0f}",
        f"{load.total / 1000:,.0f}",
        f"{figures.bytes / load.total:.2f}",
        *([] if figures.ratio is None else [f"{figures.ratio:.3f}"]),
    ]
    return f"| {' | '.join(cells)} |"


def header(against: str) -> str:
    columns = [*COLUMNS, *([f"step / step with {against}"] if against else [])]
    return f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}"


def facts(args: argparse.Namespace, batch: int) -> str:
    """How the table was made."""
    return (
        f"`{shlex.join(['python', '-m', 'benchmarks.scaling.network', *sys.argv[1:]])}`; {datetime.date.today()}; "
        f"{args.recipe}, global batch {batch}, medians of {args.rounds} rounds of {args.steps} steps; "
        f"both hosts on {processor()}, "
        f"{psutil.cpu_count()} cores; torch {torch.__version__}, gloo, Python {platform.python_version()}, "
        f"Linux {'.'.join(platform.release().split('.')[:2])}."
    )


def run(args: argparse.Namespace, scratch: Path) -> str:
    """The table, as Markdown."""
    if args.into:
        filled(args.into, args.place, "")  # a document without marks is better known before
    check_possible()
    prepare(Request(scratch / "shapes", Shapes(300)), progress=False)
    data = [f"data.path={scratch / 'shapes'}", "data.prepare=null", "data.classes=null"]
    overrides = ["train.cpu_threads=1", *args.overrides, *data]
    config = load_config(args.recipe, overrides)
    if args.against and load_config(args.recipe, [*overrides, args.against]).train.precision != config.train.precision:
        raise ConfigError(
            f"--against {args.against}: both sides share one Accelerate state, so one precision; compare another "
            "setting, or run this twice"
        )
    load, lines = traffic(config), [header(args.against)]
    for rate in track(args.rates, len(args.rates), args.recipe, "rates"):
        lines.append(line(rate, measure(rate, args, overrides, scratch), load))
    return "\n".join([*lines, "", facts(args, config.train.batch_size)])


def main() -> int:
    """Returns the exit code; 2: a mistake to mend, told in a sentence."""
    args = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the hosts are removed then, too

    def work() -> int:
        with tempfile.TemporaryDirectory() as scratch:
            text = run(args, Path(scratch))
        print(text)
        if args.into:
            write_text(args.into, filled(args.into, args.place, text))
        return 0

    return exit_code_of(work, "the hosts are removed")


if __name__ == "__main__":
    sys.exit(main())
