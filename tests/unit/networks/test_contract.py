"""What every family does: shapes, classes, seeds, gradients, memory formats."""

import importlib.util
import re

import pytest
import torch
from torch import nn

from distgan.config.networks import (
    DcganDiscriminator,
    DcganGenerator,
    FastganGenerator,
    ProjectedDiscriminator,
    R3ganDiscriminator,
    R3ganGenerator,
    SeedDiscriminator,
    SeedGenerator,
    SnganDiscriminator,
    SnganGenerator,
)
from distgan.networks import build_discriminator, build_generator, check_same_answer
from distgan.networks.batch_norm import ConditionalBatchNorm, GlobalBatchNorm
from distgan.networks.dropout import KeyedDropout, dropouts, set_dropout
from distgan.networks.layers import verdict
from tests.support.keys import key_rows

CLASSES = 10
WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)
STAGES = {"widths": (12, 8, 8, 6), "expansion": 2, "group_width": 4}
GENERATORS = [
    SeedGenerator(latent_dim=5, stem_channels=4, width=6),
    DcganGenerator(latent_dim=5, width=4),
    SnganGenerator(latent_dim=5, width=6),
    SnganGenerator(latent_dim=5, width=(12, 8, 8, 6)),
    R3ganGenerator(latent_dim=5, **STAGES),
    FastganGenerator(latent_dim=5, widths=(12, 8, 8, 6), excitation_stages=3),
]
DISCRIMINATORS = [
    SeedDiscriminator(width=6, dropout=0.0),
    DcganDiscriminator(width=4),
    SnganDiscriminator(width=6),
    SnganDiscriminator(width=(12, 8, 8, 6)),
    R3ganDiscriminator(**STAGES),
]
generators = pytest.mark.parametrize("config", GENERATORS, ids=lambda config: config.family)
discriminators = pytest.mark.parametrize("config", DISCRIMINATORS, ids=lambda config: config.family)
if importlib.util.find_spec("efficientnet_lite_pytorch"):  # its heads by themselves: test_projected.py
    DISCRIMINATORS = [*DISCRIMINATORS, ProjectedDiscriminator(width=6, resolution=32)]
all_discriminators = pytest.mark.parametrize("config", DISCRIMINATORS, ids=lambda config: config.family)
conditional = pytest.mark.parametrize("conditional", [False, True], ids=["plain", "conditional"])
PLAYERS = [*((build_generator, config) for config in GENERATORS), *((build_discriminator, c) for c in DISCRIMINATORS)]
players = pytest.mark.parametrize(
    ("build", "config"), PLAYERS, ids=[f"{config.family}-{build.__name__[6]}" for build, config in PLAYERS]
)


def _with(config, **changes):
    return config.model_copy(update=changes)


def _at_64(config):
    if config.family in ("r3gan", "fastgan"):
        return _with(config, widths=(12, 8, 8, 6, 4))
    several = isinstance(getattr(config, "width", None), tuple)
    return _with(config, width=(12, 8, 8, 6, 4)) if several else config


def _inputs(config, size=32, batch=4):
    """Latents for a generator, images for a discriminator; and labels."""
    stream = torch.Generator().manual_seed(0)
    shape = (config.latent_dim,) if hasattr(config, "latent_dim") else (3, size, size)
    return torch.randn((batch, *shape), generator=stream), torch.arange(batch) % CLASSES


def _wake(network):
    """r3gan's blocks begin with zeros, behind which nothing can be seen."""
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.normal_(std=0.1, generator=stream)


# --- what goes in and out


@generators
@conditional
@pytest.mark.parametrize("size", [32, 64])
@torch.no_grad()
def test_generators_make_images_of_their_size_and_take_labels(config, conditional, size):
    config = _with(_at_64(config) if size == 64 else config, conditional=conditional)
    generator, (latents, labels) = build_generator(config, size, CLASSES), _inputs(config)
    images = generator(latents, labels)
    assert images.shape == (4, 3, size, size)
    if config.family != "r3gan":
        assert generator(1e6 * latents, labels).abs().max() <= 1
    if not conditional:
        assert torch.equal(generator.eval()(latents, labels), generator(latents))


