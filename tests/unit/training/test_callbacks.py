"""The caller's code in a training of one process: what it is shown, how it stops, what its errors do."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import distgan
from distgan.inference.generator_file import read_generator
from distgan.training.callbacks import EVENTS
from distgan.training.checkpoint import storage
from distgan.utils.errors import CallbackError, ConfigError
from tests.support.config import SHAPES_SCORED


class Recorder(distgan.Callback):
    """Keeps what it is shown."""

    def __init__(self):
        self.seen = {event: [] for event in EVENTS}


for name in EVENTS:
    setattr(Recorder, name, lambda self, state, event=name: self.seen[event].append(state))


class StopsAt(distgan.Callback):
    def __init__(self, step, event="on_step"):
        self.step = step

    def on_step(self, state):
        if state.step == self.step:
            state.stop()


class Fails(distgan.Callback):
    """Raises in one event."""

    def __init__(self, event, error):
        self.event, self.error, self.calls = event, error, 0

    def fail(self, event):
        self.calls += 1
        if event == self.event:
            raise self.error


for name in EVENTS:
    setattr(Fails, name, lambda self, _state, event=name: self.fail(event))


def test_every_event_is_told_with_what_it_is_about(tiny_config, tmp_path):
    config = tiny_config(*SHAPES_SCORED, "checkpoint.every_steps=10")
    recorder = Recorder()
    result = distgan.fit(config, [recorder])
    seen = recorder.seen
    assert [state.step for state in seen["on_step"]] == list(range(1, 21))
    assert [state.images_seen for state in seen["on_step"]] == list(range(12, 241, 12))
    assert all(isinstance(value, torch.Tensor) for value in seen["on_step"][0].metrics.values())
    assert [state.step for state in seen["on_log"]] == [5, 10, 15, 20]
    assert all(isinstance(value, (float, int)) for value in seen["on_log"][0].metrics.values())
    assert [state.images.shape for state in seen["on_images"]] == [(4, 3, 32, 32)] * len(seen["on_images"])
    assert [state.step for state in seen["on_images"]] == [0, 1, 2, 5, 10, 20]
    assert [state.checkpoint.name for state in seen["on_checkpoint"]][-2:] == ["step-000000010", "step-000000020"]
    assert [state.scores.images_seen for state in seen["on_evaluation"]] == [60, 120, 180, 240]
    (end,) = seen["on_end"]
    assert (end.reason, end.scores, end.run_dir) == ("budget", result.scores, result.run_dir)
    assert {(state.rank, state.processes) for states in seen.values() for state in states} == {(0, 1)}


def test_a_state_can_be_kept_but_not_changed(tiny_config):
    recorder = Recorder()
    distgan.fit(tiny_config("train.images=24"), [recorder])
    state = recorder.seen["on_step"][0]
    with pytest.raises(AttributeError):
        state.step = 5
    with pytest.raises(TypeError):
        state.metrics["loss/g"] = 0


def test_a_generator_that_a_callback_takes_stays_as_it_was_and_changes_nothing(tiny_config):
    taken = []

    class Takes(distgan.Callback):
        def on_log(self, state):
            taken.append(state.generator())
            for weight in taken[-1].network.parameters():
                weight.data.zero_()

    result = distgan.fit(tiny_config("run.name=a"), [Takes()])
    alone = distgan.fit(tiny_config("run.name=b"))
    assert [each.images_seen for each in taken] == [60, 120, 180, 240]
    assert len({each.weight_digest for each in taken}) == 4
    assert taken[-1].weight_digest == result.generator.weight_digest == alone.generator.weight_digest


def test_a_callback_that_draws_random_numbers_changes_no_weight(tiny_config):
    class Draws(distgan.Callback):
        def on_step(self, state):
            torch.manual_seed(state.step), torch.randn(7)
            np.random.seed(state.step), np.random.rand(7)
            random.seed(state.step), random.random()
            state.generator().sample(range(2))

    for name, callbacks in (("a", [Draws()]), ("b", [])):
        distgan.fit(tiny_config(f"run.name={name}"), callbacks)
    states = [storage.load(tiny_config(f"run.name={name}").run_dir / "checkpoints" / "step-000000020") for name in "ab"]
    assert states[0].tensors.keys() == states[1].tensors.keys()
    assert all(torch.equal(tensor, states[1].tensors[name]) for name, tensor in states[0].tensors.items())


def test_a_wish_to_stop_ends_training_in_full_and_the_next_call_goes_on(tiny_config):
    config = tiny_config(*SHAPES_SCORED)
    result = distgan.fit(config, [StopsAt(7)])
    assert (result.reason, result.generator.images_seen, result.scores.images_seen) == ("callback", 84, 84)
    assert (result.run_dir / "report.html").is_file()
    whole = distgan.fit(config)
    assert (whole.reason, whole.generator.images_seen) == ("budget", 240)
    assert whole.generator.weight_digest == distgan.fit(tiny_config("run.name=other")).generator.weight_digest


@pytest.mark.parametrize(
    ("event", "error"),
    [
        *((event, ValueError("too\nbad")) for event in EVENTS),
        ("on_step", SystemExit(3)),
        ("on_log", KeyboardInterrupt()),
    ],
)
def test_an_exception_ends_training_saves_and_names_the_callback(event, error, tiny_config):
    config = tiny_config(*SHAPES_SCORED, "train.images=96", "log.samples_every_steps=3")
    sentence = f"^Fails.{event} failed on rank 0 at step [0-9]+: {type(error).__name__}"
    with pytest.raises(CallbackError, match=sentence) as raised:
        distgan.fit(config, [Fails(event, error)])
    assert "all steps are saved in" in str(raised.value)
    assert raised.value.__cause__ is error
    step = int(storage.newest(config.run_dir / "checkpoints", print).name.removeprefix("step-"))
    described = read_generator(config.run_dir / "generator.safetensors")[1]
    assert described.images_seen == 12 * step
    assert step < 8 or event in ("on_checkpoint", "on_end")
    assert distgan.fit(config).reason == "budget"


def test_after_a_failure_no_callback_is_called_any_more(tiny_config):
    first, second = Fails("on_step", ValueError("x")), Recorder()
    with pytest.raises(CallbackError):
        distgan.fit(tiny_config(), [first, second])
    assert first.calls == 2  # the samples before the first step, then the step
    assert [event for event, states in second.seen.items() if states] == ["on_images"]  # before the first step


def test_what_is_no_callback_is_refused_before_anything_begins(tiny_config):
    config = tiny_config()
    with pytest.raises(ConfigError, match=r"callbacks\[1\]=.*Recorder.* is no distgan.Callback: .*; add \(\)"):
        distgan.fit(config, [Recorder(), Recorder])
    with pytest.raises(ConfigError, match=r"callbacks\[0\]=<built-in function print>"):
        distgan.fit(config, [print])
    assert not config.run_dir.exists()
