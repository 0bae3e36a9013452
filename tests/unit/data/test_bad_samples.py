"""data.on_error=skip: good images replace bad ones, the same everywhere, counted, reported once, and capped."""

from __future__ import annotations

import pytest
import torch

from distgan.config.schema import DataConfig
from distgan.data import bad_samples
from distgan.data.bad_samples import BadSample, SkipBudget
from distgan.data.dataset import ImageDataset, check_same_skips
from distgan.data.remote import store
from distgan.data.shards.manifest import load_manifest
from distgan.utils.errors import DataError
from distgan.utils.rng import Rows
from tests.support import forks
from tests.support.http_server import serve
from tests.support.shards import make, members, rewrite, take

CPU = torch.device("cpu")
MODES = [("resident", 0), ("stream", 0), ("stream", 2)]


@pytest.fixture(autouse=True)
def fresh_warnings(monkeypatch):
    monkeypatch.setattr(bad_samples, "_warned", [])
    monkeypatch.setattr(store, "FIRST_PAUSE", 0.01)


@pytest.fixture
def data(tmp_path):
    """120 images in three shards: where, and {pixels: (index, label)}."""
    return tmp_path / "data", make(tmp_path / "data", 120)


def ranks(path, mode="stream", workers=0, world=1, batch=20, **config):
    options = {"shuffle_buffer": 50, "on_error": "skip", "tries": 2, "stall_seconds": 0.3, **config}
    config = DataConfig(path=path, mode=mode, workers=workers, **options)
    return [ImageDataset(config, 0, Rows(0, batch, batch).part(rank, world), CPU, show=False) for rank in range(world)]


def indices(batches, pixels):
    """Which images these are; their labels are checked on the way."""
    found = []
    for images, labels in batches:
        for image, label in zip(images, labels.tolist(), strict=True):
            index, expected = pixels[image.contiguous().numpy().tobytes()]
            assert label == expected
            found.append(index)
    return found


def spoil(path, *numbers, shard="train-000001.tar"):
    """Flips a byte in some images of a shard; returns their indices."""
    content = members(path / shard)
    for number in numbers:
        name, data = content[2 * number]
        content[2 * number] = (name, data[:100] + bytes([data[100] ^ 1]) + data[101:])
    rewrite(path / shard, content)
    return {int(content[2 * number][0][:9]) for number in numbers}


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize(("mode", "workers"), MODES)
def test_only_the_positions_of_bad_images_change_and_good_ones_stand_there(data, mode, workers, world):
    path, images = data
    whole = [indices(take(rank, 12), images) for rank in ranks(path, mode, workers, world)]
    bad = spoil(path, 0, 7, 8, 39)
    damaged = ranks(path, mode, workers, world)
    shown = [indices(take(rank, 12), images) for rank in damaged]
    for before, after in zip(whole, shown, strict=True):
        assert len(before) == len(after) == 12 * 20 // world
        changed = {position for position, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]}
        assert changed == {position for position, index in enumerate(before) if index in bad}
        assert not bad & set(after)
    skips = [rank.skipped for rank in damaged]
    assert skips == [4] * world if mode == "resident" else max(skips) <= 4 <= sum(skips)


@pytest.mark.parametrize(("mode", "workers"), MODES)
def test_a_resumed_run_with_bad_images_gives_what_would_have_come(data, mode, workers):
    path, images = data
    spoil(path, *range(0, 40, 2))
    whole = indices(take(ranks(path, mode, workers)[0], 14), images)
    for start in (1, 5, 6, 7, 11):
        assert indices(take(ranks(path, mode, workers)[0], 3, start), images) == whole[20 * start : 20 * (start + 3)]


@pytest.mark.parametrize(("mode", "workers"), MODES)
def test_a_missing_shard_is_skipped_whole_and_batches_go_on(data, mode, workers, capfd):
    path, images = data
    gone = {int(name[:9]) for name, _ in members(path / "train-000001.tar")}
    (path / "train-000001.tar").unlink()
    (rank,) = ranks(path, mode, workers)
    shown = indices(take(rank, 12), images)
    assert len(shown) == 240
    assert not gone & set(shown)
    assert rank.skipped == 40
    lines = [line for line in capfd.readouterr().err.splitlines() if "skipped" in line]
    assert lines == [
        f"WARNING: skipped: shard {path}/train-000001.tar is missing; `distgan prepare ... --verify` checks all shards"
    ]


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_a_shard_that_ends_too_early_is_used_up_to_there(data, mode):
    path, images = data
    content = members(path / "train-000001.tar")
    rewrite(path / "train-000001.tar", content[:60])
    (rank,) = ranks(path, mode)
    shown = set(indices(take(rank, 12), images))
    assert {int(name[:9]) for name, _ in content[:60]} <= shown
    assert not {int(name[:9]) for name, _ in content[60:]} & shown
    assert rank.skipped == 10


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_a_shard_with_a_wrong_label_is_skipped_whole(data, mode):
    path, images = data
    content = members(path / "train-000001.tar")
    wrong = b"3" if content[5][1] != b"3" else b"4"
    rewrite(path / "train-000001.tar", [*content[:5], (content[5][0], wrong), *content[6:]])
    (rank,) = ranks(path, mode)
    assert not {int(name[:9]) for name, _ in content} & set(indices(take(rank, 12), images))
    assert rank.skipped == 40


