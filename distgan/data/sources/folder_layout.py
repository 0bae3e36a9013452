"""A directory of images in, the folder of each class out, for one split.

Known layouts, in any case of the letters: CLASS/..., SPLIT/CLASS/..., CLASS/SPLIT/..., where SPLIT is train, training,
val, valid, validation, dev, test or testing, or has an addition that all splits share (seg_train, seg_test). A single
folder that holds nothing but folders, as zip files make it, is descended into. Whatever else could be meant is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distgan.data.sources.image_file import suffixes
from distgan.utils.errors import DataError
from distgan.utils.names import join_names
from distgan.utils.paths import name_as_text

IGNORED_NAMES = ("thumbs.db", "desktop.ini", "__macosx")
SPLITS = ("train", "val", "test")
UNUSED = "unused"  # the part of a folder beside the splits, without classes
WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("pred", "predict", "prediction", "unlabeled", "unlabelled", "extra"), UNUSED),
}
PER_CLASS = "put the images in one folder per class"


@dataclass(frozen=True)
class Layout:
    """Where the images of a split are."""

    root: Path
    """The directory above all of them."""
    folders: dict[str, Path]
    """The folder of each class, by name, sorted by name."""
    notes: tuple[str, ...]
    """What was taken for what."""


def find_layout(directory: Path, split: str, chosen: Sequence[str] | None) -> Layout:
    """Finds the classes of a split. chosen: names of classes; such a folder is a class, whatever its name.

    Raises DataError if the split is not there, or if more than one layout could be meant.
    """
    root, notes, has_splits = directory, list[str](), False
    while True:
        names = folders_in(root)
        if chosen and set(chosen) <= {name_as_text(name) for name in names}:
            break
        part = None if has_splits else _choose_part(root, names, split)
        if part is not None:
            others = [name for name in names if name != part]
            notes.append(f"{root / part} is the split {split}" + _left_out(others))
            root, has_splits = root / part, True
        elif len(names) == 1 and _is_wrapper(root, root / names[0]):
            root = root / names[0]
        else:
            break
    folders = _class_folders(root)
    if not has_splits:
        folders, more = _split_in_classes(root, folders, split)
        notes += more
    if not notes and split != "train":
        notes.append(f"{root} has no splits: all of it is read as {split}")
    if loose := images_in(root):
        notes.append(f"{root} holds {len(loose):,} image(s) beside the folders, such as {loose[0]}; left out")
    return Layout(root, folders, tuple(notes))


def parts_of(names: Sequence[str]) -> dict[str, str]:
    """The folders among `names` that are splits: {name: train, val, test or unused}."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        words = re.split(r"[^a-z0-9]+", name.lower())
        known = [word for word in words if word in WORDS]
        if len(known) == 1:
            addition = tuple(word for word in words if word not in WORDS)
            found.setdefault(addition, {})[name] = WORDS[known[0]]
    groups = [group for addition, group in found.items() if not addition or len(set(group.values())) > 1]
    return {name: part for group in groups for name, part in group.items()}


def folders_in(directory: Path) -> tuple[str, ...]:
    """The sorted names of the sub-folders. Raises DataError."""
    return tuple(entry.name for entry in entries_in(directory) if is_folder(entry))


def images_in(directory: Path) -> tuple[str, ...]:
    """The sorted names of the files with an image's ending. Raises DataError."""
    files = (entry.name for entry in entries_in(directory) if not is_folder(entry))
    return tuple(name for name in files if Path(name).suffix.lower() in suffixes())


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a directory, or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def entries_in(directory: Path) -> list[os.DirEntry[str]]:
    """What is in a directory, sorted by name; no hidden files, no IGNORED_NAMES. Raises DataError."""
    try:
        with os.scandir(directory) as entries:
            visible = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in IGNORED_NAMES]
    except NotADirectoryError:
        raise DataError(f"{directory} is a file, not a directory of class sub-folders") from None
    except OSError as error:
        raise DataError(f"{directory} cannot be read: {error.strerror}") from None
    return sorted(visible, key=lambda entry: os.fsencode(entry.name))


