"""A data set of the Hugging Face hub, or parquet files in a local directory: `parquet` reads them.

The hub's files are downloaded once (`data/remote/hub.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distgan.data.remote.hub import HubFiles, NotOnHub, cache_of
from distgan.data.shards.decode import ImageFile
from distgan.data.shards.png import Pixels
from distgan.data.sources.arrays import select_rows
from distgan.data.sources.base import Offer, SourceImages, check_class_names, select_classes
from distgan.data.sources.fitted import EncodedImages, Fitted
from distgan.data.sources.folder_layout import UNUSED, WORDS
from distgan.data.sources.image_file import SKIP_HINT, ImageReader, is_image_name
from distgan.data.sources.label_table import UNLABELLED
from distgan.data.sources.listing import describe
from distgan.data.sources.parquet import Columns, Labels, common_columns, read_labels, spool_images
from distgan.data.sources.tree import Directory, other_source
from distgan.utils.counter_rng import IntArray
from distgan.utils.errors import DataError
from distgan.utils.files import sha256
from distgan.utils.log import log
from distgan.utils.names import known_names
from distgan.utils.paths import user_path
from distgan.utils.progress import track

CONVERTED = "refs/convert/parquet"  # the branch in which the hub keeps a copy of a data set as parquet
PREFIX = "hf://datasets/"
REPOSITORY = re.compile(r"([\w.-]{1,96}/)?[\w.-]{1,96}(@[^@]{1,200})?")
ONE_CLASS = "images"
MAX_LISTED = 20  # names in a message


@dataclass(frozen=True)
class Hf(Fitted):
    """The source `hf`: parquet files of the Hugging Face hub, or of a local directory."""

    dataset: str
    """OWNER/NAME, OWNER/NAME@REVISION, hf://datasets/OWNER/NAME[@REVISION][/PATH], or a local directory or file."""
    config: str | None = None
    """Which part of a data set that has several."""
    image_column: str | None = None
    label_column: str | None = None
    """None: found; none: one class."""

    @property
    def keeps(self) -> tuple[Path, ...]:
        """See `Source`."""
        repository = "/".join(self.dataset.removeprefix(PREFIX).partition("@")[0].split("/")[:2])
        here = os.path.exists(os.path.expanduser(self.dataset))
        return () if here or not REPOSITORY.fullmatch(repository) else (cache_of(repository),)

    def offer(self, split: str, classes: tuple[str, ...] | None) -> Offer:
        """Describes a split. The hub's files are downloaded for it, since they hold the classes. See `Source`."""
        place = find_place(self.dataset)
        names, notes = choose_files(place, self.config, split)
        paths = [place.path_of(name) for name in names]
        columns = common_columns(paths, self.image_column, self.label_column)
        found = class_names(read_labels(paths, columns), columns, paths[0], self.label_column is not None)
        chosen = select_classes(found.names, classes)

        def load(progress: bool) -> SourceImages:
            for note in (*notes, *columns.notes, *found.notes):
                log.info("%s", note)
            return self._images(paths, columns, found, chosen, progress)

        request = {"files": place.digest(names), "image_column": columns.image, "label_column": columns.label}
        return self.make_offer("hf", chosen, request, load)

    def _images(
        self, paths: list[Path], columns: Columns, classes: _Classes, chosen: tuple[str, ...], progress: bool
    ) -> SourceImages:
        keys, labels = select_rows(classes.labels, classes.names, chosen, f"{paths[0].parent} holds no image")
        counts = dict(zip(chosen, np.bincount(labels, minlength=len(chosen)).tolist(), strict=True))
        log.info("%s", describe(self.dataset, f"column {columns.label}" if columns.label else "no labels", counts))
        wanted = np.zeros(len(classes.labels), bool)
        wanted[keys] = True

        def shown(rows: Iterator[Any]) -> Iterator[Any]:
            return track(rows, len(wanted), f"read {self.dataset}", "rows", enabled=progress)

        spool, names = spool_images(paths, columns.image, wanted, shown)

        def load(reader: ImageReader, row: int) -> Pixels | ImageFile:
            data = spool.read(row)
            if not data:
                raise DataError(f"{names[row]} holds no bytes, and a path is not opened; {SKIP_HINT}")
            return reader.decode(data, names[row])

        return EncodedImages(self, load).images(labels)


@dataclass(frozen=True)
class _Classes:
    labels: IntArray
    """[N], index in `names`; -1: none."""
    names: tuple[str, ...]
    notes: tuple[str, ...]


def class_names(labels: Labels, columns: Columns, path: Path, asked: bool) -> _Classes:
    """The classes that occur, in the order of their numbers or sorted by name. Raises DataError for an odd label.

    asked: the column was named; then -1 is a class like others, unless the classes have names.
    """
    if columns.label is None:
        return _Classes(labels.rows, (ONE_CLASS,), ())
    used = set(np.unique(labels.rows).tolist())  # a dictionary may have more
    names = columns.names
    none = ("", None) if asked and names is None else (-1, UNLABELLED, "", None)
    values: dict[int, Any] = {
        number: value for number, value in enumerate(labels.values) if value not in none and number in used
    }
    odd = None if names is None else next((value for value in values.values() if not 0 <= value < len(names)), None)
    if names is not None and odd is not None:
        raise DataError(f"{path}: column {columns.label} holds {odd}, and there are {len(names):,} names of classes")
    order = sorted(values, key=values.__getitem__)
    shown = [names[values[number]] if names is not None else f"{values[number]}" for number in order]
    check_class_names(shown, f"{path}: column {columns.label}")
    if not shown:
        raise DataError(f"{path}: column {columns.label} holds no label; name another one with --label-column")
    place = np.full(len(labels.values) + 1, -1)
    place[order] = np.arange(len(order))
    rows = place[labels.rows]
    without = int((rows < 0).sum())
    notes = [f"{without:,} image(s) have no label; left out"] if without else []
    if names is not None and len(shown) < len(names):
        notes.append(f"{len(names) - len(shown):,} of the {len(names):,} classes have no image in this split")
    return _Classes(rows, tuple(shown), tuple(notes))


