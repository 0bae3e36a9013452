"""A data set's repository on the Hugging Face hub: its files by name, each downloaded into the hub's own cache.

huggingface_hub keeps them (HF_HOME), and takes the token from the environment or its login.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from distgan.data.remote.object_stores import fetch_error
from distgan.utils.errors import DataError


class NotOnHub(DataError):
    """A repository, a branch or a file is not on the hub."""


@dataclass(frozen=True)
class HubFiles:
    """The files of a repository at one commit."""

    repository: str
    commit: str
    names: tuple[str, ...]

    @classmethod
    def at(cls, repository: str, revision: str | None, below: str) -> HubFiles:
        """Lists a repository. below: a folder or a file in it; empty for all of it. Raises DataError."""
        place = f"{repository} at {revision}" if revision else repository
        with _errors(f"{place} is no directory here, and cannot be listed on the hub"):
            info = _library().HfApi().dataset_info(repository, revision=revision)
            names = [str(each.rfilename) for each in info.siblings or ()]
        inside = tuple(name for name in names if not below or name == below or name.startswith(f"{below}/"))
        return cls(repository, str(info.sha), inside)

    def __str__(self) -> str:
        return self.repository

    def path_of(self, name: str) -> Path:
        """Downloads a file, unless it is in the cache. Raises DataError."""
        with _errors(f"{self.repository}: {name} cannot be downloaded"):
            return Path(_library().hf_hub_download(self.repository, name, repo_type="dataset", revision=self.commit))

    def digest(self, names: Sequence[str]) -> str:
        """What changes with some of the files."""
        return hashlib.sha256("\0".join((self.repository, self.commit, *names)).encode()).hexdigest()


def cache_of(repository: str) -> Path:
    """Where huggingface_hub keeps the files of a data set."""
    return Path(import_module("huggingface_hub.constants").HF_HUB_CACHE) / f"datasets--{repository.replace('/', '--')}"


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Turns an error of huggingface_hub into a DataError: the sentence, and the reason in brackets, without its text.

    The texts of the libraries may hold signed addresses and other secrets.
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError:
        raise DataError(
            f"{what}: its owner wants the terms accepted on the hub first, and a token (HF_TOKEN)"
        ) from None
    except LocalEntryNotFoundError:
        raise DataError(f"{what} (the hub cannot be reached, and it is not in the cache)") from None
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError):
        raise NotOnHub(f"{what}: it is not on the hub under this name, or needs a token (HF_TOKEN)") from None
    except Exception as error:  # the HTTP library's own classes differ between versions of huggingface_hub
        local = error.strerror if isinstance(error, OSError) else None  # of the cache's disk, or of a socket
        reason = local or fetch_error("hf", error)
        raise DataError(f"{what} ({reason}); a directory of its parquet files works as well") from None


def _library() -> Any:
    return import_module("huggingface_hub")
