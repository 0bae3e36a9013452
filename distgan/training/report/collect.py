"""Collects all parts of a report: what the run's files say (run_reader.py), its generator, and real images.

In: RUN, which may be damaged or a stranger's, and the data set of its real images. Out: a `Report`, with a sentence in
place of each part that cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from distgan.config.load import read_config
from distgan.config.schema import Config, DataConfig
from distgan.data import reference
from distgan.inference.generator import load_generator
from distgan.inference.sampling import BEST, LAST
from distgan.metrics.nearest_neighbors import Likeness, likeness
from distgan.training.report.contents import Figure, Missing, Report, part
from distgan.training.report.own_files import own_file
from distgan.training.report.run_reader import RunReader
from distgan.utils.images import to_grid

FILES = (BEST, LAST)  # in RUN; the first that exists is shown
SEEDS = range(64)  # of the generator's grid
COMPARED = 10  # generated images whose nearest real images are shown


def gather(run_dir: Path, data: DataConfig | None = None, trust: Sequence[str] = ()) -> Report:
    """Collects the contents of a run's report.

    data: the data set of the real images. None: the one in RUN/config.yaml, if it is a directory; a URL from there is
    not followed, since the run may be a stranger's. trust: modules that its generator may import (`load_generator`).
    """
    facts = RunReader(run_dir).read_all()
    config = part(lambda: read_config(own_file(run_dir, "config.yaml")))
    path = next((path for name in FILES if (path := run_dir / name).is_file()), run_dir / FILES[-1])
    generator = part(lambda: load_generator(own_file(run_dir, path.name), trust=trust))
    fakes = part(lambda: generator if isinstance(generator, Missing) else generator.sample(SEEDS))
    shown = f"{path.name}, seeds 0 to {SEEDS.stop - 1}: {generator}"
    if not isinstance(generator, Missing):
        facts.summary.append(("generator", f"weights {generator.weight_digest[:12]}"))
    return Report(
        facts,
        generator=fakes if isinstance(fakes, Missing) else Figure(shown, to_grid(fakes)),
        likeness=part(lambda: fakes if isinstance(fakes, Missing) else _likeness(fakes[:COMPARED], config, data)),
    )


def _likeness(fakes: Tensor, config: Config | Missing, data: DataConfig | None) -> Likeness | Missing:
    """Compares generated images with the real ones. Raises DataError if those cannot be read."""
    if data is None:
        if isinstance(config, Missing):
            return Missing(f"the place of the real images is not known: {config.reason}")
        data = config.data
        if isinstance(data.path, str):
            return Missing(f"the real images are at {data.path}; `distgan report RUN --data {data.path}` reads them")
    reals, total = reference.read_some(reference.open_alike(data, fakes.shape[-1], fakes.shape[1]))
    return likeness(fakes, reals, total)
