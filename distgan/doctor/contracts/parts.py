"""Checks of everything that is no network, by itself. What a training is made of: method.py; here the others."""

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
from torch import Tensor

from distgan.config.choices import EXTRACTORS, METRICS, SOURCES, TRACKERS
from distgan.config.schema import EvaluateConfig
from distgan.data.prepare import Request, build_source, prepare
from distgan.data.shards.decode import ImageFile
from distgan.data.sources.base import Source
from distgan.doctor.contracts.method import check_augmentation, check_loss, check_optimizer, check_penalty
from distgan.doctor.contracts.subject import Broken, Check, Subject, validated_at
from distgan.doctor.contracts.values import form_of, normal_values
from distgan.metrics.distances import Comparison
from distgan.metrics.extractors.pretrained import PretrainedNetwork
from distgan.metrics.manifold import estimate_manifold
from distgan.training.controllers.base import Controller
from distgan.training.tracking.backend import Samples, TrackerBackend
from distgan.utils.names import known_names
from distgan.utils.safe_io import printable


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
                raise Broken(f"read() gives {form_of(wrong[0])}, not uint8 {list(form)}")
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
    images = (normal_values(4, 3, 32, 32).clamp(-1, 1) * 127 + 128).to(torch.uint8)
    with torch.inference_mode():
        features, logits = found.network.eval()(images)
        alone, _ = found.network(images[:1])
    for what, values, length in (("features", features, found.dimension), ("logits", logits, found.classes)):
        if values.shape != (4, length) or not torch.isfinite(values).all():
            raise Broken(f"{what} are {form_of(values)}, not [4, {length}], finite")
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
    real = estimate_manifold(normal_values(40, 8))

    def value(features: Tensor) -> float:
        images = torch.zeros(len(features), 3, 8, 8, dtype=torch.uint8)
        found = metric(Comparison(real, estimate_manifold(features), features, images))
        number = found[0] if isinstance(found, tuple) else found
        if not isinstance(number, float) or not math.isfinite(number):
            raise Broken(f"it returns {number!r}, not a finite float")
        return number

    near, again = (value(normal_values(40, 8, seed=1)) for _ in range(2))
    far = value(normal_values(40, 8) * 3 + 20)
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
