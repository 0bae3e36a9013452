"""The real `distgan doctor`, alone and in two processes: what it says, its exit code, and that it leaves nothing."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.processes import BIN, ROOT, TORCHRUN, run, start, wait_for
from tests.support.shards import make
from tests.support.wandb_server import fake_wandb

pytestmark = pytest.mark.slow
ALONE = (str(BIN / "distgan"), "doctor")
TWO = (*TORCHRUN, "2", "-m", "distgan.doctor")
ACCELERATE = (str(BIN / "accelerate"), "launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0")
KEY = "a" * 40


def examine(command, overrides, scratch, **env):
    """(exit code, output); scratch: where temporary files go, which must be empty afterwards.

    command: a real one, or a number of ranks that begin warm.
    """
    scratch.mkdir(exist_ok=True)
    place = {"TMPDIR": str(scratch), "HF_HOME": str(scratch.parent / "hf"), "no_proxy": "127.0.0.1"}
    if isinstance(command, int):
        code, output = warm.doctor(overrides, command, **place, **env)
    else:
        code, output = run([*command, *overrides], **place, **env)
    left = [path for path in scratch.iterdir() if not path.name.startswith("torchelastic")]
    assert not left, left
    assert f'File "{ROOT}/distgan' not in output, output  # torchrun shows a traceback of its own
    return code, output


def levels(output):
    """{"disk": "ok"}: the gravest level per thing."""
    found = {}
    for line in output.splitlines():
        level, _, rest = line.partition("  ")
        if level.strip() in ("ok", "warn", "FAIL") and ": " in rest:
            what = rest.strip().split(": ")[0]
            found[what] = max(found.get(what, "ok"), level.strip(), key=["ok", "warn", "FAIL"].index)
    return found


def snapshot(place: Path):
    """Every name below, with size and content."""
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(place.rglob("*"))
    }


def test_alone_all_is_well_and_nothing_is_left(tiny, tmp_path):
    before, repository = snapshot(tmp_path), sorted(os.listdir(ROOT))
    code, output = examine(ALONE, tiny(), tmp_path / "scratch")
    assert code == 0, output
    found = levels(output)
    for what in (
        "versions",
        "devices",
        "batch",
        "lock",
        "data",
        "shards",
        "checksums",
        "images",
        "classes",
        "readers",
    ):
        assert found[what] == "ok", output
    for what in ("readers", "resume", "W&B", "dry run", "memory", "timeouts", "disk", "file locks", "estimate"):
        assert found[what] == "ok", output
    assert "FAIL" not in output
    assert {name for name in snapshot(tmp_path) if not name.startswith("hf")} - set(before) <= {"scratch"}
    assert {name for name in os.listdir(ROOT) if name != ".pytest_cache"} <= {*repository, "__pycache__"}


@pytest.mark.parametrize("launcher", [TWO, (*ACCELERATE, "-m", "distgan.doctor")], ids=["torchrun", "accelerate"])
def test_two_processes_look_at_their_wiring_and_one_of_them_speaks(tiny, tmp_path, launcher):
    code, output = examine(launcher, tiny("data.mode=stream"), tmp_path / "scratch")
    assert code == 0, output
    found = levels(output)
    for what in ("wiring", "processes", "clocks", "same recipe", "shared directory", "dry run", "timeouts"):
        assert found[what] == "ok", output
    assert found["network"] in ("ok", "warn")
    assert "2 on 1 machine(s) are connected" in output
    assert output.count("  versions: ") == 1


def test_a_resumed_run_is_not_touched(tiny, tmp_path):
    assert warm.train(tiny("train.images=120")).code == 0
    place = tmp_path / "quickstart"
    before, written = snapshot(place), place.stat().st_mtime_ns
    code, output = examine(1, tiny("--json"), tmp_path / "scratch")
    assert code == 0, output
    found = json.loads(output[output.index("{") : output.rindex("}") + 1])
    assert found["failed"] is False
    resume = next(item for item in found["findings"] if item["what"] == "resume")
    assert resume["text"].startswith(f"training continues from {place}/checkpoints/step-000000010, step 10 of 20")
    assert next(item for item in found["findings"] if item["what"] == "estimate")["text"].startswith("10 steps at ")
    code, output = examine(2, tiny("generator.width=9"), tmp_path / "scratch")
    assert code == 2, output
    assert levels(output)["resume"] == "FAIL"
    assert "generator.width: 8 -> 9" in output
    assert snapshot(place) == before
    assert place.stat().st_mtime_ns == written


def test_a_data_set_that_training_would_make_is_not_made(tiny, tmp_path):
    place = tmp_path / "later"
    code, output = examine(1, tiny(f"data.path={place}", "data.prepare=shapes"), tmp_path / "scratch")
    assert code == 0, output
    assert f"data.prepare=shapes will make {place} when training starts" in output
    assert "400 drawn shapes instead of the images" in output
    assert not place.exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_broken_shard_fails_and_the_other_checks_go_on(tiny, tmp_path, processes):
    make(tmp_path / "own")
    shard = sorted((tmp_path / "own").glob("*.tar"))[2]
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    code, output = examine(processes, tiny(f"data.path={tmp_path / 'own'}", "data.mode=stream"), tmp_path / "scratch")
    assert code == 2, output
    found = levels(output)
    assert found["checksums"] == "FAIL"
    assert f"{shard.name} is damaged: its sha256 is not the manifest's; copy them again" in output
    assert (found["dry run"], found["W&B"], found["disk"]) == ("FAIL", "ok", "ok"), output


def test_a_shard_that_only_one_process_cannot_read_ends_all_with_its_sentence(tiny, tmp_path):
    """The second process's reader meets the damage; the first would wait for it in the dry run."""
    make(tmp_path / "own", count=240)
    shard = sorted((tmp_path / "own").glob("*.tar"))[-1]
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    more = ("data.mode=stream", "data.shuffle=false", "data.workers=0", "train.batch_size=80", "--quick")
    code, output = examine(2, tiny(f"data.path={tmp_path / 'own'}", *more), tmp_path / "scratch")
    assert code == 2, output
    assert "FAIL  dry run: rank 1 (" in output, output
    assert shard.name in output


