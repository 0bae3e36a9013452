"""What is uploaded with a generator: a grid and a film, made without the network."""

from __future__ import annotations

import errno

import pytest
from PIL import Image

from distgan.config.networks import SeedGenerator
from distgan.inference.generator import load_generator
from distgan.inference.publish import grid_of, paths_in, warn_of_paths, write_repository
from distgan.utils.errors import ExportError
from tests.unit.inference.test_generator_file import export

CONDITIONAL = SeedGenerator(latent_dim=4, stem_channels=2, width=4, depth=1, conditional=True)


def generator_of(folder, **changes):
    return load_generator(export(folder / "g.safetensors", **changes))


def test_the_grid_is_about_square_and_the_film_starts_over(tmp_path):
    write_repository(tmp_path / "hub", generator_of(tmp_path, generator=CONDITIONAL), "me/cats")
    with Image.open(tmp_path / "hub" / "samples.png") as grid:
        assert grid.size == (9 * 66 + 2, 8 * 66 + 2)
    with Image.open(tmp_path / "hub" / "walk.webp") as film:
        assert film.is_animated
        assert film.info["loop"] == 0


def test_the_same_generator_gives_the_same_bytes_so_that_an_upload_can_go_on(tmp_path):
    generator = generator_of(tmp_path, generator=CONDITIONAL)
    first, second = (write_repository(tmp_path / name, generator, "me/cats") for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize(("classes", "expected"), [(0, (64, 8)), (3, (72, 9)), (20, (160, 20)), (21, (64, 8))])
def test_each_column_of_a_grid_has_one_class_where_they_are_few(tmp_path, classes, expected):
    changes = {"generator": CONDITIONAL, "class_names": tuple(map(str, range(classes)))} if classes else {}
    assert grid_of(generator_of(tmp_path, **changes)) == expected


def test_a_grid_of_large_images_stays_small(tmp_path):
    generator = generator_of(tmp_path)
    generator.size = 512
    assert grid_of(generator) == (4, 2)


@pytest.mark.parametrize("name", ["publish.save_png", "film.write_webp"])
def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, name):
    def full(*_given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"distgan.inference.{name}", full)
    with pytest.raises(ExportError, match=r"(samples\.png|walk\.webp) cannot be written: No space left on device"):
        write_repository(tmp_path / "hub", generator_of(tmp_path), "me/cats")


def test_places_on_this_machine_that_become_public_are_named_before(tmp_path, capsys):
    config = {"run": {"dir": "/home/me/runs/x"}, "data": {"path": "data/cats", "cache": 7}, "init": {"from": "~/y"}}
    generator = generator_of(tmp_path, config=config)
    assert paths_in(generator.description) == ["run.dir=/home/me/runs/x", "init.from=~/y"]
    assert paths_in(generator_of(tmp_path, config={"run": 3}).description) == []
    warn_of_paths(generator.description)
    assert "will name places on this machine: run.dir=/home/me/runs/x, init.from=~/y" in capsys.readouterr().err
