from __future__ import annotations

import pytest
import torch

from distgan.training.checkpoint.storage import State
from distgan.training.meters import RunningMeans
from distgan.utils.errors import CheckpointError

CPU = torch.device("cpu")


def scalars(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def add(means: RunningMeans, steps: range) -> None:
    for step in steps:
        means.add(scalars(loss=0.1 * step, accuracy=step / 3))
        if step % 4 == 0:
            means.add(scalars(penalty=1.7 * step))


@pytest.mark.parametrize("cut", [0, 3, 5, 10])
def test_means_that_went_through_a_checkpoint_are_those_that_did_not_to_the_last_bit(cut):
    whole, first, second = RunningMeans(), RunningMeans(), RunningMeans()
    add(whole, range(10))
    add(first, range(cut))
    second.restore(first.state(), CPU)
    add(second, range(cut, 10))
    assert second.reduce() == whole.reduce()
    assert second.reduce() == {}


def test_a_checkpoint_without_means_gives_none():
    means = RunningMeans()
    add(means, range(3))
    means.restore(State({}, {}), CPU)
    assert means.reduce() == {}


def test_of_another_number_of_ranks_each_takes_the_mean_of_their_sums():
    means = RunningMeans()
    rows = torch.tensor([[2.0], [6.0]], dtype=torch.float64)
    means.restore(State({"means/0": rows}, {"means": [{"names": ["loss"], "times": 2}]}), CPU)
    assert means.reduce() == {"loss": 2.0}


@pytest.mark.parametrize(
    "values",
    [
        {"means": 3},
        {"means": {"names": 1}},
        {"means": [{"names": ["loss"], "times": -1}]},
        {"means": [{"names": ["loss"], "times": 1.5}]},
        {"means": [{"names": ["loss", "more"], "times": 1}]},
        {"means": [{"names": ["loss"]}]},
        {"means": [{"names": ["loss"], "times": 1}, {"names": ["absent"], "times": 1}]},
    ],
)
def test_damaged_means_are_a_sentence(values):
    with pytest.raises(CheckpointError, match="^the checkpoint is damaged: means of metrics: "):
        RunningMeans().restore(State({"means/0": torch.ones(1, 1)}, values), CPU)


@pytest.mark.parametrize("rows", [torch.tensor(1.0), torch.ones(2, 1, dtype=torch.int64), torch.ones(1, 1, 1)])
def test_sums_of_another_form_are_a_sentence(rows):
    with pytest.raises(CheckpointError):
        RunningMeans().restore(State({"means/0": rows}, {"means": [{"names": ["loss"], "times": 1}]}), CPU)


def test_restored_sums_are_all_on_the_device_of_the_metrics_before_any_is_added():
    """A lazy penalty's steps may all be before the checkpoint; the meta device stands for a GPU."""
    first, second = RunningMeans(), RunningMeans()
    add(first, range(5))
    second.restore(first.state(), torch.device("meta"))
    assert {tensor.device.type for tensor in second.state().tensors.values()} == {"meta"}
