"""Writes a repository's files, and uploads them in one commit.

Files that the Hub has already are not sent again: it knows them by their SHA-256. So the command that was interrupted
goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from distgan.inference.generator_file import Description, metadata_json, save_generator, writing
from distgan.inference.hub.card import HERE, Place, model_card
from distgan.inference.hub.client import LOGIN, hub_errors, library
from distgan.inference.hub.facts import CardFacts, facts_of, renewed
from distgan.inference.hub.find import CARD, CONFIG, MODEL
from distgan.utils.errors import ExportError
from distgan.utils.files import atomic_path
from distgan.utils.log import log
from distgan.utils.safe_io import read_bytes

MESSAGE = "Upload the generator with distgan"
MAX_CARD = 4 << 20  # bytes of a README.md
AGAIN = "the same command goes on: what the Hub has already is not sent again"


@dataclass(frozen=True)
class Target:
    """A repository, and how a commit to it is made. private: of a new one; revision: a branch; None: main."""

    repository: str
    private: bool | None = None
    revision: str | None = None
    message: str = MESSAGE
    create_pr: bool = False
    token: str | bool | None = None
    """None: that of `hf auth login` or HF_TOKEN."""


class Pushed(NamedTuple):
    """What an upload did. url: of the commit or pull request; changed: whether a commit was made.

    facts: of the card; None: the card that was there is kept.
    """

    url: str
    changed: bool
    facts: CardFacts | None


def save(
    directory: Path,
    weights: Mapping[str, Tensor],
    description: Description,
    facts: CardFacts | None = None,
    place: Place = HERE,
) -> None:
    """Writes model.safetensors, config.json and README.md, each atomically.

    A README.md that somebody else has written or edited is kept. Raises ExportError if they cannot be written.
    """
    digest = save_generator(directory / MODEL, weights, description)
    _write(directory / CONFIG, metadata_json(description, digest, indent=2) + "\n")
    with writing(directory / CARD):
        held = read_card(directory / CARD) if os.path.lexists(directory / CARD) else {}
    if held is not None:
        _write(directory / CARD, model_card(description, digest, renewed(held, facts), place))


def read_card(path: Path) -> CardFacts | None:
    """The facts in a card that may be written anew; None: it is somebody's own. Raises OSError."""
    try:
        return facts_of(read_bytes(path, MAX_CARD).decode())
    except ValueError:  # too large, or not UTF-8
        return None


def open_repository(target: Target) -> Any:
    """The Hub's interface, once the repository and the branch are there. Raises ExportError."""
    hub, name = library("push_to_hub"), target.repository
    if target.token is False or (target.token in (None, True) and hub.get_token() is None):
        raise ExportError(f"{name} cannot be uploaded to the Hub without a token: {LOGIN}")
    api = hub.HfApi(token=target.token)
    with hub_errors(f"{name} cannot be uploaded to the Hub", "nothing was sent; try again"):
        api.create_repo(name, private=target.private, exist_ok=True)
        if target.private and not api.model_info(name).private:
            raise ExportError(
                f"{name} is on the Hub already, and public: private is for a new one; change it on its settings "
                "page, or choose another name; nothing was sent"
            )
        if target.revision is not None and not target.create_pr and not api.revision_exists(name, target.revision):
            api.create_branch(name, branch=target.revision, exist_ok=True)
    return api


def held_card(api: Any, target: Target) -> CardFacts | None:
    """As `read_card`, of the repository; no facts where it has no card. Raises ExportError."""
    with hub_errors(f"{target.repository} cannot be uploaded to the Hub", "nothing was sent; try again"):
        if not api.file_exists(target.repository, CARD, revision=target.revision):
            return CardFacts()
        return read_card(Path(api.hf_hub_download(target.repository, CARD, revision=target.revision)))


def upload(api: Any, target: Target, files: Sequence[Path]) -> tuple[str, bool]:
    """Uploads files in one commit; returns its URL, and whether there was something new. Raises ExportError."""
    hub, name = library("push_to_hub"), target.repository
    with hub_errors(f"{name} cannot be uploaded to the Hub", AGAIN):
        size = sum(path.stat().st_size for path in files)
        log.info("upload: %d files, %.1f MiB, to %s", len(files), size / 2**20, name)
        before = api.model_info(name, revision=target.revision).sha
        done = api.create_commit(  # upload_folder would make several commits
            name, [hub.CommitOperationAdd(path.name, path) for path in files], commit_message=target.message,
            revision=target.revision, create_pr=target.create_pr,
        )  # fmt: skip
    return str(done.pr_url or done.commit_url), done.oid != before


def _write(path: Path, text: str) -> None:
    with writing(path), atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
