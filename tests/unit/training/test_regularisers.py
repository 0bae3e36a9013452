"""Mode seeking: the closed form, the pairs, and what cannot go together."""

from __future__ import annotations

import pytest
import torch

from distgan.training.regularisers import in_pairs, mode_seeking
from distgan.utils.errors import ConfigError
from tests.unit.training.test_trainer import build, noise_batch


def test_mode_seeking_is_how_much_nearer_than_the_distance_a_pair_is():
    levels = torch.tensor([0.0, 0.2, 0.5, -0.5])  # distances 0.2 and 1
    images = levels[:, None, None, None].expand(4, 3, 2, 2).clone().requires_grad_()
    found = mode_seeking(images, 0.5)
    assert found.item() == pytest.approx((0.3 + 0) / 2)
    found.backward()
    assert images.grad[0].sum() > 0 > images.grad[1].sum(), "a descent takes near images apart"
    assert not images.grad[2:].any()


def test_two_rows_have_one_class():
    assert in_pairs(torch.tensor([3, 1, 4, 1, 5, 9])).tolist() == [3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize("purpose", ["d", "g"])
def test_fakes_come_in_pairs_of_one_class_in_both_updates(tiny_config, purpose):
    config = tiny_config("loss={name: hinge, mode_seeking: 1}")
    trainer = build(config)
    fakes = trainer._fakes(purpose, trainer.draws.at("", 0), trainer.g.network, noise_batch(config).labels)
    assert torch.equal(fakes.classes[::2], fakes.classes[1::2])
    assert len(fakes.classes.unique()) > 1
    assert not torch.equal(fakes.images[::2], fakes.images[1::2])


def test_it_changes_g_s_gradients_and_no_loss_that_is_told(tiny_config):
    steps = []
    for weight in (1e-9, 10):
        config = tiny_config(f"loss={{name: hinge, mode_seeking: {weight}}}")
        steps.append(build(config)._update_generator(noise_batch(config), None))
    assert torch.equal(steps[0]["loss/g"], steps[1]["loss/g"])
    assert not torch.isclose(steps[0]["grad_norm/g"], steps[1]["grad_norm/g"])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["train.batch_size=15"], "a process makes 15 at a time; use an even number"),
        (["loss.gradient_penalty=1"], "gives each fake the class of a real image"),
        (["loss={name: relativistic, mode_seeking: 1}"], "gives each fake the class of a real image"),
    ],
)
def test_what_makes_no_pairs_is_refused_in_a_sentence(tiny_config, overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build(tiny_config("loss={name: hinge, mode_seeking: 1}", *overrides))
