"""A report in, the text of one HTML page out, with all images in it and nothing to fetch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from distgan.metrics.nearest_neighbors import COPY_SHARE, Likeness
from distgan.training.report.contents import Figure, Grid, Missing, Report
from distgan.training.report.data_uri import data_uri, thumbnail
from distgan.training.report.grids import figure_of, spread
from distgan.training.report.parts import Frame, Frames, missing_part, run_parts, summary_part
from distgan.training.report.templates import Part, fill_macro, fill_page
from distgan.utils.images import to_image

MAX_FRAMES = 12  # grids of a kind
FRAME_BYTES = 90_000  # of one


class NeighbourRow(NamedTuple):
    """A generated image, and the real images nearest to it."""

    fake: Image.Image
    copied: bool
    reals: list[tuple[Image.Image, str, bool]]
    """Image, distance, whether it is mirrored."""


def render(report: Report) -> str:
    """The page. The same report gives the same text."""
    facts = report.facts
    parts = run_parts(facts, embedded_frames, live=False)
    before_events = next(place for place, part in enumerate(parts) if part.id == "events")
    parts[before_events:before_events] = [
        Part("generator", "The generator", _generator_part(report.generator)),
        Part("nearest", "Nearest real images", _nearest_part(report.likeness)),
    ]
    return fill_page(facts.name, [Part("summary", "Summary", summary_part(facts)), *parts], False)


def embedded_frames(grids: list[Grid], scored: Mapping[int, str]) -> Frames:
    """MAX_FRAMES of the grids, the first and the last among them, as data URIs; scored: scores by images seen."""
    return [_embedded(grid, figure_of(grid, scored.get(grid.images, ""))) for grid in spread(grids, MAX_FRAMES)]


def _embedded(grid: Grid, figure: Figure | Missing) -> Frame | Missing:
    if isinstance(figure, Missing):
        return figure
    return Frame(grid.path.name, figure.caption, data_uri(figure.image, FRAME_BYTES))


def _generator_part(generator: Figure | Missing) -> str:
    if isinstance(generator, Missing):
        return missing_part(generator, live=False)
    return fill_macro("figure", generator.caption, data_uri(generator.image))


def _nearest_part(likeness: Likeness | Missing) -> str:
    if isinstance(likeness, Missing):
        return missing_part(likeness, live=False)
    return fill_macro("nearest", likeness, _neighbour_rows(likeness), COPY_SHARE)


def _neighbour_rows(likeness: Likeness) -> list[NeighbourRow]:
    nearest = likeness.nearest
    return [
        NeighbourRow(
            _thumbnail(fake),
            copied,
            [
                (_thumbnail(image), f"{distance:.1f}", mirrored)
                for image, distance, mirrored in zip(images, distances, mirrors, strict=True)
            ],
        )
        for fake, copied, images, distances, mirrors in zip(
            likeness.fakes,
            likeness.copied,
            nearest.images,
            nearest.distance.tolist(),
            nearest.mirrored.tolist(),
            strict=True,
        )
    ]


def _thumbnail(image: Tensor) -> Image.Image:
    """uint8 [channels, H, W] -> a small image."""
    return thumbnail(to_image(image))
