"""Samples images from a trained generator: `load_generator(path).sample(seeds=range(64))`.

In: seeds. Out: uint8 images. A seed's image does not depend on the other seeds: its latent vector is drawn on the CPU
from a stream of its own, and every batch is filled up to the same size.
"""

from __future__ import annotations

import copy
import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn

from distgan.inference.directions import main_directions
from distgan.inference.generator_file import Description, read_generator
from distgan.inference.hub.find import check_id, fetch, find, repository_of
from distgan.inference.hub.upload import MESSAGE, Target, save
from distgan.inference.labels import Classes, labels_of
from distgan.inference.latents import check_seeds, slerp, truncate
from distgan.networks import to_device
from distgan.networks.classes import as_weights
from distgan.utils.errors import ExportError
from distgan.utils.images import class_columns, to_bytes, to_grid, to_image
from distgan.utils.numerics import exact_numerics
from distgan.utils.paths import user_path
from distgan.utils.rng import generator

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from distgan.inference.hub.facts import CardFacts


def load_generator(
    path: str | Path, device: str | torch.device = "cpu", trust: Sequence[str] = (), revision: str | None = None
) -> Generator:
    """Loads the generator in a file made by `distgan export`, or in a repository on the Hub.

    path: a file, OWNER/NAME, hf://OWNER/NAME or hf://OWNER/NAME@REVISION. What is here comes first; a repository is
    downloaded once and then cached. revision: a branch, tag or commit of it. device: cpu, cuda, cuda:1, mps, auto.
    trust: modules of networks that do not come with distgan, such as ["mylab.nets"]. What such a file names is imported
    only if its module, or the package around it, is listed here: importing runs its code.
    Raises ExportError: missing, damaged, foreign, newer or tampered file; no such repository, no network; unusable
    device.

    >>> import distgan, torch
    >>> images = torch.zeros(10, 3, 32, 32, dtype=torch.uint8)
    >>> trainer = distgan.Trainer.from_config(distgan.load_config("quickstart"), images, torch.arange(10))
    >>> trainer.generator().save_pretrained("mine")
    >>> generator = distgan.load_generator("mine/model.safetensors")
    >>> generator
    Generator(32x32, 10 classes, 0 images seen, ema, cpu)
    >>> generator.sample(seeds=range(4), classes="3").shape
    torch.Size([4, 3, 32, 32])
    """
    repository = repository_of(path, revision)
    file = fetch(repository) if repository else _local(path)
    return Generator(*read_generator(file, trust), device=device)


