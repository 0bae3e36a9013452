"""One try at one file over the network: an answer in, blocks of bytes out, or `Failure` with the cause.

No cause holds the query of a redirection, a password or another secret, nor text of the server's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import BinaryIO, Protocol

BLOCK = 1 << 18  # bytes read at a time, at most
SLOWEST = 1024  # bytes per second; less over the whole of `stall_seconds` is a stall
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # answers that may be others a moment later


class Failure(Exception):
    """A try that failed. lasting: another one would fail in the same way."""

    def __init__(self, reason: str, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


class Body(Protocol):
    """What an answer is read from: at most `size` bytes at once, as soon as there are any; none at its end."""

    def read1(self, size: int, /) -> bytes: ...


def blocks(body: Body, length: int | None, stall_seconds: float) -> Iterator[bytes]:
    """The bytes of an answer. length: what it says it has. Raises Failure if it is cut short or too slow.

    One read may wait as long as the connection's timeout, which the caller sets to `stall_seconds` too.
    """
    received, mark, since = 0, 0, time.monotonic()
    while block := body.read1(BLOCK):
        received += len(block)
        if (passed := time.monotonic() - since) > stall_seconds:
            if received - mark < SLOWEST * passed:
                raise Failure(f"it stalled: {received - mark:,} bytes came in {passed:.3g} s")
            mark, since = received, time.monotonic()
        yield block
    if length is not None and received < length:
        raise Failure(f"it was cut short: {received:,} of {length:,} bytes came")


def silent(stall_seconds: float) -> Failure:
    return Failure(f"it stalled: nothing came for {stall_seconds:g} s")


def save(parts: Iterator[bytes], into: BinaryIO, limit: int) -> int:
    """Writes at most `limit` bytes; returns their number. Raises Failure if there are more."""
    size = 0
    for block in parts:
        size += len(block)
        if size > limit:
            raise Failure(f"it has more than {limit:,} bytes, which is all that it should have")
        into.write(block)
    return size
