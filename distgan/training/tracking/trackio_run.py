"""A run in Trackio (extra `trackio`, which is imported here and late): a local database, a Space, or one's own server.

Where it is kept is Trackio's choice: TRACKIO_DIR, TRACKIO_SPACE_ID or TRACKIO_SERVER_URL.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from distgan.config.choices import TrackioTracker
from distgan.training.tracking.backend import Samples, TrackerBackend, lacks_extra
from distgan.training.tracking.jsonl import is_number, read_metrics
from distgan.utils.images import right_half
from distgan.utils.log import log

REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")  # variables of Trackio, for a run that is not kept here
RESERVED = ("step",)  # names that Trackio keeps for itself


class TrackioRun(TrackerBackend):
    """Curves, images and alerts over images seen. `rewind` starts the run, at every start of the training."""

    def __init__(self, settings: TrackioTracker, run_dir: Path, description: dict[str, Any]) -> None:
        """Raises ConfigError: the extra is missing."""
        try:
            import trackio
        except ImportError as error:
            raise lacks_extra("trackio", error) from None
        self._trackio, self._project, self._description = trackio, settings.project, description
        self._directory = run_dir
        self._name = f"{run_dir.name}-{description.get('run_id', '')}".rstrip("-")
        self._run: Any = None
        log.info("Trackio: trackio show --project %s", self._project)

    def log(self, images: int, metrics: dict[str, float]) -> None:
        self._run.log({name: value for name, value in metrics.items() if name not in RESERVED}, step=images)

    def samples(self, images: int, samples: Samples) -> None:
        shown = {f"samples/{name}": self._image(*image) for name, image in samples.captioned().items()}
        self._run.log(shown, step=images)

    def event(self, images: int, kind: str, text: str, alert: bool) -> None:
        if alert:
            with contextlib.redirect_stdout(sys.stderr):
                self._run.alert(title=kind, text=text, step=images)

    def rewind(self, images: int) -> None:
        """Starts or continues the run. A local one is made anew from RUN: Trackio cannot remove single rows."""
        self.finish()
        earlier = [] if any(map(os.environ.get, REMOTE)) else self._earlier()
        for run in earlier:
            run.delete()
        with contextlib.redirect_stdout(sys.stderr):
            self._run = self._trackio.init(
                self._project, self._name, config=self._description, resume="allow", embed=False
            )
        if earlier:
            self._replay(images)

    def finish(self, exit_code: int = 0) -> None:
        if self._run is not None:
            with contextlib.redirect_stdout(sys.stderr):
                self._run.finish()

    def _earlier(self) -> list[Any]:
        with contextlib.suppress(ValueError):  # there is no such project yet
            return [run for run in self._trackio.Api().runs(self._project) if run.name == self._name]
        return []

    def _replay(self, images: int) -> None:
        for row in read_metrics(self._directory / "metrics.jsonl"):
            if row["images"] <= images:
                self.log(row["images"], {name: value for name, value in row.items() if is_number(value)})
        for path in sorted((self._directory / "samples").glob("*-[0-9]*.png")):
            kind, _, number = path.stem.partition("-")
            if number.isdecimal() and int(number) <= images:
                with Image.open(path) as written:
                    image = right_half(written) if kind == "fakes" else written  # the reals are on the left
                    self._run.log({f"samples/{kind}": self._image(image)}, step=int(number))

    def _image(self, image: Any, caption: str = "") -> Any:
        return self._trackio.Image(image, caption=caption)
