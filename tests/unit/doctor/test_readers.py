"""Shards for the readers, and memory for the images."""

from __future__ import annotations

from distgan.data.shards.manifest import load_manifest
from distgan.data.shards.selection import select_shards
from distgan.doctor import readers
from distgan.utils.rng import Rows
from tests.unit.doctor.results import GIB, lines


def test_readers_and_shards(tiny_config, shapes):
    selection = select_shards(shapes, load_manifest(shapes), None)
    config = tiny_config("data.mode=stream", "data.workers=1")
    results = readers.check_readers(config, selection, Rows(0, 12, 12), 1, 8, True)
    assert lines(results) == [
        "ok    readers: 5 shard(s) for 1 reader(s) (1 process(es) x 1), 1.2 images read per image shown",
        "ok    epoch: 25 batches per epoch, 0 images skipped (different ones each time); 0.8 epochs in the budget",
    ]
    many = tiny_config("data.mode=stream", "data.workers=4")
    results = readers.check_readers(many, selection, Rows(0, 6, 12), 2, 1, True)
    assert [result.level for result in results] == ["warn", "ok", "warn"]
    assert results[0].text.startswith("5 shard(s) for 8 reader(s) (2 process(es) x 4), ")
    assert results[0].advice == (
        "make more shards (`distgan prepare ... --shard-size 9`), lower data.workers, or set data.mode=resident"
    )
    assert results[2].text == "2 process(es) with 4 data worker(s) each on 1 core(s)"
    too_large = readers.check_readers(config, selection, Rows(0, 301, 301), 1, 8, True)
    assert [result.level for result in too_large] == ["fail"]
    assert "fewer than one batch of 301" in too_large[0].text
    assert lines(readers.check_readers(tiny_config(), selection, Rows(0, 12, 12), 1, 8, True)) == [
        "ok    readers: resident: 25.0 batches per epoch, 0.8 epochs in the budget"
    ]


def test_memory_for_the_images(tiny_config, shapes):
    selection = select_shards(shapes, load_manifest(shapes), None)
    config = tiny_config()
    assert lines(readers.check_data_memory(config, selection, 2, GIB, None)) == [
        "ok    data memory: 902.3 KiB of images per process, 2 process(es) on this machine, 1.0 GiB of host memory are "
        "free"
    ]
    assert lines(readers.check_data_memory(config, selection, 2, 1 << 20, None)) == [
        "FAIL  data memory: 902.3 KiB of images per process, 2 process(es) on this machine, 1.0 MiB of host memory are "
        "free; use data.mode=stream, or fewer processes per machine"
    ]
    assert readers.check_data_memory(config, selection, 1, GIB, 500 << 10)[0].level == "fail"
    assert readers.check_data_memory(config, selection, 1, GIB, 1 << 20)[0].level == "warn"
    assert readers.check_data_memory(config, selection, 1, GIB, GIB)[0].level == "ok"
    stream = tiny_config("data.mode=stream")
    assert readers.check_data_memory(stream, selection, 1, GIB, None)[0].level == "ok"
    assert readers.check_data_memory(stream, selection, 1, 1000, None)[0].level == "warn"


def test_room_in_the_cache(tiny_config, shapes):
    import dataclasses

    from distgan.data.remote.store import RemoteStore

    here = select_shards(shapes, load_manifest(shapes), None)
    far = dataclasses.replace(here, location=RemoteStore("https://host/x"))
    config = tiny_config("data.cache=/nowhere/x")
    assert readers.check_cache(config, here, 1) == []
    assert readers.check_cache(config, far, GIB)[0].level == "ok"
    assert readers.check_cache(config, far, 1000)[0].advice == "make room, or set data.cache=null"
    assert lines(readers.check_cache(config, far, None)) == [
        "FAIL  cache: data.cache=/nowhere/x cannot be made; set another directory, or null"
    ]
