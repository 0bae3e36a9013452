"""Whether W&B runs online, offline or not at all: the configuration, W&B's variables and settings files, the key.

In: the section `wandb`. Out: the mode, and a sentence where it needs one. Uses no network and never prompts.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from distgan.config.schema import WandbConfig
from distgan.utils.background import short
from distgan.utils.errors import ConfigError

Mode = Literal["online", "offline", "disabled"]
WANDB_MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")  # values of WANDB_MODE
ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")  # of a run; W&B's own have 8 letters and digits


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
        if config.mode == "auto":
            return "disabled", f"wandb cannot be imported ({short(error)}); only metrics.jsonl is written"
        problem = f"wandb cannot be imported ({short(error)})"
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
        return "disabled", None
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
        teardown()  # it would take the next call for one without any settings
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


def said_to_wandb() -> set[str]:
    """The names of the settings that W&B's environment variables or settings files give."""
    if settings := wandb_settings():
        return set(settings.model_fields_set)
    names = {name.removeprefix("WANDB_").lower() for name in os.environ if name.startswith("WANDB_")}
    return names | ({"run_name"} if "name" in names else set())


def teardown() -> None:
    """Ends wandb's connection to its own process, and forgets its settings."""
    import wandb

    with contextlib.suppress(BaseException):  # it may raise SystemExit; nothing can be done about any of it
        wandb.teardown()
