# ruff: noqa: E501
"""Checkpoints and run directories that a stranger made: forged, with checksums that fit, and with links."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from random import Random

import pytest
import safetensors
from packaging.version import Version

from distgan.training.checkpoint import storage
from distgan.training.run_dir import locked, run_id_of
from distgan.training.tracking.tracker import MetricsFile, read_metrics
from distgan.utils.errors import CheckpointError, DistganError, LaunchError
from tests.fuzz import mutations, targets

STEP = Path("checkpoints/step-000000001")


def forge_values(place, change):
    path = place / STEP / "state.json"
    values = json.loads(path.read_text())
    path.write_text(mutations.dumps(Random(1), change(values)))
    targets.rehash(place / STEP)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        '"x"',
        "null",
        "NaN",
        "[" * 100_000,
        '{"a":' * 5000,
        "9" * 5000,
        '"\\ud800"',
        "{}",
        "\xff",
        '{"g": 1, "d": []}',
    ],
)
def test_a_state_of_another_shape_with_the_right_checksum(attack, text):
    def change(place):
        (place / STEP / "state.json").write_text(text, encoding="latin1")
        targets.rehash(place / STEP)

    assert attack("checkpoints", change).sentence


ODD = [
    None,
    True,
    -1,
    1.5,
    10**400,
    float("inf"),
    float("nan"),
    "x",
    "9" * 5000,
    [],
    {},
    [[]],
    {"updates": "1"},
    mutations.DEEP,
]


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(
    "key", ["config", "g", "d", "window_steps", "balance_level", "lr_scale", "data_digest", "run_id", "precision", "processes",
            "size", "class_names"]
)  # fmt: skip
def test_a_state_with_another_value_is_refused_or_harmless(good, tmp_path, key, value):
    place = tmp_path / "in"
    shutil.copytree(good("checkpoints"), place)
    forge_values(place, lambda values: values | {key: value})
    outcome = targets.judge(lambda: targets.read_checkpoint(place))
    assert not outcome.finding, outcome
    told_only = "precision", "processes"  # beside what they are now
    assert outcome.sentence or key in (
        "lr_scale", "data_digest", "run_id", "window_steps", "balance_level", *told_only,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["optimizer_g/dense.weight/exp_avg", "window", "g/dense.weight", "ema/dense.weight"])
@pytest.mark.parametrize("how", ["gone", "other shape", "no dimension", "bool", "complex", "another name"])
def test_tensors_of_another_shape_or_type_are_refused_or_converted(good, tmp_path, name, how):
    import torch

    if how == "complex" and Version(safetensors.__version__) < Version("0.7"):
        pytest.skip("safetensors before 0.7 writes no complex numbers")
    tensors, values = storage.load(good("checkpoints") / STEP)
    tensor = tensors.pop(name)
    changed = {
        "other shape": tensor.flatten()[:3].clone(),
        "no dimension": torch.zeros(()),
        "bool": tensor.bool(),
        "complex": tensor.to(torch.complex64),
        "another name": tensor,
    }
    if how != "gone":
        tensors[f"{name}/evil/\x1b[2J" if how == "another name" else name] = changed[how]
    storage.save(tmp_path / "checkpoints", 1, tensors, values)
    outcome = targets.judge(lambda: targets.read_checkpoint(tmp_path))
    assert not outcome.finding, outcome
    assert outcome.sentence or how in ("bool", "complex")


@pytest.mark.parametrize(
    "manifest",
    [
        {"format_version": 1, "files": {"../../outside/precious": "x"}},
        {"format_version": 1, "files": {"/etc/passwd": "x", "state.json": "x"}},
        {"format_version": 1, "files": [["a", "b", "c"]]},
        {"format_version": "\x1b[2J" * 1000, "files": {}},
        {"format_version": 10**400, "files": {}},
        {"format_version": 1, "files": mutations.DEEP},
    ],
)
def test_a_manifest_that_names_other_files_is_refused_and_they_are_not_read(attack, manifest):
    text = mutations.dumps(Random(1), manifest)
    assert attack("checkpoints", lambda place: (place / STEP / "manifest.json").write_text(text)).sentence


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "state.safetensors"])
@pytest.mark.parametrize("what", ["fifo", "/dev/zero", "huge"])
def test_a_file_without_end_is_refused(attack, name, what):
    def change(place):
        path = place / STEP / name
        path.unlink()
        if what == "fifo":
            os.mkfifo(path)
        elif what == "huge":
            with path.open("wb") as file:
                file.truncate(1 << 32 if name != "state.safetensors" else 1 << 28)
        else:
            path.symlink_to(what)

    assert attack("checkpoints", change).sentence


def test_saving_and_removing_do_not_follow_links_out_of_the_directory(tmp_path):
    import torch

    outside, place = tmp_path / "outside", tmp_path / "checkpoints"
    outside.mkdir()
    place.mkdir()
    (outside / "state.json").write_text("precious")
    for name in (
        ".step-000000001.tmp",
        "step-000000001",
        "step-000000002",
        ".step-000000003.old",
        ".step-000000001.replaced",
    ):
        (place / name).symlink_to(outside)
    before = targets.tree(outside)
    for step in (1, 3):
        with contextlib.suppress(CheckpointError):
            storage.save(place, step, {"a": torch.zeros(1)}, {})
    storage.rotate(place, 10**9, 1, None, 10**9)
    storage.discard(place, 0)
    storage.sweep(place)
    storage.newest(place, print)
    assert targets.tree(outside) == before


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl", "events.jsonl", "samples", "checkpoints", "wandb"])
@pytest.mark.parametrize("kind", ["link", "link to nothing", "fifo"])
def test_a_run_does_not_write_through_links(tmp_path, name, kind):
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    is_folder = name in ("samples", "checkpoints", "wandb")
    outside.mkdir()
    target = outside if is_folder else outside / "precious"
    if kind == "fifo":
        os.mkfifo(run / name)
    else:
        if kind == "link" and not is_folder:
            target.write_text("untouched")
        (run / name).symlink_to(target if kind == "link" else outside / "new")
    before = targets.tree(outside)
    with pytest.raises(LaunchError, match=f"{name} is a link, or not what a run has there"):
        with locked(run):
            pass
    assert targets.tree(outside) == before


@pytest.mark.parametrize(
    "text",
    [
        '{"wandb_id": "../../x"}',
        '{"wandb_id": "\\u001b[2J"}',
        '{"wandb_id": 1}',
        "[]",
        "[" * 10_000,
        '{"wandb_id": "a/b"}',
    ],
)
def test_a_wandb_id_is_letters_and_digits(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    assert run_id_of(tmp_path, None).isalnum()
    (tmp_path / "run.json").write_text('{"wandb_id": "abc-D_1"}')
    assert run_id_of(tmp_path, None) == "abc-D_1"


def test_lines_of_metrics_that_are_no_metrics_are_left_out(tmp_path):
    lines = ['{"images": 1, "x": 1}', '{"images": 2, "x": NaN}', '{"images": 2, "x": 1e999}', "[" * 5000, "9" * 5000, "\x1b[2J",
             '{"images": Infinity}', '{"images": 1' + "0" * 400 + "}", '{"images": 3, "x": 1' + "0" * 400 + "}", "x" * (3 << 20),
             '{"images": "9"}', '{"images": null}', '{"images": 4, "x": {"y": [1]}}', '{"images": 5, "x": "text"}']  # fmt: skip
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(lines) + "\n")
    assert [row["images"] for row in read_metrics(path)] == [1, 4, 5]
    MetricsFile(path, 10).close()
    assert [row["images"] for row in read_metrics(path)] == [1, 4, 5]


def test_what_a_lock_says_is_shown_without_control_characters(tmp_path):
    import subprocess
    import sys

    script = f"import fcntl; f = open({str(tmp_path / '.lock')!r}, 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    (tmp_path / ".lock").write_text("\x1b[2J" + "x" * 10_000)
    with pytest.raises(DistganError, match="another training") as caught, locked(tmp_path):
        pass
    holder.communicate(b"\n")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
