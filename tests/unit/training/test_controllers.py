"""Controllers: when the balance acts, how far, and the way back; ADA's probability; one that a user adds."""

import math
from types import SimpleNamespace

import pytest
import torch

from distgan.config.method import Ada
from distgan.config.schedule import Schedule
from distgan.config.schema import BalanceConfig
from distgan.training.augment import Augmenter
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.state import capture, restore
from distgan.training.controllers.ada import AdaController, AdaSchedule
from distgan.training.controllers.balance import BalanceController, dropout, last_level, lr_scale, next_action
from distgan.training.controllers.base import Controller
from distgan.utils.errors import CheckpointError, ConfigError
from tests.unit.training.test_trainer import build, reals_of

CONFIG = BalanceConfig()  # D loss < 0.2, accuracies >= 0.95, G loss > 2; back below 0.85
OVERWHELMED = {"loss/d": 0.19, "loss/g": 2.01, "d/real_accuracy": 0.95, "d/fake_accuracy": 0.95}
BETWEEN = {"loss/d": 0.5, "loss/g": 1.0, "d/real_accuracy": 0.9, "d/fake_accuracy": 0.9}
BALANCED = {"loss/d": 0.69, "loss/g": 0.7, "d/real_accuracy": 0.84, "d/fake_accuracy": 1.0}


def test_the_watched_metrics_are_all_that_a_decision_needs():
    assert set(BalanceController.watches) == set(OVERWHELMED)
    assert next_action(CONFIG, 0.4, 0, {**OVERWHELMED, "else": math.nan}) == 1


@pytest.mark.parametrize(
    ("level", "means", "expected"),
    [
        (0, OVERWHELMED, 1),
        (3, OVERWHELMED, 1),
        (5, OVERWHELMED, 0),  # both limits are reached
        (9, OVERWHELMED, 0),
        (0, BETWEEN, 0),
        (3, BETWEEN, 0),
        (0, BALANCED, 0),  # nothing to undo
        (1, BALANCED, -1),
        (5, BALANCED, -1),
        (9, BALANCED, -1),
    ],
)
def test_the_decision_is_a_function_of_level_and_means(level, means, expected):
    assert next_action(CONFIG, 0.4, level, means) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"loss/d": 0.2},
        {"loss/g": 2.0},
        {"d/real_accuracy": 0.949},
        {"d/fake_accuracy": 0.949},
        {"loss/d": math.nan},
        {"loss/g": math.nan},
    ],
)
def test_d_overwhelms_only_if_all_conditions_hold(change):
    assert next_action(CONFIG, 0.4, 1, OVERWHELMED | change) == 0


@pytest.mark.parametrize("side", ["d/real_accuracy", "d/fake_accuracy"])
def test_balance_has_returned_when_either_accuracy_is_below_the_limit(side):
    assert next_action(CONFIG, 0.4, 1, BETWEEN | {side: 0.849}) == -1
    assert next_action(CONFIG, 0.4, 1, BETWEEN | {side: 0.85}) == 0


def test_levels_have_exact_values():
    assert [lr_scale(CONFIG, level) for level in range(7)] == [1, 0.5, 0.25, 0.125, 0.0625, 0.05, 0.05]
    shares = [dropout(CONFIG, 0.4, level) for level in range(6)]
    assert shares == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.7, 0.7], rel=1e-15)


def test_dropout_never_falls_below_the_configured_one():
    assert [dropout(CONFIG, 0.8, level) for level in range(4)] == [0.8] * 4


@pytest.mark.parametrize(
    ("config", "base", "expected"),
    [
        (CONFIG, 0.4, 5),  # 0.5**5 < 0.05 <= 0.5**4
        (BalanceConfig(lr_scale_min=0.25), 0.4, 3),  # dropout needs three steps, the rate two
        (BalanceConfig(lr_scale_min=0.25), 0.6, 2),
        (BalanceConfig(lr_scale_min=1, dropout_step=0), 0.4, 0),
        (BalanceConfig(lr_scale_min=1), 0.9, 0),
        (BalanceConfig(lr_factor=0.1, lr_scale_min=0.001, dropout_step=0), 0.4, 3),
        (BalanceConfig(lr_scale_min=1, dropout_step=0.1), 0.0, 7),
    ],
)
def test_the_last_level_is_the_first_where_both_limits_are_reached(config, base, expected):
    assert last_level(config, base) == expected
    floor, ceiling = config.lr_scale_min, max(config.dropout_max if config.dropout_step else base, base)
    assert lr_scale(config, expected) == pytest.approx(floor)
    assert dropout(config, base, expected) == pytest.approx(ceiling)
    if expected:
        reached = lr_scale(config, expected - 1) <= floor * 1.001, dropout(config, base, expected - 1) >= ceiling - 1e-3
        assert not all(reached)


def test_a_siege_goes_up_to_the_last_level_and_back_down_to_zero():
    level, path = 0, []
    for means in [OVERWHELMED] * 7 + [BETWEEN] * 2 + [BALANCED] * 7:
        level += next_action(CONFIG, 0.4, level, means)
        path.append(level)
    assert path == [1, 2, 3, 4, 5, 5, 5, 5, 5, 4, 3, 2, 1, 0, 0, 0]


