"""Run directories made by hand: what a training would have left, without a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from distgan.config.load import load_config
from distgan.utils.images import save_png, to_grid


def lines(path: Path, rows: list[object]) -> None:
    """A file of JSON lines; a row that is text stands as it is."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def evaluation(images: int, fid: float, **more: Any) -> dict[str, Any]:
    """A line of scores.jsonl."""
    scores = {
        "protocol": {"extractor": "inception", "count": 5000},
        "values": {"fid": fid},
        "real_values": {"fid": 3.5},
    }
    return {"images": images, "scores": scores | more}


def metrics(images: int) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    real = 0.5 + 0.4 / (1 + images / 1000)
    return {
        "images": images,
        "loss/d": 1.0,
        "loss/g": images / 1000,
        "d/real_prob": real,
        "d/fake_prob": 1 - real,
        "grad_norm/d": 2.0,
        "grad_norm/g": 3.0,
        "speed/images_per_second": 100.0,
        "memory/host_gb": 0.5,
    }


def grid(directory: Path, images: int, kind: str = "fakes") -> None:
    """An image in RUN/samples, with a colour of its own."""
    pixels = torch.full((4, 3, 32, 32), images // 20 % 256, dtype=torch.uint8)
    save_png(to_grid(pixels), directory / "samples" / f"{kind}-{images:09d}.png")


def make_run(directory: Path, *overrides: str, fid: float = 50.0, **protocol: Any) -> Path:
    """A run of 2,000 images with two evaluations and two grids, that was interrupted."""
    (directory / "samples").mkdir(parents=True)
    own = [f"run.name={directory.name}", f"run.dir={directory.parent}"]
    config = load_config("quickstart", [*own, "best.metric=fid", "evaluate.every_images=1000", *overrides])
    (directory / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    lines(directory / "metrics.jsonl", [metrics(images) for images in range(100, 2001, 100)])
    lines(directory / "scores.jsonl", [evaluation(1000, fid, **protocol), evaluation(2000, fid - 8, **protocol)])
    lines(directory / "events.jsonl", [{"images": 900, "time": "2026-01-02", "event": "collapse", "text": "alike"}])
    for images in (1000, 2000):
        grid(directory, images)
    return directory


def without_measured(row: dict[str, Any]) -> dict[str, Any]:
    """A line of metrics but for what a clock or a machine measures."""
    measured = ("speed/", "memory/", "ranks/", "seconds")
    return {name: value for name, value in row.items() if not name.startswith(measured)}
