"""The Weights & Biases run of a training: its curves, images, summary, files, log.

In: metrics, images, files. Out: a run under RUN/wandb, through `WandbClient`, so that no call raises or waits.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distgan.config.keys import flatten
from distgan.config.schema import WandbConfig
from distgan.training.tracking.backend import COUNTERS, CaptionedImage, Samples
from distgan.training.tracking.wandb_client import (
    INIT_SECONDS,
    STOP_SECONDS,
    WandbClient,
    can_share,
    stop_service,
    teardown_in_time,
)
from distgan.training.tracking.wandb_mode import Mode, said_to_wandb
from distgan.training.tracking.wandb_scores import ScoreHistory
from distgan.utils.background import short
from distgan.utils.log import LineFormatter, log, recent_lines

ALERT_SECONDS = 600  # between two alerts of one title
MAX_ARTIFACT_NAME = 128  # characters, W&B's limit
HIDDEN = (*COUNTERS, "quality_real/*", "quality_best/*")  # have no chart of their own, but can be used in one


def artifact_name(run_name: str) -> str:
    """The name of a run's artifacts: generator-RUNNAME, cut and with a digest where W&B would refuse it as too long."""
    name = f"generator-{run_name}"
    digest = hashlib.sha256(run_name.encode()).hexdigest()[:8]
    return name if len(name) <= MAX_ARTIFACT_NAME else f"{name[: MAX_ARTIFACT_NAME - 9]}-{digest}"


def flat_config(description: dict[str, Any]) -> dict[str, Any]:
    """W&B's config of a run: the settings as they are typed (`train.batch_size`), the facts under `run/`."""
    facts = flatten({name: value for name, value in description.items() if name != "config"})
    settings = flatten(description.get("config", {}))
    return settings | {f"run/{name.replace('.', '_')}": value for name, value in facts.items()}


def final_state(exit_code: int) -> str:
    """The state of a run at its end, for a person. exit_code: of the training."""
    if exit_code > 128:
        return f"stopped by signal {exit_code - 128}"
    return {0: "finished", 4: "ended by a rule"}.get(exit_code, "failed")


