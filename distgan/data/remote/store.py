"""A directory behind a URL: names in, complete and checked files out, with retries, pauses and an optional cache.

Every attempt begins at the first byte of a file. A file with another size or checksum than expected is never handed
out.
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
from distgan.data.remote.cache import open_cached
from distgan.data.remote.http import http_blocks
from distgan.data.remote.s3 import s3_blocks
from distgan.data.remote.transfer import FetchError, save_blocks
from distgan.utils.counter_rng import uniforms
from distgan.utils.errors import DataError
from distgan.utils.files import atomic_path, md5_of, sha256_of
from distgan.utils.progress import track

FIRST_PAUSE = 0.5  # seconds before the second try, on average; doubled before each further try
MAX_PAUSE = 30.0  # seconds, on average


@dataclass(frozen=True)
class RemoteStore:
    """The directory at a URL (http://, https:// or s3://), and how patiently to fetch from it."""

    url: str
    tries: int = 5
    stall_seconds: float = 30.0
    """Time without a byte, or with less than 1 KiB/s, after which a try has failed."""
    cache: Path | None = None
    """Directory in which `open` keeps files; None: it fetches them every time."""

    def __str__(self) -> str:
        return self.url

    def read(self, name: str, max_bytes: int) -> bytes:
        """Returns the content of a small file. Raises DataError naming URL and cause."""
        file = io.BytesIO()
        self._retry(name, file, lambda: self._receive(name, file, max_bytes))
        return file.getvalue()

    def open(self, name: str, size: int, sha256: str) -> BinaryIO:
        """Opens a file of this size and sha256: from the cache, or a temporary one without a name.

        Raises DataError naming URL and cause.
        """
        if self.cache is not None:
            return open_cached(self.cache, size, sha256, lambda file: self._fetch_shard(name, file, size, sha256))
        try:
            file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (the caller closes it)
        except OSError as error:
            raise _no_space(error) from None
        try:
            self._fetch_shard(name, file, size, sha256)
            file.seek(0)
        except OSError as error:
            file.close()
            raise _no_space(error) from None
        except BaseException:
            file.close()
            raise
        return file

    def download(self, name: str, path: Path, size: int, md5: str, progress: bool) -> None:
        """Fetches a file of at most `size` bytes and this MD5 to `path`, which appears when it is complete.

        Raises DataError naming URL and cause; OSError if `path` cannot be written. Then nothing is kept.
        """

        def attempt() -> None:
            self._receive(name, file, size, progress)
            file.seek(0)
            if (digest := md5_of(file)) != md5:
                raise FetchError(f"its MD5 is {digest}, it should be {md5}")

        with atomic_path(path) as temporary, temporary.open("w+b") as file:
            self._retry(name, file, attempt)

    def _fetch_shard(self, name: str, file: BinaryIO, size: int, sha256: str) -> None:
        def attempt() -> None:
            self._receive(name, file, size)
            if (received := file.tell()) < size:
                raise FetchError(f"it has {received:,} bytes, its manifest says {size:,}")
            file.seek(0)
            if sha256_of(file) != sha256:
                raise FetchError("its sha256 is not the manifest's")

        self._retry(name, file, attempt)

    def _receive(self, name: str, file: BinaryIO, max_bytes: int, progress: bool = False) -> None:
        url = f"{self.url}/{name}"
        get = s3_blocks if url.startswith("s3://") else http_blocks
        with closing(get(url, self.stall_seconds)) as blocks:
            save_blocks(track(blocks, max_bytes, name, "B", enabled=progress, weigh=len), file, max_bytes)

    def _retry(self, name: str, file: BinaryIO, attempt: Callable[[], None]) -> None:
        """Calls `attempt` until it succeeds, each time with an empty file. Raises DataError after the last try."""
        url = f"{self.url}/{name}"
        for number in range(1, self.tries + 1):
            file.seek(0)
            file.truncate()
            try:
                attempt()
                return
            except FetchError as error:
                if error.permanent or number == self.tries:
                    tries = f" ({number} tries)" if number > 1 else ""
                    raise DataError(f"{url} cannot be fetched{tries}: {error}") from None
                pause = _pause(url, number)
                warn(f"{url}: {error}; trying again in {pause:.1f} s, {number} of {self.tries} tries are over")
                time.sleep(pause)


Location = Path | RemoteStore
"""The place of a data set: a directory, or a store behind a URL."""


def _pause(url: str, number: int) -> float:
    """Returns the seconds to wait after try `number`; they differ by shard and rank, to spread the requests."""
    spread = float(uniforms(int(os.environ.get("RANK", "0")), url, [number], 1)[0, 0])
    return min(FIRST_PAUSE * 2.0 ** min(number - 1, 30), MAX_PAUSE) * (0.5 + spread)


def _no_space(error: OSError) -> DataError:
    return DataError(
        f"a shard cannot be kept in {tempfile.gettempdir()} while it is read: {error.strerror}; "
        "set TMPDIR to a place with room, or data.cache"
    )
