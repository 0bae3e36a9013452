"""The explorer as a local server: the page asks it for latents of seeds, images of latents, and nearest real images."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from distgan.inference.explorer.page import AFTER, BEFORE, asset, encode, facts_of, fill
from distgan.inference.generator import Generator
from distgan.utils.errors import DistganError, ExportError
from distgan.utils.local_server import BYTES, Answer, LocalServer, Question, sentence, text

SCRIPTS = (*BEFORE, "server_backend.js", *AFTER)
ASSETS = {"style.css": "text/css", **dict.fromkeys(SCRIPTS, "text/javascript")}
MAX_SEEDS, MAX_IMAGES = 256, 32  # of one question
BATCH = 16  # images at a time


class Nearest(NamedTuple):
    """Real images that are nearest to one image, nearest first."""

    images: Tensor
    """uint8 [k, channels, size, size], mirrored where that is nearer."""
    distances: list[float]
    mirrored: list[bool]
    compared: int
    """Real images that were compared."""
    total: int
    """Real images of the data set."""


FindNearest = Callable[[Tensor], Nearest]
"""uint8 [1, channels, size, size] -> its nearest real images. Raises DataError."""


class Explorer:
    """Answers the page of a generator; asked by several threads."""

    def __init__(self, generator: Generator, title: str, command: str, find_nearest: FindNearest | None = None) -> None:
        self._generator = generator
        facts = {**facts_of(generator, title, command), "nearest": find_nearest is not None}
        self._page = fill("served.html.j2", facts, scripts=SCRIPTS)
        self._find_nearest = find_nearest
        self._lock = threading.Lock()  # one computation at a time, since each uses all cores
        self._comparing = threading.Lock()  # apart, since the first reads the data set

    def answer(self, question: Question) -> Answer:
        """What the server answers."""
        path = question.path.removeprefix("/")
        if question.body is None:
            if path == "":
                return text(self._page, "text/html")
            if path in ASSETS:
                return text(asset(path), ASSETS[path])
            return sentence(HTTPStatus.NOT_FOUND, "There is nothing here but the page at /.")
        try:
            if question.query != self._generator.weight_digest:
                return sentence(HTTPStatus.CONFLICT, "Another generator is served here now: load the page again.")
            if path == "nearest" and self._find_nearest is not None:
                with self._comparing:
                    return self._nearest(question.body, self._find_nearest)
            with self._lock:
                return self._compute(path, question.body)
        except DistganError as error:
            return sentence(HTTPStatus.BAD_REQUEST, f"{error}.")

    def _compute(self, path: str, body: bytes) -> Answer:
        if path == "latents":
            return _bytes(self._generator.latents(_seeds(body)))
        if path == "images":
            return _bytes(self._images(body))
        return sentence(HTTPStatus.NOT_FOUND, "There is no such question.")

    def _images(self, body: bytes) -> Tensor:
        """Images of float32 rows, each a latent and, of a conditional generator, the weights of the classes."""
        latent_dim = self._generator.latent_dim
        classes = len(self._generator.class_names) if self._generator.conditional else 0
        rows = _rows(body, np.dtype("<f4"), (latent_dim + classes,))
        if not rows.isfinite().all():
            raise ExportError("these numbers are not finite")
        return self._generator.pixels(
            rows[:, :latent_dim], rows[:, latent_dim:] if classes else None, min(len(rows), BATCH)
        )

    def _nearest(self, body: bytes, find_nearest: FindNearest) -> Answer:
        shape = (self._generator.channels, self._generator.size, self._generator.size)
        found = find_nearest(_rows(body, np.dtype("u1"), shape)[:1])
        return text(json.dumps({**found._asdict(), "images": encode(found.images)}), "application/json")


def serve(explorer: Explorer, port: int | None = None) -> LocalServer:
    """The server of the page; it answers in `serve_forever`. Raises LaunchError if the port is taken."""
    return LocalServer(explorer.answer, port)


def _seeds(body: bytes) -> list[int]:
    """Seeds from text such as 0,1,7. Raises ExportError."""
    parts = body.decode("ascii", "replace").split(",")
    if len(parts) > MAX_SEEDS or not all(part.isdecimal() and len(part) < 20 for part in parts):
        raise ExportError(f"seeds are up to {MAX_SEEDS} whole numbers with commas between them")
    return [int(part) for part in parts]


def _rows(body: bytes, kind: np.dtype[Any], shape: tuple[int, ...]) -> Tensor:
    """[n, *shape] from bytes, 1 <= n <= MAX_IMAGES. Raises ExportError."""
    size = kind.itemsize * math.prod(shape)
    count, rest = divmod(len(body), size)
    if rest or not 1 <= count <= MAX_IMAGES:
        raise ExportError(f"{len(body)} bytes are not 1 to {MAX_IMAGES} times {size} bytes")
    return torch.from_numpy(np.frombuffer(body, kind).reshape(count, *shape).astype(kind.newbyteorder("=")))


def _bytes(tensor: Tensor) -> Answer:
    return Answer(HTTPStatus.OK, BYTES, tensor.contiguous().numpy().tobytes())
