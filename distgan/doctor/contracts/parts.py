"""Checks of everything that is no network, by itself."""

from __future__ import annotations

import dataclasses
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast, get_type_hints

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from distgan.config.choices import EXTRACTORS, METRICS, SOURCES, TRACKERS
from distgan.config.method import AUGMENTATIONS, LOSSES, PENALTIES, AugmentConfig, Loss, Optimizer, Penalty
from distgan.config.registry import error_text
from distgan.config.schema import EvaluateConfig
from distgan.data.prepare import Request, build_source, prepare
from distgan.data.shards.decode import ImageFile
from distgan.data.sources.base import Source
from distgan.doctor.contracts.subject import Broken, Check, Subject, validated_at
from distgan.metrics.distances import Comparison
from distgan.metrics.extractors.pretrained import PretrainedNetwork
from distgan.metrics.manifold import estimate_manifold
from distgan.training.augment import Augmentation
from distgan.training.controllers.base import Controller
from distgan.training.optim import build_optimizer
from distgan.training.tracking.backend import Samples, TrackerBackend
from distgan.utils.names import known_names
from distgan.utils.safe_io import printable

COUNT = 12


def part_checks(subject: Subject) -> Iterator[Check]:
    """Yields the checks of its kind."""
    check: Callable[[Subject], str] = {
        "loss": check_loss,
        "penalty": check_penalty,
        "augmentation": check_augmentation,
        "optimizer": check_optimizer,
        "source": check_source,
        "extractor": check_extractor,
        "metric": check_metric,
        "tracker": check_tracker,
        "controller": check_controller,
    }[subject.registry.kind]
    yield Check(subject.registry.kind, lambda: check(subject))


