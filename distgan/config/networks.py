"""The settings of the networks: families of generators and of discriminators.

`generator.family` and `discriminator.family` select the variant; distgan/networks builds it. A family is a class of
settings here, a module there, and a line in a registry at the end of this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from distgan.config import contracts
from distgan.config.base import Frozen, Probability, WidthOrWidths, Widths
from distgan.config.registry import Registry


class GeneratorSettings(Frozen):
    """Settings of every family of generators."""

    latent_dim: PositiveInt = 128
    """Length of the normal latent vector."""
    conditional: bool = False
    """Make images of a given class, in the way of the family's paper."""

    @property
    def min_layers(self) -> int:
        """A lower limit of the layers with weights: a file that has fewer tensors is refused before they are made."""
        return 1


class SeedGenerator(GeneratorSettings):
    """Generator of the seed recipe: dense, 5x5 convolution, 4x4 transposed convolutions, 5x5 and 7x7 ones, tanh."""

    family: Literal["seed_dcgan"] = "seed_dcgan"
    latent_dim: PositiveInt = 32
    """Length of the normal latent vector."""
    stem_channels: PositiveInt = 128
    """Channels of the dense layer's output."""
    width: PositiveInt = 256
    """Channels of the convolutions."""
    upsamples: Annotated[int, Field(ge=1, le=12)] = 1
    """Transposed convolutions with stride 2; the dense layer makes maps of size / 2**upsamples."""
    depth: NonNegativeInt = 2
    """5x5 convolutions at full size."""
    dropout: Probability = 0.0
    """Dropout after each full-size convolution; helps when G stalls on noise-like images."""

    @property
    def min_layers(self) -> int:
        return self.depth + self.upsamples


class DcganGenerator(GeneratorSettings):
    """The standard CNN of Miyato et al. 2018 (arXiv:1802.05957, table 3), a DCGAN (Radford et al. 2016): dense to
    4x4, batch norm, 4x4 transposed convolutions with stride 2, 3x3 convolution, tanh. Classes: conditional batch norm.
    """

    family: Literal["dcgan"] = "dcgan"
    width: PositiveInt = 64
    """Channels of the last map; they double with every halving of the size."""


class SnganGenerator(GeneratorSettings):
    """The ResNets of Miyato et al. 2018 (arXiv:1802.05957, tables 4 to 6): dense to 4x4, residual blocks that double
    the size, batch norm, 3x3 convolution, tanh. Classes: conditional batch norm (Miyato & Koyama 2018)."""

    family: Literal["sngan"] = "sngan"
    width: WidthOrWidths = 256
    """Channels of all maps; or a list, of the maps of each size, from 4x4 to full size: 5 make 64x64."""


Resampling = Literal["binomial", "box"]


class R3ganGenerator(GeneratorSettings):
    """Generator of Huang et al. 2024 (arXiv:2501.05441, section 4): stages of residual blocks (1x1, grouped 3x3, 1x1)
    without normalisation, fix-up initialisation, filtered resampling. Classes: an embedding beside the latent."""

    family: Literal["r3gan"] = "r3gan"
    latent_dim: PositiveInt = 64
    """Length of the normal latent vector."""
    widths: Widths = (768, 768, 768, 768)
    """Channels of each stage, from 4x4 to full size: 4 stages make 32x32."""
    blocks: PositiveInt = 2
    """Residual blocks per stage."""
    expansion: PositiveInt = 2
    """Channels of the grouped convolution, as a multiple of the stage's channels."""
    group_width: PositiveInt = 16
    """Channels of each group of the grouped convolution."""
    resampling: Resampling = "box"
    """binomial: the filter [1, 3, 3, 1] of the authors' code, bilinear but at the edges; box: bilinear to the edges, as
    in earlier files."""

    @property
    def min_layers(self) -> int:
        return self.blocks * len(self.widths)


class FastganGenerator(GeneratorSettings):
    """Generator of Liu et al. 2021 (arXiv:2101.04775): dense to 4x4; at each size nearest upsampling and two 3x3
    convolutions with noise, batch norm and gated linear units; skip-layer excitation; tanh. No spectral norm.
    Classes: an embedding beside the latent."""

    family: Literal["fastgan"] = "fastgan"
    latent_dim: PositiveInt = 64
    """Length of the normal latent vector."""
    widths: Widths = (160, 128, 64, 32)
    """Channels of each stage, from 4x4 to full size: 4 make 32x32. Published: 1024, 512, 256, 128, 128, 64 for 128."""
    excitation_stages: PositiveInt = 4
    """So many stages later each stage's channels are weighted by it: 4 from 4x4 to 64x64, as published, so not at all
    in images of 32x32."""
    modulated: bool = True
    """The latent vector changes the weights and biases of every normalisation (Chen et al. 2019, arXiv:1810.01365);
    false: as published."""

    @property
    def min_layers(self) -> int:
        return 2 * len(self.widths)


class DiscriminatorSettings(Frozen):
    """Settings of every family of discriminators."""

    dropout: Probability = 0.0
    """Dropout before the last dense layer."""
    spectral_norm: bool = False
    """Divide every weight by its largest singular value (Miyato et al. 2018, arXiv:1802.05957)."""
    conditional: bool = False
    """Projection of the class on the features (Miyato & Koyama 2018, arXiv:1802.05637)."""
    freeze_layers: NonNegativeInt = 0
    """Layers of the feature stack, from the image on, that are not trained: for fine-tuning with few images (FreezeD,
    Mo et al. 2020, arXiv:2002.10964)."""


