"""The seed family's networks and the keyed dropout."""

import math

import pytest
import torch
from torch import nn

from distgan.config.networks import DcganGenerator, SeedDiscriminator, SeedGenerator, SnganGenerator
from distgan.networks import build_discriminator, build_generator, check_same_answer
from distgan.networks.batch_norm import ConditionalBatchNorm, GlobalBatchNorm
from distgan.networks.dropout import KeyedDropout, dropouts, key_layers, set_dropout
from distgan.utils.errors import ConfigError
from distgan.utils.rng import Draws, Rows

TINY_G = SeedGenerator(latent_dim=5, stem_channels=4, width=6)
TINY_D = SeedDiscriminator(width=6)
WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def _parameters(network):
    return sum(weight.numel() for weight in network.parameters())


def _shapes(network, *inputs):
    """(name of the layer's class, output shape without the batch) in the order of the forward."""
    seen = []
    layers = [module for module in network.modules() if not list(module.children())]
    hooks = [
        layer.register_forward_hook(lambda layer, _, out: seen.append((type(layer).__name__, tuple(out.shape[1:]))))
        for layer in layers
    ]
    with torch.no_grad():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return seen


def _draws(batch, purpose="dropout", step=0):
    return Draws(0, Rows(0, batch, batch), torch.device("cpu")).at(purpose, step)


def test_the_seed_recipe_has_the_published_parameter_counts():
    assert _parameters(build_generator(SeedGenerator(), 32, 1)) == 6_264_579
    assert _parameters(build_discriminator(SeedDiscriminator(), 32, 1)) == 790_913


def test_the_generator_has_the_layers_of_the_recipe():
    generator = build_generator(TINY_G, 32, 1).eval()
    shapes = [item for item in _shapes(generator, torch.zeros(2, 5)) if item[0] != "KeyedDropout"]
    assert shapes == [
        ("Linear", (4 * 16 * 16,)),
        *[("Conv2d", (6, 16, 16)), ("LeakyReLU", (6, 16, 16))],
        *[("ConvTranspose2d", (6, 32, 32)), ("LeakyReLU", (6, 32, 32))],
        *[("Conv2d", (6, 32, 32)), ("LeakyReLU", (6, 32, 32))] * 2,
        *[("Conv2d", (3, 32, 32)), ("Tanh", (3, 32, 32))],
    ]
    kernels = [module.kernel_size[0] for module in generator.modules() if isinstance(module, WEIGHTED[1:])]
    assert kernels == [5, 4, 5, 5, 7]


def test_the_discriminator_has_the_layers_of_the_recipe():
    discriminator = build_discriminator(TINY_D, 32, 1).eval()
    assert _shapes(discriminator, torch.zeros(2, 3, 32, 32)) == [
        *[("Conv2d", (6, 30, 30)), ("LeakyReLU", (6, 30, 30))],
        *[("Conv2d", (6, 14, 14)), ("LeakyReLU", (6, 14, 14))],
        *[("Conv2d", (6, 6, 6)), ("LeakyReLU", (6, 6, 6))],
        *[("Conv2d", (6, 2, 2)), ("LeakyReLU", (6, 2, 2))],
        *[("Flatten", (24,)), ("KeyedDropout", (24,)), ("Linear", (1,))],
    ]
    assert [module.kernel_size[0] for module in discriminator.modules() if isinstance(module, nn.Conv2d)] == [
        3,
        4,
        4,
        4,
    ]
    assert [module.p for module in discriminator.modules() if isinstance(module, KeyedDropout)] == [0.4]


def test_every_leaky_relu_has_keras_slope():
    for network in (build_generator(TINY_G, 32, 1), build_discriminator(TINY_D, 32, 1)):
        slopes = {module.negative_slope for module in network.modules() if isinstance(module, nn.LeakyReLU)}
        assert slopes == {0.3}


