"""What a network, loss, data set, metric, ... of one's own is built from, in one place (docs/extending.md).

from distgan.extend import GeneratorSettings, KeyedDropout
"""

from __future__ import annotations

from distgan.config.base import Frozen as Settings
from distgan.config.method import Penalties as LossSettings
from distgan.config.method import PenaltySettings, UpdateRule
from distgan.config.networks import DiscriminatorSettings, GeneratorSettings
from distgan.data.fit import Fit, fit_image
from distgan.data.shards.decode import ImageFile
from distgan.data.sources.base import Offer, SourceImages, select_classes
from distgan.metrics.distances import Comparison
from distgan.metrics.extractors.pretrained import PretrainedNetwork
from distgan.networks.batch_norm import GlobalBatchNorm
from distgan.networks.dropout import KeyedDropout, KeyedNoise
from distgan.training.checkpoint.storage import State
from distgan.training.controllers.base import Controller
from distgan.training.grid_sample import grid_sample
from distgan.training.losses import LossFunctions
from distgan.training.tracking.backend import Samples, TrackerBackend
from distgan.utils.errors import ConfigError, DataError

__all__ = [
    "Comparison",
    "ConfigError",
    "Controller",
    "DataError",
    "DiscriminatorSettings",
    "Fit",
    "GeneratorSettings",
    "GlobalBatchNorm",
    "ImageFile",
    "KeyedDropout",
    "KeyedNoise",
    "LossFunctions",
    "LossSettings",
    "Offer",
    "PenaltySettings",
    "PretrainedNetwork",
    "Samples",
    "Settings",
    "SourceImages",
    "State",
    "TrackerBackend",
    "UpdateRule",
    "fit_image",
    "grid_sample",
    "select_classes",
]
