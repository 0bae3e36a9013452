"""Gradient penalties against closed forms."""

import math

import pytest
import torch

from distgan.config.method import LOSSES
from distgan.config.schedule import Schedule
from distgan.training.penalties import Weights, build_penalty, gradient_penalty, input_gradients, mix, slopes_needed


def _images(count, kinds=("fake", "real")):
    return {kind: torch.randn(count, 3, 4, 4, dtype=torch.float64, requires_grad=True) for kind in kinds}


ALL = ("fake", "real", "mixed")


def _linear(images, weight):
    """Logits of a linear critic, of all kinds joined."""
    return torch.cat([*images.values()]).flatten(1) @ weight


def _loss(**penalties):
    return LOSSES.entries["logistic"].settings(**penalties)


def test_the_squared_gradient_of_a_linear_critic_is_its_squared_weight_norm():
    weight, images = torch.randn(48, dtype=torch.float64), _images(2)
    for slopes in input_gradients(images, _linear(images, weight)).values():
        torch.testing.assert_close(slopes.square().sum((1, 2, 3)), weight.square().sum().expand(2))


def test_r1_is_of_the_reals_and_r2_of_the_fakes():
    images = _images(3)  # the gradient of |x|^2 is 2 x
    logits = torch.cat([*images.values()]).flatten(1).square().sum(1)
    fakes, reals = (4 * part.mean() for part in logits.detach().chunk(2))
    for weights, expected in (
        (Weights(r1=3.0), 1.5 * reals),
        (Weights(r2=5.0), 2.5 * fakes),
        (Weights(r1=3.0, r2=5.0), 1.5 * reals + 2.5 * fakes),
    ):
        torch.testing.assert_close(gradient_penalty(weights, images, logits), expected)


def test_a_slope_is_by_the_image_before_what_it_goes_through():
    weight, images = torch.randn(48, dtype=torch.float64), _images(2)
    seen = {"fake": 3 * images["fake"], "real": images["real"].flip(3)}
    found = gradient_penalty(Weights(r1=1.0, r2=1.0), images, _linear(seen, weight))
    torch.testing.assert_close(found, (9 + 1) / 2 * weight.square().sum())


def test_slopes_of_opposite_heads_do_not_cancel_in_r1_whose_expectation_is_the_mean_of_each_head_s():
    weight, images = torch.zeros(48, 2, dtype=torch.float64), _images(2)
    weight[0] = torch.tensor([10.0, -10.0])  # the mean of the heads is flat
    logits = _linear(images, weight)
    found = [
        gradient_penalty(Weights(r1=2.0), images, logits, None, signs.expand(4, 2)).item()
        for signs in torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    ]
    assert sum(found) / 4 == pytest.approx(100.0)
    assert gradient_penalty(Weights(r1=2.0), images, logits).item() == 0


def test_the_wasserstein_penalty_is_of_the_mean_of_the_heads_whatever_their_signs():
    weight, images = torch.zeros(48, 2, dtype=torch.float64), _images(2, ALL)
    weight[0] = torch.tensor([4.0, 2.0])  # slope 3 of the mean
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).expand(6, 2)
    found = gradient_penalty(Weights(r1=2.0, mixed=10.0), images, _linear(images, weight), None, signs)
    assert found.item() == pytest.approx((4 - 2) ** 2 / 2 + 10 * (3 - 1) ** 2)


def test_the_wasserstein_penalty_is_of_the_mixtures_distance_from_slope_one():
    weight = torch.zeros(48, dtype=torch.float64)
    weight[0] = 3.0  # slope 3 everywhere
    images = _images(2, ALL)
    found = gradient_penalty(Weights(mixed=10.0), images, _linear(images, weight))
    assert found.item() == pytest.approx(10 * (3 - 1) ** 2, rel=1e-9)


@pytest.mark.parametrize(("slope", "expected"), [(3.0, 4.0), (0.5, 0.0)])
def test_the_penalty_wgan_lp_is_of_slopes_above_one_only(slope, expected):
    weight = torch.zeros(48, dtype=torch.float64)
    weight[0] = slope
    config = _loss(penalty={"name": "wgan_lp", "weight": 10.0})
    weights, further, images = Weights.of_d(config, 0, 0), build_penalty(config), _images(2, ALL)
    found = gradient_penalty(weights, images, _linear(images, weight), further)
    assert slopes_needed(weights, further) == {"mixed"}
    assert found.item() == pytest.approx(10 * expected, rel=1e-9)
    assert config.penalised == ("loss.penalty.weight",)


def test_a_flat_critic_gives_a_finite_gradient_of_the_penalty():
    weight = torch.zeros(48, dtype=torch.float64, requires_grad=True)
    images = _images(1, ALL)
    gradient_penalty(Weights(mixed=10.0), images, _linear(images, weight)).backward()
    assert torch.isfinite(weight.grad).all()


def test_the_penalty_can_be_differentiated():
    weight, images = torch.randn(48, dtype=torch.float64, requires_grad=True), _images(2)
    (slope,) = torch.autograd.grad(gradient_penalty(Weights(r1=2.0), images, _linear(images, weight)), weight)
    torch.testing.assert_close(slope, 2 * weight.detach())  # of gamma / 2 |w|^2


def test_a_mixture_lies_between_its_fake_and_its_real():
    fakes, reals = torch.zeros(3, 3, 2, 2), torch.ones(3, 3, 2, 2)
    mixed = mix(torch.cat([fakes, reals]), torch.tensor([0.0, 0.25, 1.0]))
    assert mixed.flatten(1).unique(dim=1).tolist() == [[0.0], [0.25], [1.0]]


def test_a_lazy_penalty_is_taken_every_so_many_updates_with_so_many_times_the_weight():
    config = _loss(r1_gamma=2.0, r2_gamma=1.0, gradient_penalty=10.0, penalty_every_steps=4)
    weights = [Weights.of_d(config, update, 0) for update in range(8)]
    assert weights[0] == weights[4] == Weights(8.0, 4.0, 40.0)
    assert [any(w.taken) for w in weights] == [True, False, False, False] * 2
    eager = Weights.of_d(_loss(r1_gamma=2.0, r2_gamma=1.0, gradient_penalty=10.0), 3, 0)
    assert sum(w.r1 or 0 for w in weights) == 8 * eager.r1, "the same on average"


def test_gamma_follows_its_schedule_over_the_images():
    config = _loss(r1_gamma=Schedule(start=2.0, end=0.2, images=1000, shape="cosine"))
    values = [Weights.of_d(config, 0, images).r1 for images in (0, 250, 500, 1000, 5000)]
    assert values == pytest.approx([2.0, 0.2 + 1.8 * (1 + math.cos(math.pi / 4)) / 2, 1.1, 0.2, 0.2])


def test_a_gamma_that_is_ever_above_zero_counts_as_a_penalty():
    growing = Schedule(start=0.0, end=1.0, images=10)
    assert _loss(r1_gamma=growing, gradient_penalty=1.0).penalised == ("loss.r1_gamma", "loss.gradient_penalty")
    assert _loss().penalised == ()
