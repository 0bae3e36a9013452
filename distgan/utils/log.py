"""Messages to people: the logger "distgan", and how the commands show it on a terminal.

    from distgan.utils.log import log
    log.info("resumed from %s", path)          # rank 0 only
    log.warning("%s cannot be written", path)  # every rank, with its number

A program that uses distgan as a library gets these messages through Python's `logging`, and silences or captures them
there. The commands call `show_on_terminal`.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, TextIO

log = logging.getLogger("distgan")


class RankFilter(logging.Filter):
    """Lets through every message of rank 0, and warnings of the others."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or _rank() == "0"


class LineFormatter(logging.Formatter):
    """The message; a warning says so, and names its rank if that is not 0."""

    def format(self, record: logging.LogRecord) -> str:
        if record.levelno < logging.WARNING:
            return record.getMessage()
        return f"{'' if (rank := _rank()) == '0' else f'[rank {rank}] '}WARNING: {record.getMessage()}"


class TerminalHandler(logging.Handler):
    """Writes lines to stderr, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        tqdm = sys.modules.get("tqdm")
        if tqdm is not None and getattr(tqdm.tqdm, "_instances", None):
            tqdm.tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)


class Unbreakable:
    """A text stream whose writes never fail: a full disk, a closed pipe or a missing character loses only the text."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            return self.write(text.encode("ascii", "backslashreplace").decode())
        except (OSError, ValueError):
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def show_on_terminal() -> None:
    """Shows the logger's messages on stderr, which becomes unbreakable. A second call changes nothing."""
    fill_closed_descriptors()
    if not isinstance(sys.stderr, Unbreakable):
        sys.stderr = Unbreakable(sys.stderr)  # type: ignore[assignment]
    if not any(isinstance(handler, TerminalHandler) for handler in log.handlers):
        handler = TerminalHandler()
        handler.addFilter(RankFilter())
        handler.setFormatter(LineFormatter())
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False


def fill_closed_descriptors() -> None:
    """Opens the null device in the place of a closed stdin, stdout or stderr.

    Otherwise the next file or socket would get its number, and whatever a library prints would be written into that.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115


def _rank() -> str:
    return os.environ.get("RANK", "0")
