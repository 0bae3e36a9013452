"""Encoded images in a temporary file: read back in any order, by any thread; a full disk is one sentence."""

import errno
from concurrent.futures import ThreadPoolExecutor

import pytest

from distgan.data.sources.spool import Spool
from distgan.utils.errors import DataError


def test_what_was_added_is_read_in_any_order_by_any_thread():
    spool, items = Spool(), [bytes([number % 256]) * (number * 37 % 5000) for number in range(500)]
    for item in items:
        spool.add(item)
    spool.close()
    assert spool.size == sum(map(len, items))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(spool.read, reversed(range(500)))) == items[::-1]


def test_a_full_disk_is_one_sentence():
    spool = Spool()

    class Full:
        def write(self, _data):
            raise OSError(errno.ENOSPC, "No space left on device")

    spool._file = Full()
    with pytest.raises(DataError, match="images cannot be kept in .* while they are read: No space left .* set TMPDIR"):
        spool.add(b"x")


def test_without_a_place_for_it_there_is_one_sentence(monkeypatch):
    def refuse(**_):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(DataError, match="images cannot be kept in .*: Permission denied"):
        Spool()
