"""Training that begins with the weights of another run (`init.from`), where names and shapes agree.

In: a run, a checkpoint or a generator file. Out: G, D and the average of G in the trainer, and a sentence for each that
counts what was taken. Optimisers and counters begin anew. Only the main process reads; the others get its weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distgan.config.keys import flatten
from distgan.config.schema import HUB, Config, InitConfig
from distgan.distributed.collectives import DOWNLOAD_MINUTES, broadcast_tensors, gloo_group, on_main
from distgan.inference.generator_file import read_weights
from distgan.inference.hub.find import MODEL, download
from distgan.inference.sampling import BEST, LAST
from distgan.networks.class_weights import ClassEntries, class_entries
from distgan.networks.spectral_norm import FIRST_ITERATIONS, power_iteration, spectral_norms_of
from distgan.training.checkpoint import storage
from distgan.training.trainer import Trainer
from distgan.utils.errors import CheckpointError, ConfigError
from distgan.utils.log import log
from distgan.utils.safe_io import printable

NETWORKS = ("generator", "discriminator", "average")
LISTED = 4  # tensors named in a sentence
WHAT_WORKS = "give a run's directory, RUN/checkpoints/step-..., a generator.safetensors, or hf://OWNER/NAME"

Tensors = Mapping[str, Tensor]


class Source(NamedTuple):
    """Weights of an earlier training."""

    path: Path
    networks: dict[str, Tensors]
    """By NETWORKS, on the CPU; a generator file has no discriminator."""
    config: Mapping[str, Any]
    class_names: tuple[str, ...]
    """By label; empty where they are not recorded."""


class Fit(NamedTuple):
    """What of a network's state is taken."""

    state: dict[str, Tensor]
    """The complete state after that."""
    weights: int
    """Numbers in it ..."""
    taken: int
    """... and how many of them are from the source."""
    in_part: tuple[str, ...]
    """Tensors of which only some classes are taken, with their shapes here and there."""
    new: tuple[str, ...]
    """Tensors that are not taken, with their shapes here and there."""
    unused: int
    """Tensors of the source that this network does not have."""


def begin_from(config: Config, trainer: Trainer, class_names: Sequence[str]) -> tuple[str, list[str]]:
    """Puts the weights of `init.from` into the trainer. A collective.

    class_names: of the images here, by label. Returns the path that they are from, and sentences. Raises DistganError
    on every rank: a source that cannot be read, of which nothing fits, or, with init.strict, not everything.
    """
    is_download = isinstance(config.init.from_, str)
    patient = gloo_group(DOWNLOAD_MINUTES) if is_download else None
    result = on_main(lambda: _begin(config, trainer, class_names), patient)
    for network in _networks(trainer).values():
        broadcast_tensors(network.state_dict().values())
    return result


def _begin(config: Config, trainer: Trainer, class_names: Sequence[str]) -> tuple[str, list[str]]:
    source = open_source(config.init)
    fits = {}
    for name, network in _networks(trainer).items():
        classes = Classes(class_entries(network), class_names, source.class_names)
        fits[name] = fit(network.state_dict(), source.networks.get(name, {}), classes)
    if config.init.strict:
        _check_complete(fits, source)
    if not any(each.taken for each in fits.values()):
        raise ConfigError(f"init.from={config.init.from_}: nothing fits: {differences(source.config, config)}")
    for name, network in _networks(trainer).items():
        network.load_state_dict(fits[name].state)
    if "discriminator" in source.networks:
        for _ in range(FIRST_ITERATIONS):  # a norm that was taken may be that of other weights, and the other way round
            power_iteration(spectral_norms_of(trainer.d.network))
    told = [describe(name, source, fits[name]) for name in NETWORKS]
    return str(source.path), [f"init: {source.path}", *told, *frozen_and_new(trainer.d.network, fits["discriminator"])]


def _networks(trainer: Trainer) -> dict[str, torch.nn.Module]:
    return dict(zip(NETWORKS, (trainer.g.network, trainer.d.network, trainer.ema.network), strict=True))


def check_there(config: InitConfig) -> None:
    """Raises ConfigError for a path that is not there: better now than after the data is prepared."""
    if isinstance(config.from_, Path) and not config.from_.exists():
        raise ConfigError(f"init.from={config.from_} is not there; {WHAT_WORKS}")


def open_source(config: InitConfig) -> Source:
    """Reads what `init.from` names; nothing in it is ever run. Raises DistganError."""
    check_there(config)
    given = config.from_
    if isinstance(given, str):
        found = HUB.fullmatch(given)
        assert found is not None, "checked by the configuration"
        return _from_file(download(found["repository"], found["revision"], f"init.from={given}: {MODEL}"))
    assert given is not None, "called for a training with init.from"
    if given.is_file():
        return _from_file(given)
    if storage.NAME.match(given.name) or (given / storage.MANIFEST).is_file():
        return _from_checkpoint(given)
    if newest := storage.newest(given / "checkpoints", lambda text: log.warning("%s", text)):
        return _from_checkpoint(newest)
    for name in (LAST, BEST, MODEL):
        if (given / name).is_file():
            log.info("init: %s has no complete checkpoint, so %s is taken, which has no discriminator", given, name)
            return _from_file(given / name)
    raise ConfigError(f"init.from={given} has no complete checkpoint and no generator in it; {WHAT_WORKS}")


