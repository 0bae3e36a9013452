"""Reads CIFAR's pickled batches without running what is in them, and without Python's unpickler.

A pickle is a program. Here a small machine knows the instructions that a CIFAR batch needs, and the few names that it
refers to stand for look-alikes of this file; everything else is refused. So no function of NumPy or Python is ever
called by the pickle, and what it can make is bounded by its length.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from distgan.utils.errors import DataError
from distgan.utils.safe_io import printable

MAX_STEPS = 500_000  # instructions; an official batch has about 40,000

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict,
}  # fmt: skip
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_TEXTS = {"BINSTRING", "SHORT_BINSTRING"}  # Python 2's bytes
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")  # NumPy 1 and 2
_NAMES = {
    "_codecs.encode": "bytes",
    "__builtin__.bytes": "bytes",
    "builtins.bytes": "bytes",
    "numpy.dtype": "dtype",
    "numpy.ndarray": "class",
    **{f"{module}._reconstruct": "array" for module in _ARRAYS},
}


class _Refused(Exception):
    """Why a pickle is not read on."""


class _Name:
    """Something that a pickle may refer to and call, but not change."""

    __slots__ = ("role",)

    def __init__(self, role: str) -> None:
        self.role = role


class _Dtype:
    """The only dtype there is here: unsigned bytes."""

    __slots__ = ()


class _Array:
    """Stands for a uint8 array; the state that follows in the pickle brings shape and bytes."""

    __slots__ = ("pixels",)

    def __init__(self) -> None:
        self.pixels: npt.NDArray[np.uint8] | None = None

    def fill(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        if type(dtype) is not _Dtype or type(raw) is not bytes or type(shape) is not tuple or len(shape) != 2:
            raise _Refused("its images are not a table of bytes")
        if any(type(n) is not int or n < 0 for n in shape):
            raise _Refused("its images are not a table of bytes")
        if math.prod(shape) != len(raw):
            raise _Refused(f"its table of {shape} does not fit its {len(raw)} bytes")
        self.pixels = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran is True else "C")


class _Machine:
    """Runs one pickle."""

    def __init__(self, content: bytes) -> None:
        self.content, self.stack, self.memo = content, list[Any](), dict[int, Any]()
        self.marks: list[int] = []
        self.left = len(content)  # bytes that it may still encode

    def run(self) -> Any:
        for step, (instruction, argument, _) in enumerate(pickletools.genops(self.content)):
            if step >= MAX_STEPS:
                raise _Refused(f"it has more than {MAX_STEPS:,} instructions")
            self._do(instruction.name, argument)
        return self.stack.pop()

    def _do(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _TEXTS:
            stack.append(argument.encode("latin1"))
        elif name in _PUTS:
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in _GETS:
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(self._take(int(name[-1]))))
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif name == "LIST":
            stack.append(self._since_mark())
        elif name == "DICT":
            items = self._since_mark()
            stack.append({})
            self._set(items)
        elif name == "SETITEM":
            self._set(self._take(2))
        elif name == "SETITEMS":
            self._set(self._since_mark())
        elif name in ("APPEND", "APPENDS"):
            items = self._take(1) if name == "APPEND" else self._since_mark()
            if type(stack[-1]) is not list:
                raise _Refused("it appends to what is no list")
            stack[-1].extend(items)
        elif name == "GLOBAL":
            stack.append(self._named(argument.replace(" ", ".", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(self._named(".".join(self._take(2))))
        elif name == "REDUCE":
            called, arguments = self._take(2)
            stack.append(self._call(called, arguments))
        elif name == "BUILD":
            (state,) = self._take(1)
            self._build(stack[-1], state)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise _Refused(f"it has the instruction {name}, which no CIFAR batch needs")

    def _take(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise _Refused("it takes what is not there")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _set(self, items: list[Any]) -> None:
        """Keys are text only: to hash a tuple that holds itself many times over takes for ever."""
        keys, values = items[::2], items[1::2]
        if type(self.stack[-1]) is not dict or any(type(key) not in (bytes, str) for key in keys):
            raise _Refused("it has a key that is no text")
        self.stack[-1].update(zip(keys, values, strict=True))

    def _named(self, name: str) -> _Name:
        if name not in _NAMES:
            raise _Refused(f"it refers to {printable(name)}, which no CIFAR batch needs")
        return _Name(_NAMES[name])

    def _call(self, called: Any, arguments: Any) -> Any:
        role = called.role if type(called) is _Name and type(arguments) is tuple else ""
        if role == "bytes":
            return self._encode(*arguments)
        if role == "dtype":
            if type(arguments[0]) not in (bytes, str) or arguments[0] not in ("u1", b"u1", "|u1", b"|u1"):
                raise _Refused("its images have numbers of another kind, not unsigned bytes")
            return _Dtype()
        if role == "array":
            return _Array()
        raise _Refused("it calls what is no function")

    def _encode(self, text: Any = "", encoding: Any = "latin1") -> bytes:
        """_codecs.encode and bytes: how newer Pythons write bytes in old protocols."""
        if type(text) is not str or encoding not in ("latin1", b"latin1"):
            raise _Refused("it encodes something other than latin1 text")
        self.left -= len(text)
        if self.left < 0:
            raise _Refused("it encodes the same text again and again")
        return text.encode("latin1")

    def _build(self, target: Any, state: Any) -> None:
        if type(target) is _Array:
            target.fill(state)
        elif type(target) is not _Dtype:  # a dtype's state is its byte order and the like: nothing that matters here
            raise _Refused("it changes a function")


def read_batch(content: bytes, what: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Pixels [N, 3072] (red, green and blue planes) and labels [N] in 0 ... 9 of one pickled batch.

    what: names the batch in errors. Raises DataError for anything but a well-formed batch.
    """
    try:
        batch = _Machine(content).run()
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = printable(str(error)) or type(error).__name__
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
