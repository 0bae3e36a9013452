"""What a network, loss, data set, metric, ... of one's own is built from (docs/extending.md). Lazy: no torch.

from distgan.extend import GeneratorSettings, KeyedDropout
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distgan.utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from distgan.config.base import Frozen as Settings
    from distgan.config.method import Penalties as LossSettings
    from distgan.config.method import PenaltySettings, UpdateRule
    from distgan.config.networks import DiscriminatorSettings, GeneratorSettings
    from distgan.data.sources.base import Offer, SourceImages, select_classes
    from distgan.metrics.distances import Comparison
    from distgan.metrics.extractors.pretrained import PretrainedNetwork
    from distgan.networks.batch_norm import GlobalBatchNorm
    from distgan.networks.dropout import KeyedDropout
    from distgan.training.checkpoint.storage import State
    from distgan.training.controllers.base import Controller
    from distgan.training.losses import LossFunctions
    from distgan.training.tracking.backend import TrackerBackend

PLACES = {
    "Settings": "distgan.config.base:Frozen",
    "GeneratorSettings": "distgan.config.networks:GeneratorSettings",
    "DiscriminatorSettings": "distgan.config.networks:DiscriminatorSettings",
    "LossSettings": "distgan.config.method:Penalties",
    "PenaltySettings": "distgan.config.method:PenaltySettings",
    "UpdateRule": "distgan.config.method:UpdateRule",
    "GlobalBatchNorm": "distgan.networks.batch_norm:GlobalBatchNorm",
    "KeyedDropout": "distgan.networks.dropout:KeyedDropout",
    "LossFunctions": "distgan.training.losses:LossFunctions",
    "Offer": "distgan.data.sources.base:Offer",
    "SourceImages": "distgan.data.sources.base:SourceImages",
    "select_classes": "distgan.data.sources.base:select_classes",
    "PretrainedNetwork": "distgan.metrics.extractors.pretrained:PretrainedNetwork",
    "Comparison": "distgan.metrics.distances:Comparison",
    "TrackerBackend": "distgan.training.tracking.backend:TrackerBackend",
    "Controller": "distgan.training.controllers.base:Controller",
    "State": "distgan.training.checkpoint.storage:State",
}
__all__ = [
    "Comparison",
    "ConfigError",
    "Controller",
    "DataError",
    "DiscriminatorSettings",
    "GeneratorSettings",
    "GlobalBatchNorm",
    "KeyedDropout",
    "LossFunctions",
    "LossSettings",
    "Offer",
    "PenaltySettings",
    "PretrainedNetwork",
    "Settings",
    "SourceImages",
    "State",
    "TrackerBackend",
    "UpdateRule",
    "select_classes",
]


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module 'distgan.extend' has no attribute '{name}'")
    module, _, attribute = PLACES[name].partition(":")
    return getattr(import_module(module), attribute)
