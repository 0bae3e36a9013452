"""A folder of images in, the folder of each class out, or one folder without classes, for one split.

Known layouts, in any case of the letters: CLASS/..., SPLIT/CLASS/..., CLASS/SPLIT/..., and images without class
folders, where SPLIT is train, training, val, valid, validation, dev, test or testing, or has an addition that all
splits share (seg_train, seg_test). A single folder that holds nothing but folders, as zip files make it, is descended
into, and so is `images` beside `annotations`. Whatever else could be meant is refused.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from distgan.data.sources.image_file import is_image_name
from distgan.data.sources.tree import Directory, Tree
from distgan.utils.errors import DataError
from distgan.utils.names import join_names
from distgan.utils.paths import name_as_text

SPLITS = ("train", "val", "test")
UNUSED = "unused"  # the part of a folder beside the splits, without classes
WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("pred", "predict", "prediction", "unlabeled", "unlabelled", "extra"), UNUSED),
}
CONTENT = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data", "dcim")  # no classes
BESIDE = (
    "annotations", "annotation", "labels", "label", "masks", "mask", "segmentations", "segmentation", "trimaps",
    "segmentationclass", "segmentationobject", "imagesets",
)  # fmt: skip
"""Folders that belong to the images beside them, and hold no classes."""
DATE = re.compile(
    r"(19|20)\d\d([-_. ]?\d\d?){0,2}|\d{3}[A-Z]{5}|\d\d?"
)  # 2023, 2023-05, 2023-05-12, 100APPLE; 05 in it
YEAR = re.compile(r"(19|20)\d\d.*|\d{3}[A-Z]{5}")
YEARLY = re.compile(r"(?<=[a-z])(\d{4})$")  # train2017
ONE_CLASS = "images"  # the name of the class where there are no classes
PER_CLASS = "put the images in one folder per class"


@dataclass(frozen=True)
class Layout:
    """Where the images of a split are."""

    root: Tree
    """The folder above all of them."""
    folders: dict[str, Tree]
    """The folder of each class, by name, sorted by name; of ONE_CLASS, `root`."""
    notes: tuple[str, ...]
    """What was taken for what."""
    above: tuple[Tree, ...]
    """The folders from the top down to `root`: where a table of labels may lie."""
    flat: str = ""
    """Why there are no classes; empty if there are."""


def find_layout(top: Tree | Path, split: str, chosen: Sequence[str] | None, classes: bool = True) -> Layout:
    """Finds the classes of a split. chosen: names of classes; such a folder is a class, whatever its name.

    classes: false for no classes, whatever the folders are called. Raises DataError if the split is not there, or if
    more than one layout could be meant.
    """
    root, notes, has_splits = top if isinstance(top, Tree) else Directory(top), list[str](), False
    above = [root]
    while True:
        names = tuple(root.folders)
        if chosen and set(chosen) <= {name_as_text(name) for name in names}:
            break
        part = None if has_splits else _choose_part(root, split, classes)
        if part is None and (inside := _content(root)) is not None:
            root = root.folders[inside]
            notes += [f"{root} holds the images" + _left_out(others)] if (others := _others(names, inside)) else []
        elif part is not None:
            root, has_splits = root.folders[part], True
            notes.append(f"{root} is the split {split}" + _left_out(_others(names, part)))
        else:
            break
        above.append(root)
    layout = partial(_layout, root, notes, above, split if not notes and split != "train" else "")
    if not classes:
        return layout({ONE_CLASS: root}, flat="as asked")
    if (why := _why_flat(root, chosen or ())) is not None:
        return layout({ONE_CLASS: root}, flat=why)
    folders = _class_folders(root)
    if not has_splits:
        folders, more = _split_in_classes(root, folders, split)
        notes += more
    if nested := _nested(folders):
        notes.append(f"the folders in {root} hold folders, such as {nested}: all below one is of its class")
    return layout(folders)


def _layout(
    root: Tree, notes: list[str], above: list[Tree], whole: str, folders: dict[str, Tree], flat: str = ""
) -> Layout:
    """The layout, with the last notes. whole: the split that was asked for, where there are none."""
    if whole and not notes:
        notes.append(f"{root} has no splits: all of it is read as {whole}")
    if not flat and (loose := images_in(root)):
        notes.append(f"{root} holds {len(loose):,} image(s) beside the folders, such as {loose[0]}; left out")
    return Layout(root, folders, tuple(notes), tuple(above), flat)


def parts_of(names: Sequence[str]) -> dict[str, str]:
    """The folders among `names` that are splits: {name: train, val, test or unused}."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        words = re.split(r"[^a-z0-9]+", YEARLY.sub(r" \1", name.lower()))
        known = [word for word in words if word in WORDS]
        if len(known) == 1:
            addition = tuple(word for word in words if word not in WORDS)
            found.setdefault(addition, {})[name] = WORDS[known[0]]
    groups = [group for addition, group in found.items() if not addition or len(set(group.values())) > 1]
    return {name: part for group in groups for name, part in group.items()}


def images_in(folder: Tree) -> tuple[str, ...]:
    """The sorted names of the files with an image's ending. Raises DataError."""
    return tuple(name for name in folder.files if is_image_name(name))


