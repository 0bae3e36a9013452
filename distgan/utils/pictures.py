"""Pictures about a run: grids of samples and the curves of its metrics.

In: uint8 tensors, rows of metrics.jsonl. Out: PIL images and PNG files. Matplotlib is imported only when curves are
drawn, and only its objects are used: no global figure, no display.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from distgan.utils.files import atomic_path

PAD = 2  # pixels around each picture of a grid
SEPARATOR = 8  # pixels between the real and the fake half
VISIBLE = 64  # small pictures are enlarged by a whole factor up to about this many pixels a side
BACKGROUND = 255
MOST_POINTS = 2000  # per curve; longer histories are thinned
PANELS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("loss", (("loss/d", "D", "tab:blue"), ("loss/g", "G", "tab:orange"))),
    ("D's probability of real", (("d/real_prob", "real", "tab:green"), ("d/fake_prob", "fake", "tab:red"))),
    ("D's accuracy", (("d/real_accuracy", "real", "tab:green"), ("d/fake_accuracy", "fake", "tab:red"))),
)


def to_grid(images: Tensor, columns: int | None = None) -> Image.Image:
    """Pictures side by side, row by row, enlarged by a whole factor (no smoothing) when they are small.

    images: uint8 [N, 3, H, W] on the CPU, N >= 1; columns: None makes the grid about square.
    Raises ValueError on another shape or type.
    """
    if images.ndim != 4 or images.shape[0] < 1 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise ValueError(f"a grid needs uint8 [N >= 1, 3, H, W], got {images.dtype} {list(images.shape)}")
    count, _, height, width = images.shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    scale = max(1, VISIBLE // max(height, width))
    cells = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    cells = pad(cells, (0, PAD, 0, PAD, 0, 0, 0, rows * columns - count), value=BACKGROUND)
    canvas = cells.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    canvas = pad(canvas, (PAD, 0, PAD, 0), value=BACKGROUND)
    return Image.fromarray(canvas.permute(1, 2, 0).contiguous().numpy())


def side_by_side(reals: Tensor, fakes: Tensor) -> Image.Image:
    """Left the grid of real pictures, right the grid of fakes, a black line between them.

    reals, fakes: uint8 [N, 3, H, W] on the CPU; the numbers may differ.
    """
    left, right = to_grid(reals), to_grid(fakes)
    size = (left.width + SEPARATOR + right.width, max(left.height, right.height))
    both = Image.new("RGB", size, (BACKGROUND,) * 3)
    both.paste(left, (0, 0))
    both.paste((0, 0, 0), (left.width + SEPARATOR // 2 - 1, 0, left.width + SEPARATOR // 2 + 1, both.height))
    both.paste(right, (left.width + SEPARATOR, 0))
    return both


def save_png(image: Image.Image, path: Path) -> None:
    """Writes a PNG so that a reader never sees half of it."""
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


def draw_curves(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes a PNG: losses, D's outputs and D's accuracies against pictures seen.

    rows: lines of metrics.jsonl, each with "images"; values that are missing, null, NaN or infinite leave a gap.
    No rows give empty axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = rows[:: max(1, math.ceil(len(rows) / MOST_POINTS))]
    figure = Figure(figsize=(9, 9), layout="constrained")
    panels = figure.subplots(len(PANELS), 1, sharex=True)
    for axes, (title, curves) in zip(panels, PANELS, strict=True):
        drawn: list[float] = []
        for key, label, color in curves:
            points = [(number(row.get("images")), number(row.get(key))) for row in rows]
            drawn += [y for _, y in points if math.isfinite(y)]
            marker = "." if len(points) < 50 else None  # lone points between gaps stay visible
            axes.plot([x for x, _ in points], [y for _, y in points], label=label, color=color, marker=marker, lw=1.2)
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        if title == "loss":
            if (top := readable_top(drawn)) is not None:
                axes.set_ylim(min(drawn) - 0.05 * (top - min(drawn)), top)
                axes.set_title(f"cut off at {top:.3g}; the highest value is {max(drawn):.3g}", fontsize=9)
        else:
            axes.set_ylim(-0.03, 1.03)
    panels[-1].set_xlabel("pictures seen")
    panels[-1].xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def number(value: Any) -> float:
    """`value` as a finite float, or NaN."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return math.nan


def readable_top(values: Sequence[float]) -> float | None:
    """Upper end of an axis on which a few huge values would flatten all others; None: no need to cut."""
    if len(values) < 20:
        return None
    ordered = sorted(values)
    high = ordered[int(0.98 * (len(ordered) - 1))]
    return 1.5 * high if high > 0 and ordered[-1] > 10 * high else None
