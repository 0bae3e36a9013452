"""One directory of good files per kind, copied for each attack; and `attack`, which says what a reader made of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import targets
from tests.fuzz.targets import Outcome, judge, judge_read, tree


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            targets.make(name, made[name])
        return made[name]

    return find


@pytest.fixture
def attack(good: Callable[[str], Path], tmp_path: Path) -> Callable[..., Outcome]:
    """attack(NAME, change): a copy of the good files is changed and read, in a process of its own.

    Fails on whatever is a finding, and on a file outside the copy that has changed.
    """
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("untouched")

    def run(name: str, change: Callable[[Path], object] = lambda place: None) -> Outcome:
        place = tmp_path / "in"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(good(name), place)
        (place / "out").mkdir()
        change(place)
        before = tree(outside)
        if name == "checkpoints":  # a fresh process would spend seconds on the trainer's imports
            targets._trainer.cache_clear()
            outcome = judge(lambda: targets.TARGETS[name].read(place))
        else:
            outcome = judge_read(name, place, outside)
        assert not outcome.finding, outcome
        assert tree(outside) == before
        return outcome

    return run
