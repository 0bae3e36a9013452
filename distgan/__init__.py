"""Train GANs on many GPUs: WebDataset shards in, a self-contained safetensors generator out."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from distgan.utils.errors import ExportError
from distgan.utils.version import __version__ as __version__

__all__ = ["Generator", "load_generator"]
NEEDED = {"torch": "torch", "numpy": "numpy", "PIL": "pillow", "pydantic": "pydantic", "safetensors": "safetensors"}
"""Modules that a generator needs, and the packages that have them; training needs more."""

if TYPE_CHECKING:
    from distgan.inference.generator import Generator, load_generator


def __getattr__(name: str) -> Any:
    """`load_generator` and `Generator` on first use, so that `import distgan` alone does not load torch.

    Raises ExportError if a package that they need is not installed.
    """
    if name in __all__:
        if missing := " ".join(package for module, package in NEEDED.items() if find_spec(module) is None):
            raise ExportError(f"distgan.{name} needs a package that is not installed; pip install {missing}")
        from distgan.inference import generator

        return getattr(generator, name)
    raise AttributeError(f"module 'distgan' has no attribute '{name}'")
