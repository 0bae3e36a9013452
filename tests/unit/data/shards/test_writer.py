"""`ShardWriter`: files of a fixed number of images, finished only if nothing went wrong."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from distgan.data.shards import writer as shard_writer
from distgan.data.shards.decode import ImageFile, ImageForm
from distgan.data.shards.manifest import Manifest
from distgan.data.shards.png import encode_png
from distgan.data.shards.reader import first_images
from distgan.data.shards.selection import select_shards
from distgan.data.shards.writer import ShardWriter, encode, encode_all
from distgan.utils.files import sha256
from tests.support.image_files import noise
from tests.support.shards import members

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3)).astype(np.uint8)


def _fill(writer, images=IMAGES):
    with writer:
        for key, image in enumerate(images):
            writer.add(key, key % 2, encode(image, writer.layout))
    return writer.entries


@pytest.mark.parametrize("layout", ["pictures", "blocks"])
def test_a_full_file_is_followed_by_the_next_and_the_last_is_finished_at_the_end(tmp_path, layout):
    entries = _fill(ShardWriter(tmp_path, "test", layout, ImageForm(8, 3), classes=2, shard_size=3))
    assert [entry.name for entry in entries] == ["test-000000.tar", "test-000001.tar", "test-000002.tar"]
    assert [entry.class_counts for entry in entries] == [(2, 1), (1, 2), (1, 0)]
    for entry in entries:
        path = tmp_path / entry.name
        assert (entry.bytes, entry.sha256) == (path.stat().st_size, sha256(path))


def test_without_an_image_there_is_no_file(tmp_path):
    with ShardWriter(tmp_path, "train", "pictures", ImageForm(8, 3), classes=2, shard_size=3) as writer:
        pass
    assert writer.entries == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", ["pictures", "blocks"])
def test_after_an_error_the_open_file_is_closed_and_is_no_entry(tmp_path, layout):
    writer = ShardWriter(tmp_path, "train", layout, ImageForm(8, 3), classes=2, shard_size=3)
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
    with ShardWriter(tmp_path, "train", "pictures", ImageForm(8, 3), classes=2, shard_size=3) as writer:
        writer.add(12, 1, encode(IMAGES[0], "pictures"))
    png = encode(IMAGES[0], "pictures")
    assert members(tmp_path / "train-000000.tar") == [("000000012.png", png.data), ("000000012.cls", b"1")]


@pytest.mark.parametrize("layout", ["pictures", "blocks"])
def test_gray_images_are_read_as_they_were_written(tmp_path, layout):
    gray = IMAGES[..., :1]
    with ShardWriter(tmp_path, "train", layout, ImageForm(8, 1), classes=2, shard_size=7) as writer:
        for key, image in enumerate(gray):
            writer.add(key, key % 2, encode(image, layout))
    manifest = Manifest(
        source="x",
        split="train",
        size=8,
        channels=1,
        layout=layout,
        classes=("a", "b"),
        shards=writer.entries,
        request={},
    )
    selection = select_shards(tmp_path, manifest, ["b"])
    np.testing.assert_array_equal(first_images(selection, 9)[0], gray[1::2].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("format", ["jpg", "webp", "png"])
def test_the_file_of_an_image_is_stored_byte_for_byte(tmp_path, format):
    buffer = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(buffer, {"jpg": "JPEG"}.get(format, format))
    file = ImageFile(buffer.getvalue(), format)
    with ShardWriter(tmp_path, "train", "pictures", ImageForm(8, 3), classes=2, shard_size=3) as writer:
        writer.add(12, 1, encode(file, "pictures"))
    assert members(tmp_path / "train-000000.tar") == [(f"000000012.{format}", file.data), ("000000012.cls", b"1")]
    manifest = Manifest(source="x", split="train", size=8, classes=("a", "b"), shards=writer.entries, request={})
    with Image.open(buffer) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(
        first_images(select_shards(tmp_path, manifest, None), 1)[0][0], expected.transpose(2, 0, 1)
    )


def test_a_data_set_of_other_channels_has_another_digest(tmp_path):
    entries = _fill(ShardWriter(tmp_path, "train", "pictures", ImageForm(8, 3), classes=2, shard_size=7))
    manifests = [
        Manifest(source="x", split="train", size=8, channels=n, classes=("a", "b"), shards=entries, request={})
        for n in (1, 3)
    ]
    assert manifests[0].digest != manifests[1].digest


@pytest.mark.parametrize("shape", [(1, 1, 3), (32, 32, 3), (28, 28, 1), (141, 141, 3), (142, 142, 3), (300, 300, 1)])
def test_a_png_has_the_bytes_that_pillow_saves(shape):
    for pixels in (noise(*shape), np.zeros(shape, np.uint8)):
        file = io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if shape[2] == 1 else pixels).save(file, "PNG", compress_level=1)
        assert encode_png(pixels) == file.getvalue()


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 100_000])
def test_a_tar_member_has_the_bytes_that_tarfile_writes(size):
    header = tarfile.TarInfo("000000012.png")
    header.size = size
    expected = header.tobuf(tarfile.USTAR_FORMAT) + bytes(size) + bytes(-size % 512)
    assert shard_writer._tar_member("000000012.png", bytes(size)) == expected
