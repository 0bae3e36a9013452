"""The generator that a command is given: a file, a checkpoint, a run, or a repository on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distgan.cli.export import find, generator_of
from distgan.inference.generator import Generator, load_generator
from distgan.inference.hub.find import MODEL, fetch, repository_of
from distgan.training.checkpoint import storage
from distgan.training.export import BEST, LAST


def open_generator(given: Path | str, trust: Sequence[str]) -> tuple[Generator, str]:
    """The generator, and what it was taken from. Raises CheckpointError, ExportError.

    Of a run the best that evaluation has found, else the averaged weights of its newest checkpoint, else the generator
    that is left there. given: text may be a repository (me/cats, hf://me/cats@v1).
    """
    if repository := repository_of(given):
        return load_generator(fetch(repository), trust=trust), str(given)
    path = Path(given)
    file = path if path.is_file() or path.suffix == ".safetensors" else best_file(path)
    if file is not None:
        return load_generator(file, trust=trust), str(file)
    checkpoint = find(path)
    return generator_of(checkpoint, "ema", trust), str(checkpoint)


def best_file(directory: Path) -> Path | None:
    """The generator file in a directory that is to be taken; None: a checkpoint is."""
    if storage.NAME.match(directory.name):
        return None
    names = (BEST, MODEL) if storage.steps(directory / "checkpoints") else (BEST, MODEL, LAST)
    return next((directory / name for name in names if (directory / name).is_file()), None)
