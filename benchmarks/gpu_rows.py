"""The rows of a machine with a GPU: each recipe's step by batch, precision and mode, beside the same eager loop."""

from __future__ import annotations

from dataclasses import replace

from rows import Row, peaks, step

SIZES = (20, 64, 256, 1024)
MODES = {
    "eager": {"train.compile": "off", "train.graphs": "off"},
    "compiled": {"train.compile": "on", "train.graphs": "off"},
    "graphs": {"train.compile": "off", "train.graphs": "on"},
}
CALLS = {"bf16": 600, "no": 60}  # about a second


def gpu_rows() -> list[Row]:
    return [
        *peaks(CALLS),
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


def in_mode(mode: str, row: Row) -> Row:
    ours = row.ours._replace(options={**row.ours.options, **MODES[mode]})
    return replace(row, key=f"{row.key}_{mode}", what=f"{row.what}, {mode}", ours=ours)
