"""huggingface_hub, imported when it is needed, and its errors as sentences.

The texts of the libraries are not repeated: they may hold signed addresses and other secrets.
"""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from distgan.utils.errors import ExportError
from distgan.utils.safe_io import printable

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
STATUSES = {
    401: f"the token is wrong or has expired; {LOGIN}",
    403: "the token may not do this; take one that may write, and a name that is yours",
    404: "it is not there, or the token may not see it",
    409: "somebody else changes it at this moment; try again",
    413: "the Hub takes no file of this size",
    429: "the Hub takes no more requests for now; try again later",
}


def library(purpose: str, name: str = "huggingface_hub") -> Any:
    """A module, imported when it is needed. Raises ExportError if it is not installed. purpose: what needs it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ExportError(f"{purpose} needs {name}, which cannot be imported ({error}); pip install {name}") from None


@contextmanager
def hub_errors(sentence: str, advice: str = "") -> Iterator[None]:
    """Turns an error of huggingface_hub into an ExportError: the sentence, the reason in brackets.

    advice: after it, where trying again may help.
    """
    try:
        with _own_lines_only():
            yield
    except ExportError:
        raise
    except Exception as error:  # the HTTP library's own classes differ between versions of huggingface_hub
        reason, final = _reason(error)
        more = "" if final or not advice else f"; {advice}"
        raise ExportError(f"{sentence} ({reason}){more}") from None


@contextmanager
def _own_lines_only() -> Iterator[None]:
    """Without huggingface_hub's warnings, which hold signed addresses; with its bars on a terminal only."""
    logger, utils = logging.getLogger("huggingface_hub"), import_module("huggingface_hub.utils")
    level, hide = logger.level, not (sys.stderr.isatty() or utils.are_progress_bars_disabled())
    logger.setLevel(logging.ERROR)
    if hide:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if hide:
            utils.enable_progress_bars()


def _reason(error: BaseException) -> tuple[str, bool]:
    """Why a call of huggingface_hub failed, and whether the same call would fail again."""
    errors: Any = import_module("huggingface_hub.errors")
    while error.__cause__ is not None and (
        isinstance(error, RuntimeError)  # "Error while uploading ..."
        or (isinstance(error, errors.LocalEntryNotFoundError) and _status(error.__cause__) is not None)
    ):
        error = error.__cause__
    known = [
        (errors.GatedRepoError, f"its owner wants the terms on its page accepted first; then {LOGIN}"),
        (errors.RepositoryNotFoundError, f"there is no such repository, or it is private: {LOGIN}"),
        (errors.RevisionNotFoundError, "it has no such branch, tag or commit"),
        (errors.EntryNotFoundError, "there is no such file in it: it is no generator of distgan"),
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE forbids it"),
        (errors.HFValidationError, "this is no name of a repository"),
    ]
    if isinstance(error, errors.LocalEntryNotFoundError):  # also an EntryNotFoundError
        return "the Hub cannot be reached, and it is not in the cache", False
    for kind, reason in known:
        if isinstance(error, kind):
            return reason, True
    status = _status(error)
    if status is not None:
        return f"{status}: {STATUSES.get(status, 'an error of the Hub')}", status < 429
    if isinstance(error, ValueError) and str(error).startswith("Invalid metadata in README.md"):  # the Hub's own words
        return printable(" ".join(str(error).split()), 300), True
    if isinstance(error, OSError) and error.errno and error.strerror and not isinstance(error, ConnectionError):
        return error.strerror, True
    if isinstance(error, ssl.SSLError):
        return "the Hub's certificate is not accepted", True
    return f"the connection failed: {type(error).__name__}", False


def _status(error: BaseException) -> int | None:
    """The HTTP status of the answer that an error of huggingface_hub carries."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