def test_the_dense_layer_of_the_generator_is_followed_by_the_same_slope():
    generator = build_generator(TINY_G, 32, 1).eval()
    latents = torch.randn(3, 5)
    stem = generator.dense(latents)
    expected = generator.layers(torch.where(stem > 0, stem, 0.3 * stem).view(3, 4, 16, 16))
    torch.testing.assert_close(generator(latents), expected)


@pytest.mark.parametrize(
    "network",
    [
        build_generator(SeedGenerator(width=32, stem_channels=16), 32, 1),
        build_discriminator(SeedDiscriminator(width=64), 32, 1),
    ],
    ids=["generator", "discriminator"],
)
def test_kernels_are_glorot_uniform_and_biases_zero(network):
    for layer in (module for module in network.modules() if isinstance(module, WEIGHTED)):
        field = math.prod(layer.weight.shape[2:])
        bound = math.sqrt(6 / (field * (layer.weight.shape[0] + layer.weight.shape[1])))
        count, largest = layer.weight.numel(), layer.weight.abs().max().item()
        assert largest <= bound * (1 + 1e-6)
        assert largest >= bound * (1 - 20 / count)  # fails once in exp(20)
        deviation = layer.weight.mean().abs().item() / (bound / math.sqrt(3 * count))
        assert deviation < 6
        assert torch.count_nonzero(layer.bias) == 0


def test_generated_images_lie_in_minus_one_to_one():
    generator = build_generator(TINY_G, 32, 1).eval()
    images = generator(1e4 * torch.randn(8, 5))
    assert images.shape == (8, 3, 32, 32)
    assert images.abs().max() == 1  # saturated, and not beyond