def _choose_part(root: Tree, split: str, classes: bool) -> str | None:
    """The folder of a split in `root`; None if there are no splits. Raises DataError."""
    names = tuple(root.folders)
    parts = {name: part for name, part in parts_of(names).items() if part != UNUSED}
    others = [name for name in names if name not in parts and parts_of(names).get(name) != UNUSED]
    with_classes = [name for name in parts if root.folders[name].folders]
    beside = any(holds_images(root.folders[name]) for name in others) if parts else False
    if not parts or (beside and not classes):
        return None
    if not with_classes and others and len(set(parts.values())) == 1 and classes:
        return None  # a class may be called train
    seen = f"{root} holds the folders {join_names(names, ', ')}"
    if beside:
        kind = "which look like splits beside classes" if with_classes else "which look like splits without classes"
        raise DataError(
            f"{seen}, {kind}; {PER_CLASS}, as in {root.path / next(iter(parts)) / 'cat'}, or name the folders that are "
            f"classes with --classes {join_names(others or list(parts))}, give one folder in the place of {root}, or "
            "pass --no-classes to read all as one"
        )
    asked = [name for name in parts if parts[name] == split]
    if len(asked) > 1:
        raise DataError(f"{seen}, and several are the split {split}; give one of them in the place of {root}")
    if not asked:
        there = list(dict.fromkeys(parts.values()))
        raise DataError(f"{root} has no {split} split, only {', '.join(parts)}; pass --split {there[0]}")
    if classes and with_classes and asked[0] not in with_classes:
        raise DataError(
            f"{root.folders[asked[0]]} has no class folders, unlike {with_classes[0]}; {PER_CLASS}, or pass "
            "--no-classes"
        )
    return asked[0]


def _content(root: Tree) -> str | None:
    """The folder to descend into: the only one, if it is no class, or `images` beside `annotations`."""
    if images_in(root):
        return None
    candidates = (name for name, each in root.folders.items() if name.lower() not in BESIDE and holds_images(each))
    names = list(itertools.islice(candidates, 2))
    if not names and len(root.folders) == 1:
        names = list(root.folders)
    if len(names) != 1:
        return None
    if names[0].lower() in CONTENT:
        return names[0]
    return names[0] if len(root.folders) == 1 and _is_wrapper(root.folders[names[0]]) else None


def _is_wrapper(folder: Tree) -> bool:
    """Whether `folder`, the only one, is no class: it holds nothing but folders, and not a class's splits."""
    inside = tuple(folder.folders)
    if not inside or images_in(folder):
        return False
    is_one_class = len(parts_of(inside)) == len(inside) and not any(folder.folders[name].folders for name in inside)
    return not is_one_class


def _why_flat(root: Tree, chosen: Sequence[str]) -> str | None:
    """Why the images in `root` have no classes; None if its folders are classes."""
    loose = len(images_in(root))
    if not root.folders:
        return "no class folders" if loose or root.files else None
    if chosen:
        return None
    names = tuple(root.folders)
    inside = sum(is_image_name(name) for folder in root.folders.values() for _, name in folder.walk()) if loose else 0
    if loose > inside:
        return "more images beside the folders than in them" if inside else "no class folders"
    if all(DATE.fullmatch(name) for name in names) and any(YEAR.fullmatch(name) for name in names):
        return f"its folders are dates: {_some(names)}"
    if all(re.fullmatch(r"\d{5,}", name) and int(name) % 1000 == 0 for name in names):
        return f"its folders are parts: {_some(names)}"
    return None


def _split_in_classes(root: Tree, folders: dict[str, Tree], split: str) -> tuple[dict[str, Tree], list[str]]:
    """The folders of CLASS/SPLIT where classes hold splits, else `folders`, and notes. Raises DataError."""
    inside = {name: tuple(folder.folders) for name, folder in folders.items()}
    parts = {name: parts_of(names) for name, names in inside.items()}
    split_up = [name for name in folders if inside[name] and len(parts[name]) == len(inside[name])]
    if not split_up:
        return folders, []
    if len(split_up) < len(folders) or any(images_in(folder) for folder in folders.values()):
        if all(len(set(parts[name].values())) == 1 for name in split_up):
            return folders, []  # a part of a class may be called train
        raise DataError(
            f"{folders[split_up[0]]} holds the folders {join_names(inside[split_up[0]], ', ')}, which look like "
            f"splits, and not all of {root} is made so; have either SPLIT/CLASS or CLASS/SPLIT everywhere, or no splits"
        )
    chosen = {name: [inner for inner, part in parts[name].items() if part == split] for name in folders}
    for name, found in chosen.items():
        if len(found) != 1:
            raise DataError(
                f"{folders[name]} has {len(found)} folders for the split {split}: {', '.join(inside[name])}"
            )
    left_out = sorted({inner for name, names in inside.items() for inner in names if inner not in chosen[name]})
    note = f"each class of {root} has splits; {split} is read" + _left_out(left_out)
    return {name: folder.folders[chosen[name][0]] for name, folder in folders.items()}, [note]


def _nested(folders: dict[str, Tree]) -> str:
    """A folder in a class, if each class has some and no image beside them; else empty."""
    if any(images_in(folder) or not folder.folders for folder in folders.values()):
        return ""
    name, folder = next(iter(folders.items()))
    return f"{name}/{next(iter(folder.folders))}"


def _class_folders(root: Tree) -> dict[str, Tree]:
    """The sub-folders by their names as text. Raises DataError: there is none, or a name is no text."""
    if not root.folders:
        raise DataError(f"{root} holds no image and no folder; give a directory of images, or of one folder per class")
    folders = {}
    for name, folder in root.folders.items():
        text = name_as_text(name)
        if not text.isprintable():
            raise DataError(f"{root} has a sub-folder whose name is not UTF-8 text, {name!r}; rename it")
        folders[text] = folder
    return dict(sorted(folders.items()))


def holds_images(folder: Tree) -> bool:
    """Whether there is a file with an image's ending in a folder or below it."""
    return any(is_image_name(name) for _, name in folder.walk())


def _others(names: Sequence[str], chosen: str) -> list[str]:
    return [name for name in names if name != chosen]


def _left_out(names: Sequence[str]) -> str:
    return f"; left out: {join_names(names, ', ')}" if names else ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