@all_discriminators
@conditional
@pytest.mark.parametrize("size", [32, 64])
@torch.no_grad()
def test_discriminators_answer_with_one_logit_a_image(config, conditional, size):
    config = _with(_at_64(config) if size == 64 else config, conditional=conditional)
    discriminator, (images, labels) = build_discriminator(config, size, CLASSES), _inputs(config, size)
    logits = verdict(discriminator(images, labels))
    assert logits.shape == (4,)
    assert logits.std() > 0
    torch.testing.assert_close(
        verdict(discriminator(images[2:], labels[2:])), logits[2:], rtol=1e-4, atol=1e-5
    )  # no image knows of another


@players
@torch.no_grad()
def test_a_network_of_gray_images_differs_only_where_it_touches_the_image(build, config):
    gray, coloured = (build(config, 32, CLASSES, channels=channels) for channels in (1, 3))
    (given, labels), other = _inputs(config), coloured.state_dict()
    different = {name for name, tensor in gray.state_dict().items() if tensor.shape != other[name].shape}
    assert gray.state_dict().keys() == other.keys()
    layers = {re.sub(r"(\.parametrizations)?\.(weight|bias).*$", "", name) for name in different}
    # a residual block has a shortcut beside its first layer; the fixed network sees RGB
    assert (0 if config.family == "projected" else 1) <= len(layers) <= 2
    images = gray(given, labels) if build is build_generator else given[:, :1]
    assert images.shape == (4, 1, 32, 32)
    assert build is build_generator or verdict(gray(images, labels)).shape == (4,)


@discriminators
@torch.no_grad()
def test_a_class_adds_a_product_that_is_linear_in_its_embedding(config):
    discriminator = build_discriminator(_with(config, conditional=True, spectral_norm=False), 32, CLASSES)
    images, _ = _inputs(config)
    table = discriminator.embed if config.family == "r3gan" else getattr(discriminator, "head", discriminator).project
    zero, one, two = (discriminator(images, torch.full((4,), label)) for label in _classes_in_line(table))
    torch.testing.assert_close(two - one, one - zero)
    assert (one - zero).abs().min() > 0


def _classes_in_line(table):
    """Gives class 1 the mean of the embeddings of 0 and 2."""
    table.weight[1] = (table.weight[0] + table.weight[2]) / 2
    return 0, 1, 2


@players
def test_a_class_matters_to_a_conditional_player(build, config):
    network = build(_with(config, conditional=True), 32, CLASSES).eval()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, ConditionalBatchNorm):
                layer.weight[1] = 2
        first, _ = _inputs(config)
        answers = [network(first, torch.full((4,), label)) for label in (0, 1)]
    assert not torch.isclose(*answers).all(dim=tuple(range(1, answers[0].ndim))).any()


# --- how they begin


