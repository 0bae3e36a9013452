"""All files of a generator's repository on the Hub: the three of `save_pretrained`, a grid and a film."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from distgan.inference.film import walk, write_film
from distgan.inference.generator import Generator
from distgan.inference.generator_file import Description, writing
from distgan.inference.hub.card import FILM, GRID, Place
from distgan.inference.hub.facts import CardFacts, check_facts, renewed
from distgan.inference.hub.find import CARD, CONFIG, MODEL, check_id
from distgan.inference.hub.upload import Pushed, Target, held_card, open_repository, save, upload
from distgan.utils.images import class_columns, save_png
from distgan.utils.log import log
from distgan.utils.progress import track
from distgan.utils.safe_io import printable

MAX_GRID = 1280  # pixels a side, about
FRAMES, PER_SECOND, STOPS = 48, 16, 4  # of the film: 3 seconds over 4 seeds


def publish(generator: Generator, target: Target, facts: CardFacts | None = None, film: bool = True) -> Pushed:
    """Uploads a generator with card, grid and film in one commit; a README.md that is somebody's own is kept.

    A card that nobody has edited is written anew, with its license and data set where none are given. Raises
    ExportError: wrong name, wrong license, no network, no token, no permission.
    """
    check_id(target.repository)
    check_facts(facts or {})
    warn_of_paths(generator.description)
    api = open_repository(target)
    held = held_card(api, target)
    known = None if held is None else renewed(held, facts)
    with TemporaryDirectory() as directory:
        files = write_repository(Path(directory), generator, target.repository, known or facts, film)
        url, changed = upload(api, target, [path for path in files if known is not None or path.name != CARD])
    return Pushed(url, changed, known)


def write_repository(
    directory: Path, generator: Generator, repo_id: str, facts: CardFacts | None = None, film: bool = True
) -> list[Path]:
    """Writes what `push_to_hub` uploads to a directory, without the network; returns the files.

    A README.md that somebody has written or edited is kept. Raises ExportError: wrong name, wrong license, a file that
    cannot be written.
    """
    generator.check_full_precision()
    place = Place(check_id(repo_id), grid=True, film=film)
    facts = check_facts(facts or {})
    save(directory, generator.network.state_dict(), generator.description, facts, place)
    with writing(directory / GRID):
        seeds, columns = grid_of(generator)
        save_png(generator.grid(range(seeds), columns=columns), directory / GRID)
    names = [MODEL, CONFIG, CARD, GRID]
    if film:
        images = walk(generator, range(STOPS), FRAMES)
        write_film(directory / FILM, track(images, FRAMES, "film", "frames"), PER_SECOND)
        names.append(FILM)
    return [directory / name for name in names]


def warn_of_paths(description: Description) -> None:
    """Says which paths of this machine the files will name."""
    if paths := paths_in(description):
        log.warning("the file and config.json will name places on this machine: %s", ", ".join(paths))


def paths_in(description: Description) -> list[str]:
    """Absolute paths in the recorded configuration, as `data.path=/home/me/cats`."""
    found = []
    for section, keys in (("run", ("dir",)), ("data", ("path", "cache")), ("init", ("from",))):
        values = description.config.get(section)
        for key in keys:
            value = values.get(key) if isinstance(values, dict) else None
            if isinstance(value, str) and value.startswith(("/", "~")):
                found.append(printable(f"{section}.{key}={value}"))
    return found


def listed(files: Sequence[Path]) -> str:
    """Names and sizes: `config.json (3 KiB), ...`."""
    return ", ".join(f"{path.name} ({math.ceil(path.stat().st_size / 1024):,} KiB)" for path in files)


def grid_of(generator: Generator) -> tuple[int, int]:
    """Number of seeds and of columns of a grid: each column has one class where they are few; no more than fits."""
    fit = max(2, min(8, MAX_GRID // generator.size))
    classes = len(generator.class_names) if generator.conditional else 0
    by_class = class_columns(classes, fit * max(fit, classes))
    columns = by_class if by_class and by_class * generator.size <= 2 * MAX_GRID else fit
    return fit * columns, columns
