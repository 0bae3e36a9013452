"""Parquet files of images, as `datasets` and the Hugging Face hub write them: which columns, which labels, the bytes.

An image is a struct of `bytes` and `path`, or plain bytes; a path is never opened. pyarrow is imported late.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distgan.data.sources.label_table import LABEL_COLUMNS
from distgan.data.sources.spool import MAX_RATIO, Spool
from distgan.utils.errors import DataError
from distgan.utils.limits import MAX_CLASSES
from distgan.utils.names import join_names, known_names
from distgan.utils.safe_io import open_regular, parse_json, printable

NO_LABELS = "none"  # --label-column for one class
IMAGE_COLUMNS = ("image", "img", "images", "jpg", "png", "webp", "pixel_values")
NUMBERS = "numbers"
STRINGS = ("is_string", "is_large_string", "is_string_view")  # the last one is not in all versions of pyarrow
OTHER_COLUMN = f"name another one with --label-column, or pass --label-column {NO_LABELS} for one class"
ROWS_AT_ONCE = 64
MAX_ROWS = 100_000_000
MAX_IMAGE_BYTES = 1 << 28
FOOTER_BYTES = 1 << 26  # of a file's description


@dataclass(frozen=True)
class Columns:
    """Which columns hold what."""

    image: str
    """Path of the column of bytes, as parquet has it, such as image.bytes."""
    label: str | None
    names: tuple[str, ...] | None
    """The classes' names, where the labels are their numbers."""
    kind: str
    """What the labels are: numbers, names or truth values."""
    notes: tuple[str, ...]


@dataclass
class Labels:
    """The labels of all rows, -1 where there is none, as an index in `values`."""

    rows: npt.NDArray[np.int64]
    values: list[Any] = field(default_factory=list)


def common_columns(paths: Sequence[Path], image: str | None, label: str | None) -> Columns:
    """The columns of some files, as `find_columns`. Raises DataError where they differ."""
    first = find_columns(paths[0], image, label)
    for path in paths[1:]:
        other = find_columns(path, image, label)
        pairs = itertools.zip_longest(first.names or (), other.names or ())
        named = next((pair for pair in pairs if pair[0] != pair[1]), (None, None))
        for what, ours, theirs in (
            ("the images in column", first.image, other.image),
            ("the labels in column", first.label, other.label),
            ("labels that are", first.kind, other.kind),
            ("the class", *named),
        ):
            if ours != theirs:
                shown = f"{printable(theirs or 'none')}, not {printable(ours or 'none')}"
                raise DataError(
                    f"{path} does not go with {paths[0]}: it has {what} {shown}; name one file, or write them alike"
                )
    return first


def find_columns(path: Path, image: str | None, label: str | None) -> Columns:
    """The columns of a file. image, label: names that were asked for. Raises DataError if they are not clear."""
    with opened(path) as file:
        schema = file.schema_arrow
    features = _features(schema.metadata)
    columns = {name: schema.field(name).type for name in schema.names}
    leaves = {name: leaf for name, kind in columns.items() if (leaf := _image_leaf(name, kind)) is not None}
    chosen = _chosen_image(path, leaves, features, columns, image)
    notes = []
    labels = {name: kind for name, each in columns.items() if name not in leaves and (kind := _label_kind(each))}
    if label == NO_LABELS and label not in labels:
        label = None
    elif label is None:
        label, note = _usual_label(path, labels, features, {k: v for k, v in columns.items() if k not in leaves})
        notes += [note] if note else []
    elif label not in labels:
        raise DataError(
            f"{path} has no column {label} of numbers or names (--label-column); {known_names(label, list(labels))}"
        )
    kind = "" if label is None else labels[label]
    names = _names_of(features.get(label)) if label is not None and kind == NUMBERS else None
    return Columns(leaves[chosen], label, names, kind, tuple(notes))


