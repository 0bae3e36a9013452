"""`distgan report RUN [RUN ...]`: writes a page, or serves a live one."""

from __future__ import annotations

import argparse
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from distgan.config.command_line import add_trust_argument, to_file, to_path
from distgan.config.messages import first_mistake
from distgan.config.schema import DataConfig
from distgan.training.report.compare import MAX_RUNS
from distgan.training.report.film import write_run_film
from distgan.training.report.live import serve
from distgan.training.report.write import NAME, check_run, nearest_run, write_comparison, write_report
from distgan.utils.errors import ConfigError
from distgan.utils.local_server import LocalServer
from distgan.utils.log import log

FPS = 6  # grids per second of a film


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan report`."""
    parser.add_argument(
        "runs",
        type=to_path,
        metavar="RUN",
        nargs="+",
        help="run directory, such as runs/quickstart; several are compared",
    )
    parser.add_argument(
        "--serve",
        action="store_true",
        help="show a live page on this machine, also while training runs; Ctrl-C ends it",
    )
    add_server_arguments(parser)
    parser.add_argument(
        "--out", type=to_file, metavar="FILE", help="where the page goes (default: RUN/report.html; of several runs "
        "report.html in the directory that holds them)",
    )  # fmt: skip
    parser.add_argument(
        "--data", metavar="SHARDS", help="directory or URL of the real images (default: the training data)"
    )
    parser.add_argument(
        "--film", type=to_file, metavar="FILE", help="no page, but a film NAME.webp, .gif or .mp4 (extra film) "
        "of how the images of the same seeds developed during training",
    )  # fmt: skip
    parser.add_argument("--fps", type=_per_second, metavar="N", help="grids per second of the film (default: 6)")
    parser.add_argument("--no-caption", action="store_true", help="a film without the number of images seen below")
    add_trust_argument(parser)


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a page that is served."""
    parser.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help="port of the served page (default: 8642, or the next that is free; 0: any)",
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")


def run(args: argparse.Namespace) -> int:
    """Writes the page and prints its path, or serves it until Ctrl-C. Raises ConfigError, LaunchError."""
    if len(args.runs) > 1:  # RUNS/*, where the page of the last time lies beside the runs
        args.runs = [path for path in args.runs if path.name != NAME or path.is_dir()]
    _check(args)
    if args.film is not None:
        write_run_film(args.runs[0], args.film, args.fps or FPS, not args.no_caption)
        print(f"film: {args.film}")
        return 0
    if args.serve:
        return _serve(args.runs, args.port, args.open)
    if len(args.runs) > 1:
        path = write_comparison(args.runs, args.out or _common_place(args.runs))
    else:
        path = write_report(args.runs[0], data_of(args.data), args.trust, args.out)
    print(f"report: {path}")
    if args.open:
        open_page(path.resolve().as_uri())
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raises ConfigError for options that do not go together."""
    _check_film(args)
    if len(args.runs) > MAX_RUNS:
        raise ConfigError(f"{len(args.runs)} runs are given; a page compares at most {MAX_RUNS}: leave some out")
    known: dict[Path, Path] = {}
    for path in args.runs:
        if (other := known.setdefault(path.resolve(), path)) is not path:
            raise ConfigError(f"{path} is the same run as {other}; give it once")
    if not args.serve and args.port is not None:
        raise ConfigError("--port is for the live page; add --serve")
    if args.serve and args.out is not None:
        raise ConfigError("--out is for a page that is written; leave out --serve, or --out")
    if (args.data is not None or args.trust) and (args.serve or len(args.runs) > 1):
        option = "--trust" if args.data is None else "--data"
        raise ConfigError(f"{option} is for the page that is written of one run, with its generator; leave it out")


def _check_film(args: argparse.Namespace) -> None:
    """Raises ConfigError for options that do not go with a film, or with a page."""
    if args.film is None:
        if args.fps is not None or args.no_caption:
            raise ConfigError(f"{'--no-caption' if args.fps is None else '--fps'} is for a film; add --film FILE")
        return
    others = {"--serve": args.serve, "--out": args.out, "--open": args.open, "--data": args.data, "--trust": args.trust}
    if given := [name for name, value in others.items() if value]:
        raise ConfigError(f"{given[0]} is for a page, and --film writes none; leave one out")
    if len(args.runs) > 1:
        raise ConfigError(f"--film is of one run, and {len(args.runs)} are given; name one")


def _serve(run_dirs: Sequence[Path], port: int | None, opened: bool) -> int:
    for path in run_dirs:
        _check_place(path)
    with serve(run_dirs, port) as server:
        print(f"report: {server.url} (only on this machine; Ctrl-C ends it)", flush=True)
        if opened:
            open_page(server.url)
        serve_until_interrupted(server, "the live page is closed; this ends no training")
    return 0


def serve_until_interrupted(server: LocalServer, goodbye: str) -> None:
    """Serves until Ctrl-C."""
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        log.info("%s", goodbye)


def _check_place(run_dir: Path) -> None:
    """A run that a training will make may not be there yet. Raises ConfigError for what cannot become one."""
    try:
        if run_dir.is_dir():
            if not (run_dir / ".lock").exists() and any(run_dir.iterdir()):
                check_run(run_dir)
            return
    except OSError as error:
        raise ConfigError(f"{run_dir} cannot be read: {error.strerror}") from None
    if run_dir.exists() or run_dir.is_symlink():
        check_run(run_dir)
    log.info("%s", f"there is no {run_dir} yet{nearest_run(run_dir)}. The page waits for a training that makes it")


def _common_place(run_dirs: Sequence[Path]) -> Path:
    """Where the page of several runs goes. Raises ConfigError if they lie in different directories."""
    parents = {path.resolve().parent for path in run_dirs}
    if len(parents) > 1:
        raise ConfigError("the runs lie in different directories; say where the page goes: --out FILE")
    near = run_dirs[0].parent
    return (near if near.resolve() in parents else parents.pop()) / NAME


def data_of(text: str | None) -> DataConfig | None:
    """The data set of --data. Raises ConfigError."""
    try:
        return None if text is None else DataConfig.model_validate({"path": text})
    except ValidationError as error:
        raise ConfigError(f"--data: {first_mistake(error).rule}") from None


def open_page(url: str) -> None:
    """Opens a page in the user's browser, if there is one."""
    if not webbrowser.open(url):
        log.info("there is no browser here; open %s yourself", url)


def _per_second(text: str) -> int:
    """A whole number of frames per second, 1 to 60."""
    if not text.isdecimal() or not 1 <= int(text) <= 60:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number from 1 to 60")
    return int(text)


def _port(text: str) -> int:
    """A port's number, 0 for any."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port; give a number from 1 to 65535, or 0 for any")
    return int(text)
