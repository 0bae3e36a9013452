"""What a generator's name means: a path here, the one that comes with distgan, or a repository on the Hub.

A repository is downloaded once and then cached.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from distgan.config.schema import HUB
from distgan.inference.hub.client import hub_errors, library
from distgan.utils.errors import ExportError
from distgan.utils.safe_io import printable
from distgan.utils.system import cache_home

MODEL, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
SCHEME = "hf://"
PAGES = ("https://huggingface.co/", "http://huggingface.co/", "https://hf.co/", "huggingface.co/", "hf.co/")
FILES = (".safetensors", ".pt2", ".pt", ".pth", ".ckpt", ".onnx", ".bin", ".pkl")  # no repository's name ends so
OWNER_NAME = re.compile(r"[A-Za-z0-9_-][\w.-]*/[A-Za-z0-9_-][\w.-]*", re.ASCII)
PART = re.compile(r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?", re.ASCII)
RUNS = "runs"  # where runs lie: runs/NAME is a mistyped path, and hf://runs/NAME a repository
MAX_ID = 96  # characters


class Repository(NamedTuple):
    """A repository on the Hub; revision: a branch, tag or commit, None: main."""

    id: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.id} at revision {self.revision}" if self.revision else self.id


DEMO = Repository("demo")  # the generator that comes with distgan
DEMO_FILE = Path(__file__).parents[2] / "assets" / "cifar10_small.safetensors"


def repository_of(given: str | Path, revision: str | None = None) -> Repository | None:
    """The repository that a name means, None: it is a path here.

    `demo` is the generator that comes with distgan, unless something here is called so.
    hf://OWNER/NAME[@REVISION] always means one; OWNER/NAME does where nothing of this name is here, and no directory
    OWNER, and OWNER is not `runs`. Raises ExportError: a malformed name after hf://, a web page, a revision of a path.
    """
    text = str(given)
    if isinstance(given, str) and text.startswith((SCHEME, *PAGES)):
        return _by_address(text, revision)
    if isinstance(given, str) and text == DEMO.id and revision is None and not os.path.lexists(text):
        return DEMO
    owner = text.partition("/")[0]
    if (
        isinstance(given, str)
        and OWNER_NAME.fullmatch(text)
        and not text.startswith(".")
        and not text.endswith(FILES)
        and not os.path.lexists(text)
        and not os.path.isdir(owner)
        and owner != RUNS
    ):
        return Repository(check_id(text), revision)
    if revision is not None:
        shown = printable(revision)
        raise ExportError(
            f"revision={shown} goes with a repository on the Hub, but {text} is a local path; leave it out"
        )
    return None


def _by_address(text: str, revision: str | None) -> Repository:
    found = HUB.fullmatch(text)
    if found is None:
        path = re.sub(r"^(hf://|https?://)?((huggingface|hf)\.co/)?(models/)?", "", text).partition("@")[0].rstrip("/")
        near = f"{SCHEME}{nearest_id('/'.join(path.split('/')[:2]))}"
        raise ExportError(f"{text} is no repository's name; write hf://OWNER/NAME[@REVISION], nearest: {near}")
    if found["revision"] and revision is not None:
        raise ExportError(f"{text} names a revision, and revision={printable(revision)} another; leave one out")
    return Repository(check_id(found["repository"]), found["revision"] or revision)


def check_id(text: str) -> str:
    """OWNER/NAME as the Hub takes it; `hf://` before it is left out. Raises ExportError with the nearest one."""
    name = text.removeprefix(SCHEME)
    owner, slash, rest = name.partition("/")
    fit = PART.fullmatch(owner) and PART.fullmatch(rest) and not re.search(r"--|\.\.|\.git$", name)
    if not (slash and fit and len(name) <= MAX_ID):
        rule = "letters, digits, -, _ and ., none of - and . at an end or twice in a row, at most 96 characters"
        raise ExportError(f"'{text}' is no repository's name: OWNER/NAME, of {rule}; nearest: {nearest_id(name)}")
    return name


def nearest_id(text: str) -> str:
    """A name that `check_id` takes, made of text."""
    parts = text.removeprefix(SCHEME).strip("/").split("/")
    parts = [re.sub(r"-{2,}|\.{2,}", "-", re.sub(r"[^\w.-]+", "-", part, flags=re.ASCII)) for part in parts]
    parts = [re.sub(r"(\.git)+$", "", part).strip("-.")[:40].strip("-.") for part in parts]
    parts = [part for part in parts if part]
    return "/".join(["OWNER", "NAME"] if not parts else ["OWNER", parts[0]] if len(parts) == 1 else parts[-2:])


def find(path_or_repo_id: str | Path, revision: str | None = None) -> Path:
    """The generator file of a local directory, or of a repository on the Hub (downloaded once, then cached).

    Raises ExportError: no such directory or repository, no generator in it, or no network.
    """
    text = str(path_or_repo_id)
    path = Path(os.path.expanduser(path_or_repo_id))
    if os.path.exists(path) and not text.startswith(SCHEME):  # False, not an error, for a name that is too long
        repository_of(path, revision)
        if path.is_dir() and not (path / MODEL).is_file():
            raise ExportError(
                f"there is no {MODEL} in {text}; write one with `load_generator(FILE).save_pretrained(DIR)`"
            )
        return path / MODEL if path.is_dir() else path
    if found := repository_of(path_or_repo_id, revision):
        return fetch(found)
    raise ExportError(f"there is no directory {text}; give one that `save_pretrained` wrote, or hf://OWNER/NAME")


def fetch(repository: Repository) -> Path:
    """The generator file of a repository (downloaded once, then cached). Raises ExportError."""
    if repository == DEMO:
        return DEMO_FILE
    return download(*repository, f"{repository} is not a directory here, and {MODEL}")


def download(repo_id: str, revision: str | None, what: str) -> Path:
    """The generator file of a repository on the Hub (downloaded once, then cached).

    what: begins the sentence of a failure. Raises ExportError.
    """
    hf_hub_download = library("a repository on the Hub").hf_hub_download
    if cache_home() is None and not any(os.environ.get(name) for name in ("HF_HOME", "HF_HUB_CACHE")):
        raise ExportError(f"{repo_id} cannot be downloaded: there is no home directory to keep it in; set HF_HOME")
    with hub_errors(f"{what} cannot be downloaded from the Hub"):
        return Path(hf_hub_download(repo_id, MODEL, revision=revision))
