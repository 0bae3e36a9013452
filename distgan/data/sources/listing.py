"""The images of a tree of folders with their classes: from folders, from a table of labels, or from their names."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from distgan.data.sources.base import check_class_names, select_classes
from distgan.data.sources.fitted import Fitted
from distgan.data.sources.folder_layout import Layout, find_layout
from distgan.data.sources.image_file import is_image_name
from distgan.data.sources.label_table import find_table, labels_of
from distgan.data.sources.tree import Tree, other_source
from distgan.utils.errors import DataError
from distgan.utils.names import is_number, join_names
from distgan.utils.paths import name_as_text

MAX_LISTED = 20  # names in a message
MAX_LOOKED_AT = 1000  # files, for what they are


@dataclass(frozen=True, kw_only=True)
class Labelled(Fitted):
    """Options of sources whose images lie in folders."""

    no_classes: bool = False
    """Read all images as one class, whatever folders they lie in."""
    labels: str | None = None
    """Name of a table of labels (.csv, .tsv, .jsonl, dataset.json) in DIR or below it; None: one with a usual name."""
    label_column: str | None = None
    """The table's column of the class."""
    label_pattern: str | None = None
    """A regular expression whose first group is the class, searched in a file's path below DIR."""


@dataclass(frozen=True)
class Listing:
    """The image files of a split."""

    root: Tree
    files: dict[str, list[tuple[Tree, str]]]
    """By class: the folder and the name of each file."""
    notes: tuple[str, ...]
    why: str
    """Where the classes come from; empty for a folder per class."""

    def digest(self) -> str:
        """sha256 of the files' names, classes and sizes, or what else marks their content."""
        digest = hashlib.sha256()
        above = len(self.root.name) + 1 if self.root.name else 0
        for label, files in self.files.items():
            if self.why:  # else the folders' names have it
                digest.update(f"{label}\0\0".encode())
            for folder, name in files:
                digest.update(os.fsencode(f"{folder.below(name)[above:]}\0{folder.mark(name)}\0"))
        return digest.hexdigest()

    def rows(self) -> list[tuple[Tree, str]]:
        """All files, class by class."""
        return [file for files in self.files.values() for file in files]


def list_images(top: Tree, split: str, chosen: tuple[str, ...] | None, options: Labelled) -> Listing:
    """Finds the images of a split and their classes. chosen: the classes to read; None: all.

    Raises DataError for a class without images, and where it is not clear what is meant.
    """
    _check_together(options)
    if options.no_classes:
        return _by_folder(find_layout(top, split, None, classes=False), chosen)
    if options.label_pattern is not None:
        return _selected(_by_pattern(find_layout(top, split, None, classes=False), options.label_pattern), chosen)
    listing, why_not = _by_leading_table(top, split, options)
    if listing is None:
        layout = find_layout(top, split, chosen)
        table = find_table(layout.above, split, leading=False) if layout.flat else None
        if table is not None and not why_not:
            listing, why_not = _by_table(layout, *table, options)
        if listing is None:
            return _by_folder(layout, chosen, why_not)
    return _selected(listing, chosen)


def describe(where: object, why: str, counts: dict[str, int]) -> str:
    """What was taken for classes and why, and how many images each has. where: names the directory or archive."""
    shown = [f"{join_names([name])} ({count:,} image{'' if count == 1 else 's'})" for name, count in counts.items()]
    more = f", ... {join_names(list(counts)[-1:])}" if len(shown) > MAX_LISTED else ""
    classes = "1 class" if len(shown) == 1 else f"{len(shown):,} classes"
    reason = f" ({why})" if why else ""
    return f"{where}: {classes}{reason}: {', '.join(shown[:MAX_LISTED])}{more}"


def _check_together(options: Labelled) -> None:
    """Raises DataError for options of which each says where the classes come from."""
    ways = {
        "--no-classes": options.no_classes,
        "--label-pattern": options.label_pattern is not None,
        "--labels": options.labels is not None or options.label_column is not None,
    }
    if len(given := [name for name, value in ways.items() if value]) > 1:
        raise DataError(f"{' and '.join(given)} say different things about where the classes come from; give one")


def _by_folder(layout: Layout, chosen: tuple[str, ...] | None, note: str = "") -> Listing:
    """A class per folder, or one class. Raises DataError for a class without images."""
    names = select_classes(tuple(layout.folders), chosen)
    notes = [*layout.notes, note] if note else list(layout.notes)
    files = {}
    for name in names:
        files[name], left_out = _files_in(layout.folders[name], bool(layout.flat))
        if not files[name]:
            raise DataError(_no_image(layout.folders[name], bool(layout.flat)))
        notes += [left_out] if left_out else []
    return Listing(layout.root, files, tuple(notes), layout.flat)


def _no_image(folder: Tree, flat: bool) -> str:
    """The sentence about a class without images. flat: it is the only one."""
    if flat:
        found = (name for _, name in itertools.islice(folder.walk(), MAX_LOOKED_AT))
        return f"{folder} holds no image{other_source(found) or ', by the endings of the names'}"
    return f"{folder} holds no image; add some, remove it, or leave it out with --classes"


