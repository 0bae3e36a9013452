"""The loader in docs/generator_file.md, which needs torch and safetensors alone: distgan's images of every family."""

from __future__ import annotations

import re

import pytest
import torch

from distgan.config.load import load_config
from distgan.config.networks import DcganGenerator, FastganGenerator, R3ganGenerator, SeedGenerator, SnganGenerator
from distgan.config.recipes import RECIPES
from distgan.inference.formats.portable import largest_difference
from distgan.inference.generator import Generator, load_generator
from distgan.inference.generator_file import Description, save_generator
from distgan.networks import build_generator
from tests.support.processes import ROOT
from tests.unit.inference.test_formats import lively

PAGE = (ROOT / "docs" / "generator_file.md").read_text()
LOADER = "\n".join(re.findall(r"^```python loader\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def loader():
    names: dict[str, object] = {}
    exec(compile(LOADER, "docs/generator_file.md", "exec"), names)
    return names


def check(loader, path, settings, size, channels=3):
    """Writes a generator of these settings, and compares both readings of its file."""
    described = Description(
        generator=settings, size=size, channels=channels, class_names=tuple("abcde"), config={}, images_seen=0,
        data_digest="",
    )  # fmt: skip
    network = build_generator(settings, size, 5, channels=channels).eval().requires_grad_(False)
    save_generator(path, lively(Generator(network, described, "")).network.state_dict(), described)
    generator = load_generator(path)
    model, facts = loader["load"](path)
    latents = torch.stack([loader["latent"](seed, facts["generator"]["latent_dim"]) for seed in range(8)])
    assert torch.equal(latents, generator.latents(range(8)))
    labels = generator.labels(range(8))
    weights = None if labels is None else torch.nn.functional.one_hot(labels, len(facts["class_names"])).float()
    made = model(latents, weights)
    assert largest_difference(made, generator(latents, labels).clamp(-1, 1)) <= 1
    assert made.std() > 0.2, "images are not all gray"
    if weights is not None:
        mixed = (weights + weights.roll(1, 1)) / 2
        assert largest_difference(model(latents, mixed), generator.network(latents, mixed).clamp(-1, 1)) <= 1


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        SeedGenerator(latent_dim=8, stem_channels=4, width=8, depth=2, upsamples=2),
        DcganGenerator(latent_dim=8, width=4),
        SnganGenerator(latent_dim=8, width=(16, 8, 8, 4)),
        R3ganGenerator(latent_dim=8, widths=(32, 32, 16, 16), blocks=2, group_width=8),
        R3ganGenerator(latent_dim=8, widths=(32, 32, 16, 16), blocks=1, group_width=8, resampling="binomial"),
        FastganGenerator(latent_dim=8, widths=(16, 12, 8, 8), excitation_stages=2),
    ],
    ids=lambda settings: f"{settings.family}-{getattr(settings, 'resampling', '')}".rstrip("-"),
)
def test_the_loader_makes_the_images_of_every_family(loader, tmp_path, settings, conditional, channels):
    check(loader, tmp_path / "g.safetensors", settings.model_copy(update={"conditional": conditional}), 32, channels)


def test_the_loader_is_short():
    assert len([line for line in LOADER.splitlines() if line]) <= 90


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_the_loader_makes_the_images_of_every_recipe(loader, tmp_path, recipe):
    settings = load_config(recipe).generator
    widths = next((getattr(settings, name) for name in ("widths", "width") if hasattr(settings, name)), 0)
    size = 4 * 2 ** (len(widths) - 1) if isinstance(widths, tuple) else 32
    small = {"widths": (16,) * len(widths)} if hasattr(settings, "widths") else {}
    small |= {"width": (8,) * len(widths) if isinstance(widths, tuple) else 8} if hasattr(settings, "width") else {}
    check(loader, tmp_path / "g.safetensors", settings.model_copy(update=small), size)
