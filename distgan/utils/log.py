"""Messages to people: the logger "distgan", and how the commands show it on a terminal.

    from distgan.utils.log import log
    log.info("resumed from %s", path)          # rank 0 only
    log.warning("%s cannot be written", path)  # every rank, with its number

A program that uses distgan as a library gets these messages through Python's `logging`, and silences or captures them
there. The commands call `show_on_terminal`.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from distgan.utils.errors import DistganError

log = logging.getLogger("distgan")


class RankFilter(logging.Filter):
    """Lets through every message of rank 0, and warnings of the others."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or launch_rank() == "0"


log.addFilter(RankFilter())


class LineFormatter(logging.Formatter):
    """The message with "WARNING: " before a warning, and with the rank before both if that is not 0."""

    def format(self, record: logging.LogRecord) -> str:
        rank = "" if (number := launch_rank()) == "0" else f"[rank {number}] "
        return f"{rank}{'WARNING: ' if record.levelno == logging.WARNING else ''}{record.getMessage()}"


class TerminalHandler(logging.Handler):
    """Writes lines to stderr, above a progress bar if there is one; not what the bar itself says (`on_bar`)."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "on_bar", False):
            return
        text = self.format(record)
        tqdm = sys.modules.get("tqdm")
        owns_bars = multiprocessing.parent_process() is None  # a forked data worker has copies of them
        if owns_bars and tqdm is not None and getattr(tqdm.tqdm, "_instances", None):
            tqdm.tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)


class RecentLines(logging.Handler):
    """Keeps the newest lines, for a record that begins after them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=200)
        self.setFormatter(LineFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


_recent = RecentLines()


@contextmanager
def kept_lines() -> Iterator[None]:
    """A context whose newest lines `recent_lines` returns."""
    _recent.lines.clear()
    log.addHandler(_recent)
    try:
        yield
    finally:
        log.removeHandler(_recent)


def recent_lines() -> list[str]:
    """The newest lines of `kept_lines`, at most 200."""
    return list(_recent.lines)


class Unbreakable:
    """A text stream whose writes never fail: a full disk or a closed pipe loses only the text.

    A character that the stream's encoding lacks is written as \\xe9.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | ValueError | None = None
        """The first error by which text was lost."""

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            return self.write(text.encode("ascii", "backslashreplace").decode())
        except (OSError, ValueError) as error:
            self.failure = self.failure or error
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self.failure = self.failure or error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def show_on_terminal() -> None:
    """Shows the logger's messages on stderr, which becomes unbreakable. A second call changes nothing."""
    fill_closed_descriptors()
    if not isinstance(sys.stderr, Unbreakable):
        sys.stderr = Unbreakable(sys.stderr)  # type: ignore[assignment]
    if not any(isinstance(handler, TerminalHandler) for handler in log.handlers):
        handler = TerminalHandler()
        handler.setFormatter(LineFormatter())
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False


@contextmanager
def as_it_was() -> Iterator[None]:
    """Undoes `show_on_terminal` and `guard_stdout` at its end, for a command that is called in a notebook."""
    streams, handlers, level, propagate = (sys.stdout, sys.stderr), list(log.handlers), log.level, log.propagate
    try:
        yield
    finally:
        (sys.stdout, sys.stderr), log.handlers[:], log.propagate = streams, handlers, propagate
        log.setLevel(level)


def guard_stdout() -> None:
    """Makes stdout unbreakable. `check_stdout` reports what was lost."""
    if not isinstance(sys.stdout, Unbreakable):
        sys.stdout = Unbreakable(sys.stdout)  # type: ignore[assignment]


def check_stdout() -> None:
    """Raises DistganError if text written to stdout since `guard_stdout` was lost."""
    sys.stdout.flush()
    if isinstance(sys.stdout, Unbreakable) and (error := sys.stdout.failure):
        raise DistganError(f"stdout cannot be written: {getattr(error, 'strerror', None) or error}")


def fill_closed_descriptors() -> None:
    """Opens the null device in the place of a closed stdin, stdout or stderr, for child processes as well.

    Otherwise the next file or socket would get its number, and whatever a library prints would be written into that.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null == number:
                os.set_inheritable(number, True)
            else:
                os.dup2(null, number)
                os.close(null)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed when Python started: by now, another file may have its number
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def launch_rank() -> str:
    """This process' rank as the launcher gave it; a RANK without a world, left in a shell, means nothing."""
    return os.environ.get("RANK", "0") if os.environ.get("WORLD_SIZE", "1") not in ("", "1") else "0"
