"""The trainer's whole state as tensors and plain values, and back.

There is no random state and no data position beside the counters: every draw and every batch is a function of
(seed, purpose, update). Nothing here is a pickle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from distgan.training.player import Player
from distgan.training.trainer import Trainer
from distgan.training.window import Window
from distgan.utils.errors import CheckpointError

MEMORY = {  # what an update rule remembers of each weight
    "rmsprop": ("square_mean",),
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
}


@dataclass(frozen=True)
class State:
    """What a checkpoint holds."""

    tensors: dict[str, Tensor]
    """On the CPU, contiguous."""
    values: dict[str, Any] = field(default_factory=dict)
    """Plain JSON values."""


def capture(trainer: Trainer) -> State:
    """A copy of the state in host memory. Every rank must call it (what the controllers watch is gathered)."""
    tensors = {f"ema/{name}": tensor for name, tensor in trainer.ema.network.state_dict().items()}
    values: dict[str, Any] = {
        "balance_level": trainer.balance_level,
        "window_steps": trainer.watched.steps,
        "lr_scale": trainer.lr_scale,
    }
    for name, player in (("g", trainer.g), ("d", trainer.d)):
        tensors |= {f"{name}/{key}": tensor for key, tensor in player.network.state_dict().items()}
        tensors |= {f"optimizer_{name}/{key}": tensor for key, tensor in _optimizer_tensors(player).items()}
        values[name] = {"updates": player.updates, "scaler": player.scaler.state_dict()}
    tensors["window"] = trainer.accelerator.gather(trainer.watched.sums[None])
    if trainer.augment.every_steps:
        tensors["augment/window"] = trainer.accelerator.gather(trainer.heeded.sums[None])
        tensors["augment/p"] = trainer.augment.p
        values["augment_steps"] = trainer.heeded.steps
    return State({key: _to_host(tensor) for key, tensor in tensors.items()}, values)


def restore(trainer: Trainer, state: State) -> None:
    """Puts a captured state into a trainer of the same configuration. Raises CheckpointError if it does not fit."""
    try:
        trainer.ema.network.load_state_dict(_under("ema", state.tensors))
        for name, player in (("g", trainer.g), ("d", trainer.d)):
            player.network.load_state_dict(_under(name, state.tensors))
            _load_optimizer(player, _under(f"optimizer_{name}", state.tensors))
            player.updates = _count(state.values[name]["updates"])
            if scaler := state.values[name]["scaler"]:
                player.scaler.load_state_dict({key: _number(value) for key, value in scaler.items()})
        _load_window(trainer.watched, state.tensors["window"], state.values["window_steps"], trainer.accelerator)
        trainer.augment.follow(trainer.images_seen)
        if trainer.augment.every_steps:
            trainer.augment.p.copy_(state.tensors["augment/p"])
            sums, steps = state.tensors["augment/window"], state.values["augment_steps"]
            _load_window(trainer.heeded, sums, steps, trainer.accelerator)
        trainer.set_balance(_count(state.values["balance_level"]))
        trainer.lr_scale = float(_number(state.values.get("lr_scale", 1.0)))  # checkpoints of 0.1.0 do not have it
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"the checkpoint does not fit the configured networks and optimisers: {reason}") from None


def _load_window(window: Window, sums: Tensor, steps: Any, accelerator: Accelerator) -> None:
    """sums: [ranks that saved, names]."""
    same_world = len(sums) == accelerator.num_processes
    window.sums.copy_(sums[accelerator.process_index] if same_world else sums.mean(0))
    window.steps = _count(steps)


def _optimizer_tensors(player: Player) -> dict[str, Tensor]:
    """{"layer.weight/square_mean": tensor}: the update rule's memory, by the names of the weights."""
    return {
        f"{name}/{key}": value
        for name, weight in player.network.named_parameters()
        for key, value in player.optimizer.state[weight].items()
    }


def _load_optimizer(player: Player, tensors: Mapping[str, Tensor]) -> None:
    weights = dict(player.network.named_parameters())
    wanted = MEMORY[player.config.name]
    if tensors and tensors.keys() != (names := {f"{name}/{key}" for name in weights for key in wanted}):
        raise ValueError(f"the optimiser's memory is not of {', '.join(sorted(tensors.keys() ^ names)[:3])}")
    player.optimizer.state.clear()
    for name, value in tensors.items():
        weight_name, key = name.rsplit("/", 1)
        weight = weights[weight_name]
        if value.shape != (() if key == "step" else weight.shape) or not value.is_floating_point():
            raise ValueError(f"{name} is {value.dtype} {list(value.shape)}")
        # the counter stays on the host
        player.optimizer.state[weight][key] = value.clone() if key == "step" else torch.empty_like(weight).copy_(value)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError("a counter is no whole number from 0 on")
    return value


def _number(value: Any) -> float | int:
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError("a factor is no number from 0 on")
    return value


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{prefix}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{prefix}/")}


def _to_host(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