# ADA


def ada(**settings):
    """An augmenter and its controller: 2 steps of 50 images between two moves."""
    config = Ada(every_steps=2, **settings)
    trainer = SimpleNamespace(augment=Augmenter(config, torch.device("cpu")), images_seen=0)
    if config.target is None:
        return trainer, AdaSchedule(config, trainer)
    return trainer, AdaController(config, config.target, 50, trainer)


def accuracy(value):
    return {"d/real_accuracy": torch.tensor(value)}


def test_p_rises_while_d_is_too_sure_of_the_reals_and_falls_to_zero_when_it_is_not():
    trainer, controller = ada(target=0.6, speed_images=1000)
    for _ in range(3):
        controller.act(accuracy(0.9))  # mean sign 0.8
    assert trainer.augment.p.item() == pytest.approx(0.3)
    for _ in range(4):
        controller.act(accuracy(0.7))  # mean sign 0.4
    assert trainer.augment.p.item() == 0.0


def test_p_follows_a_schedule_where_it_has_one_and_nothing_else():
    trainer, controller = ada(p=Schedule(start=0.0, end=0.3, images=100, shape="linear"), target=None)
    assert trainer.augment.p.item() == 0.0
    assert controller.watches == ()
    trainer.images_seen = 50
    controller.act({})
    assert trainer.augment.p.item() == pytest.approx(0.15)


# One that a user adds: `controllers: [package.module:Patience]`


class Patience(Controller):
    """Halves both learning rates when G's loss has not fallen."""

    watches = ("loss/g",)
    every_steps = 2

    def __init__(self, settings, trainer):
        self.trainer, self.best = trainer, float("inf")
        self.set_factor(1.0)

    def set_factor(self, factor):
        for player in ("g", "d"):
            self.trainer.lr_factors[player]["patience"] = factor

    def act(self, means):
        loss = means["loss/g"].item()
        if loss < self.best:
            self.best = loss
            return ""
        self.set_factor(self.trainer.lr_factors["g"]["patience"] / 2)
        return f"patience: learning rates halved at step {self.trainer.steps}"

    def line_metrics(self):
        return {"patience/best": self.best}

    def state(self):
        factor = self.trainer.lr_factors["g"]["patience"]
        return storage.State({}, {"patience_best": self.best, "patience_factor": factor})

    def load_state(self, state):
        self.best = state.values["patience_best"]
        self.set_factor(storage.factor(state.values["patience_factor"]))


PATIENCE = f"{__name__}:Patience"


def test_a_controller_from_outside_watches_acts_reports_and_is_saved(tiny_config, tmp_path):
    config = tiny_config(f"controllers={PATIENCE}")
    trainer, batches = build(config), reals_of(config).batches(0)
    controller = trainer.controllers.by_name[PATIENCE]
    losses = [trainer.step(batches)["loss/g"].item() for _ in range(2)]
    assert controller.best == pytest.approx(sum(losses) / 2)
    assert trainer.line_metrics()["patience/best"] == controller.best
    controller.best = -1.0  # from now on nothing is better
    trainer.step(batches)
    assert (trainer.g_lr, trainer.controllers.take_reports()) == (4e-4, []), "in the middle of a window"
    state = capture(trainer)
    trainer.step(batches)
    assert (trainer.g_lr, trainer.d_lr) == (2e-4, 2e-4)
    assert trainer.controllers.take_reports() == ["patience: learning rates halved at step 4"]

    path = storage.save(tmp_path, 3, *state)
    again = build(config)
    restore(again, storage.load(path))
    assert again.controllers.by_name[PATIENCE].best == -1.0
    assert again.controllers.windows[PATIENCE].steps == 1
    again.step(reals_of(config).batches(3))
    assert again.g_lr == 2e-4
    restore(again, state)
    assert again.g_lr == 4e-4, "a rollback takes back what the controller has done since"


def test_a_checkpoint_without_a_controller_s_state_does_not_fit(tiny_config):
    state = capture(build(tiny_config()))
    with pytest.raises(CheckpointError, match="does not fit"):
        restore(build(tiny_config(f"controllers={PATIENCE}")), state)


class Misspelt(Controller):
    watches, every_steps = ("loss/generator",), 1

    def __init__(self, settings, trainer):
        pass


class Untyped(Controller):
    def __init__(self, settings, trainer):
        pass

    def state(self):
        return {"n": 1}


def test_a_controller_that_watches_what_no_step_measures_is_told_the_nearest_metric(tiny_config):
    config = tiny_config(f"controllers={__name__}:Misspelt")
    with pytest.raises(ConfigError, match="Misspelt watches loss/generator, which no step measures; nearest: loss/g"):
        build(config).step(reals_of(config).batches(0))


def test_a_controller_s_state_that_is_no_state_is_told(tiny_config):
    with pytest.raises(ConfigError, match=r"Untyped: state\(\) returns dict; return distgan.extend.State"):
        capture(build(tiny_config(f"controllers={__name__}:Untyped")))
