"""The Hugging Face Hub's layout of a generator: model.safetensors, config.json, README.md.

model.safetensors is the generator file itself, bit for bit; only it is read back, and its digests are checked. The
other two files are for readers. A local path never needs the network.

`Generator` has the methods of huggingface_hub's ModelHubMixin, but not the mixin: as a base class it would be imported
with every `load_generator`; its from_pretrained reads the config.json of a stranger's repository without a limit and
passes the keys to the constructor; its save_pretrained removes config.json before the weights are written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from distgan.inference.generator_file import Description, metadata_json, save_generator, writing
from distgan.utils.errors import ExportError
from distgan.utils.files import atomic_path
from distgan.utils.safe_io import printable
from distgan.utils.system import cache_home

MODEL, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
CARD_TEMPLATE = Path(__file__).with_name("model_card.md.j2")


def save(directory: Path, weights: Mapping[str, Tensor], description: Description) -> None:
    """Writes the three files, each atomically; an existing README.md is kept.

    Raises ExportError if they cannot be written.
    """
    digest = save_generator(directory / MODEL, weights, description)
    _write(directory / CONFIG, metadata_json(description, digest, indent=2) + "\n")
    if not (directory / CARD).exists():
        _write(directory / CARD, model_card(description, digest))


def find(path_or_repo_id: str | Path, revision: str | None = None) -> Path:
    """The generator file of a local directory, or of a repository on the Hub (downloaded once, then cached).

    Raises ExportError: no such directory or repository, no generator in it, or no network.
    """
    text = str(path_or_repo_id)
    path = Path(os.path.expanduser(path_or_repo_id))
    if os.path.exists(path):  # False, not an error, for a name that is too long
        if revision is not None:
            raise ExportError(
                f"revision={revision} goes with a repository on the Hub, but {text} is a local path; leave it out"
            )
        if path.is_dir() and not (path / MODEL).is_file():
            raise ExportError(
                f"there is no {MODEL} in {text}; write one with `load_generator(FILE).save_pretrained(DIR)`"
            )
        return path / MODEL if path.is_dir() else path
    if _is_path(path_or_repo_id):
        raise ExportError(
            f"there is no directory {text}; give one that `save_pretrained` wrote, or a Hub id such as me/cats"
        )
    return download(text, revision, f"{text}{_at(revision)} is not a directory here, and {MODEL}")


def upload(directory: Path, repo_id: str, token: str | bool | None, private: bool | None, **commit: Any) -> str:
    """Uploads a directory that `save` wrote, in one commit, and returns a URL of it; a README.md that is there is kept.

    commit: revision, commit_message, create_pr. Raises ExportError.
    """
    library = _library("push_to_hub")
    with _hub_errors(f"{repo_id} cannot be uploaded to the Hub"):
        api = library.HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        kept = [CARD] if api.file_exists(repo_id, CARD, revision=commit["revision"]) else None
        return str(api.upload_folder(repo_id=repo_id, folder_path=directory, ignore_patterns=kept, **commit))


def model_card(description: Description, digest: str) -> str:
    """The README.md: a YAML header without a license, which the owner chooses, then facts and an example."""
    library = _library("save_pretrained")
    _library("save_pretrained", "jinja2")  # the library imports it for the template
    conditional = description.generator.conditional
    task = "class-conditional-image-generation" if conditional else "unconditional-image-generation"
    classes = f", classes={description.class_names[0]!r}" if conditional else ""
    card = library.ModelCard.from_template(
        library.ModelCardData(
            library_name="distgan", pipeline_tag=None if conditional else task, tags=["gan", "distgan", task]
        ),
        template_path=str(CARD_TEMPLATE),
        size=description.size,
        channels=description.channels,
        conditional=conditional,
        generator=description.generator,
        classes=printable(", ".join(description.class_names), 2000) or "not recorded",
        images_seen=description.images_seen,
        weights=description.weights,
        digest=digest,
        versions=printable(", ".join(f"{name} {version}" for name, version in sorted(description.versions.items()))),
        call=f"g.sample(seeds=range(64){classes})",
    )
    return str(card) + "\n"


def _library(purpose: str, name: str = "huggingface_hub") -> Any:
    """A module, imported when it is needed. Raises ExportError if it is not installed. purpose: what needs it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ExportError(f"{purpose} needs {name}, which cannot be imported ({error}); pip install {name}") from None


def _write(path: Path, text: str) -> None:
    with writing(path), atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _is_path(given: str | Path) -> bool:
    """Whether a name that does not exist here can only be a path, not a Hub id."""
    text = str(given)
    return (
        isinstance(given, Path)
        or text.startswith((".", "~", "/"))
        or text.count("/") > 1
        or "\\" in text
        or text.endswith(("/", ".safetensors"))
    )


def download(repo_id: str, revision: str | None, what: str) -> Path:
    """The generator file of a repository on the Hub (downloaded once, then cached).

    what: begins the sentence of a failure. Raises ExportError.
    """
    fetch = _library("from_pretrained of a repository on the Hub").hf_hub_download
    from huggingface_hub.errors import HFValidationError

    if cache_home() is None and not any(os.environ.get(name) for name in ("HF_HOME", "HF_HUB_CACHE")):
        raise ExportError(f"{repo_id} cannot be downloaded: there is no home directory to keep it in; set HF_HOME")
    with _hub_errors(f"{what} cannot be downloaded from the Hub"):
        try:
            return Path(fetch(repo_id, MODEL, revision=revision))
        except HFValidationError:
            raise ExportError(
                f"'{repo_id}' is neither a directory here nor a Hub id; an id looks like me/cats"
            ) from None


def _at(revision: str | None) -> str:
    return f" at revision {revision}" if revision else ""


@contextmanager
def _hub_errors(sentence: str) -> Iterator[None]:
    """Turns an error of huggingface_hub into an ExportError: the sentence, and the reason in brackets."""
    try:
        yield
    except ExportError:
        raise
    except Exception as error:  # the HTTP library's own classes differ between versions of huggingface_hub
        reason = " ".join(str(error).split())
        raise ExportError(f"{sentence} ({type(error).__name__}: {reason[:300]})") from error
