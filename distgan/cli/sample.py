"""`distgan sample FILE --seeds 0-63 --out grid.png`: draws images from a generator file.

In: a generator file and seeds. Out: a grid, a .npz file, or a directory of PNGs. Needs no accelerate and no data set.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from distgan.config.command_line import add_trust_argument, to_source, to_truncation
from distgan.inference.generator import Generator
from distgan.inference.generator_file import writing
from distgan.inference.labels import Class
from distgan.inference.sampling import Names, classes_of, draw, write_directory, write_grid, write_npz
from distgan.training.checkpoint.find import ANY_SOURCE, open_generator
from distgan.utils.errors import ExportError
from distgan.utils.images import save_png, to_grid
from distgan.utils.names import join_names, split_names
from distgan.utils.paths import is_directory, name_as_text, user_path
from distgan.utils.progress import track

SEEDS = "0-63"
BATCH_SIZE = "16"
MAX_SEEDS = 1_000_000
MAX_BATCH_SIZE = 1024  # a batch is filled up with copies
MAX_GRID_IMAGES = 10_000
FORMS = "a grid NAME.png, a file NAME.npz, or a directory NAME"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan sample`."""
    parser.add_argument("file", type=to_source, metavar="RUN|FILE|OWNER/NAME", help=ANY_SOURCE)
    parser.add_argument("--seeds", metavar="LIST", help="such as 0-63,70,100-110 (default: 0-63)")
    parser.add_argument("--out", required=True, metavar="PATH", help=f"{FORMS}; with --walk NAME.webp, .gif or .mp4")
    parser.add_argument("--walk", metavar="LIST", help="a film from seed to seed and back, such as 0,7,3")
    parser.add_argument("--frames", metavar="N", help="of the film (default: 240)")
    parser.add_argument("--fps", metavar="N", help="frames per second (default: 24)")
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="class names (or numbers from 0 on, if the names are no numbers), such as frog,cat, with quotes around a "
        "name with a comma; of N classes seed s takes number s modulo N",
    )
    parser.add_argument(
        "--truncation", type=to_truncation, metavar="T",
        help="limit the latent numbers to [-T, T]: less variety, fewer failures",
    )  # fmt: skip
    parser.add_argument(
        "--mix", metavar="A,B,SHARE", help="two classes, and the share of the second, such as cat,dog,0.3"
    )
    parser.add_argument("--move", metavar="LIST", help="steps along the main directions, such as 1=2.5,3=-1")
    parser.add_argument(
        "--grid-classes", action="store_true", help="a grid with a row for each seed and a column for each class "
        "(of --classes)",
    )  # fmt: skip
    parser.add_argument(
        "--truncations", metavar="LIST", help="a grid with a row for each truncation and a column for each seed, such "
        "as 0.3,0.5,1,none (none: the full distribution)",
    )  # fmt: skip
    parser.add_argument("--batch-size", metavar="N", help=f"images at a time (default: {BATCH_SIZE})")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--columns", metavar="N", help="columns of the grid (default: about square, a class in each)")
    add_trust_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Samples and writes. Raises ExportError, before the long work if possible."""
    if empty := [name for name, value in vars(args).items() if value == ""]:  # a shell's variable that is not set
        raise ExportError(f"--{empty[0].replace('_', '-')} is empty; give it a value, or leave it out")
    if args.grid_classes or args.truncations is not None:
        return run_table(args)
    if args.walk is not None:
        return run_walk(args)
    if args.frames or args.fps:
        raise ExportError("--frames and --fps are of a film: add --walk, such as --walk 0,7,3, or leave them out")
    seeds = parse_seeds(args.seeds or SEEDS)
    form = find_form(args.out, len(seeds))
    out = _path(args.out)
    batch_size = _whole("--batch-size", args.batch_size or BATCH_SIZE, MAX_BATCH_SIZE)
    columns = None if args.columns is None else _whole("--columns", args.columns)
    if columns and form != "grid":
        raise ExportError(f"--columns={columns} goes with a grid, but --out is {out}; use NAME.png, or leave it out")
    generator, names = _open(args)
    batches = draw(generator, seeds, names, args.truncation, batch_size, parse_move(args.move))
    if form == "directory":
        write_directory(out, batches)
    elif form == "npz":
        write_npz(out, generator, seeds, names, batches)
    else:
        classes = write_grid(out, generator, seeds, names, columns, batches)
        if classes:
            print(f"columns: {join_names(classes, ', ')}")
    print(f"{len(seeds):,} images of {generator.size}x{generator.size}: {out}")
    return 0


def run_walk(args: argparse.Namespace) -> int:
    """Writes a film of a walk. Raises ExportError."""
    from distgan.inference.film import walk, write_film

    _refuse("--walk", {"--seeds": args.seeds, "--columns": args.columns, "--batch-size": args.batch_size})
    seeds, out = parse_seeds(args.walk, "--walk"), _path(args.out)
    if is_directory(out):
        raise ExportError(f"--out={out} is a directory; name a film in it, such as walk.webp")
    frames, per_second = _whole("--frames", args.frames or "240"), _whole("--fps", args.fps or "24")
    generator, names = _open(args)
    images = walk(generator, seeds, frames, classes_of(seeds, names), args.truncation, parse_move(args.move))
    write_film(out, track(images, frames, "film", "frames"), per_second)
    print(f"a walk over {len(seeds)} seeds, {frames:,} frames, {frames / per_second:.1f} s: {out}")
    return 0


def run_table(args: argparse.Namespace) -> int:
    """Writes a grid of seeds by classes, or of truncations by seeds. Raises ExportError."""
    from distgan.inference.tables import by_class, by_truncation

    option = "--grid-classes" if args.grid_classes else "--truncations"
    others = {"--truncations": args.grid_classes and args.truncations, "--columns": args.columns}
    others |= {
        "--walk": args.walk,
        "--mix": args.grid_classes and args.mix,
        "--truncation": not args.grid_classes and args.truncation,
    }
    _refuse(option, {**others, "--frames": args.frames, "--fps": args.fps, "--batch-size": args.batch_size})
    seeds, out, move = parse_seeds(args.seeds or SEEDS), _path(args.out), parse_move(args.move)
    limits = [] if args.grid_classes else parse_truncations(args.truncations)
    generator, names = _open(args)
    across = len(names or generator.class_names) if args.grid_classes else len(limits)
    if find_form(args.out, len(seeds) * across) != "grid":
        raise ExportError(f"{option} makes a grid, but --out is {out}; use NAME.png")
    if args.grid_classes:
        images = by_class(generator, seeds, None if names is None else list(names), args.truncation, move)
    else:
        images = by_truncation(generator, seeds, limits, classes_of(seeds, names), move)
    with writing(out):
        save_png(to_grid(images, across if args.grid_classes else len(seeds)), out)
    print(f"{len(images):,} images of {generator.size}x{generator.size}: {out}")
    return 0


def _refuse(option: str, others: Mapping[str, object]) -> None:
    """Raises ExportError for an option that does not go with another."""
    if given := [name for name, value in others.items() if value]:
        raise ExportError(f"{option} and {given[0]} do not go together: leave one out")


def parse_truncations(text: str) -> list[float | None]:
    """Truncations from text: '0.5,none' -> [0.5, None]. Raises ExportError."""
    return [None if part.strip() == "none" else _number("--truncations", part) for part in text.split(",")]


def _open(args: argparse.Namespace) -> tuple[Generator, Names]:
    """The generator, and the classes of --classes or --mix. Raises ExportError for a wrong one, before the work."""
    generator, _ = open_generator(args.file, args.trust, args.device)
    names = None if args.classes is None else split_names(name_as_text(args.classes))
    if args.mix is not None:
        if names is not None:
            raise ExportError(f"--mix={args.mix} and --classes={args.classes} both choose the class; leave one out")
        mixture = parse_mix(args.mix)
        generator.labels([0], mixture)
        return generator, mixture
    if names == ():
        raise ExportError(f"--classes={args.classes} names no class; leave it out for all, or name some")
    generator.labels(range(len(names or [])), names)
    return generator, names


def parse_mix(text: str) -> dict[Class, float]:
    """A mixture from text: 'cat,dog,0.3' -> {cat: 0.7, dog: 0.3}. Raises ExportError."""
    parts = split_names(name_as_text(text))
    if len(parts) != 3 or parts[0] == parts[1] or not 0 <= (share := _number("--mix", parts[2])) <= 1:
        raise ExportError(
            f"--mix={text} must be two classes and the share of the second, such as cat,dog,0.3: from 0 to 1"
        )
    return {parts[0]: 1 - share, parts[1]: share}


def parse_move(text: str | None) -> dict[int, float] | None:
    """Steps along directions from text: '1=2.5,3=-1' -> {1: 2.5, 3: -1.0}. Raises ExportError."""
    if text is None:
        return None
    steps = [part.partition("=") for part in text.split(",")]
    if not all(number.strip().isdecimal() and sign for number, sign, _ in steps):
        raise ExportError(f"--move={text} must be directions and distances, such as 1=2.5,3=-1")
    if len({int(number) for number, _, _ in steps}) < len(steps):
        raise ExportError(f"--move={text} names a direction twice; name it once")
    return {int(number): _number("--move", distance) for number, _, distance in steps}


def parse_seeds(text: str, option: str = "--seeds") -> list[int]:
    """Seeds from text: '0-3,7' -> [0, 1, 2, 3, 7]. Raises ExportError that names the wrong part."""
    ranges = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        numbers = [first, last] if dash else [first, first]
        if not all(number.isascii() and number.isdigit() and len(number) < 20 for number in numbers):
            raise ExportError(f"{option}: '{part}' is not a whole number or a range such as 0-63")
        low, high = map(int, numbers)
        if low > high:
            raise ExportError(f"{option}: '{part}' runs backwards; use {high}-{low}")
        if high >= 2**63:
            raise ExportError(f"{option}: '{part}' is above the largest seed, 2**63 - 1 = {2**63 - 1}")
        ranges.append(range(low, high + 1))
    if (count := sum(seeds.stop - seeds.start for seeds in ranges)) > MAX_SEEDS:
        raise ExportError(f"{option}: {count:,} seeds; use {MAX_SEEDS:,} or fewer at a time")
    return [seed for seeds in ranges for seed in seeds]


def find_form(out: str, count: int) -> Literal["grid", "npz", "directory"]:
    """The form of the output, by the suffix of `out`. Raises ExportError."""
    path = _path(out)
    suffix = "" if path.is_dir() or out.endswith("/") else path.suffix.lower()
    if suffix == "" and path.is_file():
        raise ExportError(f"--out={out} is a file, not a directory; use {FORMS}")
    if path.is_dir() and path.suffix.lower() in (".png", ".npz"):
        raise ExportError(f"--out={out} is a directory; use another name, or a directory without {path.suffix}")
    if suffix not in (".png", ".npz", ""):
        raise ExportError(f"--out={out} ends in {path.suffix}; use {FORMS}")
    if suffix == ".png" and count > MAX_GRID_IMAGES:
        raise ExportError(
            f"--out={out}: a grid holds up to {MAX_GRID_IMAGES:,} images, not {count:,}; use .npz or a directory"
        )
    forms: dict[str, Literal["grid", "npz", "directory"]] = {".png": "grid", ".npz": "npz", "": "directory"}
    return forms[suffix]


def _path(out: str) -> Path:
    try:
        return user_path(out)
    except ValueError as error:
        raise ExportError(f"--out={out}: {error}") from None


def _whole(name: str, text: str, most: int = MAX_SEEDS) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= most):
        raise ExportError(f"{name}={text} must be a whole number from 1 to {most:,}")
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ExportError(f"{name}={text} must be a number, such as 0.7") from None
