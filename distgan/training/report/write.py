"""Writes RUN/report.html, one page that can be sent around, or one page that compares several runs.

In: run directories. Out: the page. A missing or damaged part is left out, with the reason in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distgan.config.schema import DataConfig
from distgan.training.report.collect import gather
from distgan.training.report.compare import NamedRun, comparison_parts, names_of
from distgan.training.report.contents import Grid, Missing
from distgan.training.report.data_uri import data_uri
from distgan.training.report.grids import figure_of
from distgan.training.report.html import FRAME_BYTES, render
from distgan.training.report.run_reader import RunReader
from distgan.training.report.templates import fill_page
from distgan.utils.errors import ConfigError
from distgan.utils.files import atomic_path
from distgan.utils.paths import nearest_beside

NAME = "report.html"
RUN_FILES = ("config.yaml", "metrics.jsonl")  # a run directory has one of them


def write_report(
    run_dir: Path, data: DataConfig | None = None, trust: Sequence[str] = (), out: Path | None = None
) -> Path:
    """Writes RUN/report.html, or `out`, atomically and returns its path; called by one process.

    data: the data set of the real images; trust: modules that its generator may import (see `gather`). Raises
    ConfigError if RUN is not a run directory or the page cannot be written.
    """
    check_run(run_dir)
    return _write(render(gather(run_dir, data, trust)), out or run_dir / NAME)


def write_comparison(run_dirs: Sequence[Path], out: Path) -> Path:
    """Writes a page that shows 2 to 8 runs side by side, atomically, and returns its path.

    Raises ConfigError if one is not a run directory or the page cannot be written.
    """
    for run_dir in run_dirs:
        check_run(run_dir)
    names = names_of(run_dirs)
    runs = [NamedRun(name, RunReader(path).read_all()) for name, path in zip(names, run_dirs, strict=True)]
    return _write(fill_page(", ".join(names), comparison_parts(runs, _embedded, live=False), live=False), out)


def check_run(run_dir: Path) -> None:
    """Raises ConfigError if RUN is not a run directory."""
    if not (run_dir.exists() or run_dir.is_symlink()):
        raise ConfigError(f"there is no {run_dir}{nearest_run(run_dir)}")
    if not any((run_dir / name).is_file() for name in RUN_FILES):
        raise ConfigError(
            f"{run_dir} is not a run directory: it holds no {' and no '.join(RUN_FILES)}; give run.dir/run.name"
        )


def nearest_run(run_dir: Path) -> str:
    """What a missing directory's name may be meant for, as the end of a sentence; empty if nothing is beside it."""
    near = nearest_beside(run_dir, least=0)
    return f"; the nearest that is there: {near}" if near else ""


def _embedded(_: int, grid: Grid) -> str:
    figure = figure_of(grid)
    return "" if isinstance(figure, Missing) else data_uri(figure.image, FRAME_BYTES)


def _write(page: str, path: Path) -> Path:
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None
    return path
