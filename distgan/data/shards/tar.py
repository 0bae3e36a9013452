"""Tar archives from strangers: a member that would fill the memory, or is not a plain file, is an error.

`members` reads plain files in the ustar format, which distgan writes, faster than tarfile does; `foreign_tar` reads
what others write. `CheckedHeader` adds the checks to tarfile.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

BLOCK_BYTES = tarfile.BLOCKSIZE
MAX_HEADER_BYTES = 1 << 20  # of a long name or a PAX header, which tarfile reads at once
HEADER_TYPES = (*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
FILE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE)
READ_ERRORS = (OSError, EOFError, tarfile.TarError, zlib.error, ValueError, OverflowError, RecursionError)
"""Exceptions that a damaged archive can cause."""

_SIZE, _CHECKSUM, _TYPE = slice(124, 136), slice(148, 156), slice(156, 157)  # fields of a header
_PREFIX = 345  # position of the first part of a long name
CHECKSUM_AS_SPACES = 8 * ord(" ")  # the checksum counts its own field as spaces


class ForeignMember(tarfile.ReadError):
    """A member as distgan does not write them; the archive need not be damaged."""


class CheckedHeader(tarfile.TarInfo):
    """A member's header for tarfile: `tarfile.open(..., tarinfo=CheckedHeader)`. Raises ReadError for unsafe ones."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> CheckedHeader:
        member = super().frombuf(buf, encoding, errors)
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("it holds a sparse file, which may be of any size when read")
        if member.size < 0 or (member.type in HEADER_TYPES and member.size > MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header says that it has {member.size:,} bytes")
        return member


def members(file: BinaryIO, max_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of each member in order, up to the end of the archive or of the file.

    max_bytes: of a member. Raises OSError; ReadError for a damaged archive and a larger member, ForeignMember for one
    that is not a plain file with a short name, such as a link.
    """
    header = file.read(BLOCK_BYTES)
    if not header:
        raise tarfile.ReadError("empty file")
    while any(header):
        content = read_content(file, _member_size(header), max_bytes)
        yield header[: header.index(0)].decode(errors="surrogateescape"), content
        header = file.read(BLOCK_BYTES)


def read_content(file: BinaryIO, size: int, max_bytes: int) -> bytes:
    """The content of a member, and past its padding. Raises OSError; ReadError if it is cut short or too large."""
    if size > max_bytes:
        raise tarfile.ReadError(f"one of its files says that it has {size:,} bytes; {max_bytes:,} is the most")
    content = file.read(size)
    padding = -size % BLOCK_BYTES
    if len(content) < size or len(file.read(padding)) < padding:
        raise tarfile.ReadError("unexpected end of data")
    return content


def _member_size(header: bytes) -> int:
    """Returns the bytes of the member that follows. Raises ReadError unless it is a plain file."""
    check_header(header)
    if header[_TYPE] not in FILE_TYPES or not header[0] or header[99] or header[_PREFIX]:
        raise ForeignMember("it holds something other than plain files with short names, such as PAX headers or links")
    return _octal(header[_SIZE])


def check_header(header: bytes) -> None:
    """Raises ReadError for a header that is cut short or has a wrong checksum."""
    if len(header) < BLOCK_BYTES:
        raise tarfile.ReadError("unexpected end of data")
    checksum = sum(header.translate(None, b"\0")) - sum(header[_CHECKSUM]) + CHECKSUM_AS_SPACES
    if checksum != _octal(header[_CHECKSUM]):
        raise tarfile.ReadError("bad checksum")


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits.isdigit():
        raise tarfile.ReadError("invalid header")
    return int(digits, 8)  # ValueError for the digits 8 and 9
