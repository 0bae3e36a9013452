"""Main directions of a latent space, in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distgan.inference.directions import main_directions
from distgan.inference.generator import load_generator
from distgan.utils.errors import ExportError
from tests.unit.inference.test_formats import RECIPES, generator_of
from tests.unit.inference.test_sampling import NAMES


def test_a_layer_that_stretches_its_inputs_by_known_factors_has_their_axes_as_directions():
    layer = nn.Linear(4, 6)
    turn = torch.linalg.qr(torch.randn(6, 4, generator=torch.Generator().manual_seed(0))).Q
    layer.weight.data = turn * torch.tensor([1.0, 5.0, 0.5, 3.0])
    axes = torch.eye(4)[[1, 3, 0, 2]]
    torch.testing.assert_close(main_directions(nn.Sequential(layer), 4), axes, atol=1e-5, rtol=0)


@pytest.mark.parametrize("recipe", RECIPES)
def test_directions_of_every_family_are_orthogonal_and_the_first_changes_most_what_layers_make_of_latents(recipe):
    found = generator_of(recipe)
    directions, latent_dim = found.directions(), found.latent_dim
    torch.testing.assert_close(directions @ directions.T, torch.eye(latent_dim), atol=1e-4, rtol=0)
    layers = (
        [s for stage in found.network.stages for s in stage.styles]
        if recipe == "cifar10_cpu"
        else [found.network.dense]
    )
    weights = torch.cat([layer.weight[:, :latent_dim].detach() for layer in layers])
    effects = (weights @ directions.T).norm(dim=0)
    assert (effects.diff() <= 1e-4).all()
    strongest = torch.linalg.matrix_norm(weights, 2)
    torch.testing.assert_close(effects[0], strongest, rtol=1e-4, atol=0)


def test_a_transposed_convolution_is_a_first_layer_too():
    layer = nn.ConvTranspose2d(3, 2, 4)
    torch.testing.assert_close(
        main_directions(layer, 3), main_directions(_dense(layer.weight.detach().flatten(1).T), 3), atol=1e-5, rtol=0
    )


def _dense(weight):
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data = weight
    return layer


def test_the_first_direction_of_a_trained_generator_changes_images_more_than_any_by_chance_and_the_last_less():
    demo = load_generator("demo")
    directions, seeds = demo.directions(), range(40)

    def change(vector):
        latents, labels = demo.latents(seeds), demo.labels(seeds)
        there, back = (demo.pixels(latents + way * vector, labels).float() for way in (1.5, -1.5))
        return (there - back).abs().mean().item()

    by_chance = torch.randn(10, 48, generator=torch.Generator().manual_seed(0))
    chances = [change(vector / vector.norm()) for vector in by_chance]
    assert change(directions[0]) > 2 * max(chances)
    assert change(directions[-1]) < min(chances) / 2


def test_a_network_from_outside_may_name_the_layers_that_take_its_latents():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 5))
    assert torch.equal(main_directions(network, 3), main_directions(network[0], 3))
    network.latent_layers = [network[1]]
    assert torch.equal(main_directions(network, 3), main_directions(network[1], 3))


def test_a_network_without_such_a_layer_is_a_sentence():
    with pytest.raises(ExportError, match=r"no dense or convolutional layer for latents of 4 numbers"):
        main_directions(nn.Sequential(nn.ReLU(), nn.Linear(3, 3)), 4)


def test_moves_add_directions_to_the_latents_after_truncation(generator):
    moved = generator.latents([5], truncation=0.5, move={1: 2.0, 3: -1.0})
    directions = generator.directions()
    wanted = generator.latents([5], truncation=0.5) + 2 * directions[0] - directions[2]
    torch.testing.assert_close(moved, wanted)


@pytest.mark.parametrize("move", [{0: 1.0}, {9: 1.0}, {1: float("nan")}])
def test_a_direction_that_does_not_exist_is_a_sentence(generator, move):
    with pytest.raises(ExportError, match=r"must be a direction from 1 to 8 and a finite distance"):
        generator.latents([0], move=move)


def test_a_mixture_weighs_its_classes_and_the_whole_of_one_is_that_class(conditional):
    assert conditional.labels([1, 2], {NAMES[0]: 0.25, NAMES[2]: 0.75}).tolist() == [[0.25, 0.0, 0.75]] * 2
    assert torch.equal(conditional.sample(range(4), {NAMES[1]: 1.0}), conditional.sample(range(4), NAMES[1]))


@pytest.mark.parametrize("shares", [{"frog": 0.5}, {"frog": 1.5, "cat": -0.5}, {"frog": float("nan")}, {}])
def test_shares_that_do_not_add_up_to_one_are_a_sentence(conditional, shares):
    with pytest.raises(ExportError, match=r"must be 0 or more and add up to 1"):
        conditional.sample([0], shares)