class WandbRun(WandbClient):
    """The W&B run of one training, for its main process."""

    def __init__(
        self, config: WandbConfig, run_dir: Path, mode: Mode, run_id: str, description: dict[str, Any], manifest: str
    ) -> None:
        """run_dir: its name is the run's; mode: online or offline; description: becomes the run's config.

        manifest: the data set's, JSON; empty: it is no input of the run.
        """
        self.description, self.manifest = description, manifest
        self._images, self._last_step = -1, -1
        self._begun_at = 0  # images seen
        self._shared = mode == "online" and description.get("machines", 1) > 1 and can_share()
        self._begun = threading.Event()
        self._reals_shown = False
        self._lines = WandbLines(self)
        if (name := artifact_name(run_dir.name)) != f"generator-{run_dir.name}":
            log.info("the run's name is too long for a W&B artifact: its generators are called %s there", name)
        super().__init__(config, run_dir, mode, run_id)
        self._lines.begin()

    def shared_run(self) -> dict[str, str] | None:
        """Project and entity of the run, for other machines; None if it takes nothing of them. Waits for its start."""
        if self._shared:
            self._begun.wait(INIT_SECONDS + 2 * STOP_SECONDS)
        if not self._shared or self._run is None:
            return None
        return {"project": self._run.project, "entity": self._run.entity}

    def log(self, images: int, metrics: dict[str, float]) -> None:
        """Adds a row, and after an evaluation the best scores to the run's summary. images: real images seen."""
        self._worker.put("run.log", lambda: self._row(images, dict(metrics)))
        if any(name.startswith("quality/") for name in metrics):
            self._worker.put("run.summary", lambda: self._summarise(images, metrics.get("seconds", 0.0)))

    def scores(self, images: int, scores: dict[str, Any]) -> None:
        """Adds what other real images score and the best so far, for a chart beside each score."""

        def call() -> None:
            self._history.add(scores)
            self._row(images, self._history.curves())

        self._worker.put("run.log of scores", call)

    def rewind(self, images: int) -> None:
        """Forgets the scores after `images`; the rows stay, W&B takes none back."""
        self._begun_at = images
        self._worker.put("rewind", lambda: self._history.rewind(images))

    def event(self, images: int, kind: str, text: str, alert: bool) -> None:
        """Sends an alert, if it is one."""
        if alert:
            level = "INFO" if kind in ("best", "end") else "WARN"
            options = {"title": kind, "text": text, "level": level, "wait_duration": ALERT_SECONDS}
            self._worker.put("run.alert", lambda: self._run.alert(**options))

    def samples(self, images: int, samples: Samples) -> None:
        """Adds the images; the reals once."""
        shown = samples.captioned()
        if self._reals_shown:
            del shown["reals"]
        self._reals_shown = True
        for name, image in shown.items():
            self._worker.put(f"run.log of samples/{name}", self._image(images, f"samples/{name}", image))

    def page(self, path: Path) -> None:
        """Adds the report as a panel."""

        def call() -> None:
            import wandb

            self._row(max(self._images, self._begun_at), {"report": wandb.Html(str(path), inject=False)})

        self._worker.put("run.log of the report", call)

    def artifact(self, path: Path, metadata: dict[str, Any], alias: str = "latest") -> None:
        """Uploads a file as a new version of `artifact_name`, to which `alias` then points."""
        written = _time_of(path)

        def call() -> None:
            import wandb

            if written is None or _time_of(path) != written:  # a newer one would not be what `metadata` says
                log.warning("%s was gone or replaced before it could become a W&B artifact", path)
                return
            artifact = wandb.Artifact(artifact_name(self.run_dir.name), type="model", metadata=metadata)
            artifact.add_file(str(path))
            self._run.log_artifact(artifact, aliases=[alias])

        self._worker.put("run.log_artifact", call)

    def finish(self, exit_code: int = 0) -> None:
        """As of `WandbClient`, with the final state in the summary."""
        if self._finished:
            return
        self._lines.end()
        self._worker.put("run.summary", lambda: self._run.summary.update({"state": final_state(exit_code)}))
        super().finish(exit_code)
        if self.mode == "offline" or self._problem or self._worker.failure:
            log.info("to upload this run to W&B: %s", self.sync_command)

    def line(self, text: str) -> None:
        """Adds a line to the run's log."""
        self._worker.put("run.write_logs", lambda: self._run.write_logs(f"{text}\n"))

    def _row(self, images: int, values: dict[str, Any]) -> None:
        step = self._step(images)
        if values:  # in shared mode W&B counts itself
            self._run.log({"images": images, **values}, step=None if self._shared else step)

    def _image(self, images: int, name: str, image: CaptionedImage) -> Callable[[], None]:
        def call() -> None:
            import wandb

            self._row(images, {name: wandb.Image(image.image, caption=image.caption)})

        return call

    def _summarise(self, images: int, seconds: float) -> None:
        """The best and the last value of each score, and when the best generator was seen."""
        self._history.note_time(images, seconds)
        for name, value in self._history.summary(self.description.get("best_metric", "")).items():
            if isinstance(value, dict):  # else the last row would take its place
                self._run.define_metric(name, step_metric="images", summary="none")
            self._run.summary[name] = value

    def _step(self, images: int) -> int:
        """Step for W&B, which must not fall: `images`; after a rollback the next free numbers for a while."""
        if images != self._images:
            self._images, self._last_step = images, max(images, self._last_step + 1)
        return self._last_step

    def _start(self) -> None:
        try:
            self._start_run()
        finally:
            self._begun.set()

    def _start_run(self) -> None:
        super()._start()
        self._history = ScoreHistory(self.run_dir)
        try:
            self._run = self._begin(self.mode)
        except Exception as error:
            if self.mode == "offline":
                raise
            log.warning("W&B cannot be reached (%s); this run is recorded offline", short(error))
            self.mode, self._shared = "offline", False
            teardown_in_time()  # its service holds the run's id
            stop_service()
            self._run = self._begin("offline")
        for name in HIDDEN:
            self._run.define_metric(name, step_metric=None if name == "images" else "images", hidden=True)
        self._run.define_metric("*", step_metric="images")
        self._run.summary["state"] = "training"
        if self.mode == "online":
            log.info("W&B: %s", self._run.url)
            self._use_data_set()

    def _begin(self, mode: Mode) -> Any:
        options, said = self.config, said_to_wandb()
        return self._init(
            "shared" if self._shared else mode,
            tags=options.tags or None,
            name=None if "run_name" in said else self.run_dir.name,
            group=options.group,
            job_type=options.job_type,
            notes=options.notes,
            config=flat_config(self.description),
            settings={"x_primary": True, "x_label": platform.node()} if self._shared else {},
        )

    def _use_data_set(self) -> None:
        """Notes the data set's manifest as an input of the run, so that its generators can be traced to it."""
        import wandb

        digest = self.description.get("data_digest", "")
        if not self.manifest:
            return
        artifact = wandb.Artifact(f"dataset-{digest[:12]}", type="dataset", metadata={"digest": digest})
        with artifact.new_file("manifest.json") as file:
            file.write(self.manifest)
        try:
            self._run.use_artifact(artifact)
        except Exception as error:  # a server without lineage: the digest is in the run's config as well
            log.info("W&B does not note the data set as an input of the run (%s)", short(error))


class WandbLines(logging.Handler):
    """Gives the lines of the main process to a run's log, where its page shows them."""

    def __init__(self, run: WandbRun) -> None:
        super().__init__()
        self._write = run.line
        self.setFormatter(LineFormatter())

    def begin(self) -> None:
        """Hands over what has been said since the start, and then every line; nothing with a wandb before 0.25."""
        import wandb

        if hasattr(wandb.Run, "write_logs"):
            for text in recent_lines():
                self._write(text)
            log.addHandler(self)

    def end(self) -> None:
        """Hands over nothing more."""
        log.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Hands over a line without waiting; not W&B's own troubles, which would come back to it."""
        if record.module not in ("wandb_run", "wandb_client", "background"):
            self._write(self.format(record))


def _time_of(path: Path) -> int | None:
    """When a file was written; None if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
