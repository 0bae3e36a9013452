"""The real images as a rank sees them, in both modes, and the resident mode's own promises."""

import dataclasses
import itertools
import math
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch

from distgan.config.schema import DataConfig
from distgan.data import resident
from distgan.data.bad_samples import SkipBudget
from distgan.data.dataset import ImageDataset
from distgan.data.resident import Resident
from distgan.data.shards.manifest import load_manifest
from distgan.data.shards.selection import select_shards
from distgan.utils.errors import DataError
from distgan.utils.rng import Rows
from tests.support.shards import make, members, read_shard, rewrite

CPU = torch.device("cpu")
COUNT = 230


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    path = tmp_path_factory.mktemp("shapes") / "data"
    return path, make(path, COUNT)


def _ranks(path, batch=24, world=1, seed=0, **config):
    """The views of all ranks."""
    config = DataConfig(path=path, **{"mode": "resident", "workers": 0, "shuffle_buffer": 50, **config})
    whole = Rows(0, batch, batch)
    return [ImageDataset(config, seed, whole.part(rank, world), CPU, show=False) for rank in range(world)]


def _take(reals, start, count):
    batches = reals.batches(start)
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def _global(ranks, start, count):
    """Global batches: the ranks' rows one after another."""
    parts = zip(*(_take(rank, start, count) for rank in ranks), strict=True)
    return [tuple(torch.cat(tensors) for tensors in zip(*batches, strict=True)) for batches in parts]


def _indices(batches, pixels):
    found = []
    for images, labels in batches:
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        for image, label in zip(images, labels.tolist(), strict=True):
            index, expected = pixels[image.contiguous().numpy().tobytes()]
            assert label == expected
            found.append(index)
    return found


def _shard_order(path):
    selection = select_shards(path, load_manifest(path), None)
    return [int(item.name[-9:]) for shard in selection.shards for item in read_shard(selection, shard)]


def _same(one, two):
    return len(one) == len(two) and all(
        torch.equal(a, b) for pair in zip(one, two, strict=True) for a, b in zip(*pair, strict=True)
    )


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("world", [2, 4])
def test_resident_global_batches_do_not_depend_on_the_number_of_processes(shapes, world, shuffle, flip):
    path, _ = shapes
    batches = [_global(_ranks(path, world=n, shuffle=shuffle, flip=flip), 0, 25) for n in (1, world)]
    assert _same(*batches)


