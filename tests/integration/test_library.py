"""Trainings inside a program that goes on: a notebook, a sweep. The process is left as it was found."""

from __future__ import annotations

import logging
import signal
import sys
import threading

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from distgan import train
from distgan.distributed.signals import STOPPING
from distgan.doctor.__main__ import main as doctor

pytestmark = pytest.mark.slow


def process_state() -> list[object]:
    return [
        *(signal.getsignal(signum) for signum in STOPPING),
        *(dict(kept._shared_state) for kept in (AcceleratorState, GradientState, PartialState)),
        *(torch.get_num_threads(), torch.backends.cudnn.benchmark, torch.is_grad_enabled(), torch.get_default_dtype()),
        *(sys.stdout, sys.stderr, list(logging.getLogger("distgan").handlers)),
    ]


@pytest.fixture
def short(tiny):
    return lambda *more: tiny("train.images=24", *more)


def test_trainings_of_different_precisions_follow_each_other_in_one_process(short):
    before = process_state()
    for precision in ("no", "bf16", "no"):
        assert train.main(short(f"run.name={precision}", f"train.precision={precision}", "train.cpu_threads=2")) == 0
        assert process_state() == before


@pytest.mark.parametrize("arguments", [["--print-config"], ["train.images=-1"], ["--config", "nothing"]])
def test_a_command_that_does_not_train_leaves_nothing_behind_either(arguments, capsys):
    before = process_state()
    assert train.main(arguments) in (0, 2)
    assert process_state() == before


def test_a_training_in_a_thread_works(short):
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(train.main(short())))
    thread.start()
    thread.join()
    assert codes == [0]


def test_doctor_in_a_thread_and_twice_leaves_the_process_as_it_was(short, capsys):
    before, codes = process_state(), []
    thread = threading.Thread(target=lambda: codes.append(doctor([*short("train.precision=bf16"), "--quick"])))
    thread.start()
    thread.join()
    codes.append(doctor([*short("train.precision=no"), "--quick"]))
    assert codes == [0, 0]
    assert process_state() == before


@pytest.fixture
def no_accelerator():
    """Nothing is left of the accelerators of other tests in this process, and nothing of this one's."""
    states = (AcceleratorState, GradientState, PartialState)
    for kept in states:
        kept._shared_state.clear()
    yield
    for kept in states:
        kept._shared_state.clear()


def test_an_accelerator_of_the_program_is_neither_used_nor_changed(no_accelerator, short):
    own = Accelerator(cpu=True, mixed_precision="bf16")
    before = process_state()
    assert train.main(short("train.precision=no")) == 0
    assert process_state() == before
    assert own.mixed_precision == "bf16"
