"""Data sets that are complete, missing, damaged or not yet made."""

from __future__ import annotations

from distgan.doctor import data
from tests.support.shards import make
from tests.unit.doctor.results import lines


def test_a_whole_data_set(tiny_config, shapes):
    config = tiny_config()
    data_set, results = data.check_data(config)
    assert lines(results)[0].startswith(f"ok    data: {shapes}: 300 images of 32x32, 10 class(es), 5 shard(s), ")
    assert [result.level for result in data.check_contents(config, data_set, False, False)] == ["ok"] * 4
    quick = data.check_contents(config, data_set, True, False)
    assert lines(quick)[1:] == [
        "ok    checksums: skipped (--quick)",
        "ok    images: the first 16 can be decoded, 32x32 RGB",
        "ok    classes: 10, 30 images each",
    ]


def test_a_data_set_that_is_not_there(tiny_config, tmp_path):
    nothing = tmp_path / "nothing"
    data_set, results = data.check_data(tiny_config(f"data.path={nothing}"))
    assert data_set is None
    assert lines(results) == [
        f"FAIL  data: {nothing} does not exist, so it is no data set; make one with `distgan prepare "
        f"shapes|cifar10|folder|... --out {nothing}`, or train with data.prepare=shapes or cifar10 as well, which "
        "makes it there; fix data.path, data.classes, data.size or the copy of the data set"
    ]
    data_set, results = data.check_data(tiny_config(f"data.path={nothing}", "data.prepare=shapes"))
    assert lines(results) == [
        f"ok    data: data.prepare=shapes will make {nothing} when training starts: it takes seconds, needs up to "
        "60.0 MiB"
    ]
    nothing.mkdir()
    (nothing / "mine.txt").touch()
    data_set, results = data.check_data(tiny_config(f"data.path={nothing}", "data.prepare=shapes"))
    assert results[0].level == "fail"
    assert "holds something that is not a distgan data set" in results[0].text


def test_no_room_for_a_data_set_that_is_to_be_made(tmp_path, monkeypatch):
    monkeypatch.setitem(data.TO_PREPARE, "shapes", (1 << 60, "takes seconds"))
    assert data.check_preparation(tmp_path / "new", "shapes").advice == "make room, or set data.path"


def test_damaged_and_missing_shards(tiny_config, tmp_path):
    make(tmp_path / "own")
    place = tmp_path / "own"
    config = tiny_config(f"data.path={place}")
    shard = sorted(place.glob("*.tar"))[0]
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    data_set, _ = data.check_data(config)
    fix = "copy them again, make the data set again, or set data.on_error=skip"
    assert lines(data.check_checksums(data_set.selection, False, False)) == [
        f"FAIL  checksums: 1 of 6 shard(s): {shard.name} is damaged: its sha256 is not the manifest's; {fix}"
    ]
    assert data.check_checksums(data_set.selection, True, False)[0].level == "warn"
    assert data.check_checksums(data_set.selection, False, False, seconds=-1)[0].text.startswith(
        "only 0 of 6 shards were read in"
    )
    assert data.check_images(data_set.selection, 0)[0].level == "fail"
    assert data.check_images(data_set.selection, 100)[0].level == "ok"
    shard.write_bytes(content[:-512])
    results = data.check_contents(config, data_set, False, False)
    assert results[0].level == "fail"
    assert f"{shard.name} has {len(content) - 512:,} bytes, its manifest says {len(content):,}" in results[0].text
    assert [result.what for result in results] == ["shards", "classes"]
    shard.unlink()
    assert lines(data.check_shards(data_set.selection, True)) == [
        f"warn  shards: 1 of 6 shard(s): {shard.name}: No such file or directory; their bad images will be skipped "
        "(data.on_error=skip)"
    ]


def test_classes(tiny_config, shapes):
    data_set, _ = data.check_data(tiny_config())
    counts = dict(data_set.manifest.class_counts)
    assert lines(data.check_classes(data_set.selection, counts | {"heart": 2, "star": 0})) == [
        "warn  classes: heart has 2, star has 0 of 300 images; G will hardly learn them: add images, or choose "
        "others with data.classes"
    ]
    _, results = data.check_data(tiny_config("data.classes=frog"))
    assert results[0].level == "fail"
    assert f"data.classes=frog: {shapes} has no such class" in results[0].text


def test_a_place_that_does_not_answer(tiny_config):
    _, results = data.check_data(tiny_config("data.path=http://127.0.0.1:9/x", "data.prepare=null", "data.tries=1"))
    assert results[0].level == "fail"
    assert "http://127.0.0.1:9/x/manifest.json cannot be fetched" in results[0].text


def test_a_source_from_outside_is_said_to_be_made_at_the_start(tmp_path):
    result = data.check_preparation(tmp_path / "birds", "lab.data:Birds")
    assert result.level == "ok"
    assert f"data.prepare=lab.data:Birds will make {tmp_path / 'birds'} when training starts; " in result.text
