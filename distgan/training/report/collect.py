"""Reads a run directory, which may be damaged or a stranger's.

In: RUN, and the data set of its real images. Out: `Facts`, with a sentence in place of each part that cannot be read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from distgan.config.load import read_config
from distgan.config.method import AUGMENTATIONS, LOSSES
from distgan.config.networks import GENERATORS
from distgan.config.schema import Config, DataConfig
from distgan.data import reference
from distgan.inference.generator import Generator, load_generator
from distgan.training.checkpoint import storage
from distgan.training.report.contents import Evaluation, Event, Facts, Figure, Missing
from distgan.training.report.nearest_neighbors import Likeness, likeness
from distgan.training.tracking.curves import number
from distgan.training.tracking.jsonl import is_number, parse_rows, read_metrics
from distgan.utils.errors import DistganError
from distgan.utils.images import to_grid
from distgan.utils.progress import track
from distgan.utils.safe_io import printable, read_bytes, read_json

FILES = ("best.safetensors", "generator.safetensors")  # in RUN; the first that exists is shown
SAMPLES = re.compile(r"fakes-(\d{1,18})\.png\Z")
SEEDS = range(64)  # of the generator's grid
COMPARED = 10  # generated images whose nearest real images are shown
MAX_REALS, MAX_REAL_BYTES = 20_000, 1 << 28  # limits of the real images that are compared
MAX_LINES_BYTES = 64 << 20  # of scores.jsonl and of events.jsonl
MAX_PROTOCOL = 40  # entries of a protocol, which has 13
MAX_SETTINGS_BYTES = 1 << 16  # of config.yaml
MAX_PNG_BYTES, MAX_PIXELS = 32 << 20, 40_000_000  # of a sample grid

T = TypeVar("T")


def gather(run_dir: Path, data: DataConfig | None = None, trust: Sequence[str] = ()) -> Facts:
    """Collects the contents of a run's report.

    data: the data set of the real images. None: the one in RUN/config.yaml, if it is a directory; a URL from there is
    not followed, since the run may be a stranger's. trust: modules that its generator may import (`load_generator`).
    """
    config = _part(lambda: read_config(run_dir / "config.yaml"))
    metrics = _part(lambda: read_metrics(run_dir / "metrics.jsonl") or Missing("there is no metrics.jsonl with lines"))
    path = next((path for name in FILES if (path := run_dir / name).is_file()), run_dir / FILES[-1])
    generator = _part(lambda: load_generator(path, trust=trust))
    fakes = _part(lambda: generator if isinstance(generator, Missing) else generator.sample(SEEDS))
    shown = f"{path.name}, seeds 0 to {SEEDS.stop - 1}: {generator}"
    return Facts(
        name=config.run.name if isinstance(config, Config) else run_dir.resolve().name,
        summary=_summary(run_dir, config, metrics, generator),
        metrics=metrics,
        scores=_part(lambda: _scores(run_dir / "scores.jsonl")),
        samples=_part(lambda: _samples(run_dir / "samples")),
        generator=fakes if isinstance(fakes, Missing) else Figure(shown, to_grid(fakes)),
        likeness=_part(lambda: fakes if isinstance(fakes, Missing) else _likeness(fakes[:COMPARED], config, data)),
        events=_part(lambda: _events(run_dir / "events.jsonl")),
        settings=_part(lambda: read_bytes(run_dir / "config.yaml", MAX_SETTINGS_BYTES).decode(errors="replace")),
    )


def _part(read: Callable[[], T | Missing]) -> T | Missing:
    """The result of `read`, or the reason for its error."""
    try:
        return read()
    except FileNotFoundError as error:
        return Missing(f"there is no {Path(error.filename).name}")
    except OSError as error:
        return Missing(f"it cannot be read: {error.strerror or error}")
    except (DistganError, ValueError) as error:
        return Missing(printable(str(error), 1000))


def _summary(
    run_dir: Path, config: Config | Missing, metrics: list[dict[str, Any]] | Missing, generator: Generator | Missing
) -> list[tuple[str, str]]:
    """Labels and texts of the known facts."""
    rows = []
    if isinstance(config, Config):
        family, loss = GENERATORS.name_of(config.generator), LOSSES.name_of(config.loss)
        networks = f"{family}, loss {loss}, augmentation {AUGMENTATIONS.name_of(config.augment)}"
        rows += [("data", str(config.data.path)), ("recipe", networks)]
        rows += [("batch", f"{config.train.batch_size} images"), ("budget", f"{config.train.images:,} images")]
    else:
        rows.append(("settings", config.reason))
    if not isinstance(metrics, Missing):
        rows.append(("images seen", f"{metrics[-1]['images']:,}"))
        seconds = _seconds(metrics)
        rows.append(("time of the steps", f"about {seconds / 60:,.1f} minutes" if seconds < 7200 else _hours(seconds)))
    state = _part(lambda: _state(run_dir / "checkpoints"))
    if isinstance(state, dict):
        rows += [(name, printable(str(state[name]))) for name in ("processes", "precision") if name in state]
        if isinstance(versions := state.get("versions"), dict):
            rows.append(("versions", printable(", ".join(f"{name} {text}" for name, text in versions.items()))))
    if not isinstance(generator, Missing):
        rows.append(("generator", f"weights {generator.weight_digest[:12]}"))
    return rows


def _hours(seconds: float) -> str:
    return f"about {seconds / 3600:,.1f} hours"


def _seconds(metrics: list[dict[str, Any]]) -> float:
    """Time of the training steps, from their speeds: without evaluations, checkpoints and interruptions."""
    before = [0, *(row["images"] for row in metrics)]
    speeds = [number(row.get("speed/images_per_second")) for row in metrics]
    return sum(
        (row["images"] - last) / speed for row, last, speed in zip(metrics, before, speeds, strict=False) if speed > 0
    )


def _state(directory: Path) -> dict[str, Any] | Missing:
    """The values of the newest checkpoint."""
    steps = storage.steps(directory)
    values = read_json(directory / f"step-{steps[-1]:09d}" / storage.VALUES, storage.MAX_JSON) if steps else None
    return values if isinstance(values, dict) else Missing("there is no checkpoint")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    return parse_rows(read_bytes(path, MAX_LINES_BYTES).splitlines())


def _scores(path: Path) -> list[Evaluation] | Missing:
    """The evaluations by images seen; a later line replaces an earlier one with the same number, after a restart."""
    found: dict[int, Evaluation] = {}
    for row in _rows(path):
        scores = row.get("scores")
        if isinstance(scores, dict) and (values := _numbers(scores.get("values"))):
            protocol = scores.get("protocol")
            entries = list(protocol.items())[:MAX_PROTOCOL] if isinstance(protocol, dict) else []
            shown = {printable(name, 40): printable(str(value), 200) for name, value in entries}
            images = int(row["images"])
            found[images] = Evaluation(images, values, _numbers(scores.get("real_values")), shown)
    return [found[images] for images in sorted(found)] or Missing("scores.jsonl holds no scores")


def _numbers(values: Any) -> dict[str, float]:
    """The numbers of a dict by name."""
    pairs = values.items() if isinstance(values, dict) else ()
    return {printable(name, 60): float(value) for name, value in pairs if is_number(value)}


def _events(path: Path) -> list[Event]:
    def text(row: dict[str, Any], name: str, limit: int) -> str:
        return printable(str(row.get(name, "")), limit)

    return [
        Event(int(row["images"]), text(row, "time", 40), text(row, "event", 40), text(row, "text", 1000))
        for row in _rows(path)
    ]


def _samples(directory: Path) -> list[Figure | Missing] | Missing:
    """The first, the middle and the last grid."""
    grids = sorted((int(match[1]), path) for path in directory.iterdir() if (match := SAMPLES.match(path.name)))
    if not grids:
        return Missing("there is no grid in samples/")
    chosen = sorted({0, (len(grids) - 1) // 2, len(grids) - 1})
    return [_part(partial(_grid, *grids[index])) for index in chosen]


def _grid(images: int, path: Path) -> Figure:
    return Figure(f"after {images:,} images: real left, generated right", _open(path))


def _open(path: Path) -> Image.Image:
    """Reads a PNG of bounded size as RGB. Raises OSError, ValueError."""
    try:
        with Image.open(io.BytesIO(read_bytes(path, MAX_PNG_BYTES)), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{path.name} has {image.width}x{image.height} pixels, more than a grid of samples")
            return image.convert("RGB")
    except UnidentifiedImageError:  # an OSError; its text has an address in memory
        raise ValueError(f"{path.name} is not a PNG") from None
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged image can raise nearly anything
        raise ValueError(f"{path.name} is damaged: {printable(str(error))}") from None


def _likeness(fakes: Tensor, config: Config | Missing, data: DataConfig | None) -> Likeness | Missing:
    """Compares generated images with the real ones. Raises DataError if those cannot be read."""
    if data is None:
        if isinstance(config, Missing):
            return Missing(f"the place of the real images is not known: {config.reason}")
        data = config.data
        if isinstance(data.path, str):
            return Missing(f"the real images are at {data.path}; `distgan report RUN --data {data.path}` reads them")
    else:
        data = reference.fitted(data, fakes.shape[-1], fakes.shape[1])
    _, shards = reference.open_data(data)
    if shards.size != fakes.shape[-1]:
        return Missing(f"the real images at {data.path} have {shards.size} pixels a side, not {fakes.shape[-1]}")
    if (channels := shards.form.channels) != fakes.shape[1]:
        return Missing(f"the real images at {data.path} have {channels} channel(s), not {fakes.shape[1]}")
    count = min(shards.total, MAX_REALS, MAX_REAL_BYTES // shards.image_bytes)
    if count < 2:
        return Missing(f"{data.path} holds a single image")
    positions = reference.choose_from_few_shards(shards, count)
    blocks = reference.read_images(shards, positions, range(count), 500)
    reals = torch.cat(list(track(blocks, count, "real images", "images", weigh=len)))
    return likeness(fakes, reals, shards.total)
