"""The adversarial loss against numbers worked out by hand."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from distgan.losses import BinaryCrossEntropy, gradient_penalty, keras_cross_entropy
from distgan.recipe import LossConfig

LN2 = math.log(2)


def _loss(**config):
    return BinaryCrossEntropy(LossConfig(**config))


def _t(*values):
    return torch.tensor(values, dtype=torch.float64)


def _entropy(logit, target):
    """Cross-entropy of sigmoid(logit) with one target, written out."""
    probability = 1 / (1 + math.exp(-logit))
    return -(target * math.log(probability) + (1 - target) * math.log(1 - probability))


def _targets(loss, fake_noise, real_noise):
    """The labels of (fake, real), read off the loss: its slope at logit 0 is (1/2 - target) / 2, for a pair."""
    fake, real = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    fake.requires_grad_()
    real.requires_grad_()
    loss.discriminator(fake, real, _t(fake_noise), _t(real_noise)).backward()
    return 0.5 - 2 * fake.grad.item(), 0.5 - 2 * real.grad.item()


def test_an_undecided_discriminator_loses_ln_2():
    loss = _loss()
    assert loss.discriminator(_t(0, 0), _t(0, 0), _t(0, 0), _t(0, 0)).item() == pytest.approx(LN2, rel=1e-15)
    assert loss.generator(_t(0, 0)).item() == pytest.approx(LN2, rel=1e-15)


@pytest.mark.parametrize("cross_entropy", ["logits", "keras_clipped"])
def test_a_hand_worked_batch(cross_entropy):
    loss = _loss(real_label=0, label_noise=0.05, cross_entropy=cross_entropy)
    value = loss.discriminator(_t(2.0, -1.0), _t(0.5, -3.0), _t(0.5, 1.0), _t(0.2, 0.0))
    pairs = [(2.0, 0.975), (-1.0, 0.95), (0.5, 0.01), (-3.0, 0.0)]
    assert value.item() == pytest.approx(sum(_entropy(*pair) for pair in pairs) / 4, rel=1e-12)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("real_label", "direction", "fake", "real"),
    [
        (0, "inward", lambda u: 1 - 0.05 * u, lambda u: 0.05 * u),
        (1, "inward", lambda u: 0.05 * u, lambda u: 1 - 0.05 * u),
        (0, "outward", lambda u: 1 + 0.05 * u, lambda u: 0.05 * u),  # as the document has it
        (1, "outward", lambda u: 0.05 * u, lambda u: 1 + 0.05 * u),
    ],
)
def test_labels_move_inward_or_upwards(noise, real_label, direction, fake, real):
    config = {"real_label": real_label, "label_noise": 0.05, "noise_direction": direction}
    entropies = ["keras_clipped"] if direction == "outward" else ["logits", "keras_clipped"]
    for cross_entropy in entropies:
        targets = _targets(_loss(**config, cross_entropy=cross_entropy), noise, 1 - noise)
        assert targets == pytest.approx((fake(noise), real(1 - noise)), abs=1e-12)


@pytest.mark.parametrize("real_label", [0, 1])
def test_smoothing_moves_the_real_label_only(real_label):
    targets = _targets(_loss(real_label=real_label, label_smoothing=0.1), 0.7, 0.7)
    assert targets == pytest.approx((1 - real_label, 0.9 if real_label else 0.1), abs=1e-12)


@pytest.mark.parametrize("real_label", [0, 1])
def test_smoothing_and_inward_noise_add_up(real_label):
    fake, real = _targets(_loss(real_label=real_label, label_smoothing=0.1, label_noise=0.2), 0.5, 0.5)
    assert (fake, real) == pytest.approx((0.1, 0.8) if real_label else (0.9, 0.2), abs=1e-12)


def test_the_loss_is_the_mean_over_the_joined_batch():
    loss = _loss()
    zeros = torch.zeros(3, dtype=torch.float64)
    joined = loss.discriminator(_t(1, 2, 3), _t(-1, 0, 4), zeros, zeros)
    both = F.softplus(_t(1, 2, 3)).mean() + F.softplus(-_t(-1, 0, 4)).mean()
    torch.testing.assert_close(joined, both / 2)
    parts = [loss.discriminator(_t(a), _t(b), _t(0), _t(0)) for a, b in [(1, -1), (2, 0), (3, 4)]]
    torch.testing.assert_close(joined, sum(parts) / 3)


@pytest.mark.parametrize("real_label", [0, 1])
def test_the_generators_loss_is_cross_entropy_with_real_without_noise_or_smoothing(real_label):
    logits = _t(-2, 0.5, 3)
    loss = _loss(real_label=real_label, label_noise=0.5, label_smoothing=0.4)
    torch.testing.assert_close(loss.generator(logits), F.softplus(-logits if real_label else logits).mean())


def test_the_generator_is_driven_towards_what_the_discriminator_calls_real():
    for real_label in (0, 1):
        loss, logits = _loss(real_label=real_label), torch.zeros(4, requires_grad=True)
        loss.generator(logits).backward()
        assert (loss.probability(-logits.grad) > 0.5).all()


@pytest.mark.parametrize(("real_label", "sign"), [(1, 1), (0, -1)])
def test_the_probability_of_real_follows_the_convention(real_label, sign):
    probability = _loss(real_label=real_label).probability(sign * _t(-2, 0, 2, 800))
    torch.testing.assert_close(probability, _t(1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-2)), 1))


@pytest.mark.parametrize("cross_entropy", ["logits", "keras_clipped"])
def test_the_other_label_with_negated_logits_is_the_same_game(cross_entropy):
    config = {"label_noise": 0.1, "label_smoothing": 0.2, "cross_entropy": cross_entropy}
    one, zero = _loss(real_label=1, **config), _loss(real_label=0, **config)
    generator = torch.Generator().manual_seed(0)
    fake, real = (torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(2))
    noise = [torch.rand(5, generator=generator, dtype=torch.float64) for _ in range(2)]
    torch.testing.assert_close(one.discriminator(fake, real, *noise), zero.discriminator(-fake, -real, *noise))
    torch.testing.assert_close(one.generator(fake), zero.generator(-fake))
    torch.testing.assert_close(one.probability(fake), zero.probability(-fake))


def test_keras_cross_entropy_equals_the_exact_one_away_from_saturation():
    logits, targets = torch.linspace(-10, 10, 41, dtype=torch.float64), torch.linspace(0, 1, 41, dtype=torch.float64)
    exact = F.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(keras_cross_entropy(logits, targets), exact, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("logit", "target"), [(40.0, 0.0), (-40.0, 1.0), (1000.0, 0.0)])
def test_keras_cross_entropy_of_a_certain_mistake_is_minus_log_of_epsilon(logit, target):
    # Keras 3.15.1 in float64: 16.118095
    assert keras_cross_entropy(_t(logit), _t(target)).item() == pytest.approx(-math.log(1e-7), rel=1e-9)


def test_keras_cross_entropy_with_outward_labels_is_bounded_below():
    # a certain D on labels of 1.05: -(1.05 log(1 - 1e-7) - 0.05 log(1e-7))
    floor = -(1.05 * math.log1p(-1e-7) - 0.05 * math.log(1e-7))
    assert keras_cross_entropy(_t(40), _t(1.05)).item() == pytest.approx(floor, rel=1e-9)
    assert keras_cross_entropy(_t(1e6), _t(1.05)).item() == pytest.approx(floor, rel=1e-9)
    assert F.binary_cross_entropy_with_logits(_t(1e6), _t(1.05)).item() < -49_000  # what the refusal is about


def test_keras_cross_entropy_is_finite_in_single_precision():
    logits = torch.tensor([200.0, -200.0, 17.0, -17.0])
    for target in (0.0, 1.0, 1.05):
        logits.grad = None
        value = keras_cross_entropy(logits.requires_grad_(), torch.full((4,), target))
        value.backward()
        assert value.isfinite()
        assert logits.grad.isfinite().all()


def test_a_clipped_probability_gives_no_gradient():
    logits = _t(40.0, 0.0).requires_grad_()
    keras_cross_entropy(logits, _t(0, 0)).backward()
    assert logits.grad.tolist() == [0, 0.25]


def test_outward_noise_on_logits_is_refused():
    with pytest.raises(ValidationError, match="no lower bound"):
        LossConfig(label_noise=0.05, noise_direction="outward")


def test_gradient_penalty_of_a_linear_critic_is_its_squared_weight_norm():
    weight = torch.randn(48, dtype=torch.float64)
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(images, images.flatten(1) @ weight)
    torch.testing.assert_close(penalty, weight.square().sum().expand(2))


def test_gradient_penalty_is_zero_for_images_whose_logits_are_not_given():
    images = torch.randn(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    logits = images.flatten(1).square().sum(1)
    penalty = gradient_penalty(images, logits[2:])
    torch.testing.assert_close(penalty[2:], 4 * logits[2:].detach(), check_dtype=False)
    assert torch.equal(penalty[:2], torch.zeros(2, dtype=torch.float64))
