"""A directory behind a URL: names in, complete and checked files out, with retries, pauses and an optional cache.

Every attempt begins at the first byte of a file. A file with another size or checksum than expected is never handed
out.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from distgan.data.bad_samples import warn
from distgan.data.remote.cache import open_cached
from distgan.data.remote.http import http_blocks
from distgan.data.remote.object_stores import object_blocks, object_names
from distgan.data.remote.s3 import s3_blocks, s3_names
from distgan.data.remote.transfer import FetchError, save_blocks
from distgan.utils.counter_rng import uniforms
from distgan.utils.errors import DataError
from distgan.utils.files import atomic_path, md5_of, sha256_of
from distgan.utils.progress import track

T = TypeVar("T")
FIRST_PAUSE = 0.5  # seconds before the second try, on average; doubled before each further try
MAX_PAUSE = 30.0  # seconds, on average


class NotThere(DataError):
    """A server has no file of this name."""


@dataclass(frozen=True)
class RemoteStore:
    """The directory at a URL (http, https, s3, hf, gs, az), and how patiently to fetch from it."""

    url: str
    tries: int = 5
    stall_seconds: float = 30.0
    """Time without a byte, or with less than 1 KiB/s, after which a try has failed."""
    cache: Path | None = None
    """Directory in which `open` keeps files; None: it fetches them every time."""

    def __str__(self) -> str:
        return self.url

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    @property
    def can_list(self) -> bool:
        """Whether the server tells what is there; a web server does not."""
        return self.scheme not in ("http", "https")

    def names(self) -> list[str]:
        """The sorted names of the files in this directory. Raises DataError naming URL and cause."""
        listing = s3_names if self.scheme == "s3" else object_names
        return self._retry(self.url, lambda: listing(self.url, self.stall_seconds))

    def read(self, name: str, max_bytes: int) -> bytes:
        """Returns the content of a small file. Raises NotThere, or another DataError naming URL and cause."""
        file = io.BytesIO()
        self._fetch(name, file, max_bytes)
        return file.getvalue()

    def open(self, name: str, size: int, sha256: str) -> BinaryIO:
        """Opens a file of this size and sha256: from the cache, or a temporary one without a name.

        Raises DataError naming URL and cause.
        """

        def fill(file: BinaryIO) -> None:
            self._fetch(name, file, size, lambda: _check_shard(file, size, sha256))

        return _temporary(fill) if self.cache is None else open_cached(self.cache, size, sha256, fill)

    def open_unknown(self, name: str, max_bytes: int) -> tuple[BinaryIO, int, str]:
        """Fetches a file of at most `max_bytes` bytes: open at its start, its bytes and its sha256.

        It is kept in the cache, if there is one, for the next `open`. Raises DataError naming URL and cause.
        """
        file = _temporary(lambda target: self._fetch(name, target, max_bytes))
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        digest = sha256_of(file)
        file.seek(0)
        if self.cache is None:
            return file, size, digest
        with file:
            return open_cached(self.cache, size, digest, lambda target: shutil.copyfileobj(file, target)), size, digest

    def download(self, name: str, path: Path, size: int, md5: str, progress: bool) -> None:
        """Fetches a file of at most `size` bytes and this MD5 to `path`, which appears when it is complete.

        Raises DataError naming URL and cause; OSError if `path` cannot be written. Then nothing is kept.
        """

        def check() -> None:
            file.seek(0)
            if (digest := md5_of(file)) != md5:
                raise FetchError(f"its MD5 is {digest}, it should be {md5}")

        with atomic_path(path) as temporary, temporary.open("w+b") as file:
            self._fetch(name, file, size, check, progress)

    def _fetch(
        self, name: str, file: BinaryIO, max_bytes: int, check: Callable[[], object] = bool, progress: bool = False
    ) -> None:
        """Fills a file, which is empty before each try. check: raises FetchError for content that is wrong."""
        url = f"{self.url}/{name}"

        def attempt() -> None:
            file.seek(0)
            file.truncate()
            with closing(_blocks(url, self.stall_seconds)) as blocks:
                save_blocks(track(blocks, max_bytes, name, "B", enabled=progress, weigh=len), file, max_bytes)
            check()

        self._retry(url, attempt)

    def _retry(self, url: str, attempt: Callable[[], T]) -> T:
        """The result of `attempt`, called until it succeeds. Raises DataError after the last try."""
        for number in itertools.count(1):
            try:
                return attempt()
            except FetchError as error:
                if error.permanent or number == self.tries:
                    tries = f" ({number} tries)" if number > 1 else ""
                    kind = NotThere if error.missing else DataError
                    raise kind(f"{url} cannot be fetched{tries}: {error}") from None
                pause = _pause(url, number)
                warn(f"{url}: {error}; trying again in {pause:.1f} s, {number} of {self.tries} tries are over")
                time.sleep(pause)
        raise AssertionError


Location = Path | RemoteStore
"""The place of a data set: a directory, or a store behind a URL."""


def _blocks(url: str, stall_seconds: float) -> Generator[bytes, None, None]:
    scheme = url.partition("://")[0]
    get = {"http": http_blocks, "https": http_blocks, "s3": s3_blocks}.get(scheme, object_blocks)
    return get(url, stall_seconds)


def _check_shard(file: BinaryIO, size: int, sha256: str) -> None:
    """Raises FetchError for another size or sha256."""
    if (received := file.tell()) < size:
        raise FetchError(f"it has {received:,} bytes, its manifest says {size:,}")
    file.seek(0)
    if sha256_of(file) != sha256:
        raise FetchError("its sha256 is not the manifest's")


def _temporary(fill: Callable[[BinaryIO], None]) -> BinaryIO:
    """A filled file without a name, at its start. Raises DataError if there is no room for it."""
    try:
        file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (the caller closes it)
    except OSError as error:
        raise _no_space(error) from None
    try:
        fill(file)
        file.seek(0)
    except OSError as error:
        file.close()
        raise _no_space(error) from None
    except BaseException:
        file.close()
        raise
    return file


def _pause(url: str, number: int) -> float:
    """Returns the seconds to wait after try `number`; they differ by shard and rank, to spread the requests."""
    spread = float(uniforms(int(os.environ.get("RANK", "0")), url, [number], 1)[0, 0])
    return min(FIRST_PAUSE * 2.0 ** min(number - 1, 30), MAX_PAUSE) * (0.5 + spread)


def _no_space(error: OSError) -> DataError:
    return DataError(
        f"a shard cannot be kept in {tempfile.gettempdir()} while it is read: {error.strerror}; "
        "set TMPDIR to a place with room, or data.cache"
    )