@pytest.mark.parametrize("size", [32, 48, 64, 100])
@pytest.mark.parametrize("latent", [1, 7])
@pytest.mark.parametrize(("upsamples", "depth"), [(1, 0), (2, 1), (2, 3)])
def test_generators_of_other_sizes_and_depths_build_and_run(size, latent, upsamples, depth):
    config = SeedGenerator(latent_dim=latent, stem_channels=3, width=2, upsamples=upsamples, depth=depth)
    generator = build_generator(config, size, 1).eval()
    assert generator(torch.zeros(2, latent)).shape == (2, 3, size, size)
    assert generator.stem_shape == (3, size // 2**upsamples, size // 2**upsamples)


@pytest.mark.parametrize(
    ("size", "most"),
    [(6, 1), (7, 1), (9, 1), (10, 1), (11, 1), (12, 2), (23, 2), (24, 3), (32, 3), (47, 3), (48, 4), (64, 4), (96, 5)],
)
def test_a_discriminator_takes_as_many_downsamples_as_the_size_allows(size, most):
    for downsamples in range(1, most + 1):
        network = build_discriminator(SeedDiscriminator(width=2, downsamples=downsamples), size, 1).eval()
        assert network(torch.zeros(2, 3, size, size)).shape == (2,)
    sentence = f"^discriminator.downsamples={most + 1} is too many for {size}x{size} images; use {most} or fewer$"
    with pytest.raises(ConfigError, match=sentence):
        build_discriminator(SeedDiscriminator(width=2, downsamples=most + 1), size, 1)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_images_that_no_discriminator_takes_are_refused_with_the_smallest_size(size):
    with pytest.raises(ConfigError, match=f"is too many for {size}x{size} images; use images of 6x6 or more$"):
        build_discriminator(SeedDiscriminator(width=2, downsamples=1), size, 1)


@pytest.mark.parametrize(("size", "upsamples", "nearest"), [(33, 1, 32), (30, 2, 32), (8, 4, 16), (1, 1, 2)])
def test_sizes_that_the_generator_cannot_make_are_refused_with_the_nearest(size, upsamples, nearest):
    config = SeedGenerator(stem_channels=1, width=1, upsamples=upsamples)
    with pytest.raises(ConfigError) as caught:
        build_generator(config, size, 1)
    assert str(caught.value) == (
        f"generator.upsamples={upsamples} makes sizes that are multiples of {2**upsamples}, the images are "
        f"{size}x{size}; use fewer upsamples, or images of {nearest}x{nearest}"
    )


def test_a_conditional_generator_appends_the_one_hot_class():
    plain = build_generator(TINY_G, 32, 4)
    conditional = build_generator(TINY_G.model_copy(update={"conditional": True}), 32, 4).eval()
    assert _parameters(conditional) - _parameters(plain) == 4 * 4 * 16 * 16
    latents, labels = torch.randn(4, 5), torch.tensor([3, 0, 1, 3])
    with torch.no_grad():
        images = conditional(latents, labels)
        conditional.dense.bias += conditional.dense.weight[:, 5 + 3]  # class 3 as a constant
        conditional.dense.weight[:, 5 + 3] = 0
        torch.testing.assert_close(conditional(latents, labels)[[0, 3]], images[[0, 3]])
        assert not torch.equal(conditional(latents, labels)[1:3], images[1:3])


def test_a_conditional_discriminator_projects_the_class_on_the_features():
    config = TINY_D.model_copy(update={"conditional": True})
    discriminator = build_discriminator(config, 32, 4).eval()
    assert _parameters(discriminator) - _parameters(build_discriminator(TINY_D, 32, 4)) == 4 * 24
    images, labels = torch.rand(3, 3, 32, 32), torch.tensor([2, 0, 2])
    features = discriminator.layers(images)
    expected = discriminator.dense(features)[:, 0] + (discriminator.project.weight[labels] * features).sum(1)
    torch.testing.assert_close(discriminator(images, labels), expected)


def test_networks_without_classes_take_and_ignore_labels():
    generator, discriminator = build_generator(TINY_G, 32, 4).eval(), build_discriminator(TINY_D, 32, 4).eval()
    latents, labels = torch.randn(2, 5), torch.tensor([1, 3])
    images = generator(latents, labels)
    assert torch.equal(images, generator(latents))
    assert torch.equal(discriminator(images, labels), discriminator(images))


@pytest.mark.parametrize(("build", "config"), [(build_generator, TINY_G), (build_discriminator, TINY_D)])
def test_weights_are_a_function_of_the_seed_and_leave_torchs_generator_alone(build, config):
    before = torch.get_rng_state()
    first = build(config, 32, 1, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    again, other = build(config, 32, 1, seed=3).state_dict(), build(config, 32, 1, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if name.endswith("weight"))


# --- dropout whose mask belongs to the image


def _dropped(x, *draws, p=0.4):
    layer = nn.Sequential(KeyedDropout(p)).train()
    key_layers(dropouts(layer), *draws)
    return layer(x)


def test_two_halves_of_a_batch_are_masked_like_the_whole():
    x, whole = torch.randn(8, 5, 3), Rows(0, 8, 8)
    draw = _draws(8)
    halves = [_dropped(x[4 * i : 4 * i + 4], draw.for_rows(whole.part(i, 2))) for i in range(2)]
    assert torch.equal(torch.cat(halves), _dropped(x, draw))


def test_kept_entries_are_divided_by_their_share_and_the_others_are_zero():
    kept = _dropped(torch.ones(100, 1000, dtype=torch.float64), _draws(100))
    values, counts = kept.unique(return_counts=True)
    assert values.tolist() == [0, 1 / (1 - 0.4)]
    assert abs(counts[0].item() - 40_000) < 6 * math.sqrt(100_000 * 0.4 * 0.6)


def test_the_mask_is_where_the_keyed_uniform_numbers_are_below_p():
    draw = _draws(6, "dropout/d", 9)
    uniform = draw.at("dropout/d", 9, 0).uniform([10])
    assert torch.equal(_dropped(torch.ones(6, 10), draw) == 0, uniform < 0.4)


def test_several_draws_mask_one_joined_batch():
    x, fakes, reals = torch.randn(6, 4), _draws(3, "fake"), _draws(3, "real")
    joined = torch.cat([_dropped(x[:3], fakes), _dropped(x[3:], reals)])
    assert torch.equal(_dropped(x, fakes, reals), joined)


def test_masks_differ_by_purpose_step_and_layer():
    ones = torch.ones(4, 50)
    masks = [_dropped(ones, draw) for draw in (_draws(4, "a", 0), _draws(4, "b", 0), _draws(4, "a", 1))]
    layers = nn.Sequential(KeyedDropout(0.4), KeyedDropout(0.4)).train()
    key_layers(dropouts(layers), _draws(4, "a", 0))
    assert torch.equal(layers[0](ones), masks[0])
    assert len({tuple(mask.flatten().tolist()) for mask in [*masks, layers[1](ones)]}) == 4


def test_nothing_is_dropped_in_eval_mode_or_at_zero():
    x = torch.randn(4, 3)
    assert torch.equal(KeyedDropout(0.4).eval()(x), x)
    assert torch.equal(KeyedDropout(0.0).train()(x), x)


def test_gradients_flow_through_kept_entries_only():
    x = torch.randn(4, 30, requires_grad=True)
    out = _dropped(x, _draws(4))
    out.sum().backward()
    assert torch.equal(x.grad != 0, out != 0)


def test_the_type_of_the_input_is_kept():
    assert _dropped(torch.ones(4, 3, dtype=torch.bfloat16), _draws(4)).dtype == torch.bfloat16


def test_set_dropout_reaches_every_layer():
    generator = build_generator(TINY_G, 32, 1)
    assert [module.p for module in generator.modules() if isinstance(module, KeyedDropout)] == [0.0, 0.0]
    set_dropout(dropouts(generator), 0.25)
    assert [module.p for module in generator.modules() if isinstance(module, KeyedDropout)] == [0.25, 0.25]


def test_layers_that_would_give_another_answer_on_more_processes_are_refused_by_name():
    normal, dropped = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Sequential(nn.Dropout2d())
    check_same_answer(normal, processes=1, accumulation=1)
    with pytest.raises(ConfigError, match=r"layer 1 \(BatchNorm1d\) would see the images of one process only, so 3 "):
        check_same_answer(normal, processes=3, accumulation=1)
    check_same_answer(nn.SyncBatchNorm.convert_sync_batchnorm(normal), processes=3, accumulation=1)
    check_same_answer(nn.Sequential(GlobalBatchNorm(2)), processes=3, accumulation=1)
    with pytest.raises(ConfigError, match=r"layer 0 \(Dropout2d\) .* use KeyedDropout"):
        check_same_answer(dropped, processes=1, accumulation=1)
    check_same_answer(nn.Sequential(KeyedDropout(0.5)), processes=3, accumulation=2)


@pytest.mark.parametrize(
    "norm", [GlobalBatchNorm(2), ConditionalBatchNorm(2, 3), nn.BatchNorm2d(2), nn.SyncBatchNorm(2)]
)
@pytest.mark.parametrize("family", [DcganGenerator(width=1), SnganGenerator(width=1)])
def test_batch_normalisation_of_micro_batches_is_refused_with_what_works(norm, family):
    sentence = (
        f"layer 0 ({type(norm).__name__}) would see one micro-batch at a time, so train.accumulation=4 would train "
        "another model than 1; use train.accumulation=1, or a family without batch normalisation, such as seed_dcgan "
        "or r3gan"
    )
    with pytest.raises(ConfigError) as caught:
        check_same_answer(nn.Sequential(norm), processes=1, accumulation=4)
    assert str(caught.value) == sentence
    with pytest.raises(ConfigError, match="GlobalBatchNorm"):
        check_same_answer(build_generator(family, 32, 1), processes=1, accumulation=4)
