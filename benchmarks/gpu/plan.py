"""Which stages are done, in which order and for how long at most. Pure functions."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from distgan.utils.errors import ConfigError

NO_GPU = "not on this machine: needs a GPU"


@dataclass(frozen=True)
class Stage:
    """One command with a limit and a log of its own."""

    name: str
    """GROUP or GROUP-WHAT."""
    command: tuple[str, ...]
    limit: int
    """Seconds."""
    least: int = 5
    """Seconds without which it is not worth a begin."""
    lacks: str = ""
    """Why it cannot be done here, or an empty string."""
    tells: bool = False
    """The last line of its log is a result."""
    leaves: Path | None = None
    """File or directory that a repetition does without."""
    needs: str = ""
    """The stage that must have passed before, or an empty string."""

    @property
    def group(self) -> str:
        return self.name.partition("-")[0]


class Outcome(NamedTuple):
    """What became of a stage."""

    exit: int | None
    """The exit code; None: ended at its limit."""
    seconds: float
    limit: int
    """Seconds that it was given: its own limit, or what was left of all."""
    date: str
    said: str
    """The last line of its log."""

    @property
    def passed(self) -> bool:
        return self.exit == 0

    @property
    def result(self) -> str:
        if self.exit is None:
            return "**stopped at its limit**"
        return "passed" if self.passed else "**failed**"


Outcomes = Mapping[str, Outcome]


def chosen(stages: Sequence[Stage], asked: Sequence[str]) -> list[Stage]:
    """The stages of these names and groups, and what they need; all where nothing is asked for.

    Raises ConfigError for an unknown name.
    """
    names = {name: None for stage in stages for name in (stage.group, stage.name)}
    for name in asked:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or [*names][:3]
            raise ConfigError(f"no stage {name}; nearest: {', '.join(near)}; all: {', '.join(names)}")
    wanted = {stage.name for stage in stages if not asked or {stage.name, stage.group} & set(asked)}
    for stage in reversed(stages):  # a stage comes after what it needs
        if stage.name in wanted and stage.needs:
            wanted.add(stage.needs)
    return [stage for stage in stages if stage.name in wanted]


def to_do(stages: Sequence[Stage], known: Outcomes) -> list[Stage]:
    """What can be done and has not passed: first what others need, then what was never tried, then what failed."""
    left = [stage for stage in stages if not stage.lacks and not passed(stage.name, known)]
    needed = {stage.needs for stage in left}
    return sorted(left, key=lambda stage: stage.name not in needed and stage.name in known)


def passed(name: str, known: Outcomes) -> bool:
    """Whether the stage of this name has passed."""
    return name in known and known[name].passed


def seconds_for(stage: Stage, left: float) -> int:
    """Seconds that a stage may take when so many are left for all; 0: it is not begun."""
    return min(stage.limit, int(left)) if left >= stage.least else 0


def exit_code(stages: Sequence[Stage], known: Outcomes, excused: bool) -> int:
    """0 if every stage has passed, else 1. excused: a stage that needs a GPU counts as passed where there is none."""
    needed = [stage for stage in stages if not (excused and stage.lacks == NO_GPU)]
    return 0 if all(not stage.lacks and passed(stage.name, known) for stage in needed) else 1
