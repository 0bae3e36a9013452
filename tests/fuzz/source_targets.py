"""The files that sources of `distgan prepare` read: good ones, their forgeries, and a reader that decodes them all."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from distgan.data.sources.cifar100 import Cifar100
from distgan.data.sources.folder import Folder
from distgan.data.sources.hub import Hf
from distgan.data.sources.mnist import Mnist
from distgan.data.sources.npz import Npz
from distgan.data.sources.zip_file import Zip
from tests.fuzz import mutations

COUNT = 6


def read_source(source: Any, split: str = "train") -> None:
    """Reads all that a source gives, as `distgan prepare` does."""
    images = source.offer(split, None).load(False)
    images.read(np.arange(len(images.labels)))
    images.finish()


def add(archive: zipfile.ZipFile, name: str, content: bytes | str) -> None:
    """Adds a member without the time, so that the same case has the same bytes."""
    archive.writestr(zipfile.ZipInfo(name), content, archive.compression)


def png(seed: int, size: int = 8) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


# Zip files


def make_zip(place: Path) -> None:
    with zipfile.ZipFile(place / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(COUNT):
            add(archive, f"00000/img{number:08d}.png", png(number))
        labels = [[f"00000/img{number:08d}.png", number % 2] for number in range(COUNT)]
        add(archive, "dataset.json", json.dumps({"labels": labels}))


def forge_zip(random: Random, place: Path) -> None:
    """Changes bytes, a field of a header, or a member, whose checksum then fits."""
    path = place / "images.zip"
    data, kind = path.read_bytes(), random.random()
    if kind < 0.3:
        path.write_bytes(mutations.bytes_of(random, data))
    elif kind < 0.6:
        mark, fields = random.choice(
            (
                (b"PK\1\2", (8, 10, 16, 20, 24, 28, 30, 38, 42)),
                (b"PK\3\4", (6, 8, 18, 26)),
                (b"PK\5\6", (8, 10, 12, 16)),
            )
        )
        at = random.choice([i for i in range(len(data)) if data.startswith(mark, i)]) + random.choice(fields)
        value = random.choice((0, 1, 2, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, random.randrange(1 << 32)))
        width = random.choice((2, 4))
        path.write_bytes(data[:at] + struct.pack("<I", value)[:width] + data[at + width :])
    else:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = random.choice(list(members))
        members[name] = changed_member(random, name, members[name])
        if random.random() < 0.3:
            odd = (
                "../x.png",
                "/x.png",
                "a\0b.png",
                "\x1b[2J.png",
                "a/" * 2000 + "x.png",
                ".hidden",
                "x//y.png",
                "00000",
                "é.png",
            )
            members[random.choice(odd)] = members.pop(name)
        with zipfile.ZipFile(
            path, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
        ) as new:
            for each, content in members.items():
                add(new, each, content)


def changed_member(random: Random, name: str, content: bytes) -> bytes:
    if name.endswith(".json"):
        return mutations.json_of(random, json.loads(content)).encode("utf-8", "surrogatepass")
    return mutations.png_of(random, content)


def read_zip(place: Path) -> None:
    read_source(Zip(place / "images.zip", size=8, skip_bad=True))


# NumPy archives


def make_npz(place: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
    np.savez_compressed(place / "images.npz", images=pixels, labels=np.arange(COUNT) % 2)


def forge_npz(random: Random, place: Path) -> None:
    """Changes bytes of the archive, or of an array's head and content."""
    path = place / "images.npz"
    if random.random() < 0.2:
        path.write_bytes(mutations.bytes_of(random, path.read_bytes()))
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(list(members))
    if random.random() < 0.5:
        members[name] = mutations.bytes_of(random, members[name])
    else:
        shape = random.choice(
            ((COUNT, 8, 8, 3), (10**12, 8, 8, 3), (2**62, 2**62), (-1, 8), (-2, -3), (), (0, 8, 8, 3), (COUNT, 384))
        )
        kind = random.choice(("|u1", "<i8", "|O", "<f8", "<U1000", "<U0", "|S0", "<M8[s]", "|V9", "x", [("a", "<i8")]))
        head = f"{{'descr': {kind!r}, 'fortran_order': {random.choice((True, False, 3))}, 'shape': {shape!r}, }}"
        head = random.choice(
            (head, head, "(" * 5000, "{" + "'a':1," * 1000 + "}", "__import__('os').system('touch canary')")
        )
        packed = head.encode().ljust(118) + b"\n"
        members[name] = b"\x93NUMPY\1\0" + struct.pack("<H", len(packed) & 0xFFFF) + packed + members[name][128:]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for each, content in members.items():
            add(new, each, content)


def read_npz(place: Path) -> None:
    read_source(Npz(place / "images.npz", size=8))


# idx files


