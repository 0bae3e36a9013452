"""CIFAR-100: a hundred classes in twenty groups, 32x32."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from distgan.data.sources import cifar
from distgan.data.sources.base import Offer
from distgan.data.sources.official import Archive

FINE = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
)  # fmt: skip
COARSE = (
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables", "household_electrical_devices",
    "household_furniture", "insects", "large_carnivores", "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes", "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates",
    "people", "reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2",
)  # fmt: skip
KIND = cifar.Kind(
    name="CIFAR-100",
    source="cifar100",
    folders={"bin": "cifar-100-binary", "py": "cifar-100-python"},
    files={"bin": {"train": ("train.bin",), "test": ("test.bin",)}, "py": {"train": ("train",), "test": ("test",)}},
    records=("coarse_labels", "fine_labels"),
    label="fine_labels",
    classes=FINE,
    official=(
        Archive("cifar-100-binary.tar.gz", 168_513_733, "03b5dce01913d631647c71ecec9e9cb8"),
        Archive("cifar-100-python.tar.gz", 169_001_437, "eb9058c3a382ffc7106e4002c42a8d85"),
    ),
    max_batch_bytes=2 * 50_000 * (2 + cifar.PIXEL_BYTES),
)


@dataclass(frozen=True)
class Cifar100(cifar.CifarSource):
    """The source `cifar100`: CIFAR-100 from a local archive or directory, or downloaded to `download_dir`."""

    official: tuple[Archive, ...] = KIND.official
    labels: Literal["fine", "coarse"] = "fine"
    """fine: the 100 classes; coarse: their 20 groups."""

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes a split; reads `archive` once if there is one. See `Source`."""
        kind = KIND if self.labels == "fine" else replace(KIND, label="coarse_labels", classes=COARSE)
        return cifar.offer(kind, self, split, classes, {"labels": self.labels})
