"""Reads the pickled batches of CIFAR's python archive, without Python's unpickler.

A pickle is a program that may call any function. The machine in this file knows only the instructions that a CIFAR
batch needs, and replaces the few functions and classes that a batch refers to by classes of this file; it refuses
everything else. So a pickle never calls a function of NumPy or Python, and its length limits the memory it can use.
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

MAX_STEPS = 1_000_000  # instructions; an official batch has about 40,000, CIFAR-100's largest 250,000

_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_TEXTS = {"BINSTRING", "SHORT_BINSTRING"}  # Python 2's bytes
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_CORES = ("numpy.core", "numpy._core")  # NumPy 1 and 2
_NAMES = {
    "_codecs.encode": "bytes",
    "__builtin__.bytes": "bytes",
    "builtins.bytes": "bytes",
    "numpy.dtype": "dtype",
    "numpy.ndarray": "class",
    **{f"{core}.multiarray._reconstruct": "array" for core in _CORES},
    **{f"{core}.numeric._frombuffer": "filled" for core in _CORES},  # protocol 5
}


class _Refused(Exception):
    """The reason for not reading a pickle."""


class _Name:
    """A function or class that a pickle may refer to and call, but not change."""

    __slots__ = ("role",)

    def __init__(self, role: str) -> None:
        self.role = role


class _Dtype:
    """The only dtype that a pickle can make: unsigned bytes."""

    __slots__ = ()


class _Array:
    """Stands for a uint8 array; `fill` gets its shape and bytes from the pickle."""

    __slots__ = ("pixels",)

    def __init__(self) -> None:
        self.pixels: npt.NDArray[np.uint8] | None = None

    def fill(self, shape: Any, dtype: Any, raw: Any, fortran: bool) -> None:
        if type(dtype) is not _Dtype or type(raw) is not bytes or type(shape) is not tuple or len(shape) != 2:
            raise _Refused("its images are not a table of bytes")
        if any(type(n) is not int or n < 0 for n in shape):
            raise _Refused("its images are not a table of bytes")
        if math.prod(shape) != len(raw):
            raise _Refused(f"its table of {shape} does not fit its {len(raw)} bytes")
        self.pixels = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Machine:
    """Runs one pickle: a stack, a memo, and one method per kind of instruction."""

    def __init__(self, content: bytes) -> None:
        self.content, self.stack, self.memo = content, list[Any](), dict[int, Any]()
        self.marks: list[int] = []
        self.encodable = len(content)  # bytes that it may still encode

    def run(self) -> Any:
        """Returns the value of the pickle. Raises _Refused, or whatever a damaged pickle causes."""
        for step, (instruction, argument, _) in enumerate(pickletools.genops(self.content)):
            if step >= MAX_STEPS:
                raise _Refused(f"it has more than {MAX_STEPS:,} instructions")
            execute = _INSTRUCTIONS.get(instruction.name)
            if execute is None:
                raise _Refused(f"it has the instruction {instruction.name}, which no CIFAR batch needs")
            execute(self, argument)
        return self.stack.pop()

    def ignore(self, _argument: Any) -> None:
        """Does nothing: PROTO, FRAME and STOP."""

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_bytes(self, text: str) -> None:
        self.stack.append(text.encode("latin1"))

    def push_bytearray(self, value: bytearray) -> None:
        self.stack.append(bytes(value))

    def store(self, index: int | None) -> None:
        """Remembers the top of the stack. index: None takes the next free one."""
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def recall(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def mark(self, _argument: Any) -> None:
        self.marks.append(len(self.stack))

    def push_tuple(self, _argument: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def push_list(self, _argument: Any) -> None:
        self.stack.append(self._since_mark())

    def push_dict(self, _argument: Any) -> None:
        items = self._since_mark()
        self.stack.append({})
        self._set(items)

    def set_item(self, _argument: Any) -> None:
        self._set(self.pop(2))

    def set_items(self, _argument: Any) -> None:
        self._set(self._since_mark())

    def append(self, _argument: Any) -> None:
        self._extend(self.pop(1))

    def append_all(self, _argument: Any) -> None:
        self._extend(self._since_mark())

    def push_global(self, names: str) -> None:
        self.stack.append(self._named(names.replace(" ", ".", 1)))

    def push_stack_global(self, _argument: Any) -> None:
        self.stack.append(self._named(".".join(self.pop(2))))

    def call(self, _argument: Any) -> None:
        called, arguments = self.pop(2)
        self.stack.append(self._call(called, arguments))

    def build(self, _argument: Any) -> None:
        (state,) = self.pop(1)
        target = self.stack[-1]
        if type(target) is _Array:
            _, shape, dtype, fortran, raw = state
            target.fill(shape, dtype, raw, fortran is True)
        elif type(target) is not _Dtype:  # a dtype's state is its byte order and the like, which does not matter here
            raise _Refused("it changes a function")

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise _Refused("it takes values from an empty stack")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise _Refused("it appends to something that is not a list")
        self.stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        """Adds items to a dict. Keys must be text: hashing a tuple that holds itself many times takes forever."""
        keys, values = items[::2], items[1::2]
        if type(self.stack[-1]) is not dict or any(type(key) not in (bytes, str) for key in keys):
            raise _Refused("it has a key that is not text")
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
                raise _Refused("its images have numbers of another type, not unsigned bytes")
            return _Dtype()
        if role == "array":
            return _Array()
        if role == "filled":
            raw, dtype, shape, order = arguments
            array = _Array()
            array.fill(shape, dtype, raw, order == "F")
            return array
        raise _Refused("it calls something that is not a function")

    def _encode(self, text: Any = "", encoding: Any = "latin1") -> bytes:
        """Executes _codecs.encode or bytes: newer versions of Python write bytes so in old protocols."""
        if type(text) is not str or encoding not in ("latin1", b"latin1"):
            raise _Refused("it encodes something other than latin1 text")
        self.encodable -= len(text)
        if self.encodable < 0:
            raise _Refused("it encodes the same text again and again")
        return text.encode("latin1")


_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(_VALUES, _Machine.push),
    **dict.fromkeys(_TEXTS, _Machine.push_bytes),
    "BYTEARRAY8": _Machine.push_bytearray,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.pop(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.pop(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.pop(3))),
    **dict.fromkeys((*_PUTS, "MEMOIZE"), _Machine.store),
    **dict.fromkeys(_GETS, _Machine.recall),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _Machine.ignore),
    "MARK": _Machine.mark,
    "TUPLE": _Machine.push_tuple,
    "LIST": _Machine.push_list,
    "DICT": _Machine.push_dict,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.append_all,
    "GLOBAL": _Machine.push_global,
    "STACK_GLOBAL": _Machine.push_stack_global,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}


def read_batch(
    content: bytes, name: str, kind: str, label: str, classes: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Returns pixels uint8 [N, 3072] (red, green and blue planes) and labels [N] of one pickled batch.

    name: of the batch, and kind: of the data set, for errors; label: key of the labels, which are below `classes`.
    Raises DataError for anything but a well-formed batch.
    """
    try:
        batch = _Machine(content).run()
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = printable(str(error)) or type(error).__name__
        raise DataError(
            f"{name} is damaged or was not made by CIFAR's authors: {reason}; get the archive again"
        ) from None
    table, labels = (
        batch.get(key.encode(), batch.get(key)) if isinstance(batch, dict) else None for key in ("data", label)
    )
    if not isinstance(table, _Array) or table.pixels is None or not isinstance(labels, list):
        raise DataError(f"{name} is not a {kind} batch: it needs 'data' (a table) and '{label}' (a list)")
    if table.pixels.shape != (len(labels), 3072):
        raise DataError(f"{name} holds a table of {table.pixels.shape} for {len(labels)} labels; it must be (N, 3072)")
    if not labels or any(type(each) is not int or not 0 <= each < classes for each in labels):
        raise DataError(f"{name} holds no label, or one that is not a whole number from 0 to {classes - 1}")
    return table.pixels, np.array(labels, dtype=np.int64)
