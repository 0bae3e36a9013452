"""Shared by all tests: a small data set of shapes, a tiny configuration, and quick single-threaded processes."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from distgan.config.load import load_config
from distgan.config.schema import Config
from distgan.data.prepare import Request, prepare
from distgan.data.sources.shapes import Shapes
from distgan.distributed.accelerator import cpu_share
from distgan.utils import log
from tests import times
from tests.support import needs, processes
from tests.support.config import TINY

os.environ.setdefault("WANDB_MODE", "disabled")
if "DISTGAN_TEST_GPU" not in os.environ:  # the tests' exact figures are the CPU's
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["ACCELERATE_USE_CPU"] = "true"
# A shell's background job ignores SIGINT, and nohup SIGHUP; the tests' processes would inherit it.
for ignorable, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(ignorable) is signal.SIG_IGN:
        signal.signal(ignorable, usual)
torch.set_num_threads(1)  # tiny networks; tests often share the machine

pytest_addoption, pytest_configure = times.pytest_addoption, times.pytest_configure
MAX_WORKERS = 8  # each is a process with torch


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `pytest -n auto` takes: this process's cores."""
    return min(cpu_share({}), MAX_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests take longest come first, so that no worker is left alone with one at the end."""
    seconds = times.kept()
    items.sort(key=lambda item: -seconds[times.area_of(item.nodeid)])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for what in mark.args:
            if why := needs.missing(what):
                pytest.skip(why)
    torch.manual_seed(0)  # what a test draws does not depend on the tests that ran before it in this worker


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 shapes in five shards."""
    out = tmp_path_factory.mktemp("data") / "shapes"
    prepare(Request(out=out, source=Shapes(count=300), shard_size=60), progress=False)
    return out


@pytest.fixture
def tiny(shapes: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Overrides for a quick run in tmp_path; more may be given."""

    def overrides(*more: str) -> list[str]:
        return [*TINY, f"data.path={shapes}", f"run.dir={tmp_path}", *more]

    return overrides


@pytest.fixture
def tiny_config(tiny: Callable[..., list[str]]) -> Callable[..., Config]:
    return lambda *more: load_config("quickstart", tiny(*more))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of whoever runs the tests is used or changed, and two workers share nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in passwd, as in many containers."""

    def unknown(user: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.fixture(scope="session", autouse=True)
def messages_are_shown() -> None:
    """The tests see on stderr what a terminal shows."""
    log.show_on_terminal()


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    yield
    processes.kill_the_left()
