"""FreezeD: the first layers of D stay as they are, to the bit, and everything else trains as before."""

from __future__ import annotations

import pytest
import torch

from distgan.config.load import resume_changes
from distgan.networks.layers import feature_layers
from distgan.training.checkpoint.state import capture, restore
from distgan.utils.errors import ConfigError
from tests.support.graph_recorder import CpuRecorder
from tests.unit.training.test_execution import assert_same, played
from tests.unit.training.test_trainer import build, moved, noise_batch, reals_of, snapshot

NETWORKS = {  # family: settings, and the layers of its D for images of 32x32
    "seed_dcgan": ("{family: seed_dcgan, width: 8, conditional: true, freeze_layers: %d}", 4),
    "dcgan": ("{family: dcgan, width: 8, conditional: true, freeze_layers: %d}", 7),
    "sngan": ("{family: sngan, width: 8, conditional: true, freeze_layers: %d}", 4),
    "r3gan": (
        "{family: r3gan, widths: [8, 8, 8, 8], blocks: 1, group_width: 8, conditional: true, freeze_layers: %d}",
        6,
    ),
}


def names_of(network, layers):
    """The names of all tensors in some layers."""
    return {
        f"{name}.{tensor}"
        for name, layer in network.named_modules()
        if any(layer is one for one in layers)
        for tensor in layer.state_dict()
    }


@pytest.mark.parametrize("family", NETWORKS)
def test_a_frozen_layer_keeps_its_bits_and_all_else_changes(tiny_config, family):
    settings, _ = NETWORKS[family]
    config = tiny_config(f"discriminator={settings % 2}", "loss.r1_gamma=1", "train.batch_size=6")
    trainer, batches = build(config), reals_of(config).batches(0)
    d, g, layers = trainer.d.network, snapshot(trainer.g.network), feature_layers(trainer.d.network)
    before, frozen = snapshot(d), names_of(d, layers[:2])
    for _ in range(5):
        trainer.step(batches)
    constant = {"head.dense.parametrizations.weight.0.u"}  # the direction of a single row
    assert moved(before, d) == set(before) - frozen - constant
    assert moved(g, trainer.g.network) == set(g)
    assert {name for name, weight in d.named_parameters() if not weight.requires_grad} == {
        name for name in frozen if name in dict(d.named_parameters())
    }


@pytest.mark.parametrize("family", NETWORKS)
def test_more_layers_than_there_are_is_refused_with_their_number(tiny_config, family):
    settings, layers = NETWORKS[family]
    assert len(feature_layers(build(tiny_config(f"discriminator={settings % layers}")).d.network)) == layers
    with pytest.raises(ConfigError, match=f"freeze_layers={layers + 1}: this D has a stack of {layers} layers; use 0"):
        build(tiny_config(f"discriminator={settings % (layers + 1)}"))


@pytest.mark.parametrize("family", NETWORKS)
def test_the_layers_are_in_the_order_of_the_forward(tiny_config, family):
    network = build(tiny_config(f"discriminator={NETWORKS[family][0] % 0}")).d.network.eval()
    order: list[torch.nn.Module] = []
    for layer in (layers := feature_layers(network)):
        layer.register_forward_hook(lambda called, *_: order.append(called))
    network(torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64))
    assert order == layers


def test_a_d_without_a_stack_of_layers_has_none_to_freeze():
    assert feature_layers(torch.nn.Linear(2, 1)) == []


def test_nothing_is_frozen_where_nothing_is_asked_for(tiny_config):
    trainer = build(tiny_config())
    assert len(trainer.d.trained) == len(trainer.d.weights) == len(list(trainer.d.network.parameters()))


def test_g_s_gradients_go_through_the_frozen_layers(tiny_config):
    config = tiny_config("discriminator.freeze_layers=4", "discriminator.dropout=0")
    trainer, free = build(config), build(tiny_config("discriminator.dropout=0"))
    norms = [each._update_generator(noise_batch(config), None)["grad_norm/g"].item() for each in (trainer, free)]
    assert norms[0] == norms[1] > 0


def test_the_norm_of_d_s_weights_counts_the_frozen_ones_too(tiny_config):
    frozen, free = build(tiny_config("discriminator.freeze_layers=2")), build(tiny_config())
    assert frozen.weight_norms() == free.weight_norms()


@pytest.mark.parametrize("rule", ["rmsprop", "adam"])
def test_a_run_with_frozen_layers_goes_on_from_a_checkpoint_with_the_same_bits(tiny_config, rule):
    config = tiny_config("discriminator.freeze_layers=2", f"optimizer.discriminator={{name: {rule}, clip_value: 1}}")
    whole, batches = build(config), reals_of(config).batches(0)
    for _ in range(3):
        whole.step(batches)
    state = capture(whole)
    assert not any(name.startswith("optimizer_d/layers.0") for name in state.tensors)
    resumed = build(config)
    restore(resumed, state)
    later = reals_of(config).batches(3)
    for _ in range(2):
        whole.step(batches)
        resumed.step(later)
    ours, theirs = capture(resumed).tensors, capture(whole).tensors
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not resumed.d.network.layers[0].weight.requires_grad


def test_a_resumed_run_may_not_change_it_since_the_optimiser_s_memory_would_not_fit(tiny_config):
    saved = tiny_config().model_dump(mode="json")
    changed = resume_changes(saved, tiny_config("discriminator.freeze_layers=2"))
    assert changed == ([], ["discriminator.freeze_layers: 0 -> 2"])
    del saved["discriminator"]["freeze_layers"]
    assert resume_changes(saved, tiny_config()) == ([], []), "a checkpoint of an older version"


def test_replayed_updates_of_a_d_with_frozen_layers_give_the_same_bits(tiny_config):
    config = tiny_config("discriminator.freeze_layers=2", "loss.r1_gamma=1")
    replayed = played(config, CpuRecorder)
    assert_same(replayed, played(config))
    assert replayed[3].replayed > 0
