"""Measurements while training: means of metrics on the device, time spent on data, speed, memory."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import psutil
import torch
from torch import Tensor

from distgan.data.dataset import Batch
from distgan.distributed.collectives import mean, own_row, rows_of_all, world_size
from distgan.training.checkpoint.storage import State, counter
from distgan.utils.errors import CheckpointError

MAX_TIMED = 1000  # steps whose times are kept for a line of metrics


class Averages:
    """Means of detached scalars on the device, over micro-batches or over updates of one step."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """metrics: scalars; a name may be missing at times."""
        for name, value in metrics.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, Tensor]:
        """Each metric's mean over the times that it was added."""
        counts = self._counts
        return {name: total / counts[name] if counts[name] > 1 else total for name, total in self._sums.items()}


def precise_type(device: torch.device) -> torch.dtype:
    """The most precise type that a device has."""
    return torch.float32 if device.type == "mps" else torch.float64


class RunningMeans:
    """Means over the steps since the last line of metrics, kept on the device: `add` never waits for it.

    They are part of a checkpoint, so that the first line after a restart is the one of an undisturbed training.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], tuple[Tensor, int]] = {}  # per set of keys: sums [len(keys)], times added

    def add(self, metrics: dict[str, Tensor]) -> None:
        """metrics: scalars on one device; a key may be missing in some steps, but then on every rank."""
        if not metrics:
            return
        keys = tuple(metrics)
        precise = precise_type(next(iter(metrics.values())).device)
        values = torch.stack([value.detach().reshape(()) for value in metrics.values()]).to(precise)
        if keys in self._sums:
            sums, count = self._sums[keys]
            sums += values
            self._sums[keys] = sums, count + 1
        else:
            self._sums[keys] = values, 1

    def reduce(self) -> dict[str, float]:
        """Means over steps and ranks; then empty. One all-reduce and one copy to the host; every rank must call it."""
        totals: dict[str, tuple[Tensor, int]] = {}
        for keys, (sums, count) in self._sums.items():
            for key, value in zip(keys, sums.unbind(), strict=True):
                total, times = totals.get(key, (torch.zeros_like(value), 0))
                totals[key] = total + value, times + count
        self._sums.clear()
        if not totals:
            return {}
        keys = tuple(sorted(totals))  # the same order on every rank
        means = mean(torch.stack([totals[key][0] / totals[key][1] for key in keys]))
        return dict(zip(keys, means.tolist(), strict=True))

    def state(self) -> State:
        """All ranks' sums, for a checkpoint. A collective."""
        tensors = {f"means/{index}": rows_of_all(sums) for index, (sums, _) in enumerate(self._sums.values())}
        return State(tensors, {"means": [{"names": list(keys), "times": n} for keys, (_, n) in self._sums.items()]})

    def restore(self, state: State, device: torch.device) -> None:
        """Takes the sums of a checkpoint; none from one of 0.1.0. Raises CheckpointError if they are damaged."""
        self._sums.clear()
        precise = precise_type(device)
        try:
            for index, part in enumerate(state.values.get("means", [])):
                keys, sums = tuple(map(str, part["names"])), own_row(state.tensors[f"means/{index}"])
                if sums.shape != (len(keys),):
                    raise ValueError(f"sums of shape {list(sums.shape)} for {len(keys)} metrics")
                self._sums[keys] = sums.to(device, precise, copy=True), counter(part["times"])
        except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint is damaged: means of metrics: {error}") from None


class Window:
    """Sums of the metrics that a controller watches, since it last acted. They are part of a checkpoint."""

    def __init__(self, names: tuple[str, ...], device: torch.device) -> None:
        self.names, self.sums, self.steps = names, torch.zeros(len(names), device=device), 0

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Adds one step's metrics."""
        self.sums += torch.stack([metrics[name] for name in self.names])
        self.steps += 1

    def means(self) -> dict[str, Tensor]:
        """Means over the window and all ranks, scalars on the device, the same on every rank. Starts a new window."""
        means = mean(self.sums / self.steps)
        self.sums, self.steps = torch.zeros_like(self.sums), 0
        return dict(zip(self.names, means.unbind(), strict=True))


