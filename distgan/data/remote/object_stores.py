"""GET and list through fsspec: hf://datasets/OWNER/NAME/..., gs://BUCKET/... and az://CONTAINER/... in, blocks out.

hf:// comes with huggingface_hub; `pip install "distgan[gcs]"` or `"distgan[azure]"` installs the others. Tokens come
from the environment (HF_TOKEN, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_...) or the libraries' own logins.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from distgan.data.remote.transfer import RETRY_STATUSES, FetchError, read_blocks, timeout_error
from distgan.utils.background import CallTimeout, call_with_timeout

T = TypeVar("T")
BLOCK_BYTES = 4 << 20  # of one request
EXTRAS = {"gs": "gcs", "az": "azure"}
OPTIONS: dict[str, dict[str, Any]] = {"az": {"anon": False}}
CREDENTIALS = {
    "hf": "set HF_TOKEN",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


def object_blocks(url: str, stall_seconds: float) -> Generator[bytes, None, None]:
    """Yields the object at `url`. Raises FetchError."""
    file = _asked(url, stall_seconds, lambda: _file_system(url).open(url, "rb", block_size=BLOCK_BYTES))
    try:
        body = _Body(lambda size: _asked(url, stall_seconds, lambda: file.read(size)))
        yield from read_blocks(body, file.size, stall_seconds)
    finally:
        file.close()


def object_names(url: str, stall_seconds: float) -> list[str]:
    """The sorted names of the objects right below `url`. Raises FetchError."""
    found = _asked(url, stall_seconds, lambda: _file_system(url).ls(url, detail=True, refresh=True))
    return sorted(entry["name"].rpartition("/")[2] for entry in found if entry["type"] == "file")


class _Body:
    """An open object as `read_blocks` takes it."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def read1(self, size: int, /) -> bytes:
        return self._read(size)


def _file_system(url: str) -> Any:
    """The file system of a URL, new for each call: one of another process must not be used after a fork."""
    import fsspec  # huggingface_hub needs it too

    scheme = url.partition("://")[0]
    try:
        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **OPTIONS.get(scheme, {}))
    except ImportError:
        raise FetchError(
            f'{scheme}:// needs an extra; pip install "distgan[{EXTRAS[scheme]}]"', permanent=True
        ) from None


def _asked(url: str, stall_seconds: float, call: Callable[[], T]) -> T:
    """The result of a call, which has `stall_seconds` for it. Raises FetchError."""
    try:
        return call_with_timeout(stall_seconds, call)
    except CallTimeout:
        raise timeout_error(stall_seconds) from None
    except Exception as error:
        raise fetch_error(url.partition("://")[0], error) from None


def fetch_error(scheme: str, error: BaseException) -> FetchError:
    """The errors of the libraries by their meaning; their texts may hold secrets and are not repeated."""
    if isinstance(error, FetchError):
        return error
    if isinstance(error, FileNotFoundError):
        return FetchError("there is no such file or directory", permanent=True, missing=True)
    status = _status(error)
    if isinstance(error, PermissionError) or status in (401, 403):
        return FetchError(f"access is denied; {CREDENTIALS[scheme]}", permanent=True)
    if status is not None:
        return FetchError(f"the server answered {status}", status not in RETRY_STATUSES, missing=status == 404)
    if isinstance(error, (ValueError, TypeError)):
        advice = f"is the address right? For access, {CREDENTIALS[scheme]}"
        return FetchError(f"{scheme}:// cannot be asked for it ({type(error).__name__}); {advice}", permanent=True)
    strerror = error.strerror if isinstance(error, OSError) else None
    return FetchError(f"the connection failed: {strerror or type(error).__name__}")


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error of a library carries."""
    for value in (getattr(error, "status", None), getattr(error, "code", None), getattr(error, "status_code", None)):
        if isinstance(value, int) and 300 <= value < 600:
            return value
    answer = getattr(error, "response", None)
    value = getattr(answer, "status_code", None)
    return value if isinstance(value, int) else None
