"""A configuration file and the recipes that it builds on, as one tree of plain values.

`base: r3gan_small` at the top of a file names a recipe in configs/, `base: ../mine.yaml` a file relative to this one.
Sections are merged, key by key; the file wins. Where the file chooses another variant of a section (another
`generator.family`, `loss.name`, ...), the base's keys of that section do not apply. The base's data.prepare is for the
base's data.path.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, reduce
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from distgan.config.keys import alternatives, flatten, is_section, kinds_of
from distgan.config.messages import CHOICE_KEYS
from distgan.config.schema import Config
from distgan.config.yaml_loader import parse_yaml
from distgan.utils.errors import ConfigError
from distgan.utils.names import nearest_name
from distgan.utils.paths import user_path
from distgan.utils.safe_io import printable, read_bytes

PACKAGE = Path(__file__).resolve().parent.parent
RECIPES = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"
BASE = "base"  # the key at the top of a file
STORED = "config.yaml"  # the configuration in a run's directory
OF_A_RUN = (
    *("run.json", "checkpoints", "metrics.jsonl", "events.jsonl", "scores.jsonl", "samples", "report.html"),
    *("generator.safetensors", "best.safetensors", "model.safetensors"),
)
MAX_BYTES = 1 << 16  # of a file; the recipes have about 1,000
KINDS = kinds_of(Config)
FILE_KINDS = KINDS._replace(texts={**KINDS.texts, BASE: True}, paths=KINDS.paths | {BASE})

Tree = dict[str, Any]


class Recipe(NamedTuple):
    """What a file says together with the files that it builds on."""

    tree: Tree
    """Sections of plain values, not validated."""
    files: tuple[Path, ...]
    """The file itself, the one it builds on, and so on."""


def read_recipe(source: str | Path) -> Recipe:
    """A file, by its path or as the name of a recipe, laid over those that it builds on. Raises ConfigError."""
    paths: list[Path] = []
    trees: list[Tree] = []
    path: Path | None = find_recipe(source)
    while path is not None:
        if path.resolve() in [known.resolve() for known in paths]:
            chain = " -> ".join(map(str, (*paths, path)))
            raise ConfigError(f"{paths[-1]}: base: the recipes build on each other in a circle: {chain}; remove a base")
        tree = _parsed(path)
        paths.append(path)
        trees.append(tree)
        path = _find_base(tree.pop(BASE, None), path)
    return Recipe(reduce(merge, reversed(trees), {}), tuple(paths))


def read_alone(path: Path) -> Tree:
    """What a file says by itself, without its base. Raises ConfigError."""
    tree = _parsed(path)
    tree.pop(BASE, None)
    return tree


def merge(base: Tree, over: Tree, section: str = "") -> Tree:
    """`over` laid over `base`: sections key by key, other values replaced. section: the dotted key of both."""
    if section in choices() and _variant(over, section) not in (None, _variant(base, section, default=True)):
        return over
    kept = base
    if section == "data":
        kept = forget_prepare(base, over)
    merged = kept | over
    for key in kept.keys() & over.keys():
        if isinstance(kept[key], dict) and isinstance(over[key], dict):
            merged[key] = merge(kept[key], over[key], f"{section}.{key}" if section else key)
    return merged


def forget_prepare(data: Tree, over: Tree) -> Tree:
    """The `data` section without its `prepare`, if `over` names another path and does not say how to prepare that."""
    if "path" in over and "prepare" not in over:
        return {key: value for key, value in data.items() if key != "prepare"} | {"prepare": None}
    return data


def find_recipe(source: str | Path) -> Path:
    """A configuration file by its path, or by its name in configs/. Raises ConfigError."""
    try:
        path = user_path(source)
    except ValueError as error:
        raise ConfigError(f"--config={source}: {error}") from None
    if path.is_file():
        return path
    if named := _named(str(path)):
        return named
    near = nearest_name(str(source), recipe_names())
    hint = f"nearest: {near}; " if near else ""
    raise ConfigError(f"no configuration file {source}; {hint}recipes that come with distgan: {_names()}")


def may_be_a_run_s(path: Path) -> bool:
    """Whether a file may be a run's own configuration, and so somebody else's: by its name, or by what is beside it."""
    return path.resolve().name == STORED or _is_beside_a_run(path)


def _is_beside_a_run(path: Path) -> bool:
    """Whether a file lies, or what a link means lies, beside what training writes."""
    return any((path.resolve().parent / name).exists() for name in OF_A_RUN)


@cache
def choices() -> dict[str, tuple[str, str]]:
    """Sections of which there are several variants, the key that chooses, and the variant of a section without it."""

    def find(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
        for name, field in model.model_fields.items():
            sections = list(filter(is_section, alternatives(field.annotation)))
            for section in sections:
                yield from find(section, f"{prefix}{name}.")
                if len(sections) > 1:
                    yield from ((prefix + name, key) for key in CHOICE_KEYS & section.model_fields.keys())

    usual = flatten(Config().model_dump(mode="json"))
    return {section: (key, str(usual[f"{section}.{key}"])) for section, key in find(Config, "")}


def _variant(tree: Tree, section: str, default: bool = False) -> Any:
    """The variant that a section chooses; None where it chooses none. default: then the usual one."""
    key, usual = choices()[section]
    return tree.get(key, usual if default else None)


def _parsed(path: Path) -> Tree:
    tree = parse_yaml(_read(path), str(path), FILE_KINDS) or {}
    if not isinstance(tree, dict):
        kind = "a list" if isinstance(tree, list) else "text" if isinstance(tree, str) else "a single value"
        raise ConfigError(f"{path}: the file must hold sections such as `train:`, not {kind}")
    return tree


def _find_base(base: Any, file: Path) -> Path | None:
    """The file that `base` in `file` names. Raises ConfigError."""
    if base is None:
        return None
    if file.resolve().name == STORED and _is_beside_a_run(file):
        raise ConfigError(f"{file}: a run's own configuration is complete, so its base is not read; remove that line")
    if not isinstance(base, str):
        raise ConfigError(
            f"{file}: base must be the name of a recipe, or a path relative to this file; write base: NAME"
        )
    if named := _named(base):
        return named
    try:
        path = file.parent / user_path(base)
    except ValueError as error:
        raise ConfigError(f"{file}: base: {error}") from None
    is_path = "/" in base or path.suffix in (".yaml", ".yml")
    if is_path and path.is_file():
        return path
    what = f"there is no file {path}" if is_path else "there is no such recipe"
    beside = path.with_name(f"{path.name}.yaml").is_file()
    nearest = f"nearest: {base}.yaml, which lies there" if beside else f"recipes that come with distgan: {_names()}"
    raise ConfigError(f"{file}: base={printable(base)}: {what}; {nearest}")


def _named(name: str) -> Path | None:
    """The recipe of this name in configs/."""
    path = RECIPES / f"{name.removesuffix('.yaml')}.yaml"
    return path if Path(name).parent == Path(".") and path.is_file() else None


def recipe_names() -> list[str]:
    """The recipes that come with distgan."""
    return sorted(recipe.stem for recipe in RECIPES.glob("*.yaml"))


def _names() -> str:
    return ", ".join(recipe_names())


def _read(path: Path) -> str:
    try:
        return read_bytes(path, MAX_BYTES).decode()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file: byte {error.start} is not UTF-8") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not a configuration: {error}") from None
