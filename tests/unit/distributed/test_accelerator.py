"""How the processes are wired: precision, refusals, rows, the agreed stop. Real processes: tests/integration."""

from __future__ import annotations

import os
import pickle

import pytest
from torch import nn

from distgan.distributed.accelerator import (
    batch_rows,
    bucket_size,
    build_accelerator,
    choose_precision,
    cpu_share,
    overruled,
)
from distgan.distributed.launcher import check_launcher
from distgan.utils.errors import ConfigError, LaunchError, Stopped
from distgan.utils.rng import Rows
from tests.unit.training.test_trainer import build


@pytest.mark.parametrize(
    ("wanted", "launcher", "gpu", "expected"),
    [
        ("auto", None, False, "no"),
        ("auto", "no", False, "no"),
        ("bf16", "no", False, "bf16"),
        ("bf16", None, False, "bf16"),
        ("no", "bf16", False, "bf16"),
        ("auto", "bf16", False, "bf16"),
        ("no", "fp16", True, "fp16"),
        ("fp16", "no", True, "fp16"),
    ],
)
def test_the_launcher_s_precision_wins_unless_it_is_no_which_looks_like_silence(wanted, launcher, gpu, expected):
    precision, why = choose_precision(wanted, launcher, gpu)
    assert precision == expected
    assert ("launcher" in why) == (launcher in ("fp16", "bf16"))


def test_fp16_without_a_gpu_is_refused_because_it_would_silently_be_fp32():
    for wanted, launcher in (("fp16", None), ("auto", "fp16")):
        with pytest.raises(ConfigError, match="fp16 needs a GPU .* use bf16 or no"):
            choose_precision(wanted, launcher, gpu=False)


def test_a_precision_that_distgan_does_not_know_is_named():
    with pytest.raises(ConfigError, match="--mixed_precision fp8 is not supported; use no, fp16 or bf16"):
        choose_precision("auto", "fp8", gpu=True)


def test_the_configuration_decides_about_compilation_and_accumulation_and_the_launcher_s_options_are_named(
    tiny_config, monkeypatch
):
    settings = tiny_config().train
    accumulation = "the launcher's gradient_accumulation_steps 4 has no effect: train.accumulation=1 decides"
    dynamo = "the launcher's dynamo backend inductor has no effect: train.compile=auto decides"
    assert overruled(settings, {"ACCELERATE_DYNAMO_BACKEND": "no"}, []) == []
    assert overruled(settings, {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1"}, ["accelerate", "launch"]) == []
    assert overruled(settings, {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, []) == [dynamo]
    assert overruled(settings, {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, []) == [accumulation]
    for option in (["--gradient_accumulation_steps", "4"], ["--gradient-accumulation-steps=4"]):
        assert overruled(settings, {}, ["python", "accelerate", "launch", *option, "train.py"]) == [accumulation]
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "inductor")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "four")
    trainer = build(tiny_config("loss.r1_gamma=1"))
    assert not hasattr(trainer.d.wrapped, "_orig_mod")
    assert trainer.accelerator.gradient_accumulation_steps == 1
    assert trainer.accelerator.state.dynamo_plugin.backend == "NO"


@pytest.mark.parametrize(
    ("variable", "engine"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")]
)
def test_engines_for_one_model_are_refused_with_what_to_use_instead(variable, engine, tiny_config):
    with pytest.raises(LaunchError, match=f"{engine} shards one model, a GAN has two: launch without it"):
        build_accelerator(tiny_config().train, {variable: "true"})
    check_launcher({variable: "false"})


def test_ranks_rows_cut_the_batch_without_overlap():
    assert [batch_rows(24, 3, rank, 4) for rank in range(4)] == [Rows(6 * r, 6 * r + 6, 24) for r in range(4)]


def test_a_batch_that_cannot_be_cut_evenly_names_the_rule_and_the_nearest_valid_sizes():
    with pytest.raises(ConfigError, match=r"train.batch_size=20 is not a .* = 4 \* 2 = 8; nearest valid: 16 or 24"):
        batch_rows(20, 2, 0, 4)
    with pytest.raises(ConfigError, match="nearest valid: 8$"):
        batch_rows(3, 2, 0, 4)


def test_cores_are_shared_out_among_the_processes_of_a_machine():
    cores = len(os.sched_getaffinity(0))
    assert cpu_share({}) == cores
    assert cpu_share({"LOCAL_WORLD_SIZE": str(cores)}) == 1
    assert cpu_share({"LOCAL_WORLD_SIZE": str(10 * cores)}) == 1
    for nonsense in ("", "0", "two"):
        assert cpu_share({"LOCAL_WORLD_SIZE": nonsense}) == cores


@pytest.mark.parametrize(
    ("megabytes", "gpu", "bucket"), [(2, False, 1), (8, False, 1), (32, False, 4), (400, False, 25), (32, True, 25)]
)
def test_gradients_travel_by_eighths_of_a_network_of_one_mib_at_least_and_25_at_most(megabytes, gpu, bucket):
    assert bucket_size(nn.Linear(2**18, megabytes, bias=False, device="meta"), gpu) == bucket


def test_a_stop_that_reaches_the_other_processes_is_still_a_stop():
    stop = pickle.loads(pickle.dumps(Stopped("stopped by SIGTERM", 15)))
    assert (str(stop), stop.exit_code, stop.signum) == ("stopped by SIGTERM", 143, 15)


def test_slurm_s_tasks_share_the_cores_unless_each_is_bound_to_its_own(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert cpu_share({"SLURM_STEP_TASKS_PER_NODE": "4(x2),1"}) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert cpu_share({"SLURM_STEP_TASKS_PER_NODE": "4(x2),1"}) == 3
