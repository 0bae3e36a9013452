"""Stream mode on real shards: every image once, exact resumption, bounded memory, errors as sentences."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from distgan.data import shuffle_buffer
from distgan.data import streaming as module
from distgan.data.sharding import ReadPlan
from distgan.data.shards.decode import ImageForm, decode
from distgan.data.shards.manifest import load_manifest
from distgan.data.shards.png import encode_png
from distgan.data.shards.reader import scan_pieces
from distgan.data.shards.selection import select_shards
from distgan.data.streaming import Stream
from distgan.utils import files
from distgan.utils.errors import DataError
from tests.support.shards import known, make, members, read_shard, rewrite, take, uneven

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """230 images in six shards: five of 40, one of 30."""
    path = tmp_path_factory.mktemp("shapes") / "data"
    return path, make(path)


def _streams(path, batch=7, world=1, workers=0, shuffle=True, buffer=50, classes=None, seed=0):
    """The streams of all ranks."""
    selection = select_shards(path, load_manifest(path), classes)
    counts = tuple(selection.count(shard) for shard in selection.shards)
    plans = [ReadPlan(counts, batch, rank, world, max(workers, 1), seed, shuffle) for rank in range(world)]
    return [Stream(selection, plan, buffer, workers, False) for plan in plans]


def _take(stream, start, count):
    return take(stream, count, start)


def _indices(batches, pixels):
    """Which images these are, in order; checks type, shape and labels on the way."""
    found = []
    for images, labels in batches:
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert images.shape == (len(labels), 3, 32, 32)
        assert images.is_contiguous()
        for image, label in zip(images, labels.tolist(), strict=True):
            index, expected = pixels[image.numpy().tobytes()]
            assert label == expected
            found.append(index)
    return found


@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 1), (1, 2), (2, 0), (2, 2), (3, 3)])
def test_an_epoch_shows_every_image_once_over_all_ranks_and_workers(shapes, world, workers):
    path, images = shapes
    streams = _streams(path, world=world, workers=workers)
    length = streams[0].plan.batches_per_epoch
    assert length == 230 // (7 * world)
    seen = [index for stream in streams for index in _indices(_take(stream, 0, length), images)]
    assert len(seen) == len(set(seen)) == length * 7 * world


def test_workers_that_outnumber_the_shards_share_one(tmp_path):
    images = make(tmp_path / "one", count=48, shard_size=48)
    streams = _streams(tmp_path / "one", batch=4, world=2, workers=3)
    seen = [index for stream in streams for index in _indices(_take(stream, 0, 6), images)]
    assert sorted(seen) == list(range(48))


@pytest.mark.parametrize("workers", [0, 2])
def test_uneven_shards_are_read_evenly(tmp_path, workers):
    images = make(tmp_path / "uneven", count=60, shard_size=60)
    uneven(tmp_path / "uneven", [1, 33, 2, 1, 18, 5])
    streams = _streams(tmp_path / "uneven", batch=5, world=3, workers=workers)
    for epoch in range(3):
        seen = [index for stream in streams for index in _indices(_take(stream, 4 * epoch, 4), images)]
        assert sorted(seen) == list(range(60))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_resumed_stream_gives_the_batches_that_would_have_come(shapes, shuffle, workers):
    path, _ = shapes
    stream = _streams(path, batch=20, workers=workers, shuffle=shuffle)[0]
    length = stream.plan.batches_per_epoch  # 11
    whole = _take(stream, 0, 2 * length + 4)
    for start in range(len(whole)) if not workers else (1, length - 1, length, length + 3, 2 * length):
        resumed = _take(stream, start, min(4, len(whole) - start))
        for (images, labels), (expected, classes) in zip(resumed, whole[start:], strict=False):
            assert torch.equal(images, expected)
            assert torch.equal(labels, classes)


def test_a_stream_starts_far_into_training_at_once(shapes):
    path, images = shapes
    stream = _streams(path, batch=23)[0]
    assert sorted(_indices(_take(stream, 10 * 10**6, 10), images)) == list(range(230))


def test_one_batch_an_epoch_goes_round_with_more_workers_than_batches(tmp_path):
    pixels = make(tmp_path / "few", count=10, shard_size=4)
    stream = _streams(tmp_path / "few", batch=10, workers=3)[0]
    for images, labels in _take(stream, 2, 5):
        assert sorted(_indices([(images, labels)], pixels)) == list(range(10))


def test_the_order_differs_every_epoch_and_by_seed(shapes):
    path, images = shapes
    orders = [tuple(_indices(_take(_streams(path, batch=23)[0], 10 * epoch, 10), images)) for epoch in range(4)]
    orders.append(tuple(_indices(_take(_streams(path, batch=23, seed=1)[0], 0, 10), images)))
    assert len(set(orders)) == 5
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(230))}


def test_a_batch_mixes_shards(shapes):
    path, images = shapes
    home = {}
    for number, shard in enumerate(load_manifest(path).shards):
        home |= {int(name[:9]): number for name, _ in members(path / shard.name)}
    (stream,) = _streams(path, batch=46, buffer=200)
    for batch in _take(stream, 0, 5):
        assert len({home[index] for index in _indices([batch], images)}) >= 4


@pytest.mark.parametrize("workers", [0, 1])
def test_without_shuffling_the_images_come_in_the_shards_order_wrapped_around(shapes, workers):
    path, images = shapes
    selection = select_shards(path, load_manifest(path), None)
    order = [int(item.name[-9:]) for shard in selection.shards for item in read_shard(selection, shard)]
    stream = _streams(path, batch=50, workers=workers, shuffle=False)[0]
    seen = _indices(_take(stream, 0, 14), images)
    assert seen == (order * 4)[: 14 * 50]


def test_a_class_filter_shows_these_classes_with_new_labels(shapes):
    path, pixels = shapes
    (stream,) = _streams(path, batch=23, classes=("star", "circle"))  # circle is 1, star is 8
    assert stream.selection.classes == ("circle", "star")
    seen = {}
    for images, labels in _take(stream, 0, 2):
        for image, label in zip(images, labels.tolist(), strict=True):
            index, original = pixels[image.numpy().tobytes()]
            assert original == (1, 8)[label]
            seen[index] = label
    assert sorted(seen) == [index for index in range(230) if index % 10 in (1, 8)]


@pytest.mark.parametrize(("buffer", "held"), [(1, 10), (10, 10), (57, 50), (1000, 230)])
def test_no_more_encoded_images_wait_than_the_buffer_holds_in_whole_batches(shapes, buffer, held, monkeypatch):
    path, _ = shapes
    (stream,) = _streams(path, batch=10, buffer=buffer)
    read, most = 0, []
    original = module._read_segment

    def counted(*arguments):
        nonlocal read
        for piece in original(*arguments):
            read += len(piece)
            yield piece

    monkeypatch.setattr(module, "_read_segment", counted)
    for number, _ in enumerate(module._epoch_batches(stream, 0, 0, 0)):
        most.append(read - 10 * number)
    assert (read, len(most)) == (230, 23)
    assert max(most) == held


def test_skipped_images_are_not_decoded(shapes, monkeypatch):
    path, _ = shapes
    decoded = []
    original = shuffle_buffer.try_decode
    monkeypatch.setattr(shuffle_buffer, "try_decode", lambda *arguments: decoded.append(1) or original(*arguments))
    _take(_streams(path, batch=10)[0], 17, 2)
    assert len(decoded) == 20


def test_no_shard_stays_open(shapes):
    path, _ = shapes
    selection = select_shards(path, load_manifest(path), None)
    reader = scan_pieces(selection, selection.shards[0])
    next(reader)
    file = reader.gi_frame.f_locals["file"]
    assert not file.closed
    reader.close()
    assert file.closed


# --- what can be wrong with a data set


def _decode_all(selection, shard):
    for encoded in read_shard(selection, shard):
        assert decode(encoded, ImageForm(32, 3)).shape == (32, 32, 3)


def _missing(path, shard):
    shard.unlink()


def _truncated_in_an_image(path, shard):
    shard.write_bytes(shard.read_bytes()[: 30 * 1024 + 700])


def _truncated_between_members(path, shard):
    content = members(shard)
    rewrite(shard, content[:20])


def _empty(path, shard):
    shard.write_bytes(b"")


def _no_archive(path, shard):
    shard.write_bytes(b"x" * 20_000)


def _flipped_in_a_header(path, shard):
    data = bytearray(shard.read_bytes())
    data[3] ^= 255
    shard.write_bytes(data)


def _flipped_in_a_later_header(path, shard):
    content = members(shard)
    position = 512 + -(-len(content[0][1]) // 512) * 512 + 3  # the second member's header
    data = bytearray(shard.read_bytes())
    data[position] ^= 255
    shard.write_bytes(data)


def _change(shard, change):
    rewrite(shard, [change(number, name, data) for number, (name, data) in enumerate(members(shard))])


def _flipped_in_an_image(path, shard):
    def flip(data):
        return data[:80] + bytes([data[80] ^ 255]) + data[81:]

    _change(shard, lambda number, name, data: (name, flip(data) if number == 4 else data))


def _no_image(path, shard):
    _change(shard, lambda number, name, data: (name, b"hello" if number == 4 else data))


def _wrong_size(path, shard):
    small = encode_png(np.zeros((16, 24, 3), np.uint8))
    _change(shard, lambda number, name, data: (name, small if number == 4 else data))


def _one_too_many(path, shard):
    content = members(shard)
    rewrite(shard, [*content, ("999999999.png", content[0][1]), ("999999999.cls", content[1][1])])


def _no_label(path, shard):
    content = members(shard)
    rewrite(shard, content[:5] + content[6:])


def _no_pixels(path, shard):
    content = members(shard)
    rewrite(shard, content[:4] + content[5:])


def _bad_label(path, shard):
    _change(shard, lambda number, name, data: (name, b"frog" if number == 5 else data))


def _foreign_label(path, shard):
    _change(shard, lambda number, name, data: (name, b"10" if number == 5 else data))


def _twice(path, shard):
    content = members(shard)
    rewrite(shard, [*content[:5], (content[4][0], content[4][1]), *content[5:]])


DAMAGE = [
    (_missing, r"shard .*/train-000000.tar is missing; .*--verify"),
    (_truncated_in_an_image, r"shard .*/train-000000.tar is damaged: unexpected end of data; .*--verify"),
    (_truncated_between_members, r"shard .*/train-000000.tar holds 10 selected images, its manifest says 40$"),
    (_empty, r"shard .*/train-000000.tar is damaged: empty file; .*--verify"),
    (_no_archive, r"shard .*/train-000000.tar is damaged: .*; .*--verify"),
    (_flipped_in_a_header, r"shard .*/train-000000.tar is damaged: .*; .*--verify"),
    (_flipped_in_a_later_header, r"train-000000.tar"),
    (_flipped_in_an_image, r"image train-000000.tar/\d{9} cannot be decoded: "),
    (_no_image, r"image train-000000.tar/\d{9} cannot be decoded: its bytes are not an image$"),
    (_wrong_size, r"image train-000000.tar/\d{9} is 24x16, its manifest says 32x32$"),
    (_one_too_many, r"shard .*/train-000000.tar holds 41 images, its manifest says 40; .*--verify"),
    (_no_label, r"image train-000000.tar/\d{9} has no .cls member$"),
    (_no_pixels, r"image train-000000.tar/\d{9} has no .png member$"),
    (_bad_label, r"train-000000.tar/\d{9}.cls holds b'frog', which is not a class number$"),
    (_foreign_label, r"shard .*/train-000000.tar holds 39 selected images, its manifest says 40$"),
    (_twice, r"shard .*/train-000000.tar is damaged: .*duplicate file name"),
]


@pytest.fixture
def fresh(tmp_path):
    make(tmp_path / "data", count=120)
    return tmp_path / "data"


@pytest.mark.parametrize(("damage", "sentence"), DAMAGE, ids=[damage.__name__[1:] for damage, _ in DAMAGE])
def test_damage_is_one_sentence_that_names_shard_and_image(fresh, damage, sentence):
    damage(fresh, fresh / "train-000000.tar")
    selection = select_shards(fresh, load_manifest(fresh), None)
    with pytest.raises(DataError, match=sentence) as caught:
        _decode_all(selection, selection.shards[0])
    assert "\n" not in str(caught.value)
    assert "_io." not in str(caught.value)
    with pytest.raises(DataError, match=re.escape(str(caught.value))):
        _take(_streams(fresh, batch=40)[0], 0, 3)


@pytest.mark.parametrize("damage", [_missing, _no_image, _truncated_in_an_image])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_a_worker_is_raised_in_the_main_process_without_hanging(fresh, damage, workers):
    damage(fresh, fresh / "train-000000.tar")
    start = time.monotonic()
    with pytest.raises(DataError, match=r"train-000000\.tar"):
        _take(_streams(fresh, batch=5, workers=workers)[0], 0, 60)
    assert time.monotonic() - start < 20


def test_an_unreadable_shard_says_why(fresh):
    (fresh / "train-000000.tar").unlink()
    (fresh / "train-000000.tar").mkdir()
    with pytest.raises(DataError, match=r"train-000000.tar cannot be read: Is a directory; "):
        _take(_streams(fresh, batch=40)[0], 0, 3)


def test_any_flipped_byte_of_a_shard_is_a_data_error(tmp_path):
    make(tmp_path / "data", count=10)
    manifest = load_manifest(tmp_path / "data")
    selection, shard = select_shards(tmp_path / "data", manifest, None), tmp_path / "data" / "train-000000.tar"
    intact = shard.read_bytes()
    random = np.random.default_rng(0)
    for position in random.integers(0, len(intact), 400):
        data = bytearray(intact)
        data[position] ^= int(random.integers(1, 256))
        shard.write_bytes(data)
        with pytest.raises(DataError, match=r"train-000000\.tar"):
            _decode_all(selection, manifest.shards[0])


def test_any_flipped_byte_of_an_image_is_named_with_its_image(tmp_path):
    make(tmp_path / "data", count=10)
    manifest = load_manifest(tmp_path / "data")
    selection, shard = select_shards(tmp_path / "data", manifest, None), tmp_path / "data" / "train-000000.tar"
    intact = shard.read_bytes()
    (name, png_bytes), *_ = members(shard)
    for position in range(len(png_bytes)):
        data = bytearray(intact)
        data[512 + position] ^= 255
        shard.write_bytes(data)
        with pytest.raises(DataError, match=rf"^image train-000000\.tar/{name[:9]} "):
            _decode_all(selection, manifest.shards[0])


def test_a_flipped_label_is_found_by_the_checksum_and_named_by_its_class(fresh):
    shard = fresh / "train-000000.tar"
    content = members(shard)
    label = content[5][1]
    other = b"3" if label != b"3" else b"4"
    expected = load_manifest(fresh).shards[0].class_counts[int(other)]
    rewrite(shard, [(name, other if number == 5 else data) for number, (name, data) in enumerate(content)])
    with pytest.raises(DataError) as caught:
        _take(_streams(fresh, batch=40)[0], 0, 3)
    assert str(caught.value) == (
        f"shard {shard} is damaged: its sha256 is not the manifest's, and {expected + 1} of its images have label "
        f"{other.decode()}, not {expected}; `distgan prepare ... --verify` checks all shards"
    )


def test_a_stream_that_needs_a_part_of_a_damaged_shard_only_refuses_it_too(fresh):
    selection = select_shards(fresh, load_manifest(fresh), None)
    for damage, shard in zip((_no_image, _foreign_label, _truncated_between_members), selection.shards, strict=True):
        damage(fresh, fresh / shard.name)
        with pytest.raises(DataError, match=shard.name):
            next(read_shard(selection, shard))


def test_a_flipped_byte_between_members_is_found_by_the_checksum(fresh):
    shard = fresh / "train-000000.tar"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + b"x")
    with pytest.raises(DataError, match="its sha256 is not the manifest's, though all its images can be decoded; "):
        _take(_streams(fresh, batch=40)[0], 0, 3)


def test_a_shard_is_hashed_once_per_process(fresh, monkeypatch):
    hashed = []
    original = files.sha256_of
    monkeypatch.setattr(files, "sha256_of", lambda file: hashed.append(1) or original(file))
    stream = _streams(fresh, batch=40)[0]
    _take(stream, 0, 12)
    assert len(hashed) == 3


def test_paths_with_colons_and_braces_are_paths(tmp_path):
    images = make(tmp_path / "a:b" / "{c,d} ?#%20", count=20)
    seen = _indices(_take(_streams(tmp_path / "a:b" / "{c,d} ?#%20", batch=20)[0], 0, 1), images)
    assert sorted(seen) == list(range(20))


def test_a_relative_path_that_looks_like_a_url_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "s3:data", count=20)
    assert len(_take(_streams(Path("s3:data"), batch=20)[0], 0, 1)[0][1]) == 20


def test_an_unknown_class_is_refused_with_those_that_exist(shapes):
    path, _ = shapes
    with pytest.raises(DataError, match=r"^data.classes=frog: .* has no such class; there are arrow, circle, crescent"):
        select_shards(path, load_manifest(path), ("star", "frog"))


def test_a_class_that_is_named_twice_is_refused(shapes):
    path, _ = shapes
    with pytest.raises(DataError, match="^data.classes=star,cross,star names star twice; name each once$"):
        select_shards(path, load_manifest(path), ("star", "cross", "star"))


def test_the_images_that_the_tests_know_are_all_different():
    assert len(known(600)) == 600
