"""`distgan explore RUN|FILE`: a page on which a generator is explored, served on this machine or as one HTML file."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

from torch import Tensor

from distgan.cli.export import find, generator_of
from distgan.cli.report import add_server_arguments, data_of, open_page, serve_until_interrupted
from distgan.config.command_line import add_trust_argument, to_path, to_source
from distgan.config.load import read_config
from distgan.config.schema import DataConfig
from distgan.data import reference
from distgan.inference.explorer.server import Explorer, FindNearest, Nearest, serve
from distgan.inference.generator import Generator, find_device, load_generator
from distgan.inference.hub.find import fetch, repository_of
from distgan.inference.sampling import find_file
from distgan.metrics.nearest_neighbors import neighbours
from distgan.utils.errors import ConfigError, DataError, DistganError, ExportError
from distgan.utils.log import log

NEAREST = 5  # real images that are shown
BLOCK = 500  # real images that are compared at a time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan explore`."""
    parser.add_argument(
        "source", type=to_source, metavar="RUN|FILE",
        help="a run: its generator.safetensors, or its newest checkpoint; a generator's safetensors file; or a "
        "repository on the Hub: me/cats, hf://me/cats@v1",
    )  # fmt: skip
    parser.add_argument("--html", type=to_path, metavar="FILE", help="write the page with the generator to one HTML "
                        "file, for any browser, also without a network (extra onnx)")  # fmt: skip
    parser.add_argument("--serve", action="store_true", help="serve it on this machine (the default); Ctrl-C ends it")
    add_server_arguments(parser)
    parser.add_argument("--title", metavar="TEXT", help="heading of the page (default: the run's or the file's name)")
    parser.add_argument(
        "--data", metavar="SHARDS", help="real images to compare with (default: the run's data set, if it is here)"
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or mps (default: auto)")
    add_trust_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C, or writes it. Raises ConfigError, CheckpointError, ExportError, LaunchError."""
    _check(args)
    device = find_device("cpu" if args.html else args.device)
    repository = repository_of(args.source)
    given = fetch(repository) if repository else Path(args.source)
    file, generator = _open(given, args.trust)
    name = repository.id if repository else str((given if given.is_dir() else given.with_suffix("")).resolve())
    title, source = args.title or Path(name).name, str(args.source if repository else file)
    if args.html:
        return _write(generator, args.html, title, source if repository else file.name)
    explorer = Explorer(generator.to(device), title, source, find_nearest(args.data, given, generator))
    with serve(explorer, args.port) as server:
        print(f"explore: {server.url} (only on this machine; Ctrl-C ends it)", flush=True)
        if args.open:
            open_page(server.url)
        serve_until_interrupted(server, "the page is closed")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raises ConfigError for options that do not go together."""
    if args.html is None:
        return
    for option, given in (
        ("--serve", args.serve),
        ("--port", args.port is not None),
        ("--data", args.data is not None),
    ):
        if given:
            raise ConfigError(f"{option} is for the page that is served; leave it out, or leave out --html {args.html}")
    if args.html.suffix != ".html":
        raise ConfigError(f"--html {args.html} must end in .html; nearest: {args.html.with_suffix('.html')}")


def _open(path: Path, trust: tuple[str, ...]) -> tuple[Path, Generator]:
    """The generator of a run or file, and the file that `distgan sample` would take."""
    if not path.exists():
        raise ExportError(f"there is no {path}; give a run such as runs/quickstart, or a generator's safetensors file")
    file = find_file(path)
    if file.is_file():
        return file, load_generator(file, trust=trust)
    return path / "generator.safetensors", generator_of(find(path), "ema", trust)


def _write(generator: Generator, path: Path, title: str, source: str) -> int:
    from distgan.inference.explorer.single_file import SEEDS, write_html

    difference = write_html(generator, path, title, source)
    size = path.stat().st_size / 2**20
    print(
        f"{path}: {size:.1f} MiB, seeds 0 to {SEEDS - 1}, at most {difference} of 255 grey levels from distgan's images"
    )
    return 0


def find_nearest(given: str | None, run: Path, generator: Generator) -> FindNearest | None:
    """Compares with the real images of --data, or of a run's own data set if it is here. Raises DataError."""
    data = data_of(given) or _data_of_run(run)
    if data is None:
        return None
    try:
        shards = reference.open_alike(data, generator.size, generator.channels)
    except DataError as error:
        if given is not None:
            raise
        log.info("without real images to compare with: %s", error)
        return None
    read = functools.cache(lambda: reference.read_some(shards))  # when it is first asked for

    def find(image: Tensor) -> Nearest:
        reals, total = read()
        found = neighbours(image, reals.split(BLOCK), NEAREST)
        return Nearest(found.images[0], found.distance[0].tolist(), found.mirrored[0].tolist(), len(reals), total)

    return find


def _data_of_run(path: Path) -> DataConfig | None:
    try:
        data = read_config(path / "config.yaml").data if (path / "config.yaml").is_file() else None
    except DistganError:  # of another version, or damaged: the page goes without
        return None
    return data if data is not None and isinstance(data.path, Path) and data.path.is_dir() else None
