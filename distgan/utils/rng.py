"""Random numbers keyed by (seed, purpose, counters) and drawn for the global batch.

Every rank draws the numbers of the complete global batch from the same key and keeps its own rows. So the result does
not depend on the number of processes, and a resume needs no saved state: a step's numbers are a function of the step.
The values differ between CPU and CUDA, as torch's generators do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor


def key(seed: int, purpose: str, *counters: int) -> int:
    """A 63-bit number, the same on every machine; numbers of different arguments are unrelated."""
    text = "/".join([str(seed), purpose, *map(str, counters)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(device: torch.device | str, seed: int, purpose: str, *counters: int) -> torch.Generator:
    """A torch generator at the start of the stream of numbers that belongs to the key of these arguments."""
    return torch.Generator(device=device).manual_seed(key(seed, purpose, *counters))


@dataclass(frozen=True)
class Rows:
    """Rows [start, stop) of a global batch with `total` rows."""

    start: int
    stop: int
    total: int

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, index: int, parts: int) -> Rows:
        """The index-th of `parts` equal pieces of these rows, for a rank or a micro-batch."""
        size = len(self) // parts
        return Rows(self.start + index * size, self.start + (index + 1) * size, self.total)


@dataclass(frozen=True)
class Draws:
    """Random tensors for rows of one global batch: `Draws(seed, rows, device).at("latent/d", step).normal([64])`."""

    seed: int
    rows: Rows
    device: torch.device
    purpose: str = ""
    counters: tuple[int, ...] = ()

    def for_rows(self, rows: Rows) -> Draws:
        """The same draws for other rows of the batch."""
        return replace(self, rows=rows)

    def at(self, purpose: str, *counters: int) -> Draws:
        """Draws for another purpose and other counters, such as a step."""
        return replace(self, purpose=purpose, counters=counters)

    def of(self, purpose: str) -> Draws:
        """Draws for another purpose with the same counters."""
        return replace(self, purpose=purpose)

    def normal(self, shape: Sequence[int] = ()) -> Tensor:
        """[rows, *shape], standard normal, float32."""
        return self.take(torch.randn, shape)

    def uniform(self, shape: Sequence[int] = ()) -> Tensor:
        """[rows, *shape], uniform in [0, 1), float32."""
        return self.take(torch.rand, shape)

    def integers(self, high: int) -> Tensor:
        """[rows], uniform in 0 ... high - 1, int64."""
        return self.take(partial(torch.randint, high), ())

    def take(self, kind: Callable[..., Tensor], shape: Sequence[int]) -> Tensor:
        """[rows, *shape], drawn by a function of torch, such as torch.randn."""
        stream = generator(self.device, self.seed, self.purpose, *self.counters)
        batch = kind((self.rows.total, *shape), generator=stream, device=self.device)
        return batch[self.rows.start : self.rows.stop]
