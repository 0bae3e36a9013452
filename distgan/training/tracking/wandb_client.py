"""A connection to Weights & Biases that may fail or hang while training goes on.

Every call into wandb is made by one daemon thread behind a bounded queue: the training thread only ever puts into that
queue. A call that raises or takes too long switches W&B off for the rest of the run with one warning; `finish` waits a
bounded time and then stops wandb's own process, so that the interpreter can exit.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
from pathlib import Path
from typing import Any

from distgan.config.schema import WandbConfig
from distgan.training.tracking.backend import TrackerBackend
from distgan.training.tracking.wandb_mode import Mode, said_to_wandb, teardown
from distgan.utils.background import FINISH_SECONDS, SIGNAL_SECONDS, CallTimeout, Worker, call_with_timeout, short
from distgan.utils.log import log

INIT_SECONDS = 15.0  # for the server to answer at the start; then the run goes on offline
UPLOAD_SECONDS = 25.0  # for the rest of the data to be uploaded at the end
STOP_SECONDS = 5.0  # for wandb's process to end after that, once asked to
DEFAULTS: dict[str, Any] = {  # for what W&B's own variables and files do not say
    "console": "off",  # progress bars would fill the log; wandb_run.py writes it
    "silent": True,
    "quiet": True,
    "save_code": False,
    "disable_code": True,
    "disable_git": True,  # the revision is in the description
}


class WandbClient(TrackerBackend):
    """A connection to W&B. No method raises or waits, except `finish`, which waits a bounded time."""

    def __init__(self, config: WandbConfig, run_dir: Path, mode: Mode, run_id: str) -> None:
        """mode: online or offline."""
        self.config, self.run_dir, self.mode, self.run_id = config, run_dir, mode, run_id
        self.directory = run_dir.resolve()
        self._run: Any = None
        self._finished = False
        self._problem: str | None = None  # at the end
        self._worker = Worker("W&B", lambda text: log.warning("%s; training goes on, metrics.jsonl is complete", text))
        atexit.register(self.finish, 1)  # for a training that ends without `finish`
        self._worker.put("wandb.init", self._start)

    @property
    def sync_command(self) -> str:
        """Command that uploads this run: all offline pieces, oldest first, or the broken online piece."""
        if self.mode == "online" and self._run is not None:
            return f"wandb sync --include-online {self._run.settings.sync_dir}"
        return f"wandb sync {self.run_dir}/wandb/offline-run-*-{self.run_id}"

    def finish(self, exit_code: int = 0) -> None:
        """Ends the run within about FINISH_SECONDS + 2 * STOP_SECONDS, whatever wandb does; faster after a failure.

        exit_code: of the training; not 0 for a signal or an error, after which a launcher gives little time.
        """
        if self._finished:
            return
        self._finished = True
        atexit.unregister(self.finish)
        seconds = SIGNAL_SECONDS if exit_code else FINISH_SECONDS
        if not self._worker.last("run.finish", lambda: self._end(exit_code), seconds):
            self._problem = f"W&B did not end within {seconds:.0f} s"
            stop_service()
            teardown_in_time()
        if self._worker.dropped:
            dropped = self._worker.dropped
            log.info("W&B was too slow for %d rows or images; the rows are in metrics.jsonl", dropped)
        if self._problem:
            log.warning("%s; the run is in %s", self._problem, self.directory / "wandb")

    def _start(self) -> None:
        import wandb

        os.environ.setdefault("WANDB_DATA_DIR", str(self.directory / "wandb" / "data"))  # files of artifacts
        wandb.setup()
        atexit.unregister(self.finish)
        atexit.register(self.finish, 1)  # again: after wandb's own hook, so that it runs before it

    def _init(self, mode: str, **options: Any) -> Any:
        """Calls `wandb.init`. options: of it, and `settings` beside distgan's own."""
        import wandb

        said = said_to_wandb()
        wanted = {key: value for key, value in DEFAULTS.items() if key not in said} | {
            "allow_val_change": True,  # a restart may change free settings
            "init_timeout": INIT_SECONDS,
            "finish_timeout": UPLOAD_SECONDS,
            "finish_timeout_raises": True,
            **options.pop("settings", {}),
        }
        known = wandb.Settings.model_fields
        settings: Any = {key: value for key, value in wanted.items() if key in known}  # older versions know fewer
        config = self.config
        return wandb.init(
            mode=mode,  # type: ignore[arg-type]
            dir=str(self.directory),
            project=config.project or (None if "project" in said else "distgan"),
            entity=config.entity,
            id=self.run_id,
            resume="allow",  # resume_from (rewind) needs the server at the start, and excludes this
            settings=wandb.Settings(**settings),
            **options,
        )

    def _end(self, exit_code: int) -> None:
        try:
            if self._run is not None:
                self._run.finish(exit_code)
        except BaseException as error:  # TimeoutError: the server did not take everything in UPLOAD_SECONDS
            self._problem = self._problem or f"W&B did not end well ({short(error)})"
        teardown()


class WandbMachine(WandbClient):
    """Gives the system metrics of another machine to the run, and nothing else; for one process of that machine."""

    def _start(self) -> None:
        super()._start()
        name = platform.node()
        label = {"x_primary": False, "x_label": name, "x_update_finish_state": False, "x_sync_dir_suffix": name}
        self._run = self._init("shared", settings=label)


def can_share() -> bool:
    """Whether this wandb takes the metrics of several machines in one run (0.19.9 and later)."""
    import wandb

    return {"x_primary", "x_label", "x_sync_dir_suffix"} <= wandb.Settings.model_fields.keys()


def stop_service() -> None:
    """Ends wandb's own process, a child of this one, for which the exit would wait."""
    import psutil  # type: ignore[import-untyped]  # accelerate needs it too

    with contextlib.suppress(psutil.Error):
        cores = [child for child in psutil.Process().children() if child.name().startswith("wandb-core")]
        for core in cores:
            core.terminate()
        for core in psutil.wait_procs(cores, timeout=STOP_SECONDS)[1]:
            core.kill()


def teardown_in_time() -> None:
    with contextlib.suppress(CallTimeout):
        call_with_timeout(STOP_SECONDS, teardown)
