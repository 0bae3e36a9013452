"""The arguments of each source of `distgan prepare`."""

from __future__ import annotations

import argparse
import math
import re
from typing import Any

from distgan.config.command_line import to_path
from distgan.config.yaml_loader import plain_value
from distgan.data.fit import Fit
from distgan.data.sources.mnist import Mnist
from distgan.data.sources.shapes import SIZE, SIZES, Shapes
from distgan.data.sources.webdataset import WebDataset
from distgan.utils.limits import MAX_SIZE
from distgan.utils.names import split_names
from distgan.utils.paths import name_as_text

OUTSIDE = "outside"
TEST_ONLY, WITH_VAL = ("train", "test"), ("train", "val", "test")


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Adds a sub-parser per source."""
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")

    def add(name: str, splits: tuple[str, ...], text: str) -> argparse.ArgumentParser:
        return sources.add_parser(name, parents=[_common_arguments(splits)], help=text)

    _shapes(add("shapes", TEST_ONLY, "ten kinds of drawn shapes; needs no download"))
    _cifar10(add("cifar10", TEST_ONLY, "CIFAR-10, downloaded or from a local archive"))
    _cifar100(add("cifar100", TEST_ONLY, "CIFAR-100, downloaded or from a local archive"))
    _mnist(add("mnist", TEST_ONLY, "MNIST, Fashion-MNIST or KMNIST, downloaded or from idx files"))
    _folder(add("folder", WITH_VAL, "your own images, in a folder per class or without classes"))
    _zip(add("zip", WITH_VAL, "the images in a zip file, as StyleGAN's tools or anybody else wrote it"))
    _webdataset(add("webdataset", WITH_VAL, "tar shards of any maker, in a directory or behind a URL"))
    _hf(add("hf", WITH_VAL, "a data set of the Hugging Face hub, or parquet files in a directory"))
    _npz(add("npz", WITH_VAL, "an array of images in a NumPy archive"))
    _outside(add(OUTSIDE, WITH_VAL, "a source of your own, package.module:Name (docs/extending.md)"))


def _shapes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=positive, default=Shapes.count, metavar="N", help="images (20000)")
    parser.add_argument("--size", type=int, choices=SIZES, default=SIZE, help="pixels high and wide (32)")
    parser.add_argument("--channels", choices=("rgb", "gray"), default="rgb", help="three channels, or one (rgb)")


def _cifar10(parser: argparse.ArgumentParser) -> None:
    _from(parser, "cifar-10-binary.tar.gz, cifar-10-python.tar.gz or the unpacked directory")
    _shape_options(parser)


def _cifar100(parser: argparse.ArgumentParser) -> None:
    _from(parser, "cifar-100-binary.tar.gz, cifar-100-python.tar.gz or the unpacked directory")
    parser.add_argument(
        "--labels", choices=("fine", "coarse"), default="fine", help="the 100 classes, or their 20 groups (fine)"
    )
    _shape_options(parser)


def _mnist(parser: argparse.ArgumentParser) -> None:
    _from(parser, "directory of the idx files (train-images-idx3-ubyte, ...), packed with gzip or not")
    parser.add_argument(
        "--variant", choices=("mnist", "fashion", "kmnist"), default="mnist", help="which of the three (mnist)"
    )
    _shape_options(parser, fit=Mnist.fit, channels=Mnist.channels)


def _folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", type=to_path, metavar="DIR",
        help="holds images, or one sub-folder of them per class, or train/ and test/ with either",
    )  # fmt: skip
    _class_options(parser)
    _image_options(parser)


def _zip(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive", type=to_path, metavar="FILE", help="a .zip; it is not unpacked")
    _class_options(parser)
    _image_options(parser)


def _webdataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shards", metavar="SHARDS",
        help="a directory of tar files, one of them, or DIR/{000..009}.tar; also https://, s3://, hf://, gs://, az://",
    )  # fmt: skip
    parser.add_argument(
        "--label", default=WebDataset.label, metavar="WHERE",
        help="the class: cls (the file KEY.cls), json:FIELD (a field of KEY.json), none; "
        "auto: cls where the first image has one (auto)",
    )  # fmt: skip
    parser.add_argument(
        "--download-dir", type=to_path, metavar="DIR", help="keeps the shards of a URL (default: OUT/../downloads)"
    )
    _image_options(parser)


def _hf(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dataset", metavar="NAME", help="OWNER/NAME[@REVISION], hf://datasets/OWNER/NAME[/PATH], or a local directory"
    )
    parser.add_argument("--config", metavar="NAME", help="which part of a data set that has several")
    parser.add_argument("--image-column", metavar="NAME", help="column of the images (default: found)")
    parser.add_argument("--label-column", metavar="NAME", help="column of the classes, or none (default: found)")
    _image_options(parser)


def _npz(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive", type=to_path, metavar="FILE", help="an .npz with an array uint8 [N, H, W(, C)]")
    parser.add_argument("--images-key", metavar="NAME", help="its array of images (default: found by name)")
    parser.add_argument("--labels-key", metavar="NAME", help="its array of labels (default: found by name)")
    _shape_options(parser)


def _outside(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="package.module:Name; the word `outside` may be left out")
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="a setting of the source (may be repeated)"
    )


def _from(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--from", dest="archive", type=to_path, metavar="PATH", help=text)
    parser.add_argument(
        "--download-dir", type=to_path, metavar="DIR", help="keeps the archive (default: OUT/../downloads)"
    )


def _class_options(parser: argparse.ArgumentParser) -> None:
    """Options of sources that have files in folders."""
    parser.add_argument("--no-classes", action="store_true", help="read all images as one class")
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="table of labels beside the images, .csv, .tsv or .jsonl (default: found by name)",
    )
    parser.add_argument("--label-column", metavar="NAME", help="its column of the class (default: found by name)")
    parser.add_argument(
        "--label-pattern",
        metavar="REGEX",
        help="finds the class in a file's path, as '([^/]+)_[0-9]+' does in dog_12.jpg",
    )


def _shape_options(parser: argparse.ArgumentParser, fit: str = Fit.fit, channels: str = Fit.channels) -> None:
    """Options of sources whose images may have any shape, with the source's defaults."""
    parser.add_argument("--size", type=_size, default=Fit.size, metavar="N", help=f"pixels high and wide ({Fit.size})")
    parser.add_argument(
        "--fit", choices=("crop", "pad", "stretch"), default=fit,
        help=f"the central square, all of the image on black (never enlarged), or both sides scaled ({fit})",
    )  # fmt: skip
    parser.add_argument(
        "--channels", choices=("rgb", "gray"), default=channels, help=f"three channels or one ({channels})"
    )


