"""What the board shows: sections of panels, by the names of metrics (docs/metrics.md). Knows nothing of W&B."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from distgan.metrics.registry import BETTER, SHAPES, full_name, scores_of

GPUS = 8  # whose curves the section System has: W&B's names count them


@dataclass(frozen=True)
class Panel:
    """Curves in one picture, or images of one name."""

    title: str
    names: tuple[str, ...]
    """Metrics, or images."""
    kind: Literal["curves", "slider", "gallery"] = "curves"
    """slider: one image, moved through by images seen; gallery: all images beside each other."""
    high: float | None = None
    """Upper end of the y axis, which then begins at 0."""
    log: bool = False
    """Whether the y axis is logarithmic."""
    x: Literal["images", "time"] = "images"


@dataclass(frozen=True)
class Section:
    name: str
    panels: tuple[Panel, ...]
    columns: int = 3


HEALTH = Section(
    "Health",
    (
        Panel("Loss of D and of G", ("loss/d", "loss/g")),
        Panel("D's probability of real", ("d/real_prob", "d/fake_prob"), high=1),
        Panel("D's logits", ("d/real_logit", "d/fake_logit", "d/samples_logit")),
        Panel("Gradient norms", ("grad_norm/d", "grad_norm/g"), log=True),
        Panel("D's accuracy", ("d/real_accuracy", "d/fake_accuracy"), high=1),
        Panel("Diversity of the samples", ("watchdog/diversity",)),
        Panel("Learning rates", ("lr/d", "lr/g")),
        Panel("Penalty, mode seeking", ("loss/penalty", "loss/mode_seeking")),
        Panel("Weight norms", ("weight_norm/d", "weight_norm/g")),
        Panel("Spectral norms of D", ("d/spectral_norm_min", "d/spectral_norm_max")),
        Panel("Controllers", ("augment/p", "balance/lr_scale", "balance/dropout"), high=1),
    ),
)
SAMPLES = Section(
    "Samples",
    (
        Panel("Fakes, by images seen", ("samples/fakes",), "slider"),
        Panel("Interpolation, by images seen", ("samples/interpolation",), "slider"),
        Panel("Fakes over the training", ("samples/fakes",), "gallery"),
        Panel("Real images", ("samples/reals",), "slider"),
    ),
    columns=2,
)
SPEED = Section(
    "Speed",
    (
        Panel("Images per second", ("speed/images_per_second",)),
        Panel("TFLOP/s, all processes", ("speed/tflops",)),
        Panel("Share of the device's peak", ("speed/peak_share",), high=1),
        Panel("Share of the time that waits for data", ("speed/data_wait",), high=1),
        Panel("Seconds of a step", ("speed/step_seconds_median", "speed/step_seconds_p95")),
        Panel("Seconds of a step, by rank", ("ranks/step_seconds_fastest", "ranks/step_seconds_slowest")),
        Panel("Waiting for data, by rank", ("ranks/data_wait_lowest", "ranks/data_wait_highest"), high=1),
    ),
)
SYSTEM = Section(
    "System",
    (
        Panel("Memory, GiB", ("memory/device_gb", "memory/host_gb")),
        Panel("Loss scale (fp16)", ("precision/scale_d", "precision/scale_g"), log=True),
        Panel("GPU utilization, %", tuple(f"system/gpu.{gpu}.gpu" for gpu in range(GPUS)), x="time"),
        Panel("GPU memory, %", tuple(f"system/gpu.{gpu}.memoryAllocated" for gpu in range(GPUS)), x="time"),
        Panel("CPU and memory of the machine, %", ("system/cpu", "system/memory_percent"), x="time"),
    ),
)
SCORES = {
    "fd": "Fréchet distance",
    "kd": "Kernel distance",
    "is": "Inception score",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "class_accuracy": "Recognised as the class that was asked for",
    "classes": "Effective number of classes",
    "memorised": "Share of copies of real images",
}
EXTRACTORS = ("efficientnet_lite0", "classifier", "inception")  # a project's runs have the scores of one of them
KINDS = ("quality", "quality_real", "quality_best")  # a score, that of other real images, and the best so far
COUNTED = ("classes", "colours")  # of the shapes: 0 to 10; the others are shares


def sections(scores: Sequence[str] = ()) -> tuple[Section, ...]:
    """The sections of the board. scores: names of further scores, those of classes from outside."""
    return (HEALTH, quality(scores), SAMPLES, SPEED, SYSTEM)


def quality(scores: Sequence[str] = ()) -> Section:
    """A panel for each score, with what other real images score and with the best so far."""
    own = tuple(
        _score_panel(title, [full_name(value, each) for each in EXTRACTORS if value in scores_of(each)])
        for value, title in SCORES.items()
    )
    further = tuple(_score_panel(name, [name]) for name in scores)
    shares = [f"shapes_{value}" for value in SHAPES if value not in COUNTED]
    shapes = (
        _score_panel("Shapes: recognised", ["shapes_recognised"]),
        Panel("Shapes: all shares", tuple(f"quality/{name}" for name in shares), high=1),
        Panel("Shapes: classes and colours", tuple(f"quality/shapes_{value}" for value in COUNTED)),
    )
    return Section("Quality", (*further, *own, *shapes))


def _score_panel(title: str, scores: Sequence[str]) -> Panel:
    directions = {BETTER[name] for name in scores if name in BETTER}
    better = f", {directions.pop()} is better" if len(directions) == 1 else ""
    return Panel(f"{title}{better}", tuple(f"{kind}/{name}" for name in scores for kind in KINDS))
