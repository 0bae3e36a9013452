"""Real images for one rank: shards in, batches on the device out, in either mode through one interface.

A batch's number is all the state there is: batch k is a function of (configuration, seed, k), so resuming is starting
at the next number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from distgan.config.schema import DataConfig
from distgan.data.bad_samples import SkipBudget
from distgan.data.location import open_data_set
from distgan.data.resident import Resident, load_images
from distgan.data.sharding import ReadPlan
from distgan.data.shards.reader import first_images
from distgan.data.shards.selection import ShardSelection, select_shards
from distgan.data.streaming import Stream
from distgan.data.workers import GiveUp
from distgan.distributed.collectives import largest
from distgan.utils.errors import DataError
from distgan.utils.rng import Draws, Rows, key

AUTO_WORKERS = 2


class Batch(NamedTuple):
    """Real images of one rank for one step."""

    images: Tensor
    """uint8 [b, channels, H, W] on the training device."""
    labels: Tensor
    """int64 [b] on the training device: index in `ImageDataset.classes`."""

    def micro_batches(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields images and labels of `count` micro-batches of the same size."""
        return zip(self.images.chunk(count), self.labels.chunk(count), strict=True)


class ImageDataset:
    """The real images of one rank."""

    def __init__(self, config: DataConfig, seed: int, rows: Rows, device: torch.device, show: bool) -> None:
        """rows: this rank's rows of a global batch; show: whether to show progress. Raises DataError."""
        location, manifest = open_data_set(config, progress=show, notes=show)
        self.selection = select_shards(location, manifest, config.classes)
        self.images = self.selection.total
        """Number of images of the classes."""
        self.manifest, self.manifest_digest = manifest, manifest.digest
        self.rows, self.device, self.flip, self.seed = rows, device, config.flip, seed
        self.mode = mode_of(config, self.selection)
        self._skip_budget = SkipBudget(config.max_skipped if config.on_error == "skip" else 0)
        self._source: Stream | Resident
        if self.mode == "resident":
            self._source, self.left_out_per_epoch = self._resident(config, show), 0
        else:
            plan = read_plan(config, self.selection, rows, seed, device.type == "cuda")
            self._source, self.left_out_per_epoch = self._stream(config, plan), plan.left_out

    def _resident(self, config: DataConfig, show: bool) -> Resident:
        images, labels = load_images(self.selection, self._skip_budget, show)
        if self._skip_budget.limit:
            check_same_skips(self._skip_budget, self.device)
        if config.resident_on == "device":
            images, labels = images.to(self.device), labels.to(self.device)
        return Resident(images, labels, self.rows, self.seed, config.shuffle)

    def _stream(self, config: DataConfig, plan: ReadPlan) -> Stream:
        gpu = self.device.type == "cuda"
        workers = worker_count(config, self.selection, gpu)
        return Stream(self.selection, plan, config.shuffle_buffer, workers, gpu, self._skip_budget)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.selection.classes

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Images of each class."""
        return self.selection.class_counts

    @property
    def size(self) -> int:
        """Height and width of the images, pixels."""
        return self.selection.size

    @property
    def channels(self) -> int:
        """1: gray, 3: RGB."""
        return self.selection.form.channels

    @property
    def skipped(self) -> int:
        """Number of different images that this rank could not read and left out since it started."""
        return len(self._skip_budget.names)

    def epoch(self, batches: int) -> float:
        """Returns the number of epochs that `batches` global batches make."""
        return batches * self.rows.total / (self.images - self.left_out_per_epoch)

    def batches(self, start: int, give_up: GiveUp = lambda _seconds: False) -> Generator[Batch, None, None]:
        """Yields batches without end, from batch `start` on. Raises DataError, and Stalled (see workers.py)."""
        with contextlib.closing(self._source.batches(start, give_up)) as batches:
            yield from deliver(batches, start, Draws(self.seed, self.rows, self.device), self.flip)

    def first(self, count: int) -> Batch:
        """Returns the first images of the shards, for previews: at most `count`, in host memory."""
        images, labels = first_images(self.selection, count, self._skip_budget.limit)
        return Batch(torch.from_numpy(images.copy()), torch.from_numpy(labels))


def deliver(batches: Iterable[tuple[Tensor, Tensor]], start: int, draws: Draws, flip: bool) -> Iterator[Batch]:
    """Yields the batches, numbered from `start` on, on the device of `draws`; flip: mirrors half of the images."""
    for number, (images, labels) in enumerate(batches, start):
        images, labels = (_to_device(tensor, draws.device) for tensor in (images, labels))
        if flip:
            images = mirror(images, draws.at("data/flip", number).uniform() < 0.5)
        yield Batch(images, labels)


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copies to the device without waiting: a copy to a GPU is asynchronous only from pinned memory."""
    if device.type == "cuda" and not tensor.is_cuda and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def mirror(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirrors some images left to right. images: [b, channels, H, W]; chosen: bool [b]; returns a new tensor.

    Whole images are copied: `torch.where` compares every byte and takes eight times as long on a CPU.
    """
    rows = torch.arange(len(images), device=images.device)
    return torch.cat([images, images.flip(3)]).index_select(0, rows + len(images) * chosen)


def check_same_skips(skip_budget: SkipBudget, device: torch.device) -> None:
    """Raises DataError, on every rank, if the ranks have skipped different images. A collective.

    device: of the process group's tensors; without a group there is nothing to compare.
    """
    digest = key(0, "\n".join(sorted(skip_budget.names)))
    extremes = largest(torch.tensor([digest, -digest], device=device))
    if extremes.tolist() != [digest, -digest]:
        raise DataError(
            f"the processes could not read different images ({len(skip_budget.names)} here), and so would not train on "
            "the same; start again, or set data.on_error=raise or data.mode=stream"
        )


def mode_of(config: DataConfig, selection: ShardSelection) -> str:
    """Returns resident or stream: `auto` is resident if the decoded images fit the limit."""
    if config.mode != "auto":
        return config.mode
    return "resident" if selection.total * selection.image_bytes <= config.resident_limit_mb << 20 else "stream"


def read_plan(config: DataConfig, selection: ShardSelection, rows: Rows, seed: int, gpu: bool) -> ReadPlan:
    """Returns the plan of a rank in stream mode. rows: its rows of a global batch; gpu: whether training is on one.

    Raises DataError if there are fewer images than one global batch.
    """
    batch, counts = len(rows), tuple(selection.count(shard) for shard in selection.shards)
    workers = max(worker_count(config, selection, gpu), 1)
    plan = ReadPlan(counts, batch, rows.start // batch, rows.total // batch, workers, seed, config.shuffle)
    if not plan.batches_per_epoch:
        raise DataError(
            f"{config.path} holds {selection.total} selected images, fewer than one batch of {rows.total}; "
            "use a smaller train.batch_size, or data.mode=resident, which repeats images within a batch"
        )
    return plan


def worker_count(config: DataConfig, selection: ShardSelection, gpu: bool) -> int:
    """Returns the number of worker processes of a rank in stream mode; 0: the main process reads.

    `auto` is 0 for a directory if reading is little more than copying, which a worker would do twice, or if training
    itself needs the cores. Without shuffling there is one worker at most: each one reads another part of the order.
    """
    workers = config.workers
    if workers == "auto":
        cheap = selection.layout == "blocks" or not gpu
        workers = 0 if isinstance(selection.location, Path) and cheap else AUTO_WORKERS
    return workers if config.shuffle else min(workers, 1)
