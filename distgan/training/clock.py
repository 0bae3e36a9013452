"""What a step costs: waiting for data, images per second, memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import torch

from distgan.data.dataset import Batch


class Waiting:
    """Passes batches on and adds up the time that was spent waiting for them."""

    def __init__(self, batches: Iterator[Batch], tell: Callable[[str], None]) -> None:
        """tell: hears what this rank does: it waits for images, it trains."""
        self._batches, self._tell, self.seconds = batches, tell, 0.0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        self._tell("waits for images")
        batch = next(self._batches)
        self._tell("trains")
        self.seconds += time.perf_counter() - start
        return batch


class Stopwatch:
    """Seconds of training since it was made: all that passes, but what was left out."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    @contextmanager
    def left_out(self) -> Iterator[None]:
        before = self.seconds
        yield
        self._start += self.seconds - before


class Clock:
    """Speed since the last look."""

    def __init__(self, watch: Stopwatch, waiting: Waiting, images: int) -> None:
        self._watch, self._waiting, self._images = watch, waiting, images
        self._seconds, self._waited = watch.seconds, waiting.seconds

    def window(self, images: int) -> dict[str, float]:
        now, waited = self._watch.seconds, self._waiting.seconds
        seconds = max(now - self._seconds, 1e-9)
        speeds = {
            "speed/images_per_second": (images - self._images) / seconds,
            "speed/data_wait": (waited - self._waited) / seconds,
        }
        self._images, self._seconds, self._waited = images, now, waited
        return speeds


def memory(device: torch.device) -> dict[str, float]:
    """Peak of the device and resident set of this process, GiB."""
    figures = {"memory/host_gb": psutil.Process().memory_info().rss / 2**30}
    if device.type == "cuda":
        figures["memory/device_gb"] = torch.cuda.max_memory_allocated(device) / 2**30
    return figures