class BatchTimer:
    """Passes batches on and adds up the seconds spent waiting for them."""

    def __init__(self, batches: Generator[Batch, None, None], set_activity: Callable[[str], None]) -> None:
        """set_activity: is called with what this rank does: it waits for images, it trains."""
        self._batches, self._set_activity, self.seconds = batches, set_activity, 0.0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def close(self) -> None:
        """Ends what makes the batches."""
        self._batches.close()

    def __next__(self) -> Batch:
        start = time.perf_counter()
        self._set_activity("waits for images")
        batch = next(self._batches)
        self._set_activity("trains")
        self.seconds += time.perf_counter() - start
        return batch


class Stopwatch:
    """Seconds of training since it was created, without what was left out."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """A context whose time does not count."""
        before = self.seconds
        yield
        self._start += self.seconds - before


class StepTimer:
    """Times each step, without the wait for its images: on a GPU by the GPU's own clock, for which nothing waits."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._steps: deque[tuple[Any, Any]] = deque(maxlen=MAX_TIMED)  # start and end of each

    @contextmanager
    def step(self) -> Iterator[None]:
        """A context for one step."""
        start = self._now()
        yield
        self._steps.append((start, self._now()))

    def take(self) -> list[float]:
        """Seconds of the newest steps since the last call, in ascending order. Waits for the device."""
        steps, self._steps = self._steps, deque(maxlen=MAX_TIMED)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return sorted(start.elapsed_time(end) / 1000 for start, end in steps)
        return sorted(end - start for start, end in steps)

    def _now(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


@dataclass(frozen=True)
class Work:
    """What a step is to the device."""

    flops: float | None
    """Of a step of the global batch; None: not known."""
    images: int
    """Real images of a step."""
    peak: float | None
    """FLOP/s that all devices together can do; None: not known."""


class Speed:
    """Images and FLOPs per second, the time of a step, and the share of time spent waiting for data, since the last
    line."""

    def __init__(self, watch: Stopwatch, waiting: BatchTimer, steps: StepTimer, images: int, work: Work) -> None:
        """images: seen so far."""
        self._watch, self._waiting, self._steps, self._images, self._work = watch, waiting, steps, images, work
        self._seconds, self._waited = watch.seconds, waiting.seconds

    def window(self, images: int) -> dict[str, float]:
        """Metrics since the last call; those of the ranks are gathered where there are several. images: seen so far.

        A collective.
        """
        now, waited, steps = self._watch.seconds, self._waiting.seconds, self._steps.take()
        seconds, seen = max(now - self._seconds, 1e-9), images - self._images
        waits = (waited - self._waited) / seconds
        self._images, self._seconds, self._waited = images, now, waited
        found = {"speed/images_per_second": seen / seconds, "speed/data_wait": waits}
        if self._work.flops is not None:
            flops = self._work.flops * seen / self._work.images / seconds
            found["speed/tflops"] = flops / 1e12
            if self._work.peak is not None:
                found["speed/peak_share"] = flops / self._work.peak
        if steps:
            found["speed/step_seconds_median"] = median(steps)
            found["speed/step_seconds_p95"] = steps[math.ceil(0.95 * len(steps)) - 1]
        return found | spread_of_ranks(median(steps) if steps else 0.0, waits, self._steps.device)


def spread_of_ranks(step_seconds: float, data_wait: float, device: torch.device) -> dict[str, float]:
    """The smallest and the largest value of all ranks; empty where there is one. A collective. device: of its group."""
    if world_size() == 1:
        return {}
    rows = rows_of_all(torch.tensor([step_seconds, data_wait], dtype=precise_type(device), device=device))
    (fastest, lowest), (slowest, highest) = rows.amin(0).tolist(), rows.amax(0).tolist()
    return {
        "ranks/step_seconds_fastest": fastest,
        "ranks/step_seconds_slowest": slowest,
        "ranks/data_wait_lowest": lowest,
        "ranks/data_wait_highest": highest,
    }


def memory(device: torch.device) -> dict[str, float]:
    """Peak memory of the device and resident set of this process, GiB."""
    figures = {"memory/host_gb": psutil.Process().memory_info().rss / 2**30}
    if device.type == "cuda":
        figures["memory/device_gb"] = torch.cuda.max_memory_allocated(device) / 2**30
    return figures