class Generator:
    """A generator network with its description.

    Attributes: network (nn.Module, eval mode), precision (of its weights), description, weight_digest, device,
    latent_dim, size (height and width of the images, pixels), channels (3: RGB, 1: gray), class_names, conditional,
    images_seen.
    """

    def __init__(
        self, network: nn.Module, description: Description, weight_digest: str, device: str | torch.device = "cpu"
    ) -> None:
        self.device = find_device(device)
        self.network = to_device(network, self.device)
        self.description = description
        self.weight_digest = weight_digest
        self.latent_dim = description.generator.latent_dim
        self.size = description.size
        self.channels = description.channels
        self.class_names = description.class_names
        self.conditional = description.generator.conditional
        self.images_seen = description.images_seen

    def __repr__(self) -> str:
        kind = f"{len(self.class_names)} classes" if self.conditional else "unconditional"
        gray = " gray" if self.channels == 1 else ""
        text = f"{self.size}x{self.size}{gray}, {kind}, {self.images_seen:,} images seen, {self.description.weights}"
        return f"Generator({text}, {self.device}{', fp16' if self.precision == 'fp16' else ''})"

    def to(self, device: str | torch.device) -> Generator:
        """Moves the network to a device; returns self. Raises ExportError."""
        self.device = find_device(device)
        self.network.to(self.device)
        return self

    def half(self) -> Generator:
        """A copy that computes in fp16, for GPUs: half the memory, and images that may differ a little from these.

        1 or 2 grey levels of 255 were found for the families of distgan. Latents stay the same fp32
        numbers. The copy cannot be saved or exported: its weights are rounded.
        """
        copied = copy.copy(self)
        copied.network = copy.deepcopy(self.network).half()
        return copied

    @property
    def precision(self) -> str:
        """fp32, or fp16 after `half`."""
        return "fp16" if next(self.network.parameters()).dtype == torch.float16 else "fp32"

    def check_full_precision(self) -> None:
        """Raises ExportError for a copy made by `half`, whose weights should not go into a file."""
        if self.precision != "fp32":
            raise ExportError(
                "this generator's weights were rounded to fp16 by half(); save or export the one that it is a copy of"
            )

    def __call__(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images of latent vectors: [B, latent_dim], int64 [B] -> float32 [B, channels, size, size] in [-1, 1].

        labels: for a conditional generator only; float32 [B, classes]: weights that mix classes. The result is on the
        generator's device; gradients reach the latents.
        r3gan's images may lie a little outside [-1, 1], since its last layer is linear; `sample` clips them.
        Raises ExportError for another shape, for missing or unexpected labels, and for one that is no class.
        """
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim:
            raise ExportError(
                f"latents have the shape {list(latents.shape)}, this generator needs [B, {self.latent_dim}]"
            )
        if self.conditional != (labels is not None):
            raise ExportError(
                "a conditional generator needs labels, such as g.labels(seeds)"
                if self.conditional
                else "an unconditional generator takes no labels"
            )
        if labels is not None and not labels.is_floating_point() and labels.device.type == "cpu":
            self._check_labels(labels)
        labels = None if labels is None else labels.to(self.device)
        with exact_numerics(self.device):
            dtype = next(self.network.parameters()).dtype  # fp32 from a file
            return self.network(latents.to(self.device, dtype), labels).float()

    def _check_labels(self, labels: Tensor) -> None:
        """Raises ExportError for the number of a class that there is not. Labels on a GPU are not waited for."""
        classes = len(self.class_names)
        if bad := [label for label in labels.tolist() if not 0 <= label < classes]:
            raise ExportError(f"label {bad[0]} must be 0 to {classes - 1}, the number of one of the {classes} classes")

    def sample(
        self,
        seeds: Iterable[int],
        classes: Classes = None,
        truncation: float | None = None,
        batch_size: int = 16,
        move: Mapping[int, float] | None = None,
    ) -> Tensor:
        """One image per seed: uint8 [N, 3, size, size] on the CPU; [N, 1, size, size] where the images are gray.

        seeds: whole numbers in 0 ... 2**63 - 1. classes (conditional only): names or numbers, one for all seeds or one
        per seed (a number is a class's place, from 0 on, but its name where all names are numbers); None: the class at
        place seed % number of classes; {"frog": 0.7, "cat": 0.3}: a mixture, for all seeds. truncation, move: see
        `latents`. batch_size: images at a time.
        A seed's image is bit-identical for the same batch size and device, otherwise equal up to rounding.
        Raises ExportError for a wrong seed, class, truncation or batch size.
        """
        seeds = check_seeds(seeds)
        if batch_size < 1:
            raise ExportError(f"batch_size={batch_size} must be 1 or more")
        return self.pixels(self.latents(seeds, truncation, move), self.labels(seeds, classes), batch_size)

    def pixels(self, latents: Tensor, labels: Tensor | None = None, batch_size: int = 16) -> Tensor:
        """Images of latent vectors, `batch_size` at a time: [N, latent_dim], int64 [N] -> uint8 as of `sample`.

        Raises ExportError like a call of the generator.
        """
        images = torch.empty((len(latents), self.channels, self.size, self.size), dtype=torch.uint8)
        with torch.inference_mode():
            for start in range(0, len(latents), batch_size):
                rows = torch.arange(start, start + batch_size).clamp(max=len(latents) - 1)  # repeats the last row
                batch = self(latents[rows], None if labels is None else labels[rows])
                part = images[start : start + batch_size]
                part.copy_(to_bytes(batch)[: len(part)])
        return images

    def images(
        self, seeds: Iterable[int], classes: Classes = None, truncation: float | None = None
    ) -> list[Image.Image]:
        """One Pillow image per seed: mode RGB, or L where the images are gray. Arguments and errors as of `sample`."""
        return [to_image(pixels) for pixels in self.sample(seeds, classes, truncation)]

    def grid(
        self,
        seeds: Iterable[int] = range(64),
        classes: Classes = None,
        truncation: float | None = None,
        columns: int | None = None,
    ) -> Image.Image:
        """One Pillow image with all of them, row by row; small images are enlarged by a whole factor.

        columns: None: about square, and where `classes` is None and the seeds are consecutive each column has one class
        of a conditional generator of at most 20. Other arguments and errors as of `sample`. Raises ExportError for no
        seeds, or less than one column.
        """
        seeds = check_seeds(seeds)
        if not seeds or (columns is not None and columns < 1):
            raise ExportError(
                f"a grid needs at least one seed and one column; there are {len(seeds)} seeds, columns={columns}"
            )
        if columns is None and classes is None and self.conditional:
            columns = class_columns(len(self.class_names), len(seeds))
        return to_grid(self.sample(seeds, classes, truncation), columns)

    def interpolate(
        self, start: int, end: int, steps: int, classes: Classes = None, truncation: float | None = None
    ) -> list[Image.Image]:
        """Pillow images on the way from one seed to another, both included, along an arc between their latents.

        steps: at least 2. classes: of the two, as of `sample`; on the way they mix. Raises ExportError for a wrong
        seed, class, truncation or number of steps.
        """
        if steps < 2:
            raise ExportError(f"steps={steps} must be 2 or more: the way has two ends")
        ends, labels = self.latents([start, end], truncation), self.labels([start, end], classes)
        if labels is not None:
            weights = as_weights(labels, len(self.class_names), torch.float32)
            labels = torch.lerp(weights[0], weights[1], torch.linspace(0, 1, steps)[:, None])
        return [to_image(pixels) for pixels in self.pixels(slerp(ends[0], ends[1], steps), labels)]

    def _repr_html_(self) -> str:
        """What a notebook shows: the description, and a grid of some seeds."""
        columns = (self.conditional and class_columns(len(self.class_names), 64)) or 8
        file = BytesIO()
        self.grid(range(2 * columns), columns=columns).save(file, format="PNG")
        data = b64encode(file.getvalue()).decode()
        return f'<p>{escape(repr(self))}</p><img alt="{2 * columns} samples" src="data:image/png;base64,{data}">'

    def latents(
        self, seeds: Iterable[int], truncation: float | None = None, move: Mapping[int, float] | None = None
    ) -> Tensor:
        """One latent vector per seed: float32 [N, latent_dim] on the CPU, standard normal.

        truncation: limits the distribution to [-truncation, truncation]; None: no limit. move: {1: 2.5, 3: -1}: how far
        to go then along the main directions, numbered from 1 (`directions`). Raises ExportError for a seed that is not
        a whole number in 0 ... 2**63 - 1, a truncation that is not above 0, or a direction that does not exist.
        """
        seeds = check_seeds(seeds)
        normal = torch.empty((len(seeds), self.latent_dim), dtype=torch.float64)
        for row, seed in zip(normal, seeds, strict=True):
            row.normal_(generator=generator("cpu", seed, "sample/latent"))
        latents = (normal if truncation is None else truncate(normal, truncation)).float()
        return latents + self._shift(move) if move else latents

    def directions(self) -> Tensor:
        """The main directions of the latent space, the strongest first: float32 [latent_dim, latent_dim], unit rows.

        Raises ExportError where a network from outside has none (`main_directions`).
        """
        return main_directions(self.network, self.latent_dim)

    def _shift(self, move: Mapping[int, float]) -> Tensor:
        for number, distance in move.items():
            if number not in range(1, self.latent_dim + 1) or not math.isfinite(distance):
                raise ExportError(
                    f"move {number}={distance} must be a direction from 1 to {self.latent_dim} and a finite distance"
                )
        directions = self.directions()
        return torch.stack([directions[number - 1] * distance for number, distance in move.items()]).sum(0)

    def labels(self, seeds: Sequence[int], classes: Classes = None) -> Tensor | None:
        """Class numbers, int64 [N], by the rule of `sample`; None if unconditional. Raises ExportError.

        Of a mixture: weights, float32 [N, classes].
        """
        if not self.conditional:
            if classes is not None:
                raise ExportError("this generator is unconditional: it cannot make a chosen class; leave classes out")
            return None
        return labels_of(seeds, classes, self.class_names)

    def save_pretrained(self, directory: str | Path) -> None:
        """Writes the Hub's layout: model.safetensors, config.json, and README.md if there is none yet.

        Raises ExportError if it cannot be written.
        """
        self.check_full_precision()
        save(_local(directory), self.network.state_dict(), self.description)

    @classmethod
    def from_pretrained(
        cls,
        path_or_repo_id: str | Path,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        trust: Sequence[str] = (),
    ) -> Generator:
        """The generator in a local directory or file (without network), or in a repository on the Hub.

        revision: branch, tag or commit on the Hub. trust: as in `load_generator`. Raises ExportError: missing, offline,
        and like `load_generator`.
        """
        return cls(*read_generator(find(path_or_repo_id, revision), trust), device=device)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = MESSAGE,
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        **card: Unpack[CardFacts],
    ) -> str:
        """Uploads the Hub's layout, a grid and a film in one commit and returns a URL of it.

        A README.md that somebody has written or edited is kept. repo_id: such as me/cats; made if it does not exist.
        private: of a new repository; None: the account's default. token: None: that of `hf auth login`. branch: made if
        there is none; None: main. create_pr: opens a pull request instead. card: license, license_name, license_link,
        dataset. What the Hub has already is not sent again. Raises ExportError: no network, no token, no permission.
        """
        from distgan.inference.publish import publish  # it imports this module

        target = Target(check_id(repo_id), private, branch, commit_message, create_pr, token)
        return publish(self, target, card).url


def _local(path: str | Path) -> Path:
    """A path with `~` expanded. Raises ExportError if it is empty, or there is no such home."""
    try:
        return user_path(path)
    except ValueError as error:
        raise ExportError(f"'{path}': {error}") from None


def find_device(device: str | torch.device) -> torch.device:
    """A device that was tried; auto: the first GPU (CUDA, Apple's mps), or the CPU. Raises ExportError if it fails."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).add_(1).item()
        return torch.device(device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError):
        raise ExportError(f"device {device} cannot be used on this machine; use cpu, or auto to select one") from None
