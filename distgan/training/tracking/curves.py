"""Curves of a run's metrics, RUN/curves.png.

Matplotlib is imported when they are drawn; no global figure, no display.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distgan.utils.files import atomic_path

MAX_POINTS = 2000  # per curve; longer histories are thinned
PANELS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("loss", (("loss/d", "D", "tab:blue"), ("loss/g", "G", "tab:orange"))),
    ("D's probability of real", (("d/real_prob", "real", "tab:green"), ("d/fake_prob", "fake", "tab:red"))),
    ("D's accuracy", (("d/real_accuracy", "real", "tab:green"), ("d/fake_accuracy", "fake", "tab:red"))),
)


def draw_curves(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes a PNG: losses, D's outputs and D's accuracies against images seen.

    rows: lines of metrics.jsonl, each with "images"; values that are missing, null, NaN or infinite leave a gap.
    No rows give empty axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = rows[:: max(1, math.ceil(len(rows) / MAX_POINTS))]
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
    panels[-1].set_xlabel("images seen")
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
