"""Pillow images, grids and interpolations of a generator, and what a notebook shows."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from distgan.inference.generator import load_generator
from distgan.utils.errors import ExportError
from distgan.utils.images import to_grid
from tests.unit.inference.test_sampling import NAMES, export


@pytest.fixture(params=[False, True], ids=["unconditional", "conditional"])
def generator(tmp_path, request):
    export(tmp_path / "g.safetensors", conditional=request.param)
    return load_generator(tmp_path / "g.safetensors")


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_images_are_the_samples_of_their_seeds(generator):
    images = generator.images([3, 1, 4])
    assert [image.mode for image in images] == ["RGB"] * 3
    assert torch.equal(torch.stack([pixels(image) for image in images]), generator.sample([3, 1, 4]))


def test_a_grid_has_a_column_for_each_class_unless_a_class_or_a_number_is_given(generator):
    seeds = range(2 * len(NAMES))
    samples = generator.sample(seeds)
    expected = to_grid(samples, len(NAMES) if generator.conditional else None)
    assert generator.grid(seeds).tobytes() == expected.tobytes()
    assert generator.grid(seeds, columns=2).tobytes() == to_grid(samples, 2).tobytes()
    if generator.conditional:
        of_one = generator.sample(seeds, NAMES[1])
        assert generator.grid(seeds, NAMES[1]).tobytes() == to_grid(of_one).tobytes()


def test_an_interpolation_goes_from_one_seed_s_image_to_the_other_s(generator):
    for classes in (None, *([NAMES[1]] if generator.conditional else [])):
        way = generator.interpolate(5, 7, 7, classes)
        assert len(way) == 7
        for image, end in zip((way[0], way[-1]), generator.sample([5, 7], classes), strict=True):
            assert (pixels(image).int() - end.int()).abs().max() <= 1


def test_a_notebook_shows_the_description_and_a_grid(generator):
    html = generator._repr_html_()
    assert html.startswith("<p>Generator(")
    data = re.search(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)[1]
    columns = 3 * len(NAMES) if generator.conditional else 8  # about square
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert shown.tobytes() == generator.grid(range(2 * columns), columns=columns).tobytes()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda g: g.grid([]), "a grid needs at least one seed and one column; there are 0 seeds"),
        (lambda g: g.grid([1], columns=0), "columns=0"),
        (lambda g: g.interpolate(0, 1, 1), "steps=1 must be 2 or more"),
        (lambda g: g.interpolate(0, -1, 2), "seed"),
        (lambda g: g.images([0], truncation=0.0), r"truncation=0.0 must be a number above 0"),
    ],
)
def test_a_mistake_is_one_sentence(generator, call, sentence):
    with pytest.raises(ExportError, match=sentence):
        call(generator)
