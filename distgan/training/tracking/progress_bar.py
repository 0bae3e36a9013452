"""Training progress for a person: a bar on a terminal, plain lines elsewhere; main process only."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from distgan.utils.log import log
from distgan.utils.progress import bar_size

SHOWN = {"loss/d": "loss_d", "loss/g": "loss_g", "d/real_prob": "d_real", "d/fake_prob": "d_fake"}
FORM = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} images, {remaining} left, {rate_noinv_fmt}{postfix}"
WIDE = 110  # columns, from which on there is room for D's answers
INTERVAL = 5.0  # seconds between two plain lines, at least


class ProgressBar:
    """Images seen of the budget, losses, images/s, time left."""

    def __init__(self, total: int, enabled: bool) -> None:
        """total: budget in real images; a disabled display does nothing."""
        self.total, self.enabled = total, enabled
        self._last_line = 0.0
        self._bar: Any = None

    def start(self, images: int) -> None:
        """When training begins, with `images` seen before."""
        if self.enabled and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, initial=images, unit="", bar_format=FORM, **bar_size(140))

    def step(self, images: int) -> None:
        """After every step."""
        if self._bar is not None:
            self._bar.update(images - self._bar.n)

    def log(self, images: int, metrics: Mapping[str, float]) -> None:
        """After every log step."""
        if not self.enabled:
            return
        shown = {short: f"{metrics[name]:.3f}" for name, short in SHOWN.items() if name in metrics}
        if self._bar is not None:
            losses = {name: shown[key] for name, key in (("D", "loss_d"), ("G", "loss_g")) if key in shown}
            fitting = shown if self._bar.ncols >= WIDE else losses
            self._bar.set_postfix(fitting, refresh=False)
        if (now := time.monotonic()) - self._last_line >= INTERVAL or images >= self.total:
            self._last_line = now
            rate = metrics["speed/images_per_second"]
            numbers = " ".join(f"{name} {value}" for name, value in shown.items())
            left = f"{clock((self.total - images) / rate)} left" if rate > 0 else "just resumed"
            log.info(
                "%s",
                f"{images:,} of {self.total:,} images ({100 * images / self.total:.0f} %) {numbers} "
                f"{rate:,.0f} images/s, {left}",
                extra={"on_bar": self._bar is not None},
            )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def clock(seconds: float) -> str:
    """3725 -> 1:02:05."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