def make_idx(place: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    for name, array in (
        ("train-images-idx3-ubyte", pixels),
        ("train-labels-idx1-ubyte", np.arange(20, dtype=np.uint8) % 10),
    ):
        head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
        (place / f"{name}.gz").write_bytes(gzip.compress(head + array.tobytes(), mtime=0))


def forge_idx(random: Random, place: Path) -> None:
    path = random.choice(sorted(place.glob("*.gz")))
    content, kind = gzip.decompress(path.read_bytes()), random.random()
    if kind < 0.2:
        path.write_bytes(mutations.bytes_of(random, path.read_bytes()))
        return
    if kind < 0.6:
        at = random.choice((0, 2, 3, 4, 8, 12))
        value = random.choice((0, 1, 28, 2**31, 2**32 - 1))
        content = content[:at] + struct.pack(">I", value) + content[at + 4 :]
    elif kind < 0.65:
        content = bytes(300 << 20)
    else:
        content = mutations.bytes_of(random, content)
    path.write_bytes(gzip.compress(content, 1, mtime=0))


def read_idx(place: Path) -> None:
    read_source(Mnist(place))


# Parquet files


def make_parquet(place: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    rows = [{"bytes": png(number), "path": "../../etc/passwd"} for number in range(COUNT)]
    table = pa.table({"image": pa.array(rows), "label": pa.array([number % 2 for number in range(COUNT)])})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, place / "train-00000-of-00001.parquet", row_group_size=4)


def forge_parquet(random: Random, place: Path) -> None:
    """Changes bytes; or columns and their description, in a file that is well formed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = place / "train-00000-of-00001.parquet"
    if random.random() < 0.6:
        data = path.read_bytes()
        footer = int.from_bytes(data[-8:-4], "little")
        if random.random() < 0.5:
            path.write_bytes(mutations.bytes_of(random, data))
        else:
            start = len(data) - 8 - footer
            path.write_bytes(data[:start] + mutations.bytes_of(random, data[start:-8]) + data[-8:])
        return
    values = random.choice(
        ([0, 1, -1, None, 7, 2**62], ["a", "b", "", "\x1b[2J", None, "a" * 3000], [[0], [1], [], None, [0, 1], [2]],
         [0.5] * 6, [0.0, 1.0, float("nan"), float("inf"), 1e300, None], [1.0, -1.0, 7.0] * 2,
         [b"x"] * 6, [{"a": 1}] * 6, [True] * 6)
    )  # fmt: skip
    contents = [random.choice((png(1), b"", None, mutations.png_of(random, png(2)), b"x" * 5000)) for _ in range(6)]
    images = random.choice((contents, [{"bytes": each, "path": None} for each in contents], [{"path": "x"}] * 6))
    labels = pa.array(values)
    labels = labels.dictionary_encode() if not pa.types.is_nested(labels.type) and random.random() < 0.3 else labels
    table = pa.table({"image": pa.array(images), "label": labels})
    metadata = json.loads(pq.read_schema(path).metadata[b"huggingface"])
    described = mutations.json_of(random, metadata).encode("utf-8", "surrogatepass")
    if random.random() < 0.2:
        path = path.with_name("train-00001-of-00001.parquet")  # beside the good one
    pq.write_table(table.replace_schema_metadata({"huggingface": described}), path)


def read_parquet(place: Path) -> None:
    read_source(Hf(f"{place}", size=8, skip_bad=True))


# Folders with a table of labels


def make_tables(place: Path) -> None:
    for number in range(COUNT):
        (place / f"{number}.png").write_bytes(png(number))
    rows = [{"file_name": f"{number}.png", "label": f"class {number % 2}"} for number in range(COUNT)]
    (place / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "labels.csv").write_text("id,label\n" + "".join(f"{number},{number % 2}\n" for number in range(COUNT)))


def forge_tables(random: Random, place: Path) -> None:
    path = random.choice((place / "metadata.jsonl", place / "labels.csv"))
    if path.suffix == ".csv":
        (place / "metadata.jsonl").unlink()
    if random.random() < 0.3:
        image = place / f"{random.randrange(COUNT)}.png"
        image.write_bytes(mutations.png_of(random, image.read_bytes()))
    elif path.suffix == ".jsonl" and random.random() < 0.6:
        path.write_bytes(mutations.lines_of(random, path.read_bytes()))
    else:
        odd = (b'"', b"\0", b"\xff\xfe", b"," * 5000, b"\n" * 5000, b'"' + b"x" * 200_000, b"id,id,id\n", b"\x1b[2J,")
        data = mutations.bytes_of(random, path.read_bytes())
        at = random.randrange(len(data) + 1)
        path.write_bytes(data[:at] + random.choice(odd) + data[at:])


def read_tables(place: Path) -> None:
    read_source(Folder(place, size=8, skip_bad=True))


# CIFAR-100


def make_cifar100(place: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3072), dtype=np.uint8)
    labels = {b"fine_labels": [number % 100 for number in range(200)], b"coarse_labels": [0] * 200}
    (place / "train").write_bytes(pickle.dumps({b"data": pixels, **labels}, 2))


def forge_cifar100(random: Random, place: Path) -> None:
    (place / "train").write_bytes(mutations.pickle_of(random, (place / "train").read_bytes()))


def read_cifar100(place: Path) -> None:
    read_source(Cifar100(place))


SOURCES = {
    "zips": (make_zip, forge_zip, read_zip),
    "npz": (make_npz, forge_npz, read_npz),
    "idx": (make_idx, forge_idx, read_idx),
    "parquet": (make_parquet, forge_parquet, read_parquet),
    "tables": (make_tables, forge_tables, read_tables),
    "cifar100": (make_cifar100, forge_cifar100, read_cifar100),
}