def _from_checkpoint(path: Path) -> Source:
    tensors, values = storage.load(path)
    config, names = values.get("config"), values.get("class_names")
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is damaged: its {storage.VALUES} has no config")
    parts: dict[str, Tensors] = {
        name: {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        for name, prefix in zip(NETWORKS, ("g/", "d/", "ema/"), strict=True)
    }
    known = tuple(map(str, names)) if isinstance(names, list) else ()
    return Source(path, parts, config, known)


def _from_file(path: Path) -> Source:
    weights, description = read_weights(path)
    config = {**description.config, "generator": description.generator.model_dump(mode="json")}
    return Source(path, {"generator": weights, "average": weights}, config, description.class_names)


class Classes(NamedTuple):
    """Which classes here are which there."""

    entries: Mapping[str, ClassEntries]
    """Of the network here, by the tensor's name."""
    here: Sequence[str]
    there: Sequence[str]

    def same(self) -> list[tuple[int, int]]:
        """(place here, place there) of the classes that have one name."""
        return [(place, self.there.index(name)) for place, name in enumerate(self.here) if name in self.there]


def fit(ours: Tensors, theirs: Tensors, classes: Classes) -> Fit:
    """Takes the tensors whose names and shapes agree, and of those with an entry for each class the classes by name."""
    state, taken = dict(ours), 0
    in_part: list[str] = []
    new: list[str] = []
    for name, mine in ours.items():
        other = theirs.get(name)
        state[name], count = (mine, 0) if other is None else merged(mine, other, classes, name)
        taken += count
        if count < mine.numel() or other is None:
            there = "not there" if other is None else f"there: {list(other.shape)}"
            (in_part if count else new).append(f"{printable(name)} {list(mine.shape)} ({there})")
    total = sum(mine.numel() for mine in ours.values())
    return Fit(state, total, taken, tuple(in_part), tuple(new), len(theirs.keys() - ours.keys()))


def merged(mine: Tensor, other: Tensor, classes: Classes, name: str) -> tuple[Tensor, int]:
    """The tensor to begin with, and how many of its numbers are from `other`.

    All of them where the shapes agree. Where they agree but for the number of classes, those of the classes that have
    the same name, and those of no class. Classes of the same name are taken from each other's place.
    """
    entry = classes.entries.get(name)
    same_shape = mine.shape == other.shape
    if entry is None or not _agree_but_for_classes(mine, other, entry, classes):
        return (other, mine.numel()) if same_shape else (mine, 0)
    axis, first = entry
    pairs = [*((place, place) for place in range(first)), *((first + a, first + b) for a, b in classes.same())]
    if not pairs:
        return (other, mine.numel()) if same_shape else (mine, 0)
    here, there = map(torch.tensor, zip(*pairs, strict=True))
    start = (other if same_shape else mine).detach().to("cpu", mine.dtype, copy=True)
    filled = start.index_copy_(axis, here, other.to(mine.dtype).index_select(axis, there))
    return filled, mine.numel() if same_shape else mine.numel() // mine.shape[axis] * len(pairs)


def _agree_but_for_classes(mine: Tensor, other: Tensor, entry: ClassEntries, classes: Classes) -> bool:
    """Whether two tensors have the same shape but for the number of classes."""
    shape = list(other.shape)
    if len(shape) != mine.ndim or shape[entry.axis] != entry.first + len(classes.there):
        return False
    shape[entry.axis] = entry.first + len(classes.here)
    return shape == list(mine.shape)


def _check_complete(fits: Mapping[str, Fit], source: Source) -> None:
    """Raises ConfigError that names the first tensor that is not taken."""
    for name, each in fits.items():
        if missing := (*each.new, *each.in_part):
            raise ConfigError(
                f"init.strict=true, but of the {name} {missing[0]} is not taken from {source.path}; give a source of "
                "the same networks and classes, or set init.strict=false"
            )


def describe(name: str, source: Source, each: Fit) -> str:
    """What was taken of one network, as a sentence."""
    if name not in source.networks:
        return f"init: {name} 0 of {len(each.state)} tensors taken: a generator file has none, so all of it is new"
    count, share = len(each.state) - len(each.new), int(100 * each.taken / each.weights)
    parts = [f"init: {name} {count} of {len(each.state)} tensors taken ({share} % of the weights)"]
    for what, tensors in (("in part", each.in_part), ("new", each.new)):
        if tensors:
            more = f" and {len(tensors) - LISTED} more" if len(tensors) > LISTED else ""
            parts.append(f"{what}: {', '.join(tensors[:LISTED])}{more}")
    return ", ".join([*parts, *([f"left there: {each.unused}"] if each.unused else [])])


def frozen_and_new(discriminator: torch.nn.Module, each: Fit) -> list[str]:
    """A sentence if discriminator.freeze_layers keeps weights as they were drawn, for which the source has none."""
    frozen = [name for name, weight in discriminator.named_parameters() if not weight.requires_grad]
    drawn = [name for name in frozen if any(new.startswith(f"{name} ") for new in each.new)]
    if not drawn:
        return []
    return [
        f"init: discriminator.freeze_layers freezes {drawn[0]}, which is new: it stays as it was drawn, and D may "
        "learn little; set discriminator.freeze_layers=0"
    ]


def differences(saved: Mapping[str, Any], config: Config) -> str:
    """The settings of the networks that differ, `there -> here`; for a source of which nothing fits."""
    sections, now = ("generator", "discriminator"), config.model_dump(mode="json")
    old, new = (flatten({name: tree.get(name, {}) for name in sections}) for tree in (dict(saved), now))
    changed = [
        f"{printable(key)}: {printable(str(old[key]))} -> {printable(str(new[key]))}"
        for key in new
        if key in old and old[key] != new[key]
    ]
    return f"set as there: {'; '.join(changed)}" if changed else "its tensors have other names or shapes"
