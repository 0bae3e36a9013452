"""Reads CIFAR's pickled batches without running what is in them.

A pickle may name any function and call it. Here the few names that a CIFAR batch needs stand for harmless look-alikes
of this file, and every other name is refused, so no function of NumPy or Python is ever called by the pickle.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from distgan.errors import DataError


class _Named:
    """A value that a pickle may refer to, but not change."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function")


class _Bytes(_Named):
    """_codecs.encode and bytes: how newer Pythons write bytes in old protocols."""

    __slots__ = ()

    def __call__(self, text: str = "", encoding: str = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise pickle.UnpicklingError("it encodes something other than latin1 text")
        return text.encode("latin1")


class _Dtype(_Named):
    """numpy.dtype, and the only one there is here: unsigned bytes."""

    __slots__ = ()

    def __call__(self, kind: Any, *flags: Any) -> _Dtype:
        if kind not in ("u1", b"u1", "|u1", b"|u1"):
            raise pickle.UnpicklingError(f"its pictures have numbers of kind {kind!r}, not unsigned bytes")
        return self

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like: nothing that matters to bytes."""


class _Reconstruct(_Named):
    """numpy's _reconstruct: an empty array that is filled by a state."""

    __slots__ = ()

    def __call__(self, *ignored: Any) -> _Array:
        return _Array()


class _Array:
    """Stands for a uint8 array; the state that follows in the pickle brings shape and bytes."""

    __slots__ = ("pixels",)

    def __init__(self) -> None:
        self.pixels: npt.NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes) or len(shape) != 2:
            raise pickle.UnpicklingError("its pictures are not a table of bytes")
        if any(type(n) is not int or n < 0 for n in shape) or math.prod(shape) != len(raw):
            raise pickle.UnpicklingError(f"its table of {shape} does not fit its {len(raw)} bytes")
        self.pixels = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")  # NumPy 1 and 2
_NAMES: dict[tuple[str, str], _Named] = {
    ("_codecs", "encode"): _Bytes(),
    ("__builtin__", "bytes"): _Bytes(),
    ("builtins", "bytes"): _Bytes(),
    ("numpy", "dtype"): _Dtype(),
    ("numpy", "ndarray"): _Named(),
    **{(module, "_reconstruct"): _Reconstruct() for module in _ARRAYS},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no CIFAR batch needs")
        return _NAMES[module, name]


def read_batch(content: bytes, what: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Pixels [N, 3072] (red, green and blue planes) and labels [N] in 0 ... 9 of one pickled batch.

    what: names the batch in errors. Raises DataError for anything but a well-formed batch.
    """
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{what} is damaged or was not made by CIFAR's authors: {reason}; get the archive anew"
        ) from None
    table = batch.get(b"data") if isinstance(batch, dict) else None
    labels = batch.get(b"labels") if isinstance(batch, dict) else None
    if not isinstance(table, _Array) or table.pixels is None or not isinstance(labels, list):
        raise DataError(f"{what} is no CIFAR-10 batch: it needs 'data' (a table) and 'labels' (a list)")
    if table.pixels.shape != (len(labels), 3072):
        raise DataError(f"{what} holds a table of {table.pixels.shape} for {len(labels)} labels; it must be (N, 3072)")
    if not labels or any(type(label) is not int or not 0 <= label <= 9 for label in labels):
        raise DataError(f"{what} holds no label, or one that is not a whole number from 0 to 9")
    return table.pixels, np.array(labels, dtype=np.int64)
