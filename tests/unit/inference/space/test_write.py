"""A Space's directory: its files, and the page's own functions, which need neither distgan, torch nor gradio."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from distgan.config.networks import SeedGenerator
from distgan.inference.generator import load_generator
from distgan.inference.space import write
from distgan.utils.errors import ExportError
from distgan.utils.images import to_grid
from tests.support.processes import ROOT
from tests.unit.inference.test_generator_file import export

pytest.importorskip("onnxscript")
SEEDS = [0, 1, 7, 123456789012, 2**63 - 1]


def space(folder, title="Shapes", model=None, **changes):
    """The directory and its generator."""
    generator = load_generator(export(folder / "g.safetensors", **changes))
    write.write_space(folder / "space", generator, title, model)
    return folder / "space", generator


def app_of(directory):
    spec = importlib.util.spec_from_file_location("space_app", directory / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network(latent_dim=4, conditional=True):
    return SeedGenerator(latent_dim=latent_dim, stem_channels=2, width=4, depth=1, conditional=conditional)


@pytest.mark.parametrize("latent_dim", [1, 4, 15, 16, 24, 100, 128])
def test_the_page_draws_torch_s_latents_without_torch(tmp_path, latent_dim):
    directory, generator = space(tmp_path, generator=network(latent_dim))
    app = app_of(directory)
    np.testing.assert_array_equal(app.latents_of(SEEDS, None), generator.latents(SEEDS).numpy())
    for truncation in (0.1, 0.7, 2.9):
        expected = generator.latents(SEEDS, truncation).numpy()
        np.testing.assert_allclose(app.latents_of(SEEDS, truncation), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("conditional", "channels"), [(True, 3), (False, 3), (True, 1)])
def test_a_seed_shows_the_image_that_distgan_makes_within_one_grey_level(tmp_path, conditional, channels):
    directory, generator = space(tmp_path, generator=network(conditional=conditional), channels=channels)
    app = app_of(directory)
    given = {"classes": "cat"} if conditional else {}
    expected = to_grid(generator.sample(range(6), truncation=0.7, **given), 3)
    shown = app.draw("0-5", "cat" if conditional else "", "", 0.5, 0.7)
    assert (shown.mode, shown.size) == (expected.mode, expected.size)
    assert np.abs(np.int16(shown) - np.int16(expected)).max() <= 1
    expected = to_grid(generator.sample([3, 9]), 2)
    assert np.abs(np.int16(app.draw("3,9")) - np.int16(expected)).max() <= 1


def test_two_classes_are_mixed_by_their_weights(tmp_path):
    directory, generator = space(tmp_path, generator=network())
    app = app_of(directory)
    weights = app.weights_of([0, 1], "frog", "cat", 0.25)
    np.testing.assert_allclose(weights, [[0.75, 0.25, 0]] * 2)
    np.testing.assert_allclose(app.weights_of([0, 4], None, None, 0.5), [[1, 0, 0], [0, 1, 0]])
    torch_weights = generator.latents([0, 1]).new_tensor(weights)
    expected = generator.pixels(generator.latents([0, 1]), torch_weights).numpy()
    shown = app.images_of(app.latents_of([0, 1], None), weights)
    assert np.abs(shown.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("seeds", ["", "x", "-1", "5-3", "0-64", "0-31,0-40", str(2**63), "1.5", "9" * 30, "0-1-2"])
def test_seeds_that_are_none_are_refused_with_a_sentence(tmp_path, seeds):
    app = app_of(space(tmp_path)[0])
    with pytest.raises(ValueError, match="is no seed; write|is no range of at most 64 seeds"):
        app.draw(seeds)
    for share, truncation in ((2, 1), (0.5, 0), (0.5, float("nan"))):
        with pytest.raises(ValueError, match="the share must be in"):
            app.draw("1", None, None, share, truncation)


def test_the_page_runs_where_there_is_no_distgan_and_no_torch(tmp_path):
    directory, generator = space(tmp_path, generator=network())
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('distgan', 'torch', 'safetensors', 'gradio')));"
        "import app; app.draw('0-8').save('out.png')"
    )
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and Path(path) != ROOT]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=directory, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Image.open(directory / "out.png") as shown:
        expected = to_grid(generator.sample(range(9)), 3)
        assert np.abs(np.int16(shown) - np.int16(expected)).max() <= 1


def test_the_files_are_those_that_the_hub_needs_and_a_readme_is_kept(tmp_path):
    directory, generator = space(tmp_path, "My cats", "me/cats")
    assert sorted(path.name for path in directory.iterdir()) == [
        "README.md", "app.py", "generator.onnx", "requirements.txt",
    ]  # fmt: skip
    header = yaml.safe_load((directory / "README.md").read_text().split("---\n")[1])
    assert (header["title"], header["sdk"], header["app_file"]) == ("My cats", "gradio", "app.py")
    assert header["models"] == ["me/cats"]
    assert f"gradio=={header['sdk_version']}" in (directory / "requirements.txt").read_text().splitlines()
    assert "distgan" not in (directory / "requirements.txt").read_text()
    (directory / "README.md").write_text("mine")
    write.write_space(directory, generator, "Other")
    assert (directory / "README.md").read_text() == "mine"
    assert app_of(directory).TITLE == "Other"


@pytest.mark.parametrize("title", ['"); import os; ("', "'''", "--- license: x", "\\", "{x}", "ö 🐱"])
def test_a_title_is_text_in_code_header_and_page(tmp_path, title):
    text = write.app_text(title)
    names = {}
    exec(text[text.index("TITLE = ") :].splitlines()[0], names)
    assert names["TITLE"] == title
    readme = write.readme_text(title, None)
    assert yaml.safe_load(readme.split("\n---\n")[0].removeprefix("---\n"))["title"] == title
    assert "<" not in readme


@pytest.mark.parametrize("title", ["", "  ", "a\x1bb", "x" * 101])
def test_a_title_that_is_no_line_of_text_is_refused(tmp_path, title):
    with pytest.raises(ExportError, match="must be one line of 1 to 100 printable characters"):
        space(tmp_path, title)


def test_a_directory_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "space").write_text("a file")
    with pytest.raises(ExportError, match=r"space/generator\.onnx cannot be written"):
        space(tmp_path)


def test_a_directory_with_other_files_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "data.csv").write_text("1")
    with pytest.raises(ExportError, match="holds other files; give a new directory"):
        space(tmp_path)
    assert [path.name for path in (tmp_path / "space").iterdir()] == ["data.csv"]
