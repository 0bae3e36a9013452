"""A film of how a run's fixed seeds developed: its grids, in order, with captions; a stranger's run is read safely."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from distgan.cli.main import main
from distgan.training.report.film import CAPTION, write_run_film
from distgan.utils.images import right_half, side_by_side, to_grid

SHADES = {0: 20, 3200: 90, 16000: 160, 99999999: 230}  # of the generated images, by images seen


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "a" / "samples"
    folder.mkdir(parents=True)
    (folder.parent / "metrics.jsonl").write_text("")
    reals = to_grid(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
    for seen, shade in SHADES.items():
        fakes = to_grid(torch.full((4, 3, 8, 8), shade, dtype=torch.uint8))
        side_by_side(reals, fakes).save(folder / f"fakes-{seen:09d}.png")
    return folder.parent


def frames_of(path):
    with Image.open(path) as film:
        frames = []
        for number in range(film.n_frames):
            film.seek(number)
            frames.append(np.int64(film.convert("RGB")))
    return frames


def shades(frames):
    return [round(float(frame[20, 20].mean()) / 10) * 10 for frame in frames]


def test_the_generated_half_of_two_grids_is_found_and_another_image_stays():
    grid = to_grid(torch.full((4, 3, 8, 8), 90, dtype=torch.uint8))
    assert right_half(side_by_side(grid, grid)).tobytes() == grid.tobytes()
    assert right_half(grid).tobytes() == grid.tobytes()


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_a_film_shows_the_grids_in_order_and_holds_the_last(run, capsys, suffix):
    assert main(["report", "runs/a", "--film", f"x{suffix}", "--fps", "2"]) == 0
    assert f"film: x{suffix}" in capsys.readouterr().out
    frames = frames_of(f"x{suffix}")
    assert shades(frames) == [20, 90, 160, 230, 230, 230, 230]
    captions = [frame[-CAPTION:] for frame in frames]
    assert all(caption.min() < 100 for caption in captions), "black on white"
    assert np.abs(captions[0] - captions[1]).max() > 100


def test_without_a_caption_there_are_only_the_images(run):
    assert main(["report", "runs/a", "--film", "x.webp", "--no-caption"]) == 0
    with Image.open(run / "samples" / "fakes-000000000.png") as grid:
        assert frames_of("x.webp")[0].shape[0] == grid.height


def test_what_cannot_be_read_is_left_out_with_a_warning_and_a_link_is_not_followed(run, tmp_path, capsys):
    (run / "samples" / "fakes-000003200.png").write_bytes(b"no image")
    outside = tmp_path / "outside.png"
    (run / "samples" / "fakes-000016000.png").rename(outside)
    (run / "samples" / "fakes-000016000.png").symlink_to(outside)
    Image.new("RGB", (50, 20), (230, 230, 230)).save(run / "samples" / "fakes-099999999.png")  # another size
    assert main(["report", "runs/a", "--film", "x.webp", "--fps", "1"]) == 0
    assert shades(frames_of("x.webp")) == [20, 230, 230]
    assert "fakes-000003200.png is left out of the film: fakes-000003200.png is not a PNG" in capsys.readouterr().err


def test_no_readable_grid_is_one_sentence_and_leaves_no_file(run, capsys):
    for path in (run / "samples").iterdir():
        path.write_bytes(b"")
    assert main(["report", "runs/a", "--film", "x.webp"]) == 2
    assert "has no film: none of its grids can be read" in capsys.readouterr().err
    assert not (run.parent.parent / "x.webp").exists()


def test_grids_are_read_as_the_film_is_written(run, monkeypatch):
    read = []
    monkeypatch.setattr("distgan.training.report.film.read_grid", lambda grid: read.append(grid.images) or b"")
    monkeypatch.setattr("distgan.training.report.film.open_grid", lambda *_: Image.new("RGB", (8, 8)))
    counts = []
    monkeypatch.setattr(
        "distgan.training.report.film.write_film", lambda _, frames, fps: counts.extend(len(read) for _ in frames)
    )
    write_run_film(run, run / "x.webp", 1)
    assert counts == [1, 2, 3, 4, 4]
