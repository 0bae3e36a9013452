"""What the quality values say of images whose damage is known: blur, noise, JPEG, classes missing, copies.

python -m benchmarks.quality.calibration TRAIN_SHARDS TEST_SHARDS [COUNT [REFERENCE_COUNT [EXTRACTORS]]]

COUNT images of each kind (5000; half of the test set at most) against REFERENCE_COUNT train images (10000), by one
extractor or several, such as efficientnet_lite0,classifier.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn.functional import pad

from distgan.config.schema import DataConfig, EvaluateConfig
from distgan.data.bad_samples import SkipBudget
from distgan.data.reference import choose, open_data
from distgan.data.resident import load_images
from distgan.metrics.evaluator import Asked, Evaluator
from distgan.utils.rng import generator

COPIES = 10
Damage = Callable[[Image.Image], Image.Image]


def blurred(pixels: float) -> Damage:
    return lambda image: image.filter(ImageFilter.GaussianBlur(pixels))


def jpeg(quality: int) -> Damage:
    def damage(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return damage


def each(images: Tensor, damage: Damage) -> Tensor:
    """uint8 [N, 3, H, W] -> the same, one image at a time."""
    done = [np.asarray(damage(Image.fromarray(image))) for image in images.permute(0, 2, 3, 1).numpy()]
    return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2).contiguous()


def noisy(images: Tensor, strength: float) -> Tensor:
    """Normal noise of that standard deviation, of 255."""
    noise = torch.randn(images.shape, generator=generator("cpu", 0, "calibrate/noise"))
    return (images + strength * noise).round().clamp(0, 255).to(torch.uint8)


def mirrored_and_moved(images: Tensor) -> Tensor:
    """Moved one pixel to the right, and mirrored."""
    return pad(images.float(), (1, 0, 0, 0), mode="replicate")[..., :-1].flip(3).to(torch.uint8)


class Some(NamedTuple):
    """Images, uint8 [N, 3, H, W], in random order, and their classes, int64 [N]."""

    images: Tensor
    labels: Tensor

    def changed(self, change: Callable[[Tensor], Tensor]) -> Some:
        return Some(change(self.images), self.labels)

    def first(self, count: int) -> Some:
        return Some(self.images[:count], self.labels[:count])

    def without(self, classes: int) -> Some:
        kept = self.labels >= classes
        return Some(self.images[kept], self.labels[kept])


def kinds(test: Some, copied: Some, count: int) -> dict[str, Callable[[], Some]]:
    """By name: `count` images made of test images, and of as many of the reference's own."""
    classes, held_out = int(test.labels.max()) + 1, test.first(count)
    few = held_out.first(count // COPIES)
    return {
        "held out": lambda: held_out,
        **{f"blur {p} px": lambda p=p: held_out.changed(lambda x: each(x, blurred(p))) for p in (0.4, 0.6, 1.0)},
        **{f"noise {s}/255": lambda s=s: held_out.changed(lambda x: noisy(x, s)) for s in (4, 8, 16)},
        **{f"JPEG quality {q}": lambda q=q: held_out.changed(lambda x: each(x, jpeg(q))) for q in (50, 20)},
        "1 class missing": lambda: test.without(1).first(count),
        f"{classes // 2} classes missing": lambda: test.without(classes // 2).first(count),
        f"each {COPIES} times": lambda: Some(few.images.repeat(COPIES, 1, 1, 1), few.labels.repeat(COPIES)),
        "copies of the reference": lambda: copied,
        "copies, mirrored and moved": lambda: copied.changed(mirrored_and_moved),
        "copies with noise 8/255": lambda: copied.changed(lambda x: noisy(x, 8)),
    }


def measure(config: EvaluateConfig, train: Path, test: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Name and values of each kind of images, against `config.reference_count` of the train images."""
    evaluator = Evaluator(config, DataConfig(path=train), torch.device("cpu"), show=False)
    print(evaluator.protocol.model_dump_json(), flush=True)
    names, tested = some_of(test)
    if len(tested.images) < 2 * config.count:
        raise SystemExit(f"{test} has {len(tested.images)} images; COUNT must be {len(tested.images) // 2} or less")
    yield "other real train", evaluator.prepare()
    for name, make in kinds(tested, some_of(train)[1].first(config.count), config.count).items():
        images, labels = make()
        values, _ = evaluator.values_of(
            lambda rows, batch, images=images: images[rows.start : rows.stop].split(batch), name, Asked(labels, names)
        )
        yield name, values


def some_of(path: Path) -> tuple[tuple[str, ...], Some]:
    """Names of the classes, and all images in the order from which the reference is taken."""
    _, selection = open_data(DataConfig(path=path))
    images, labels = load_images(selection, SkipBudget(0), progress=False)
    order = choose(len(images), range(len(images)))
    return selection.classes, Some(images[order], labels[order])


def main(train: str, test: str, count: str = "5000", reference: str = "10000", extractors: str = "") -> None:
    """Prints a row for each kind of images, with the columns of all extractors."""
    shared = {"count": count, "reference_count": reference}
    configs = [EvaluateConfig.model_validate({**shared, "extractor": name}) for name in extractors.split(",") if name]
    tables = [measure(config, Path(train), Path(test)) for config in configs or [EvaluateConfig.model_validate(shared)]]
    for number, rows in enumerate(zip(*tables, strict=True)):
        values = {name: value for _, found in rows for name, value in found.items()}
        if not number:
            columns = tuple(values)
            print("| images | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
        print(f"| {rows[0][0]} | " + " | ".join(f"{values[name]:.4g}" for name in columns) + " |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
