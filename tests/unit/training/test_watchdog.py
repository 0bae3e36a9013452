"""What the watchdog calls wrong, on metrics made up for it."""

from __future__ import annotations

import json
import math

import pytest
import torch

from distgan.config.schema import WatchdogConfig
from distgan.data.sources.shapes import render, truth
from distgan.training.samples import diversity, nearest
from distgan.training.watchdog import Finding, Watchdog, WatchdogState
from distgan.utils.errors import CheckpointError

GOOD = {
    "loss/d": 0.6, "loss/g": 0.7, "weight_norm/d": 5.0, "weight_norm/g": 6.0, "grad_norm/d": 1.0, "grad_norm/g": 2.0,
    "d/real_accuracy": 0.8, "d/fake_accuracy": 0.8,
}  # fmt: skip


def lines(watchdog, count, start=0, **changes):
    """Faults found on `count` lines of metrics, fifty steps apart."""
    metrics = GOOD | {key.replace("_norm_", "_norm/"): value for key, value in changes.items()}
    found = []
    for line in range(start + 1, start + count + 1):
        found += watchdog.check(50 * line, metrics)
    return found


def test_good_numbers_are_left_alone():
    assert lines(Watchdog(WatchdogConfig()), 100) == []


@pytest.mark.parametrize("name", ["loss/d", "loss/g", "weight_norm/d", "weight_norm/g"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_found_once_until_it_is_over(name, value):
    watchdog = Watchdog(WatchdogConfig())
    (finding,) = watchdog.check(50, GOOD | {name: value})
    assert finding == Finding("nonfinite", f"{name} is {value}", 49)
    assert watchdog.check(100, GOOD | {name: value}) == []
    assert watchdog.check(150, GOOD) == []
    assert len(watchdog.check(200, GOOD | {name: value})) == 1


def test_a_checkpoint_between_two_lines_does_not_forget_a_loss_that_is_not_finite():
    watchdog, norms = Watchdog(WatchdogConfig()), {name: GOOD[name] for name in ("weight_norm/d", "weight_norm/g")}
    assert len(watchdog.check(100, GOOD | {"loss/d": math.nan})) == 1
    assert watchdog.check_weights(150, norms) == []
    assert watchdog.check(200, GOOD | {"loss/d": math.nan}) == []


def test_a_gradient_norm_that_is_not_finite_is_an_fp16_update_that_was_skipped():
    assert lines(Watchdog(WatchdogConfig()), 30, grad_norm_g=math.inf) == []


def test_a_gradient_above_a_hundred_times_the_median_explodes_and_is_told_once():
    watchdog = Watchdog(WatchdogConfig())
    assert lines(watchdog, 10) == []
    (finding,) = lines(watchdog, 5, start=10, grad_norm_g=201.0)
    assert finding.fault == "exploding"
    assert finding.text == "grad_norm/g 201 is more than 100 times the usual 2"
    assert finding.healthy_step == 500, "the line before it"
    assert lines(watchdog, 1, start=15) == []
    assert len(lines(watchdog, 1, start=16, grad_norm_g=900.0)) == 1


def test_no_gradient_is_unusual_before_five_lines():
    watchdog = Watchdog(WatchdogConfig())
    lines(watchdog, 4)
    assert lines(watchdog, 1, start=4, grad_norm_d=1e9) == []


def test_a_discriminator_that_is_right_about_everything_for_twenty_lines_is_saturated():
    watchdog = Watchdog(WatchdogConfig())
    right = {"d/real_accuracy": 1.0, "d/fake_accuracy": 0.999}
    found = [watchdog.check(50 * line, GOOD | right) for line in range(1, 40)]
    assert [bool(line) for line in found] == [line == 20 for line in range(1, 40)]
    assert found[19][0].healthy_step == 0
    assert watchdog.check(2000, GOOD) == []
    assert not any(watchdog.check(2000 + 50 * line, GOOD | right) for line in range(1, 20)), "the count begins anew"


def test_collapse_is_a_diversity_that_falls_not_one_that_has_not_risen_yet():
    watchdog = Watchdog(WatchdogConfig(diversity_low=0.2))
    assert watchdog.check_samples(500, 0.01) == []
    assert watchdog.check_samples(1000, 0.5) == []
    (finding,) = watchdog.check_samples(1500, 0.1)
    assert (finding.fault, finding.healthy_step) == ("collapse", 1000)
    assert watchdog.check_samples(2000, 0.1) == [], "reported once"


def test_a_rollback_comes_before_a_stop_and_neither_for_what_is_only_said():
    config = WatchdogConfig(nonfinite="stop", exploding="alert", saturated="warn", collapse="rollback")
    findings = [Finding(fault, "", 0) for fault in ("nonfinite", "exploding", "saturated", "collapse")]
    assert Watchdog(config).worst(findings) == findings[3]
    assert Watchdog(config).worst(findings[:3]) == findings[0]
    assert Watchdog(config).worst(findings[1:3]) is None
    assert Watchdog(config).reaction(findings[2]) == "warn"


def test_the_memory_survives_a_checkpoint():
    whole, first = Watchdog(WatchdogConfig()), Watchdog(WatchdogConfig())
    lines(whole, 7, grad_norm_g=3.0)
    lines(first, 4, grad_norm_g=3.0)
    second = Watchdog(WatchdogConfig())
    second.restore({"watchdog": json.loads(json.dumps(first.memory.model_dump(mode="json")))})
    lines(second, 3, start=4, grad_norm_g=3.0)
    assert second.memory == whole.memory
    second.restore({})
    assert second.memory == WatchdogState(), "an older checkpoint has none"


@pytest.mark.parametrize("memory", [{"norms": {"grad_norm/g": ["x"]}}, {"saturated": 3}, {"step": 1e300}, [], 7])
def test_a_forged_memory_is_a_damaged_checkpoint(memory):
    with pytest.raises(CheckpointError, match=r"the checkpoint is damaged: watchdog[.:]"):
        Watchdog(WatchdogConfig()).restore({"watchdog": memory})


def test_the_step_to_go_back_to_is_the_earliest_of_the_faults_that_roll_back():
    watchdog = Watchdog(WatchdogConfig(exploding="rollback", saturated="rollback", collapse="rollback"))
    watchdog.check_samples(30, 0.9)
    lines(watchdog, 1)
    watchdog.check(100, GOOD | {"d/real_accuracy": 1.0, "d/fake_accuracy": 1.0})
    assert watchdog.healthy_step(120) == 30
    watchdog.check_samples(110, 0.9)
    assert watchdog.healthy_step(120) == 50, "D may be saturated since"
    lines(watchdog, 1, start=2)
    assert watchdog.healthy_step(160) == 110
    assert Watchdog(WatchdogConfig()).healthy_step(7) == 7, "every checkpoint's weights are finite"


def test_diversity_is_1_for_reals_and_0_for_copies_and_low_for_few_modes():
    images = torch.from_numpy(render(truth(0, "train", torch.arange(128).numpy())).transpose(0, 3, 1, 2).copy())
    reals, others = images[:64], images[64:]
    assert diversity(reals, reals) == 1.0
    assert diversity(others, reals) == pytest.approx(1, abs=0.3)
    assert diversity(reals[:1].expand(64, -1, -1, -1), reals) == 0
    assert diversity(reals[:4].repeat(16, 1, 1, 1), reals) == 0
    assert math.isnan(diversity(reals[:1], reals))


def test_diversity_by_hand():
    """Four flat images, grey levels 0, 1, 3, 7: nearest others are 1, 1, 2, 4 levels away."""
    levels = torch.tensor([0, 1, 3, 7], dtype=torch.uint8)[:, None, None, None].expand(4, 3, 16, 16)
    doubled = 2 * levels
    assert diversity(doubled, levels) == pytest.approx(2)
    assert nearest(levels) == pytest.approx((1 + 1 + 2 + 4) / 4 * (3 * 64) ** 0.5)
