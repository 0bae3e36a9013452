"""The trainer's complete state as tensors and plain values, and back.

There is no random state and no data position beside the counters: every draw and every batch is a function of
(seed, purpose, update). Nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distgan.training.checkpoint.storage import State, counter, factor
from distgan.training.player import Player
from distgan.training.trainer import Trainer
from distgan.utils.errors import CheckpointError


def capture(trainer: Trainer) -> State:
    """A copy of the state in host memory. Every rank must call it: the controllers' windows are gathered."""
    return copy_to_host(trainer, trainer.controllers.state())


def copy_to_host(trainer: Trainer, controllers: State) -> State:
    """The same on one rank alone. controllers: their state, gathered from all ranks."""
    tensors = {f"ema/{name}": tensor for name, tensor in trainer.ema.network.state_dict().items()}
    values: dict[str, Any] = {"lr_scale": trainer.lr_scale}
    for name, player in (("g", trainer.g), ("d", trainer.d)):
        tensors |= {f"{name}/{key}": tensor for key, tensor in player.network.state_dict().items()}
        tensors |= {f"optimizer_{name}/{key}": tensor for key, tensor in _optimizer_tensors(player).items()}
        values[name] = {"updates": player.updates, "scaler": player.scaler.state_dict()}
    tensors |= controllers.tensors
    return State({key: _to_host(tensor) for key, tensor in tensors.items()}, values | controllers.values)


def restore(trainer: Trainer, state: State) -> None:
    """Puts a captured state into a trainer of the same configuration. Raises CheckpointError if it does not fit."""
    try:
        trainer.ema.network.load_state_dict(_under("ema", state.tensors))
        for name, player in (("g", trainer.g), ("d", trainer.d)):
            player.network.load_state_dict(_under(name, state.tensors))
            _load_optimizer(player, _under(f"optimizer_{name}", state.tensors))
            player.updates = counter(state.values[name]["updates"])
            if scaler := state.values[name]["scaler"]:
                player.scaler.load_state_dict({key: factor(value) for key, value in scaler.items()})
        trainer.controllers.load_state(state)
        trainer.lr_scale = float(factor(state.values.get("lr_scale", 1.0)))  # checkpoints of 0.1.0 do not have it
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"the checkpoint does not fit the configured networks and optimisers: {reason}") from None


def _optimizer_tensors(player: Player) -> dict[str, Tensor]:
    """{"layer.weight/square_mean": tensor}: the update rule's memory, by the names of the weights."""
    return {
        f"{name}/{key}": value
        for name, weight in _trained(player).items()
        for key, value in player.optimizer.state[weight].items()
    }


def _load_optimizer(player: Player, tensors: Mapping[str, Tensor]) -> None:
    weights, memory = _trained(player), player.rule.memory
    names = None if memory is None else {f"{name}/{key}" for name in weights for key in memory}
    if tensors and names is not None and tensors.keys() != names:
        raise ValueError(f"the optimiser's memory is not of {', '.join(sorted(tensors.keys() ^ names)[:3])}")
    player.optimizer.state.clear()
    group = player.optimizer.param_groups[0]
    counter_on_device = group.get("capturable", False) or group.get("fused", False)
    for name, value in tensors.items():
        weight_name, key = name.rsplit("/", 1)
        weight = weights[weight_name]
        scalar = value.shape == () if memory is None else key == "step"
        if value.shape != (() if scalar else weight.shape) or not value.is_floating_point():
            raise ValueError(f"{name} is {value.dtype} {list(value.shape)}")
        if scalar:  # torch's counter stays on the host
            on_host = key == "step" and not counter_on_device
            player.optimizer.state[weight][key] = value.clone() if on_host else value.to(weight.device, copy=True)
        else:
            player.optimizer.state[weight][key] = torch.empty_like(weight).copy_(value)


def _trained(player: Player) -> dict[str, nn.Parameter]:
    """The weights that the optimizer changes, by their names; frozen layers have none."""
    return {name: weight for name, weight in player.network.named_parameters() if weight.requires_grad}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{prefix}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{prefix}/")}


def _to_host(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
