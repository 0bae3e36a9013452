"""Tar files of other makers in, their plain files out: long names (PAX, GNU, ustar prefix), gzip, big members.

Faster than tarfile, which takes longer to read the headers that `webdataset.ShardWriter` writes than their images take
to decode. What is no plain file (a directory, a link, a device) is passed over and counted.
"""

from __future__ import annotations

import gzip
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, cast

from distgan.data.shards.tar import BLOCK_BYTES, FILE_TYPES, MAX_HEADER_BYTES, check_header, read_content

GZIP = b"\x1f\x8b"
MAX_UNPACKED_BYTES = 1 << 38  # of an archive: 256 GiB
MAX_TAIL_BYTES = 1 << 20  # of padding after the end of a packed archive
PIECE_BYTES = 1 << 20  # of a member that is passed over, read at a time
LINKS_AND_DEVICES = b"123467"
SPARSE_KEYS = ("GNU.sparse.major", "GNU.sparse.size", "GNU.sparse.realsize", "GNU.sparse.map")


def unpacked(file: BinaryIO) -> BinaryIO:
    """The content of a tar file that may be packed with gzip. file: at its start."""
    packed = file.read(2) == GZIP
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file


class Member(NamedTuple):
    """A plain file of an archive."""

    name: str
    content: bytes
    offset: int
    """Of its first byte in the archive, not packed."""


def plain_files(file: BinaryIO, limit: Callable[[str], int], passed_over: Counter[str]) -> Iterator[Member]:
    """Yields each plain file that is wanted, in order.

    limit: the most bytes of a file of this name; 0: it is not wanted. passed_over: counts the others, by their names'
    endings, and links.
    Raises READ_ERRORS; ReadError for a damaged archive, a sparse file and a wanted file that is too large.
    """
    name: str | None = None  # from a header before the file's own
    size: int | None = None
    header = file.read(BLOCK_BYTES)
    if not header:
        raise tarfile.ReadError("empty file")
    while any(header):
        check_header(header)
        kind, own_size = header[156:157], _number(header[124:136])
        if kind in (b"x", b"g", b"L", b"K"):
            records = _extra_header(file, kind, own_size)
            name, size = records.get("path", name), _size(records.get("size"), size)
        else:
            name, size = name or _name(header), own_size if size is None else size
            if file.tell() + size > MAX_UNPACKED_BYTES:
                raise tarfile.ReadError(f"it says that it holds more than {MAX_UNPACKED_BYTES:,} bytes")
            if kind == tarfile.GNUTYPE_SPARSE:
                raise tarfile.ReadError("it holds a sparse file, which may be of any size when read")
            if kind in FILE_TYPES and not name.endswith("/") and (max_bytes := limit(name)):
                offset = file.tell()
                yield Member(name, read_content(file, size, max_bytes), offset)
            elif kind in FILE_TYPES and not name.endswith("/"):
                passed_over[_kind_of(name)] += 1
                _skip(file, size)
            else:
                if kind in LINKS_AND_DEVICES:
                    passed_over["link or device"] += 1
                _skip(file, 0 if kind in LINKS_AND_DEVICES else size)
            name = size = None
        header = file.read(BLOCK_BYTES)
    if isinstance(file, gzip.GzipFile) and len(file.read(MAX_TAIL_BYTES)) == MAX_TAIL_BYTES:  # compares its checksum
        raise tarfile.ReadError("it goes on after its end")


def _extra_header(file: BinaryIO, kind: bytes, size: int) -> dict[str, str]:
    """What a header says about the next file: its path and size. Raises ReadError."""
    data = read_content(file, size, MAX_HEADER_BYTES)
    if kind == b"L":
        return {"path": data.split(b"\0")[0].decode(errors="surrogateescape")}
    if kind == b"K":  # of a link's target
        return {}
    records = _records(data)
    if any(key in records for key in SPARSE_KEYS):
        raise tarfile.ReadError("it holds a sparse file, which may be of any size when read")
    return records if kind == b"x" else {}


def _records(data: bytes) -> dict[str, str]:
    """The records of a PAX header, each `LENGTH KEY=VALUE` and a line's end."""
    records, position = dict[str, str](), 0
    while position < len(data) and data[position]:
        space = data.find(b" ", position, position + 20)
        if space < 0:
            raise tarfile.ReadError("invalid header")
        end = position + int(data[position:space])
        if not space < end <= len(data):
            raise tarfile.ReadError("invalid header")
        key, _, value = data[space + 1 : end - 1].partition(b"=")
        records[key.decode(errors="replace")] = value.decode(errors="surrogateescape")
        position = end
    return records


def _skip(file: BinaryIO, size: int) -> None:
    left = size + -size % BLOCK_BYTES
    while left:
        if not (piece := file.read(min(left, PIECE_BYTES))):
            raise tarfile.ReadError("unexpected end of data")
        left -= len(piece)


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0]
    if header[257:263] == b"ustar\0" and (prefix := header[345:500].split(b"\0")[0]):
        name = prefix + b"/" + name
    return name.decode(errors="surrogateescape")


def _number(field: bytes) -> int:
    """A number of a header: octal digits, or binary where its first bit is set. Raises ReadError."""
    number = tarfile.nti(field)  # type: ignore[attr-defined]
    if number < 0:
        raise tarfile.ReadError(f"a header says that it has {number:,} bytes")
    return int(number)


def _size(text: str | None, before: int | None) -> int | None:
    if text is None:
        return before
    if not text.isdigit() or len(text) > 20:
        raise tarfile.ReadError("invalid header")
    return int(text)


def _kind_of(name: str) -> str:
    base = name.rpartition("/")[2]
    return f".{base.rpartition('.')[2][:20].lower()}" if "." in base else "no ending"
