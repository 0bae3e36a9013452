"""The projected discriminator: the fixed network, what D's state holds, heads, errors."""

from __future__ import annotations

import copy
import sys

import pytest
import torch

from distgan.config.networks import ProjectedDiscriminator
from distgan.networks import build_discriminator, efficientnet, to_device
from distgan.networks.efficientnet import load_lite0, scaled
from distgan.networks.layers import verdict
from distgan.networks.projected import LEVELS
from distgan.utils.errors import CheckpointError, QualityError

pytest.importorskip("efficientnet_lite_pytorch")
IMAGES = torch.rand((4, 3, 32, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1
LABELS = torch.arange(4)


def build(seed=0, size=32, channels=3, **more):
    return build_discriminator(ProjectedDiscriminator(width=8, **more), size, 10, seed, channels=channels)


@pytest.mark.parametrize(("size", "resolution", "sides"), [(32, 64, [16, 8, 4, 2]), (128, 96, [24, 12, 6, 3])])
@torch.no_grad()
def test_four_heads_answer_and_an_image_knows_of_no_other(size, resolution, sides):
    network = build(size=size, resolution=resolution, conditional=True)
    images = torch.rand(4, 3, size, size) * 2 - 1
    logits = network(images, LABELS)
    assert logits.shape == (4, 4)
    assert (logits.std(0) > 0).all()
    torch.testing.assert_close(network(images[2:], LABELS[2:]), logits[2:], rtol=1e-4, atol=1e-5)
    assert [maps.shape[2] for maps in network.features(images)] == sides
    assert verdict(logits).shape == (4,)


@torch.no_grad()
def test_the_maps_are_those_of_the_fixed_network_in_eval_mode():
    network = build(resolution=32)
    network.train()
    fixed = load_lite0("a test", "none")
    seen = []
    for number in (2, 4, 10, 15):
        fixed._blocks[number].register_forward_hook(lambda _, __, x: seen.append(x))
    fixed.extract_features(scaled(IMAGES * 127.5 + 127.5))
    for found, expected, level in zip(network.features(IMAGES), seen, LEVELS, strict=True):
        torch.testing.assert_close(found * level, expected, rtol=1e-4, atol=1e-4)
    assert [maps.shape[1] for maps in seen] == [24, 40, 112, 320]


def test_the_fixed_network_is_neither_trained_nor_saved_nor_exchanged():
    network = build()
    fixed = {id(tensor) for tensor in (*network._fixed[0].parameters(), *network._fixed[0].buffers())}
    held = [*network.parameters(), *network.buffers()]
    assert not fixed & {id(tensor) for tensor in held}
    assert not any(weight.requires_grad for weight in network._fixed[0].parameters())
    assert not network._fixed[0].training
    assert sum(tensor.nbytes for tensor in network.state_dict().values()) < 1 << 20
    state = network.state_dict()
    assert bytes(state["features_digest"].tolist()).hex() == efficientnet.SHA256


def test_no_gradient_passes_the_features_in_d_s_update_and_one_does_in_g_s():
    network = build()
    assert not any(maps.requires_grad for maps in network.features(IMAGES))
    shown = IMAGES.clone().requires_grad_()
    network(shown).sum().backward()
    assert shown.grad.any()
    assert all(weight.grad.any() for weight in network.parameters())
    assert all(weight.grad is None for weight in network._fixed[0].parameters())


def test_the_random_convolutions_are_a_function_of_the_seed_and_travel_with_d():
    one, same, other = build(1), build(1), build(2)
    names = [name for name, _ in one.mixing.named_buffers()]
    assert len(names) == 7
    for name in names:
        assert torch.equal(one.mixing.get_buffer(name), same.mixing.get_buffer(name))
        assert not torch.equal(one.mixing.get_buffer(name), other.mixing.get_buffer(name))
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.eval()(IMAGES), one.eval()(IMAGES))


@torch.no_grad()
def test_mixing_keeps_the_variance():
    maps = [torch.randn(16, channels, side, side) for channels, side in ((24, 16), (40, 8), (112, 4), (320, 2))]
    assert all(0.6 < mixed.std() < 1.4 for mixed in build().mixing(maps))


def test_a_state_of_other_features_is_refused():
    network = build()
    state = network.state_dict()
    state["features_digest"] = torch.zeros(32, dtype=torch.uint8)
    with pytest.raises(CheckpointError, match="trained on features of other weights than EfficientNet-Lite0's"):
        network.load_state_dict(state)


@torch.no_grad()
def test_the_fixed_network_follows_d_to_a_type_and_a_copy_has_its_own():
    network = build()
    expected = network(IMAGES)
    twin = copy.deepcopy(network)
    found = twin.double()(IMAGES.double())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(network(IMAGES), expected)
    torch.testing.assert_close(to_device(network, torch.device("cpu"))(IMAGES), expected, rtol=1e-4, atol=1e-5)
    with torch.device("meta"):
        empty = build()
        assert empty(torch.empty(2, 3, 32, 32)).shape == (2, 4)


@torch.no_grad()
def test_gray_images_are_shown_as_rgb():
    gray, coloured = build(channels=1), build()
    torch.testing.assert_close(gray(IMAGES[:, :1]), coloured(IMAGES[:, :1].repeat(1, 3, 1, 1)))


@torch.no_grad()
def test_classes_are_projected_on_every_scale():
    network = build(conditional=True)
    assert ((network(IMAGES, LABELS) - network(IMAGES, LABELS + 1)).abs() > 0).all()


def test_without_the_extra_it_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(QualityError) as caught:
        build()
    assert str(caught.value) == (
        'discriminator.family=projected needs two packages; pip install "distgan[quality]", or use another family, '
        "such as sngan"
    )
