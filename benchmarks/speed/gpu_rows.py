"""The rows of a machine with a GPU: each recipe as it is, then steps by batch, precision and mode beside an eager loop.

Those with targets come first: `--rows 'peak_*,own_*,step_seed_frogs_bf16_20_*'`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from benchmarks.speed.interleave import Side
from benchmarks.speed.rows import OFF, Row, peaks, step, training

SIZES = (20, 64, 256, 1024)
MODES = {
    "eager": {"train.compile": "off", "train.graphs": "off"},
    "compiled": {"train.compile": "on", "train.graphs": "off"},
    "graphs": {"train.compile": "off", "train.graphs": "on"},
}
CALLS = {"bf16": 600, "no": 60}  # about a second
MODERN = {
    "dcgan": 50,
    "sngan": 10,
    "sngan_conditional": 10,
    "r3gan_small": 48,
    "cifar10": 4,
    "r3gan": 4,
    "cifar10_cpu": 20,
}
"""Recipe -> steps of a turn: with lazy penalties, a multiple of their interval."""
ROOM = {"r3gan": {"train.accumulation": "4"}}
"""Its two sides are on one GPU."""
UNSHARED = {"cifar10_cpu": {"train.share_fakes": "false"}}
"""CUDA graphs know no shared fakes, and all three sides are to do the same."""
MODERN_SHARE = 0.40
TWICE_THE_FLOOR = 0.50
"""At most twice the time that the FLOPs would take at the peak."""


def gpu_rows() -> list[Row]:
    return [
        *peaks(CALLS),
        *own(),
        *(
            in_mode(mode, step(recipe, bare, 20, precision, batch))
            for recipe, bare in (("seed_frogs", "seed"), ("sngan", "sngan"), ("r3gan_small", "r3gan"))
            for batch in SIZES
            for precision in ("bf16", "no")
            for mode in MODES
        ),
        *(
            in_mode(mode, step("seed_frogs", "seed", 20, "fp16", batch))
            for batch in SIZES
            for mode in ("eager", "graphs")
        ),
    ]


def own() -> Iterator[Row]:
    """Each modern recipe in its own batch, in bf16; compiled and with graphs beside eager."""
    for recipe, steps in MODERN.items():
        sides = {mode: own_side(recipe, steps, mode, settings) for mode, settings in MODES.items()}
        for mode, side in sides.items():
            yield Row(
                f"own_{recipe}_{mode}",
                f"step of {recipe}, its own batch{', in 4 micro-batches' if recipe in ROOM else ''}, bf16, {mode}",
                side,
                sides["eager"] if mode != "eager" else None,
                precision="bf16",
                share_of_peak=MODERN_SHARE,
            )


def own_side(recipe: str, steps: int, mode: str, settings: Mapping[str, str]) -> Side:
    own = ROOM.get(recipe, {}) | UNSHARED.get(recipe, {})
    return training(recipe, steps, OFF | {"train.precision": "bf16"} | settings | own, mode)


def in_mode(mode: str, row: Row) -> Row:
    """The seed recipe in its own batch is to take at most twice the time that its FLOPs need."""
    ours = row.ours._replace(options={**row.ours.options, **MODES[mode]})
    made = replace(row, key=f"{row.key}_{mode}", what=f"{row.what}, {mode}", ours=ours)
    return replace(made, share_of_peak=TWICE_THE_FLOOR) if row.key == "step_seed_frogs_bf16_20" else made
