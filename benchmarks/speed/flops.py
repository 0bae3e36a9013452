"""FLOPs of whatever runs: 2 for each multiply-add of matrix products and convolutions, forward, backward and double
backward; all else (activations, norms, optimisers) is left out, as is usual.

torch's own `FlopCounterMode` is not for penalties: it follows modules by hooks, which `autograd.grad` refuses; and it
counts the backward of grouped convolutions as if they had one group.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten


class Flops(TorchDispatchMode):
    """A context; `total` afterwards."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        operator = func._overloadpacket
        if operator is aten.convolution:
            self.total += _convolution(args[0], args[1], out, transposed=args[6])
        elif operator is aten.convolution_backward:
            grad, images, weight, transposed, mask = *args[:3], args[7], args[10]
            self.total += sum(mask[:2]) * _convolution(images, weight, grad, transposed)  # each as much as the forward
        elif operator in flop_registry:
            self.total += flop_registry[operator](*args, **(kwargs or {}), out_val=out)
        return out


def _convolution(images: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, transposed: bool) -> int:
    """Every weight [out, in / groups, ...] meets every place of the output once; transposed, of the input."""
    places = images.shape if transposed else out.shape
    return 2 * prod(weight.shape) * places[0] * prod(places[2:])
