"""Random numbers keyed by (seed, purpose, counters) and drawn for the global batch.

Every rank draws the whole global batch's numbers from the same key and keeps its own rows, so the result does not
depend on the number of processes, and nothing has to be saved to resume: a step's numbers are a function of the step.
The values differ between CPU and CUDA (torch's generators do).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def key(seed: int, purpose: str, *counters: int) -> int:
    """A 63-bit number that is the same on every machine and unrelated between keys."""
    text = "/".join([str(seed), purpose, *map(str, counters)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(device: torch.device | str, seed: int, purpose: str, *counters: int) -> torch.Generator:
    """A torch generator at the start of the stream that belongs to the key."""
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
        """The index-th of `parts` equal pieces of these rows (a rank's, a micro-batch's)."""
        size = len(self) // parts
        return Rows(self.start + index * size, self.start + (index + 1) * size, self.total)


@dataclass(frozen=True)
class Draws:
    """Random tensors for some rows of one global batch: `Draws(seed, rows, device).at("latent/d", step)`."""

    seed: int
    rows: Rows
    device: torch.device
    purpose: str = ""
    counters: tuple[int, ...] = ()

    def for_rows(self, rows: Rows) -> Draws:
        return Draws(self.seed, rows, self.device, self.purpose, self.counters)

    def at(self, purpose: str, *counters: int) -> Draws:
        return Draws(self.seed, self.rows, self.device, purpose, counters)

    def normal(self, shape: Sequence[int] = ()) -> Tensor:
        """[rows, *shape], standard normal, float32."""
        return torch.randn((self.rows.total, *shape), generator=self._stream(), device=self.device)[self._slice()]

    def uniform(self, shape: Sequence[int] = ()) -> Tensor:
        """[rows, *shape], uniform in [0, 1), float32."""
        return torch.rand((self.rows.total, *shape), generator=self._stream(), device=self.device)[self._slice()]

    def integers(self, high: int) -> Tensor:
        """[rows], uniform in 0 ... high - 1, int64."""
        stream = self._stream()
        return torch.randint(high, (self.rows.total,), generator=stream, device=self.device)[self._slice()]

    def _stream(self) -> torch.Generator:
        return generator(self.device, self.seed, self.purpose, *self.counters)

    def _slice(self) -> slice:
        return slice(self.rows.start, self.rows.stop)
