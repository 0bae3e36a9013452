"""A trained generator to draw images from: `load_generator(path).sample(seeds=range(64))`.

In: seeds. Out: uint8 images. A seed's latent vector is drawn on the CPU from a stream of its own, and every batch is
filled up to the same size: a seed gives the same image whatever stands beside it.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from distgan.inference import hub
from distgan.inference.generator_file import Description, read_generator
from distgan.networks import to_device
from distgan.utils.errors import ExportError
from distgan.utils.images import to_bytes
from distgan.utils.numerics import exact_numerics
from distgan.utils.rng import generator

Class = str | int


def load_generator(path: str | Path, device: str | torch.device = "cpu") -> Generator:
    """The generator in a file made by `distgan export`. device: cpu, cuda, cuda:1, ... or auto.

    Raises ExportError: missing, damaged, foreign, from the future or tampered file; no such device.
    """
    return Generator(*read_generator(Path(path).expanduser()), device=device)


class Generator:
    """A network with its description.

    Attributes: network (nn.Module, eval mode, fp32), description, weight_digest, device, latent_dim, size,
    class_names, conditional, images_seen.
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
        self.class_names = description.class_names
        self.conditional = description.generator.conditional
        self.images_seen = description.images_seen

    def __repr__(self) -> str:
        kind = f"{len(self.class_names)} classes" if self.conditional else "unconditional"
        text = f"{self.size}x{self.size}, {kind}, {self.images_seen:,} images seen, {self.description.weights}"
        return f"Generator({text}, {self.device})"

    def to(self, device: str | torch.device) -> Generator:
        """Moves the network; returns self."""
        self.device = find_device(device)
        self.network.to(self.device)
        return self

    def __call__(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """latents [B, latent_dim], labels int64 [B] (conditional only) -> float32 [B, 3, size, size] in [-1, 1].

        r3gan's last layer is linear: its images may lie a little outside (`sample` cuts that off). The result is on
        the generator's device; gradients reach the latents. Raises ExportError on another shape.
        """
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim:
            raise ExportError(
                f"latents have the shape {list(latents.shape)}, this generator needs [B, {self.latent_dim}]"
            )
        if self.conditional != (labels is not None):
            raise ExportError(
                "a conditional generator needs labels"
                if self.conditional
                else "an unconditional generator has no labels"
            )
        labels = None if labels is None else labels.to(self.device)
        with exact_numerics(self.device):
            dtype = next(self.network.parameters()).dtype  # fp32 from a file
            return self.network(latents.to(self.device, dtype), labels).float()

    def sample(
        self,
        seeds: Iterable[int],
        classes: Sequence[Class] | Class | None = None,
        truncation: float | None = None,
        batch_size: int = 16,
    ) -> Tensor:
        """One image per seed: uint8 [N, 3, size, size] on the CPU.

        seeds: whole numbers in 0 ... 2**63 - 1. classes (conditional only): names or numbers, one for all or one per
        seed; None: class number seed % number of classes. truncation: see `latents`. batch_size: images at a time;
        a seed's image is bit-identical for the same batch size and device, and to float tolerance otherwise.
        Raises ExportError on a wrong seed, class, truncation or batch size.
        """
        seeds = check_seeds(seeds)
        if batch_size < 1:
            raise ExportError(f"batch_size={batch_size} must be 1 or more")
        labels = self.labels(seeds, classes)
        latents = self.latents(seeds, truncation)
        images = torch.empty((len(seeds), 3, self.size, self.size), dtype=torch.uint8)
        with torch.inference_mode():
            for start in range(0, len(seeds), batch_size):
                rows = torch.arange(start, start + batch_size).clamp(max=len(seeds) - 1)  # the last one fills up
                batch = self(latents[rows], None if labels is None else labels[rows])
                part = images[start : start + batch_size]
                part.copy_(to_bytes(batch)[: len(part)])
        return images

    def latents(self, seeds: Iterable[int], truncation: float | None = None) -> Tensor:
        """One vector per seed: float32 [N, latent_dim] on the CPU, standard normal, cut to [-truncation, truncation].

        Raises ExportError on a seed that is no whole number in 0 ... 2**63 - 1, or a truncation that is not above 0.
        """
        seeds = check_seeds(seeds)
        normal = torch.empty((len(seeds), self.latent_dim), dtype=torch.float64)
        for row, seed in zip(normal, seeds, strict=True):
            row.normal_(generator=generator("cpu", seed, "sample/latent"))
        return (normal if truncation is None else truncate(normal, truncation)).float()

    def labels(self, seeds: Sequence[int], classes: Sequence[Class] | Class | None = None) -> Tensor | None:
        """Class numbers, int64 [N], by the rule of `sample`; None for an unconditional generator."""
        if not self.conditional:
            if classes is not None:
                raise ExportError("this generator is unconditional: it cannot make a chosen class; leave classes out")
            return None
        if classes is None:
            return torch.tensor([seed % len(self.class_names) for seed in seeds], dtype=torch.int64)
        if isinstance(classes, (str, int)):
            classes = [classes] * len(seeds)
        if len(classes) != len(seeds):
            raise ExportError(f"{len(classes)} classes for {len(seeds)} seeds; give one for all, or one per seed")
        return torch.tensor([self._class_number(name) for name in classes], dtype=torch.int64)

    def _class_number(self, name: Class) -> int:
        names = self.class_names
        if isinstance(name, str) and name in names:
            return names.index(name)
        text = str(name if isinstance(name, str) else operator.index(name))
        if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < len(names):
            return int(text)
        close = difflib.get_close_matches(text.lower(), names, n=1, cutoff=0.4)
        hint = f"nearest: {close[0]}" if close else f"there are {', '.join(names[:20])}, or 0 to {len(names) - 1}"
        raise ExportError(f"there is no class {text}; {hint}")

    def save_pretrained(self, directory: str | Path) -> None:
        """Writes the Hub's layout: model.safetensors, config.json, and README.md if there is none yet.

        Raises ExportError if it cannot be written.
        """
        hub.save(Path(directory).expanduser(), self.network.state_dict(), self.description)

    @classmethod
    def from_pretrained(
        cls, path_or_repo_id: str | Path, revision: str | None = None, device: str | torch.device = "cpu"
    ) -> Generator:
        """The generator in a local directory or file (without network), or in a repository on the Hub.

        revision: branch, tag or commit on the Hub. Raises ExportError: missing, offline, and like `load_generator`.
        """
        return cls(*read_generator(hub.find(path_or_repo_id, revision)), device=device)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload the generator with distgan",
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Uploads the Hub's layout in one commit and returns its URL; a README.md in the repository is kept.

        repo_id: such as me/cats; made if it does not exist. private: of a new repository; None: the account's default.
        token: None: that of `hf auth login`. branch: None: main. create_pr: opens a pull request instead.
        Raises ExportError: no network, no permission, no such branch.
        """
        commit = {"commit_message": commit_message, "revision": branch, "create_pr": create_pr}
        with TemporaryDirectory() as directory:
            self.save_pretrained(directory)
            return hub.upload(Path(directory), repo_id, token, private, **commit)


def truncate(normal: Tensor, limit: float) -> Tensor:
    """Standard normal numbers -> numbers of the normal distribution cut to [-limit, limit].

    The monotone map Phi^-1(Phi(-t) + Phi(z) (Phi(t) - Phi(-t))): exact, without rejection, and continuous in the limit.
    It is odd, so it is worked out on the lower tail, where float64 is precise. normal: float64.
    Raises ExportError unless limit is finite and above 0.
    """
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 < limit < math.inf:
        raise ExportError(f"truncation={limit} must be above 0, such as 0.7; leave it out for the whole distribution")
    below = _lower_tail(torch.tensor(float(limit), dtype=torch.float64))
    lower = torch.special.ndtri(below + _lower_tail(normal.abs()) * (1 - 2 * below))
    return torch.copysign(lower.clamp(-limit, 0.0), normal)


def _lower_tail(x: Tensor) -> Tensor:
    """Phi(-x) for x >= 0, precise far out, where torch.special.ndtr (2.13) is not."""
    return 0.5 * torch.special.erfc(x / math.sqrt(2))


def check_seeds(seeds: Iterable[int]) -> list[int]:
    """Seeds as a list. Raises ExportError on anything but whole numbers in 0 ... 2**63 - 1."""
    if isinstance(seeds, (str, int)):
        raise ExportError(f"seeds={seeds!r} must be a list of whole numbers, such as range(64) or [{seeds}]")
    checked = []
    for seed in seeds:
        try:
            number = operator.index(seed)
        except TypeError:
            number = -1
        if not 0 <= number < 2**63:
            raise ExportError(f"seed {seed} must be a whole number from 0 to 2**63 - 1")
        checked.append(number)
    return checked


def find_device(device: str | torch.device) -> torch.device:
    """The device, once it is known to work; auto: the first GPU, or the CPU. Raises ExportError."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).add_(1)
        return torch.device(device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError):
        raise ExportError(
            f"device {device} cannot be used on this machine; use cpu, or auto for what is there"
        ) from None