def check_loss(subject: Subject) -> str:
    """Scalars that are means over the images and have gradients; probabilities in [0, 1]."""
    loss = LOSSES.build(subject.validated(Loss))
    fake, real = _random(COUNT).requires_grad_(), _random(COUNT, seed=1).requires_grad_()
    noise = [torch.full((COUNT,), 0.5)] * 2 if loss.needs_label_noise else []

    def of_d(rows: slice) -> Tensor:
        return loss.discriminator(fake[rows], real[rows], *(part[rows] for part in noise))

    def of_g(rows: slice) -> Tensor:
        return loss.generator(fake[rows], real[rows] if loss.needs_real_logits else None)

    for name, of in (("discriminator", of_d), ("generator", of_g)):
        whole = of(slice(None))
        if whole.shape != () or not torch.isfinite(whole):
            raise Broken(f"{name} returns {_shown(whole)}, not a finite scalar")
        halves = (of(slice(COUNT // 2)) + of(slice(COUNT // 2, None))) / 2
        if not torch.allclose(whole, halves, atol=1e-5):
            raise Broken(f"{name} of all images is {whole:.6g}, the mean of its halves {halves:.6g}: it must be a mean")
        if not torch.autograd.grad(whole, fake)[0].abs().sum() > 0:
            raise Broken(f"{name} has no gradient by the logits of the fakes")
    for probabilities in loss.real_probabilities(fake.detach(), real.detach()):
        if probabilities.shape != (COUNT,) or not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise Broken(f"real_probabilities returns {_shown(probabilities)}, not [{COUNT}] in [0, 1]")
    return "means over the images, with gradients"


def check_penalty(subject: Subject) -> str:
    """A value per image, which can be differentiated."""
    penalty = PENALTIES.build(subject.validated(Penalty))
    if penalty is None:
        return "none"
    if (on := getattr(penalty, "on", None)) not in ("real", "fake", "mixed"):
        raise Broken(f"`on` is {on!r}, not real, fake or mixed")
    gradients, logits = _random(COUNT, 3, 8, 8).requires_grad_(), _random(COUNT).requires_grad_()
    values = penalty(gradients, logits)
    if values.shape != (COUNT,) or not torch.isfinite(values).all():
        raise Broken(f"it returns {_shown(values)}, not [{COUNT}], finite")
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
    return f"{augmentation.uniforms} uniform and {augmentation.normals} normal numbers per image, {kinds}"


def _check_augmented(augmentation: Augmentation, channels: int) -> None:
    images, p = _random(COUNT, channels, 16, 16).clamp(-1, 1).requires_grad_(), torch.tensor(0.5)
    uniform = torch.rand(COUNT, augmentation.uniforms, generator=torch.Generator().manual_seed(0))
    normal = _random(COUNT, augmentation.normals)
    shown = augmentation(images, uniform, normal, p)
    if shown.shape != images.shape or not torch.isfinite(shown).all():
        raise Broken(f"it returns {_shown(shown)}, not {list(images.shape)}, finite")
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
                raise Broken(f"its state {name} is {_shown(value)}, not a tensor of the weight's shape or a scalar one")
    return f"state of a weight: {', '.join(optimizer.state[next(network.parameters())]) or 'none'}"


def check_source(subject: Subject) -> str:
    """A data set can be made of it, and is the same again."""
    with tempfile.TemporaryDirectory() as scratch:
        made = []
        for name in ("one", "two"):
            source = source_of(subject, Path(scratch))
            offer = source.offer("train", None)
            images = offer.load(False)
            if len(np.unique(images.keys)) != len(images.keys):
                raise Broken("two images have the same key")
            if not ((images.labels >= 0) & (images.labels < len(offer.classes))).all():
                raise Broken(f"labels must be 0 ... {len(offer.classes) - 1}, indices of the classes")
            form = (offer.size, offer.size, offer.channels)
            first = images.read(np.arange(min(3, len(images.keys))))
            if wrong := [image for image in first if image is not None and _is_not_image(image, form)]:
                raise Broken(f"read() gives {_shown(wrong[0])}, not uint8 {list(form)}")
            made.append(prepare(Request(Path(scratch) / name, source), progress=False))
    if made[0].digest != made[1].digest:
        raise Broken("a second time gives other images; all that determines them must be in the request")
    return (
        f"{made[0].count:,} images of {made[0].size}x{made[0].size} in {len(made[0].classes)} classes, the same again"
    )


def source_of(subject: Subject, downloads: Path) -> Source:
    """The source with its settings. downloads: directory for what it downloads. Raises Broken for wrong settings."""
    if subject.name not in SOURCES.entries:
        return build_source(subject.name, subject.options, downloads)
    fields = {each.name: each for each in dataclasses.fields(subject.target) if each.init}
    if unknown := [key for key in subject.options if key not in fields]:
        raise Broken(f"{subject.name} has no setting {printable(unknown[0])}; {known_names(unknown[0], [*fields])}")
    defaults = ("default", "default_factory")
    needed = [key for key, each in fields.items() if all(getattr(each, way) is dataclasses.MISSING for way in defaults)]
    if missing := [key for key in needed if key not in subject.options]:
        raise Broken(f"{subject.name} reads what you have: distgan check {subject.name} {missing[0]}=...")
    types = get_type_hints(subject.target, include_extras=True)
    given = {key: validated_at([key], types[key], value) for key, value in subject.options.items()}
    return build_source(subject.name, given, downloads)


def _is_not_image(image: Any, form: tuple[int, int, int]) -> bool:
    """Whether it is neither pixels of this form nor a file, which `prepare` compares with the offer."""
    if isinstance(image, ImageFile):
        return False
    return not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != form


def check_extractor(subject: Subject) -> str:
    """Features and logits of the promised lengths, of each image by itself."""
    found = subject.target(_extractor_settings(subject))
    if found is None:
        return "none"
    if not isinstance(found, PretrainedNetwork):
        raise Broken(f"it returns {type(found).__name__}, not a distgan.extend.PretrainedNetwork")
    if not re.fullmatch("[0-9a-f]{64}", found.digest):
        raise Broken(f"digest is {found.digest!r}, not the sha256 of the weights as 64 hexadecimal digits")
    images = (_random(4, 3, 32, 32).clamp(-1, 1) * 127 + 128).to(torch.uint8)
    with torch.inference_mode():
        features, logits = found.network.eval()(images)
        alone, _ = found.network(images[:1])
    for what, values, length in (("features", features, found.dimension), ("logits", logits, found.classes)):
        if values.shape != (4, length) or not torch.isfinite(values).all():
            raise Broken(f"{what} are {_shown(values)}, not [4, {length}], finite")
    if not torch.allclose(features[:1].float(), alone.float(), rtol=1e-3, atol=1e-3):
        raise Broken("the features of an image depend on the others in the batch")
    return f"{found.dimension} features, {found.classes} logits, at {found.resize} px"


def _extractor_settings(subject: Subject) -> BaseModel:
    """What it is called with. One of distgan's own is called with the section `evaluate`."""
    if subject.name not in EXTRACTORS.entries:
        return EXTRACTORS.options_of(subject.name, subject.options)
    return cast(BaseModel, validated_at(["evaluate"], EvaluateConfig, extractor_section(subject)))


def extractor_section(subject: Subject) -> dict[str, Any]:
    """Its keys in the section `evaluate`."""
    if subject.name in EXTRACTORS.entries:
        return {"extractor": subject.name, **subject.options}
    return {"extractor": subject.name, "extractor_options": dict(subject.options)}


def class_names_of(subject: Subject) -> tuple[str, ...]:
    """The classes that an extractor knows, where they are those of the real images; empty for everything else."""
    if subject.registry.kind != "extractor":
        return ()
    found = subject.target(_extractor_settings(subject))
    return found.class_names if found else ()


def check_metric(subject: Subject) -> str:
    """A finite number, the same again, that prefers the real distribution to another one."""
    metric = METRICS.build(subject.validated(_listed(subject)))
    if (better := getattr(metric, "better", None)) not in ("lower", "higher"):
        raise Broken(f"better is {better!r}, not lower or higher")
    real = estimate_manifold(_random(40, 8))

    def value(features: Tensor) -> float:
        images = torch.zeros(len(features), 3, 8, 8, dtype=torch.uint8)
        found = metric(Comparison(real, estimate_manifold(features), features, images))
        number = found[0] if isinstance(found, tuple) else found
        if not isinstance(number, float) or not math.isfinite(number):
            raise Broken(f"it returns {number!r}, not a finite float")
        return number

    near, again, far = value(_random(40, 8, seed=1)), value(_random(40, 8, seed=1)), value(_random(40, 8) * 3 + 20)
    if near != again:
        raise Broken(f"the same images give {near:.6g} and then {again:.6g}")
    if near == far:
        raise Broken(f"features like the reals and features far away both give {near:.4g}")
    if (near - far if metric.better == "lower" else far - near) > 0:
        raise Broken(
            f"features like the reals give {near:.4g}, features far away {far:.4g}, but better={metric.better}"
        )
    return f"{near:.4g} for features like the reals, {far:.4g} far away; {metric.better} is better"


def check_tracker(subject: Subject) -> str:
    """Every method can be called."""
    with tempfile.TemporaryDirectory() as scratch:
        tracker = TRACKERS.build(subject.validated(_listed(subject)), Path(scratch), {"config": {}})
        if not isinstance(tracker, TrackerBackend):
            raise Broken("it must be a subclass of distgan.extend.TrackerBackend")
        grid = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
        tracker.rewind(0)
        tracker.log(8, {"loss/d": 1.0})
        tracker.scores(8, {"values": {"fd": 1.0}})
        tracker.samples(8, Samples(grid, grid))
        tracker.event(8, "collapse", "a sentence", alert=False)
        tracker.rewind(0)
        tracker.artifact(Path(scratch) / "generator.safetensors", {}, "latest")
        tracker.page(Path(scratch) / "report.html")
        tracker.finish(0)
    return "all eight methods can be called"


def check_controller(subject: Subject) -> str:
    """It is a Controller; what it does is seen in the training."""
    if not (isinstance(subject.target, type) and issubclass(subject.target, Controller)):
        raise Broken("it must be a subclass of distgan.extend.Controller")
    return "a Controller"


def _listed(subject: Subject) -> Any:
    """The type of one section of a list."""
    return subject.registry.union(subject.registry.kind)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _shown(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"{getattr(value, 'dtype', '')} {list(shape)}" if shape is not None else type(value).__name__
