"""Zip, npz, idx and parquet files and tables made to harm: each is one sentence, in bounded time and memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile

import pytest

from tests.fuzz.source_targets import png


def zipped(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def overlapping(count):
    """`count` members of 1 MB each that are the same few bytes of the file."""
    data = bytearray(zipped({"a.png": bytes(1 << 20)}))
    start = data.index(b"PK\1\2")
    entry = bytes(data[start : data.index(b"PK\5\6")])
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(entry) * count, start, 0)
    entries = [entry.replace(b"a.png", b"%05d" % number) for number in range(count)]
    return bytes(data[:start]) + b"".join(entries) + end


ZIPS = {
    "members over one another": lambda: overlapping(60_000),
    "a list of labels 100,000 deep": lambda: zipped({"a.png": png(1), "dataset.json": "[" * 100_000}),
    "a list of a million labels": lambda: zipped(
        {"a.png": png(1), "dataset.json": json.dumps({"labels": [["a.png", 10**400]] * 1000})}
    ),
    "50,000 empty folders": lambda: zipped({f"{number}/": b"" for number in range(50_000)}),
    "control characters": lambda: zipped({"\x1b[2J/\x1b]0;x\x07.png": png(1)}),
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("name", ZIPS)
def test_forged_zips(attack, name):
    assert attack("zips", lambda place: (place / "images.zip").write_bytes(ZIPS[name]())).sentence


def test_a_member_that_is_too_large_is_left_out_unread(attack):
    content = zipped({"a.png": bytes(300 << 20)})
    attack("zips", lambda place: (place / "images.zip").write_bytes(content))


def head(text):
    packed = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(packed)) + packed


NPZ = {
    "a pickle": head("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") + b"cos\nsystem\n(S'touch canary'\ntR.",
    "an expression": head("__import__('os').system('touch canary')"),
    "8 TB": head("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 8, 8, 128)}"),
    "a negative shape": head("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8, 8, 3)}"),
    "brackets without end": head("(" * 5000),
    "no head": b"",
}


@pytest.mark.parametrize("name", NPZ)
def test_forged_arrays(attack, name):
    content = zipped({"images.npy": NPZ[name]})
    assert attack("npz", lambda place: (place / "images.npz").write_bytes(content)).sentence


IDX = {
    "2**96 images": bytes((0, 0, 8, 3)) + struct.pack(">3I", *[2**32 - 1] * 3),
    "600 MB of nothing": bytes(600 << 20),
    "no image": bytes((0, 0, 8, 3)) + bytes(12),
}


@pytest.mark.parametrize("name", IDX)
def test_forged_idx_files(attack, name):
    packed = gzip.compress(IDX[name], 1)
    assert attack("idx", lambda place: (place / "train-images-idx3-ubyte.gz").write_bytes(packed)).sentence


def test_a_parquet_file_of_one_image_many_times(attack):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

    def change(place):
        pq.write_table(pa.table({"image": pa.array([png(1, 64)] * 20_000)}), place / "train-00000-of-00001.parquet")

    assert "unpacks to more than" in attack("parquet", change).sentence


def test_a_table_without_end(attack):
    def change(place):
        (place / "metadata.jsonl").unlink()
        (place / "labels.csv").write_text('id,label\n0,"' + "x" * 50_000_000)

    assert "is not a table of labels" in attack("tables", change).sentence


@pytest.mark.parametrize(
    ("name", "file"), [("zips", "images.zip"), ("npz", "images.npz"), ("parquet", "train-00000-of-00001.parquet")]
)
@pytest.mark.parametrize("what", ["fifo", "/dev/zero", "/proc/self/mem"])
def test_a_source_that_is_no_file(attack, name, file, what):
    def change(place):
        (place / file).unlink()
        os.mkfifo(place / file) if what == "fifo" else (place / file).symlink_to(what)

    assert attack(name, change).sentence
