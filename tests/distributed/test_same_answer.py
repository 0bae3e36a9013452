"""One process and two give the same weights, average, optimiser state, balance and logged means."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from processes import TORCHRUN, run

GAME = str(Path(__file__).parent / "game.py")


def play(out: Path, processes: int, overrides: list[str], steps: int = 12) -> list[dict]:
    launcher = (sys.executable,) if processes == 1 else (*TORCHRUN, str(processes))
    code, output = run([*launcher, GAME, str(out), str(steps), "float64", *overrides], PYTHONPATH=".")
    assert code == 0, output
    return [torch.load(f"{out}.{rank}", weights_only=True) for rank in range(processes)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        ("train.accumulation=1", "data.mode=resident", "data.flip=true", "generator.dropout=0.1", "loss.r1_gamma=0.5"),
        ("train.accumulation=3", "train.d_steps=2", "data.mode=resident", "loss.label_smoothing=0.1",
         "balance.enabled=true", "balance.every_steps=3", "balance.accuracy_high=0.51", "balance.accuracy_low=0.5",
         "balance.d_loss_low=9", "balance.g_loss_high=0.01"),
    ],
    ids=["plain", "accumulated"],
)  # fmt: skip
def test_two_processes_train_as_one_does_to_1e_12_in_float64(tiny, tmp_path, recipe):
    overrides = tiny(*recipe)
    one = play(tmp_path / "one", 1, overrides)[0]
    two = play(tmp_path / "two", 2, overrides)
    for rank in two:
        assert rank["values"] == one["values"]
        assert rank["levels"] == one["levels"]
        for name in one["tensors"].keys() - {"window"}:
            torch.testing.assert_close(rank["tensors"][name], one["tensors"][name], rtol=1e-10, atol=1e-12)
        for name, value in one["metrics"].items():
            assert rank["metrics"][name] == pytest.approx(value, rel=1e-6)
    assert all(torch.equal(two[0]["tensors"][name], two[1]["tensors"][name]) for name in one["tensors"])
