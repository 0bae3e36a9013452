"""A table of labels beside images: which file it is, which column names the image and which one the class.

Read are .csv, .tsv and .jsonl files with a row per image, CSV files with a column of 0 and 1 per class (as Roboflow
exports them), and StyleGAN's dataset.json. Out: the class of each image that the table names.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distgan.data.sources.tree import Tree
from distgan.utils.errors import DataError
from distgan.utils.limits import MAX_CLASSES
from distgan.utils.names import join_names, known_names
from distgan.utils.safe_io import parse_json, printable

MAX_TABLE_BYTES = 1 << 27
FIRST_ROWS = 1000  # whose keys are the columns of a .jsonl file
LEADING = ("metadata.jsonl", "metadata.csv", "dataset.json")  # go before class folders
COMMON = ("labels.csv", "_classes.csv", "_annotations.csv")  # where none are
PER_SPLIT = ("{}labels.csv", "{}_labels.csv", "{}.csv", "{}_annotations.csv")
FILE_COLUMNS = (
    "file_name", "filename", "file", "image", "image_name", "image_path", "img", "path", "filepath", "image_id", "id",
    "name",
)  # fmt: skip
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "classname", "category", "target", "species", "breed")
TEXT_COLUMNS = ("text", "caption", "captions", "prompt", "description", "bbox", "objects", "width", "height", "url")
UNLABELLED = "-1"  # stands for no class in a column that nobody asked for


@dataclass
class Labels:
    """The classes of images by their names in the table."""

    where: str
    """The table, for messages."""
    classes: dict[str, str] = field(default_factory=dict)
    """Of each image that has one class: file name, as `_plain` -> class."""
    several: set[str] = field(default_factory=set)
    """The images that have several, or none."""
    column: str = "label"
    why_none: str = ""
    """Why the table gives no classes."""
    file_columns: int = 1
    """How many of its columns may name the images."""

    def add(self, name: str, label: str) -> None:
        """Adds a row; an image with rows of several classes has none."""
        plain = _plain(name)
        if plain not in self.several and self.classes.setdefault(plain, label) != label:
            self.drop(name)

    def drop(self, name: str) -> None:
        self.classes.pop(_plain(name), None)
        self.several.add(_plain(name))


def find_table(above: Sequence[Tree], split: str, leading: bool) -> tuple[Tree, str] | None:
    """The table in the innermost of some folders that has one. leading: only one that goes before class folders."""
    names = LEADING if leading else (*COMMON, *(name.format(split) for name in PER_SPLIT))
    for folder in reversed(above):
        there = {name.lower(): name for name in folder.files}
        for name in names:
            if name in there:
                return folder, there[name]
    return None


def labels_of(folder: Tree, name: str, column: str | None, files: Sequence[str]) -> tuple[Labels, list[str | None]]:
    """A table's labels, and the class of each file or None: by the first of its columns that names one of the files.

    column: of the class; None: found by its name. files: names below the top. Raises DataError for a table that cannot
    be read.
    """
    labels = read_table(folder, name, column)
    found = list(matches(labels, folder, files))
    for number in range(1, labels.file_columns):
        if any(found):
            break
        other = read_table(folder, name, column, number)
        if any(theirs := list(matches(other, folder, files))):
            return other, theirs
    return labels, found


def read_table(folder: Tree, name: str, column: str | None, number: int = 0) -> Labels:
    """Reads a table. number: which of the columns that may name the images does. Else as `labels_of`."""
    where = f"{folder.path / name}"
    try:
        content = folder.read(name, MAX_TABLE_BYTES)
        if name.lower() == "dataset.json":
            return _of_stylegan(parse_json(content), where)
        text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
        if name.lower().endswith(".jsonl"):
            rows = (row for row in map(parse_json, filter(str.strip, text)) if isinstance(row, dict))
            first = list(itertools.islice(rows, FIRST_ROWS))
            columns = list(dict.fromkeys(key for row in first for key in row))
            return _of_rows(where, columns, itertools.chain(first, rows), column, number)
        dialect = "excel-tab" if name.lower().endswith(".tsv") else "excel"
        reader = csv.DictReader(text, dialect=dialect, skipinitialspace=True)
        one_hot = name.lower() == "_classes.csv"
        return _of_rows(where, list(reader.fieldnames or ()), reader, column, number, one_hot)
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror or error}") from None
    except (ValueError, csv.Error, RecursionError) as error:
        raise DataError(f"{where} is not a table of labels: {printable(str(error))}") from None


def _of_stylegan(content: Any, where: str) -> Labels:
    """{"labels": [[file name, class number], ...] or null}. Raises ValueError."""
    labels = Labels(where)
    rows = content.get("labels") if isinstance(content, dict) else ()
    if rows is None:
        labels.why_none = "its labels are null"
        return labels
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 2 for row in rows):
        raise ValueError("it needs labels, a list of [file name, class number], or null")
    for name, label in rows:
        if not isinstance(name, str) or type(label) is not int or label < 0:
            raise ValueError(f"{name!r:.60}: {label!r:.60} is not a file name with a class number")
        labels.add(name, str(label))
    return labels


def _of_rows(
    where: str,
    columns: list[str],
    rows: Iterable[Mapping[Any, Any]],
    column: str | None,
    number: int,
    one_hot: bool = False,
) -> Labels:
    """The classes in the rows of a table. Raises ValueError, and DataError for a column that is not there."""
    candidates = [each for name in FILE_COLUMNS for each in columns if each.strip().lower() == name]
    candidates = [each for each in candidates if each != column] or candidates
    if not candidates:
        raise ValueError(f"none of its columns names the images, such as file_name; it has {join_names(columns, ', ')}")
    file_column = candidates[number]
    others = [name for name in columns if name != file_column]
    labels = Labels(where, file_columns=len(candidates))
    if column is None and one_hot and not any(name.lower() in LABEL_COLUMNS for name in others):
        for row in rows:
            _add_one_hot(labels, row, f"{row.get(file_column)}", others)
        return labels
    if column is not None and column not in others:
        raise DataError(f"{where} has no column {column}; {known_names(column, others)}")
    chosen = column or _label_column(others)
    if chosen is None:
        labels.why_none = f"none of its columns ({join_names(others, ', ')}) is called label; name one: --label-column"
        return labels
    labels.column, odd = chosen, None
    for row in rows:
        if row.get(file_column) is not None and not _add(
            labels, f"{row[file_column]}", row.get(chosen), "" if column is not None else UNLABELLED
        ):
            odd = odd or row.get(chosen)
    _check_classes(labels, asked=column is not None)
    if not labels.classes and odd is not None:
        labels.why_none = f"its column {chosen} holds {odd!r:.40}, which is no number or name of a class"
    return labels


def _label_column(names: Sequence[str]) -> str | None:
    """The column of the class: one with its usual name, or the only one that is left."""
    for name in LABEL_COLUMNS:
        for each in names:
            if each.strip().lower() == name:
                return each
    return names[0] if len(names) == 1 and names[0].strip().lower() not in TEXT_COLUMNS else None


def _add(labels: Labels, name: str, value: Any, none: str) -> bool:
    """Adds a row. none: a value that stands for no class, as nothing does. Returns whether the value is a label."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    known = isinstance(value, (str, int)) and not isinstance(value, bool)
    if known and str(value).strip() not in ("", none):
        labels.add(name, str(value).strip())
    else:
        labels.drop(name)
    return known


