"""The explorer's page: what it says about a generator, and the template that both forms of it share.

The page draws latents itself: truncation, mixtures, steps along directions, and ways between seeds are computed in the
browser (latents.js). It asks a backend for latents of seeds and
images of latents, and the server for the nearest real images.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from distgan.inference.generator import Generator
from distgan.inference.hub.card import scores_of
from distgan.utils.errors import ExportError
from distgan.utils.names import is_number, join_names, split_names
from distgan.utils.templates import environment, source_hash, visible
from distgan.utils.version import __version__

DIRECTIONS = 8  # sliders
BEFORE = ("facts.js", "latents.js")
AFTER = ("settings.js", "grid.js", "film.js", "walk.js", "favourites.js", "start.js")
"""The page's scripts, after those of `BEFORE` and its backend."""
ROOM = Path(__file__).parent


def facts_of(generator: Generator, title: str, command: str) -> dict[str, Any]:
    """What the page knows about a generator, for JSON.

    title: its heading; command: the begin of the commands that make the same images.
    """
    names = generator.class_names if generator.conditional else ()
    return {
        "title": visible(title),
        "about": visible(_about(generator)),
        "command": command if command.isprintable() else "",
        "size": generator.size,
        "channels": generator.channels,
        "latentDim": generator.latent_dim,
        "classNames": [visible(name) for name in names],
        "classArguments": [_argument(name, place, names) for place, name in enumerate(names)],
        "digest": generator.weight_digest,
        "directions": encode(_directions(generator)),
        "nearest": False,
    }


def _about(generator: Generator) -> str:
    kind = f"{len(generator.class_names)} classes" if generator.conditional else "no classes"
    text = f"{generator.size}x{generator.size} pixels, {kind}, {generator.images_seen:,} images seen in training"
    values = [f"{name} {value:.4g}" for name, value, _ in scores_of(generator.description)]
    return ", ".join([text, *values, f"weights {generator.weight_digest[:12]}"])


def _argument(name: str, place: int, names: Sequence[str]) -> str | None:
    """A class as `distgan sample` takes it; None: it cannot be typed.

    A name that does not print could hide something in a command that is pasted.
    """
    text = join_names([name])
    if name.isprintable() and split_names(text) == (name,):
        return text
    return None if any(map(is_number, names)) else str(place)


def _directions(generator: Generator) -> Tensor:
    """float32 [<= DIRECTIONS, latent_dim]; none for a network from outside whose first layer is unknown."""
    try:
        return generator.directions()[:DIRECTIONS]
    except ExportError:
        return generator.latents([])


def encode(tensor: Tensor) -> str:
    """A tensor's little-endian bytes, as base64."""
    return b64encode(tensor.contiguous().numpy().tobytes()).decode()


def asset(name: str) -> str:
    """A script or the style of this directory."""
    return (ROOM / name).read_text(encoding="utf-8")


def fill(template: str, facts: dict[str, Any], **values: Any) -> str:
    """A template of this directory, with the facts as JSON that no HTML can end."""
    from markupsafe import Markup

    data = Markup(json.dumps(facts, sort_keys=True).replace("<", "\\u003c"))
    return (
        environment(ROOM).get_template(template).render(title=facts["title"], facts=data, version=__version__, **values)
    )


def inline(name: str) -> dict[str, Any]:
    """An asset to stand in a page, and the hash by which the page's policy allows it."""
    from markupsafe import Markup

    text = asset(name)
    return {"text": Markup(text), "hash": source_hash(text)}
