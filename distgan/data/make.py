"""A data set as one call: `distgan.prepare("folder", out=..., directory=...)`.

In: a source by its name, with options as on the command line, or a source of your own. Out: the manifest.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, NonNegativeInt, PositiveInt, ValidationError, create_model

from distgan.config.base import Frozen, Names
from distgan.config.choices import SOURCES
from distgan.config.messages import first_mistake
from distgan.config.registry import TYPED
from distgan.data.prepare import Request, build_source
from distgan.data.prepare import prepare as carry_out
from distgan.data.shards.manifest import Layout, Manifest
from distgan.data.sources.base import Source
from distgan.utils.errors import DataError
from distgan.utils.names import known_names
from distgan.utils.paths import user_path

INTERNAL = ("store", "official", "progress")  # fields of sources that are no options


class Common(Frozen):
    """Options of every source; those of `Request`."""

    split: str = "train"
    classes: Names | None = None
    shard_size: PositiveInt = 1000
    layout: Layout = "pictures"
    seed: NonNegativeInt = 0
    keep_order: bool = False
    overwrite: bool = False
    limit: PositiveInt | None = None


def prepare(source: str | Source, out: str | Path, *, progress: bool = True, **options: Any) -> Manifest:
    """Makes a data set of tar shards in a directory, unless the same one is there. Returns its manifest.

    source: shapes, cifar10, cifar100, mnist, folder, zip, hf, npz, webdataset, the name of a class from outside
    (`package.module:Name`), or an object with the method `offer` of `data.sources.base.Source`. options: as of `distgan
    prepare`: split, classes, shard_size, layout, seed, keep_order, limit, overwrite; and the source's own. Where the
    images are is directory (folder), dataset (hf), shards (webdataset) and archive (the others; --from of cifar10,
    cifar100 and mnist).

    Raises DataError if the source or the target cannot be used, or for a wrong option; the target is then as before.

    >>> import distgan
    >>> manifest = distgan.prepare("shapes", out="data/stars", count=40, classes=["star", "heart"], progress=False)
    >>> manifest.count, manifest.classes
    (40, ('heart', 'star'))
    """
    return carry_out(request_of(source, out, options, progress), progress)


def request_of(source: str | Source, out: str | Path, options: dict[str, Any], progress: bool = True) -> Request:
    """The request that `prepare` carries out. Raises DataError for a wrong option."""
    try:
        target = user_path(out)
    except ValueError as error:
        raise DataError(f"out='{out}': {error}") from None
    common = {name: value for name, value in options.items() if name in Common.model_fields}
    own = {name: value for name, value in options.items() if name not in common}
    if isinstance(source, str):
        kind = load_source(source)
        if source in SOURCES.entries:
            own = checked(options_of(kind), f"prepare {source}", own)
        common = checked(Common, f"prepare {source}", common)
        if "seed" in common and source == "shapes":
            own["seed"] = common["seed"]
        if source == "webdataset":
            own["progress"] = progress
        source = build_source(source, own, target.parent / "downloads")
    else:
        common = checked(Common, "prepare", options)
    return Request(out=target, source=source, **common)


def load_source(name: str) -> Any:
    """The class of a source by its name. Raises DataError."""
    try:
        if name not in SOURCES.entries:
            if ":" not in name and name not in SOURCES.names():
                raise ValueError(f"{name} {SOURCES.rule(name)}")
            SOURCES.admit(name, TYPED)
    except ValueError as error:
        raise DataError(f"prepare: source {error}") from None
    return SOURCES.load(name)


def options_of(source: Any) -> type[BaseModel]:
    """The fields of a source, a dataclass, as a model; but `seed`, which all sources have."""
    hints = get_type_hints(source, include_extras=True)
    own: dict[str, Any] = {
        each.name: (hints[each.name], ... if each.default is MISSING else each.default)
        for each in fields(source)
        if each.name not in (*INTERNAL, *Common.model_fields)
    }
    return create_model(f"{source.__name__}Options", __base__=Frozen, **own)


def checked(model: type[BaseModel], origin: str, options: dict[str, Any]) -> dict[str, Any]:
    """The given options, by a model's rules. Raises DataError."""
    for name in options:
        if name not in model.model_fields:
            names = [*model.model_fields, *Common.model_fields]
            raise DataError(f"{origin}: {name} is no option; {known_names(name, names)}")
    try:
        values = model.model_validate(options)
    except ValidationError as error:
        mistake = first_mistake(error)
        given = f"={mistake.value}" if mistake.key in options else ""
        raise DataError(f"{origin}: {mistake.key}{given}: {mistake.rule}") from None
    return {name: getattr(values, name) for name in options}
