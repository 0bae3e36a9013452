"""What a user can get wrong or run into. Each error is one sentence: the thing, the rule, the nearest thing that works.

`cli.main` and `train.main` print these without a traceback and exit with `exit_code`; any other exception is a bug
and keeps its traceback (exit code 1).
"""

from __future__ import annotations

from distgan.utils.safe_io import SENTENCE, printable


class DistganError(Exception):
    """Base of every error that is reported to the user as a sentence.

    The sentence may repeat text of a file: it is cut to SENTENCE characters, and a terminal obeys none of them.
    """

    exit_code = 2
    everywhere = False
    """Whether every rank raises it, so that one of them is enough to say it."""

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message, SENTENCE))


class ConfigError(DistganError):
    """A configuration key or value breaks a rule. One line per mistake."""

    everywhere = True

    def __init__(self, message: str = "") -> None:
        Exception.__init__(self, "\n".join(printable(line, SENTENCE) for line in message.split("\n")))


class DataError(DistganError):
    """A source, a shard or a manifest cannot be used."""


class CheckpointError(DistganError):
    """A checkpoint is damaged, foreign, or does not fit the configuration."""


class Unsaved(CheckpointError):
    """The last checkpoint could not be written when training was stopped; the ones before it are there: start again."""

    exit_code = 3
    everywhere = True


class ExportError(DistganError):
    """A generator file is damaged, foreign, from the future, or cannot be written."""


class QualityError(DistganError):
    """Scores cannot be computed, or cannot be compared."""


class LaunchError(DistganError):
    """The processes were started in a way that cannot train."""

    everywhere = True


class LostProcess(DistganError):
    """Another process was killed, stopped, or cannot be reached: starting again makes sense."""

    exit_code = 3


class Disagreement(DistganError):
    """The processes do not hold the same weights, or were dealt the same images or latents."""

    exit_code = 3
    everywhere = True


class Halted(DistganError):
    """A rule of the configuration ended training (bad numbers, checkpoints that cannot be written)."""

    exit_code = 4
    everywhere = True


class Stopped(DistganError):
    """Training was stopped by a signal, and nothing was lost; `exit_code` is 128 + the signal number."""

    everywhere = True

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.message, self.signum = message, signum
        self.exit_code = 128 + signum

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, int]]:
        return Stopped, (self.message, self.signum)  # it may have to reach other processes
