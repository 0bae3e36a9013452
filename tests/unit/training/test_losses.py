"""The adversarial loss against numbers worked out by hand."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from distgan.config.method import LOSSES, LossConfig
from distgan.training.losses import BinaryCrossEntropy, build_loss, keras_cross_entropy

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
        assert (loss.real_probabilities(-logits.grad, logits)[0] > 0.5).all()


@pytest.mark.parametrize(("real_label", "sign"), [(1, 1), (0, -1)])
def test_the_probability_of_real_follows_the_convention(real_label, sign):
    logits = sign * _t(-2, 0, 2, 800)
    for probability in _loss(real_label=real_label).real_probabilities(logits, logits):
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
    torch.testing.assert_close(one.real_probabilities(fake, fake), zero.real_probabilities(-fake, -fake))


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


NAMES = [name for name in LOSSES.entries if name != "bce"]
FAKE, REAL = (-0.5, 2.0), (0.25, -3.0)


def _paper(name):
    return build_loss(LOSSES.entries[name].settings())


def _softplus(value):
    return math.log(1 + math.exp(value))


@pytest.mark.parametrize(
    ("name", "of_d", "of_g"),
    [
        (
            "logistic",
            sum(_softplus(f) for f in FAKE) / 2 + sum(_softplus(-r) for r in REAL) / 2,
            sum(_softplus(-f) for f in FAKE) / 2,
        ),
        ("hinge", (0.5 + 3.0) / 2 + (0.75 + 4.0) / 2, -0.75),
        ("least_squares", ((0.25 + 4) / 2 + (0.5625 + 16) / 2) / 2, (2.25 + 1) / 2 / 2),
        ("wasserstein", 0.75 - -1.375, -0.75),
        ("relativistic", (_softplus(-0.75) + _softplus(5.0)) / 2, (_softplus(0.75) + _softplus(-5.0)) / 2),
    ],
)
def test_a_papers_loss_of_a_hand_worked_batch(name, of_d, of_g):
    loss, noise = _paper(name), _t(0, 0)
    torch.testing.assert_close(loss.discriminator(_t(*FAKE), _t(*REAL), noise, noise), _t(of_d)[0])
    torch.testing.assert_close(loss.generator(_t(*FAKE), _t(*REAL)), _t(of_g)[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_papers_loss_drives_fakes_down_in_d_and_up_in_g_and_reals_up_in_d(name):
    fake, real = _t(0.1, 0.2).requires_grad_(), _t(0.3, 0.1).requires_grad_()
    loss, noise = _paper(name), _t(0, 0)
    d_fake, d_real = torch.autograd.grad(loss.discriminator(fake, real, noise, noise), (fake, real))
    (g_fake,) = torch.autograd.grad(loss.generator(fake, real), fake)
    assert (d_fake > 0).all()
    assert (d_real < 0).all()
    assert (g_fake < 0).all()


def test_logistic_is_the_seed_loss_without_noise_up_to_the_mean_over_both_halves():
    fake, real, noise = _t(*FAKE), _t(*REAL), _t(0, 0)
    seed = _loss().discriminator(fake, real, noise, noise)
    torch.testing.assert_close(_paper("logistic").discriminator(fake, real, noise, noise), 2 * seed)
    torch.testing.assert_close(_paper("logistic").generator(fake), _loss().generator(fake))


@pytest.mark.parametrize("name", NAMES)
def test_an_opinion_is_a_probability_that_crosses_one_half_where_the_loss_has_its_boundary(name):
    boundary = {"least_squares": 0.5}.get(name, 0.0)
    pairs = name in ("wasserstein", "relativistic")
    fake, real = _t(-9, 0) if pairs else _t(-9, boundary), _t(9, 0) if pairs else _t(9, boundary)
    of_fake, of_real = _paper(name).real_probabilities(fake, real)
    assert 0 <= of_fake[0] < 1e-3
    assert 1 - 1e-3 < of_real[0] <= 1
    assert of_fake[1] == of_real[1] == 0.5


def test_only_the_relativistic_loss_needs_pairs():
    assert [name for name in NAMES if _paper(name).needs_real_logits] == ["relativistic"]
