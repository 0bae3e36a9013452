# ruff: noqa: E501
"""Manifests and shards that ask for memory, time, or other files."""

from __future__ import annotations

import gzip
import json
import os
import struct
import zlib
from random import Random

import pytest

from tests.fuzz import mutations, targets

FIRST = "data/train-000000.tar"


def forge(place, change):
    path = place / "data" / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(mutations.dumps(Random(1), content))


def put(*parts):
    """Replaces the first shard's content, with a manifest that fits."""

    def change(place):
        (place / FIRST).write_bytes(b"".join(parts) + bytes(1024))
        targets.resign(place)

    return change


def member(name, content, **more):
    return mutations.header(name, len(content), **more) + content + bytes(-len(content) % 512)


def image(*parts, size=32):
    ihdr = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    raw = zlib.compress(bytes(size * (1 + 3 * size)), 9) if size < 1000 else zlib.compress(bytes(1000))
    chunks = [mutations.chunk(b"IHDR", ihdr), *parts, mutations.chunk(b"IDAT", raw), mutations.chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("key", "value"),
    [("size", 10**9), ("size", 4096), ("size", 10**400), ("size", -1), ("classes", []), ("classes", ["a", "a"]),
     ("classes", ["\x1b[2J"] * 10), ("classes", [["a"]]), ("split", "\x1b[2J"), ("source", "x" * 10**6), ("shards", []),
     ("shards", mutations.DEEP), ("request", mutations.DEEP), ("request", mutations.DIGITS), ("request", mutations.LONE),
     ("format_version", 2), ("format_version", "\x1b"), ("extra", 1)],
)  # fmt: skip
def test_forged_facts_of_a_manifest(attack, key, value):
    assert attack("manifests", lambda place: forge(place, lambda content: content.update({key: value}))).sentence


@pytest.mark.parametrize("count", [10**6, 10**9, 10**12, 10**15, 10**30])
def test_a_huge_number_of_images_makes_no_huge_memory(attack, count):
    def change(content):
        content["shards"][0] |= {"count": count, "class_counts": [count] + [0] * 9}

    assert attack("manifests", lambda place: forge(place, change)).sentence


@pytest.mark.parametrize("number", [10**9, 10**18, 10**30])
def test_a_huge_shard(attack, number):
    assert attack(
        "manifests", lambda place: forge(place, lambda content: content["shards"][0].update(bytes=number))
    ).sentence


@pytest.mark.parametrize(
    "name", ["../x.tar", "/etc/passwd", "a\0.tar", "a" * 300 + ".tar", "a/b.tar", "\x1b.tar", "..tar", ".tar", "x"]
)
def test_a_shard_is_a_file_beside_its_manifest(attack, name):
    assert attack(
        "manifests", lambda place: forge(place, lambda content: content["shards"][0].update(name=name))
    ).sentence


def test_many_classes_do_not_take_for_ever(attack):
    names = [str(i) for i in range(100_000)]

    def change(content):
        content["classes"] = names
        for shard in content["shards"]:
            shard["class_counts"] = shard["class_counts"] + [0] * (len(names) - 10)

    attack("manifests", lambda place: forge(place, change))


@pytest.mark.parametrize("name", ["manifest.json", "train-000000.tar"])
@pytest.mark.parametrize("what", ["fifo", "/dev/zero", "/proc/self/mem", "folder"])
def test_a_file_of_a_data_set_that_is_none(attack, name, what):
    def change(place):
        path = place / "data" / name
        path.unlink()
        if what == "fifo":
            os.mkfifo(path)
        elif what == "folder":
            path.mkdir()
        else:
            path.symlink_to(what)

    assert attack("manifests", change).sentence


CLS = member("1.cls", b"1")
GOOD = image()
MEMBERS = {
    "a sparse file of 1 TB": [mutations.sparse("1.png", 10**12)],
    "a sparse file of 1 TB by PAX": [
        mutations.pax(GNU__sparse__size=10**12, GNU__sparse__map="0,1"),
        member("1.png", b"x"),
    ],
    "PAX 1.0 sparse": [
        mutations.pax(
            GNU__sparse__major=1, GNU__sparse__minor=0, GNU__sparse__realsize=10**12, GNU__sparse__name="1.png"
        ),
        member("1.png", b"1\n0\n1\n".ljust(512, b"\0") + b"x"),
    ],
    "a member of 10 GB": [mutations.header("1.png", 8**11 - 1)],
    "a member of 1 TB by PAX": [mutations.pax(size=10**12), member("1.png", b"x")],
    "a negative size by PAX": [mutations.pax(size=-512), member("1.png", b"x")],
    "a negative size": [
        mutations.signed(mutations.header("1.png", 0)[:124] + b"\xff" * 12 + mutations.header("1.png", 0)[136:])
    ],
    "a long name of 8 GB": [mutations.header("x", 8**11 - 1, b"L"), b"x" * 1024],
    "2,000 PAX headers in a row": [mutations.pax(comment="x") * 2000, member("1.png", GOOD), CLS],
    "a link": [mutations.header("1.png", 0, b"2", linkname="/etc/passwd"), CLS],
    "a hard link": [mutations.header("1.png", 0, b"1", linkname="/etc/passwd"), CLS],
    "a device": [mutations.header("1.png", 0, b"3"), CLS],
    "an absolute name": [member("/1.png", GOOD), member("/1.cls", b"\x1b[2J")],
    "a name outside": [member("../../1.png", GOOD), member("../../1.cls", b"99")],
    "control characters": [member("\x1b[2J\n.png", b"x"), member("\x1b[2J\n.cls", b"1")],
    "bytes that are no UTF-8": [member("\udcff.png", b"x"), member("\udcff.cls", b"1")],
    "names of WebDataset's own": [
        member("1.__key__", b"x"),
        member("1.__bad__", b"x"),
        member("__x__", b"x"),
        member("1", b""),
    ],
    "a label of 5,000 digits": [member("1.png", GOOD), member("1.cls", b"9" * 5000)],
    "a gzip bomb": None,
}


