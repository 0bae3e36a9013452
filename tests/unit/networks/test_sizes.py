"""Which image sizes and groups a family takes; the others are refused with the nearest that work."""

import pytest
import torch

from distgan.config.load import load_config
from distgan.config.networks import (
    RECIPES_BY_SIZE,
    DcganDiscriminator,
    DcganGenerator,
    R3ganDiscriminator,
    R3ganGenerator,
    SnganDiscriminator,
    SnganGenerator,
)
from distgan.networks import build_discriminator, build_generator
from distgan.networks.layers import verdict
from distgan.utils.errors import ConfigError


@pytest.mark.parametrize("size", [8, 16, 32, 128])
@torch.no_grad()
def test_dcgan_and_sngan_follow_the_size(size):
    for config in (DcganGenerator(latent_dim=5, width=1), SnganGenerator(latent_dim=5, width=1)):
        assert build_generator(config, size, 1)(torch.zeros(2, 5)).shape == (2, 3, size, size)
    narrow, images = DcganDiscriminator(width=1), torch.zeros(2, 3, size, size)
    assert build_discriminator(narrow, size, 1)(images).shape == (2,)
    if size > 8:
        assert build_discriminator(SnganDiscriminator(width=1), size, 1)(images).shape == (2,)


@pytest.mark.parametrize(
    ("build", "config", "size", "first", "nearest"),
    [
        (build_generator, DcganGenerator(width=1), 48, 8, "32x32 (--config dcgan)"),
        (build_generator, SnganGenerator(width=1), 50, 8, "64x64 (--config sngan_64)"),
        (build_generator, SnganGenerator(width=1), 5, 8, "8x8"),
        (build_discriminator, DcganDiscriminator(width=1), 4, 8, "8x8"),
        (build_discriminator, SnganDiscriminator(width=1), 8, 16, "16x16"),
        (build_discriminator, SnganDiscriminator(width=1), 33, 16, "32x32 (--config sngan)"),
        (build_generator, DcganGenerator(width=1), 8192, 8, "4096x4096"),
    ],
)
def test_sizes_that_are_not_four_doubled_are_refused_with_the_nearest(build, config, size, first, nearest):
    player = build.__name__.removeprefix("build_")
    with pytest.raises(ConfigError) as caught:
        build(config, size, 1)
    assert str(caught.value) == (
        f"{player}.family={config.family} needs images of {first}x{first}, doubled any number of times, and the images "
        f"are {size}x{size}; use images of {nearest}, or family=seed_dcgan"
    )


@pytest.mark.parametrize(
    ("stages", "size", "has", "fix"),
    [
        (4, 64, "4 stages, which is for images of 32x32", "--config r3gan_64, or 5 stages, or images of 32x32"),
        (6, 32, "6 stages, which is for images of 128x128", "--config r3gan, or 4 stages, or images of 128x128"),
        (
            4,
            256,
            "4 stages, which is for images of 32x32",
            "7 stages, or images of 128x128 with --config r3gan_128, or images of 32x32",
        ),
        (
            6,
            30,
            "6 stages, which is for images of 128x128",
            "images of 32x32 with --config r3gan, or images of 128x128",
        ),
        (
            2,
            4,
            "2 stages, which is for images of 8x8",
            "1 stage, or images of 32x32 with --config r3gan, or images of 8x8",
        ),
        (
            4,
            48,
            "4 stages, which is for images of 32x32",
            "images of 64x64 with --config r3gan_64, or images of 32x32",
        ),
        (4, 33, "4 stages, which is for images of 32x32", "images of 32x32"),
    ],
)
def test_r3gan_needs_as_many_stages_as_sizes(stages, size, has, fix):
    for build, config in ((build_generator, R3ganGenerator), (build_discriminator, R3ganDiscriminator)):
        with pytest.raises(ConfigError) as caught:
            build(config(widths=(8,) * stages, group_width=1), size, 1)
        assert str(caught.value) == (
            f"{build.__name__[6:]}.widths has {has}, and the images are {size}x{size}; use {fix}"
        )


@pytest.mark.parametrize(
    ("widths", "group_width", "common", "nearest"),
    [((12, 8, 8, 8), 16, 8, 8), ((768,) * 4, 20, 1536, 16), ((6,) * 4, 5, 12, 4), ((8,) * 4, 10**15, 16, 16),
     ((10**15,) * 4, 10**15 + 3, 2 * 10**15, 4096)],
)  # fmt: skip
def test_groups_that_do_not_fit_are_refused_with_the_nearest_that_do(widths, group_width, common, nearest):
    for build, config in ((build_generator, R3ganGenerator), (build_discriminator, R3ganDiscriminator)):
        player = build.__name__.removeprefix("build_")
        with pytest.raises(ConfigError) as caught:
            build(config(widths=widths, group_width=group_width), 32, 1)
        assert str(caught.value) == (
            f"{player}.group_width={group_width} does not divide the channels of every stage's grouped convolutions "
            f"(widths times expansion), multiples of {common}; use {player}.group_width={nearest}"
        )


def test_r3gan_with_spectral_norm_is_refused():
    with pytest.raises(ConfigError, match=r"begin with weights of zero; use discriminator.spectral_norm=false, or "):
        build_discriminator(R3ganDiscriminator(spectral_norm=True), 32, 1)


@pytest.mark.parametrize("build", [build_generator, build_discriminator])
def test_a_list_of_sngan_s_widths_needs_one_for_each_size(build):
    config = {build_generator: SnganGenerator, build_discriminator: SnganDiscriminator}[build](width=(8,) * 5)
    with pytest.raises(ConfigError) as caught:
        build(config, 32, 1)
    assert str(caught.value) == (
        f"{build.__name__[6:]}.width has 5 stages, which is for images of 64x64, and the images are 32x32; use "
        "--config sngan, or 4 stages, or images of 64x64"
    )


@pytest.mark.parametrize(
    ("family", "size"), [(family, size) for family in RECIPES_BY_SIZE for size in RECIPES_BY_SIZE[family]]
)
def test_the_recipe_that_an_error_names_is_built_for_that_size(family, size):
    config = load_config(RECIPES_BY_SIZE[family][size])
    rival = {"fastgan": "projected"}.get(family, family)
    assert (config.generator.family, config.discriminator.family) == (family, rival)
    with torch.device("meta"):
        generator = build_generator(config.generator, size, 10)
        discriminator = build_discriminator(config.discriminator, size, 10)
        labels = torch.zeros(2, dtype=torch.int64)
        images = generator(torch.empty(2, config.generator.latent_dim), labels)
        assert images.shape == (2, 3, size, size)
        assert verdict(discriminator(images, labels)).shape == (2,)
