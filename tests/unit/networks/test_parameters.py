"""The families of the papers: parameters counted from the papers' tables, and the first weights."""

import math
from itertools import chain, pairwise

import pytest
from torch import nn

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
WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


def _parameters(network):
    return sum(weight.numel() for weight in network.parameters())


# --- as many parameters as the papers' tables have, layer by layer


def _conv(inputs, outputs, kernel, bias=True):
    return inputs * outputs * kernel**2 + bias * outputs


def _dense(inputs, outputs, bias=True):
    return inputs * outputs + bias * outputs


def _norm(channels, classes):
    """Weight and bias, for each class if there are any."""
    return 2 * channels * max(classes, 1)


@pytest.mark.parametrize(("classes", "count"), [(0, 3_804_739), (CLASSES, 3_822_019)])
def test_the_dcgan_generator_has_the_parameters_of_table_3(classes, count):
    """arXiv:1802.05957, table 3a, for 32x32; no biases before a norm."""
    layers = [_dense(128, 4 * 4 * 512, bias=False), _norm(512, classes)]
    for inputs, outputs in ((512, 256), (256, 128), (128, 64)):
        layers += [_conv(inputs, outputs, 4, bias=False), _norm(outputs, classes)]
    layers += [_conv(64, 3, 3)]
    assert sum(layers) == count
    assert _parameters(build_generator(DcganGenerator(conditional=classes > 0), 32, CLASSES)) == count


@pytest.mark.parametrize(("classes", "count"), [(0, 2_935_873), (CLASSES, 3_017_793)])
def test_the_dcgan_discriminator_has_the_parameters_of_table_3(classes, count):
    """arXiv:1802.05957, table 3b, for 32x32; the projection is a vector as long as the features for each class."""
    rows = [(3, 64, 3), (64, 64, 4), (64, 128, 3), (128, 128, 4), (128, 256, 3), (256, 256, 4), (256, 512, 3)]
    layers = [_conv(*row) for row in rows] + [_dense(4 * 4 * 512, 1), classes * 4 * 4 * 512]
    assert sum(layers) == count
    assert _parameters(build_discriminator(DcganDiscriminator(conditional=classes > 0), 32, CLASSES)) == count


@pytest.mark.parametrize(("classes", "count"), [(0, 4_276_739), (CLASSES, 4_304_387)])
def test_the_sngan_generator_has_the_parameters_of_table_4(classes, count):
    """arXiv:1802.05957, table 4a; the last norm is the same for all classes."""
    block = [_norm(256, classes), _conv(256, 256, 3), _norm(256, classes), _conv(256, 256, 3), _conv(256, 256, 1)]
    layers = [_dense(128, 4 * 4 * 256), *(3 * block), _norm(256, 0), _conv(256, 3, 3)]
    assert sum(layers) == count
    assert _parameters(build_generator(SnganGenerator(conditional=classes > 0), 32, CLASSES)) == count


@pytest.mark.parametrize(("classes", "count"), [(0, 1_053_825), (CLASSES, 1_055_105)])
def test_the_sngan_discriminator_has_the_parameters_of_table_4(classes, count):
    """arXiv:1802.05957, table 4b: two blocks that halve the size, two that do not."""
    first = [_conv(3, 128, 3), _conv(128, 128, 3), _conv(3, 128, 1)]
    second = [_conv(128, 128, 3), _conv(128, 128, 3), _conv(128, 128, 1)]
    plain = [_conv(128, 128, 3), _conv(128, 128, 3)]
    layers = [*first, *second, *(2 * plain), _dense(128, 1), classes * 128]
    assert sum(layers) == count
    assert _parameters(build_discriminator(SnganDiscriminator(conditional=classes > 0), 32, CLASSES)) == count


WIDTHS_64 = (1024, 512, 256, 128, 64)


def test_the_sngan_generator_of_64_pixels_has_the_parameters_of_the_paper_s_widths():
    """arXiv:1802.05957, table 6a without the first block."""
    blocks = [
        [_norm(before, 0), _conv(before, width, 3), _norm(width, 0), _conv(width, width, 3), _conv(before, width, 1)]
        for before, width in pairwise(WIDTHS_64)
    ]
    count = sum([_dense(128, 4 * 4 * 1024), *chain(*blocks), _norm(64, 0), _conv(64, 3, 3)])
    assert _parameters(build_generator(SnganGenerator(width=WIDTHS_64), 64, CLASSES)) == count


def test_the_sngan_discriminator_of_64_pixels_has_the_parameters_of_the_paper_s_widths():
    """arXiv:1802.05957, table 6b without a block: four blocks halve the size, the last, to 1024, does not."""
    first = [_conv(3, 64, 3), _conv(64, 64, 3), _conv(3, 64, 1)]
    blocks = [
        [_conv(before, before, 3), _conv(before, width, 3), _conv(before, width, 1)]
        for before, width in pairwise(WIDTHS_64[::-1])
    ]
    count = sum([*first, *chain(*blocks), _dense(1024, 1)])
    assert _parameters(build_discriminator(SnganDiscriminator(width=WIDTHS_64), 64, CLASSES)) == count