def test_resident_images_come_once_an_epoch_and_go_on_without_a_seam(shapes):
    path, images = shapes
    (reals,) = _ranks(path)
    seen = _indices(_take(reals, 0, 3 * COUNT // 24 + 1), images)
    epochs = [seen[epoch * COUNT : (epoch + 1) * COUNT] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != sorted(epochs[0])


def test_a_resident_batch_may_be_larger_than_the_data_set(tmp_path):
    images = make(tmp_path / "few", 10)
    seen = _indices(_global(_ranks(tmp_path / "few", batch=32, world=2), 0, 5), images)
    assert all(sorted(seen[start : start + 10]) == list(range(10)) for start in range(0, 160, 10))


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_without_shuffling_images_come_in_the_shards_order_wrapped_around(shapes, mode):
    path, images = shapes
    (reals,) = _ranks(path, mode=mode, shuffle=False, workers=2)
    assert _indices(_take(reals, 0, 30), images) == (_shard_order(path) * 4)[: 30 * 24]


def test_without_shuffling_two_resident_ranks_share_the_shards_order(shapes):
    path, images = shapes
    seen = _indices(_global(_ranks(path, world=2, shuffle=False), 0, 20), images)
    assert seen == (_shard_order(path) * 3)[: 20 * 24]


@pytest.mark.parametrize(("mode", "workers"), [("resident", 0), ("stream", 0), ("stream", 2)])
@pytest.mark.parametrize("flip", [True, False])
def test_resuming_at_any_batch_gives_what_would_have_come(shapes, mode, workers, flip):
    path, _ = shapes
    (reals,) = _ranks(path, mode=mode, workers=workers, flip=flip)
    whole = _take(reals, 0, 24)  # 9.6 batches an epoch resident, 9 streamed
    for start in (1, 8, 9, 10, 13, 18, 20):
        assert _same(_take(_ranks(path, mode=mode, workers=workers, flip=flip)[0], start, 3), whole[start : start + 3])


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_the_order_is_a_function_of_the_seed(shapes, mode):
    path, images = shapes
    orders = [tuple(_indices(_take(_ranks(path, mode=mode, seed=seed)[0], 0, 5), images)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("mode", ["resident", "stream"])
@pytest.mark.parametrize("world", [1, 2])
def test_a_flip_is_the_mirror_image_of_about_half_the_images(shapes, mode, world):
    path, _ = shapes
    plain, flipped = (_global(_ranks(path, mode=mode, world=world, flip=flip), 0, 20) for flip in (False, True))
    mirrored = 0
    for (images, labels), (changed, classes) in zip(plain, flipped, strict=True):
        assert torch.equal(labels, classes)
        for image, other in zip(images, changed, strict=True):
            if not torch.equal(image, other):
                assert torch.equal(image.flip(2), other)
                mirrored += 1
    number = 20 * 24
    assert abs(mirrored - number / 2) < 4 * math.sqrt(number) / 2


def test_flips_do_not_change_the_images_in_memory(shapes):
    path, _ = shapes
    (reals,) = _ranks(path, flip=True)
    before = reals._source.images.clone()
    _take(reals, 0, 20)
    assert torch.equal(reals._source.images, before)


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_a_class_filter_relabels_in_the_manifests_order(shapes, mode):
    path, pixels = shapes
    (reals,) = _ranks(path, mode=mode, classes=("star", "circle"), batch=23)
    assert (reals.classes, reals.images, reals.size) == (("circle", "star"), 46, 32)
    seen = {}
    for images, labels in _take(reals, 0, 2):
        for image, label in zip(images, labels.tolist(), strict=True):
            index, original = pixels[image.contiguous().numpy().tobytes()]
            assert original == (1, 8)[label]
            seen[index] = label
    assert sorted(seen) == [index for index in range(COUNT) if index % 10 in (1, 8)]


def test_auto_is_resident_up_to_the_limit_and_streams_beyond(tmp_path):
    make(tmp_path / "data", 342)
    limit = 2**20 // (32 * 32 * 3)  # 341 images are a MiB
    assert limit == 341
    (streamed,) = _ranks(tmp_path / "data", mode="auto", resident_limit_mb=1)
    (kept,) = _ranks(tmp_path / "data", mode="auto", resident_limit_mb=2)
    (few,) = _ranks(tmp_path / "data", mode="auto", resident_limit_mb=1, classes=("star",), batch=5)
    assert (streamed.mode, kept.mode, few.mode) == ("stream", "resident", "resident")


def test_epochs_are_counted_in_images_shown(shapes):
    path, _ = shapes
    (kept,), (streamed,) = _ranks(path), _ranks(path, mode="stream")
    assert (kept.left_out_per_epoch, streamed.left_out_per_epoch) == (0, 230 - 9 * 24)
    assert kept.epoch(115) == 115 * 24 / 230 == 12
    assert streamed.epoch(18) == 2


def test_the_first_images_are_the_shards_first(shapes):
    path, images = shapes
    for mode in ("resident", "stream"):
        (reals,) = _ranks(path, mode=mode)
        first = reals.first(50).images
        assert first.dtype == torch.uint8
        assert first.is_contiguous()
        assert [images[image.numpy().tobytes()][0] for image in first] == _shard_order(path)[:50]
    assert len(reals.first(1000).images) == COUNT


def test_resident_images_are_kept_once(shapes, monkeypatch):
    path, _ = shapes
    sizes = []
    original = np.empty
    monkeypatch.setattr(np, "empty", lambda shape, **kind: sizes.append(np.prod(shape)) or original(shape, **kind))
    images, labels = resident.load_images(select_shards(path, load_manifest(path), None), SkipBudget(0), progress=False)
    assert sorted(sizes) == [COUNT, COUNT * 3 * 32 * 32]
    assert (images.shape, labels.shape) == ((COUNT, 3, 32, 32), (COUNT,))
    assert images.is_contiguous()
    assert images._base is None


def test_the_manifest_digest_says_which_images(shapes, tmp_path):
    make(tmp_path / "other", 60)
    assert _ranks(shapes[0])[0].manifest_digest == load_manifest(shapes[0]).digest
    assert _ranks(shapes[0])[0].manifest_digest != _ranks(tmp_path / "other")[0].manifest_digest


def test_an_epoch_order_is_a_permutation_keyed_by_seed_and_epoch():
    images, labels = torch.zeros(50, 3, 1, 1, dtype=torch.uint8), torch.arange(50)
    orders = [
        Resident(images, labels, Rows(0, 50, 50), seed, True)._epoch_order(epoch) for seed in (0, 1) for epoch in (0, 1)
    ]
    assert all(torch.equal(order.sort().values, torch.arange(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 4


# --- what can be wrong


def test_a_stream_with_less_than_a_batch_is_refused_with_what_works(shapes):
    with pytest.raises(DataError) as caught:
        _ranks(shapes[0], mode="stream", batch=231)
    assert str(caught.value) == (
        f"{shapes[0]} holds 230 selected images, fewer than one batch of 231; use a smaller train.batch_size, or "
        "data.mode=resident, which repeats images within a batch"
    )


def test_a_directory_without_a_manifest_is_refused_with_how_to_make_one(tmp_path):
    with pytest.raises(
        DataError, match=r"is empty, so it is no data set.*distgan prepare shapes\|cifar10\|folder.* --out"
    ):
        _ranks(tmp_path)


def test_an_unknown_class_is_refused(shapes):
    with pytest.raises(DataError, match=r"^data.classes=frog: .* there are arrow, circle"):
        _ranks(shapes[0], classes=("frog",))


@pytest.fixture
def fresh(tmp_path):
    make(tmp_path / "data", 120)
    return tmp_path / "data"


def test_a_resident_load_stops_at_the_first_damage_with_its_sentence(fresh):
    last = fresh / "train-000002.tar"
    content = members(last)
    rewrite(last, [*content, ("999999999.png", content[0][1]), ("999999999.cls", content[1][1])])
    with pytest.raises(DataError, match=r"train-000002.tar holds 41 images, its manifest says 40; "):
        _ranks(fresh)
    rewrite(last, content[:-2])
    with pytest.raises(DataError, match=r"train-000002.tar holds 39 selected images, its manifest says 40$"):
        _ranks(fresh)
    rewrite(last, [(name, b"" if name.endswith("png") else data) for name, data in content])
    with pytest.raises(DataError, match=r"image train-000002.tar/\d{9} cannot be decoded: its bytes are not an image$"):
        _ranks(fresh)
    last.unlink()
    with pytest.raises(DataError, match=r"train-000002.tar is missing; .*--verify"):
        _ranks(fresh)


def test_a_resident_load_does_not_read_on_after_an_error(fresh, monkeypatch):
    (fresh / "train-000000.tar").unlink()
    selection = select_shards(fresh, load_manifest(fresh), None)
    many = selection.shards[:1] + selection.shards[1:] * 50
    read = []
    original = resident.scan_pieces
    monkeypatch.setattr(resident, "scan_pieces", lambda *what: read.append(1) or original(*what))
    with pytest.raises(DataError, match="is missing"):
        resident.load_images(dataclasses.replace(selection, shards=many), SkipBudget(0), progress=False)
    assert len(read) < 20


def test_a_stop_signal_to_a_worker_does_not_end_it(shapes):
    path, images = shapes
    (reals,) = _ranks(path, mode="stream", workers=1, batch=10)
    batches = reals.batches(0)
    first = [next(batches)]
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(worker.pid, number)
    rest = list(itertools.islice(batches, 22))
    assert worker.is_alive()
    assert sorted(_indices(first + rest, images)) == list(range(COUNT))
    batches.close()
    worker.join(10)
    assert not worker.is_alive()
