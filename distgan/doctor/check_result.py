"""The result of a check, and a check that can neither raise nor hang. No check is made here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from distgan.utils.background import CallTimeout, call_with_timeout, short
from distgan.utils.errors import DistganError

Level = Literal["ok", "warn", "fail"]
CHECK_SECONDS = 60.0  # for one check, unless it says otherwise
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
AGAIN = "fix that and run this again"


class CheckResult(NamedTuple):
    """One line of the report."""

    level: Level
    what: str
    """Name of the check: versions, devices, shards, ..."""
    text: str
    """The facts."""
    advice: str = ""
    """The fix; never empty for warn and fail."""

    def line(self) -> str:
        """The line as it is printed."""
        level = "FAIL" if self.level == "fail" else self.level
        return f"{level:4}  {self.what}: {self.text}" + (f"; {self.advice}" if self.advice else "")


def ok(what: str, text: str) -> CheckResult:
    return CheckResult("ok", what, text)


def warn(what: str, text: str, advice: str) -> CheckResult:
    return CheckResult("warn", what, text, advice)


def fail(what: str, text: str, advice: str) -> CheckResult:
    return CheckResult("fail", what, text, advice)


def run_check(
    what: str, check: Callable[[], Sequence[CheckResult]], seconds: float = CHECK_SECONDS
) -> list[CheckResult]:
    """Makes a check in a thread and returns its results.

    A DistganError becomes one `fail`; any other error, or a check that takes longer than `seconds`, one `warn`.
    """

    def work() -> list[CheckResult]:
        try:
            return list(check())
        except DistganError as error:  # a sentence of its own
            return [fail(what, str(error), AGAIN)]
        except BaseException as error:
            text = f"could not be checked ({type(error).__name__}: {short(error)})"
            return [warn(what, text, "check this yourself; the other lines are valid")]

    try:
        return call_with_timeout(seconds, work)
    except CallTimeout:
        text = f"did not end within {seconds:.0f} s"
        return [warn(what, text, "a disk, driver or server may hang; the other lines are valid")]


def summary(results: Sequence[CheckResult], seconds: float) -> str:
    """The last line of the report."""
    count = {level: sum(result.level == level for result in results) for level in ("fail", "warn", "ok")}
    return f"{count['fail']} failed, {count['warn']} warning(s), {count['ok']} ok ({seconds:.1f} s)"


def format_bytes(number: float) -> str:
    """1536 -> 1.5 KiB."""
    unit = 0
    while abs(number) >= 1024 and unit < len(UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.0f} {UNITS[unit]}" if unit == 0 else f"{number:,.1f} {UNITS[unit]}"


def format_seconds(number: float) -> str:
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


def existing_directory(path: Path) -> Path:
    """The path itself, or the nearest directory above it that exists. Raises NotADirectoryError if that is a file."""
    path = path.absolute()
    while not path.is_dir():
        if path.exists():
            raise NotADirectoryError(f"{path} is a file")
        path = path.parent
    return path
