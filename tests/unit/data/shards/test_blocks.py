"""The layout of blocks: what is in them, the same batches as from images, and what damage costs."""

import io
import itertools
import json
import tarfile

import numpy as np
import pytest
import torch

from distgan.config.schema import DataConfig
from distgan.data import bad_samples, reference
from distgan.data.dataset import ImageDataset, worker_count
from distgan.data.prepare import Request, prepare
from distgan.data.shards import blocks
from distgan.data.shards.decode import ImageForm
from distgan.data.shards.manifest import load_manifest
from distgan.data.shards.reader import first_images, scan
from distgan.data.shards.selection import select_shards
from distgan.data.shards.tar import members as plain_members
from distgan.data.shuffle_buffer import batch_slots, slot_count
from distgan.data.sources.shapes import Shapes, render, truth
from distgan.doctor import data as doctor
from distgan.utils.errors import DataError
from distgan.utils.rng import Rows
from tests.support.http_server import serve
from tests.support.shards import make, members, read_shard, rewrite, take

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
COUNT, SHARD, ROWS = 230, 40, 15  # shards of three blocks: 15, 15 and 10 images


@pytest.fixture(scope="module")
def small():
    """Blocks of 15 images of 32x32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "MAX_BLOCK_BYTES", ROWS * 3072)
        yield


@pytest.fixture(scope="module")
def both(small, tmp_path_factory):
    """The same images in either layout: two directories."""
    directory = tmp_path_factory.mktemp("both")
    for layout in ("pictures", "blocks"):
        make(directory / layout, COUNT, SHARD, layout)
    return directory / "pictures", directory / "blocks"


@pytest.fixture
def data(small, tmp_path, monkeypatch):
    """120 images in three shards of blocks: where, and {pixels: (index, label)}."""
    monkeypatch.setattr(bad_samples, "_warned", [])
    return tmp_path / "data", make(tmp_path / "data", 120, SHARD, "blocks")


def _reals(path, batch=24, world=1, rank=0, **config):
    options = {"mode": "stream", "workers": 0, "shuffle_buffer": 50, **config}
    return ImageDataset(
        DataConfig(path=path, **options), 0, Rows(0, batch, batch).part(rank, world), torch.device("cpu"), show=False
    )


def _same(one, two):
    return len(one) == len(two) and all(
        torch.equal(a, b) for pair in zip(one, two, strict=True) for a, b in zip(*pair, strict=True)
    )


def _indices(batches, pixels):
    found = []
    for images, labels in batches:
        for image, label in zip(images, labels.tolist(), strict=True):
            index, expected = pixels[image.contiguous().numpy().tobytes()]
            assert label == expected
            found.append(index)
    return found


# --- what is written


def test_a_block_holds_what_numpy_reads_as_images_and_labels(both):
    path, manifest = both[1], load_manifest(both[1])
    assert manifest.layout == "blocks"
    assert [shard.count for shard in manifest.shards] == [40] * 5 + [30]
    content = dict(members(path / manifest.shards[0].name))
    assert list(content) == [
        f"{start:09d}.{part}" for start in (0, 15, 30) for part in ("images.npy", "labels.npy", "crc32")
    ]
    images, labels = (np.load(io.BytesIO(content[f"000000030.{part}.npy"])) for part in ("images", "labels"))
    assert (images.shape, images.dtype, labels.shape, labels.dtype) == ((10, 3, 32, 32), np.uint8, (10,), np.int64)


def test_a_file_of_a_block_has_the_bytes_that_numpy_would_write():
    random = np.random.default_rng(0)
    for count in (0, 1, 7, 512):
        images = random.integers(256, size=(count, 3, 8, 8)).astype(np.uint8)
        labels = random.integers(10, size=count)
        content = blocks.encode_block(images, labels)
        for part, array in (("images.npy", images), ("labels.npy", labels)):
            file = io.BytesIO()
            np.save(file, array)
            assert content[part] == file.getvalue()


def test_the_same_request_gives_the_same_bytes_and_a_second_one_does_nothing(both, tmp_path):
    make(tmp_path / "again", COUNT, SHARD, "blocks")
    assert load_manifest(tmp_path / "again") == load_manifest(both[1])
    before = (tmp_path / "again" / "manifest.json").stat().st_mtime_ns
    make(tmp_path / "again", COUNT, SHARD, "blocks")
    assert (tmp_path / "again" / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(("there", "other"), [("pictures", "blocks"), ("blocks", "pictures")])
def test_the_other_layout_is_another_request(tmp_path, there, other):
    make(tmp_path / "data", 20, 20, there)
    with pytest.raises(DataError, match=f"made with layout = {there}, not {other}; pass --overwrite"):
        make(tmp_path / "data", 20, 20, other)


def test_a_data_set_from_before_there_were_layouts_is_one_of_images_and_keeps_its_digest(tmp_path):
    make(tmp_path / "data", 20, 20)
    new = load_manifest(tmp_path / "data")
    file = tmp_path / "data" / "manifest.json"
    content = json.loads(file.read_text())
    assert (content.pop("layout"), content["request"].pop("layout")) == ("pictures", "pictures")
    file.write_text(json.dumps(content))
    old = load_manifest(tmp_path / "data")
    assert (old.layout, old.digest) == ("pictures", new.digest)
    before = file.stat().st_mtime_ns
    make(tmp_path / "data", 20, 20)  # the same request: nothing is done
    assert file.stat().st_mtime_ns == before
    with pytest.raises(DataError, match="made with layout = pictures, not blocks"):
        make(tmp_path / "data", 20, 20, "blocks")


@pytest.mark.parametrize(("size", "rows"), [(16, 2048), (32, 512), (64, 128), (512, 2), (1024, 1)])
def test_a_block_of_larger_images_holds_fewer(size, rows, monkeypatch):
    monkeypatch.setattr(blocks, "MAX_BLOCK_BYTES", 512 * 32 * 32 * 3)
    assert blocks.max_block_images(ImageForm(size, 3)) == rows


def test_the_images_of_a_block_are_those_of_the_source(data):
    path, _ = data
    selection = select_shards(path, load_manifest(path), None)
    shown = {item.pixels.tobytes(): item.label for shard in selection.shards for item in read_shard(selection, shard)}
    drawn = render(truth(0, "train", np.arange(120)))
    assert shown == {image.tobytes(): index % 10 for index, image in enumerate(drawn)}


# --- the same batches as from images


@pytest.mark.parametrize("mode", ["resident", "stream"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("world", "workers"), [(1, 0), (2, 0), (1, 2)])
def test_both_layouts_give_the_same_batches(both, mode, shuffle, world, workers):
    for rank in range(world):
        one, two = (
            take(_reals(path, 24, world, rank, mode=mode, shuffle=shuffle, workers=workers, flip=True), 24)
            for path in both
        )
        assert _same(one, two)


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_both_layouts_give_the_same_batches_of_some_classes(both, mode):
    one, two = (take(_reals(path, 10, mode=mode, classes=("star", "circle", "ring")), 15) for path in both)
    assert _same(one, two)
    assert set(torch.cat([labels for _, labels in two]).tolist()) == {0, 1, 2}


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_resumed_stream_of_blocks_gives_the_batches_that_would_have_come(both, shuffle):
    whole = take(_reals(both[1], 20, shuffle=shuffle), 26)  # 11 an epoch
    for start in range(23):
        assert _same(take(_reals(both[1], 20, shuffle=shuffle), 3, start), whole[start : start + 3])


def test_first_images_and_the_reference_of_the_metrics_are_those_of_the_other_layout(both):
    one, two = (select_shards(path, load_manifest(path), None) for path in both)
    np.testing.assert_array_equal(first_images(one, 50)[0], first_images(two, 50)[0])
    indices = reference.choose(COUNT, range(60)).sort().values
    for a, b in zip(
        *(reference.read_images(selection, indices, range(60), 16) for selection in (one, two)), strict=True
    ):
        assert torch.equal(a, b)


def test_blocks_over_http_are_those_of_the_directory(both):
    with serve(both[1]) as server:
        for mode in ("resident", "stream"):
            assert _same(take(_reals(server.url, mode=mode), 12), take(_reals(both[1], mode=mode), 12))


def test_workers_are_chosen_for_the_layout_the_place_and_the_device(both):
    images, held = (select_shards(path, load_manifest(path), None) for path in both)
    remote = select_shards("http://host/dir", load_manifest(both[1]), None)
    for selection, gpu, auto in (
        (images, True, 2),
        (images, False, 0),
        (held, True, 0),
        (remote, True, 2),
        (remote, False, 2),
    ):
        assert worker_count(DataConfig(), selection, gpu) == auto
        assert worker_count(DataConfig(workers=3), selection, gpu) == 3
        assert worker_count(DataConfig(shuffle=False), selection, gpu) == min(auto, 1)


@pytest.mark.parametrize(
    ("batches", "batch", "buffer"), [(1, 7, 50), (20, 7, 50), (20, 7, 1), (3, 7, 1000), (0, 7, 50)]
)
def test_the_slots_of_an_epoch_give_every_image_once(batches, batch, buffer):
    held = slot_count(batches, batch, buffer)
    arriving = iter(range(batches * batch))
    kept, shown = list(itertools.islice(arriving, held)), []
    for indices in batch_slots(batches, batch, held, np.random.default_rng(0)):
        shown += [kept[position] for position in indices]
        for position, following in zip(indices, arriving, strict=False):
            kept[position] = following
    assert sorted(shown) == list(range(batches * batch))


# --- damage


def _spoil(path, shard, part, position=-1):
    """Flips a byte of a member; returns the content of its shard."""
    content = members(path / shard)
    rewrite(
        path / shard,
        [
            (name, data[:position] + bytes([data[position] ^ 1]) + data[position:][1:] if name == part else data)
            for name, data in content
        ],
    )
    return content


def _held(path, shard, key):
    """The pixels of a block's images."""
    images = np.load(io.BytesIO(dict(members(path / shard))[f"{key}.images.npy"]))
    return [image.tobytes() for image in images]