def _choose_part(root: Path, names: Sequence[str], split: str) -> str | None:
    """The folder of a split among `names`; None if they are no splits. Raises DataError."""
    parts = {name: part for name, part in parts_of(names).items() if part != UNUSED}
    others = [name for name in names if name not in parts and parts_of(names).get(name) != UNUSED]
    with_classes = [name for name in parts if folders_in(root / name)]
    if not parts or (not with_classes and others and len(set(parts.values())) == 1):
        return None  # a class may be called train
    seen = f"{root} holds the folders {join_names(names, ', ')}"
    if not with_classes or (others and any(_holds_images(root / name) for name in others)):
        kind = "which look like splits without classes" if not with_classes else "which look like splits beside classes"
        raise DataError(
            f"{seen}, {kind}; {PER_CLASS}, as in {root / next(iter(parts)) / 'cat'}, or name the folders that are "
            f"classes with --classes {join_names(others or list(parts))}"
        )
    asked = [name for name in parts if parts[name] == split]
    if len(asked) > 1:
        raise DataError(f"{seen}, and several are the split {split}; give one of them in the place of {root}")
    if not asked:
        there = list(dict.fromkeys(parts[name] for name in with_classes))
        raise DataError(f"{root} has no {split} split, only {', '.join(parts)}; pass --split {there[0]}")
    if asked[0] not in with_classes:
        raise DataError(f"{root / asked[0]} has no class folders, unlike {with_classes[0]}; {PER_CLASS}")
    return asked[0]


def _split_in_classes(root: Path, folders: dict[str, Path], split: str) -> tuple[dict[str, Path], list[str]]:
    """The folders of CLASS/SPLIT where classes hold splits, else `folders`, and notes. Raises DataError."""
    inside = {name: folders_in(folder) for name, folder in folders.items()}
    parts = {name: parts_of(names) for name, names in inside.items()}
    split_up = [name for name in folders if inside[name] and len(parts[name]) == len(inside[name])]
    if not split_up:
        return folders, []
    if len(split_up) < len(folders) or any(images_in(folder) for folder in folders.values()):
        if all(len(set(parts[name].values())) == 1 for name in split_up):
            return folders, []  # a part of a class may be called train
        raise DataError(
            f"{root / split_up[0]} holds the folders {join_names(inside[split_up[0]], ', ')}, which look like splits, "
            f"and not all of {root} is made so; have either SPLIT/CLASS or CLASS/SPLIT everywhere, or no splits"
        )
    chosen = {name: [inner for inner, part in parts[name].items() if part == split] for name in folders}
    for name, found in chosen.items():
        if len(found) != 1:
            raise DataError(f"{root / name} has {len(found)} folders for the split {split}: {', '.join(inside[name])}")
    left_out = sorted({inner for name, names in inside.items() for inner in names if inner not in chosen[name]})
    note = f"each class of {root} has splits; {split} is read" + _left_out(left_out)
    return {name: folder / chosen[name][0] for name, folder in folders.items()}, [note]


def _class_folders(root: Path) -> dict[str, Path]:
    """The sub-folders by their names as text. Raises DataError: there is none, one is a link, a name is no text."""
    names = folders_in(root)
    if not names:
        raise DataError(f"{root} has no sub-folder; {PER_CLASS}, as in {root}/cat/1.png")
    folders = {}
    for name in names:
        if (root / name).is_symlink():
            raise DataError(f"{root / name} is a link to a directory, and those are not followed; put the folder there")
        text = name_as_text(name)
        if not text.isprintable():
            raise DataError(f"{root} has a sub-folder whose name is not UTF-8 text, {name!r}; rename it")
        folders[text] = root / name
    return dict(sorted(folders.items()))


def _is_wrapper(root: Path, folder: Path) -> bool:
    """Whether `folder`, the only one in `root`, is no class: it holds nothing but folders, and not a class's splits."""
    inside = folders_in(folder)
    if not inside or images_in(folder) or images_in(root) or folder.is_symlink():
        return False
    is_one_class = len(parts_of(inside)) == len(inside) and not any(folders_in(folder / name) for name in inside)
    return not is_one_class


def _holds_images(directory: Path) -> bool:
    """Whether there is a file with an image's ending in a directory or below it."""
    below = (directory / name for name in folders_in(directory))
    return bool(images_in(directory)) or any(_holds_images(folder) for folder in below if not folder.is_symlink())


def _left_out(names: Sequence[str]) -> str:
    return f"; left out: {join_names(names, ', ')}" if names else ""
