"""Real images for one rank: shards in, batches on the device out, in either mode through one interface.

A batch's number is all the state there is: batch k is a function of (configuration, seed, k), so resuming is starting
at the next number.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from distgan.config.schema import DataConfig
from distgan.data.bad_samples import SkipBudget
from distgan.data.remote.store import RemoteStore
from distgan.data.resident import Resident, load
from distgan.data.sharding import Plan
from distgan.data.shards.manifest import load_manifest
from distgan.data.shards.reader import ShardSelection, first_images, select
from distgan.data.streaming import Stream
from distgan.distributed.collectives import largest
from distgan.utils.errors import DataError
from distgan.utils.rng import Draws, Rows, key

AUTO_WORKERS = 2


class Batch(NamedTuple):
    images: Tensor
    """uint8 [b, 3, H, W] on the training device."""
    labels: Tensor
    """int64 [b] on the training device: place in `ImageDataset.classes`."""

    def parts(self, parts: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Its micro-batches."""
        return zip(self.images.chunk(parts), self.labels.chunk(parts), strict=True)


class ImageDataset:
    """The real images as one rank sees them."""

    def __init__(self, config: DataConfig, seed: int, rows: Rows, device: torch.device, show: bool) -> None:
        """`rows`: this rank's rows of a global batch; `show`: whether to show progress. Raises DataError."""
        place = place_of(config)
        manifest = load_manifest(place)
        self.wanted = select(place, manifest, config.classes)
        self._skipped = SkipBudget(config.max_skipped if config.on_error == "skip" else 0)
        self.manifest_digest = manifest.digest
        self.rows, self.device, self.flip, self.seed = rows, device, config.flip, seed
        self.mode = mode_of(config, self.wanted)
        self._source: Stream | Resident
        if self.mode == "resident":
            images, labels = load(self.wanted, self._skipped, show)
            if self._skipped.limit:
                check_same(self._skipped, device)
            if config.resident_on == "device":
                images, labels = images.to(device), labels.to(device)
            self._source = Resident(images, labels, rows, seed, config.shuffle)
            self.left_out_per_epoch = 0
        else:
            gpu = device.type == "cuda"
            plan, workers = plan_of(config, self.wanted, rows, seed, gpu), workers_of(config, self.wanted, gpu)
            self._source = Stream(self.wanted, plan, config.shuffle_buffer, workers, gpu, self._skipped)
            self.left_out_per_epoch = plan.left_out
        self.images = self.wanted.total

    @property
    def classes(self) -> tuple[str, ...]:
        return self.wanted.classes

    @property
    def size(self) -> int:
        return self.wanted.size

    @property
    def skipped(self) -> int:
        """Different images that this rank could not read and did not show since it started."""
        return len(self._skipped.names)

    def epoch(self, batches: int) -> float:
        """Epochs that `batches` global batches make."""
        return batches * self.rows.total / (self.images - self.left_out_per_epoch)

    def batches(self, start: int) -> Iterator[Batch]:
        """Endless, from batch `start` on."""
        draws = Draws(self.seed, self.rows, self.device)
        for number, (images, labels) in enumerate(self._source.batches(start), start):
            images, labels = (self._to_device(tensor) for tensor in (images, labels))
            if self.flip:
                images = mirrored(images, draws.at("data/flip", number).uniform() < 0.5)
            yield Batch(images, labels)

    def _to_device(self, tensor: Tensor) -> Tensor:
        """Without waiting: a copy to a GPU is asynchronous from pinned memory only."""
        if self.device.type == "cuda" and not tensor.is_cuda and not tensor.is_pinned():
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def first(self, count: int) -> Tensor:
        """uint8 [<= count, 3, H, W] in host memory, to be looked at."""
        return torch.from_numpy(first_images(self.wanted, count, self._skipped.limit).copy())


def mirrored(images: Tensor, chosen: Tensor) -> Tensor:
    """Some of the images from left to right. images: [b, 3, H, W]; chosen: bool [b].

    Whole images are copied: `torch.where` looks at every byte, and takes eight times as long on a CPU.
    """
    place = torch.arange(len(images), device=images.device)
    return torch.cat([images, images.flip(3)]).index_select(0, place + len(images) * chosen)


def check_same(skipped: SkipBudget, device: torch.device) -> None:
    """Raises DataError, on every rank, if the ranks have skipped different images. A collective.

    device: where the process group's tensors are; without a group there is nothing to compare.
    """
    digest = key(0, "\n".join(sorted(skipped.names)))
    both = largest(torch.tensor([digest, -digest], device=device))
    if both.tolist() != [digest, -digest]:
        raise DataError(
            f"the processes could not read different images ({len(skipped.names)} here), and so would not train on "
            "the same; start again, or set data.on_error=raise or data.mode=stream"
        )


def place_of(config: DataConfig) -> Path | RemoteStore:
    """Where the data set is: a directory, or what reads a URL."""
    path = config.path
    return path if isinstance(path, Path) else RemoteStore(path, config.tries, config.stall_seconds, config.cache)


def mode_of(config: DataConfig, wanted: ShardSelection) -> str:
    """`auto` is resident where the decoded images fit the limit."""
    if config.mode != "auto":
        return config.mode
    return "resident" if wanted.total * wanted.size**2 * 3 <= config.resident_limit_mb << 20 else "stream"


def plan_of(config: DataConfig, wanted: ShardSelection, rows: Rows, seed: int, gpu: bool) -> Plan:
    batch, counts = len(rows), tuple(wanted.count(shard) for shard in wanted.shards)
    streams = max(workers_of(config, wanted, gpu), 1)
    plan = Plan(counts, batch, rows.start // batch, rows.total // batch, streams, seed, config.shuffle)
    if not plan.batches_per_epoch:
        raise DataError(
            f"{config.path} holds {wanted.total} wanted images, fewer than one batch of {rows.total}; "
            "use a smaller train.batch_size, or data.mode=resident, which repeats images within a batch"
        )
    return plan


def workers_of(config: DataConfig, wanted: ShardSelection, gpu: bool) -> int:
    """Reader processes of a rank in stream mode.

    `auto` is 0 for a directory where reading is little more than copying, which a worker would do twice, and where
    training itself needs the cores. Images in the shards' order come from one worker: several would each be in
    another place of it.
    """
    workers = config.workers
    if workers == "auto":
        workers = 0 if isinstance(wanted.root, Path) and (wanted.layout == "blocks" or not gpu) else AUTO_WORKERS
    return workers if config.shuffle else min(workers, 1)
