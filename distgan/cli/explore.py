"""`distgan explore RUN|FILE`: a page on which a generator is explored, served on this machine or as one HTML file."""

from __future__ import annotations

import argparse
import functools
import shlex
from pathlib import Path

from torch import Tensor

from distgan.cli.report import add_server_arguments, data_of, open_page, serve_until_interrupted
from distgan.config.command_line import add_trust_argument, to_file, to_source
from distgan.config.load import read_config
from distgan.config.schema import DataConfig
from distgan.data import reference
from distgan.inference.explorer.server import Explorer, FindNearest, Nearest, serve
from distgan.inference.formats import CHECKED
from distgan.inference.generator import Generator, find_device
from distgan.inference.sampling import LAST
from distgan.metrics.nearest_neighbors import neighbours
from distgan.training.checkpoint.find import ANY_SOURCE, Found, open_generator
from distgan.utils.errors import ConfigError, DataError, DistganError
from distgan.utils.log import log

NEAREST = 5  # real images that are shown
BLOCK = 500  # real images that are compared at a time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan explore`."""
    parser.add_argument("source", type=to_source, metavar="RUN|FILE|OWNER/NAME", help=ANY_SOURCE)
    parser.add_argument("--html", type=to_file, metavar="FILE", help="write the page with the generator to one HTML "
                        "file, for any browser, also without a network (extra onnx)")  # fmt: skip
    parser.add_argument("--serve", action="store_true", help="serve it on this machine (the default); Ctrl-C ends it")
    add_server_arguments(parser)
    parser.add_argument("--title", metavar="TEXT", help="heading of the page (default: the run's or the file's name)")
    parser.add_argument(
        "--data", metavar="SHARDS", help="real images to compare with (default: the run's data set, if it is here)"
    )
    parser.add_argument("--device", metavar="D", help="auto, cpu, cuda or mps (default: auto)")
    add_trust_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C, or writes it. Raises ConfigError, CheckpointError, ExportError, LaunchError."""
    _check(args)
    device = find_device("cpu" if args.html else args.device or "auto")
    generator, found = open_generator(args.source, args.trust)
    command = _command(args, found)
    title = args.title or Path(args.source).resolve().name.removesuffix(".safetensors")
    if args.html:
        return _write(generator, args.html, title, command)
    explorer = Explorer(generator.to(device), title, command, find_nearest(args, generator))
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
        ("--open", args.open),
        ("--device", args.device is not None),
    ):
        if given:
            raise ConfigError(f"{option} is for the page that is served; leave it out, or leave out --html {args.html}")
    if args.html.suffix != ".html":
        raise ConfigError(f"--html {args.html} must end in .html; nearest: {args.html.with_suffix('.html')}")


def _command(args: argparse.Namespace, found: Found) -> str:
    """What the commands on the page begin with."""
    source = str(found)
    if args.html and found.repository is None:  # for others: without the places on this machine
        source = LAST if found.in_checkpoint else found.path.name
    trust = [word for module in args.trust for word in ("--trust", module)]
    return shlex.join(["distgan", "sample", source, *trust])


def _write(generator: Generator, path: Path, title: str, command: str) -> int:
    from distgan.inference.explorer.single_file import SEEDS, write_html

    difference = write_html(generator, path, title, command)
    size = path.stat().st_size / 2**20
    off = f"the images of {CHECKED} seeds are at most {difference} of 255 grey levels off"
    print(f"{path}: {size:.1f} MiB, seeds 0 to {SEEDS - 1}; {off}")
    return 0


def find_nearest(args: argparse.Namespace, generator: Generator) -> FindNearest | None:
    """Compares with the real images of --data, or of a run's own data set if it is here. Raises DataError."""
    data = data_of(args.data) or _data_of_run(Path(args.source))
    if data is None:
        return None
    try:
        shards = reference.open_alike(data, generator.size, generator.channels)
    except DataError as error:
        if args.data is not None:
            raise
        log.info("without real images to compare with: %s", error)
        return None
    read = functools.cache(lambda: reference.read_some(shards))  # when it is first asked for

    def find(image: Tensor) -> Nearest:
        reals, total = read()
        found = neighbours(image, reals.split(BLOCK), NEAREST)
        return Nearest(found.images[0], found.distance[0].tolist(), found.mirrored[0].tolist(), len(reals), total)

    return find


def _data_of_run(run: Path) -> DataConfig | None:
    try:
        data = read_config(run / "config.yaml").data if (run / "config.yaml").is_file() else None
    except DistganError:  # of another version, or damaged: the page goes without
        return None
    if data is None or (isinstance(data.path, Path) and data.path.is_dir()):
        return data
    log.info("without real images to compare with: the run's data set, %s, is not here; --data DIR", data.path)
    return None
