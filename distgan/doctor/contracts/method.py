"""The contracts of what a training is made of: losses, penalties, augmentations, optimizers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distgan.config.method import AUGMENTATIONS, LOSSES, PENALTIES, AugmentConfig, Loss, Optimizer, Penalty
from distgan.config.registry import error_text
from distgan.doctor.contracts.subject import Broken, Subject
from distgan.doctor.contracts.values import COUNT, form_of, normal_values
from distgan.training.augment import Augmentation
from distgan.training.optim import build_optimizer


def check_loss(subject: Subject) -> str:
    """Scalars that are means over the images and have gradients; probabilities in [0, 1]."""
    loss = LOSSES.build(subject.validated(Loss))
    fake, real = normal_values(COUNT).requires_grad_(), normal_values(COUNT, seed=1).requires_grad_()
    noise = [torch.full((COUNT,), 0.5)] * 2 if loss.needs_label_noise else []

    def of_d(rows: slice) -> Tensor:
        return loss.discriminator(fake[rows], real[rows], *(part[rows] for part in noise))

    def of_g(rows: slice) -> Tensor:
        return loss.generator(fake[rows], real[rows] if loss.needs_real_logits else None)

    for name, of in (("discriminator", of_d), ("generator", of_g)):
        whole = of(slice(None))
        if whole.shape != () or not torch.isfinite(whole):
            raise Broken(f"{name} returns {form_of(whole)}, not a finite scalar")
        halves = (of(slice(COUNT // 2)) + of(slice(COUNT // 2, None))) / 2
        if not torch.allclose(whole, halves, atol=1e-5):
            raise Broken(f"{name} of all images is {whole:.6g}, the mean of its halves {halves:.6g}: it must be a mean")
        if not torch.autograd.grad(whole, fake)[0].abs().sum() > 0:
            raise Broken(f"{name} has no gradient by the logits of the fakes")
    for probabilities in loss.real_probabilities(fake.detach(), real.detach()):
        if probabilities.shape != (COUNT,) or not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise Broken(f"real_probabilities returns {form_of(probabilities)}, not [{COUNT}] in [0, 1]")
    return "means over the images, with gradients"


def check_penalty(subject: Subject) -> str:
    """A value per image, which can be differentiated."""
    penalty = PENALTIES.build(subject.validated(Penalty))
    if penalty is None:
        return "none"
    if (on := getattr(penalty, "on", None)) not in ("real", "fake", "mixed"):
        raise Broken(f"`on` is {on!r}, not real, fake or mixed")
    gradients, logits = normal_values(COUNT, 3, 8, 8).requires_grad_(), normal_values(COUNT).requires_grad_()
    values = penalty(gradients, logits)
    if values.shape != (COUNT,) or not torch.isfinite(values).all():
        raise Broken(f"it returns {form_of(values)}, not [{COUNT}], finite")
    if not values.requires_grad:
        raise Broken("it cannot be differentiated: D's weights would not feel it")
    values.mean().backward()
    if not torch.isfinite(penalty(torch.zeros_like(gradients), logits)).all():
        raise Broken("it is not finite where D is flat (a root of 0?)")
    return f"a value per image, on {penalty.on}"


def check_augmentation(subject: Subject) -> str:
    """The same shape; each image by its own numbers; a gradient."""
    augmentation = AUGMENTATIONS.build(subject.validated(AugmentConfig))
    if augmentation is None:
        return "none"
    _check_augmented(augmentation, 3)
    kinds = "RGB and gray images"
    try:
        _check_augmented(augmentation, 1)
    except Exception as error:  # of the implementation
        kinds = f"RGB images only (with one channel: {error if isinstance(error, Broken) else error_text(error)})"
    numbers = f"{augmentation.uniforms} uniform and {augmentation.normals} normal numbers per image"
    return f"{numbers}, {kinds}; {_second_derivative(augmentation)}"


def _second_derivative(augmentation: Augmentation) -> str:
    images, uniform, normal, p = _augmentable(augmentation, 3)
    (slopes,) = torch.autograd.grad(augmentation(images, uniform, normal, p).square().sum(), images, create_graph=True)
    try:
        torch.autograd.grad(slopes.sum(), images)
    except RuntimeError as error:  # an operator that has none
        return f"no R1 or R2 through it ({error_text(error)})"
    return "R1 and R2 can go through it"


def _augmentable(augmentation: Augmentation, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, requiring grad, the random numbers that they take, and a probability."""
    images = normal_values(COUNT, channels, 16, 16).clamp(-1, 1).requires_grad_()
    uniform = torch.rand(COUNT, augmentation.uniforms, generator=torch.Generator().manual_seed(0))
    return images, uniform, normal_values(COUNT, augmentation.normals), torch.tensor(0.5)


def _check_augmented(augmentation: Augmentation, channels: int) -> None:
    images, uniform, normal, p = _augmentable(augmentation, channels)
    shown = augmentation(images, uniform, normal, p)
    if shown.shape != images.shape or not torch.isfinite(shown).all():
        raise Broken(f"it returns {form_of(shown)}, not {list(images.shape)}, finite")
    if not torch.equal(shown, augmentation(images, uniform, normal, p)):
        raise Broken("the same numbers give another result: take random numbers from `uniform` and `normal` only")
    if not torch.allclose(shown[:2], augmentation(images[:2], uniform[:2], normal[:2], p), atol=1e-5):
        raise Broken("the first two images alone come out differently: an image may depend on its own row only")
    if not torch.autograd.grad(shown.square().sum(), images)[0].abs().sum() > 0:
        raise Broken("it has no gradient by the images: G would learn nothing through it")


def check_optimizer(subject: Subject) -> str:
    """Weights move, by the learning rate that distgan sets; the state can be kept in a checkpoint."""
    network = nn.Linear(4, 3)
    optimizer = build_optimizer(subject.validated(Optimizer), network.parameters())
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise Broken(f"it returns {type(optimizer).__name__}, not a torch.optim.Optimizer")
    for _ in range(2):
        before = [weight.detach().clone() for weight in network.parameters()]
        network(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    for weight, old in zip(network.parameters(), before, strict=True):
        if torch.equal(weight, old):
            raise Broken("a weight with a gradient has not moved")
        for name, value in optimizer.state[weight].items():
            if not isinstance(value, Tensor) or value.shape not in ((), weight.shape):
                raise Broken(
                    f"its state {name} is {form_of(value)}, not a tensor of the weight's shape or a scalar one"
                )
    return f"state of a weight: {', '.join(optimizer.state[next(network.parameters())]) or 'none'}"