def _r3gan_block(width, expansion=2, group=16):
    """1x1 to the inner width with a bias, 3x3 within each group with a bias, 1x1 back without."""
    inner = width * expansion
    return _conv(width, inner, 1) + (inner // group * _conv(group, group, 3)) + _conv(inner, width, 1, bias=False)


@pytest.mark.parametrize(("classes", "count"), [(0, 20_732_160), (CLASSES, 20_781_952)])
def test_the_r3gan_generator_has_the_parameters_of_the_paper(classes, count):
    """arXiv:2501.05441, 20.78 M on CIFAR-10 with classes: 4x4 basis, embedding as long as the latent, 4 x 2 blocks."""
    latent = 64 + (64 if classes else 0)
    start = [768 * 4 * 4, _dense(latent, 768, bias=False), classes * 64]
    assert sum([*start, 8 * _r3gan_block(768), _conv(768, 3, 1, bias=False)]) == count
    assert _parameters(build_generator(R3ganGenerator(conditional=classes > 0), 32, CLASSES)) == count


@pytest.mark.parametrize(("classes", "count"), [(0, 20_683_776), (CLASSES, 21_280_512)])
def test_the_r3gan_discriminator_has_the_parameters_of_the_paper(classes, count):
    """arXiv:2501.05441, 21.28 M on CIFAR-10 with classes: a 4x4 depthwise layer, a dense one, an embedding."""
    end = [768 * 4 * 4, _dense(768, 768 if classes else 1, bias=False), classes * 768]
    assert sum([_conv(3, 768, 1, bias=False), 8 * _r3gan_block(768), *end]) == count
    assert _parameters(build_discriminator(R3ganDiscriminator(conditional=classes > 0), 32, CLASSES)) == count


def test_r3gan_has_a_1x1_convolution_where_the_width_changes_and_no_other():
    stages = {"widths": (12, 8, 8, 6), "group_width": 4}
    blocks = sum(2 * _r3gan_block(width, group=4) for width in stages["widths"])
    changes = 12 * 8 + 8 * 6
    generator = build_generator(R3ganGenerator(latent_dim=5, **stages), 32, 1)
    assert _parameters(generator) == blocks + changes + 12 * 16 + 5 * 12 + 6 * 3
    discriminator = build_discriminator(R3ganDiscriminator(**stages), 32, 1)
    assert _parameters(discriminator) == blocks + changes + 3 * 6 + 12 * 16 + 12


# --- how they begin


def _deviation(weight):
    return weight.std().item(), 6 / math.sqrt(2 * weight.numel())  # and six of its own, as a share


def _assert_normal(weight, std):
    found, share = _deviation(weight)
    assert found == pytest.approx(std, rel=share)
    assert weight.abs().max() > 2 * std, "not uniform"


def _assert_uniform(weight, bound):
    assert bound * (1 - 20 / weight.numel()) <= weight.abs().max() <= bound * (1 + 1e-6)
    assert _deviation(weight)[0] == pytest.approx(bound / math.sqrt(3), rel=_deviation(weight)[1])


def test_dcgan_begins_with_normal_weights_of_0_02():
    for network in (
        build_generator(DcganGenerator(width=16, conditional=True), 32, CLASSES),
        build_discriminator(DcganDiscriminator(width=16, conditional=True), 32, CLASSES),
    ):
        for layer in (layer for layer in network.modules() if isinstance(layer, WEIGHTED)):
            _assert_normal(layer.weight, 0.02)


def test_sngan_begins_with_glorots_uniform_weights_by_the_root_of_two_in_blocks():
    for network in (
        build_generator(SnganGenerator(width=16, conditional=True), 32, CLASSES),
        build_discriminator(SnganDiscriminator(width=16, conditional=True, spectral_norm=False), 32, CLASSES),
    ):
        for name, layer in network.named_modules():
            if isinstance(layer, WEIGHTED):
                inside = "residual" in name or name.endswith(("conv1", "conv2"))
                places = math.prod(layer.weight.shape[2:])
                fans = places * (layer.weight.shape[0] + layer.weight.shape[1])
                _assert_uniform(layer.weight, math.sqrt(6 / fans) * (math.sqrt(2) if inside else 1))


def test_r3gan_begins_with_fixed_up_normal_weights_and_blocks_that_do_nothing():
    """arXiv:1901.09321: in 8 blocks of 3 layers, by 8**(-1/4); gain sqrt(2 / (1 + 0.2**2)) for a leaky ReLU of 0.2."""
    stages = {"widths": (64, 48, 48, 32), "group_width": 16}
    generator = build_generator(R3ganGenerator(conditional=True, **stages), 32, CLASSES)
    discriminator = build_discriminator(R3ganDiscriminator(conditional=True, **stages), 32, CLASSES)
    _assert_normal(generator.basis, 1.0)
    _assert_normal(generator.embed.weight, 1 / math.sqrt(CLASSES))
    _assert_normal(discriminator.embed.weight, 1 / math.sqrt(CLASSES * 64))
    gain = math.sqrt(2 / 1.04) * 8**-0.25
    for network in (generator, discriminator):
        for name, layer in network.named_modules():
            if name.endswith(".narrow"):
                assert not layer.weight.any()
            elif isinstance(layer, (nn.Linear, nn.Conv2d)):
                inputs = math.prod(layer.weight.shape[1:])
                inside = name.endswith((".widen", ".mix"))
                _assert_normal(layer.weight, (gain if inside else 1.0) / math.sqrt(inputs))
