"""What a test needs of the machine: `@pytest.mark.needs("hosts")` skips it, with the reason, where that is lacking."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

FASHION = Path("/usr/share/datasets/fashion-mnist")  # apt-get install dataset-fashion-mnist


def _gpu() -> str:
    return "" if torch.cuda.is_available() else "needs a GPU: DISTGAN_TEST_GPU=1 pytest"


def _compiler() -> str:
    return "" if shutil.which("g++") else "needs a C++ compiler, for torch.compile on the CPU"


def _cifar10() -> str:
    return "" if "DISTGAN_TEST_CIFAR10" in os.environ else "needs CIFAR-10's images: DISTGAN_TEST_CIFAR10=DIR"


def _fashion() -> str:
    return "" if FASHION.is_dir() else "needs Debian's package dataset-fashion-mnist"


def _fidelity() -> str:
    found = importlib.util.find_spec("torch_fidelity")
    return "" if found else "torch-fidelity is not installed (extra `inception`)"


def _user() -> str:
    return "" if hasattr(os, "geteuid") and os.geteuid() else "root may read and write everywhere"


def _hosts() -> str:
    from tests.support import hosts

    return hosts.missing()


def _slurm() -> str:
    from tests.support import slurm

    return slurm.missing()


def _browser() -> str:
    from tests.support import browser

    return browser.missing()


def _gradio() -> str:
    return "" if importlib.util.find_spec("gradio") else "needs gradio, for a Space's page: pip install gradio"


def _openwandb() -> str:
    from tests.support import wandb_service

    if wandb_service.program():
        return ""
    return "needs openwandb, a W&B-compatible server: DISTGAN_TEST_OPENWANDB=PROGRAM"


def _mkdocs() -> str:
    there = all(map(importlib.util.find_spec, ("mkdocs", "material", "mkdocstrings")))
    return "" if there else "needs the extra `docs`"


def _keras() -> str:
    found = "DISTGAN_TEST_KERAS" in os.environ or importlib.util.find_spec("keras")
    return "" if found else "needs Keras 3: DISTGAN_TEST_KERAS=PYTHON, one that has it and a backend"


MISSING: dict[str, Callable[[], str]] = {
    "gpu": _gpu,
    "compiler": _compiler,
    "cifar10": _cifar10,
    "fashion": _fashion,
    "fidelity": _fidelity,
    "user": _user,
    "hosts": _hosts,
    "slurm": _slurm,
    "browser": _browser,
    "gradio": _gradio,
    "openwandb": _openwandb,
    "keras": _keras,
    "mkdocs": _mkdocs,
}


@functools.cache
def missing(what: str) -> str:
    """Why it cannot be had here, or nothing. Looked at once, before the first test that needs it."""
    return MISSING[what]()