@pytest.mark.parametrize("mode", ["resident", "stream"])
@pytest.mark.parametrize("position", [-1, 5, 60, 2000])
def test_a_damaged_block_costs_its_own_images_only(data, mode, position):
    path, images = data
    whole = _indices(take(_reals(path, 20, mode=mode), 12), images)
    bad = {images[pixels][0] for pixels in _held(path, "train-000001.tar", "000000015")}
    _spoil(path, "train-000001.tar", "000000015.images.npy", position)
    reals = _reals(path, 20, mode=mode, on_error="skip")
    shown = _indices(take(reals, 12), images)
    assert reals.skipped == ROWS
    assert [index for index in whole if index not in bad] == [
        index for before, index in zip(whole, shown, strict=True) if before not in bad
    ]
    assert not bad & set(shown)


def test_a_damaged_block_costs_no_image_of_another_class(data):
    path, pixels = data
    _spoil(path, "train-000001.tar", "000000000.images.npy")
    labels = np.load(io.BytesIO(dict(members(path / "train-000001.tar"))["000000000.labels.npy"]))
    for mode in ("resident", "stream"):
        reals = _reals(path, 8, mode=mode, on_error="skip", classes=("star", "circle"))  # circle is 1, star is 8
        shown = take(reals, 9)
        assert reals.skipped == np.isin(labels, (1, 8)).sum()
        for images, classes in shown:
            for image, label in zip(images, classes.tolist(), strict=True):
                assert pixels[image.contiguous().numpy().tobytes()][1] == (1, 8)[label]


