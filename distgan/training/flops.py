"""FLOPs of whatever runs: 2 for each multiply-add of matrix products and convolutions, forward, backward and double
backward; all else (activations, norms, optimisers) is left out, as is usual.

torch's own `FlopCounterMode` is not for penalties: it follows modules by hooks, which `autograd.grad` refuses; and it
counts the backward of grouped convolutions as if they had one group.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from distgan.config.schema import Config
from distgan.networks import build_discriminator, build_generator
from distgan.networks.layers import HasFeatures, freeze_layers, verdict
from distgan.training.features import reusable
from distgan.training.losses import build_loss, mean_over_heads
from distgan.training.penalties import Weights, build_penalty, gradient_penalty, slopes_needed

aten = torch.ops.aten
PEAKS: tuple[tuple[str, dict[str, float]], ...] = (
    ("H100 PCIe", {"bf16": 756, "fp16": 756, "no": 378}),
    ("H100", {"bf16": 989, "fp16": 989, "no": 495}),
    ("H200", {"bf16": 989, "fp16": 989, "no": 495}),
    ("A100", {"bf16": 312, "fp16": 312, "no": 156}),
    ("A10", {"bf16": 125, "fp16": 125, "no": 62.5}),
    ("A40", {"bf16": 149.7, "fp16": 149.7, "no": 74.8}),
    ("RTX A6000", {"bf16": 154.8, "fp16": 154.8, "no": 77.4}),
    ("L40S", {"bf16": 362, "fp16": 362, "no": 183}),
    ("L4", {"bf16": 121, "fp16": 121, "no": 60}),
    ("RTX 4090", {"bf16": 165.2, "fp16": 165.2, "no": 82.6}),
    ("RTX 3090", {"bf16": 71, "fp16": 71, "no": 35.6}),
    ("V100", {"fp16": 125, "no": 15.7}),
    ("T4", {"fp16": 65, "no": 8.1}),
)
"""Part of a GPU's name, the first that fits, and its TFLOP/s by train.precision: dense products with sums in fp32;
without a precision TF32, in which torch computes convolutions where the GPU has it. From NVIDIA's data sheets."""
OTHER_MODELS = "Laptop|D|Ti|NVL"  # words after the name of another GPU, whose peak is not known


class Flops(TorchDispatchMode):
    """A context; `total` afterwards."""

    total = 0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        operator = func._overloadpacket
        if operator is aten.convolution:
            self.total += _convolution(args[0], args[1], out, transposed=args[6])
        elif operator is aten.convolution_backward:
            grad, images, weight, transposed, mask = args[0], args[1], args[2], args[7], args[10]
            self.total += sum(mask[:2]) * _convolution(images, weight, grad, transposed)  # each as much as the forward
        elif operator in flop_registry:
            self.total += flop_registry[operator](*args, **(kwargs or {}), out_val=out)
        return out


def step_flops(config: Config, size: int, classes: int, channels: int) -> float | None:
    """FLOPs of a step of the global batch, a mean over the steps with and without a lazy penalty.

    Counted for one image of each kind on torch's meta device, which computes nothing. Recomputation, the moving average
    and augmentation are left out. None: a network from outside does not run there.
    """
    try:
        with torch.device("meta"):
            g = build_generator(config.generator, size, classes, channels=channels).eval()
            d = build_discriminator(config.discriminator, size, classes, channels=channels).eval()
            freeze_layers(d, config.discriminator.freeze_layers)
            latents, image = torch.empty(1, config.generator.latent_dim), torch.empty(1, channels, size, size)
            return config.train.batch_size * _per_image(
                config, _Networks(g, d, latents, image, config.generator.conditional)
            )
    except Exception:  # whatever somebody's network does not do on a device without memory
        return None


