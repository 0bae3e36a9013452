"""A Weights & Biases run that may fail or hang while training goes on. The only file that imports wandb.

In: metrics, images, files. Out: a run under RUN/wandb. Every call into wandb is made by one daemon thread behind a
bounded queue: the training thread only ever puts into that queue. A call that raises or takes too long switches W&B
off for the rest of the run with one warning; `finish` waits a bounded time and then stops wandb's own process, so
that the interpreter can exit.
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from distgan.config.schema import WandbConfig
from distgan.training.tracking.backend import TrackerBackend
from distgan.utils.background import CallTimeout, Worker, call_with_timeout, short
from distgan.utils.errors import ConfigError
from distgan.utils.images import to_grid
from distgan.utils.log import log

Mode = Literal["online", "offline", "disabled"]
INIT_SECONDS = 15.0  # for the server to answer at the start; then the run goes on offline
UPLOAD_SECONDS = 25.0  # for the rest of the data to be uploaded at the end
FINISH_SECONDS = 30.0  # for everything at the end
SIGNAL_SECONDS = 10.0  # for everything at the end after a signal, when a launcher is about to kill
WANDB_MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")  # values of WANDB_MODE
ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")  # of a run; W&B's own have 8 letters and digits
MAX_ARTIFACT_NAME = 128  # characters, W&B's limit
DEFAULTS: dict[str, Any] = {  # for what W&B's own variables and files do not say
    "console": "off",  # progress bars would fill the log
    "silent": True,
    "quiet": True,
    "save_code": False,
    "disable_code": True,
    "disable_git": True,  # the revision is in the description
}
STOP_SECONDS = 5.0  # for wandb's process to end after that, once asked to


def choose_mode(config: WandbConfig) -> tuple[Mode, str | None]:
    """The mode to run in and, where that needs an explanation, one sentence. Uses no network and never prompts.

    `auto` follows WANDB_MODE and `wandb offline`; without them it is online with a key and offline without.
    Raises ConfigError if `wandb.mode=online` is asked for and there are no credentials, and for a
    wrong WANDB_ variable.
    """
    if config.mode == "disabled":
        return config.mode, None
    check_variables()
    if config.mode == "offline":
        return config.mode, None
    configured, problem = "online", None
    try:
        configured, problem = _look_up()
    except ImportError as error:
        problem = f"wandb cannot be imported ({short(error)})"
        configured = "disabled"
    except Exception as error:  # a malformed key
        problem = short(error)
    if config.mode == "online":
        if problem:
            raise ConfigError(
                f"wandb.mode=online, but {problem}; run `wandb login`, set WANDB_API_KEY, or use wandb.mode=offline"
            )
        return "online", None
    if configured in ("offline", "dryrun"):
        return "offline", "W&B is set to offline (WANDB_MODE or `wandb offline`)"
    if configured == "disabled":
        return "disabled", problem and f"{problem}; only metrics.jsonl is written"
    return ("offline", f"{problem}, so this run is recorded offline") if problem else ("online", None)


def key_problem() -> str | None:
    """What is wrong with W&B's key, such as that there is none; None: it can be used. Uses no network."""
    try:
        return _look_up()[1]
    except Exception as error:  # a malformed key
        return short(error)