def _image_options(parser: argparse.ArgumentParser) -> None:
    """Options of sources of encoded images."""
    _shape_options(parser)
    parser.add_argument("--skip-bad", action="store_true", help="leave out files that are not images, and list them")
    parser.add_argument(
        "--white", type=_above_zero, metavar="VALUE",
        help="value that becomes white in grey images of more than 8 bits, such as 4095 for a 12-bit camera (65535)",
    )  # fmt: skip
    parser.add_argument(
        "--keep-format", action="store_true", help="keep JPEG, PNG and WebP files of this size and channels as they are"
    )


class _DryRun(argparse.Action):
    """`--dry-run`, which needs no --out."""

    def __init__(self, out: argparse.Action, **options: Any) -> None:
        super().__init__(nargs=0, default=False, **options)
        self.out = out

    def __call__(self, _parser: Any, namespace: argparse.Namespace, _values: Any, _option: str | None = None) -> None:
        self.out.required = False
        setattr(namespace, self.dest, True)


def _common_arguments(splits: tuple[str, ...]) -> argparse.ArgumentParser:
    """Returns a parser with the arguments of all sources. splits: those that the source may have."""
    common = argparse.ArgumentParser(add_help=False)
    out = common.add_argument(
        "--out", type=to_path, required=True, metavar="DIR", help="target directory; new or empty"
    )
    common.add_argument("--split", choices=splits, default="train", help="part of the source (train)")
    common.add_argument("--classes", type=_names, metavar="A,B", help="only these classes, by name (default: all)")
    common.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="at most N images, chosen by the seed (with --keep-order: the first)",
    )
    common.add_argument("--shard-size", type=positive, default=1000, metavar="N", help="images per shard (1000)")
    common.add_argument(
        "--layout", choices=("pictures", "blocks"), default="pictures",
        help="a PNG per sample (default), or hundreds of raw images: larger, and many times as fast to stream",
    )  # fmt: skip
    common.add_argument("--seed", type=natural, default=0, metavar="N", help="seed of all random choices (0)")
    common.add_argument("--keep-order", action="store_true", help="keep the source's order instead of mixing classes")
    common.add_argument("--overwrite", action="store_true", help="replace the data set at --out")
    common.add_argument("--verify", action="store_true", help="only check the finished data set at --out again")
    common.add_argument(
        "--dry-run",
        action=_DryRun,
        out=out,
        help="read everything, write nothing: classes, counts, sizes, what is left out",
    )
    common.add_argument("--quiet", action="store_true", help="show no progress")
    return common


def _names(text: str) -> tuple[str, ...]:
    return split_names(name_as_text(text))


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    return _at_least(text, 1)


def natural(text: str) -> int:
    """A whole number from 0 on, for argparse."""
    return _at_least(text, 0)


def _size(text: str) -> int:
    value = _at_least(text, 1)
    if value > MAX_SIZE:
        raise argparse.ArgumentTypeError(f"'{text}' is above {MAX_SIZE}, the largest size")
    return value


def _above_zero(text: str) -> float:
    value = plain_value(text) if len(text) < 30 else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0, such as 4095")
    return float(value)


def _at_least(text: str, minimum: int) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) < minimum:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of {minimum} or more")
    return int(text)