def peak_flops(device_name: str, precision: str) -> float | None:
    """The most FLOP/s that a GPU can do, of its name as torch gives it; None where it is not known."""
    known = next((peaks for part, peaks in PEAKS if re.search(rf"\b{part}\b(?! ({OTHER_MODELS})\b)", device_name)), {})
    return known[precision] * 1e12 if precision in known else None


def _convolution(images: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, transposed: bool) -> int:
    """Every weight [out, in / groups, ...] meets every place of the output once; transposed, of the input."""
    places = images.shape if transposed else out.shape
    return 2 * prod(weight.shape) * places[0] * prod(places[2:])


class _Networks(NamedTuple):
    """G and D on the meta device, and what they are shown."""

    g: nn.Module
    d: nn.Module
    latents: Tensor
    """[1, latent_dim]."""
    image: Tensor
    """[1, channels, H, W]."""
    conditional: bool

    def labels(self, count: int) -> Tensor | None:
        """int64 [count]; None for unconditional networks."""
        return torch.zeros(count, dtype=torch.int64) if self.conditional else None


def _per_image(config: Config, networks: _Networks) -> float:
    """FLOPs of a step for one fake and one real image."""
    train, every = config.train, config.loss.penalty_every_steps
    g_forward = _counted(lambda: networks.g(networks.latents, networks.labels(1)))
    penalties = Weights.of_d(config.loss, 0, 0)
    plain = _counted(lambda: _discriminator_loss(config, networks, Weights()).backward())
    penalised = plain
    if any(penalties.taken):
        penalised = _counted(lambda: _discriminator_loss(config, networks, penalties).backward())
    d_update = g_forward + (penalised + (every - 1) * plain) / every
    g_update = _counted(lambda: _generator_loss(config, networks).backward())
    return train.d_steps * d_update + g_update - (_shared(config, networks, g_forward) if train.share_fakes else 0)


def _shared(config: Config, networks: _Networks, g_forward: int) -> float:
    """FLOPs of what a step with shared fakes does once in the place of twice."""
    if not reusable(networks.d, config):
        return g_forward
    every = config.loss.penalty_every_steps
    penalised = (
        any(Weights.of_d(config.loss, 0, 0).taken) / every
    )  # the share of steps, whose D needs features of its own
    seen_by_g = 1 + (build_loss(config.loss).needs_real_logits or config.loss.mode_seeking.wants_features)
    features = _counted(lambda: cast(HasFeatures, networks.d).features(networks.image))
    return g_forward + features * (seen_by_g - 2 * penalised)


def _counted(call: Callable[[], object]) -> int:
    with Flops() as counter:
        call()
    return counter.total


def _discriminator_loss(config: Config, networks: _Networks, weights: Weights) -> Tensor:
    loss, penalty = build_loss(config.loss), build_penalty(config.loss)
    slopes = slopes_needed(weights, penalty)
    kinds = ("fake", "real", "mixed") if "mixed" in slopes else ("fake", "real")
    images = {kind: networks.image.clone().requires_grad_(kind in slopes) for kind in kinds}
    logits = networks.d(torch.cat([*images.values()]), networks.labels(len(kinds)))
    fake, real = logits.chunk(len(kinds))[:2]
    noise = [torch.zeros(len(fake))] * (2 if loss.needs_label_noise else 0)
    adversarial = mean_over_heads(lambda *pair: loss.discriminator(*pair, *noise), fake, real)
    return adversarial + gradient_penalty(weights, images, verdict(logits), penalty)


def _generator_loss(config: Config, networks: _Networks) -> Tensor:
    loss, d = build_loss(config.loss), networks.d
    trained = [weight for weight in d.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    fake = d(networks.g(networks.latents, networks.labels(1)), networks.labels(1))
    real = [d(networks.image, networks.labels(1))] if loss.needs_real_logits else []
    if config.loss.mode_seeking.wants_features and not real:
        cast(HasFeatures, d).features(networks.image)
    for weight in trained:
        weight.requires_grad_(True)
    return mean_over_heads(loss.generator, fake, *real)
