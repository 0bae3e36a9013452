"""The images in a zip file, as StyleGAN's tools write it or of any other layout; nothing is unpacked to disk.

zipfile lists the members; their bytes are read here, from any number of threads, within the bounds below.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from distgan.data.shards.decode import ImageFile
from distgan.data.shards.png import Pixels
from distgan.data.sources.base import Offer, SourceImages
from distgan.data.sources.fitted import EncodedImages
from distgan.data.sources.image_file import SKIP_HINT, ImageReader, is_image_name
from distgan.data.sources.listing import Labelled, Listing, describe, list_images
from distgan.data.sources.spool import MAX_RATIO
from distgan.data.sources.tree import IGNORED_NAMES, MAX_DEPTH, Tree
from distgan.utils.errors import DataError
from distgan.utils.log import log
from distgan.utils.safe_io import open_regular, printable

MAX_DIRECTORY_BYTES = 1 << 28  # of the list of members: about three million
MAX_MEMBER_BYTES = 1 << 28  # unpacked
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".parquet")
DRIVE = re.compile("[A-Za-z]:")  # of Windows
ENCRYPTED, IS_UTF8 = 1, 0x800  # flags of a member
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of name and extra field


@dataclass(frozen=True)
class Zip(Labelled):
    """The source `zip`: the images in a zip file."""

    archive: Path

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes a split; lists the members but reads no image. See `Source`."""
        archive = ZipArchive(self.archive)
        listing = list_images(archive.top, split, classes, self)
        names, request = tuple(listing.files), {"listing": listing.digest()}
        return self.make_offer("zip", names, request, lambda progress: self._images(archive, listing))

    def _images(self, archive: ZipArchive, listing: Listing) -> SourceImages:
        counts = {name: len(files) for name, files in listing.files.items()}
        for note in (*listing.notes, *archive.notes(), describe(listing.root, listing.why, counts)):
            log.info("%s", note)
        rows = [(folder.path / name, folder.below(name)) for folder, name in listing.rows()]
        labels = np.repeat(np.arange(len(counts)), list(counts.values()))

        def load(reader: ImageReader, row: int) -> Pixels | ImageFile:
            shown, name = rows[row]
            return reader.decode(archive.image(name), f"{shown}")

        return EncodedImages(self, load).images(labels)


class ZipArchive:
    """An open zip file: its members as folders and files, and the bytes of each."""

    def __init__(self, path: Path) -> None:
        """Raises DataError if it is no zip file, or not a safe one."""
        self.path, self.links = path, 0
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            self._file: BinaryIO = open_regular(path)
            self._bytes = os.fstat(self._file.fileno()).st_size
            for member in _members(self._file, path):
                self._add(member)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OverflowError) as error:
            raise DataError(f"{path} is not a zip file, or is damaged: {printable(str(error))}") from None
        self._check_sizes()
        self.top = _tree(self)

    def notes(self) -> list[str]:
        """Sentences about what is left out."""
        return [f"{self.links:,} link(s) in {self.path} were left out"] if self.links else []

    def names(self) -> list[str]:
        """The names of the files that are no links."""
        return list(self._members)

    def mark(self, name: str) -> str:
        """What changes if the content of a file does."""
        member = self._members[name]
        return f"{member.file_size}-{member.CRC:08x}"

    def image(self, name: str) -> bytes:
        """The content of a member. Raises DataError for one that is damaged or too large."""
        try:
            return self.read(name, MAX_MEMBER_BYTES)
        except (OSError, ValueError, zlib.error, struct.error) as error:
            reason = printable(str(error))
            raise DataError(f"{self.path / name} cannot be read ({reason}); {SKIP_HINT}") from None

    def read(self, name: str, max_bytes: int) -> bytes:
        """The content of a member, in any thread. Raises OSError, ValueError, zlib.error, struct.error."""
        member = self._members[name]
        if member.file_size > max_bytes:
            raise ValueError(f"it has {member.file_size:,} bytes; {max_bytes:,} are the most")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"it is packed by method {member.compress_type}; only deflate is read")
        header = os.pread(self._file.fileno(), LOCAL_HEADER.size, member.header_offset)
        signature, *lengths = LOCAL_HEADER.unpack(header)
        if signature != b"PK\x03\x04":
            raise ValueError("its header is damaged")
        data = os.pread(
            self._file.fileno(), member.compress_size, member.header_offset + LOCAL_HEADER.size + sum(lengths)
        )
        if member.compress_type == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.file_size + 1)
        if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
            raise ValueError("its bytes are damaged")
        return data

    def _add(self, member: zipfile.ZipInfo) -> None:
        name = _name(member)
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or DRIVE.match(name):
            raise DataError(f"{self.path} is not safe: member '{printable(name)}' points outside it; make it again")
        if len(parts) > MAX_DEPTH:
            raise DataError(f"{self.path} holds more than {MAX_DEPTH} folders within one another; make it again")
        if parts[-1] == "" or any(part.startswith(".") or part.lower() in IGNORED_NAMES for part in parts):
            return
        if member.flag_bits & ENCRYPTED:
            raise DataError(f"{self.path} is encrypted; unpack it with its password and give the directory")
        if stat.S_ISLNK(member.external_attr >> 16):
            self.links += 1
            return
        self._members["/".join(part for part in parts if part)] = member

    def _check_sizes(self) -> None:
        """Raises DataError for members that unpack to more than they can, or that lie over one another."""
        for name, member in self._members.items():
            if not 0 <= member.header_offset <= self._bytes:
                raise DataError(f"{self.path} is damaged: member '{printable(name)}' lies beyond its end; get it again")
        packed = sum(member.compress_size for member in self._members.values())
        unpacked = sum(member.file_size for member in self._members.values())
        if packed > self._bytes or unpacked > MAX_RATIO * self._bytes:
            raise DataError(
                f"{self.path} is not safe: its {self._bytes:,} bytes say that they unpack to {unpacked:,}; make it "
                "again"
            )
        if not any(map(is_image_name, self._members)):
            inner = next((name for name in self._members if name.lower().endswith(ARCHIVES)), None)
            if inner is not None:
                raise DataError(
                    f"{self.path} holds no image but the archive {printable(inner)}, which is not opened; unpack it "
                    "and give what is in it"
                )