@players
def test_weights_are_a_function_of_the_seed(build, config):
    first, again, other = (build(config, 32, 1, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name in first if first[name].unique().numel() > 1 or name.endswith("original")]
    drawn = [name for name in drawn if first[name].is_floating_point()]
    assert drawn
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


@players
def test_biases_are_zero_and_norms_do_nothing_at_first(build, config):
    network = build(_with(config, conditional=True), 32, CLASSES)
    for layer in network.modules():
        if isinstance(layer, WEIGHTED) and getattr(layer, "bias", None) is not None:
            assert not layer.bias.any()
        if isinstance(layer, GlobalBatchNorm):
            assert torch.equal(layer.weight, torch.ones_like(layer.weight))
            assert not layer.bias.any()


# --- gradients


@players
@conditional
def test_every_parameter_has_a_gradient(build, config, conditional):
    """So DistributedDataParallel need not look for unused ones."""
    config = _with(config, conditional=conditional)
    network = build(config, 32, 4)
    key_rows(network, 4)(*_inputs(config)).square().sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    _wake(network)
    network.zero_grad()
    network(*_inputs(config)).square().sum().backward()
    assert all(weight.grad.any() for weight in network.parameters())


@all_discriminators
@conditional
def test_a_gradient_penalty_reaches_the_weights_and_is_the_slope_of_the_slopes(config, conditional):
    config = _with(config, conditional=conditional)
    discriminator = build_discriminator(config, 32, CLASSES).double()
    _wake(discriminator)
    images, labels = _inputs(config, batch=2)
    images = images.double().requires_grad_()

    def penalty():
        (slopes,) = torch.autograd.grad(discriminator(images, labels).sum(), images, create_graph=True)
        return slopes.square().sum()

    weights = [weight for weight in discriminator.parameters() if weight.ndim == 4]
    stream = torch.Generator().manual_seed(0)
    steps = [torch.randn(weight.shape, dtype=torch.float64, generator=stream) for weight in weights]
    slope = sum(
        (found * step).sum() for found, step in zip(torch.autograd.grad(penalty(), weights), steps, strict=True)
    )
    found = []
    for length in (1e-8, -2e-8):  # shorter than from the numbers before a ReLU to its kink
        torch._foreach_add_([weight.data for weight in weights], steps, alpha=length)
        found.append(penalty())
    assert slope.item() == pytest.approx((found[0] - found[1]).item() / 2e-8, rel=1e-5)


@discriminators
def test_dropout_before_the_last_layer_is_there_in_every_family_though_it_be_off(config):
    discriminator = build_discriminator(config, 32, 1)
    layers = [layer for layer in discriminator.modules() if isinstance(layer, KeyedDropout)]
    assert [layer.p for layer in layers] == [0.0]
    seen = []
    layers[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    dense = [layer for layer in discriminator.modules() if isinstance(layer, nn.Linear)][-1]
    discriminator(_inputs(config)[0])
    assert seen == [dense.in_features]
    set_dropout(dropouts(discriminator), 0.3)
    assert layers[0].p == 0.3
    assert build_discriminator(_with(config, dropout=0.2), 32, 1).get_submodule(_name(discriminator)).p == 0.2


def _name(network):
    return next(name for name, layer in network.named_modules() if isinstance(layer, KeyedDropout))


@all_discriminators
@conditional
def test_spectral_norm_is_on_every_weight_of_a_discriminator_or_on_none(config, conditional):
    config = _with(config, conditional=conditional, spectral_norm=config.family != "r3gan")
    plain = build_discriminator(_with(config, spectral_norm=False), 32, CLASSES)
    assert not any(name.endswith("original") for name, _ in plain.named_parameters())
    if config.spectral_norm:
        normal = dict(build_discriminator(config, 32, CLASSES).named_parameters())
        for name, weight in plain.named_parameters():
            path, _, kind = name.rpartition(".")
            other = normal[f"{path}.parametrizations.weight.original"] if kind == "weight" else normal[name]
            assert torch.equal(weight, other)


# --- formats and devices


@players
@conditional
def test_a_network_without_memory_has_the_same_names_shapes_and_types(build, config, conditional):
    config = _with(config, conditional=conditional)
    with torch.device("meta"):
        empty = build(config, 32, CLASSES).state_dict()
    real = build(config, 32, CLASSES).state_dict()
    assert all(tensor.is_meta for tensor in empty.values())
    assert {name: (t.shape, t.dtype) for name, t in empty.items()} == {
        name: (t.shape, t.dtype) for name, t in real.items()
    }


@players
@torch.no_grad()
def test_channels_last_gives_the_same_answer(build, config):
    network, (first, _) = build(config, 32, 1), _inputs(config)
    _wake(network)
    expected = network(first)
    network.to(memory_format=torch.channels_last)
    first = first.contiguous(memory_format=torch.channels_last) if first.ndim == 4 else first
    torch.testing.assert_close(network(first), expected, rtol=1e-5, atol=1e-5)


@players
@torch.no_grad()
def test_half_precision_gives_about_the_same_answer(build, config):
    network, (first, _) = build(config, 32, 1), _inputs(config)
    _wake(network)
    expected = network(first)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(first).float()
    assert (found - expected).norm() < 0.05 * expected.norm()  # bfloat16 has 8 bits


@generators
def test_every_generator_may_be_trained_on_several_processes(config):
    check_same_answer(build_generator(config, 32, 1), processes=4, accumulation=1)
