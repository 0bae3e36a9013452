"""torch.compile for a training's networks, each by itself, and the way round it for gradient penalties.

`module.compile()` keeps the names of the weights and goes before DDP. It knows no second derivatives (pytorch#91469),
so a forward that a penalty is taken of runs eagerly; with lazy penalties that is one update of many.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import nn

from distgan.networks.dropout import dropouts

Mode = Literal["auto", "off", "on"]


def compile_network(network: nn.Module, mode: Mode) -> None:
    """In place; nothing is compiled before the first forward."""
    if mode == "on":
        for layer in dropouts(network):
            layer.drop = torch.compiler.disable(layer.drop)  # type: ignore[method-assign]
        network.compile(dynamic=False)


def eager(mode: Mode, penalised: bool) -> AbstractContextManager[object]:
    """Around a forward of D: uncompiled if a penalty is taken of it."""
    return torch.compiler.set_stance("force_eager") if mode == "on" and penalised else nullcontext()
