"""One attempt to read one file over the network: an answer in, blocks of bytes out, or `FetchError` with the cause.

No cause repeats the query of a redirection, a password or another secret, or text of the server.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import BinaryIO, Protocol

MAX_BLOCK_BYTES = 1 << 18  # of one read
MIN_BYTES_PER_SECOND = 1024  # less than this on average over `stall_seconds` is a stall
RETRY_STATUSES = (408, 425, 429, 500, 502, 503, 504)  # answers that may change within moments


class FetchError(Exception):
    """A failed attempt."""

    def __init__(self, reason: str, permanent: bool = False, missing: bool = False) -> None:
        """permanent: another attempt would fail in the same way; missing: because there is no such file."""
        super().__init__(reason)
        self.permanent, self.missing = permanent, missing


class Body(Protocol):
    """The body of an answer."""

    def read1(self, size: int, /) -> bytes:
        """Returns at most `size` bytes, as soon as there are any; none at the end."""
        ...


def read_blocks(body: Body, length: int | None, stall_seconds: float) -> Iterator[bytes]:
    """Yields the bytes of an answer. Raises FetchError if it is cut short or too slow.

    length: as the answer announces it. One read may take as long as the timeout of the connection, which the caller
    sets to `stall_seconds` too.
    """
    received, mark, since = 0, 0, time.monotonic()
    while block := body.read1(MAX_BLOCK_BYTES):
        received += len(block)
        if (passed := time.monotonic() - since) > stall_seconds:
            if received - mark < MIN_BYTES_PER_SECOND * passed:
                raise FetchError(f"it stalled: {received - mark:,} bytes came in {passed:.3g} s")
            mark, since = received, time.monotonic()
        yield block
    if length is not None and received < length:
        raise FetchError(f"it was cut short: {received:,} of {length:,} bytes came")


def timeout_error(stall_seconds: float) -> FetchError:
    """Returns the error of a connection on which no byte came for `stall_seconds`."""
    return FetchError(f"it stalled: nothing came for {stall_seconds:g} s")


def save_blocks(blocks: Iterator[bytes], file: BinaryIO, max_bytes: int) -> None:
    """Writes blocks to a file. Raises FetchError if they have more than `max_bytes`; OSError of the file."""
    size = 0
    for block in blocks:
        size += len(block)
        if size > max_bytes:
            raise FetchError(f"it has more than {max_bytes:,} bytes, which is all that it should have")
        file.write(block)
