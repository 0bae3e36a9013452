"""Checks of a generator and of a discriminator by themselves: shapes, gradients, and what each result depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from distgan.config.networks import DiscriminatorConfig, GeneratorConfig
from distgan.doctor.contracts.subject import Broken, Check, Subject
from distgan.networks import build_discriminator, build_generator, check_same_answer, takes_channels
from distgan.networks.batch_norm import GlobalBatchNorm
from distgan.networks.dropout import dropouts, set_dropout
from distgan.networks.layers import HasFeatures, has_features, has_fixed_features, verdict
from distgan.networks.spectral_norm import power_iteration, spectral_norms_of
from distgan.training.penalties import input_gradients
from distgan.utils.errors import ConfigError

SIZE, CLASSES, BATCH = 32, 10, 6
MAX_VALUE = 4.0  # of an image before training, for a generator whose last layer is linear

Forward = Callable[[nn.Module, bool], tuple[Tensor, Tensor]]
"""A network and whether it is conditional in; its input, requiring grad, and its output, out."""


def generator_checks(subject: Subject) -> Iterator[Check]:
    """Yields the checks of a generator."""

    def build(conditional: bool, seed: int = 0, channels: int = 3) -> nn.Module:
        section = subject.validated(GeneratorConfig, conditional=conditional)
        return _without_dropout(build_generator(section, SIZE, CLASSES, seed, channels=channels))

    def forward(network: nn.Module, conditional: bool) -> tuple[Tensor, Tensor]:
        latents = _random(BATCH, subject.validated(GeneratorConfig, conditional=conditional).latent_dim)
        return latents, network(latents, _labels(conditional))

    yield Check("weights", partial(check_weights, build))
    yield Check("images", partial(check_images, build, forward))
    yield Check("gray images", lambda: check_gray(subject, build, lambda network: forward(network, False)[1]))
    yield from _common_checks(build, forward)


def discriminator_checks(subject: Subject) -> Iterator[Check]:
    """Yields the checks of a discriminator."""

    def build(conditional: bool, seed: int = 0, spectral_norm: bool | None = None, channels: int = 3) -> nn.Module:
        more = {} if spectral_norm is None else {"spectral_norm": spectral_norm}
        section = subject.validated(DiscriminatorConfig, conditional=conditional, **more)
        return _without_dropout(build_discriminator(section, SIZE, CLASSES, seed, channels=channels))

    def forward(network: nn.Module, conditional: bool) -> tuple[Tensor, Tensor]:
        images = _random(BATCH, 3, SIZE, SIZE).clamp(-1, 1).requires_grad_()
        return images, network(images, _labels(conditional))

    yield Check("weights", partial(check_weights, build))
    yield Check("logits", partial(check_logits, build, forward))
    gray = _random(BATCH, 1, SIZE, SIZE).clamp(-1, 1)
    yield Check("gray images", lambda: check_gray(subject, build, lambda network: network(gray, None)))
    yield from _common_checks(build, forward)
    yield Check("features", partial(check_features, build))
    yield Check("second derivatives", partial(check_second_derivatives, build, forward))
    yield Check("spectral norm", partial(check_spectral_norm, build, forward))


def _common_checks(build: Callable[..., nn.Module], forward: Forward) -> Iterator[Check]:
    yield Check("gradients", partial(check_gradients, build, forward))
    yield Check("rows", partial(check_rows, build, forward))
    yield Check("classes", partial(check_classes, build, forward))
    yield Check("layers", lambda: check_layers(build(False)))


def check_weights(build: Callable[..., nn.Module]) -> str:
    """The same seed gives the same weights, another seed others."""
    one, same, other = (build(False, seed=seed).state_dict() for seed in (1, 1, 2))
    if different := [name for name in one if not torch.equal(one[name], same[name])]:
        raise Broken(
            f"the same seed gives other weights ({different[0]}): draw them from torch's generator in __init__"
        )
    if one and all(torch.equal(one[name], other[name]) for name in one):
        raise Broken("another seed gives the same weights: draw them from torch's generator, without a seed of its own")
    return f"{sum(weight.numel() for weight in build(False).parameters()):,} parameters, a function of the seed"


def check_images(build: Callable[..., nn.Module], forward: Forward) -> str:
    """Shape, type and range of generated images."""
    _, images = forward(build(False), False)
    _check_shape("images", images, (BATCH, 3, SIZE, SIZE))
    low, high = images.min().item(), images.max().item()
    if max(-low, high) > MAX_VALUE:
        raise Broken(
            f"images reach from {low:.3g} to {high:.3g}; they must be in [-1, 1]: end with tanh, or scale them"
        )
    outside = " (samples are clipped to [-1, 1])" if max(-low, high) > 1 else ""
    return f"{list(images.shape)}, from {low:.2f} to {high:.2f}{outside}"


def check_logits(build: Callable[..., nn.Module], forward: Forward) -> str:
    """Shape and type of logits."""
    _, logits = forward(build(False), False)
    _check_shape("logits", verdict(logits), (BATCH,))
    return f"{list(logits.shape)}"


def check_gray(subject: Subject, build: Callable[..., nn.Module], run: Callable[[nn.Module], Tensor]) -> str:
    """A network with a parameter `channels` makes, or takes, images of one channel. run: a forward of it."""
    if not takes_channels(subject.target):
        return "none: its __init__ has no parameter `channels`, so it is for RGB images"
    result = verdict(run(build(False, channels=1)))
    wanted = (BATCH, 1, SIZE, SIZE) if subject.registry.kind == "generator" else (BATCH,)
    _check_shape("with channels=1 results", result, wanted)
    return f"{list(result.shape)}"


def check_features(build: Callable[..., nn.Module]) -> str:
    """Where a discriminator has features, mode seeking may compare them: judge of features is forward."""
    counts, images = [], _random(BATCH, 3, SIZE, SIZE).clamp(-1, 1)
    for conditional in (False, True):
        if (network := _if_conditional(build, conditional)) is None:
            continue
        if not has_features(network):
            return "none: it has no methods `features` and `judge`, so mode seeking compares images"
        featured, labels = cast(HasFeatures, network.eval()), _labels(conditional)
        maps, logits = featured.features(images), network(images, labels)
        if bad := [tuple(each.shape) for each in maps if each.ndim != 4 or len(each) != BATCH]:
            raise Broken(f"a map of features has the shape {list(bad[0])}, not [{BATCH}, C, H, W]")
        if not torch.allclose(featured.judge(maps, labels), logits, rtol=1e-4, atol=1e-5):
            raise Broken("judge of features gives other logits than forward")
        if has_fixed_features(network):
            if any(each.requires_grad for each in maps):
                raise Broken("fixed_features is true, and a weight is trained through the features")
            if not torch.allclose(network(images, labels, maps=maps), logits, rtol=1e-4, atol=1e-5):
                raise Broken("forward of known maps gives other logits than forward of the images")
        counts.append(len(maps))
    return f"{counts[0]} maps, of which judge makes the logits of forward"


def _check_shape(what: str, found: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(found.shape) != shape:
        raise Broken(f"{what} have the shape {list(found.shape)}, not {list(shape)}")
    if not found.is_floating_point():
        raise Broken(f"{what} are {found.dtype}, not float")
    if not torch.isfinite(found).all():
        raise Broken(f"{what} are not finite")


def check_gradients(build: Callable[..., nn.Module], forward: Forward) -> str:
    """Every weight gets a finite gradient: DDP waits for it."""
    for conditional in (False, True):
        if (network := _if_conditional(build, conditional)) is None:
            continue
        forward(network, conditional)[1].square().sum().backward()
        weights = dict(network.named_parameters())
        if without := [name for name, weight in weights.items() if weight.grad is None]:
            raise Broken(
                f"{without[0]} takes no part in the result, so that several processes would wait for it forever"
            )
        if bad := [name for name, weight in weights.items() if not torch.isfinite(weight.grad).all()]:  # type: ignore[arg-type]
            raise Broken(f"the gradient of {bad[0]} is not finite")
    return "every weight gets one"


def check_rows(build: Callable[..., nn.Module], forward: Forward) -> str:
    """A row of the result depends on its own row of the input only."""
    network = build(False)
    if any(isinstance(layer, GlobalBatchNorm) for layer in network.modules()):
        return "batch normalisation over the global batch"
    given, result = forward(network, False)
    given = given.detach()
    alone = network(given[:2], None)
    if (gap := (alone - result[:2]).abs().max().item()) > 1e-4 * max(1.0, result.detach().abs().max().item()):
        raise Broken(
            f"the first two rows alone give another result (by {gap:.2g}) than among {BATCH}: several processes would "
            "train another model than one; use no statistics of the batch, or distgan.extend.GlobalBatchNorm"
        )
    return "each depends on its own row only"


def check_classes(build: Callable[..., nn.Module], forward: Forward) -> str:
    """With conditional=true the result depends on the class."""
    if (network := _if_conditional(build, True)) is None:
        return "none: conditional=true is refused"
    given, _ = forward(network, True)
    with torch.no_grad():  # weights that begin the same for all classes, or at zero, hide the class
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)), alpha=0.1)
    others = (_labels(True) + 1) % CLASSES  # type: ignore[operator]
    if torch.equal(network(given, _labels(True)), network(given, others)):
        raise Broken("conditional=true, but the label changes nothing; refuse it in __init__ with a ConfigError")
    return f"{CLASSES}, and the label changes the result"


def check_layers(network: nn.Module) -> str:
    """No layer that torch has draws or measures something of one process only."""
    try:
        check_same_answer(network, 2, 1)
    except ConfigError as error:
        raise Broken(str(error)) from None
    return "none that depends on how the batch is split"


def check_second_derivatives(build: Callable[..., nn.Module], forward: Forward) -> str:
    """A gradient penalty reaches the weights."""
    network = build(False)
    images, logits = forward(network, False)
    penalty = input_gradients({"real": images}, logits)["real"].square().sum((1, 2, 3)).mean()
    if not penalty.requires_grad:
        raise Broken("the gradient by the images does not depend on a weight: a gradient penalty would change nothing")
    penalty.backward()
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    if not all(torch.isfinite(gradient).all() for gradient in gradients):
        raise Broken("the second derivatives are not finite: no gradient penalty can be taken")
    return "finite: gradient penalties can be taken"


def check_spectral_norm(build: Callable[..., nn.Module], forward: Forward) -> str:
    """spectral_norm=true can be built."""
    try:
        network = build(False, spectral_norm=True)
    except ConfigError as error:
        return f"refused: {error}"
    power_iteration(spectral_norms_of(network))
    _check_shape("logits", verdict(forward(network, False)[1]), (BATCH,))
    return f"of {len(spectral_norms_of(network))} layers"


def _without_dropout(network: nn.Module) -> nn.Module:
    """The network with its KeyedDropout off: only a training keys it."""
    set_dropout(dropouts(network), 0.0)
    return network


def _if_conditional(build: Callable[..., nn.Module], conditional: bool) -> nn.Module | None:
    """The network; None where it cannot be conditional."""
    try:
        return build(conditional)
    except ConfigError:
        if conditional:
            return None
        raise


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _labels(conditional: bool) -> Tensor | None:
    return torch.arange(BATCH) % CLASSES if conditional else None
