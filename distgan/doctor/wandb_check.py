"""Weights & Biases: the mode that a run would choose, and whether the server answers. Nothing is sent to it."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from distgan.config.schema import Config
from distgan.doctor.check_result import AGAIN, CheckResult, fail, ok, warn
from distgan.training.tracking.tracker import wandb_mode
from distgan.training.tracking.wandb_mode import server_url
from distgan.utils.background import CallTimeout, call_with_timeout, short
from distgan.utils.errors import ConfigError

WHAT = "W&B"
ANSWER_SECONDS = 5.0


def check_wandb(config: Config) -> list[CheckResult]:
    """Checks the mode, and the server if the mode is online."""
    try:
        mode, reason = wandb_mode(config)
    except ConfigError as error:
        no_key = str(error).startswith("wandb.mode=online")
        return [fail(WHAT, str(error), "or use wandb.mode=auto, which then trains without W&B" if no_key else AGAIN)]
    return check_mode(mode, reason, server_url() if mode == "online" else "", ask_server)


def check_mode(
    mode: str, reason: str | None, url: str, ask: Callable[[str], tuple[float, str | None]]
) -> list[CheckResult]:
    """mode, reason: from `choose_mode`; url: the server's; ask: as `ask_server`."""
    if mode == "disabled":
        return [ok(WHAT, f"disabled: {reason}" if reason else "disabled")]
    if mode == "offline":
        if reason and reason.endswith("recorded offline"):  # nobody asked for that
            first = "run `wandb login`, set WANDB_API_KEY" if "key" in reason else "check the WANDB_ variables"
            return [warn(WHAT, reason, f"{first}, or set wandb.mode=offline if that is what you want")]
        return [ok(WHAT, f"offline{f': {reason}' if reason else ''}; at its end the run prints how to upload it")]
    host = urlsplit(url).netloc.rsplit("@", 1)[-1]
    seconds, problem = ask(url)
    if problem:
        advice = "check the network, a proxy (https_proxy) and WANDB_BASE_URL; a run would continue offline"
        return [warn(WHAT, f"online, but {host} cannot be used: {problem}", advice)]
    return [ok(WHAT, f"online with a key; {host} answered in {seconds:.1f} s")]


def ask_server(url: str) -> tuple[float, str | None]:
    """(seconds until the server answered, the problem or None). Takes ANSWER_SECONDS at most."""
    start = time.monotonic()
    try:
        problem = call_with_timeout(ANSWER_SECONDS, lambda: _problem_with(url))
    except CallTimeout:
        problem = f"no answer within {ANSWER_SECONDS:.0f} s"
    return time.monotonic() - start, problem


def _problem_with(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"status {error.code}" if error.code >= 500 else None
    except urllib.error.URLError as error:
        return short(error.reason) if isinstance(error.reason, BaseException) else str(error.reason)
    except Exception as error:  # a malformed address, a connection that breaks off
        return short(error)
