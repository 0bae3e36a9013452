"""What a check says, and how a check is kept from stopping the others. No check is made here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from distgan.utils.background import CallTimeout, call_with_timeout, short
from distgan.utils.errors import DistganError

Level = Literal["ok", "warn", "fail"]
SECONDS = 60.0  # for one check, unless it says otherwise
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


class Finding(NamedTuple):
    """One line of the report."""

    level: Level
    what: str
    """The thing looked at: versions, devices, shards, ..."""
    text: str
    """What was found."""
    advice: str = ""
    """What to do; never empty for warn and fail."""

    def line(self) -> str:
        shown = "FAIL" if self.level == "fail" else self.level
        return f"{shown:4}  {self.what}: {self.text}" + (f"; {self.advice}" if self.advice else "")


def ok(what: str, text: str) -> Finding:
    return Finding("ok", what, text)


def warn(what: str, text: str, advice: str) -> Finding:
    return Finding("warn", what, text, advice)


def fail(what: str, text: str, advice: str) -> Finding:
    return Finding("fail", what, text, advice)


def guarded(what: str, check: Callable[[], Sequence[Finding]], seconds: float = SECONDS) -> list[Finding]:
    """A check's findings; one warning where it raises or is not through in time. The check runs in a thread."""

    def work() -> list[Finding]:
        try:
            return list(check())
        except DistganError as error:  # a sentence of its own
            return [fail(what, str(error), "mend that and run this again")]
        except BaseException as error:
            text = f"could not be looked at ({type(error).__name__}: {short(error)})"
            return [warn(what, text, "the other lines hold; look at this yourself")]

    try:
        return call_with_timeout(seconds, work)
    except CallTimeout:
        text = f"was given up after {seconds:.0f} s"
        return [warn(what, text, "a disk, driver or server may hang; the other lines hold")]


def summary(findings: Sequence[Finding], seconds: float) -> str:
    """The last line."""
    count = {level: sum(found.level == level for found in findings) for level in ("fail", "warn", "ok")}
    return f"{count['fail']} failed, {count['warn']} warning(s), {count['ok']} ok ({seconds:.1f} s)"


def shown_bytes(number: float) -> str:
    """1536 -> 1.5 KiB."""
    place = 0
    while abs(number) >= 1024 and place < len(UNITS) - 1:
        number, place = number / 1024, place + 1
    return f"{number:.0f} {UNITS[place]}" if place == 0 else f"{number:,.1f} {UNITS[place]}"


def shown_seconds(number: float) -> str:
    """0.0123 -> 12.3 ms; 3725 -> 1 h 2 min."""
    if number < 1:
        return f"{1000 * number:.1f} ms"
    if number < 120:
        return f"{number:.1f} s"
    minutes = round(number / 60)
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days:,} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def nearest(path: Path) -> Path:
    """The path itself, or the nearest directory above it that exists. Raises NotADirectoryError if that is a file."""
    path = path.absolute()
    while not path.is_dir():
        if path.exists():
            raise NotADirectoryError(f"{path} is a file")
        path = path.parent
    return path
