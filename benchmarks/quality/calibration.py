"""What the quality values say of images whose damage is known: blur, noise, JPEG, classes missing, copies.

python -m benchmarks.quality.calibration TRAIN_SHARDS TEST_SHARDS [COUNT [REFERENCE_COUNT [EXTRACTOR]]]

COUNT images of each kind (5000; half of the test set at most) against REFERENCE_COUNT train images (10000).
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from distgan.config.schema import DataConfig, EvaluateConfig
from distgan.data.bad_samples import SkipBudget
from distgan.data.reference import choose, open_data
from distgan.data.resident import load_images
from distgan.metrics.evaluator import Evaluator
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


def kinds(images: Tensor, labels: Tensor, count: int) -> dict[str, Callable[[], Tensor]]:
    """By name: `count` images made of uint8 [N, 3, H, W], in random order, with classes [N]."""
    classes = int(labels.max()) + 1

    def lacking(missing: int) -> Tensor:
        return images[labels >= missing][:count]

    held_out = images[:count]
    return {
        "held out": lambda: held_out,
        **{f"blur {pixels} px": lambda p=pixels: each(held_out, blurred(p)) for pixels in (0.4, 0.6, 1.0)},
        **{f"noise {strength}/255": lambda s=strength: noisy(held_out, s) for strength in (4, 8, 16)},
        **{f"JPEG quality {quality}": lambda q=quality: each(held_out, jpeg(q)) for quality in (50, 20)},
        "1 class missing": lambda: lacking(1),
        f"{classes // 2} classes missing": lambda: lacking(classes // 2),
        f"each {COPIES} times": lambda: held_out[: count // COPIES].repeat(COPIES, 1, 1, 1),
    }


def measure(config: EvaluateConfig, train: Path, test: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Name and values of each kind of images, against `config.reference_count` of the train images."""
    evaluator = Evaluator(config, DataConfig(path=train), torch.device("cpu"), show=False)
    print(evaluator.protocol.model_dump_json(), flush=True)
    _, selection = open_data(DataConfig(path=test))
    images, labels = load_images(selection, SkipBudget(0), progress=False)
    if len(images) < 2 * config.count:
        raise SystemExit(f"{test} has {len(images)} images; COUNT must be {len(images) // 2} or less")
    order = choose(len(images), range(len(images)))
    yield "other real train", evaluator.prepare()
    for name, make in kinds(images[order], labels[order], config.count).items():
        made = make()
        values, _ = evaluator.values_of(lambda rows, batch, made=made: made[rows.start : rows.stop].split(batch), name)
        yield name, values


def main(train: str, test: str, count: str = "5000", reference: str = "10000", extractor: str = "") -> None:
    given = {"count": count, "reference_count": reference, **({"extractor": extractor} if extractor else {})}
    for number, (name, values) in enumerate(measure(EvaluateConfig.model_validate(given), Path(train), Path(test))):
        if not number:
            print("| images | " + " | ".join(values) + " |\n" + "|---" * (len(values) + 1) + "|")
        print(f"| {name} | " + " | ".join(f"{value:.4g}" for value in values.values()) + " |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