def _files_in(folder: Tree, flat: bool) -> tuple[list[tuple[Tree, str]], str]:
    """The files of a class, and a note. flat: only those with an image's ending, or none at all."""
    files = list(folder.walk())
    if not flat:
        return files, ""
    images = [
        (place, name) for place, name in files if is_image_name(name) or not ("." in name or other_source([name]))
    ]
    count = len(files) - len(images)
    return images, f"{count:,} file(s) in {folder} have no image's ending; left out" if count else ""


def _by_pattern(layout: Layout, pattern: str) -> Listing:
    """The images with the class that a regular expression finds in their paths. Raises DataError."""
    try:
        expression = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise DataError(f"--label-pattern '{pattern}' is not a regular expression: {error}") from None
    if not expression.groups:
        raise DataError(f"--label-pattern '{pattern}' has no group; put the class in brackets, as in '(.+)_[0-9]+'")
    files, left_out = _files_in(layout.root, flat=True)
    above = len(layout.root.name) + 1 if layout.root.name else 0
    found = [expression.search(name_as_text(folder.below(name)[above:])) for folder, name in files]
    labels = [match.group(1) or None if match else None for match in found]
    if not any(labels):
        example = f", such as {files[0][0].below(files[0][1])[above:]}" if files else ""
        raise DataError(f"--label-pattern '{pattern}' finds a class in no file below {layout.root}{example}")
    notes = [*layout.notes, left_out, _left_out(labels, "match no class")]
    return _grouped(layout, files, labels, notes, "from the files' names")


def _by_leading_table(top: Tree, split: str, options: Labelled) -> tuple[Listing | None, str]:
    """The images with the classes of a table that was asked for or goes before class folders, or why not.

    Raises DataError if one was asked for and cannot be used.
    """
    asked = options.labels is not None or options.label_column is not None
    try:
        layout = find_layout(top, split, None, classes=False)
    except DataError:
        if asked:
            raise
        return None, ""
    table = _asked_table(layout, split, options) if asked else find_table(layout.above, split, leading=True)
    return (None, "") if table is None else _by_table(layout, *table, options)


def _asked_table(layout: Layout, split: str, options: Labelled) -> tuple[Tree, str]:
    """The table of --labels, or the one whose column is named. Raises DataError if it is not there."""
    there = [(folder, name) for folder in reversed(layout.above) for name in folder.files]
    if options.labels is not None:
        found = next((each for each in there if each[1] == options.labels), None)
    else:
        found = find_table(layout.above, split, True) or find_table(layout.above, split, False)
    if found is not None:
        return found
    tables = [name for _, name in there if name.endswith((".csv", ".jsonl", ".tsv"))][:MAX_LISTED]
    known = f"there are {join_names(tables, ', ')}; name one with --labels" if tables else "there is no .csv or .jsonl"
    what = "no table of labels with a usual name" if options.labels is None else f"no table {options.labels}"
    raise DataError(f"{layout.above[0]} has {what}; {known}")


def _by_table(layout: Layout, folder: Tree, name: str, options: Labelled) -> tuple[Listing | None, str]:
    """The images with the classes of a table, or why it gives none. Raises DataError if it was asked for."""
    files, _ = _files_in(layout.root, flat=True)
    table, found = labels_of(folder, name, options.label_column, [place.below(each) for place, each in files])
    taken = sum(label is not None for label in found)
    if not taken:
        why = table.why_none or f"none of its {len(table.classes):,} rows names an image below {layout.root}"
        if options.labels is not None or options.label_column is not None:
            raise DataError(f"{table.where} gives no image a class: {why}")
        return None, f"{table.where} was not used: {why}"
    several = f" ({len(table.several):,} have several classes or none)" if table.several else ""
    unused = len(table.classes) - taken
    rows = f"{unused:,} row(s) of {table.where} name no image below {layout.root}" if unused > 0 else ""
    notes = [*layout.notes, _left_out(found, f"have no class in {table.where}{several}"), rows]
    return _grouped(layout, files, found, notes, f"column {table.column} of {table.where}"), ""


def _left_out(labels: Sequence[str | None], why: str) -> str:
    count = sum(label is None for label in labels)
    return f"{count:,} image(s) {why}; left out" if count else ""


def _grouped(
    layout: Layout, files: list[tuple[Tree, str]], labels: Sequence[str | None], notes: list[str], why: str
) -> Listing:
    """The files by class, classes sorted: as numbers where all are numbers. Raises DataError for an odd name."""
    names = {label for label in labels if label is not None}
    order = sorted(names, key=int) if all(map(is_number, names)) else sorted(names)
    check_class_names(order, f"{layout.root} ({why})")
    grouped: dict[str, list[tuple[Tree, str]]] = {name: [] for name in order}
    for file, label in zip(files, labels, strict=True):
        if label is not None:
            grouped[label].append(file)
    return Listing(layout.root, grouped, tuple(note for note in notes if note), why)


def _selected(listing: Listing, chosen: tuple[str, ...] | None) -> Listing:
    """The listing with some of its classes. Raises DataError for an unknown one."""
    names = select_classes(tuple(listing.files), chosen)
    return replace(listing, files={name: listing.files[name] for name in names})
