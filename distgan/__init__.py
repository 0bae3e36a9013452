"""Train GANs on many GPUs: WebDataset shards in, a self-contained safetensors generator out."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from distgan.utils.errors import DistganError, ExportError, LaunchError
from distgan.utils.version import __version__ as __version__

__all__ = [
    "Callback",
    "Config",
    "DistganError",
    "Generator",
    "RunResult",
    "Scores",
    "Trainer",
    "evaluate",
    "fit",
    "load_config",
    "load_generator",
    "prepare",
]
PLACES = {
    "Callback": "distgan.training.callbacks",
    "Config": "distgan.config.schema",
    "Generator": "distgan.inference.generator",
    "RunResult": "distgan.training.fit",
    "Scores": "distgan.metrics.protocol",
    "Trainer": "distgan.training.own_loop",
    "evaluate": "distgan.training.scores",
    "fit": "distgan.training.fit",
    "load_config": "distgan.config.load",
    "load_generator": "distgan.inference.generator",
    "prepare": "distgan.data.make",
}
_CONFIG = {"pydantic": "pydantic", "yaml": "pyyaml"}
_DATA = {**_CONFIG, "numpy": "numpy", "PIL": "pillow"}
_GENERATOR = {"torch": "torch", "numpy": "numpy", "PIL": "pillow", "pydantic": "pydantic", "safetensors": "safetensors"}
_METRICS = {**_DATA, **_GENERATOR}
_ALL = {**_METRICS, **{name: name for name in ("accelerate", "webdataset", "tqdm", "psutil")}}
NEEDED = {
    "distgan.config": _CONFIG,
    "distgan.data": _DATA,
    "distgan.inference": _GENERATOR,
    "distgan.metrics": _METRICS,
    "distgan.training.scores": _METRICS,
}
"""Modules that a room or a file needs, and the packages that have them; the rest of training needs all."""

if TYPE_CHECKING:
    from distgan.config.load import load_config
    from distgan.config.schema import Config
    from distgan.data.make import prepare
    from distgan.inference.generator import Generator, load_generator
    from distgan.metrics.protocol import Scores
    from distgan.training.callbacks import Callback
    from distgan.training.fit import RunResult, fit
    from distgan.training.own_loop import Trainer
    from distgan.training.scores import evaluate


def __getattr__(name: str) -> Any:
    """What `__all__` names, on first use, so that `import distgan` alone does not load torch.

    Raises ExportError or LaunchError if a package that it needs is not installed.
    """
    if name not in PLACES:
        raise AttributeError(f"module 'distgan' has no attribute '{name}'")
    place = PLACES[name]
    needed = NEEDED.get(place) or NEEDED.get(place.rpartition(".")[0], _ALL)
    if missing := " ".join(package for module, package in needed.items() if find_spec(module) is None):
        error = ExportError if needed is _GENERATOR else LaunchError
        raise error(f"distgan.{name} needs a package that is not installed; pip install {missing}")
    return getattr(import_module(place), name)


def __dir__() -> list[str]:
    return [*globals(), *PLACES]
