"""`ShardWriter`: files of a fixed number of images, finished only if nothing went wrong."""

import numpy as np
import pytest

from distgan.data.shards.writer import ShardWriter, encode, encode_all
from distgan.utils.files import sha256
from tests.support.shards import members

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3)).astype(np.uint8)


def _fill(writer, images=IMAGES):
    with writer:
        for key, image in enumerate(images):
            writer.add(key, key % 2, encode(image, writer.layout))
    return writer.entries


@pytest.mark.parametrize("layout", ["pictures", "blocks"])
def test_a_full_file_is_followed_by_the_next_and_the_last_is_finished_at_the_end(tmp_path, layout):
    entries = _fill(ShardWriter(tmp_path, "test", layout, size=8, classes=2, shard_size=3))
    assert [entry.name for entry in entries] == ["test-000000.tar", "test-000001.tar", "test-000002.tar"]
    assert [entry.class_counts for entry in entries] == [(2, 1), (1, 2), (1, 0)]
    for entry in entries:
        path = tmp_path / entry.name
        assert (entry.bytes, entry.sha256) == (path.stat().st_size, sha256(path))


def test_without_an_image_there_is_no_file(tmp_path):
    with ShardWriter(tmp_path, "train", "pictures", size=8, classes=2, shard_size=3) as writer:
        pass
    assert writer.entries == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", ["pictures", "blocks"])
def test_after_an_error_the_open_file_is_closed_and_is_no_entry(tmp_path, layout):
    writer = ShardWriter(tmp_path, "train", layout, size=8, classes=2, shard_size=3)
    with pytest.raises(AttributeError):
        _fill(writer, [*IMAGES[:4], None])
    assert [entry.name for entry in writer.entries] == ["train-000000.tar"]
    assert writer._file.file.closed


def test_images_are_encoded_in_the_order_of_the_rows(tmp_path):
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(7), 200))
    read = lambda rows: [None if row == 3 else IMAGES[row] for row in rows]  # noqa: E731
    expected = [None if row == 3 else encode(IMAGES[row], "blocks") for row in order]
    assert list(encode_all(read, order, "blocks")) == expected


def test_the_members_of_an_image_are_its_png_and_its_label(tmp_path):
    with ShardWriter(tmp_path, "train", "pictures", size=8, classes=2, shard_size=3) as writer:
        writer.add(12, 1, encode(IMAGES[0], "pictures"))
    png = encode(IMAGES[0], "pictures")
    assert members(tmp_path / "train-000000.tar") == [("000000012.png", png), ("000000012.cls", b"1")]
