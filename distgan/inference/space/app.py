"""A page that draws images from a GAN generator: seeds, classes and mixtures of two, truncation.

Beside it lies generator.onnx. Needs numpy, pillow and onnxruntime, and gradio for the page. A seed shows the image that
`distgan sample` makes of it, within one grey level.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

TITLE = "GAN generator"
FILE = Path(__file__).with_name("generator.onnx")
MAX_IMAGES, BATCH, VISIBLE, PAD = 64, 16, 64, 2
MAX_TRUNCATION = 3.0  # the slider's end, which means none

session = onnxruntime.InferenceSession(str(FILE), providers=["CPUExecutionProvider"])
facts = json.loads(session.get_modelmeta().custom_metadata_map["distgan.json"])
CLASSES: list[str] = facts["class_names"]


def parse_seeds(text: str) -> list[int]:
    """`0-3,7` -> [0, 1, 2, 3, 7]. Raises ValueError with a sentence."""
    seeds: list[int] = []
    for part in str(text).split(","):
        found = re.fullmatch(r"\s*(\d{1,19})\s*(?:-\s*(\d{1,19})\s*)?", part, re.ASCII)
        if found is None:
            raise ValueError(f"'{part[:40]}' is no seed; write whole numbers and ranges, such as 0-15,70")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first or last >= 2**63 or last - first >= MAX_IMAGES or len(seeds) + last - first >= MAX_IMAGES:
            raise ValueError(
                f"'{part[:40]}' is no range of at most {MAX_IMAGES} seeds below 2**63, the first one first"
            )
        seeds += range(first, last + 1)
    return seeds


def latents_of(seeds: Sequence[int], truncation: float | None) -> np.ndarray:
    """[N, latent_dim], float32: the numbers that torch draws for distgan."""
    rows = np.stack([normal(seed, facts["latent_dim"]) for seed in seeds])
    return (rows if truncation is None else truncate(rows, truncation)).astype(np.float32)


def normal(seed: int, count: int) -> np.ndarray:
    """torch's `normal_` of float64 on the CPU, from the stream that belongs to a seed: Mersenne Twister, Box-Muller."""
    key = hashlib.blake2b(f"{seed}/sample/latent".encode(), digest_size=8).digest()
    source = np.random.RandomState(int.from_bytes(key, "big") >> 1 & 0xFFFFFFFF)
    if count < 16:
        first, second = uniform(source, count + count % 2).reshape(-1, 2).T
        radius, angle = np.sqrt(-2 * np.log1p(-second)), 2 * np.pi * first
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()[:count]
    numbers = uniform(source, count)
    result = box_muller(numbers[: count // 16 * 16])
    if count % 16:  # the last 16 are drawn again
        result = np.concatenate([result[: count - 16], box_muller(uniform(source, 16))])
    return result


def uniform(source: np.random.RandomState, count: int) -> np.ndarray:
    """float64 in [0, 1), of 53 bits each."""
    words = source.randint(0, 2**32, 2 * count, dtype=np.uint64).reshape(-1, 2)
    return ((words[:, 0] << np.uint64(32) | words[:, 1]) & np.uint64(2**53 - 1)) * 2.0**-53


def box_muller(numbers: np.ndarray) -> np.ndarray:
    """16 normal numbers of 16 uniform ones, and so on."""
    first, second = numbers.reshape(-1, 2, 8).transpose(1, 0, 2)
    radius, angle = np.sqrt(-2 * np.log(1 - first)), 2 * np.pi * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()


def truncate(rows: np.ndarray, limit: float) -> np.ndarray:
    """Maps normal numbers to the normal distribution within [-limit, limit]."""
    below = 0.5 * math.erfc(limit / math.sqrt(2))
    inverse = NormalDist().inv_cdf

    def lower(number: float) -> float:
        return max(-limit, inverse(below + 0.5 * math.erfc(abs(number) / math.sqrt(2)) * (1 - 2 * below)))

    return np.copysign(np.vectorize(lower, otypes=[np.float64])(rows), rows)


def weights_of(seeds: Sequence[int], first: str | None, second: str | None, share: float) -> np.ndarray:
    """[N, classes]: weights of the classes. first: None: that of seed s is class s modulo their number."""
    chosen = [seed % len(CLASSES) for seed in seeds] if first is None else [CLASSES.index(first)] * len(seeds)
    weights = np.eye(len(CLASSES), dtype=np.float32)[chosen]
    if second is None:
        return weights
    other = np.eye(len(CLASSES), dtype=np.float32)[CLASSES.index(second)]
    return ((1 - share) * weights + share * other).astype(np.float32)


def images_of(latents: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """uint8 [N, channels, size, size]."""
    parts = []
    for start in range(0, len(latents), BATCH):
        inputs = [each[start : start + BATCH] for each in (latents, weights) if each is not None]
        names = [each.name for each in session.get_inputs()]
        given = dict(zip(names, inputs, strict=True))
        parts.append(session.run(None, given)[0])
    floats = np.concatenate(parts).astype(np.float32)
    return np.clip(np.round((floats + 1) * 127.5), 0, 255).astype(np.uint8)


def grid_of(images: np.ndarray, columns: int) -> Image.Image:
    """Images row by row on white, small ones enlarged by a whole factor."""
    scale = max(1, VISIBLE // images.shape[-1])
    images = images.repeat(scale, 2).repeat(scale, 3)
    cell, rows = images.shape[-1] + PAD, math.ceil(len(images) / columns)
    canvas = np.full((images.shape[1], rows * cell + PAD, columns * cell + PAD), 255, np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * cell + PAD, place % columns * cell + PAD
        canvas[:, top : top + cell - PAD, left : left + cell - PAD] = image
    return Image.fromarray(canvas[0] if len(canvas) == 1 else np.ascontiguousarray(canvas.transpose(1, 2, 0)))


def draw(
    seeds: str, first: str | None = None, second: str | None = None, share: float = 0.5, truncation: float = 3.0
) -> Image.Image:
    """The grid that the page shows. Raises ValueError with a sentence for a wrong input."""
    chosen = parse_seeds(seeds)
    names = [name if name and name in CLASSES else None for name in (first, second)]
    if not 0 <= share <= 1 or not 0 < truncation < math.inf:
        raise ValueError("the share must be in 0 ... 1, and the truncation above 0")
    latents = latents_of(chosen, truncation if truncation < MAX_TRUNCATION else None)
    weights = weights_of(chosen, names[0], names[1], share) if CLASSES else None
    return grid_of(images_of(latents, weights), math.ceil(math.sqrt(len(chosen))))


def page() -> Any:
    """The gradio page."""
    import gradio

    def answer(seeds: str, first: str, second: str, share: float, truncation: float) -> Image.Image:
        try:
            return draw(seeds, first, second, share, truncation)
        except ValueError as error:
            raise gradio.Error(str(error), print_exception=False) from None

    with gradio.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        gradio.Markdown(f"# {plain(TITLE)}")
        with gradio.Row():
            with gradio.Column(scale=1):
                seeds = gradio.Textbox("0-15", label="Seeds", info=f"such as 0-15,70; at most {MAX_IMAGES}")
                every = [("each seed its own" if CLASSES else "", ""), *((name, name) for name in CLASSES)]
                first = gradio.Dropdown(every, value="", label="Class", visible=bool(CLASSES))
                none = [("none", ""), *every[1:]]
                second = gradio.Dropdown(none, value="", label="Mixed with", visible=bool(CLASSES))
                share = gradio.Slider(0, 1, 0.5, step=0.05, label="Share of the second", visible=bool(CLASSES))
                label = f"Truncation ({MAX_TRUNCATION:g}: none)"
                truncation = gradio.Slider(0.1, MAX_TRUNCATION, MAX_TRUNCATION, step=0.1, label=label)
                button = gradio.Button("Draw", variant="primary")
            with gradio.Column(scale=2):
                image = gradio.Image(show_label=False, format="png", interactive=False, buttons=["download"])
        inputs = [seeds, first, second, share, truncation]
        button.click(answer, inputs, image, api_name="draw")
        seeds.submit(answer, inputs, image, api_name=False)
        blocks.load(answer, inputs, image, api_name=False)
    return blocks


def plain(text: str) -> str:
    """Text that Markdown and HTML show as it is."""
    return re.sub(r"[^\w\s,()-]", lambda sign: f"&#{ord(sign[0])};", text)


if __name__ == "__main__":
    page().launch()
