"""CIFAR-10: ten classes, 32x32."""

from __future__ import annotations

from dataclasses import dataclass

from distgan.data.sources import cifar
from distgan.data.sources.base import Offer
from distgan.data.sources.official import Archive

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
KIND = cifar.Kind(
    name="CIFAR-10",
    source="cifar10",
    folders={"bin": "cifar-10-batches-bin", "py": "cifar-10-batches-py"},
    files={
        "bin": {"train": tuple(f"{name}.bin" for name in TRAIN), "test": ("test_batch.bin",)},
        "py": {"train": TRAIN, "test": ("test_batch",)},
    },
    records=("labels",),
    label="labels",
    classes=CLASSES,
    official=(
        Archive("cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"),
        Archive("cifar-10-python.tar.gz", 170_498_071, "c58f30108f718f92721af3b95e74349a"),
    ),
    max_batch_bytes=2 * 10_000 * (1 + cifar.PIXEL_BYTES),
)


@dataclass(frozen=True)
class Cifar10(cifar.CifarSource):
    """The source `cifar10`: CIFAR-10 from a local archive or directory, or downloaded to `download_dir`."""

    official: tuple[Archive, ...] = KIND.official

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes a split; reads `archive` once if there is one. See `Source`."""
        return cifar.offer(KIND, self, split, classes, {})
