"""FastGAN's generator: parameters, noise, excitation, classes, sizes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from distgan.config.networks import FastganGenerator
from distgan.networks import build_generator, check_same_answer
from distgan.networks.dropout import KeyedNoise, key_layers, keyed
from distgan.utils.errors import ConfigError
from distgan.utils.rng import Draws, Rows
from tests.support.keys import key_rows

WIDTHS = {32: (12, 8, 8, 6), 64: (12, 8, 8, 6, 4), 128: (12, 8, 8, 6, 4, 4)}


def small(size=32, **more):
    return build_generator(FastganGenerator(latent_dim=5, widths=WIDTHS[size], **more), size, 10)


def noisy(generator):
    with torch.no_grad():
        for layer in keyed(generator):
            layer.weight.fill_(1.0)
    return generator


def test_the_generator_has_the_parameters_that_its_page_names():
    generator = build_generator(FastganGenerator(), 32, 1)
    assert sum(weight.numel() for weight in generator.parameters()) == 1_385_705
    published = build_generator(FastganGenerator(modulated=False), 32, 1)
    assert sum(weight.numel() for weight in published.parameters()) == 1_271_017


@torch.no_grad()
def test_the_latent_vector_reaches_every_stage_only_where_it_modulates():
    for modulated in (True, False):
        generator = small(modulated=modulated).eval()
        for stage in generator.stages:
            maps = torch.randn(1, stage.convs[0].in_channels, 4, 4)
            one, other = (stage(maps, torch.randn(1, 5)) for _ in range(2))
            assert torch.equal(one, other) != modulated


@torch.no_grad()
def test_a_class_changes_the_image_from_the_start():
    generator, latents = small(conditional=True).eval(), torch.randn(1, 5)
    one, other = (generator(latents, torch.tensor([label])) for label in (0, 1))
    assert not torch.allclose(one, other, rtol=1e-3)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_it_makes_images_of_the_sizes_32_to_128(size):
    assert small(size)(torch.randn(2, 5)).shape == (2, 3, size, size)


@pytest.mark.parametrize(("size", "reach", "count"), [(32, 4, 0), (32, 3, 1), (64, 4, 1), (128, 4, 2), (128, 1, 5)])
def test_each_stage_that_has_one_so_many_stages_later_excites_it(size, reach, count):
    generator = small(size, excitation_stages=reach)
    assert len(generator.excitations) == count
    generator(torch.randn(2, 5)).sum().backward()
    assert all(weight.grad.any() for weight in generator.excitations.parameters())


@torch.no_grad()
def test_an_excitation_multiplies_the_channels_of_the_later_stage():
    generator = small(excitation_stages=3).eval()
    seen = {}
    generator.stages[2].register_forward_hook(lambda _, __, x: seen.update(x=x))
    generator.to_rgb.register_forward_pre_hook(lambda _, given: seen.update(weighted=given[0]))
    generator.excitations[0].register_forward_hook(lambda _, __, factors: seen.update(factors=factors))
    generator(torch.randn(2, 5))
    assert seen["factors"].shape == (2, 6, 1, 1)
    torch.testing.assert_close(seen["weighted"], seen["x"] * seen["factors"])


@torch.no_grad()
def test_noise_is_a_function_of_its_key_and_a_seed_is_an_image():
    generator, latents = noisy(small()), torch.randn(4, 5)
    one, same, other = (key_rows(generator, 4, step)(latents) for step in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    generator.eval()
    assert torch.equal(generator(latents), key_rows(generator, 4, 7)(latents))


@torch.no_grad()
def test_two_halves_of_a_batch_get_the_noise_of_the_whole():
    layer, x = KeyedNoise(), torch.randn(6, 3, 4, 4)
    layer.weight.fill_(0.5)
    results = []
    for start, stop in ((0, 6), (0, 2), (2, 6)):
        key_layers([layer], Draws(0, Rows(start, stop, 6), torch.device("cpu")).at("noise", 3))
        results.append(layer(x[start:stop]))
    assert torch.equal(results[0], torch.cat(results[1:]))
    noise = (results[0] - x) / 0.5
    assert torch.allclose(noise, noise[:, :1].expand_as(noise), atol=1e-5), "all channels of a pixel get the same"
    assert 0.5 < noise.std() < 1.5


def test_every_layer_gets_noise_of_its_own_and_none_at_first():
    generator, latents = small(), torch.randn(4, 5)
    with torch.no_grad():
        silent = key_rows(generator, 4, 0)(latents)
        assert torch.equal(silent, key_rows(generator, 4, 1)(latents)), "the noise begins at 0"
    layers = keyed(key_rows(generator, 4))
    assert len(layers) == 6
    assert len({layer.draws[0].counters for layer in layers}) == 6


@torch.no_grad()
def test_weights_of_classes_mix_them():
    generator = small(conditional=True).eval()
    for weight in generator.parameters():
        weight.add_(torch.randn_like(weight), alpha=0.1)
    latents, one = torch.randn(3, 5), F.one_hot(torch.tensor([1, 2, 3]), 10).float()
    torch.testing.assert_close(generator(latents, one), generator(latents, torch.tensor([1, 2, 3])))
    middle = generator(latents, (one + one.roll(1, 0)) / 2)
    assert not torch.allclose(middle, generator(latents, one))


def test_it_may_be_trained_on_several_processes():
    check_same_answer(small(), processes=4, accumulation=1)


def test_widths_for_another_size_are_one_sentence():
    with pytest.raises(ConfigError) as caught:
        build_generator(FastganGenerator(), 64, 10)
    assert str(caught.value) == (
        "generator.widths has 4 stages, which is for images of 32x32, and the images are 64x64; use 5 stages, or "
        "images of 32x32"
    )


def test_it_exports_as_a_program_without_noise():
    generator, latents = noisy(small(conditional=True)).eval(), torch.randn(2, 5)
    labels = torch.tensor([1, 2])
    program = torch.export.export(generator, (latents, labels)).module()
    torch.testing.assert_close(program(latents, labels), generator(latents, labels), rtol=1e-4, atol=1e-5)
