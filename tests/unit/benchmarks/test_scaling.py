"""The model of benchmarks/scaling: closed forms, and counts that can be made by hand."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import nn

from benchmarks.scaling import __main__ as scaling
from benchmarks.scaling import model
from benchmarks.scaling.model import Cluster, Compute, Link, Prediction, Traffic
from distgan.config.load import load_config

WIRE = Link(bandwidth=1e6, latency=0.0)
NOTHING = Link(bandwidth=math.inf, latency=0.0)


def prediction(compute: Compute, between: Link = WIRE, per_node: int = 1, batch: int = 64) -> Prediction:
    return Prediction(Traffic(1_000_000, 0, 0, 2), compute, batch, batch, per_node, NOTHING, between)


def test_one_gpu_waits_for_nobody():
    slow = Link(bandwidth=1.0, latency=10.0)
    assert model.communication(Traffic(10**9, 10**6, 8, 100), Cluster(1, 1, slow, slow)) == 0
    made = prediction(Compute(0.1, 0.01), slow)
    assert made.weak(1) == made.strong(1) == 1


def test_links_without_bounds_make_any_number_of_gpus_fully_efficient():
    made = prediction(Compute(0.0, 0.01), NOTHING, per_node=8)
    assert [made.weak(gpus) for gpus in (8, 64, 512)] == [1, 1, 1]
    assert made.strong(64) == 1
    assert model.stops_at(made.weak) is None


def test_two_hosts_take_the_bytes_by_the_bandwidth():
    assert model.ring(3e6, 2, WIRE) == 3.0


def test_many_hosts_take_twice_that_and_two_messages_for_each():
    assert model.ring(3e6, 10**6, WIRE) == pytest.approx(6.0, rel=1e-5)
    assert model.ring(0, 5, Link(1e6, 0.25)) == 2 * 4 * 0.25


def test_what_waits_pays_the_latency_each_time_and_the_bytes_once():
    link = Link(1e6, 0.001)
    assert model.communication(Traffic(1_000_000, 0, 0, 26), Cluster(2, 1, link, link)) == pytest.approx(
        1.0 + 26 * 0.002
    )


def test_gpus_of_one_machine_share_its_way_out():
    alone = model.all_reduce(8e6, Cluster(2, 1, WIRE, WIRE))
    assert model.all_reduce(8e6, Cluster(2, 8, NOTHING, WIRE)) == alone, "the node sends as much as one process would"
    inside = model.ring(8e6, 8, WIRE)
    assert model.all_reduce(8e6, Cluster(2, 8, WIRE, WIRE)) == inside + alone


def test_so_many_gpus_stand_on_as_few_machines_as_hold_them():
    sizes = [model.cluster_of(gpus, 8, WIRE, WIRE)[:2] for gpus in (1, 4, 8, 9, 512)]
    assert sizes == [(1, 1), (1, 4), (1, 8), (2, 8), (64, 8)]


def test_a_line_goes_through_two_measurements_and_through_zero_where_there_is_one():
    assert model.line_through({64: 0.5, 16: 0.2}) == pytest.approx((0.1, 0.00625))
    assert model.line_through({64: 0.5})(32) == 0.25
    assert model.line_through({10: 0.1, 20: 0.3}).fixed == 0, "no step takes less than nothing"


def test_strong_scaling_pays_what_a_step_takes_whatever_its_batch():
    made = prediction(Compute(fixed=0.1, per_image=0.1), NOTHING)
    assert made.strong(64) == pytest.approx(6.5 / 64 / 0.2)
    assert made.strong(128) == 0, "there is not an image for each"


def test_it_stops_where_the_efficiency_is_first_below_80_percent():
    made = prediction(Compute(0.0, 6.0 / 64), batch=64)  # a second between two hosts, at most two between many
    assert made.weak(2) == pytest.approx(6 / 7)
    assert model.stops_at(made.weak) == 8, "2 x 7/8 of a second is more than a quarter of six"


def test_an_average_after_so_many_steps_is_efficient_enough_and_one_less_is_not():
    made = prediction(Compute(0.0, 1.0 / 64))
    steps, alone, waits = made.steps_between_sums(8), 1.0, made.waiting(8)
    assert steps == 7
    assert alone / (alone + waits / steps) >= 0.8 - 1e-12 > alone / (alone + waits / (steps - 1))


def test_both_networks_gradients_are_counted_once_per_update():
    config = load_config("sngan")
    load = model.traffic(config)
    assert load.gradients == pytest.approx(4 * (4.3e6 + 5 * 1.05e6), rel=0.01), "five D updates"
    half = model.traffic(load_config("sngan", ["train.gradient_compression=bf16"]))
    assert (2 * half.gradients, half.statistics) == (load.gradients, load.statistics)
    assert model.traffic(load_config("sngan", ["train.accumulation=4"])).gradients == load.gradients


class Counted:
    """Two ranks' words, counted on one: each all-reduce is a sum with itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from distgan.networks import batch_norm

        self.calls, self.bytes = 0, 0
        monkeypatch.setattr(batch_norm.dist, "all_reduce", self._note)
        monkeypatch.setattr(batch_norm, "_ranks", lambda: 2)

    def _note(self, tensor: torch.Tensor) -> None:
        self.calls += 1
        self.bytes += tensor.numel() * tensor.element_size()
        tensor.mul_(2)


def test_batch_normalisation_sends_what_the_model_says(monkeypatch):
    config = load_config("dcgan")
    from distgan.networks import build_generator

    generator: nn.Module = build_generator(config.generator, 32, 10)
    counted, load = Counted(monkeypatch), model.traffic(config)
    with torch.no_grad():
        generator(torch.randn(2, config.generator.latent_dim), None)  # for D's update
    generator(torch.randn(2, config.generator.latent_dim), None).sum().backward()
    assert (counted.calls, counted.bytes) == (load.waits - 2, load.statistics)


def test_the_command_predicts_and_says_what_it_needs(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scaling.py", "quickstart", "--seconds", "64=0.1", "--seconds", "8=0.05"])
    assert scaling.main() == 0
    out = capsys.readouterr().out
    assert [line.split(" | ")[0] for line in out.splitlines()[2:5]] == ["| 8", "| 64", "| 512"]
    assert "The batch of 16 shared out: below 80% from" in out
    monkeypatch.setattr(sys, "argv", ["scaling.py", "quickstart"])
    with pytest.raises(SystemExit):
        scaling.main()
    assert "--seconds BATCH=SECONDS is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--per-node", "0"], "argument --per-node: '0' must be a whole number, at least 1"),
        (["--per-node", "two"], "argument --per-node: 'two' must be a whole number, at least 1"),
        (["--gpus", "8,x"], "argument --gpus: 'x' must be a whole number, at least 1"),
        (["--gpus", "8,0"], "argument --gpus: '0' must be a whole number, at least 1"),
    ],
)
def test_numbers_of_machines_are_whole_and_at_least_one(capsys, given, said):
    with pytest.raises(SystemExit) as error:
        scaling.parse(["quickstart", "--seconds", "64=0.1", *given])
    assert error.value.code == 2
    assert said in capsys.readouterr().err
