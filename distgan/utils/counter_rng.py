"""Random numbers that are a pure function of (seed, purpose, index), the same on every machine and NumPy version.

SplitMix64 on a counter (Steele et al. 2014), keyed by a hash of seed and purpose: the number of an index can be
computed alone, in any order, in any process.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def bits(seed: int, purpose: str, indices: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """64 random bits per index. indices: any shape, >= 0; returns the same shape."""
    key = int.from_bytes(hashlib.sha256(f"{seed}:{purpose}".encode()).digest()[:8], "little")
    with np.errstate(over="ignore"):
        x = np.uint64(key) + (np.asarray(indices).astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniforms(seed: int, purpose: str, indices: npt.ArrayLike, draws: int) -> npt.NDArray[np.float64]:
    """`draws` numbers in [0, 1) per index. indices: [N]; returns [N, draws]."""
    counters = np.asarray(indices, dtype=np.int64)[:, None] * draws + np.arange(draws)
    return (bits(seed, purpose, counters) >> np.uint64(11)) * 2.0**-53


def permutation(seed: int, purpose: str, count: int) -> IntArray:
    """The numbers 0 ... count - 1 in a random order, [count], int64."""
    return np.argsort(bits(seed, purpose, np.arange(count)), kind="stable")
