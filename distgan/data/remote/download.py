"""One file from the network: bounded in time and size, checked, and under its name only when whole."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distgan.utils.errors import DataError
from distgan.utils.files import atomic_path
from distgan.utils.progress import track
from distgan.utils.safe_io import open_regular

BLOCK = 1 << 18


@dataclass(frozen=True)
class Remote:
    """What is to be had where, and how patient to be."""

    url: str
    md5: str
    limit: int = 1 << 29  # bytes; more than this is not the file
    timeout: float = 30.0  # seconds without a byte
    slow: float = 60.0  # seconds in which at least a BLOCK must come

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def md5(path: Path) -> str:
    """Hex digest, for the checksums that are published as MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fetch(remote: Remote, directory: Path, progress: bool) -> Path:
    """DIRECTORY/NAME, downloaded unless it is there with the right checksum.

    Raises DataError if the network fails or stalls, or the content is short or wrong; then nothing is kept.
    """
    path = directory / remote.name
    if path.is_file() and md5(path) == remote.md5:
        return path
    try:
        with urllib.request.urlopen(remote.url, timeout=remote.timeout) as response:
            directory.mkdir(parents=True, exist_ok=True)
            _sweep(remote, directory)
            with atomic_path(path) as temporary:
                _receive(response, remote, temporary, progress)
    except urllib.error.HTTPError as error:
        raise _failed(remote, f"the server answered {error.code} {error.reason}", directory) from None
    except urllib.error.URLError as error:
        raise _failed(remote, str(error.reason), directory) from None
    except (TimeoutError, http.client.HTTPException, ConnectionError, ValueError) as error:
        raise _failed(remote, str(error) or type(error).__name__, directory) from None
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; give another --download-dir") from None
    return path


def _receive(response: http.client.HTTPResponse, remote: Remote, path: Path, progress: bool) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    length = response.headers["Content-Length"]
    total = int(length) if length else None
    with path.open("wb") as file:
        for block in track(_blocks(response, remote), total, remote.name, "B", enabled=progress, weigh=len):
            file.write(block)
            digest.update(block)
        size = file.tell()
    if total is not None and size != total:
        raise ConnectionError(f"the connection ended after {size:,} of {total:,} bytes")
    if digest.hexdigest() != remote.md5:
        raise ValueError(f"its MD5 is {digest.hexdigest()}, it should be {remote.md5}")


def _sweep(remote: Remote, directory: Path) -> None:
    """Removes what killed downloads have left: hidden files that nobody has written to for an hour."""
    for left in directory.glob(f".{remote.name}.*.tmp"):
        if time.time() - left.stat().st_mtime > 3600:
            left.unlink(missing_ok=True)


def _blocks(response: http.client.HTTPResponse, remote: Remote) -> Iterator[bytes]:
    received, mark, since = 0, 0, time.monotonic()
    while block := _read(response):
        received += len(block)
        if received > remote.limit:
            raise TimeoutError(f"it is larger than {remote.limit:,} bytes")
        if time.monotonic() - since > remote.slow:
            if received - mark < BLOCK:
                raise TimeoutError(f"less than {BLOCK:,} bytes came in {remote.slow:.0f} s")
            mark, since = received, time.monotonic()
        yield block


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(BLOCK)
    except OSError as error:  # timeouts, resets, TLS: the network's, not the disk's
        raise ConnectionError(str(error) or type(error).__name__) from None


def _failed(remote: Remote, reason: str, directory: Path) -> DataError:
    return DataError(
        f"{remote.url} could not be downloaded: {reason}; try again, or get {remote.name} another way and pass "
        f"--from PATH (or put it in {directory})"
    )
