"""From classes as a user names them to the labels that a conditional generator takes: pure functions."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence, Sized
from typing import cast

import torch
from torch import Tensor

from distgan.utils.errors import ExportError
from distgan.utils.names import is_number, join_names, known_names

Class = str | int
Classes = Sequence[Class] | Class | Mapping[Class, float] | None


def labels_of(seeds: Sequence[int], classes: Classes, names: Sequence[str]) -> Tensor:
    """A label for each seed: class numbers, int64 [N]; of a mixture: weights, float32 [N, len(names)].

    classes: by the rule of `Generator.sample`. Raises ExportError: no such class, an ambiguous one, not as many as
    seeds, shares that do not add up to 1.
    """
    if classes is None:
        return torch.tensor([seed % len(names) for seed in seeds], dtype=torch.int64)
    if isinstance(classes, Mapping):
        return _mixture(classes, names).expand(len(seeds), -1)
    if isinstance(classes, str) or not isinstance(classes, Sized) or getattr(classes, "ndim", 1) == 0:
        classes = [cast(Class, classes)] * len(seeds)
    if len(classes) != len(seeds):
        raise ExportError(f"{len(classes)} classes for {len(seeds)} seeds; give one for all, or one per seed")
    return torch.tensor([_number(name, names) for name in classes], dtype=torch.int64)


def _mixture(shares: Mapping[Class, float], names: Sequence[str]) -> Tensor:
    """Weights, float32 [len(names)]. Raises ExportError."""
    if not all(0 <= share < math.inf for share in shares.values()) or not math.isclose(sum(shares.values()), 1):
        raise ExportError(f"the shares of a mixture of classes must be 0 or more and add up to 1, not {dict(shares)}")
    weights = torch.zeros(len(names))
    for name, share in shares.items():
        weights[_number(name, names)] += share
    return weights


def _number(name: Class, names: Sequence[str]) -> int:
    """The class that a name or number means. Raises ExportError: none, or several.

    Text that is a class's name means this class. A number means the class with this number for a name; where there
    are names that are no numbers, also the class at this place, counted from 0.
    """
    if isinstance(name, str) and name in names:
        return names.index(name)
    try:
        text = name if isinstance(name, str) else str(operator.index(name))
    except TypeError:
        raise ExportError(f"{name!r} is no class; give a class's name or number") from None
    if not is_number(text):
        raise ExportError(f"there is no class {text}; {known_names(text, names)}")
    numbers = [is_number(known) for known in names]
    found = {place for place, known in enumerate(names) if numbers[place] and int(known) == int(text)}
    if not all(numbers) and int(text) < len(names):
        found.add(int(text))
    if len(found) > 1:
        meant = join_names((names[place] for place in sorted(found)), " or ")
        raise ExportError(f"class {text} is ambiguous: it may be {meant}; give the name as text")
    if not found:
        places = "" if all(numbers) else f", or 0 to {len(names) - 1}"
        raise ExportError(f"there is no class {text}; {known_names(text, names)}{places}")
    return found.pop()
