"""Writes a repository's files, and uploads them in one commit.

Files that the Hub has already are not sent again: it knows them by their SHA-256. So the command that was interrupted
goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from distgan.inference.generator_file import Description, metadata_json, save_generator, writing
from distgan.inference.hub.card import HERE, CardFacts, Place, model_card
from distgan.inference.hub.find import CARD, CONFIG, MODEL
from distgan.inference.hub.library import LOGIN, hub_errors, library
from distgan.utils.errors import ExportError
from distgan.utils.files import atomic_path
from distgan.utils.log import log

AGAIN = "the same command goes on: what the Hub has already is not sent again"


class Pushed(NamedTuple):
    """What an upload did. url: of the commit or pull request; changed: whether a commit was made."""

    url: str
    changed: bool
    kept_card: bool


def save(
    directory: Path,
    weights: Mapping[str, Tensor],
    description: Description,
    facts: CardFacts | None = None,
    place: Place = HERE,
) -> None:
    """Writes model.safetensors, config.json and README.md, each atomically; an existing README.md is kept.

    Raises ExportError if they cannot be written.
    """
    digest = save_generator(directory / MODEL, weights, description)
    _write(directory / CONFIG, metadata_json(description, digest, indent=2) + "\n")
    if not (directory / CARD).exists():
        _write(directory / CARD, model_card(description, digest, facts, place))


def open_repository(repo_id: str, token: str | bool | None, private: bool | None, branch: str | None) -> Any:
    """The Hub's interface, once the repository and the branch are there. Raises ExportError."""
    hub = library("push_to_hub")
    if token is False or (token in (None, True) and hub.get_token() is None):
        raise ExportError(f"{repo_id} cannot be uploaded to the Hub without a token: {LOGIN}")
    api = hub.HfApi(token=token)
    with hub_errors(f"{repo_id} cannot be uploaded to the Hub", "nothing was sent; try again"):
        api.create_repo(repo_id, private=private, exist_ok=True)
        if private and not api.model_info(repo_id).private:
            raise ExportError(
                f"{repo_id} is on the Hub already, and public: private is for a new one; change it on its settings "
                "page, or choose another name; nothing was sent"
            )
        if branch is not None and not api.revision_exists(repo_id, branch):
            api.create_branch(repo_id, branch=branch, exist_ok=True)
    return api


def upload(api: Any, repo_id: str, directory: Path, **commit: Any) -> Pushed:
    """Uploads the files of a directory in one commit; a README.md in the repository is kept.

    commit: revision, commit_message, create_pr. Raises ExportError.
    """
    hub = library("push_to_hub")
    with hub_errors(f"{repo_id} cannot be uploaded to the Hub", AGAIN):
        kept = api.file_exists(repo_id, CARD, revision=commit["revision"])
        files = sorted(path for path in directory.iterdir() if not (kept and path.name == CARD))
        size = sum(path.stat().st_size for path in files)
        log.info("upload: %d files, %.1f MiB, to %s", len(files), size / 2**20, repo_id)
        before = api.model_info(repo_id, revision=commit["revision"]).sha
        operations = [hub.CommitOperationAdd(path.name, path) for path in files]  # upload_folder makes several commits
        done = api.create_commit(repo_id, operations, **commit)
    return Pushed(str(done.pr_url or done.commit_url), done.oid != before, kept)


def _write(path: Path, text: str) -> None:
    with writing(path), atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