class _Folder(Tree):
    """A folder of a zip file."""

    def __init__(self, archive: ZipArchive, name: str = "") -> None:
        super().__init__(archive.path / name, name)
        self.archive = archive

    def mark(self, name: str) -> str:
        return self.archive.mark(self.below(name))

    def read(self, name: str, max_bytes: int) -> bytes:
        try:
            return self.archive.read(self.below(name), max_bytes)
        except (zlib.error, struct.error) as error:
            raise ValueError(f"{error}") from None


def _tree(archive: ZipArchive) -> Tree:
    """The folders of an archive. Raises DataError where a file and a folder have the same name."""
    folders: dict[str, Tree] = {"": _Folder(archive)}
    for name in sorted(archive.names(), key=os.fsencode):
        *parts, file = name.split("/")
        folder = folders[""]
        for part in parts:
            below = folder.below(part)
            if below not in folders:
                folders[below] = folder.folders[part] = _Folder(archive, below)
            folder = folders[below]
        folder.files[file] = name
    for folder in folders.values():
        if both := next((name for name in folder.files if name in folder.folders), None):
            raise DataError(f"{folder.path / both} is a file and a folder at the same time; make the zip file again")
    return folders[""]


def _members(file: BinaryIO, path: Path) -> Iterator[zipfile.ZipInfo]:
    """The members of a zip file. Raises what zipfile raises, and DataError for a list of members without end."""
    end = _end_record(file)
    if end > MAX_DIRECTORY_BYTES:
        raise DataError(f"{path} lists its members in {end:,} bytes; {MAX_DIRECTORY_BYTES:,} are the most")
    with zipfile.ZipFile(file) as archive:
        yield from archive.infolist()


def _end_record(file: BinaryIO) -> int:
    """Bytes of the list of members, as the end of a zip file says; 0 if there is no such end."""
    size = os.fstat(file.fileno()).st_size
    tail = os.pread(file.fileno(), min(size, 1 << 16), max(0, size - (1 << 16)))
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 16 > len(tail):
        return 0
    listed = int.from_bytes(tail[at + 12 : at + 16], "little")
    if listed < 0xFFFFFFFF:
        return listed
    at = tail.rfind(b"PK\x06\x06")
    return int.from_bytes(tail[at + 40 : at + 48], "little") if at >= 0 else 0


def _name(member: zipfile.ZipInfo) -> str:
    """The name of a member; macOS writes UTF-8 without saying so."""
    if member.flag_bits & IS_UTF8:
        return member.filename
    try:
        return member.filename.encode("cp437").decode()
    except UnicodeError:
        return member.filename