def _without(part):
    return lambda content: [(name, file) for name, file in content if not name.endswith(part)]


def _relabelled(content):
    """With labels, and their sum, of somebody who has made an error."""
    files = dict(content)
    images = np.load(io.BytesIO(files["000000000.images.npy"]))
    return [
        *((f"000000000.{part}", file) for part, file in blocks.encode_block(images, np.full(ROWS, 3)).items()),
        *content[3:],
    ]


def _of(shape, count=ROWS):
    """With a block of images of another shape."""

    def change(content):
        block = blocks.encode_block(np.zeros(shape, np.uint8), np.arange(count) % 10)
        return [*((f"000000000.{part}", file) for part, file in block.items()), *content[3:]]

    return change


SHARD_NAME = "train-000001.tar"
DAMAGE = {
    "images are missing": (_without("0.images.npy"), f"block {SHARD_NAME}/000000000 has no .images.npy member"),
    "labels are missing": (_without("0.labels.npy"), f"block {SHARD_NAME}/000000000 has no .labels.npy member"),
    "the sum is missing": (_without("0.crc32"), f"block {SHARD_NAME}/000000000 has no .crc32 member"),
    "a block is missing": (lambda content: content[3:], "holds 25 selected images, its manifest says 40"),
    "other labels": (_relabelled, "of its images have label 3, not "),
    "another size": (_of((ROWS, 3, 16, 16)), "it does not hold 15 images of 32x32"),
    "another number": (_of((ROWS - 1, 3, 32, 32)), "it does not hold 15 images of 32x32"),
    "another kind": (
        lambda content: [(name, file.replace(b"|u1", b"|O1")) for name, file in content],
        "it does not hold 15 images of 32x32",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_of_a_block_is_one_sentence(data, name):
    path, _ = data
    change, sentence = DAMAGE[name]
    rewrite(path / SHARD_NAME, change(members(path / SHARD_NAME)))
    for mode in ("resident", "stream"):
        with pytest.raises(DataError) as caught:
            take(_reals(path, 40, mode=mode), 3)
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(take(_reals(path, 40, mode=mode, on_error="skip"), 3)) == 3


@pytest.mark.parametrize("part", ["labels.npy", "crc32"])
@pytest.mark.parametrize("position", [0, -1])
def test_where_labels_cannot_be_trusted_the_rest_of_a_shard_is_not(data, part, position):
    path, images = data
    good = {images[pixels][0] for pixels in _held(path, SHARD_NAME, "000000000")}
    content = _spoil(path, SHARD_NAME, f"000000015.{part}", position)
    reals = _reals(path, 20, on_error="skip")
    shown = set(_indices(take(reals, 12), images))
    lost = 15 if (part, position) == ("crc32", 0) else 25  # the first of the two sums is that of the images
    assert (len(content), reals.skipped) == (9, lost)
    assert good <= shown


def test_a_shard_of_blocks_that_is_cut_short_is_used_up_to_there(data):
    path, images = data
    good = {images[pixels][0] for pixels in _held(path, SHARD_NAME, "000000000")}
    file = path / SHARD_NAME
    file.write_bytes(file.read_bytes()[:80_000])  # within the second block
    for mode in ("resident", "stream"):
        with pytest.raises(DataError, match=r"train-000001.tar is damaged: unexpected end of data; .*--verify"):
            take(_reals(path, 20, mode=mode), 6)
        reals = _reals(path, 20, mode=mode, on_error="skip")
        assert good <= set(_indices(take(reals, 12), images))
        assert reals.skipped == 25


def test_any_flipped_byte_of_a_shard_of_blocks_is_a_data_error(data):
    path, _ = data
    selection, shard = select_shards(path, load_manifest(path), None), path / "train-000000.tar"
    intact = shard.read_bytes()
    random = np.random.default_rng(0)
    for position in [*random.integers(0, len(intact), 100), *range(0, 512, 16)]:
        spoilt = bytearray(intact)
        spoilt[position] ^= int(random.integers(1, 256))
        shard.write_bytes(spoilt)
        with pytest.raises(DataError, match=r"train-000000\.tar"):
            list(read_shard(selection, selection.shards[0]))


def test_the_doctor_decodes_blocks_and_names_a_damaged_one(data):
    path, _ = data
    selection = select_shards(path, load_manifest(path), None)
    assert [result.level for result in doctor.check_images(selection, 0)] == ["ok"]
    _spoil(path, "train-000000.tar", "000000000.images.npy")
    (result,) = doctor.check_images(selection, 0)
    assert result.level == "fail"
    assert "block train-000000.tar/000000000 is damaged: its images are not as they were written" in result.text


def test_more_lost_images_than_there_could_ever_be_are_one_thing(tmp_path):
    lost = bad_samples.BadRange("a.tar/", range(5, 10**12), "gone")
    assert len(lost) == 10**12 - 5
    assert lost[10**9 :][0] == bad_samples.BadSample(f"a.tar/#{10**9 + 5}", "gone")


def test_a_buffer_that_cannot_be_is_refused_with_what_helps(small, tmp_path):
    prepare(Request(tmp_path / "data", Shapes(40), layout="blocks"), progress=False)
    file = tmp_path / "data" / "manifest.json"
    content = json.loads(file.read_text())
    content["shards"][0] |= {"count": 10**9, "class_counts": [10**9] + [0] * 9}
    content["size"] = 4096
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"raw images of 4096x4096 need .* GiB: .* lower data.shuffle_buffer"):
        take(_reals(tmp_path / "data", 10, shuffle_buffer=10**8), 1)


# --- the tar reader


def test_the_tar_reader_gives_what_tarfile_gives(both):
    for path in both:
        for shard in load_manifest(path).shards:
            with (path / shard.name).open("rb") as file:
                assert list(plain_members(file, 1 << 20)) == members(path / shard.name)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_the_tar_reader_refuses_what_is_no_plain_file(kind):
    header = tarfile.TarInfo("1.png")
    header.type, header.linkname = kind, "/etc/passwd"
    with pytest.raises(tarfile.ReadError, match="something other than plain files"):
        list(plain_members(io.BytesIO(header.tobuf(tarfile.USTAR_FORMAT)), 100))


NAMES = [(style, name) for style in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT) for name in ("a" * 100, "é" * 120, "")]


