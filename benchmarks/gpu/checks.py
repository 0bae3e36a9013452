"""What only a GPU can show: its images are those of the CPU, and no step waits for it.

python -m benchmarks.gpu.checks images FILE                  # a generator file
python -m benchmarks.gpu.checks no_wait RECIPE KEY=VALUE ...  # trains it for some steps, in bf16

The last line is the result. Exit code 1: it is not as it should be.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks.speed.rows import OFF
from distgan.config.load import load_config
from distgan.inference.generator import load_generator
from distgan.training.callbacks import Callback, TrainingState
from distgan.training.fit import fit
from distgan.utils.errors import ConfigError, DistganError

SEEDS = range(64)
MOST_LEVELS = 1  # of 256, between CPU and GPU (docs/sampling.md)
BEFORE, STEPS = 8, 24  # first steps may wait: libraries are loaded, algorithms chosen
WAITS = "synchronizing CUDA operation"  # as torch's warning has it


def difference(file: Path, device: torch.device) -> tuple[int, float]:
    """The same seeds on the CPU and on the device: the largest difference in grey levels, and the share of values that
    differ."""
    one, other = (load_generator(file, torch.device(name)).sample(SEEDS).cpu().int() for name in ("cpu", device))
    apart = (one - other).abs()
    return int(apart.max()), float((apart > 0).double().mean())


def images(file: str) -> int:
    most, share = difference(Path(file), torch.device("cuda"))
    print(f"images of CPU and GPU: at most {most} grey level(s) apart, {share:.3%} of the values differ")
    return 0 if most <= MOST_LEVELS else 1


class Waits(Callback):
    """Notes every wait for the GPU between two steps, and ends training after the later one."""

    def __init__(self, mode: Callable[[str], None], before: int = BEFORE, steps: int = STEPS) -> None:
        """mode: called with "warn", then with "default"; as torch.cuda.set_sync_debug_mode."""
        self.mode, self.before, self.steps = mode, before, steps
        self.noted: list[warnings.WarningMessage] = []
        self.noting = ExitStack()
        self.complete = False

    def on_step(self, state: TrainingState) -> None:
        if state.step == self.before:
            noted = self.noting.enter_context(warnings.catch_warnings(record=True))
            assert noted is not None
            self.noted = noted
            warnings.simplefilter("always")
            self.mode("warn")
        elif state.step == self.before + self.steps:
            self.mode("default")
            self.noting.close()
            self.complete = True
            state.stop()

    @property
    def places(self) -> Counter[str]:
        """Where it waited, and how often."""
        return Counter(f"{noted.filename}:{noted.lineno}" for noted in self.noted if WAITS in str(noted.message))


def no_wait(recipe: str, *overrides: str) -> int:
    """Prints each place where a step waits."""
    waits = Waits(torch.cuda.set_sync_debug_mode)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        fit(load_config(recipe, [*settings(), *overrides, f"run.dir={scratch}"]), [waits])
    if not waits.complete:
        raise ConfigError(f"{recipe} ended before {BEFORE + STEPS} steps; give it more train.images")
    return report(recipe, waits.places)


def settings() -> list[str]:
    """Steps alone, in bf16."""
    own = {
        **OFF,
        "data.prepare": "null",
        "data.classes": "null",
        "train.precision": "bf16",
        "evaluate.every_images": "null",
    }
    return [f"{key}={value}" for key, value in own.items()]


def report(recipe: str, places: Counter[str]) -> int:
    for place, count in places.most_common():
        print(f"{place}: {count} waits in {STEPS} steps")
    print(f"{recipe}: {places.total()} waits for the GPU in {STEPS} steps, bf16")
    return 1 if places else 0


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code; 2: a mistake to mend, told in a sentence."""
    check, *more = arguments or [""]
    try:
        if not torch.cuda.is_available():
            raise ConfigError("torch sees no GPU here; these checks compare one with the CPU")
        if check == "images" and len(more) == 1:
            return images(*more)
        if check == "no_wait" and more:
            return no_wait(*more)
        print(
            f"{' '.join(arguments)!r} is no check; give images FILE, or no_wait RECIPE KEY=VALUE ...", file=sys.stderr
        )
    except (DistganError, OSError) as error:
        print(error, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
