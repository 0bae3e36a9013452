"""A generator in a browser: the explorer's one-file page as a model, latents and weights of classes in, images out."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distgan.inference.explorer.single_file import write_html
from distgan.inference.generator import Generator
from tests.support.browser import Page, browser

FIRST = "performance.getEntriesByName('first image')"
RUN = """(async (rows, width) => {
  const points = Array.from({ length: rows.length / width }, (_, row) => ({
    latent: rows.slice(row * width, row * width + facts.latentDim),
    weights: classes ? rows.slice(row * width + facts.latentDim, (row + 1) * width) : null,
  }));
  const pixels = await backend.images(points);
  let text = "";
  for (const value of pixels) text += String.fromCharCode(value);
  return btoa(text);
})"""


class Browsed:
    """A page that is open. Its figures include the way of the numbers to the browser and back, about 2 ms a batch."""

    def __init__(self, page: Page, generator: Generator) -> None:
        self._page, self._generator = page, generator

    def __call__(self, *inputs: Tensor) -> Tensor:
        rows = torch.cat(inputs, 1)
        text = f"{RUN}(new Float32Array({json.dumps(rows.flatten().tolist())}), {rows.shape[1]})"
        pixels = np.frombuffer(base64.b64decode(self._page.js(text)), np.uint8)
        size, channels = self._generator.size, self._generator.channels
        return torch.from_numpy(pixels.reshape(-1, channels, size, size).astype(np.float32)).div(127.5).sub(1)

    @property
    def seconds_to_first_image(self) -> float:
        """From the begin of loading."""
        return float(self._page.js(f"{FIRST}[0].startTime")) / 1000


@contextmanager
def browsed(generator: Generator, path: Path) -> Iterator[Browsed]:
    """Writes the page of a generator to `path`, and opens it."""
    write_html(generator, path, "benchmark", "generator.safetensors")
    with browser() as running:
        page = running.open(path.as_uri())
        page.wait(f"{FIRST}.length")
        page.wait("document.querySelector('#grid').getAttribute('aria-busy') === 'false'")
        yield Browsed(page, generator)