@pytest.mark.parametrize(("style", "name"), [*NAMES, (tarfile.USTAR_FORMAT, f"{'a' * 60}/{'b' * 60}")])
def test_the_tar_reader_refuses_names_that_need_more_than_a_plain_field(style, name):
    with pytest.raises(tarfile.ReadError, match="something other than plain files"):
        list(plain_members(io.BytesIO(tarfile.TarInfo(name).tobuf(style)), 1 << 20))


def test_the_tar_reader_reads_no_member_that_is_too_large():
    header = tarfile.TarInfo("1.png")
    header.size = 101
    with pytest.raises(tarfile.ReadError, match="101 bytes; 100 is the most"):
        list(plain_members(io.BytesIO(header.tobuf() + bytes(512)), 100))


def test_webdataset_reads_blocks(both):
    wds = pytest.importorskip("webdataset")
    urls = [str(both[1] / shard.name) for shard in load_manifest(both[1]).shards]
    samples = list(wds.WebDataset(urls, shardshuffle=False).decode())
    selection = select_shards(both[1], load_manifest(both[1]), None)
    pixels = [item.pixels.transpose(2, 0, 1) for shard in selection.shards for item in scan(selection, shard)]
    np.testing.assert_array_equal(np.concatenate([sample["images.npy"] for sample in samples]), np.stack(pixels))