def test_processes_with_different_recipes_are_told_apart(tiny, tmp_path):
    script = f'exec {sys.executable} -m distgan.doctor "$@" run.seed=$RANK'
    command = (*TORCHRUN, "2", "--no-python", "bash", "-c", script, "bash")
    code, output = examine(command, tiny(), tmp_path / "scratch")
    assert code == 1, output
    assert (
        "FAIL  same recipe: rank 1 was started with another configuration than rank 0: run.seed: 0 -> 1; "
        "start all processes with the same command and run this again"
    ) in output
    assert "warn  dry run: skipped: because of same recipe, see above" in output


def test_a_run_directory_that_cannot_be_written_and_a_disk_that_is_too_small(tiny, tmp_path):
    (tmp_path / "file").touch()
    code, output = examine(1, tiny(f"run.dir={tmp_path / 'file' / 'runs'}"), tmp_path / "scratch")
    assert code == 2, output
    assert f"FAIL  disk: run directory {tmp_path}/file/runs/quickstart cannot be written" in output
    endless = ("train.images=100_000_000_000_000", "checkpoint.keep_every_steps=5")
    code, output = examine(1, tiny(*endless), tmp_path / "scratch")
    assert code == 2, output
    assert levels(output)["disk"] == "FAIL"
    assert "make room, set run.dir, or keep fewer" in output


def test_wandb_s_server_answers_or_not(tiny, tmp_path):
    online = tiny("wandb.mode=online")
    with fake_wandb() as server:
        env = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}
        code, output = examine(1, online, tmp_path / "scratch", **env)
        assert (code, levels(output)["W&B"]) == (0, "ok"), output
        assert "CreateRunFiles" not in server.operations
        server.behaviour = "hang"
        code, output = examine(1, online, tmp_path / "scratch", **env)
        assert (code, levels(output)["W&B"]) == (0, "warn"), output
        assert "no answer within 5 s" in output
    code, output = examine(1, online, tmp_path / "scratch", **env)
    assert (code, levels(output)["W&B"]) == (0, "warn"), output
    assert "cannot be used: [Errno 111] Connection refused" in output


def test_mistakes_are_one_line_each(tiny, tmp_path):
    code, output = examine(1, ["train.batchsize=3"], tmp_path / "scratch")
    assert code == 2
    assert output.count("\n") == 1
    assert "unknown key train.batchsize; nearest: train.batch_size" in output
    code, output = examine(1, tiny(), tmp_path / "scratch", WORLD_SIZE="2")
    assert code == 2, output
    assert "FAIL  wiring: WORLD_SIZE=2 but RANK, MASTER_ADDR, MASTER_PORT not set" in output
    assert levels(output)["data"] == "ok"
    code, output = examine(2, tiny("train.batch_size=5"), tmp_path / "scratch")
    assert code == 2, output
    assert "FAIL  batch: train.batch_size=5 is not a multiple of processes" in output
    assert "warn  dry run: skipped: because of batch, see above" in output


def test_help_does_not_load_torch():
    script = "import sys; sys.modules['torch'] = None; from distgan.cli.main import main; sys.exit(main(sys.argv[1:]))"
    code, output = run([sys.executable, "-c", script, "doctor", "--help"], PYTHONPATH=str(ROOT))
    assert code == 0, output
    assert "--quick" in output


def test_ctrl_c_and_sigterm_leave_nothing(tiny, tmp_path):
    import signal

    for signum, expected in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        log, scratch = tmp_path / f"log-{expected}", tmp_path / f"scratch-{expected}"
        scratch.mkdir()
        process = start([*ALONE, *tiny()], log, TMPDIR=str(scratch))
        wait_for(lambda log=log: b"more steps" in log.read_bytes(), process)
        process.send_signal(signum)
        assert process.wait(60) == expected, log.read_text()
        assert not list(scratch.iterdir())
        assert not (tmp_path / "quickstart").exists()
        assert "Traceback" not in log.read_text()
