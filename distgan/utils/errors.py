"""Errors that a user can cause or meet. Each is one sentence: the given value, the rule, the nearest that works.

`cli.main` and `train.main` print these without a traceback and exit with `exit_code`; any other exception is a bug
and keeps its traceback (exit code 1).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import FrameType, TracebackType

from distgan.utils.safe_io import MAX_SENTENCE, printable


class DistganError(Exception):
    """Base of every error that is reported to the user as a sentence.

    The sentence may quote a file: it is cut to MAX_SENTENCE characters, and control characters are escaped.
    """

    exit_code = 2
    everywhere = False
    """Whether every rank raises it, so that only rank 0 reports it."""

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message, MAX_SENTENCE))


class ConfigError(DistganError):
    """A configuration key or value breaks a rule. One line per mistake."""

    everywhere = True

    def __init__(self, message: str = "") -> None:
        Exception.__init__(self, "\n".join(printable(line, MAX_SENTENCE) for line in message.split("\n")))


class DataError(DistganError):
    """A source, a shard or a manifest cannot be used."""


class Stalled(DistganError):
    """Images no longer come: a reader hangs or was killed. Starting again may help."""

    exit_code = 3


class CheckpointError(DistganError):
    """A checkpoint is damaged, from another program, or does not fit the configuration."""


class Unsaved(CheckpointError):
    """The last checkpoint could not be written when training was stopped. The ones before it exist: start again."""

    exit_code = 3
    everywhere = True


class ExportError(DistganError):
    """A generator file is damaged, from another program or a newer version, or cannot be written."""


class QualityError(DistganError):
    """Scores cannot be computed, or cannot be compared."""


class LaunchError(DistganError):
    """The processes cannot train in the way they were started."""

    everywhere = True


class LostProcess(DistganError):
    """Another process was killed, stopped, or cannot be reached. Starting again may help."""

    exit_code = 3


class Disagreement(DistganError):
    """The processes have different weights, or were given the same images or latents."""

    exit_code = 3
    everywhere = True


class Halted(DistganError):
    """A rule of the configuration ended training (bad numbers, checkpoints that cannot be written)."""

    exit_code = 4
    everywhere = True


class CallbackError(DistganError):
    """A callback of the caller raised an exception. Training has ended on every rank; what it had done is saved."""

    everywhere = True


class Stopped(DistganError):
    """Training was stopped by a signal, and nothing was lost; `exit_code` is 128 + the signal number."""

    everywhere = True

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.message, self.signum = message, signum
        self.exit_code = 128 + signum

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, int]]:
        return Stopped, (self.message, self.signum)  # it may be sent to other processes


def forget_variables(error: BaseException) -> None:
    """Clears the variables of the calls that an error has ended, and of those that its causes have.

    Its traceback still names files and lines. Calls that go on keep theirs.
    """
    chain, known = [error], {id(error)}
    for each in chain:
        for frame in _frames(each.__traceback__):
            with contextlib.suppress(RuntimeError):  # it goes on
                frame.clear()
        causes = [cause for cause in (each.__cause__, each.__context__) if cause is not None and id(cause) not in known]
        chain += causes
        known.update(map(id, causes))


def _frames(trace: TracebackType | None) -> Iterator[FrameType]:
    """The calls of a traceback and those that had made them."""
    while trace is not None:
        frame: FrameType | None = trace.tb_frame
        while frame is not None:
            yield frame
            frame = frame.f_back
        trace = trace.tb_next
