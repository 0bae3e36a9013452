"""Writes RUN/report.html, one page that can be sent around.

In: a run directory. Out: the page. A missing or damaged part is left out, with the reason in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distgan.config.schema import DataConfig
from distgan.training.report.collect import gather
from distgan.training.report.html import render
from distgan.utils.errors import ConfigError
from distgan.utils.files import atomic_path

NAME = "report.html"
RUN_FILES = ("config.yaml", "metrics.jsonl")  # a run directory has one of them


def write_report(run_dir: Path, data: DataConfig | None = None, trust: Sequence[str] = ()) -> Path:
    """Writes RUN/report.html atomically and returns its path; called by one process.

    data: the data set of the real images; trust: modules that its generator may import (see `gather`). Raises
    ConfigError if RUN is not a run directory or cannot be written.
    """
    if not any((run_dir / name).is_file() for name in RUN_FILES):
        raise ConfigError(
            f"{run_dir} is not a run directory: it holds no {' and no '.join(RUN_FILES)}; give run.dir/run.name"
        )
    page = render(gather(run_dir, data, trust))
    path = run_dir / NAME
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None
    return path
