"""Tar files of other makers: what tarfile reads is what is read here, and nothing else is."""

import gzip
import io
import random
import tarfile
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgan.data.shards.foreign_tar import plain_files, unpacked
from distgan.data.shards.tar import READ_ERRORS

NAMES = ["a.jpg", "x" * 99, "x" * 100 + ".jpg", "d" * 60 + "/" + "e" * 60 + ".jpg", "f/" * 100 + "g.jpg", "ü/猫.jpg"]


def archive(members, format=tarfile.PAX_FORMAT, **fields):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as writer:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            for key, value in fields.items():
                setattr(header, key, value)
            writer.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def read(data, limit=lambda _: 1 << 20, passed_over=None):
    return list(plain_files(unpacked(io.BytesIO(data)), limit, Counter() if passed_over is None else passed_over))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_length_are_read_in_each_format(format, name):
    if format == tarfile.USTAR_FORMAT and (len(name) > 150 or len(name.rpartition("/")[2]) > 100):
        return  # which ustar cannot hold
    found = read(archive([(name, b"first"), ("b.cls", b"")], format, mtime=1.0))
    assert [(each.name, each.content) for each in found] == [(name, b"first"), ("b.cls", b"")]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1,
                               max_size=120), st.binary(max_size=1500)), min_size=1, max_size=6),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.floats(0, 1e9),
)  # fmt: skip
def test_what_tarfile_reads_is_read(members, format, mtime):
    data = archive(members, format, mtime=mtime)
    with tarfile.open(fileobj=io.BytesIO(data)) as reader:
        expected = [(member.name, reader.extractfile(member).read()) for member in reader if member.isreg()]
    found = read(data)
    assert [(each.name, each.content) for each in found] == expected
    assert all(data[each.offset : each.offset + len(each.content)] == each.content for each in found)


def test_what_is_not_wanted_is_passed_over_and_counted_however_large():
    data = archive([("a.txt", b"x" * 5000), ("a.mp4", b"y" * 3_000_000), ("noend", b""), ("a.jpg", b"z")])
    passed_over = Counter()
    assert [each.name for each in read(data, lambda name: 100 * name.endswith("jpg"), passed_over)] == ["a.jpg"]
    assert passed_over == {".txt": 1, ".mp4": 1, "no ending": 1}


def test_links_devices_and_directories_are_never_files():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as writer:
        for name, kind in (
            ("l", tarfile.SYMTYPE),
            ("h", tarfile.LNKTYPE),
            ("c", tarfile.CHRTYPE),
            ("d/", tarfile.DIRTYPE),
        ):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "/etc/passwd"
            writer.addfile(header)
    passed_over = Counter()
    assert read(buffer.getvalue(), passed_over=passed_over) == []
    assert passed_over == {"link or device": 3}


def test_gzip_is_unpacked():
    data = archive([("a.jpg", b"first")])
    assert read(gzip.compress(data)) == read(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (archive([("a.jpg", b"x" * 600)])[:1000], "unexpected end of data"),
        (archive([("a.jpg", b"x")])[:300], "unexpected end of data"),
        (b"\1" + archive([("a.jpg", b"x")])[1:], "bad checksum"),
        (archive([("a.jpg", b"x" * 2000)]), "2,000 bytes; 1,000 is the most"),
        (archive([("a.txt", b"x" * 600)])[:1000], "unexpected end of data"),
        (archive([("a.jpg", b"x")], pax_headers={"size": "99999999"}), "99,999,999 bytes"),
        (archive([("a.jpg", b"x")], pax_headers={"size": "-1"}), "invalid header"),
        (archive([("a.jpg", b"x")], pax_headers={"GNU.sparse.major": "1"}), "sparse"),
        (archive([("x" * 2_000_000, b"x")]), "bytes"),
        (
            archive([("a.jpg", b"x")], pax_headers={"comment": "y"}).replace(b"13 comment=y\n", b"x" * 13),
            "invalid header",
        ),
        (
            archive([("a.jpg", b"x")], pax_headers={"comment": "y"}).replace(b"13 comment", b"99 comment"),
            "invalid header",
        ),
        (archive([("a.txt", b"x")], pax_headers={"size": str(1 << 50)}), "more than 274,877,906,944 bytes"),
        (gzip.compress(archive([("a.jpg", random.Random(0).randbytes(900))]), mtime=0)[:500], "ended before"),
        (gzip.compress(archive([("a.jpg", b"x")]), mtime=0)[:-3], "ended before"),
        (gzip.compress(archive([("a.jpg", b"x")]) + bytes(2 << 20), mtime=0), "it goes on after its end"),
    ],
)
def test_damage_and_claims_are_one_of_the_known_errors(data, reason):
    with pytest.raises(READ_ERRORS, match=reason):
        read(data, lambda name: 1000 * name.endswith(".jpg"))
