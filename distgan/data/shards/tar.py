"""Tar archives as they may come from a stranger: what could fill the memory, or lies elsewhere, is an error.

`members` reads what distgan writes, plain files in the ustar format, faster than tarfile does. `Header` makes
tarfile, which reads all else, careful.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE
EXTRA = 1 << 20  # bytes of a long name or of a PAX header; tarfile reads these at once
HEADERS = (*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
DAMAGE = (OSError, EOFError, tarfile.TarError, ValueError, OverflowError, RecursionError)
"""What reading a damaged archive raises."""

_SIZE, _SUM, _TYPE = slice(124, 136), slice(148, 156), slice(156, 157)  # fields of a header
_PREFIX = 345  # where what stands before a long name begins
_CHARGED = 8 * ord(" ")  # the checksum's own field counts as spaces


class Header(tarfile.TarInfo):
    """A member as tarfile reads it (`tarfile.open(..., tarinfo=Header)`). Raises ReadError."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Header:
        member = super().frombuf(buf, encoding, errors)
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("it holds a sparse file, which may be of any size when read")
        if member.size < 0 or (member.type in HEADERS and member.size > EXTRA):
            raise tarfile.ReadError(f"a header says that it has {member.size:,} bytes")
        return member


def members(file: BinaryIO, most: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member, in their order, up to the archive's end or the file's.

    most: bytes of a member. Raises ReadError for a damaged archive, a larger member, and one that is no plain file with
    a short name, such as a link; OSError.
    """
    header = file.read(BLOCK)
    if not header:
        raise tarfile.ReadError("empty file")
    while any(header):
        size = _size(header)
        if size > most:
            raise tarfile.ReadError(f"one of its files says that it has {size:,} bytes; {most:,} is the most")
        content = file.read(size)
        padding = -size % BLOCK
        if len(content) < size or len(file.read(padding)) < padding:
            raise tarfile.ReadError("unexpected end of data")
        yield header[: header.index(0)].decode(errors="surrogateescape"), content
        header = file.read(BLOCK)


def _size(header: bytes) -> int:
    """Bytes of the member that follows. Raises ReadError for anything but a plain file."""
    if len(header) < BLOCK:
        raise tarfile.ReadError("unexpected end of data")
    checksum = sum(header.translate(None, b"\0")) - sum(header[_SUM]) + _CHARGED
    if checksum != _octal(header[_SUM]):
        raise tarfile.ReadError("bad checksum")
    if header[_TYPE] not in PLAIN or not header[0] or header[99] or header[_PREFIX]:
        raise tarfile.ReadError("it holds something other than plain files with short names")
    return _octal(header[_SIZE])


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits.isdigit():
        raise tarfile.ReadError("invalid header")
    return int(digits, 8)  # ValueError for an 8 or a 9