def _add_one_hot(labels: Labels, row: Mapping[Any, Any], name: str, columns: Iterable[str]) -> None:
    ones = [column.strip() for column in columns if f"{row.get(column)}".strip() == "1"]
    labels.add(name, ones[0]) if len(ones) == 1 else labels.drop(name)


def _check_classes(labels: Labels, asked: bool) -> None:
    """Raises ValueError for too many classes; a column that nobody asked for then gives none."""
    found = len(set(labels.classes.values()))
    if found <= MAX_CLASSES and (asked or found <= max(2, len(labels.classes) // 2) or len(labels.classes) < 10):
        return
    if asked:
        raise ValueError(f"its column {labels.column} has {found:,} values; {MAX_CLASSES:,} classes are the most")
    labels.why_none = f"its column {labels.column} has {found:,} values for {len(labels.classes):,} images"
    labels.classes, labels.several = {}, set()


def matches(labels: Labels, folder: Tree, files: Sequence[str]) -> Iterator[str | None]:
    """Yields the class of each file, or None. files: names below the top; folder: where the table lies.

    A table may name a file by its path from the table, by its name, or by its name without an ending; one that it gives
    other classes by another of these has none.
    """
    by_name = _by_short_names(files)
    above = f"{folder.name}/" if folder.name else ""
    for file in files:
        base = file.rsplit("/", 1)[-1]
        keys = [file.removeprefix(above), *(key for key in (base, base.rsplit(".", 1)[0]) if by_name.get(key) == file)]
        found = {key: labels.classes[key] for key in keys if key in labels.classes}
        if len(set(found.values())) > 1:
            for key in found:
                labels.drop(key)
        yield next((labels.classes[key] for key in found if key in labels.classes), None)


def _by_short_names(files: Sequence[str]) -> dict[str, str | None]:
    """The file of each name without folders, also without an ending; None where there are several."""
    found: dict[str, str | None] = {}
    for file in files:
        base = file.rsplit("/", 1)[-1]
        for key in {base, base.rsplit(".", 1)[0]}:
            found[key] = file if key not in found else None
    return found


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")
