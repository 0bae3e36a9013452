"""How long every test takes and where the time goes.

pytest -n 2 -m slow --times=FILE      # a line for every phase of a test and for every process that it starts
python -m tests.times table NAME=FILE [NAME=FILE ...] [--into docs/testing.md]     # areas side by side
python -m tests.times tests FILE      # every test, longest first
python -m tests.times keep FILE       # tests/seconds.json: CI runs the longest first

FILE has one JSON object a line: {"test", "when", "seconds", "outcome"} or {"test", "start": "torchrun" | "accelerate" |
"python" | "other", "ranks"}. What a start costs is measured once, for the line below the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common.markdown import filled

TESTS = Path(__file__).resolve().parent


Row = dict[str, Any]
SECONDS = TESTS / "seconds.json"
MIN = 4.0  # seconds of a file that is worth a line there
LARGE = 10  # seconds of a file that has a row of its own in the table
IMPORTS = "import distgan.training.run, torch._dynamo"


# --- the plugin: conftest.py takes these two


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--times", type=Path, metavar="FILE", help="where a line for every test and started process goes")


def pytest_configure(config: pytest.Config) -> None:
    """Under xdist every worker writes its own tests' lines."""
    file: Path | None = config.getoption("--times")
    if file is not None and (hasattr(config, "workerinput") or not config.getoption("numprocesses", None)):
        config.pluginmanager.register(Recorder(file.resolve()))


class Recorder:
    """Writes the lines, each at once: several workers share the file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        original = subprocess.Popen.__init__

        def start(process: Any, args: Any, *rest: Any, **options: Any) -> None:
            original(process, args, *rest, **options)
            self.write(kind_of(args if isinstance(args, (list, tuple)) else [args]))

        subprocess.Popen.__init__ = start  # type: ignore[method-assign]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.write({"when": report.when, "seconds": report.duration, "outcome": report.outcome}, report.nodeid)

    def write(self, row: Row, test: str | None = None) -> None:
        test = test or os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" (", 1)[0]
        with self.file.open("a") as file:
            file.write(json.dumps({"test": test} | row) + "\n")


def kind_of(command: Sequence[Any]) -> Row:
    """What was started, and how many trainers or the like it starts."""
    words = [str(word) for word in command]
    text = " ".join(words)
    if "torch.distributed.run" in text or "torchrun" in text:
        ranks = words[words.index("--nproc_per_node") + 1] if "--nproc_per_node" in words else "2"
        return {"start": "torchrun", "ranks": int(ranks)}
    if "accelerate launch" in text:
        ranks = words[words.index("--num_processes") + 1] if "--num_processes" in words else "1"
        return {"start": "accelerate", "ranks": int(ranks)}
    if words and Path(words[0]).name.startswith(("python", "distgan")):
        return {"start": "python", "ranks": 1}
    return {"start": "other", "ranks": 0}


# --- reading it


def read(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def seconds_of(rows: Iterable[Row]) -> Counter[str]:
    """Every test's, with its fixtures'."""
    total: Counter[str] = Counter()
    for row in rows:
        if "when" in row:
            total[row["test"]] += row["seconds"]
    return total


def area_of(test: str) -> str:
    """tests/integration/test_slurm.py::test_x -> integration/test_slurm; quick tests' files stand alone."""
    return test.split("::")[0].removeprefix("tests/").removesuffix(".py")


def start_up() -> dict[str, float]:
    """Seconds from a start until everything is imported and the ranks have met, measured here."""
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--no-python"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    join = "from accelerate import Accelerator; Accelerator(cpu=True).wait_for_everyone()"

    def measured(call: Callable[[], object]) -> float:
        times = []
        for _ in range(3):
            begin = time.monotonic()
            call()
            times.append(time.monotonic() - begin)
        return sorted(times)[1]

    def run(*command: str) -> None:
        subprocess.run(command, env=env, check=True, capture_output=True, cwd=TESTS.parent)

    from tests.support import warm  # here: pytest's plugin needs none of it

    joined = warm.run(_join, processes=2)  # the server starts
    assert joined.code == 0, joined.output
    return {
        "one process": measured(lambda: run(sys.executable, "-c", IMPORTS)),
        "two under torchrun": measured(lambda: run(*launched, sys.executable, "-c", f"{IMPORTS}; {join}")),
        "two warm ranks": measured(lambda: warm.run(_join, processes=2)),
    }


