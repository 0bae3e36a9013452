"""A run in TensorBoard's files, RUN/tensorboard (extra `tensorboard`, which is imported here and late)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from distgan.config.choices import TensorBoardTracker
from distgan.training.tracking.backend import Samples, TrackerBackend, lacks_extra
from distgan.utils.log import log

FLUSH_SECONDS = 10  # until a number is on the disk


class TensorBoardRun(TrackerBackend):
    """Curves, images and events over images seen. `rewind` opens the file, at every start."""

    def __init__(self, settings: TensorBoardTracker, run_dir: Path, description: dict[str, Any]) -> None:
        """Raises ConfigError: the extra is missing."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise lacks_extra("tensorboard", error) from None
        self._open, self._directory, self._description = SummaryWriter, run_dir / "tensorboard", description
        self._writer: Any = None
        log.info("TensorBoard: tensorboard --logdir %s", self._directory)

    def log(self, images: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, images)

    def samples(self, images: int, samples: Samples) -> None:
        for name, image in samples.captioned().items():
            pixels = np.asarray(image.image.convert("RGB"))
            self._writer.add_image(f"samples/{name}", pixels, images, dataformats="HWC")

    def event(self, images: int, kind: str, text: str, alert: bool) -> None:
        self._writer.add_text("events", f"**{kind}** {text}", images)

    def rewind(self, images: int) -> None:
        """Begins a file before which TensorBoard hides what was recorded after `images`."""
        self.finish()
        self._writer = self._open(str(self._directory), purge_step=images + 1, flush_secs=FLUSH_SECONDS)
        settings = json.dumps(self._description, indent=2, sort_keys=True, default=str)
        self._writer.add_text("settings", "\n".join(f"    {line}" for line in settings.splitlines()), images + 1)

    def finish(self, exit_code: int = 0) -> None:
        if self._writer is not None:
            self._writer.close()