def read_labels(paths: Sequence[Path], columns: Columns) -> Labels:
    """The labels of all rows of some files. Raises DataError."""
    parts: list[npt.NDArray[np.int64]] = []
    index: dict[Any, int] = {}
    for path in paths:
        with opened(path) as file:
            if columns.label is None:
                parts.append(np.zeros(file.metadata.num_rows, np.int64))
                continue
            for batch in file.iter_batches(batch_size=1 << 16, columns=[columns.label]):
                encoded = batch.column(0).dictionary_encode()
                values = (_label(value, path, columns) for value in encoded.dictionary.to_pylist())
                known = [index.setdefault(value, len(index)) for value in values]
                if len(index) > MAX_CLASSES:
                    raise DataError(
                        f"{path}: column {columns.label} has more than {MAX_CLASSES:,} values, so it holds no classes; "
                        "name another one with --label-column"
                    )
                rows = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
                parts.append(np.append(np.array(known, np.int64), -1)[rows])
    return Labels(np.concatenate(parts) if parts else np.zeros(0, np.int64), list(index))


def spool_images(
    paths: Sequence[Path], column: str, wanted: npt.NDArray[np.bool_], shown: Callable[[Iterator[Any]], Iterator[Any]]
) -> tuple[Spool, list[str]]:
    """Copies the images of some rows to a temporary file, a few at a time.

    wanted: [N], of the rows of all files; shown: shows progress. Returns them, and where each comes from.

    Raises DataError.
    """
    spool, names = Spool(), list[str]()
    allowed = MAX_RATIO * sum(path.stat().st_size for path in paths)

    def all_rows() -> Iterator[tuple[Path, int, bytes]]:
        for path in paths:
            for number, data in enumerate(_bytes_of(path, column)):
                yield path, number, data

    for row, (path, number, data) in enumerate(shown(all_rows())):
        if not wanted[row]:
            continue
        spool.add(data)
        names.append(f"{path}: row {number}")
        if spool.size > allowed:
            raise DataError(f"{path} is not safe: it unpacks to more than {allowed:,} bytes; get it again")
    if names and not spool.size:
        raise DataError(
            f"{paths[0]}: column {column} holds no bytes, only paths, which are not opened; read the image files with "
            "`distgan prepare folder`, or write them with `push_to_hub`, which puts the bytes in"
        )
    spool.close()
    return spool, names


def _bytes_of(path: Path, column: str) -> Iterator[bytes]:
    """The content of a column, row by row; nothing for null. Raises DataError."""
    with opened(path, [column]) as file:
        for group in range(file.num_row_groups):  # pyarrow cannot read on from one to the next in packed form
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, row_groups=[group], columns=[column]):
                yield from _unpacked(batch.column(0), path)


def _unpacked(array: Any, path: Path) -> Iterator[bytes]:
    """The bytes of each row of a packed column. Raises DataError for an image that is too large."""
    while hasattr(array, "field"):
        array = array.field(0)
    for number in array.indices.to_pylist():
        value = b"" if number is None else array.dictionary[number].as_py()
        if value is not None and len(value) > MAX_IMAGE_BYTES:
            raise DataError(f"{path} holds an image of {len(value):,} bytes; {MAX_IMAGE_BYTES:,} are the most")
        yield value or b""


@contextmanager
def opened(path: Path, dictionary: Sequence[str] = ()) -> Iterator[Any]:
    """A parquet file of a bounded description. dictionary: columns that are kept as they are packed.

    Raises DataError, also for what pyarrow raises while the file is read.
    """
    parquet = _library()
    try:
        open_regular(path).close()  # pyarrow would wait for the other end of a pipe
        with parquet.ParquetFile(
            path,
            read_dictionary=list(dictionary),
            thrift_string_size_limit=FOOTER_BYTES,
            thrift_container_size_limit=FOOTER_BYTES,
        ) as file:
            if file.metadata.num_rows > MAX_ROWS:
                raise DataError(f"{path} says that it has {file.metadata.num_rows:,} rows; {MAX_ROWS:,} are the most")
            yield file
    except DataError:
        raise
    except Exception as error:  # pyarrow's own classes, and others for a damaged file
        reason = printable(str(error)) or type(error).__name__
        raise DataError(f"{path} is not a parquet file, or is damaged: {reason}") from None


def _library() -> Any:
    try:
        return import_module("pyarrow.parquet")
    except ImportError:
        raise DataError('parquet files need pyarrow; pip install "distgan[parquet]"') from None


