"""Train GANs on many GPUs: WebDataset shards in, a self-contained safetensors generator out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distgan.utils.version import __version__ as __version__

__all__ = ["Generator", "load_generator"]

if TYPE_CHECKING:
    from distgan.inference.generator import Generator, load_generator


def __getattr__(name: str) -> Any:
    """`load_generator` and `Generator` on first use, so that `import distgan` alone does not load torch."""
    if name in __all__:
        from distgan.inference import generator

        return getattr(generator, name)
    raise AttributeError(f"module 'distgan' has no attribute '{name}'")
