"""Every recipe still computes what it computed when its golden losses were made."""

from __future__ import annotations

import json

import pytest
from golden import HERE, RECIPES, TOLERANCE, play


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_first_steps_give_the_golden_losses(recipe, shapes):
    expected = json.loads((HERE / f"{recipe}.json").read_text())
    for step, (got, golden) in enumerate(zip(play(recipe, shapes), expected, strict=True), 1):
        for name, tolerance in TOLERANCE.items():
            assert got[name] == pytest.approx(golden[name], rel=tolerance), f"{name} at step {step}"


def test_every_recipe_has_golden_losses_and_every_golden_file_a_recipe():
    assert sorted(path.stem for path in HERE.glob("*.json")) == RECIPES
