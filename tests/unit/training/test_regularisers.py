"""Mode seeking: the closed form, the pairs, and what cannot go together."""

from __future__ import annotations

import pytest
import torch

from distgan.training.regularisers import in_pairs, mode_seeking
from distgan.utils.errors import ConfigError
from tests.unit.training.test_trainer import build, noise_batch


def levels(*values):
    """Images of one level each, [b, 3, 2, 2]."""
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, 2, 2).clone().requires_grad_()


def test_mode_seeking_is_how_much_nearer_a_pair_is_than_two_real_images():
    fakes, reals = levels(0.0, 0.2, 0.5, -0.5), levels(0.0, 0.4, 0.0, 0.8)  # 0.2 of 0.4, 1 of 0.8
    found = mode_seeking([fakes], [reals], 0.9)
    assert found.item() == pytest.approx((0.9 - 0.5 + 0) / 2)
    found.backward()
    assert fakes.grad[0].sum() > 0 > fakes.grad[1].sum(), "a descent takes near images apart"
    assert not fakes.grad[2:].any()


def test_every_scale_counts_alike_whatever_its_level():
    fine, coarse = (levels(0.0, 0.1), levels(0.0, 0.4)), (levels(0.0, 50.0), levels(0.0, 100.0))
    found = mode_seeking([fine[0], coarse[0]], [fine[1], coarse[1]], 1.0)
    assert found.item() == pytest.approx((0.75 + 0.5) / 2)


def test_two_rows_have_one_class():
    assert in_pairs(torch.tensor([3, 1, 4, 1, 5, 9])).tolist() == [3, 3, 4, 4, 5, 5]


def test_the_fakes_of_g_s_update_come_in_pairs_of_one_class(tiny_config):
    config = tiny_config("loss={name: hinge, mode_seeking: {weight: 1}}")
    trainer = build(config)
    draws, labels = trainer.draws.at("", 0), noise_batch(config).labels
    fakes = trainer._fakes("g", draws, trainer.g.network, labels)
    assert torch.equal(fakes.classes[::2], fakes.classes[1::2])
    assert len(fakes.classes.unique()) > 1
    assert not torch.equal(fakes.images[::2], fakes.images[1::2])
    of_d = trainer._fakes("d", draws, trainer.g.network, labels).classes
    assert not torch.equal(of_d[::2], of_d[1::2]), "D compares no pairs"


def test_it_changes_g_s_gradients_and_no_loss_that_is_told(tiny_config):
    steps = []
    for weight in (1e-9, 10):
        config = tiny_config(f"loss={{name: hinge, mode_seeking: {{weight: {weight}}}}}")
        steps.append(build(config)._update_generator(noise_batch(config), None))
    assert torch.equal(steps[0]["loss/g"], steps[1]["loss/g"])
    assert not torch.isclose(steps[0]["grad_norm/g"], steps[1]["grad_norm/g"])


def test_its_weight_follows_a_schedule_and_ends_at_nothing(tiny_config):
    amounts = []
    for weight in ("1", "{start: 4, end: 0, images: 16, shape: linear}"):
        config = tiny_config(f"loss={{name: hinge, mode_seeking: {{weight: {weight}}}}}", "train.batch_size=8")
        trainer = build(config)
        trainer.d.updates = 1  # half of the schedule
        amounts.append(trainer._update_generator(noise_batch(config), None)["loss/mode_seeking"])
    assert amounts[1] == 2 * amounts[0] > 0
    trainer.d.updates = 2
    assert "loss/mode_seeking" not in trainer._update_generator(noise_batch(config), None)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["train.batch_size=15"], "a process makes 15 at a time; use an even number"),
        (["loss.gradient_penalty=1"], "gives each fake the class of a real image"),
        (["loss={name: relativistic, mode_seeking: {weight: 1}}"], "gives each fake the class of a real image"),
    ],
)
def test_what_makes_no_pairs_is_refused_in_a_sentence(tiny_config, overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build(tiny_config("loss={name: hinge, mode_seeking: {weight: 1}}", *overrides))


def test_a_discriminator_without_features_to_compare_is_refused_in_a_sentence(tiny_config):
    with pytest.raises(ConfigError, match="has none to compare; use discriminator.family=projected, or on=images"):
        build(tiny_config("loss={name: hinge, mode_seeking: {weight: 1, on: features}}"))


def test_two_reals_that_are_one_ask_for_no_distance_and_leave_the_gradient_finite():
    fakes, reals = levels(0.0, 0.2), levels(0.3, 0.3)
    found = mode_seeking([fakes], [reals], 1.0)
    found.backward()
    assert found.item() == 0
    assert torch.equal(fakes.grad, torch.zeros_like(fakes))


def test_features_of_augmented_fakes_are_not_compared(tiny_config):
    with pytest.raises(ConfigError, match=r"takes the augmentation of two fakes for their distance; use augment\.kind"):
        tiny_config("loss={name: hinge, mode_seeking: {weight: 1, on: features}}", "augment={kind: diffaugment}")


def test_features_are_compared_in_the_precision_of_the_training(tiny_config):
    pytest.importorskip("efficientnet_lite_pytorch")
    config = tiny_config(
        "loss={name: hinge, mode_seeking: {weight: 1, on: features}}", "train.precision=bf16",
        "discriminator={family: projected, conditional: true, width: 8}",
    )  # fmt: skip
    trainer, seen = build(config), []
    trainer.featured.heads[0].convs[0].register_forward_hook(lambda _, __, x: seen.append(x.dtype))
    trainer._update_generator(noise_batch(config), None)
    assert seen == [torch.bfloat16]
