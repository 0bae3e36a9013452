"""Weights & Biases: the mode that would be chosen, and whether the server answers. Nothing is sent to it."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from distgan.config.schema import Config
from distgan.doctor.finding import Finding, fail, ok, warn
from distgan.training.tracking.wandb_run import choose_mode, server_url
from distgan.utils.background import CallTimeout, call_with_timeout, short
from distgan.utils.errors import ConfigError

WHAT = "W&B"
SECONDS = 5.0  # for the server's answer


def wandb_findings(config: Config) -> list[Finding]:
    try:
        mode, why = choose_mode(config.wandb)
    except ConfigError as error:
        return [fail(WHAT, str(error), "or use wandb.mode=auto, which goes on without")]
    return judge(mode, why, server_url() if mode == "online" else "", reach)


def judge(mode: str, why: str | None, url: str, ask: Callable[[str], tuple[float, str | None]]) -> list[Finding]:
    """mode, why: from `choose_mode`; ask: (seconds, what is wrong) of the server at an address."""
    if mode == "disabled":
        return [ok(WHAT, f"disabled: {why}" if why else "disabled")]
    if mode == "offline":
        if why and why.endswith("recorded offline"):  # nobody asked for that
            first = "run `wandb login`, set WANDB_API_KEY" if "key" in why else "look at the WANDB_ variables"
            return [warn(WHAT, why, f"{first}, or, if that is meant, wandb.mode=offline")]
        return [ok(WHAT, f"offline{f': {why}' if why else ''}; the run says at its end how to upload it")]
    host = urlsplit(url).netloc.rsplit("@", 1)[-1]
    seconds, wrong = ask(url)
    if wrong:
        advice = "look at the network, a proxy (https_proxy) and WANDB_BASE_URL; a run would go on offline"
        return [warn(WHAT, f"online, but {host} does not answer well: {wrong}", advice)]
    return [ok(WHAT, f"online with a key; {host} answered in {seconds:.1f} s")]


def reach(url: str) -> tuple[float, str | None]:
    """(seconds until a server answered anything at all, or what is wrong), in SECONDS at most."""
    start = time.monotonic()
    try:
        wrong = call_with_timeout(SECONDS, lambda: _ask(url))
    except CallTimeout:
        wrong = f"nothing came within {SECONDS:.0f} s"
    return time.monotonic() - start, wrong


def _ask(url: str) -> str | None:
    """What is wrong with a server, or None if it answers."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"status {error.code}" if error.code >= 500 else None
    except urllib.error.URLError as error:
        return short(error.reason) if isinstance(error.reason, BaseException) else str(error.reason)
    except Exception as error:  # a malformed address, a connection that breaks off
        return short(error)
