"""Films of walks through the latent space."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from distgan.cli.main import main
from distgan.inference.film import SUFFIXES, VISIBLE, walk, write_film
from distgan.inference.generator import load_generator
from distgan.utils.errors import ExportError
from tests.unit.inference.test_sampling import NAMES, export


@pytest.fixture(params=[False, True], ids=["unconditional", "conditional"])
def generator(tmp_path, request):
    export(tmp_path / "g.safetensors", conditional=request.param)
    return load_generator(tmp_path / "g.safetensors")


def small(image: Image.Image, size: int) -> torch.Tensor:
    """A frame before it was enlarged, [C, H, W]."""
    factor = VISIBLE // size
    return torch.from_numpy(np.array(image))[::factor, ::factor].permute(2, 0, 1)


def test_a_walk_passes_the_images_of_its_seeds_and_comes_back(generator):
    frames = list(walk(generator, [4, 8, 2], 30))
    assert len(frames) == 30
    samples = generator.sample([4, 8, 2])
    for place, sample in zip((0, 10, 20), samples, strict=True):
        assert (small(frames[place], generator.size).int() - sample.int()).abs().max() <= 1
    steps = [np.abs(np.int64(a) - np.int64(b)).mean() for a, b in itertools.pairwise([*frames, frames[0]])]
    assert max(steps) < 0.5 * np.abs(np.int64(frames[0]) - np.int64(frames[10])).mean(), "it jumps nowhere"


def test_a_walk_makes_its_frames_as_they_are_asked_for(generator, monkeypatch):
    made = []
    original = generator.pixels
    monkeypatch.setattr(generator, "pixels", lambda *given: (made.append(len(given[0])), original(*given))[1])
    next(iter(walk(generator, [0, 1], 100_000)))
    assert made == [16]


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_a_film_has_its_frames_and_starts_over(generator, tmp_path, suffix):
    write_film(tmp_path / f"film{suffix}", walk(generator, [0, 1], 10), 20)
    with Image.open(tmp_path / f"film{suffix}") as film:
        film.load()
        assert (film.n_frames, film.info["loop"], film.info["duration"]) == (10, 0, 50)
        for number, wanted in enumerate(walk(generator, [0, 1], 10)):
            film.seek(number)
            difference = np.int64(film.convert("RGB")) - np.int64(wanted)
            assert np.abs(difference).mean() < 4, "lossy, but the frame"


def test_an_mp4_needs_its_extra_or_is_one(generator, tmp_path):
    path = tmp_path / "film.mp4"
    try:
        import imageio_ffmpeg
    except ImportError:
        with pytest.raises(ExportError, match=r'needs the extra film .*pip install "distgan\[film\]"'):
            write_film(path, walk(generator, [0, 1], 10), 20)
        assert not path.exists()
    else:
        write_film(path, walk(generator, [0, 1], 10), 20)
        assert imageio_ffmpeg.count_frames_and_secs(str(path))[0] == 10


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--walk", "3", "--out", "x.webp"], "a walk needs at least 2 seeds"),
        (["--walk", "3,4,5", "--frames", "2", "--out", "x.webp"], "given: 3, frames: 2"),
        (["--walk", "3,4", "--out", "x.avi"], "must end in .webp, .gif, .mp4; nearest: x.webp"),
        (["--walk", "3,x", "--out", "x.webp"], "is not a whole number"),
        (["--walk", "3,4", "--fps", "0", "--out", "x.webp"], "--fps=0 must be a whole number"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    export(tmp_path / "g.safetensors")
    assert main(["sample", "g.safetensors", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]


def test_the_command_writes_a_film_of_chosen_classes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    export(tmp_path / "g.safetensors", conditional=True)
    arguments = ["--walk", "0-2", "--frames", "6", "--fps", "3", "--classes", NAMES[1], "--out", "film.webp"]
    assert main(["sample", "g.safetensors", *arguments]) == 0
    assert "a walk over 3 seeds, 6 frames, 2.0 s: film.webp" in capsys.readouterr().out


PEAK = """
import itertools, pathlib, resource, sys
from PIL import Image
from distgan.inference.film import write_film
frames, path = int(sys.argv[1]), pathlib.Path(sys.argv[2])
noise = Image.effect_noise((256, 256), 60).convert("RGB")
write_film(path, (noise.rotate(90 * (number % 4)) for number in range(frames)), 24)
peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(sum(peaks), path.stat().st_size / 2**20)
"""


@pytest.mark.parametrize(
    "suffix", [pytest.param(name, marks=pytest.mark.long if name == ".mp4" else pytest.mark.slow) for name in SUFFIXES]
)
def test_a_film_of_ten_times_the_frames_takes_no_more_memory(tmp_path, suffix):
    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg", reason="needs the extra film")
    measured = []
    for frames in (200, 2_000):
        command = [sys.executable, "-c", PEAK, str(frames), str(tmp_path / f"{frames}{suffix}")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        measured.append([float(number) for number in done.stdout.split()])
    (few, small), (many, large) = measured
    assert large - small > 30 or suffix == ".mp4", "a writer that keeps what it has encoded would be noticed"
    assert many - few < 20, f"peak memory {few:.0f} and {many:.0f} MiB"


@pytest.mark.parametrize(("suffix", "fps"), [(".webp", 24), (".webp", 30), (".gif", 24), (".gif", 30)])
def test_a_film_lasts_as_long_as_its_frames_say(tmp_path, suffix, fps):
    frames = (Image.new("RGB", (8, 8), (number, 0, 0)) for number in range(60))
    write_film(tmp_path / f"f{suffix}", frames, fps)
    with Image.open(tmp_path / f"f{suffix}") as film:
        total = 0
        for number in range(film.n_frames):
            film.seek(number)
            film.load()
            total += film.info["duration"]
    assert total == pytest.approx(60_000 / fps, abs=10)


def test_more_frames_per_second_than_a_browser_shows_are_refused(tmp_path):
    with pytest.raises(ExportError, match="browsers show up to 50 frames per second of .gif, not 51"):
        write_film(tmp_path / "f.gif", iter([Image.new("RGB", (8, 8))]), 51)
