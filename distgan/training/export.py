"""Exports the averaged generator of a training: in memory, or as a generator file in the run directory."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from distgan.config.outside import OutsideSection
from distgan.config.schema import Config
from distgan.data.in_memory import RealImages
from distgan.inference.generator import Generator
from distgan.inference.generator_file import Description, check_described, save_generator, weight_digest
from distgan.metrics.protocol import Scores
from distgan.training.trainer import Trainer


class Exported(NamedTuple):
    """A generator file that has been written."""

    path: Path
    weight_digest: str
    description: Description

    @property
    def metadata(self) -> dict[str, Any]:
        """Facts for W&B."""
        known = {"images_seen": self.description.images_seen, "weight_digest": self.weight_digest}
        return known if self.description.scores is None else known | {"scores": self.description.scores}


@dataclass(frozen=True)
class Exporter:
    """One on every rank; only the main process writes."""

    config: Config
    trainer: Trainer
    reals: RealImages

    def generator(self) -> Generator:
        """The averaged generator as it is now; it shares the weights of the moving average."""
        network = self.trainer.ema.network
        digest = weight_digest({name: tensor.detach().cpu() for name, tensor in network.state_dict().items()})
        return Generator(network, self.describe(None), digest, self.trainer.accelerator.device)

    def copy_of_generator(self) -> Generator:
        """The averaged generator as it is now, which further steps do not change."""
        now = self.generator()
        return Generator(copy.deepcopy(now.network), now.description, now.weight_digest, now.device)

    def write(self, name: str, scores: Scores | None) -> Exported:
        """Writes RUN/NAME, atomically. Raises ExportError."""
        path, description = self.config.run_dir / name, self.describe(scores)
        return Exported(path, save_generator(path, self.trainer.ema.network.state_dict(), description), description)

    def check(self) -> None:
        """Raises ExportError if a generator from outside could not be exported: better now than after training."""
        if isinstance(self.config.generator, OutsideSection):
            check_described(self.describe(None), self.trainer.ema.network.state_dict())

    def describe(self, scores: Scores | None) -> Description:
        """The description in the generator's file."""
        return Description.of(
            self.config,
            size=self.reals.size,
            channels=self.reals.channels,
            class_names=self.reals.classes,
            images_seen=self.trainer.images_seen,
            data_digest=self.reals.manifest_digest,
            scores=scores and scores.model_dump(mode="json"),
        )