@pytest.mark.parametrize("name", MEMBERS)
def test_forged_members(attack, name):
    content = [gzip.compress(bytes(1 << 28))] if MEMBERS[name] is None else MEMBERS[name]
    assert attack("shards", put(*content)).sentence


def npy(kind, shape, content):
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n" + content


PIXELS, NUMBERS = npy("|u1", (5, 3, 32, 32), bytes(5 * 3072)), npy("<i8", (5,), struct.pack("<5q", *range(5)))
BLOCKS = {
    "an object array, which is a pickle": (
        npy("|O", (5, 3, 32, 32), b"cposix\nsystem\n(S'touch canary'\ntR."),
        NUMBERS,
    ),
    "labels that are a pickle": (PIXELS, npy("|O", (5,), b"cposix\nsystem\n(S'touch canary'\ntR.")),
    "10^12 images": (npy("|u1", (10**12, 3, 32, 32), b""), NUMBERS),
    "10^12 labels": (PIXELS, npy("<i8", (10**12,), b"")),
    "a negative number of images": (npy("|u1", (-1, 3, 32, 32), b""), NUMBERS),
    "a header that is a program": (npy("|u1", "__import__('os').abort()", bytes(5 * 3072)), NUMBERS),
    "deep brackets": (npy("|u1", "(" * 60, bytes(5 * 3072)), NUMBERS),
    "images of no height": (npy("|u1", (5, 3, 0, 32), b""), NUMBERS),
    "another size": (npy("|u1", (5, 3, 16, 16), bytes(5 * 768)), NUMBERS),
    "floats": (npy("<f8", (5, 3, 32, 32), bytes(5 * 3072 * 8)), NUMBERS),
    "fewer labels": (PIXELS, npy("<i8", (4,), struct.pack("<4q", *range(4)))),
    "labels far outside": (PIXELS, npy("<i8", (5,), struct.pack("<5q", -(2**63), 2**63 - 1, -1, 10, 0))),
    "empty files": (b"", b""),
    "no images": (npy("|u1", (0, 3, 32, 32), b""), npy("<i8", (0,), b"")),
    "Fortran's order": (PIXELS.replace(b"False", b"True "), NUMBERS),
    "a zip file": (b"PK\x03\x04" + bytes(200), NUMBERS),
}


def sums(*files):
    return " ".join(f"{zlib.crc32(file):08x}" for file in files).encode()


@pytest.mark.parametrize("name", BLOCKS)
def test_forged_blocks(attack, name):
    images, labels = BLOCKS[name]
    files = {"images.npy": images, "labels.npy": labels, "crc32": sums(images, labels)}
    assert attack("blocks", put(*(member(f"1.{part}", content) for part, content in files.items()))).sentence


@pytest.mark.parametrize("text", [b"", b" ", b"x" * 10**6, b"\x1b[2J", b"\xff\xfe \xff", b"00000000 00000000"])
def test_forged_sums_of_a_block(attack, text):
    assert attack(
        "blocks", put(member("1.images.npy", PIXELS), member("1.labels.npy", NUMBERS), member("1.crc32", text))
    ).sentence


@pytest.mark.parametrize("name", MEMBERS)
def test_forged_members_of_a_shard_of_blocks(attack, name):
    content = [gzip.compress(bytes(1 << 28))] if MEMBERS[name] is None else MEMBERS[name]
    assert attack("blocks", put(*content)).sentence


BOMB = b"name\0\0" + zlib.compress(bytes(1 << 28), 9)
IMAGES = {
    "50,000 x 50,000": image(size=50_000),
    "9,000 x 9,000": image(size=9000),
    "13,000 x 13,000": image(size=13_000),
    "a text bomb": image(*[mutations.chunk(b"zTXt", BOMB)] * 3),
    "a profile bomb": image(mutations.chunk(b"iCCP", BOMB)),
    "an empty profile": image(mutations.chunk(b"iCCP", b"")),
    "short resolution": image(mutations.chunk(b"pHYs", b"\0")),
    "short animation": image(mutations.chunk(b"acTL", b"\0")),
    "short frame": image(mutations.chunk(b"acTL", bytes(8)), mutations.chunk(b"fcTL", b"\0\0")),
    "another format: GIF": b"GIF89a" + bytes(200),
    "another format: PPM": b"P6 32 32 255\n" + bytes(3072),
    "another format: EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n(canary) (w) file closefile\n%%EOF\n",
    "another format: SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "another format: BMP": b"BM"
    + struct.pack("<IHHIIiiHHIIiiII", 3126, 0, 0, 54, 40, 32, 32, 1, 24, 0, 3072, 0, 0, 0, 0)
    + bytes(3072),
}


@pytest.mark.parametrize("name", IMAGES)
def test_forged_images(attack, name):
    parts = [member("1.png", IMAGES[name]), CLS]
    outcome = attack("shards", put(*parts))
    assert "cannot be decoded" in outcome.sentence or "its manifest says 32x32" in outcome.sentence


def test_an_animation_shows_its_first_image_only(attack):
    still = image(mutations.chunk(b"acTL", struct.pack(">II", 10**6, 0)))
    count = 5

    def change(place):
        put(*[member(f"{i}.png", still) + member(f"{i}.cls", str(i).encode()) for i in range(count)])(place)
        forge(
            place,
            lambda content: content["shards"][0].update(count=count, class_counts=[1] * count + [0] * (10 - count)),
        )

    assert attack("shards", change).sentence == ""