def _join() -> None:
    from accelerate import Accelerator

    Accelerator(cpu=True).wait_for_everyone()


def started(rows: Iterable[Row]) -> Counter[str]:
    """How many trainers and other Python processes each area's tests have started, launchers included."""
    counts: Counter[str] = Counter()
    for row in rows:
        if row.get("start") in ("torchrun", "accelerate", "python"):
            counts[area_of(row["test"])] += row["ranks"] + (row["start"] != "python")
    return counts


def table(recorded: dict[str, list[Row]]) -> list[str]:
    """Markdown: a file of tests a row; for each recording its tests, seconds, and Python processes started."""
    cells: dict[str, dict[str, Counter[str]]] = {}
    for name, rows in recorded.items():
        starts = started(rows)
        for test, seconds in seconds_of(rows).items():
            cell = cells.setdefault(area_of(test), {}).setdefault(name, Counter())
            cell += Counter(tests=1)
            cell["s"] += seconds
            cell["processes"] = starts[area_of(test)]
    whole, small = ({name: Counter[str]() for name in recorded} for _ in range(2))
    lines = []
    for area in sorted(cells, key=lambda area: -max(cell["s"] for cell in cells[area].values())):
        row = {name: cells[area].get(name, Counter()) for name in recorded}
        if large := max(cell["s"] for cell in row.values()) >= LARGE:
            lines.append(_line(area, row))
        for name, cell in row.items():
            whole[name].update(cell)
            if not large:
                small[name].update(cell)
    head = ["file", *(f"{name}: {what}" for name in recorded for what in ("tests", "s", "processes"))]
    rule = "| --- |" + " ---: |" * (len(head) - 1)
    return [f"| {' | '.join(head)} |", rule, *lines, _line(f"others, each below {LARGE} s", small), _line("all", whole)]


def _line(area: str, row: dict[str, Counter[str]]) -> str:
    numbers = (f"{cell['tests']} | {cell['s']:.0f} | {cell['processes']}" for cell in row.values())
    return f"| {' | '.join([area, *numbers])} |"


def areas(rows: Iterable[Row]) -> Counter[str]:
    """Every file's seconds."""
    total: Counter[str] = Counter()
    for test, seconds in seconds_of(rows).items():
        total[area_of(test)] += seconds
    return total


def keep(rows: list[Row]) -> None:
    """The longest files and their seconds, for the order in which their tests are run."""
    longest = {area: round(seconds) for area, seconds in areas(rows).most_common() if seconds >= MIN}
    SECONDS.write_text(json.dumps(longest, indent=0) + "\n")


def kept() -> Counter[str]:
    return Counter(json.loads(SECONDS.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", "tests", "keep"])
    parser.add_argument("recordings", nargs="+", metavar="[NAME=]FILE")
    parser.add_argument("--into", type=Path, metavar="DOCUMENT", help="the table goes between its marks `times`, too")
    options = parser.parse_args()
    named = [text.rpartition("=") for text in options.recordings]
    recorded = {name or "now": read(Path(file)) for name, _, file in named}
    (first, *_) = recorded.values()
    if options.what == "keep":
        keep(first)
    elif options.what == "tests":
        for test, seconds in seconds_of(first).most_common():
            print(f"{seconds:7.1f} s  {test}")
    else:
        costs = [f"{what}: {seconds:.1f} s" for what, seconds in start_up().items()]
        text = "\n".join([*table(recorded), "", f"Start-up, median of three: {'; '.join(costs)}."])
        print(text)
        if options.into:
            options.into.write_text(filled(options.into, "times", text))


if __name__ == "__main__":
    main()
