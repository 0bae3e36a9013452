"""The registries of everything beside networks and method: data sources, extractors, metrics, trackers, controllers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from distgan.config import contracts
from distgan.config.base import Frozen
from distgan.config.registry import Registry

SOURCES = Registry(
    kind="source",
    key="data.prepare",
    group="distgan.sources",
    contract=contracts.SOURCE,
)
SOURCES.add("shapes", "distgan.data.sources.shapes:Shapes")
SOURCES.add("cifar10", "distgan.data.sources.cifar10:Cifar10")
SOURCES.add("cifar100", "distgan.data.sources.cifar100:Cifar100")
SOURCES.add("mnist", "distgan.data.sources.mnist:Mnist")
SOURCES.add("folder", "distgan.data.sources.folder:Folder")
SOURCES.add("zip", "distgan.data.sources.zip_file:Zip")
SOURCES.add("hf", "distgan.data.sources.hub:Hf")
SOURCES.add("npz", "distgan.data.sources.npz:Npz")
SOURCES.add("webdataset", "distgan.data.sources.webdataset:WebDataset")

NEED_INPUT = ("folder", "zip", "webdataset", "hf", "npz")  # sources whose input has to be named

EXTRACTORS = Registry(
    kind="extractor",
    key="evaluate.extractor",
    group="distgan.extractors",
    contract=contracts.EXTRACTOR,
)
EXTRACTORS.add("efficientnet_lite0", "distgan.metrics.extractors.efficientnet:load")
EXTRACTORS.add("classifier", "distgan.metrics.extractors.classifier:load")
EXTRACTORS.add("inception", "distgan.metrics.extractors.inception:load")
EXTRACTORS.add("none", "distgan.metrics.extractors.base:no_extractor")

METRICS = Registry(
    kind="metric",
    key="evaluate.metrics",
    group="distgan.metrics",
    contract=contracts.METRIC,
    needs=("better",),
    own_chosen=False,
)
for _name in (
    "fd", "kd", "is", "precision", "recall", "density", "coverage", "class_accuracy", "classes", "memorised",
):  # fmt: skip
    METRICS.add(_name, f"distgan.metrics.distances:{_name.upper()}")


class WandbTracker(Frozen):
    """Weights & Biases: its settings are the section `wandb`."""

    name: Literal["wandb"] = "wandb"


class TensorBoardTracker(Frozen):
    """TensorBoard's files, in RUN/tensorboard."""

    name: Literal["tensorboard"] = "tensorboard"


class TrackioTracker(Frozen):
    """Trackio; TRACKIO_DIR, TRACKIO_SPACE_ID and TRACKIO_SERVER_URL say where its database is."""

    name: Literal["trackio"] = "trackio"
    project: str = "distgan"
    """Trackio's project."""


TRACKERS = Registry(
    kind="tracker",
    key="log.to",
    group="distgan.trackers",
    contract=contracts.TRACKER,
    needs=("log", "scores", "samples", "event", "rewind", "artifact", "page", "finish"),
)
TRACKERS.add("wandb", "distgan.training.tracking.wandb_run:WandbRun", WandbTracker)
TRACKERS.add("tensorboard", "distgan.training.tracking.tensorboard_run:TensorBoardRun", TensorBoardTracker)
TRACKERS.add("trackio", "distgan.training.tracking.trackio_run:TrackioRun", TrackioTracker)

CONTROLLERS = Registry(
    kind="controller",
    key="controllers",
    group="distgan.controllers",
    contract=contracts.CONTROLLER,
    needs=("watches", "every_steps", "act", "state", "load_state"),
    own_chosen=False,
)
CONTROLLERS.add("balance", "distgan.training.controllers.balance:BalanceController")
CONTROLLERS.add("augment", "distgan.training.controllers.ada:build_ada")

if TYPE_CHECKING:

    class Chosen(Frozen):
        """One section of a list."""

        name: str
        options: dict[str, Any]

    Metrics = tuple[Chosen, ...]
    Trackers = tuple[Chosen, ...]
    Controllers = tuple[Chosen, ...]
else:
    Metrics = METRICS.sections("Metric")
    Trackers = TRACKERS.sections("Tracker")
    Controllers = CONTROLLERS.sections("Controller")