class _Local:
    """Parquet files below a directory, or one file."""

    def __init__(self, path: Path) -> None:
        self.path, self.given = path, path
        if os.path.isdir(path):
            self.names = [folder.below(name) for folder, name in Directory(path).walk()]
        else:
            self.path, self.names = path.parent, [path.name]

    def __str__(self) -> str:
        return f"{self.given}"

    def path_of(self, name: str) -> Path:
        return self.path / name

    def digest(self, names: Sequence[str]) -> str:
        """What changes with the files; reads all of them. Raises DataError."""
        digest = hashlib.sha256()
        for name in names:
            try:
                digest.update(f"{name}\0{sha256(self.path_of(name))}\0".encode("utf-8", "surrogateescape"))
            except OSError as error:
                raise DataError(f"{self.path_of(name)} cannot be read: {error.strerror or error}") from None
        return digest.hexdigest()


def find_place(text: str) -> _Local | HubFiles:
    """Where a data set is: here or on the hub. Raises DataError."""
    if text.startswith(PREFIX):
        owner, name, *below = f"{text.removeprefix(PREFIX)}//".split("/", 2)
        repository, _, revision = f"{owner}/{name}".partition("@")
        return _on_hub(_repository(repository, text), revision or None, below[0].strip("/") if below else "")
    try:
        path = user_path(text)
    except ValueError as error:
        raise DataError(f"'{text}': {error}") from None
    if os.path.exists(path):  # False, not an error, for a name that is too long
        return _Local(path)
    if text.startswith((".", "/", "~")) or not REPOSITORY.fullmatch(text):
        raise DataError(f"{text} does not exist here, and is no name of a data set on the hub, such as uoft-cs/cifar10")
    repository, _, revision = text.partition("@")
    return _on_hub(repository, revision or None, "")


def _on_hub(repository: str, revision: str | None, below: str) -> HubFiles:
    """A repository; without parquet files, the branch in which the hub keeps a copy of it as parquet."""
    files = HubFiles.at(repository, revision, below)
    if revision is None and not any(name.endswith(".parquet") for name in files.names):
        with contextlib.suppress(NotOnHub):
            return HubFiles.at(repository, CONVERTED, below)
    return files


def _repository(name: str, text: str) -> str:
    if not REPOSITORY.fullmatch(name):
        raise DataError(f"{text} is no address of a data set on the hub; write {PREFIX}OWNER/NAME")
    return name


def choose_files(place: _Local | HubFiles, config: str | None, split: str) -> tuple[list[str], list[str]]:
    """The parquet files of a part of a data set and of a split, and notes. Raises DataError."""
    names = sorted(name for name in place.names if name.endswith(".parquet"))
    if not names:
        here = isinstance(place, _Local)
        raise DataError(f"{place} holds no parquet file{_advice(place.names, here)}")
    configs = sorted({_config_of(name) for name in names})
    if config is None and len(configs) > 1:
        config = next((each for each in ("default", "") if each in configs), None)
        if config is None:
            raise DataError(f"{place} has the parts {', '.join(configs[:MAX_LISTED])}; name one with --config")
    elif config is not None and config not in configs:
        raise DataError(f"{place} has no part {config} (--config); {known_names(config, configs)}")
    names = [name for name in names if config is None or _config_of(name) == config]
    splits = {name: _split_of(name) for name in names}
    if not any(splits.values()):
        return names, [f"{place} has no splits: all of it is read as {split}"] if split != "train" else []
    chosen = [name for name in names if splits[name] == split]
    if not chosen:
        there = sorted({each for each in splits.values() if each and each != UNUSED})
        raise DataError(f"{place} has no {split} split, only {', '.join(there)}; pass --split {there[0]}")
    return chosen, []


def _config_of(name: str) -> str:
    """The part of a data set that a file belongs to: its folders, but for those that are called as splits, and data."""
    folders = name.split("/")[:-1]
    return "/".join(each for each in folders if each != "data" and _word(each) is None)


def _split_of(name: str) -> str | None:
    """The split of a file: of its name, or of the folder that it lies in."""
    *folders, file = name.split("/")
    return _word(file.removesuffix(".parquet")) or (_word(folders[-1]) if folders else None)


def _word(text: str) -> str | None:
    """The split that a word in a name means; None if there is none."""
    return next((WORDS[word] for word in re.split(r"[^a-z]+", text.lower()) if word in WORDS), None)


def _advice(names: Sequence[str], here: bool) -> str:
    """What to do with other files. here: they are local."""
    if any(name.endswith(".arrow") for name in names):
        return "; its .arrow files are of `save_to_disk`; write parquet with `dataset.to_parquet(FILE)`"
    folder = "; read it with `distgan prepare folder`" if any(map(is_image_name, names)) else ""
    if found := other_source(names) or folder:
        return found if here else f"; download its files, and {found.removeprefix('; ').replace('it', 'them', 1)}"
    return "; give another revision (NAME@REVISION), or a directory with parquet files"
