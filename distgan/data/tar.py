"""Tar headers that are what they say: what a stranger's archive could use to fill the memory is an error."""

from __future__ import annotations

import tarfile

EXTRA = 1 << 20  # bytes of a long name or of a PAX header; tarfile reads these at once
HEADERS = (*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
DAMAGE = (OSError, EOFError, tarfile.TarError, ValueError, OverflowError, RecursionError)
"""What tarfile raises for a damaged archive, beside what it says it raises."""


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


def check(member: tarfile.TarInfo, most: int) -> None:
    """Raises ReadError for a member that is larger than `most` bytes, or sparse by a PAX header."""
    if member.issparse() or not 0 <= member.size <= most:
        raise tarfile.ReadError(f"one of its files says that it has {member.size:,} bytes; {most:,} is the most")
