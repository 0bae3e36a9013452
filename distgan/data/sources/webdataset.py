"""Shards of other makers, in a directory or behind a URL: img2dataset's, webdataset.ShardWriter's, anybody's.

They are looked through once for their classes (`shards.index`), then each image is read where it lies. Shards of a
server, and packed ones, are kept as files first: a data set's images are read in a new order.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from distgan.config.schema import DataConfig, ForeignLabel
from distgan.config.schema import Location as ShardsPath
from distgan.data.location import open_data_set
from distgan.data.remote.cache import cached_path
from distgan.data.remote.store import Location
from distgan.data.shards.decode import ImageFile
from distgan.data.shards.foreign import ForeignSamples
from distgan.data.shards.foreign_tar import unpacked
from distgan.data.shards.manifest import Manifest
from distgan.data.shards.png import Pixels
from distgan.data.shards.reader import open_shard
from distgan.data.sources.base import Offer, SourceImages, select_classes
from distgan.data.sources.fitted import EncodedImages, Fitted
from distgan.data.sources.image_file import ImageReader
from distgan.utils.errors import DataError
from distgan.utils.progress import track


class Spot(NamedTuple):
    """Where an image lies."""

    path: Path
    """Of its shard, unpacked."""
    offset: int
    size: int
    """Bytes."""
    name: str
    """SHARD/KEY, for errors."""


@dataclass(frozen=True)
class WebDataset(Fitted):
    """The source `webdataset`: tar shards of any maker."""

    shards: ShardsPath
    """A directory, a tar file, or DIR/{000..009}.tar; also behind a URL."""
    label: ForeignLabel = "auto"
    """The class: cls (the file KEY.cls), json:FIELD (a field of KEY.json), none; auto: cls where there is one."""
    download_dir: Path = Path("downloads")
    """Keeps the shards of a URL."""

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes the images; looks through shards that are new. All of them are of any split. See `Source`."""
        config = DataConfig(
            path=self.shards, size=self.size, fit=self.fit, channels=self.channels, label=self.label,
            cache=self.download_dir,
        )  # fmt: skip
        location, manifest = open_data_set(config, progress=True)
        if manifest.reading is None:
            raise DataError(
                f"{self.shards} was made by `distgan prepare`; train on it as it is: data.path={self.shards}"
            )
        names = select_classes(manifest.classes, classes)
        digest = hashlib.sha256("\n".join(shard.sha256 for shard in manifest.shards).encode()).hexdigest()
        request = {"shards": digest, "label": manifest.reading.label}
        load = lambda progress: self._images(location, manifest, names, progress)  # noqa: E731
        return self.make_offer("webdataset", names, request, load)

    def _images(self, location: Location, manifest: Manifest, names: Sequence[str], progress: bool) -> SourceImages:
        scratch = tempfile.TemporaryDirectory(prefix="distgan-")  # removed with the images
        numbers = {name: number for number, name in enumerate(names)}
        spots, labels = list[Spot](), list[int]()
        label = manifest.reading.label if manifest.reading else "none"
        for shard in track(manifest.shards, len(manifest.shards), "finding the images", "shards", enabled=progress):
            with open_shard(location, shard) as file:
                path = (
                    location / shard.name
                    if isinstance(location, Path)
                    else cached_path(self.download_dir, shard.sha256)
                )
                found = list(spots_in(file, path, shard.name, label, Path(scratch.name)))
            for spot, name in found:
                if name in numbers:
                    spots.append(spot)
                    labels.append(numbers[name])

        def load(reader: ImageReader, row: int, _keep: object = scratch) -> Pixels | ImageFile:
            return reader.decode(read_spot(spots[row]), spots[row].name)

        return EncodedImages(self, load).images(np.array(labels, dtype=np.int64))


def spots_in(file: BinaryIO, path: Path, shard: str, label: str, scratch: Path) -> Iterator[tuple[Spot, str]]:
    """Where each image of a shard lies, and the text of its class. path: of `file`; scratch: for an unpacked shard."""
    content = unpacked(file)
    if content is not file:
        path = scratch / shard
        with path.open("wb") as target:
            shutil.copyfileobj(content, target)
        content.seek(0)
    for sample in ForeignSamples(label).read(content, shard):
        yield Spot(path, sample.offset, len(sample.file.data), f"{shard}/{sample.key}"), sample.label


def read_spot(spot: Spot) -> bytes:
    """The bytes of an image, in any thread. Raises DataError."""
    try:
        file = os.open(spot.path, os.O_RDONLY)
        try:
            return os.pread(file, spot.size, spot.offset)
        finally:
            os.close(file)
    except OSError as error:
        raise DataError(f"{spot.path} cannot be read: {error.strerror}") from None
