"""Every recipe still computes what it computed when its golden losses were made."""

from __future__ import annotations

import json

import pytest

from tests.golden.record import HERE, NAMES, RECIPES, TOLERANCE, play

HEAVY = ("cifar10", "r3gan", "r3gan_128")  # half a minute and more in float64; float32 runs always


def tier(recipe: str, dtype: str) -> pytest.MarkDecorator:
    return pytest.mark.long if recipe in HEAVY and dtype == "float64" else pytest.mark.slow


@pytest.mark.parametrize(
    ("recipe", "dtype"),
    [pytest.param(recipe, dtype, marks=tier(recipe, dtype)) for recipe in RECIPES for dtype in TOLERANCE],
)
def test_the_first_steps_give_the_golden_losses(recipe, dtype, shapes):
    golden = json.loads((HERE / f"{recipe}.json").read_text())[dtype]
    for step, (got, kept) in enumerate(zip(play(recipe, shapes, dtype), golden, strict=True), 1):
        for name in NAMES:
            assert got[name] == pytest.approx(kept[name], rel=TOLERANCE[dtype]), f"{name} at step {step}"


def test_every_recipe_has_golden_losses_and_every_golden_file_a_recipe():
    assert sorted(path.stem for path in HERE.glob("*.json")) == RECIPES
