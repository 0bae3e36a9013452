"""A generator's files: how far their images are from distgan's, how large they are, and how fast.

python -m benchmarks.formats [FILE|RECIPE ...] [--batch 16] [--rounds 7] [--into docs/performance_formats.md]

For each generator every way of running it is loaded into one process. The ways take turns: in each round each makes
images for a second while the others wait, and the order is turned by one. A recipe's name stands for its network with
initial weights, whose last layer is scaled so that images use the whole range. A way that fails says why in its row.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import datetime
import platform
import shlex
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.common.arguments import whole
from benchmarks.common.browser import browsed
from benchmarks.common.machine import processor
from benchmarks.common.markdown import filled
from distgan.config.load import load_config
from distgan.inference.formats import SUFFIXES
from distgan.inference.formats.portable import Portable, example, largest_difference
from distgan.inference.formats.write import CHECKED, FORMATS, write_portable
from distgan.inference.generator import Generator, load_generator
from distgan.inference.generator_file import Description, save_generator
from distgan.networks import build_generator, to_device
from distgan.utils import cpu
from distgan.utils.errors import ExportError
from tests.support.browser import missing

RECIPES = ("quickstart", "dcgan", "sngan_conditional", "r3gan_small")  # one for each family
CLASSES = tuple(f"class {number}" for number in range(10))
SECONDS = 1.0  # of a turn
HEAD = "| generator | file | run by | precision | largest difference | size | images/s | beside eager fp32 | n |"
Model = Callable[..., Tensor]


@dataclass
class Way:
    """One way of running a generator."""

    file: str
    run_by: str
    half: bool
    size: int | None
    """Bytes of the file; None: distgan's file, which is fp32, is converted when it is read."""
    model: Model | None = None
    problem: str = ""
    difference: int = 0
    rates: list[float] = field(default_factory=list)
    """Images per second, of each round."""


def ways_of(generator: Generator, folder: Path) -> Iterator[Way]:
    """Every way, each with its model or the reason why there is none."""
    own = folder / "generator.safetensors"
    save_generator(own, generator.network.state_dict(), generator.description)
    for half in (False, True):
        network = copy.deepcopy(generator.network)
        model = to_device(Portable(network.half() if half else network).eval(), torch.device("cpu"))
        size = None if half else own.stat().st_size
        yield Way("safetensors", "torch, eager", half, size, model)
        yield Way("safetensors", "torch.compile", half, size, torch.compile(model, dynamic=False))
        for name, suffix in SUFFIXES.items():
            yield exported(generator, folder / f"generator{suffix}", name, half)


def exported(generator: Generator, path: Path, name: str, half: bool) -> Way:
    by = {"pt2": "torch.export.load", "torchscript": "torch.jit.load", "onnx": "onnxruntime"}[name]
    try:
        write_portable(generator, path, name, half)  # type: ignore[arg-type]
        return Way(name, by, half, path.stat().st_size, FORMATS[name][1](path.read_bytes()))
    except ExportError as error:
        return Way(name, by, half, None, problem=str(error))


def in_browser(generator: Generator, path: Path, pages: contextlib.ExitStack) -> Way:
    """The explorer's one-file page; the size is the file's, with the runtime."""
    page = pages.enter_context(browsed(generator, path))
    run_by = f"browser, 1 thread of WebAssembly; first image after {page.seconds_to_first_image:.1f} s"
    return Way("html", run_by, False, path.stat().st_size, page)


@torch.no_grad()
def measure(generator: Generator, ways: Sequence[Way], batch: int, rounds: int) -> None:
    """Fills in the differences and the rates."""
    shown, wanted = example(generator, CHECKED), Portable(generator.network)(*example(generator, CHECKED))
    inputs = example(generator, batch)
    for way in ways:
        try:
            if way.model is not None:
                parts = zip(*(each.split(batch) for each in shown), strict=True)
                way.difference = largest_difference(torch.cat([way.model(*part) for part in parts]), wanted)
        except Exception as error:  # of a compiler, or an operator that has no half precision
            way.model, way.problem = None, f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
    running = [way for way in ways if way.model is not None]
    for number in range(rounds):
        for way in running[number % len(running) :] + running[: number % len(running)]:
            way.rates.append(rate(way.model, inputs))


