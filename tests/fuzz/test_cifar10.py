"""CIFAR archives whose pickles are programs or bombs, and whose tar or gzip is forged."""

from __future__ import annotations

import gzip
import os
import pickle
import struct

import pytest

from tests.fuzz import mutations
from tests.fuzz.targets import archive, batch


def put(content, name="test_batch"):
    return lambda place: (place / "cifar.tar.gz").write_bytes(archive({name: content}))


class Calls:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def tuples(count):
    """A tuple of two references to a tuple of two references ...: 2**count, if anybody looks inside."""
    return b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(count))


PICKLES = {
    "os.system": pickle.dumps({b"data": Calls(os.system, "touch canary"), b"labels": [1]}, 2),
    "open": pickle.dumps({b"data": Calls(open, "canary", "w"), b"labels": [1]}, 4),
    "a memo of 2**32 entries": b"\x80\x02]r\xff\xff\xff\xff.",
    "bytes of 2**60": b"\x80\x05\x8e" + struct.pack("<Q", 2**60) + b".",
    "a bytearray of 2**40": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "a frame of 2**62": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b".",
    "text of 2**60": b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b".",
    "a key that takes for ever to hash": b"\x80\x02}" + tuples(100) + b"K\x01s.",
    "a set that takes for ever to hash": b"\x80\x04\x8f(" + tuples(100) + b"\x90.",
    "a kind that takes for ever to show": b"\x80\x02cnumpy\ndtype\n" + tuples(100) + b"\x85R.",
    "a shape that takes for ever to show": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01" + tuples(100)
    + b"cnumpy\ndtype\nU\x02u1\x85R\x89U\x00tb.",
    "thirty million lists": b"\x80\x02" + b"]" * 30_000_000 + b".",
    "a tuple thirty million deep": b"\x80\x02)" + b"\x85" * 30_000_000 + b".",
    "the same text encoded again and again": b"\x80\x02X" + struct.pack("<I", 30_000_000) + b"x" * 30_000_000 + b"q\x00"
    + b"c_codecs\nencode\nq\x01h\x00\x85R" * 1000 + b"0.",
    "a number of 5,000 digits": b"I" + b"9" * 5000 + b"\n.",
    "control characters": b"c\x1b[2J\nevil\n.",
    "a global with control characters": b"\x80\x04\x8c\x04\x1b[2J\x8c\x01x\x93.",
    "nothing": b"",
    "a mark without its end": b"(((((.",
    "pops without end": b"00000.",
    "a build on nothing": b"b.",
}  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
def test_forged_pickles(attack, name):
    assert "test_batch" in attack("cifar10", put(PICKLES[name])).sentence


@pytest.mark.parametrize("folder", ["../", "/", "cifar-10-batches-py/../../", "C:\\"])
def test_members_outside_the_archive(attack, folder):
    def change(place):
        (place / "cifar.tar.gz").write_bytes(archive({"test_batch": pickle.dumps(batch(), 2)}, folder))

    assert "is not safe" in attack("cifar10", change).sentence


BLOCKS = {
    "a link": mutations.header("cifar-10-batches-py/test_batch", 0, b"2", linkname="/etc/passwd"),
    "a hard link": mutations.header("cifar-10-batches-py/test_batch", 0, b"1", linkname="/etc/passwd"),
    "a sparse file of 1 TB": mutations.sparse("cifar-10-batches-py/test_batch", 10**12),
    "a sparse file of 1 TB elsewhere": mutations.sparse("x", 10**12),
    "a long name of 300 MB": mutations.header("x", 300 << 20, b"L") + bytes(300 << 20),
    "a PAX header of 300 MB": mutations.header("x", 300 << 20, b"x") + bytes(300 << 20),
    "2,000 PAX headers in a row": mutations.pax(comment="x") * 2000,
    "500,000 members": mutations.header("x", 0) * 500_000,
    "a member of 8 GB": mutations.header("cifar-10-batches-py/test_batch", 8**11 - 1),
    "control characters": mutations.header("\x1b[2J", 0, b"2"),
    "600 MB of nothing": bytes(600 << 20),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_forged_archives(attack, name):
    content = gzip.compress(BLOCKS[name] + bytes(1024), 1)
    assert attack("cifar10", lambda place: (place / "cifar.tar.gz").write_bytes(content)).sentence


@pytest.mark.parametrize("what", ["fifo", "/dev/zero", "/proc/self/mem"])
def test_an_archive_that_is_no_file(attack, what):
    def change(place):
        path = place / "cifar.tar.gz"
        path.unlink()
        os.mkfifo(path) if what == "fifo" else path.symlink_to(what)

    assert attack("cifar10", change).sentence