class SeedDiscriminator(DiscriminatorSettings):
    """Discriminator of the seed recipe: 3x3 convolution, strided 4x4 convolutions without padding, dropout, dense."""

    family: Literal["seed_dcgan"] = "seed_dcgan"
    width: PositiveInt = 128
    """Channels of the convolutions."""
    downsamples: Annotated[int, Field(ge=1, le=12)] = 3
    """4x4 convolutions with stride 2."""
    dropout: Probability = 0.4
    """Dropout before the last dense layer."""


class DcganDiscriminator(DiscriminatorSettings):
    """The standard CNN of Miyato et al. 2018 (table 3): 3x3 and strided 4x4 convolutions in turn, dense."""

    family: Literal["dcgan"] = "dcgan"
    width: PositiveInt = 64
    """Channels at full size; they double with every halving of the size."""


class SnganDiscriminator(DiscriminatorSettings):
    """The ResNets of Miyato et al. 2018 (tables 4 to 6): residual blocks down to 8x8, two more, sum over the pixels,
    dense; with a width for each size down to 4x4, one more."""

    family: Literal["sngan"] = "sngan"
    width: WidthOrWidths = 128
    """Channels of all maps; or a list, of the blocks at each size, from 4x4 to full size: 5 take 64x64."""
    spectral_norm: bool = True
    """Divide every weight by its largest singular value (Miyato et al. 2018, arXiv:1802.05957)."""


class R3ganDiscriminator(DiscriminatorSettings):
    """The mirror of R3GAN's generator (Huang et al. 2024, section 4); the class is embedded and projected."""

    family: Literal["r3gan"] = "r3gan"
    widths: Widths = (768, 768, 768, 768)
    """Channels of each stage, from 4x4 to full size: 4 stages take 32x32."""
    blocks: PositiveInt = 2
    """Residual blocks per stage."""
    expansion: PositiveInt = 2
    """Channels of the grouped convolution, as a multiple of the stage's channels."""
    group_width: PositiveInt = 16
    """Channels of each group of the grouped convolution."""
    resampling: Resampling = "box"
    """binomial: the filter [1, 3, 3, 1] of the authors' code; box: the mean of four pixels, as in earlier files."""


class ProjectedDiscriminator(DiscriminatorSettings):
    """Discriminator of Sauer et al. 2021 (arXiv:2111.01007): features of a fixed network trained on ImageNet
    (EfficientNet-Lite0; extra quality) at four scales, mixed by fixed random convolutions, and a small trained head for
    each scale, without normalisation of a batch. The loss is the mean over the heads."""

    family: Literal["projected"] = "projected"
    resolution: Annotated[int, Field(ge=32, le=512, multiple_of=32)] = 64
    """Images are resized to this many pixels a side; 224 is that of the fixed network's training, 64 fits a CPU."""
    width: PositiveInt = 128
    """Channels of the heads' convolutions."""
    spectral_norm: bool = True
    """Divide every weight by its largest singular value (Miyato et al. 2018, arXiv:1802.05957)."""


RECIPES_BY_SIZE = {  # that come with distgan, by family and size of the images, for a data set of another size
    "dcgan": {32: "dcgan", 64: "dcgan"},
    "sngan": {32: "sngan", 64: "sngan_64", 128: "sngan_128"},
    "r3gan": {32: "r3gan", 64: "r3gan_64", 128: "r3gan_128"},
    "fastgan": {32: "cifar10_cpu"},
}

GENERATORS = Registry(
    kind="generator",
    key="generator.family",
    group="distgan.families",
    attribute="Generator",
    base=GeneratorSettings,
    contract=contracts.GENERATOR,
)
GENERATORS.add("seed_dcgan", "distgan.networks.seed_dcgan:Generator", SeedGenerator)
GENERATORS.add("dcgan", "distgan.networks.dcgan:Generator", DcganGenerator)
GENERATORS.add("sngan", "distgan.networks.sngan:Generator", SnganGenerator)
GENERATORS.add("r3gan", "distgan.networks.r3gan:Generator", R3ganGenerator)
GENERATORS.add("fastgan", "distgan.networks.fastgan:Generator", FastganGenerator)

DISCRIMINATORS = Registry(
    kind="discriminator",
    key="discriminator.family",
    group="distgan.families",
    attribute="Discriminator",
    base=DiscriminatorSettings,
    contract=contracts.DISCRIMINATOR,
)
DISCRIMINATORS.add("seed_dcgan", "distgan.networks.seed_dcgan:Discriminator", SeedDiscriminator)
DISCRIMINATORS.add("dcgan", "distgan.networks.dcgan:Discriminator", DcganDiscriminator)
DISCRIMINATORS.add("sngan", "distgan.networks.sngan:Discriminator", SnganDiscriminator)
DISCRIMINATORS.add("r3gan", "distgan.networks.r3gan:Discriminator", R3ganDiscriminator)
DISCRIMINATORS.add("projected", "distgan.networks.projected:Discriminator", ProjectedDiscriminator)

if TYPE_CHECKING:
    GeneratorConfig = GeneratorSettings
    DiscriminatorConfig = DiscriminatorSettings
else:
    GeneratorConfig = GENERATORS.union("Network family", default="seed_dcgan")
    DiscriminatorConfig = DISCRIMINATORS.union("Network family", default="seed_dcgan")