def check_variables(environment: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError for a wrong value in W&B's environment variables, with which W&B itself would not start."""
    mode, run_id = environment.get("WANDB_MODE", "online"), environment.get("WANDB_RUN_ID", "id")
    if mode not in WANDB_MODES:
        nearest = difflib.get_close_matches(mode.lower(), WANDB_MODES, n=1, cutoff=0.3) or ["online"]
        raise ConfigError(
            f"WANDB_MODE={mode} must be one of {', '.join(WANDB_MODES)}; nearest: {nearest[0]}, or unset it and use "
            "wandb.mode"
        )
    if not ID.match(run_id):
        raise ConfigError(f"WANDB_RUN_ID={run_id} must be 1 to 64 letters, digits, '-' or '_'; unset it for a new id")
    try:
        wandb_settings()
    except Exception as error:  # of others, `choose_mode` makes the best
        _teardown()  # it would take the next call for one without any settings
        if reason := _mistake(error):
            raise ConfigError(
                f"W&B's environment variables or settings files are wrong: {reason}; correct or unset it, or set "
                "wandb.mode=disabled"
            ) from None


def _mistake(error: Exception) -> str:
    """What is wrong in W&B's settings; empty for an error of another kind."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error) if type(error).__name__ == "UsageError" else ""  # W&B's own error, for a name of a project


def wandb_settings() -> Any:
    """The settings in W&B's environment variables and settings files; None with a wandb before 0.31."""
    try:
        from wandb.sdk import wandb_setup

        return wandb_setup.singleton().settings
    except (ImportError, AttributeError, TypeError):
        return None


def artifact_name(run_name: str) -> str:
    """The name of a run's artifacts: generator-RUNNAME, cut and with a digest where W&B would refuse it as too long."""
    name = f"generator-{run_name}"
    digest = hashlib.sha256(run_name.encode()).hexdigest()[:8]
    return name if len(name) <= MAX_ARTIFACT_NAME else f"{name[: MAX_ARTIFACT_NAME - 9]}-{digest}"


def _look_up() -> tuple[str, str | None]:
    """Mode in wandb's environment and settings files, and the problem with the credentials, if there is one."""
    import wandb

    try:
        from wandb.sdk.lib import wbauth

        settings = wandb_settings()
        found: Any = wbauth.authenticate_session(
            host=settings.base_url, source="distgan", prompt=False, update_session=False
        )
        return settings.mode, None if found else "W&B has no API key"
    except (ImportError, AttributeError, TypeError):  # wandb before 0.31
        mode = os.environ.get("WANDB_MODE", "online")
        key = wandb.api.api_key or ""
        if 0 < len(key) < 40:
            return mode, "the API key in WANDB_API_KEY or ~/.netrc is too short"
        return mode, None if key else "W&B has no API key"


def server_url() -> str:
    """Address of W&B's server, from WANDB_BASE_URL or wandb's settings files. Uses no network."""
    settings = wandb_settings()
    return str(settings.base_url) if settings else os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


class WandbRun(TrackerBackend):
    """The W&B run of one training. No method raises or waits, except `finish`, which waits a bounded time."""

    def __init__(
        self, config: WandbConfig, run_dir: Path, mode: Mode, run_id: str, description: dict[str, Any]
    ) -> None:
        """run_dir: its name is the run's; mode: online or offline; description: becomes the run's config."""
        self.config, self.run_dir, self.mode = config, run_dir, mode
        self.run_id, self.description = run_id, description
        self.directory = run_dir.resolve()
        self._run: Any = None
        self._finished = False
        self._images, self._last_step = -1, -1
        self._problem: str | None = None  # at the end
        self._worker = Worker("W&B", lambda text: log.warning("%s; training goes on, metrics.jsonl is complete", text))
        if (name := artifact_name(run_dir.name)) != f"generator-{run_dir.name}":
            log.info("the run's name is too long for a W&B artifact: its generators are called %s there", name)
        atexit.register(self.finish, 1)  # for a training that ends without `finish`
        self._worker.put("wandb.init", self._start)

    @property
    def sync_command(self) -> str:
        """Command that uploads this run: all offline pieces, oldest first, or the broken online piece."""
        if self.mode == "online" and self._run is not None:
            return f"wandb sync --include-online {self._run.settings.sync_dir}"
        return f"wandb sync {self.run_dir}/wandb/offline-run-*-{self.run_id}"

    def log(self, images: int, metrics: dict[str, float]) -> None:
        """Adds a row. images: real images seen."""
        self._worker.put("run.log", lambda: self._run.log({"images": images, **metrics}, step=self._step(images)))

    def event(self, images: int, kind: str, text: str, alert: bool) -> None:
        """Sends an alert, if it is one."""
        if alert:
            self._worker.put("run.alert", lambda: self._run.alert(title=kind, text=text, level="WARN"))

    def samples(self, images: int, fakes: Tensor, reals: Tensor) -> None:
        """Adds two grids; the reals once for a run, before the tracker writes its first files."""
        self._image(images, "samples/fakes", to_grid(fakes))
        if not (self.run_dir / "samples" / "reals.png").exists():
            self._image(images, "samples/reals", to_grid(reals))

    def _image(self, images: int, name: str, image: Image.Image) -> None:
        """Adds an image. images: real images seen."""

        def call() -> None:
            import wandb

            self._run.log({"images": images, name: wandb.Image(image)}, step=self._step(images))

        self._worker.put(f"run.log of {name}", call)

    def artifact(self, path: Path, metadata: dict[str, Any], alias: str = "latest") -> None:
        """Uploads a file as a new version of `artifact_name`, to which `alias` then points."""

        def call() -> None:
            import wandb

            artifact = wandb.Artifact(artifact_name(self.run_dir.name), type="model", metadata=metadata)
            if not path.is_file():
                log.warning("%s was gone before it could become a W&B artifact", path)
                return
            artifact.add_file(str(path))
            self._run.log_artifact(artifact, aliases=[alias])

        self._worker.put("run.log_artifact", call)

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
            _teardown_in_time()
        if self._worker.dropped:
            dropped = self._worker.dropped
            log.info("W&B was too slow for %d rows or images; the rows are in metrics.jsonl", dropped)
        if self._problem:
            log.warning("%s; the run is in %s", self._problem, self.directory / "wandb")
        if self.mode == "offline" or self._problem or self._worker.failure:
            log.info("to upload this run to W&B: %s", self.sync_command)

    def _step(self, images: int) -> int:
        """Step for W&B, which must not fall: `images`; after a rollback the next free numbers for a while."""
        if images != self._images:
            self._images, self._last_step = images, max(images, self._last_step + 1)
        return self._last_step

    def _start(self) -> None:
        import wandb

        os.environ.setdefault("WANDB_DATA_DIR", str(self.directory / "wandb" / "data"))  # files of artifacts
        wandb.setup()
        atexit.unregister(self.finish)
        atexit.register(self.finish, 1)  # again: after wandb's own hook, so that it runs before it
        try:
            self._run = self._init(self.mode)
        except Exception as error:
            if self.mode == "offline":
                raise
            log.warning("W&B cannot be reached (%s); this run is recorded offline", short(error))
            self.mode = "offline"
            _teardown_in_time()  # its service holds the run's id
            stop_service()
            self._run = self._init("offline")
        self._run.define_metric("images")
        self._run.define_metric("*", step_metric="images")
        if self.mode == "online":
            log.info("W&B: %s", self._run.url)

    def _init(self, mode: Mode) -> Any:
        import wandb

        said = _said_to_wandb()
        wanted = {key: value for key, value in DEFAULTS.items() if key not in said} | {
            "allow_val_change": True,  # a restart may change free settings
            "init_timeout": INIT_SECONDS,
            "finish_timeout": UPLOAD_SECONDS,
            "finish_timeout_raises": True,
        }
        known = wandb.Settings.model_fields
        settings: Any = {key: value for key, value in wanted.items() if key in known}  # older versions know fewer
        options = self.config
        return wandb.init(
            mode=mode,
            dir=str(self.directory),
            project=options.project or (None if "project" in said else "distgan"),
            entity=options.entity,
            tags=options.tags or None,
            name=None if "run_name" in said else self.run_dir.name,
            id=self.run_id,
            resume="allow",
            config=self.description,
            settings=wandb.Settings(**settings),
        )

    def _end(self, exit_code: int) -> None:
        try:
            if self._run is not None:
                self._run.finish(exit_code)
        except BaseException as error:  # TimeoutError: the server did not take everything in UPLOAD_SECONDS
            self._problem = self._problem or f"W&B did not end well ({short(error)})"
        _teardown()


def _said_to_wandb() -> set[str]:
    """The names of the settings that W&B's environment variables or settings files give."""
    if settings := wandb_settings():
        return set(settings.model_fields_set)
    names = {name.removeprefix("WANDB_").lower() for name in os.environ if name.startswith("WANDB_")}
    return names | ({"run_name"} if "name" in names else set())


def stop_service() -> None:
    """Ends wandb's own process, a child of this one, for which the exit would wait."""
    import psutil  # type: ignore[import-untyped]  # accelerate needs it too

    with contextlib.suppress(psutil.Error):
        cores = [child for child in psutil.Process().children() if child.name().startswith("wandb-core")]
        for core in cores:
            core.terminate()
        for core in psutil.wait_procs(cores, timeout=STOP_SECONDS)[1]:
            core.kill()


def _teardown_in_time() -> None:
    with contextlib.suppress(CallTimeout):
        call_with_timeout(STOP_SECONDS, _teardown)


def _teardown() -> None:
    import wandb

    with contextlib.suppress(BaseException):  # it may raise SystemExit; nothing can be done about any of it
        wandb.teardown()
