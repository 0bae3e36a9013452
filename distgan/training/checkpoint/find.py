"""The generator that somebody names: a file, a checkpoint, a run, or a repository on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from distgan.inference.generator import Generator, load_generator
from distgan.inference.generator_file import check_no_program
from distgan.inference.hub.find import DEMO, MODEL, fetch, repository_of
from distgan.inference.sampling import BEST, LAST
from distgan.training.checkpoint import storage
from distgan.utils.errors import CheckpointError
from distgan.utils.log import log
from distgan.utils.names import nearest_name

SOURCE = (
    "RUN for its best generator, or where none was evaluated its newest checkpoint; RUN/checkpoints/step-..., or a "
    "generator's safetensors file"
)
ANY_SOURCE = f"{SOURCE}; a repository on the Hub (me/cats, hf://me/cats@v1), or demo: the one that comes with distgan"


@dataclass(frozen=True)
class Found:
    """Where a generator is. run: the run that was given; repository: or the repository, whose file was downloaded."""

    path: Path
    run: Path | None = None
    repository: str | None = None

    @property
    def in_checkpoint(self) -> bool:
        """Whether `path` is a checkpoint, and not a file."""
        return storage.NAME.match(self.path.name) is not None

    def __str__(self) -> str:
        return self.repository or str(self.path)


def find_generator(given: Path | str) -> Found:
    """Finds what somebody names. Raises CheckpointError, ExportError.

    Of a run the best that evaluation has found, else its newest checkpoint, else the generator that is left there.
    given: text may be a repository (me/cats, hf://me/cats@v1), which is downloaded.
    """
    if repository := repository_of(given):
        return Found(fetch(repository), repository=str(given))
    path = Path(given)
    if path.is_file() or path.suffix == ".safetensors" or storage.NAME.match(path.name):
        return Found(path)
    names = (BEST, MODEL) if storage.steps(path / "checkpoints") else (BEST, MODEL, LAST)
    file = next((path / name for name in names if (path / name).is_file()), None)
    return Found(file or newest_checkpoint(path), run=path)


def newest_checkpoint(run: Path) -> Path:
    """The newest complete checkpoint of a run. Raises CheckpointError."""
    newest = storage.newest(run / "checkpoints", lambda text: log.warning("%s", text))
    if newest is None:
        if run.is_file():
            check_no_program(run)
        if not run.exists():
            from distgan.training.report.write import nearest_run  # needs what training needs

            is_demo = "/" not in str(run) and nearest_name(run.name, [DEMO.id]) is not None
            raise CheckpointError(f"there is no {run}{f'; nearest: {DEMO}' if is_demo else nearest_run(run)}")
        raise CheckpointError(f"{run} is neither a checkpoint (RUN/checkpoints/step-...) nor a run with a complete one")
    return newest


def open_generator(
    given: Path | str, trust: Sequence[str], device: str | torch.device = "cpu"
) -> tuple[Generator, Found]:
    """The generator that `find_generator` finds, with averaged weights. Errors as there."""
    found = find_generator(given)
    return load(found, trust).to(device), found


def load(found: Found, trust: Sequence[str], weights: Literal["ema", "raw"] = "ema") -> Generator:
    """The generator that was found, on the CPU. weights: of a checkpoint. Raises CheckpointError, ExportError."""
    if not found.in_checkpoint:
        return load_generator(found.path, trust=trust)
    from distgan.training.checkpoint.generator import load_from_checkpoint  # needs what training needs

    return load_from_checkpoint(found.path, weights, trust)
