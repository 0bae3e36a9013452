"""Every recipe still computes what it computed when its golden losses were made."""

from __future__ import annotations

import json

import pytest

from tests.golden.record import HERE, NAMES, RECIPES, TOLERANCE, play


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_first_steps_give_the_golden_losses(recipe, dtype, shapes):
    golden = json.loads((HERE / f"{recipe}.json").read_text())[dtype]
    for step, (got, kept) in enumerate(zip(play(recipe, shapes, dtype), golden, strict=True), 1):
        for name in NAMES:
            assert got[name] == pytest.approx(kept[name], rel=TOLERANCE[dtype]), f"{name} at step {step}"


def test_every_recipe_has_golden_losses_and_every_golden_file_a_recipe():
    assert sorted(path.stem for path in HERE.glob("*.json")) == RECIPES