@pytest.mark.parametrize(("mode", "workers"), MODES)
def test_above_the_cap_it_is_an_error_that_names_the_last(data, mode, workers):
    path, _ = data
    spoil(path, *range(10))
    with pytest.raises(DataError, match=r"^more images than data.max_skipped=9 cannot be read; the last: image tr"):
        take(ranks(path, mode, workers, max_skipped=9)[0], 30)
    assert len(take(ranks(path, mode, workers, max_skipped=10)[0], 30)) == 30


@pytest.mark.parametrize(("mode", "workers"), MODES)
def test_where_nothing_is_good_it_is_an_error_not_a_hang(data, mode, workers):
    path, _ = data
    for shard in path.glob("*.tar"):
        spoil(path, *range(40), shard=shard.name)
    with pytest.raises(DataError, match=r"^none of the images of .*/data can be read"):
        take(ranks(path, mode, workers)[0], 30)


def test_each_bad_image_is_reported_once_and_no_more_than_a_few_are(data, capfd):
    path, _ = data
    spoil(path, *range(5))
    (rank,) = ranks(path, workers=2)
    take(rank, 30)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == len(set(lines)) == 5
    assert all("WARNING: skipped: image train-000001.tar/" in line for line in lines)
    spoil(path, *range(5, 40))
    (rank,) = ranks(path, workers=2)
    take(rank, 30)
    assert len(capfd.readouterr().err.splitlines()) == bad_samples.MAX_WARNINGS - 5 + 1
    assert rank.skipped == 40


def test_the_images_beside_the_samples_are_good_ones(data):
    path, images = data
    bad = spoil(path, 0, 1, shard="train-000000.tar")
    (rank,) = ranks(path)
    first = [images[image.numpy().tobytes()][0] for image in rank.first(10).images]
    assert len(first) == 10
    assert not bad & set(first)


@pytest.mark.parametrize(("mode", "workers"), MODES)
def test_a_remote_shard_that_cannot_be_fetched_is_skipped(data, mode, workers):
    path, images = data
    with serve(path) as server:
        server.faults = {"train-000001.tar": [404] * 99, "train-000002.tar": ["wrong"] * 99}
        (rank,) = ranks(server.url, mode, workers)
        shown = indices(take(rank, 12), images)
        assert set(shown) <= {int(name[:9]) for name, _ in members(path / "train-000000.tar")}
        assert (len(shown), rank.skipped) == (240, 80)


def test_without_skipping_the_first_bad_image_is_the_error(data):
    path, _ = data
    spoil(path, 3)
    for mode, workers in MODES:
        with pytest.raises(DataError, match=r"^image train-000001.tar/\d{9} cannot be decoded: a byte from \d+ on "):
            take(ranks(path, mode, workers, on_error="raise")[0], 12)


def _compare(rank, store, names, results):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    found = SkipBudget(10)
    found.add(BadSample(name, name) for name in names)
    try:
        check_same_skips(found, CPU)
        results.put("same")
    except DataError as error:
        results.put(str(error))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("one", "other", "answer"), [("ab", "ba", "same"), ("ab", "a", "could not read different")])
def test_resident_ranks_that_skipped_different_images_all_refuse(tmp_path, one, other, answer):
    results = forks.context().Queue()
    store = tmp_path / "store"
    both = [
        forks.context().Process(target=_compare, args=(rank, store, names, results))
        for rank, names in enumerate((one, other))
    ]
    for process in both:
        process.start()
    assert all(answer in results.get(timeout=30) for _ in both)
    for process in both:
        process.join(10)


def test_the_manifest_is_not_skipped(data):
    path, _ = data
    assert len(load_manifest(path).shards) == 3
    (path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="manifest.json is damaged, of another version"):
        ranks(path)
