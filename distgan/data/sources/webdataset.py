"""Shards of other makers, in a directory or behind a URL: img2dataset's, webdataset.ShardWriter's, anybody's.

They are looked through once for their classes (`shards.index`), then each image is read where it lies. Shards of a
server, and packed ones, are kept as files first: a data set's images are read in a new order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distgan.config.schema import DataConfig, ForeignLabel
from distgan.config.schema import Location as ShardsPath
from distgan.data.first_look import index_directory
from distgan.data.location import are_there, open_data_set
from distgan.data.remote.cache import cached_path
from distgan.data.remote.store import Location
from distgan.data.shards.foreign import ForeignSample, ForeignSamples
from distgan.data.shards.foreign_tar import unpacked
from distgan.data.shards.manifest import MANIFEST, Manifest
from distgan.data.shards.reader import open_shard
from distgan.data.shards.tar import READ_ERRORS
from distgan.data.sources.base import Offer, SourceImages, select_classes
from distgan.data.sources.fitted import EncodedImages, Fitted
from distgan.data.sources.spool import Spool
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError
from distgan.utils.log import log
from distgan.utils.progress import track
from distgan.utils.safe_io import printable


@dataclass(frozen=True)
class WebDataset(Fitted):
    """The source `webdataset`: tar shards of any maker."""

    shards: ShardsPath
    """A directory, a tar file, or DIR/{000..009}.tar; also behind a URL."""
    label: ForeignLabel = "auto"
    """The class: cls (the file KEY.cls), json:FIELD (a field of KEY.json), none; auto: cls where there is one."""
    download_dir: Path = Path("downloads")
    """Keeps the shards of a URL."""
    progress: bool = True
    """Tell what the first look does and finds."""

    @property
    def keeps(self) -> tuple[Path, ...]:
        """See `Source`."""
        index = index_directory()
        return (self.download_dir,) if index is None else (self.download_dir, index)

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes the images; looks through shards that are new. All of them are of any split. See `Source`."""
        config = DataConfig(
            path=self.shards, size=self.size, fit=self.fit, channels=self.channels, label=self.label,
            cache=self.download_dir,
        )  # fmt: skip
        if isinstance(self.shards, Path) and not are_there(self.shards):
            raise DataError(f"{self.shards} is no directory with tar files, no tar file and no DIR/{{000..009}}.tar")
        own = DataError(f"{self.shards} was made by `distgan prepare`; train on it as it is: data.path={self.shards}")
        if isinstance(self.shards, Path) and (self.shards / MANIFEST).is_file():
            raise own
        location, manifest = open_data_set(config, progress=self.progress, notes=self.progress)
        if manifest.reading is None:
            raise own
        if self.progress:
            log.info("%s: %s images, %s class(es)", self.shards, f"{manifest.count:,}", f"{len(manifest.classes):,}")
        names = select_classes(manifest.classes, classes)
        digest = hashlib.sha256("\n".join(shard.sha256 for shard in manifest.shards).encode()).hexdigest()
        request = {"shards": digest, "label": manifest.reading.label}
        notes = [] if split == "train" else [f"{self.shards} has no splits: all of it is read as {split}"]

        def load(progress: bool) -> SourceImages:
            spots, labels = self._find(location, manifest, names, progress)
            read = lambda reader, row: reader.decode(spots.read(row), spots.names[row])  # noqa: E731
            return EncodedImages(self, read).images(labels, notes)

        return self.make_offer("webdataset", names, request, load)

    def _find(
        self, location: Location, manifest: Manifest, names: Sequence[str], progress: bool
    ) -> tuple[Spots, IntArray]:
        """Where the images of some classes lie, and their labels. Raises DataError."""
        assert manifest.reading
        numbers, labels, spots = {name: number for number, name in enumerate(names)}, list[int](), Spots()
        samples = ForeignSamples(manifest.reading.label)
        for shard in track(manifest.shards, len(manifest.shards), "finding the images", "shards", enabled=progress):
            try:
                with open_shard(location, shard) as file:
                    path = self._path(location, shard.name, shard.sha256)
                    packed = unpacked(file) is not file
                    for sample in samples.read(file, shard.name):
                        if sample.label in numbers:
                            labels.append(numbers[sample.label])
                            spots.add(f"{shard.name}/{sample.key}", sample, None if packed else path)
            except READ_ERRORS as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else printable(str(error))
                raise DataError(f"shard {location}/{shard.name} cannot be read: {reason}") from None
        spots.close()
        return spots, np.array(labels, dtype=np.int64)

    def _path(self, location: Location, name: str, sha256: str) -> Path:
        return location / name if isinstance(location, Path) else cached_path(self.download_dir, sha256)


class Spots:
    """Where images lie: in their shards, or, those of packed shards, in a spool."""

    def __init__(self) -> None:
        """Raises DataError if there is no place for the spool."""
        self.names: list[str] = []
        """SHARD/KEY, for errors."""
        self._paths: list[Path | None] = []
        self._offsets: list[int] = []
        """In the shard; of a packed one, the row in the spool."""
        self._sizes: list[int] = []
        self._unpacked, self._rows = Spool(), 0

    def add(self, name: str, sample: ForeignSample, path: Path | None) -> None:
        """path: of the shard; None: it is packed. Raises DataError if the spool has no room."""
        data = sample.file.data
        self.names.append(name)
        self._paths.append(path)
        self._sizes.append(len(data))
        self._offsets.append(self._rows if path is None else sample.offset)
        if path is None:
            self._unpacked.add(data)
            self._rows += 1

    def close(self) -> None:
        """Ends the adding. Raises DataError if the spool has no room."""
        self._unpacked.close()

    def read(self, row: int) -> bytes:
        """The bytes of an image, in any thread. Raises DataError."""
        path = self._paths[row]
        try:
            if path is None:
                return self._unpacked.read(self._offsets[row])
            file = os.open(path, os.O_RDONLY)
            try:
                return os.pread(file, self._sizes[row], self._offsets[row])
            finally:
                os.close(file)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