def rate(model: Model | None, inputs: tuple[Tensor, ...]) -> float:
    """Images per second."""
    assert model is not None
    model(*inputs)  # the first after the others' turns finds cold caches
    begin, made = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < SECONDS:
        model(*inputs)
        made += len(inputs[0])
    return made / spent


def row(name: str, way: Way, eager: Way) -> str:
    precision, size = "fp16" if way.half else "fp32", "" if way.size is None else f"{way.size / 2**20:.2f} MiB"
    start = f"| {name} | {way.file} | {way.run_by} | {precision}"
    if not way.rates:
        return f"{start} | fails: {way.problem} | {size} | | | |"
    middle = statistics.median(way.rates)
    low, _, high = statistics.quantiles(way.rates, n=4) if len(way.rates) > 1 else (middle,) * 3
    ratios = [own / other for own, other in zip(way.rates, eager.rates, strict=True)]
    speed = f"{middle:,.0f} ± {50 * (high - low) / middle:.0f}%"
    beside = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"{start} | {way.difference} | {size} | {speed} | {beside} | {len(way.rates)} |"


def generator_of(text: str) -> tuple[str, Generator]:
    """A name, and the generator of a file or of a recipe."""
    if text.endswith(".safetensors"):
        generator = load_generator(text)
        trained = f"{generator.description.config.get('run', {}).get('name', text)}, trained"
        return f"{trained} ({generator.description.generator.family})", generator  # type: ignore[attr-defined]
    settings = load_config(text).generator
    described = Description(
        generator=settings, size=32, class_names=CLASSES, config={}, images_seen=0, data_digest=""
    )  # fmt: skip
    network = build_generator(settings, 32, len(CLASSES)).eval().requires_grad_(False)
    generator = Generator(network, described, "")
    spread(generator)
    return f"{text} ({settings.family})", generator  # type: ignore[attr-defined]


@torch.no_grad()
def spread(generator: Generator) -> None:
    """Scales the last layer, so that the outputs before the clipping have a mean of 0 and a deviation of 0.7."""
    last = [layer for layer in generator.network.modules() if isinstance(layer, nn.Conv2d)][-1]
    made: list[Tensor] = []
    with last.register_forward_hook(lambda *given: made.append(given[-1])):
        generator.sample(range(16))
    scale = 0.7 / made[0].std()
    last.weight *= scale
    if last.bias is not None:
        last.bias.copy_((last.bias - made[0].mean()) * scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="*", metavar="FILE|RECIPE", help=f"default: {' '.join(RECIPES)}")
    parser.add_argument("--batch", type=whole, default=16, metavar="N")
    parser.add_argument("--rounds", type=whole, default=7, metavar="N")
    parser.add_argument("--into", type=Path, metavar="FILE", help="the table goes between its marks, too")
    args = parser.parse_args()
    cpu.keep_freed_memory()
    warnings.simplefilter("ignore")
    lines = [HEAD, "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    print(*lines, sep="\n", flush=True)
    for text in args.generators or RECIPES:
        name, generator = generator_of(text)
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as pages:
            ways = list(ways_of(generator, Path(folder)))
            if not missing():
                ways.append(in_browser(generator, Path(folder, "generator.html"), pages))
            measure(generator, ways, args.batch, args.rounds)
        for way in ways:
            lines.append(row(name, way, ways[0]))
            print(lines[-1], flush=True)
    if args.into:
        args.into.write_text(filled(args.into, "formats", "\n".join([*lines, "", facts(sys.argv[1:])])))


def _shown(argument: str) -> str:
    """An argument as it is told: the place of a generator's file on this machine says nothing."""
    return Path(argument).name if argument.endswith(".safetensors") else argument


def facts(arguments: Sequence[str]) -> str:
    command = shlex.join(["python", "-m", "benchmarks.formats", *map(_shown, arguments)])
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "onnx"))
    machine = f"{torch.get_num_threads()} threads on {processor()}"
    return f"`{command}`; {machine}; {libraries}, Python {platform.python_version()}; {datetime.date.today()}."


if __name__ == "__main__":
    main()