def _features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """What `datasets` says of the columns; empty if it says nothing that can be read."""
    try:
        features = parse_json((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def _image_leaf(name: str, kind: Any) -> str | None:
    """The path of a column's bytes; None if it holds none."""
    types = import_module("pyarrow.types")
    names = ("is_binary", "is_large_binary", "is_binary_view")
    if any(getattr(types, each)(kind) for each in names if hasattr(types, each)):
        return name
    if types.is_struct(kind):
        return next(
            (f"{name}.{each.name}" for each in kind if each.name == "bytes" and _image_leaf("", each.type) == ""), None
        )
    return None


def _chosen_image(
    path: Path, leaves: Mapping[str, str], features: Mapping[str, Any], columns: Mapping[str, Any], asked: str | None
) -> str:
    """The column of the images. Raises DataError if there is none, or several that are alike."""
    if asked is not None:
        if asked not in leaves:
            what = f"is {columns[asked]}, not bytes" if asked in columns else "does not exist"
            raise DataError(f"{path}: column {asked} (--image-column) {what}; {known_names(asked, list(leaves))}")
        return asked
    marked = [
        name for name in leaves if isinstance(features.get(name), dict) and features[name].get("_type") == "Image"
    ]
    usual = [name for known in IMAGE_COLUMNS for name in leaves if name.lower() == known]
    for found in (marked, usual, list(leaves)):
        if len(found) == 1 or (found and found[0].lower() in IMAGE_COLUMNS):
            return found[0]
        if found:
            raise DataError(f"{path} has the image columns {join_names(found, ', ')}; name one with --image-column")
    raise DataError(
        f"{path} has no column of encoded images (bytes); its columns are {join_names(list(columns), ', ')}"
    )


def _label_kind(kind: Any) -> str | None:
    """What a column's values are as labels; None if they are none."""
    types = import_module("pyarrow.types")
    if types.is_dictionary(kind):
        return _label_kind(kind.value_type)
    if types.is_integer(kind) or types.is_floating(kind):
        return NUMBERS
    if any(getattr(types, name)(kind) for name in STRINGS if hasattr(types, name)):
        return "names"
    return "truth values" if types.is_boolean(kind) else None


def _label(value: Any, path: Path, columns: Columns) -> Any:
    """A label as it is read: a whole number from any number, None for NaN. Raises DataError for another number."""
    if columns.kind != NUMBERS or value is None or isinstance(value, int) or value != value:
        return None if value != value else value
    if not float(value).is_integer():
        raise DataError(f"{path}: column {columns.label} holds {value}, which is no number of a class; {OTHER_COLUMN}")
    return int(value)


def _usual_label(
    path: Path, labels: Mapping[str, str], features: Mapping[str, Any], columns: Mapping[str, Any]
) -> tuple[str | None, str]:
    """The column of the labels, or None, and a note where it is not the only one.

    Raises DataError for one with a usual name alone that holds no labels.
    """
    marked = [name for name in labels if _names_of(features.get(name)) is not None]
    usual = [name for known in LABEL_COLUMNS for name in labels if name.lower() == known]
    found = next((name for name in usual if name in marked or not marked), None) or next(iter(marked), None)
    others = [name for name in dict.fromkeys((*marked, *usual)) if name != found]
    if found is None:
        if odd := next((name for name in columns if name.lower() in LABEL_COLUMNS), None):
            raise DataError(f"{path}: column {odd} is {columns[odd]}, no numbers or names of classes; {OTHER_COLUMN}")
        return None, "" if not labels else f"no column is called label ({join_names(list(labels), ', ')}): one class"
    return found, f"--label-column names other labels than {found}: {join_names(others, ', ')}" if others else ""


def _names_of(feature: Any) -> tuple[str, ...] | None:
    """The names of a ClassLabel."""
    if (
        not isinstance(feature, dict)
        or feature.get("_type") != "ClassLabel"
        or not isinstance(feature.get("names"), list)
    ):
        return None
    return tuple(json.dumps(name) if not isinstance(name, str) else name for name in feature["names"])
