"""Random numbers for a network that is called without a trainer."""

from __future__ import annotations

import torch
from torch import nn

from distgan.networks.dropout import key_layers, keyed
from distgan.utils.rng import Draws, Rows


def key_rows(network: nn.Module, rows: int, step: int = 0) -> nn.Module:
    """Keys a network's dropout and noise for the next forward of so many rows; returns the network."""
    key_layers(keyed(network), Draws(0, Rows(0, rows, rows), torch.device("cpu")).at("test", step))
    return network
