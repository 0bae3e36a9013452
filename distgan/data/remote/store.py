"""A data set behind a URL: names in, whole and checked files out, with tries, pauses and, where wanted, a local cache.

A try always begins at a file's first byte. What has another size or checksum than it should is never handed out.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from distgan.data.bad_samples import warn
from distgan.data.remote.cache import cached
from distgan.data.remote.http import http_blocks
from distgan.data.remote.s3 import s3_blocks
from distgan.data.remote.transfer import Failure, save
from distgan.utils.counter_rng import uniforms
from distgan.utils.errors import DataError
from distgan.utils.files import atomic_path, md5_of, sha256_of
from distgan.utils.progress import track

FIRST_PAUSE = 0.5  # seconds before the second try, within half of it; twice as long before each further one, ...
LONGEST_PAUSE = 30.0  # ... up to this


@dataclass(frozen=True)
class RemoteStore:
    """The directory at a URL, and how to fetch from it."""

    url: str
    tries: int = 5
    stall_seconds: float = 30.0
    cache: Path | None = None

    def __str__(self) -> str:
        return self.url

    def read(self, name: str, limit: int) -> bytes:
        """A small file, up to `limit` bytes. Raises DataError naming URL and cause."""
        file = io.BytesIO()
        self._repeat(name, file, lambda: self._receive(name, file, limit))
        return file.getvalue()

    def open(self, name: str, size: int, sha256: str) -> BinaryIO:
        """A file of this size and checksum, from its start: from the cache, or a temporary one without a name.

        Raises DataError naming URL and cause.
        """
        if self.cache is not None:
            return cached(self.cache, size, sha256, lambda file: self._fetch(name, file, size, sha256))
        try:
            file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (it is the caller's)
        except OSError as error:
            raise _no_room(error) from None
        try:
            self._fetch(name, file, size, sha256)
            file.seek(0)
        except OSError as error:
            file.close()
            raise _no_room(error) from None
        except BaseException:
            file.close()
            raise
        return file

    def download(self, name: str, path: Path, size: int, md5: str, progress: bool) -> None:
        """Fetches a file of at most `size` bytes and this MD5 to `path`, which appears when it is complete.

        Raises DataError naming URL and cause; OSError where `path` cannot be written. Then nothing is kept.
        """

        def once() -> None:
            self._receive(name, file, size, progress)
            file.seek(0)
            if (found := md5_of(file)) != md5:
                raise Failure(f"its MD5 is {found}, it should be {md5}")

        with atomic_path(path) as temporary, temporary.open("w+b") as file:
            self._repeat(name, file, once)

    def _fetch(self, name: str, file: BinaryIO, size: int, sha256: str) -> None:
        def once() -> None:
            received = self._receive(name, file, size)
            if received < size:
                raise Failure(f"it has {received:,} bytes, its manifest says {size:,}")
            file.seek(0)
            if sha256_of(file) != sha256:
                raise Failure("its sha256 is not the manifest's")

        self._repeat(name, file, once)

    def _receive(self, name: str, file: BinaryIO, limit: int, progress: bool = False) -> int:
        url = f"{self.url}/{name}"
        ask = s3_blocks if url.startswith("s3://") else http_blocks
        with closing(ask(url, self.stall_seconds)) as parts:
            return save(track(parts, limit, name, "B", enabled=progress, weigh=len), file, limit)

    def _repeat(self, name: str, file: BinaryIO, attempt: Callable[[], object]) -> None:
        """Tries until it works, each time with an empty file."""
        url = f"{self.url}/{name}"
        for number in range(1, self.tries + 1):
            file.seek(0)
            file.truncate()
            try:
                attempt()
                return
            except Failure as failure:
                if failure.lasting or number == self.tries:
                    tried = f" ({number} tries)" if number > 1 else ""
                    raise DataError(f"{url} cannot be fetched{tried}: {failure}") from None
                pause = _pause(url, number)
                warn(f"{url}: {failure}; trying again in {pause:.1f} s, {number} of {self.tries} tries are over")
                time.sleep(pause)


def _pause(url: str, number: int) -> float:
    """Seconds after try `number`; differs by shard and rank, so that not all come back at once."""
    spread = float(uniforms(int(os.environ.get("RANK", "0")), url, [number], 1)[0, 0])
    return min(FIRST_PAUSE * 2.0 ** min(number - 1, 30), LONGEST_PAUSE) * (0.5 + spread)


def _no_room(error: OSError) -> DataError:
    return DataError(
        f"a shard cannot be kept in {tempfile.gettempdir()} while it is read: {error.strerror}; "
        "set TMPDIR to a place with room, or data.cache"
    )
