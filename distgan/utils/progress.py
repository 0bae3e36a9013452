"""Progress on stderr: a bar on a terminal, elsewhere a line about every ten seconds; nothing when disabled."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from distgan.utils.log import log

T = TypeVar("T")
INTERVAL = 10.0  # seconds between two plain lines


def track(
    iterable: Iterable[T],
    total: int | None,
    label: str,
    unit: str,
    *,
    enabled: bool = True,
    weigh: Callable[[T], int] | None = None,
) -> Iterator[T]:
    """Yields the items of `iterable` and shows how many of `total` have passed.

    total: None if it is not known. unit: "images", or "B" for bytes. weigh: returns the count of one item (default 1);
    `weigh=len` with unit "B" counts the bytes of blocks. enabled: false on processes that must print nothing.
    """
    if not enabled:
        yield from iterable
        return
    if sys.stderr.isatty():
        from tqdm import tqdm

        shown = unit if unit == "B" else f" {unit}"
        with tqdm(total=total, desc=label, unit=shown, unit_scale=unit == "B", **bar_size(100)) as bar:
            for item in iterable:
                yield item
                bar.update(weigh(item) if weigh else 1)
        return
    start = last = time.monotonic()
    done = 0
    for item in iterable:
        yield item
        done += weigh(item) if weigh else 1
        now = time.monotonic()
        if now - last >= INTERVAL:
            last = now
            log.info("%s", _line(label, unit, done, total, now - start))
    log.info("%s: %s in %.1f s", label, _amount(done, unit), time.monotonic() - start)


def bar_size(max_columns: int) -> dict[str, Any]:
    """tqdm's options for a bar as wide as the terminal, `max_columns` at most."""
    terminal = shutil.get_terminal_size()  # 80 x 24 if a terminal says 0 x 0: tqdm would draw nothing
    return {"ncols": min(terminal.columns, max_columns), "nrows": terminal.lines}


def _amount(number: float, unit: str) -> str:
    return f"{number / 2**20:.1f} MiB" if unit == "B" else f"{number:,.0f} {unit}"


def _line(label: str, unit: str, done: int, total: int | None, seconds: float) -> str:
    text = f"{label}: {_amount(done, unit)}"
    if total:
        left = seconds * max(total - done, 0) / max(done, 1)
        text += f", {100 * done / total:.0f} % of {_amount(total, unit)}, about {left:.0f} s left"
    return f"{text}, {_amount(done / max(seconds, 1e-9), unit)}/s"
