"""Reads a run directory, which may be damaged or a stranger's: what can be read, and a sentence for what cannot.

In: RUN, and where its real images are. Out: `Facts`. Nothing here raises for one bad part of a run.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from distgan.config.load import load_config
from distgan.config.schema import Config, DataConfig
from distgan.data import reference
from distgan.inference.generator import Generator, load_generator
from distgan.training.checkpoint import storage
from distgan.training.report.contents import Evaluation, Event, Facts, Figure, Missing
from distgan.training.report.nearest_neighbors import Likeness, likeness
from distgan.training.tracking.curves import number
from distgan.training.tracking.tracker import read_metrics
from distgan.utils.errors import DistganError
from distgan.utils.images import to_grid
from distgan.utils.progress import track
from distgan.utils.safe_io import parse_json, printable, read_bytes, read_json

GENERATORS = ("best.safetensors", "generator.safetensors")  # of RUN; the first that is there is shown
SAMPLES = re.compile(r"fakes-(\d{1,18})\.png\Z")
SEEDS = range(64)  # of the generator's grid
LOOKED_AT = 10  # of them, whose nearest real images are looked for
MAX_REALS, MAX_REAL_BYTES = 20_000, 1 << 28  # real images looked at: the fewer of the two, of few shards
MAX_LINES = 64 << 20  # bytes of scores.jsonl and of events.jsonl
MAX_FACTS = 40  # of a protocol, which has 13
MAX_SETTINGS = 1 << 16  # bytes of config.yaml
MAX_PNG, MAX_PIXELS = 32 << 20, 40_000_000  # of a sample grid

T = TypeVar("T")


def gather(run_dir: Path, data: DataConfig | None = None) -> Facts:
    """All that a report says about a run.

    data: where the real images are. None: where RUN/config.yaml says, if that is a directory; a URL from there is
    not followed, since the run may be a stranger's.
    """
    config = _part(lambda: load_config(run_dir / "config.yaml"))
    metrics = _part(lambda: read_metrics(run_dir / "metrics.jsonl") or Missing("there is no metrics.jsonl with lines"))
    path = next((path for name in GENERATORS if (path := run_dir / name).is_file()), run_dir / GENERATORS[-1])
    generator = _part(lambda: load_generator(path))
    fakes = _part(lambda: generator if isinstance(generator, Missing) else generator.sample(SEEDS))
    shown = f"{path.name}, seeds 0 to {SEEDS.stop - 1}: {generator}"
    return Facts(
        name=config.run.name if isinstance(config, Config) else run_dir.resolve().name,
        summary=_summary(run_dir, config, metrics, generator),
        metrics=metrics,
        scores=_part(lambda: _scores(run_dir / "scores.jsonl")),
        samples=_part(lambda: _samples(run_dir / "samples")),
        generator=fakes if isinstance(fakes, Missing) else Figure(shown, to_grid(fakes)),
        likeness=_part(lambda: fakes if isinstance(fakes, Missing) else _likeness(fakes[:LOOKED_AT], config, data)),
        events=_part(lambda: _events(run_dir / "events.jsonl")),
        settings=_part(lambda: read_bytes(run_dir / "config.yaml", MAX_SETTINGS).decode(errors="replace")),
    )


def _part(read: Callable[[], T | Missing]) -> T | Missing:
    """What `read` returns, or why it could not."""
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
    """Labels and texts; what is not known is left out."""
    rows = []
    if isinstance(config, Config):
        networks = f"{config.generator.family}, loss {config.loss.name}, augmentation {config.augment.kind}"
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
    """Time of the training steps, from the speeds; without evaluations, checkpoints and what stopped in between."""
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


def _rows(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines; damaged lines are left out."""
    rows = []
    for line in read_bytes(path, MAX_LINES).splitlines():
        with contextlib.suppress(ValueError):
            row = parse_json(line)
            if isinstance(row, dict) and _finite(row.get("images")):
                rows.append(row)
    return rows


def _scores(path: Path) -> list[Evaluation] | Missing:
    found: dict[int, Evaluation] = {}  # of two of the same place, after a restart, the later one
    for row in _rows(path):
        scores = row.get("scores")
        if isinstance(scores, dict) and (values := _numbers(scores.get("values"))):
            protocol = scores.get("protocol")
            shown = list(protocol.items())[:MAX_FACTS] if isinstance(protocol, dict) else []
            told = {printable(name, 40): printable(str(value), 200) for name, value in shown}
            images = int(row["images"])
            found[images] = Evaluation(images, values, _numbers(scores.get("real_values")), told)
    return [found[images] for images in sorted(found)] or Missing("scores.jsonl holds no scores")


def _numbers(values: Any) -> dict[str, float]:
    """The finite numbers of a dict by name."""
    pairs = values.items() if isinstance(values, dict) else ()
    return {printable(name, 60): float(value) for name, value in pairs if _finite(value)}


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 2**63


def _events(path: Path) -> list[Event]:
    def text(row: dict[str, Any], name: str, most: int) -> str:
        return printable(str(row.get(name, "")), most)

    rows = _rows(path)
    return [
        Event(int(row["images"]), text(row, "time", 40), text(row, "event", 40), text(row, "text", 1000))
        for row in rows
    ]


def _samples(directory: Path) -> list[Figure | Missing] | Missing:
    """The first, the middle and the last grid."""
    there = sorted((int(match[1]), path) for path in directory.iterdir() if (match := SAMPLES.match(path.name)))
    if not there:
        return Missing("there is no grid in samples/")
    places = sorted({0, (len(there) - 1) // 2, len(there) - 1})
    return [_part(partial(_grid, *there[place])) for place in places]


def _grid(images: int, path: Path) -> Figure:
    return Figure(f"after {images:,} images: real left, generated right", _open(path))


def _open(path: Path) -> Image.Image:
    """A PNG of bounded size as RGB. Raises OSError, ValueError."""
    try:
        with Image.open(io.BytesIO(read_bytes(path, MAX_PNG)), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{path.name} has {image.width}x{image.height} pixels, more than a grid of samples")
            return image.convert("RGB")
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged image can raise nearly anything
        raise ValueError(f"{path.name} is damaged: {printable(str(error))}") from None


def _likeness(fakes: Tensor, config: Config | Missing, data: DataConfig | None) -> Likeness | Missing:
    """Raises DataError where the real images cannot be read."""
    if data is None:
        if isinstance(config, Missing):
            return Missing(f"where the real images are is not known: {config.reason}")
        data = config.data
        if isinstance(data.path, str):
            return Missing(f"the real images are at {data.path}: `distgan report RUN --data {data.path}` looks at them")
    _, wanted = reference.open_data(data)
    if wanted.size != fakes.shape[-1]:
        return Missing(f"the real images at {data.path} have {wanted.size} pixels a side, not {fakes.shape[-1]}")
    count = min(wanted.total, MAX_REALS, MAX_REAL_BYTES // (3 * wanted.size**2))
    if count < 2:
        return Missing(f"{data.path} holds a single image")
    places = reference.choose_from_few_shards(wanted, count)
    blocks = reference.read_images(wanted, places, range(count), 500)
    reals = torch.cat(list(track(blocks, count, "real images", "images", weigh=len)))
    return likeness(fakes, reals, wanted.total)
