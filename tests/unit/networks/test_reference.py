"""The families of the papers answer as the papers' tables say, written out as functions in the order given there."""

import torch
from torch.nn import functional as F

from distgan.config.networks import (
    DcganDiscriminator,
    DcganGenerator,
    R3ganDiscriminator,
    R3ganGenerator,
    SnganDiscriminator,
    SnganGenerator,
)
from distgan.networks import build_discriminator, build_generator

CLASSES = 10


def _pairs(network, *names):
    """(weight, bias or None) of the named layers."""
    weights = network.state_dict()
    return [(weights[f"{name}.weight"], weights.get(f"{name}.bias")) for name in names]


def _stirred(network):
    """In eval mode, with biases, norms and zero layers that do something."""
    stream = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if value.unique().numel() == 1:
            value.uniform_(0.1 if name.endswith("var") else -0.3, 0.5, generator=stream)
    return network.eval()


def _normed(network, name, x, label):
    weights = network.state_dict()
    mean, variance, scale, shift = (
        weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    if scale.ndim == 2:
        scale, shift = scale[label], shift[label]
    return F.batch_norm(x, mean, variance, scale, shift)


@torch.no_grad()
def test_the_dcgan_generator_answers_as_table_3_says():
    network = _stirred(build_generator(DcganGenerator(width=3, latent_dim=5, conditional=True), 16, CLASSES))
    latents = torch.randn(2, 5)
    (dense, up0, up1, rgb) = _pairs(network, "dense", "ups.0", "ups.1", "to_rgb")
    x = F.linear(latents, *dense).reshape(2, 12, 4, 4)
    for index, up in enumerate((up0, up1, None)):
        x = F.relu(_normed(network, f"norms.{index}", x, label=7))
        x = x if up is None else F.conv_transpose2d(x, *up, stride=2, padding=1)
    expected = torch.tanh(F.conv2d(x, *rgb, padding=1))
    torch.testing.assert_close(network(latents, torch.tensor([7, 7])), expected)


@torch.no_grad()
def test_the_dcgan_discriminator_answers_as_table_3_says():
    network = _stirred(build_discriminator(DcganDiscriminator(width=3, conditional=True), 16, CLASSES))
    images = torch.rand(2, 3, 16, 16)
    *convs, dense, project = _pairs(network, *(f"layers.{2 * n}" for n in range(5)), "head.dense", "head.project")
    x = images
    for index, conv in enumerate(convs):
        x = F.leaky_relu(F.conv2d(x, *conv, stride=1 + index % 2, padding=1), 0.1)
    x = x.flatten(1)
    expected = F.linear(x, *dense)[:, 0] + x @ project[0][7]
    torch.testing.assert_close(network(images, torch.tensor([7, 7])), expected)


@torch.no_grad()
def test_the_sngan_generator_answers_as_table_4_says():
    """The 1x1 convolution comes after the upsampling there."""
    network = _stirred(build_generator(SnganGenerator(width=6, latent_dim=5, conditional=True), 8, CLASSES))
    latents = torch.randn(2, 5)
    names = ("dense", "blocks.0.conv1", "blocks.0.conv2", "blocks.0.shortcut", "to_rgb")
    dense, conv1, conv2, shortcut, rgb = _pairs(network, *names)
    x = F.linear(latents, *dense).reshape(2, 6, 4, 4)
    y = F.interpolate(F.relu(_normed(network, "blocks.0.norm1", x, 7)), scale_factor=2, mode="nearest")
    y = F.relu(_normed(network, "blocks.0.norm2", F.conv2d(y, *conv1, padding=1), 7))
    x = F.conv2d(y, *conv2, padding=1) + F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), *shortcut)
    expected = torch.tanh(F.conv2d(F.relu(_normed(network, "norm", x, 7)), *rgb, padding=1))
    torch.testing.assert_close(network(latents, torch.tensor([7, 7])), expected)


@torch.no_grad()
def test_the_sngan_discriminator_answers_as_table_4_says():
    """The 1x1 convolution comes before the pooling in the second block there, after it in the first."""
    config = SnganDiscriminator(width=6, conditional=True, spectral_norm=False)
    network, images = _stirred(build_discriminator(config, 32, CLASSES)), torch.rand(2, 3, 32, 32)
    residuals = _pairs(network, *(f"blocks.{block}.residual.{conv}" for block in range(4) for conv in (1, 3)))
    short1, short2, dense, project = _pairs(
        network, "blocks.0.shortcut.1", "blocks.1.shortcut.1", "head.dense", "head.project"
    )
    x = images
    for block, (conv1, conv2) in enumerate(zip(residuals[::2], residuals[1::2], strict=True)):
        y = F.conv2d(x if block == 0 else F.relu(x), *conv1, padding=1)
        y = F.conv2d(F.relu(y), *conv2, padding=1)
        if block == 0:
            y, x = F.avg_pool2d(y, 2), F.conv2d(F.avg_pool2d(x, 2), *short1)
        elif block == 1:
            y, x = F.avg_pool2d(y, 2), F.avg_pool2d(F.conv2d(x, *short2), 2)
        x = x + y
    x = F.relu(x).sum((2, 3))
    expected = F.linear(x, *dense)[:, 0] + x @ project[0][7]
    torch.testing.assert_close(network(images, torch.tensor([7, 7])), expected)


def _r3gan_blocks(network, x, *indices, groups):
    for index in indices:
        widen, mix, narrow = _pairs(network, *(f"layers.{index}.{part}" for part in ("widen", "mix", "narrow")))
        y = F.leaky_relu(F.conv2d(x, *widen), 0.2)
        y = F.leaky_relu(F.conv2d(y, *mix, padding=1, groups=groups), 0.2)
        x = x + F.conv2d(y, *narrow)
    return x


@torch.no_grad()
def test_the_r3gan_generator_answers_as_the_paper_says():
    config = R3ganGenerator(widths=(8, 4), group_width=4, latent_dim=5, conditional=True)
    network, latents = _stirred(build_generator(config, 8, CLASSES)), torch.randn(2, 5)
    dense, embed, change, rgb = _pairs(network, "dense", "embed", "layers.2", "layers.6")
    x = F.linear(torch.cat([latents, embed[0][[7, 7]]], 1), *dense)
    x = _r3gan_blocks(network, torch.einsum("bc,chw->bchw", x, network.basis), 0, 1, groups=4)
    x = F.conv2d(F.interpolate(x, scale_factor=2, mode="bilinear"), *change)
    expected = F.conv2d(_r3gan_blocks(network, x, 4, 5, groups=2), *rgb)
    torch.testing.assert_close(network(latents, torch.tensor([7, 7])), expected)


@torch.no_grad()
def test_the_r3gan_discriminator_answers_as_the_paper_says():
    config = R3ganDiscriminator(widths=(8, 4), group_width=4, conditional=True)
    network, images = _stirred(build_discriminator(config, 8, CLASSES)), torch.rand(2, 3, 8, 8)
    rgb, change, basis, dense, embed = _pairs(network, "layers.0", "layers.4", "layers.7", "dense", "embed")
    x = _r3gan_blocks(network, F.conv2d(images, *rgb), 1, 2, groups=2)
    x = _r3gan_blocks(network, F.conv2d(F.interpolate(x, scale_factor=0.5, mode="bilinear"), *change), 5, 6, groups=4)
    x = torch.einsum("bchw,chw->bc", x, basis[0][:, 0])
    torch.testing.assert_close(network(images, torch.tensor([7, 7])), F.linear(x, *dense) @ embed[0][7])
