"""Update rules against their formulas, and Keras' RMSprop against Keras."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from distgan.config.method import Adam, AdamW, Rmsprop, UpdateRule
from distgan.training.checkpoint.state import capture, restore
from distgan.training.optim import KerasRMSprop, build_optimizer, inverse_time
from tests.unit.training.test_trainer import build, reals_of

START = [1.0, -2.0, 0.5, 3.0]
GRADIENTS = [[0.1, -1e-4, 0.0, 5.0], [0.2, 3e-4, 1e-5, -1.0], [0.0, 1e-3, 2.0, 0.5]]
KERAS = {  # keras.optimizers.RMSprop(learning_rate, rho=0.9, epsilon=1e-7) of Keras 3.15.1, torch backend, float64
    0.0: [
        [0.9683788051253596, -1.9968534161926939, 0.5, 2.968377224737596],
        [0.9398076687332728, -2.005902870651524, 0.4996837880512536, 2.9749005051835304],
        [0.9398076687332728, -2.027781513345379, 0.46806101610959594, 2.971482575704662],
    ],
    0.5: [  # learning_rate=InverseTimeDecay(0.01, decay_steps=1, decay_rate=0.5)
        [0.9683788051253596, -1.9968534161926939, 0.5, 2.968377224737596],
        [0.9493313813074509, -2.0028863856914483, 0.49978919203907735, 2.9727260782669642],
        [0.9493313813074509, -2.0138257070383756, 0.48397780606824853, 2.97101711353753],
    ],
}


def _weight(values=START):
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def _run(optimizer, weight, gradients=GRADIENTS, lr=None):
    path = []
    for step, gradient in enumerate(gradients):
        weight.grad = torch.tensor(gradient, dtype=weight.dtype)
        if lr:
            optimizer.param_groups[0]["lr"] = lr(step)
        optimizer.step()
        path.append(weight.detach().clone().numpy())
    return np.array(path)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_rmsprop_with_decay_takes_the_steps_that_keras_takes(decay):
    weight = _weight()
    path = _run(KerasRMSprop([weight], 0.01), weight, lr=lambda step: inverse_time(0.01, decay, step))
    np.testing.assert_allclose(path, KERAS[decay], rtol=0, atol=4e-9)  # Keras keeps its rate in float32


def test_rmsprop_is_its_formula_with_epsilon_under_the_root():
    weight, mean, expected = _weight(), np.zeros(4), np.array(START)
    path = _run(KerasRMSprop([weight], lr=0.01, rho=0.8, eps=1e-3), weight)
    for row, gradient in zip(path, np.array(GRADIENTS), strict=True):
        mean = 0.8 * mean + 0.2 * gradient**2
        expected = expected - 0.01 * gradient / np.sqrt(mean + 1e-3)
        np.testing.assert_allclose(row, expected, rtol=1e-14)


def test_rmsprop_is_not_torchs_where_gradients_are_small():
    ours, torchs = _weight([1.0]), _weight([1.0])
    _run(KerasRMSprop([ours], 0.01, 0.9, 1e-7), ours, [[1e-4]])
    _run(torch.optim.RMSprop([torchs], 0.01, 0.9, 1e-7), torchs, [[1e-4]])
    assert 1 - ours.item() == pytest.approx(0.01 * 1e-4 / (1e-9 + 1e-7) ** 0.5, rel=1e-12)
    assert 1 - torchs.item() == pytest.approx(0.01 * 1e-4 / (1e-9**0.5 + 1e-7), rel=1e-12)


def test_rmsprop_leaves_weights_without_a_gradient_alone():
    moved, still = _weight(), _weight()
    optimizer = KerasRMSprop([moved, still], 0.01)
    moved.grad = torch.ones_like(moved)
    optimizer.step()
    assert still.tolist() == START
    assert len(optimizer.state) == 1
    KerasRMSprop([_weight()], 0.01).step()  # no gradient at all


def test_rmsprop_keeps_channels_last_weights_and_means():
    weight = nn.Parameter(torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last))
    optimizer = KerasRMSprop([weight], 0.01)
    weight.grad = torch.randn(4, 3, 5, 5)
    expected = weight.detach() - 0.01 * weight.grad / (0.1 * weight.grad**2 + 1e-7).sqrt()
    optimizer.step()
    torch.testing.assert_close(weight.detach(), expected)
    assert optimizer.state[weight]["square_mean"].is_contiguous(memory_format=torch.channels_last)


def test_the_state_of_rmsprop_is_one_mean_per_weight_and_goes_on_after_a_reload():
    weight, other = _weight(), _weight()
    optimizer = KerasRMSprop([weight], 0.01)
    _run(optimizer, weight, GRADIENTS[:2])
    state = copy.deepcopy(optimizer.state_dict())
    assert list(state["state"]) == [0]
    assert list(state["state"][0]) == ["square_mean"]
    assert state["state"][0]["square_mean"].shape == weight.shape
    assert {key: state["param_groups"][0][key] for key in ("lr", "rho", "eps")} == {"lr": 0.01, "rho": 0.9, "eps": 1e-7}

    resumed = KerasRMSprop([other], 1.0, 0.5, 1.0)
    resumed.load_state_dict(state)
    with torch.no_grad():
        other.copy_(weight)
    np.testing.assert_array_equal(_run(resumed, other, GRADIENTS[2:]), _run(optimizer, weight, GRADIENTS[2:]))


def test_gradients_clipped_by_value_are_cut_entry_by_entry():
    weight, cut = _weight(), _weight()
    weight.grad = torch.tensor([0.5, -3.0, 1.0, 7.0], dtype=torch.float64)
    torch.nn.utils.clip_grad_value_([weight], 1.0)  # what Player.update calls with clip_value
    assert weight.grad.tolist() == [0.5, -1, 1, 1]
    KerasRMSprop([weight], 0.01).step()
    _run(KerasRMSprop([cut], 0.01), cut, [[0.5, -1.0, 1.0, 1.0]])
    assert torch.equal(weight, cut)


def test_inverse_time_decay_counts_updates_from_zero():
    assert [inverse_time(8.0, 1.0, updates) for updates in (0, 1, 3, 7)] == [8, 4, 2, 1]
    assert inverse_time(4e-4, 1e-8, 10_000) == pytest.approx(4e-4 / 1.0001, rel=1e-15)
    assert inverse_time(4e-4, 0.0, 10**9) == 4e-4


@pytest.mark.parametrize(
    ("config", "kind", "values"),
    [
        (Rmsprop(lr=0.1, rho=0.8, eps=1e-3), KerasRMSprop, {"lr": 0.1, "rho": 0.8, "eps": 1e-3}),
        (
            Adam(lr=0.1, beta1=0.2, beta2=0.3, eps=1e-3),
            torch.optim.Adam,
            {"lr": 0.1, "betas": (0.2, 0.3), "eps": 1e-3, "weight_decay": 0},
        ),
        (
            AdamW(lr=0.1, beta1=0.2, beta2=0.3, eps=1e-3, weight_decay=0.4),
            torch.optim.AdamW,
            {"lr": 0.1, "betas": (0.2, 0.3), "eps": 1e-3, "weight_decay": 0.4},
        ),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_configuration_chooses_rule_and_values_for_all_weights(config, kind, values):
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    optimizer = build_optimizer(config, network.parameters())
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {key: group[key] for key in values} == values
    assert [id(weight) for weight in group["params"]] == [id(weight) for weight in network.parameters()]


def test_adam_is_its_formula():
    weight = _weight()
    network = nn.Module()
    network.weight = weight
    path = _run(build_optimizer(Adam(lr=0.01, beta1=0.5, beta2=0.9, eps=1e-8), network.parameters()), weight)
    first, second, expected = np.zeros(4), np.zeros(4), np.array(START)
    for step, (row, gradient) in enumerate(zip(path, np.array(GRADIENTS), strict=True), 1):
        first, second = 0.5 * first + 0.5 * gradient, 0.9 * second + 0.1 * gradient**2
        expected = expected - 0.01 * first / (1 - 0.5**step) / (np.sqrt(second / (1 - 0.9**step)) + 1e-8)
        np.testing.assert_allclose(row, expected, rtol=1e-12)


class Mixed(torch.optim.Optimizer):
    """Momentum for matrices, nothing for the rest: not every weight has a state."""

    class Settings(UpdateRule):
        pass

    def __init__(self, settings, weights):
        super().__init__(weights, {"lr": settings.lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if weight.ndim > 1:
                    state = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                    weight.add_(state.mul_(0.9).add_(weight.grad), alpha=-group["lr"])
                else:
                    weight.add_(weight.grad, alpha=-group["lr"])


def test_an_optimizer_from_outside_whose_weights_have_different_states_is_resumed(tiny_config):
    rule = f"{{name: {__name__}:Mixed, lr: 1e-3}}"
    config = tiny_config(f"optimizer={{generator: {rule}, discriminator: {rule}}}")
    batches = reals_of(config).batches(0)
    trainer = build(config)
    trainer.step(batches)
    state = capture(trainer)
    trainer.step(reals_of(config).batches(1))
    again = build(config)
    restore(again, state)
    again.step(reals_of(config).batches(1))
    for one, other in zip(trainer.g.network.parameters(), again.g.network.parameters(), strict=True):
        assert torch.equal(one, other)
