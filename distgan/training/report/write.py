"""Writes RUN/report.html, one page that can be sent around.

In: a run directory. Out: the page. A part of the run that is missing or damaged is left out, and said so there.
"""

from __future__ import annotations

from pathlib import Path

from distgan.config.schema import DataConfig
from distgan.training.report.collect import gather
from distgan.training.report.html import render
from distgan.utils.errors import ConfigError
from distgan.utils.files import atomic_path

NAME = "report.html"
SIGNS = ("config.yaml", "metrics.jsonl")  # by which a run directory is known


def write_report(run_dir: Path, data: DataConfig | None = None) -> Path:
    """RUN/report.html, atomically; for one process. data: where the real images are (see `gather`).

    Raises ConfigError if RUN is no run directory or cannot be written.
    """
    if not any((run_dir / name).is_file() for name in SIGNS):
        raise ConfigError(f"{run_dir} is no run directory: it holds no {' and no '.join(SIGNS)}; give run.dir/run.name")
    page = render(gather(run_dir, data))
    path = run_dir / NAME
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None
    return path
