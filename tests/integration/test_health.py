"""Faults planted in real trainers: ranks out of step, bad numbers, disks that do not take a checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from distgan import load_generator
from distgan.training.checkpoint import storage
from tests.support import warm
from tests.support.processes import TORCHRUN, run

pytestmark = pytest.mark.slow
PLANTED = "tests/support/faulty_trainer.py"


def plant(processes, fault, overrides):
    code, output = warm.train(overrides, processes, fault)
    assert "Error" not in output, output
    return code, output


def events(directory: Path):
    return [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]


def images_logged(directory: Path):
    return [json.loads(line)["images"] for line in (directory / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("fault", "every", "sentence", "saved"),
    [
        ("another_seed", 4, "at step 4 rank 1 holds another seed (random numbers) than rank 0", []),
        ("skipped_all_reduce", 50, "at step 15 rank 1 holds another d/layers.0.weight, ", [5, 10]),
        ("batch_norm_buffer", 4, "at step 4 rank 1 holds another g/normal.running_mean, ", []),
        ("equal_latents", 4, "at step 4 ranks 0 and 1 got the same latents", []),
        ("equal_images", 4, "at step 6 ranks 0 and 1 got the same images", [5]),  # surely at the third check
    ],
)
def test_the_guard_names_rank_and_tensor_before_a_checkpoint_is_spoilt(tiny, tmp_path, fault, every, sentence, saved):
    code, output = plant(2, fault, tiny(f"guard.every_steps={every}"))
    assert code == 3, output
    assert output.count(sentence) == 1, output
    assert storage.steps(tmp_path / "quickstart" / "checkpoints") == saved


def test_a_rank_with_another_recipe_does_not_begin(tiny, tmp_path):
    script = f'exec {sys.executable} distgan/train.py "$@" optimizer.generator.lr=0.0$((RANK + 1))'
    code, output = run([*TORCHRUN, "2", "--no-python", "bash", "-c", script, "_", *tiny()])
    assert code != 0
    sentence = "rank 1 was started with another configuration than rank 0: optimizer.generator.lr: 0.01 -> 0.02"
    assert output.count(sentence) == 1, output
    script = f'exec {sys.executable} distgan/train.py "$@" log.every_steps=$((RANK + 2)) data.workers=$RANK'
    code, output = run([*TORCHRUN, "2", "--no-python", "bash", "-c", script, "_", *tiny()])
    assert "rank 1 was started with another configuration than rank 0: log.every_steps: 2 -> 3\n" in output, code


@pytest.mark.parametrize("processes", [1, 2])
def test_after_nan_all_ranks_go_back_and_train_on_with_half_the_learning_rates(tiny, tmp_path, processes):
    code, output = plant(processes, "nan_once", tiny())
    assert code == 0, output
    assert output.count("back to step 10 with 0.5 times the learning rates (rollback 1 of at most 3)") == 1
    assert images_logged(tmp_path / "quickstart") == [60, 120, 180, 240]
    last = storage.load(tmp_path / "quickstart" / "checkpoints" / "step-000000020")
    assert last[1]["lr_scale"] == 0.5
    assert last[1]["watchdog"]["rollbacks"] == 1
    assert all(tensor.isfinite().all() for tensor in last[0].values())
    assert [(event["event"], event["images"]) for event in events(tmp_path / "quickstart")] == [
        ("nonfinite", 120),
        ("end", 240),
    ]
    rows = [json.loads(line) for line in (tmp_path / "quickstart" / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("lr/g") for row in rows] == [None, None, 2e-4, 2e-4], "at first it is the configured number"


def test_nan_on_one_rank_rolls_all_ranks_back_together(tiny, tmp_path):
    overrides = tiny("guard.every_steps=null", "checkpoint.every_steps=10")
    code, output = plant(2, "nan_on_one_rank", overrides)
    assert code == 0, output
    assert output.count("back to step 10 with 0.5 times") == 1
    assert storage.steps(tmp_path / "quickstart" / "checkpoints") == [10, 20]


def test_an_export_that_fails_is_one_sentence_and_no_rank_accuses_another(tiny, tmp_path):
    code, output = plant(2, "export_fails", tiny())
    assert code == 2, output
    assert "does not answer" not in output
    assert storage.steps(tmp_path / "quickstart" / "checkpoints")[-1] == 20
    code, output = warm.train(tiny())
    assert code == 0, output
    assert load_generator(tmp_path / "quickstart" / "generator.safetensors").images_seen == 240


def test_the_rolled_back_training_does_not_depend_on_the_number_of_processes(tiny, tmp_path):
    states = []
    for number, processes in enumerate((1, 2)):
        code, output = plant(processes, "nan_once", tiny(f"run.name=r{number}"))
        assert code == 0, output
        states.append(storage.load(tmp_path / f"r{number}" / "checkpoints" / "step-000000020")[0])
    for name, tensor in states[0].items():
        if name != "window":
            assert (tensor - states[1][name]).norm() <= 1e-3 * tensor.norm(), name


def test_a_killed_run_keeps_the_lower_learning_rate_and_the_count_of_rollbacks(tiny, tmp_path):
    assert plant(1, "nan_always", tiny())[0] == 4
    code, output = warm.train(tiny())
    assert code == 0, output
    assert "resumed from" in output
    values = storage.load(tmp_path / "quickstart" / "checkpoints" / "step-000000020")[1]
    assert (values["lr_scale"], values["watchdog"]["rollbacks"]) == (0.125, 3)


def test_rollbacks_are_bounded_and_then_training_ends_with_code_4_and_the_good_checkpoints(tiny, tmp_path):
    code, output = plant(1, "nan_always", tiny("watchdog.max_rollbacks=2"))
    assert code == 4
    assert output.count("rollback ") >= 2
    assert "after 2 rollback(s) training ends here (watchdog.max_rollbacks)" in output
    assert storage.steps(tmp_path / "quickstart" / "checkpoints") == [5, 10]
    assert not (tmp_path / "quickstart" / "generator.safetensors").exists()


def test_nan_before_the_first_checkpoint_goes_back_to_the_beginning(tiny, tmp_path):
    code, output = plant(2, "nan_once", tiny("checkpoint.every_steps=50"))
    assert code == 0, output
    assert "back to step 0 with 0.5 times" in output
    assert storage.steps(tmp_path / "quickstart" / "checkpoints") == [0, 20]


@pytest.mark.parametrize("how", ["off", "warn"])
def test_nan_weights_are_never_saved_nor_exported_whatever_the_reaction(tiny, tmp_path, how):
    code, output = plant(1, "nan_in_the_last_step", tiny(f"watchdog.nonfinite={how}"))
    assert code == 4
    assert "the weights are NaN or infinite: the last checkpoint is from before, nothing is exported" in output
    assert ("WARNING: step 20: loss/d is nan" in output) == (how == "warn")
    assert storage.steps(tmp_path / "quickstart" / "checkpoints") == [10, 15]
    assert not (tmp_path / "quickstart" / "generator.safetensors").exists()


def test_exploding_gradients_are_a_wandb_alert(tiny, tmp_path):
    overrides = [override for override in tiny("train.images=480") if not override.startswith("wandb.")]
    code, output = run([sys.executable, PLANTED, "exploding", *overrides], PYTHONPATH=".", WANDB_MODE="offline")
    assert code == 0, output
    assert "Error" not in output, output
    assert output.count("WARNING: step 35: grad_norm/g") == 1
    (piece,) = (tmp_path / "quickstart" / "wandb").glob("offline-run-*")
    records = subprocess.run(
        [Path(sys.executable).parent / "wandb", "leet", "inspect", "--json", piece], capture_output=True, text=True
    ).stdout
    assert '"alert"' in records
    assert "times the usual" in records


def test_a_collapse_can_end_training(tiny):
    code, output = plant(2, "collapse", tiny("watchdog.diversity_low=0.001", "watchdog.collapse=stop"))
    assert code == 4, output
    assert output.count("step 20: the generator's images are alike: diversity 0.000") == 1


def test_a_collapse_can_be_rolled_back(tiny, tmp_path):
    overrides = tiny("watchdog.diversity_low=0.001", "watchdog.collapse=rollback", "watchdog.max_rollbacks=1")
    code, output = plant(1, "collapse", overrides)
    assert code == 4
    assert "back to step 10 with 0.5 times the learning rates" in output
    assert storage.steps(tmp_path / "quickstart" / "checkpoints")[0] == 10


@pytest.mark.parametrize("processes", [1, 2])
def test_a_full_disk_is_said_and_tried_again(tiny, tmp_path, processes):
    code, output = plant(processes, "disk_full", tiny())
    assert code == 0, output
    assert output.count("No space left on device; older checkpoints are untouched; training goes on") == 2
    assert storage.steps(tmp_path / "quickstart" / "checkpoints") == [10, 20]
    assert [event["event"] for event in events(tmp_path / "quickstart")] == ["checkpoint"] * 2 + ["end"]


def test_a_disk_that_stays_full_ends_training_only_by_the_rule(tiny, tmp_path):
    code, output = plant(2, "disk_full_for_good", tiny("checkpoint.max_failures=2", "train.images=1200"))
    assert code == 4, output
    assert "2 checkpoint(s) in a row could not be written (checkpoint.max_failures)" in output
    code, output = plant(2, "disk_full_for_good", tiny("checkpoint.retry_minutes=0.05", "run.name=other"))
    assert code == 2, output
    assert "it is tried again every 10 s for 0.05 minutes" in output


def test_a_slow_disk_does_not_stall_training_and_the_last_checkpoint_is_waited_for(tiny, tmp_path):
    code, output = plant(2, "disk_slow", tiny())
    assert code == 0, output
    assert "the checkpoint of step 5 is still being written after" in output
    assert "that of step 10 is left out" in output
    assert storage.steps(tmp_path / "quickstart" / "checkpoints")[-1] == 20
    assert load_generator(tmp_path / "quickstart" / "generator.safetensors").images_seen == 240
