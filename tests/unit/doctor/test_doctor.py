"""The checks of `distgan doctor`, each with planted conditions and its sentences. Real launches: tests/integration."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time

import pytest

from distgan.data.shards.manifest import load_manifest
from distgan.data.shards.reader import select_shards
from distgan.doctor import (
    collective_checks,
    data,
    disk,
    estimate,
    launch,
    machine,
    readers,
    recipe,
    versions,
    wandb_check,
)
from distgan.doctor.dry_run import Measured
from distgan.doctor.finding import Finding, fail, guarded, nearest, ok, shown_bytes, shown_seconds, summary, warn
from distgan.doctor.output import Report
from distgan.doctor.runner import explained
from distgan.training.checkpoint import storage
from distgan.utils.errors import DataError, LaunchError, Stopped
from distgan.utils.rng import Rows
from tests.support.shards import make
from tests.support.wandb_server import fake_wandb

GIB = 1 << 30
MACHINE = machine.Machine((), None, False, 8, False)
GPU = machine.Gpu("NVIDIA H100", 80 * GIB)
MEASURED = Measured(
    rank=0, load=1.0, first=0.2, step=0.1, steps=40, wait=0.01, wrong=(), losses=(0.5, 1.0), checkpoint=10 << 20,
    generator=2 << 20, size=32, images="stream", host=GIB, device=0, device_free=0, gradients=4 << 20, reduce=0.0,
)  # fmt: skip


def lines(findings):
    return [finding.line() for finding in findings]


def other(measured=MEASURED, **changes):
    return measured._replace(**changes)


# ---- findings


def test_a_line_says_level_thing_finding_and_what_to_do():
    assert ok("disk", "1 GiB free").line() == "ok    disk: 1 GiB free"
    assert warn("disk", "1 GiB free", "make room").line() == "warn  disk: 1 GiB free; make room"
    assert fail("disk", "0 free", "make room").line() == "FAIL  disk: 0 free; make room"
    assert summary([ok("a", ""), fail("b", "", "x")], 1.0) == "1 failed, 0 warning(s), 1 ok (1.0 s)"


def test_a_check_that_crashes_or_hangs_is_a_warning_and_one_with_a_sentence_fails():
    def crash():
        raise ZeroDivisionError("by zero")

    def sentence():
        raise DataError("the shard is gone")

    assert lines(guarded("x", crash)) == [
        "warn  x: could not be looked at (ZeroDivisionError: by zero); the other lines hold; look at this yourself"
    ]
    assert lines(guarded("x", lambda: time.sleep(5) or [], 0.1)) == [
        "warn  x: was given up after 0 s; a disk, driver or server may hang; the other lines hold"
    ]
    assert lines(guarded("x", sentence)) == ["FAIL  x: the shard is gone; mend that and run this again"]
    assert guarded("x", lambda: [ok("x", "y")]) == [ok("x", "y")]


def test_numbers_are_shown_for_people(tmp_path):
    assert [shown_bytes(n) for n in (5, 1536, 3 * GIB)] == ["5 bytes", "1.5 KiB", "3.0 GiB"]
    assert [shown_seconds(n) for n in (0.01, 5, 600, 3725, 200_000)] == [
        "10.0 ms", "5.0 s", "10 min", "1 h 2 min", "2 d 7 h",
    ]  # fmt: skip
    assert nearest(tmp_path / "a" / "b") == tmp_path
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        nearest(tmp_path / "file" / "b")


def test_json_holds_the_same_findings_and_other_processes_say_nothing(capsys):
    report = Report(as_json=True, enabled=True)
    report.add([warn("disk", "little", "make room")])
    assert report.close() == 0
    said = json.loads(capsys.readouterr().out)
    assert said["failed"] is False
    assert said["findings"] == [{"level": "warn", "what": "disk", "text": "little", "advice": "make room"}]
    silent = Report(as_json=False, enabled=False)
    silent.add([fail("disk", "none", "make room")])
    silent.say("working")
    assert silent.close() == 2
    assert capsys.readouterr() == ("", "")


# ---- versions


def test_versions_in_and_out_of_their_ranges():
    there = {"torch": "2.13.0+cpu", "wandb": "0.18.0"}
    assert versions.compare(["torch>=2.6,<2.14", "pytest>=8; extra == 'test'"], there.get) == []
    assert lines(versions.compare(["wandb>=0.19", "webdataset>=1.0", "torch>=2.6,<2.10"], there.get)) == [
        "FAIL  versions: wandb 0.18.0, distgan needs wandb>=0.19; run `pip install 'wandb>=0.19'`",
        "FAIL  versions: webdataset is missing; run `pip install 'webdataset>=1.0'`",
        "warn  versions: torch 2.13.0+cpu, distgan was only tried with torch<2.10,>=2.6; "
        "run `pip install 'torch<2.10,>=2.6'`",
    ]
    assert lines(versions.compare_python(">=3.10", "3.9.1")) == [
        "FAIL  versions: python 3.9.1, distgan needs >=3.10; make the environment with another Python"
    ]
    assert lines(versions.extras("s3://bucket/x", there.get)) == [
        "FAIL  versions: data.path=s3://bucket/x needs boto3, which is missing; run `pip install 'distgan[s3]'`"
    ]
    assert versions.extras("data/shapes", there.get) == []


def test_the_installed_versions_are_named(tiny_config):
    found = versions.versions(tiny_config())
    assert found[0].what == "versions"
    assert all("torch" in finding.text or finding.level != "ok" for finding in found)


# ---- machine


@pytest.mark.parametrize(
    ("there", "processes", "line"),
    [
        (MACHINE, 2, "ok    devices: no GPU is used; 8 CPU core(s) for 2 process(es)"),
        (
            MACHINE,
            9,
            "warn  devices: no GPU is used; 8 CPU core(s) for 9 process(es); start 8 process(es) at most: they share "
            "the cores",
        ),
        (MACHINE._replace(gpus=(GPU,)), 1, "ok    devices: 1 GPU(s): NVIDIA H100, 80.0 GiB; 8 CPU cores"),
        (
            MACHINE._replace(gpus=(GPU, GPU)),
            1,
            "warn  devices: 2 GPU(s): NVIDIA H100, 80.0 GiB; only 1 would be used; to use all: `accelerate launch "
            "--multi_gpu --num_processes 2 ...`",
        ),
        (
            MACHINE._replace(gpus=(GPU,)),
            2,
            "FAIL  devices: 2 processes on this machine, but 1 GPU(s); start 1 at most: `--num_processes 1`",
        ),
        (
            MACHINE._replace(gpus=(GPU,), cpu_wanted=True),
            1,
            "warn  devices: no GPU is used; 8 CPU core(s) for 1 process(es), because ACCELERATE_USE_CPU is set; unset "
            "it to train on the GPU",
        ),
        (
            MACHINE._replace(built_for="CUDA 12.8"),
            1,
            "warn  devices: no GPU is used; 8 CPU core(s) for 1 process(es): torch is built for CUDA 12.8 but sees no "
            "GPU; look at `nvidia-smi`, at the driver's version, and at CUDA_VISIBLE_DEVICES",
        ),
        (
            MACHINE._replace(driver=True),
            1,
            "warn  devices: no GPU is used; 8 CPU core(s) for 1 process(es): this torch is built for the CPU, though "
            "there seems to be an NVIDIA GPU; install a torch that is built for CUDA",
        ),
    ],
)
def test_devices(there, processes, line):
    assert lines(machine.devices(there, processes)) == [line]


def test_precision(tiny_config):
    assert lines(machine.precision(tiny_config(), {}, False)) == [
        "ok    precision: no: train.precision=auto without a bf16 GPU"
    ]
    assert lines(machine.precision(tiny_config("train.precision=fp16"), {}, False)) == [
        "FAIL  precision: fp16 needs a GPU (on the CPU it would silently be fp32); use bf16 or no; set "
        "train.precision, or the launcher's --mixed_precision"
    ]
    assert lines(machine.precision(tiny_config("loss.r1_gamma=1"), {"ACCELERATE_MIXED_PRECISION": "fp16"}, True)) == [
        "FAIL  precision: loss.r1_gamma with fp16: the penalty's gradients underflow; use train.precision=bf16, or "
        "loss.r1_gamma=0"
    ]
    assert machine.precision(tiny_config("train.precision=bf16"), {}, False)[0].level == "warn"


def test_open_files_and_shared_memory():
    assert lines(machine.open_files(4, 256)) == [
        "warn  open files: a process may hold 256, and may need 512; run `ulimit -n 4096` before"
    ]
    assert machine.open_files(4, -1)[0].level == "ok"
    assert machine.open_files(0, 256)[0].level == "ok"
    docker = machine.shared_memory(4, 1 << 20, 1, 64 << 20, 60 << 20)
    assert lines(docker) == [
        "warn  /dev/shm: 60.0 MiB free of 64.0 MiB, data workers need 18.0 MiB; give the container more (docker run "
        "--shm-size=8g, Kubernetes: an emptyDir in memory), or data.workers=0"
    ]
    assert machine.shared_memory(4, 8 << 20, 1, 64 << 20, 60 << 20)[0].level == "fail"
    assert machine.shared_memory(4, 1 << 20, 1, GIB, GIB)[0].level == "ok"
    assert machine.shared_memory(0, 1 << 20, 1, None, None)[0].level == "ok"
    assert machine.shared_memory(4, 1 << 20, 1, None, None)[0].level == "warn"


def test_a_container_s_memory_limit_counts(tmp_path):
    free = machine.host_memory([tmp_path])
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.host_memory([tmp_path]) == pytest.approx(free, rel=0.5)
    (tmp_path / "memory.max").write_text("5000\n")
    assert machine.host_memory([tmp_path]) == 4000


# ---- wiring


def test_the_environment_of_the_processes():
    assert launch.environment_findings({}, 1)[0].text.startswith("one process; to look at several")
    two = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "h", "MASTER_PORT": "1"}
    assert lines(launch.environment_findings(two, 2)) == [
        "ok    wiring: 2 processes: WORLD_SIZE=2, RANK=0, MASTER_ADDR=h, MASTER_PORT=1"
    ]
    assert lines(launch.environment_findings({"SLURM_NTASKS": "8"}, 1)) == [
        "warn  wiring: this SLURM job has 8 tasks, but this process was not started by srun; look at how "
        "launch/slurm.sbatch starts its tasks, and start this in their place"
    ]
    for wrong in ({"ACCELERATE_USE_FSDP": "true"}, {"WORLD_SIZE": "2"}, {"PMI_SIZE": "2"}):
        found = launch.environment_findings(wrong, 1)
        assert [finding.level for finding in found] == ["fail"]


def test_accelerate_s_own_default_file(tmp_path):
    assert launch.defaults_file({"HF_HOME": str(tmp_path)}) is None
    assert launch.defaults_findings(None, 0)[0].level == "ok"
    path = tmp_path / "accelerate" / "default_config.yaml"
    path.parent.mkdir()
    path.write_text("distributed_type: FSDP\nnum_processes: 8\n")
    assert launch.defaults_file({"HF_HOME": str(tmp_path)}) == path
    change = "pass --config_file launch/gpu_8.yaml or another of launch/, or write it anew with `accelerate config`"
    assert lines(launch.defaults_findings(path, 2)) == [
        f"warn  accelerate: its default file {path} says distributed_type: FSDP, which holds one model, and a GAN has "
        f"two; {change}",
        f"warn  accelerate: its default file {path} says num_processes: 8, and this machine has 2 GPU(s); {change}",
    ]
    path.write_text("- no mapping")
    assert lines(launch.defaults_findings(path, 2)) == [
        f"warn  accelerate: its default file {path} cannot be read; {change}"
    ]
    path.write_text("distributed_type: MULTI_GPU\nnum_processes: 2\nmixed_precision: 'no'\n")
    assert launch.defaults_findings(path, 2)[0].level == "ok"
    assert len(launch.surprises({"distributed_type": "MULTI_CPU", "mixed_precision": "fp8", "num_machines": 2}, 0)) == 3
    assert launch.surprises({"use_cpu": True}, 1) == ["says use_cpu: true, though there is a GPU"]


def member(rank, host="a", gpu="", clock=0.0, torch="2.13"):
    return collective_checks.Member(rank, host, "cpu", gpu, (f"torch {torch}",), clock)


def test_who_has_met():
    assert lines(collective_checks.about_members([member(0), member(1, clock=0.5)])) == [
        "ok    processes: 2 on 1 machine(s) have met; a: rank 0-1 (cpu)",
        "ok    clocks: within 500.0 ms of each other",
    ]
    wrong = [member(0, gpu="u"), member(1, gpu="u"), member(2, host="b", clock=-9.0, torch="2.6")]
    assert lines(collective_checks.about_members(wrong)) == [
        "ok    processes: 3 on 2 machine(s) have met; a: rank 0-1 (cpu), b: rank 2 (cpu)",
        "warn  processes: 1 on some machines, 2 on others; start as many on each: the slowest sets the pace",
        "FAIL  processes: ranks 0, 1 have the same GPU; look at CUDA_VISIBLE_DEVICES and LOCAL_RANK",
        "warn  same versions: rank 2 (b) has torch 2.6; rank 0 torch 2.13; install the same on every machine",
        "warn  clocks: rank 2's (b) is -9.0 s off rank 0's; set them by NTP: logs and W&B would not fit together",
    ]


def test_what_ended_a_stage_is_told():
    assert explained("dry run", DataError("a shard"), "").line() == (
        "FAIL  dry run: a shard; mend that and run this again"
    )
    assert explained("same recipe", LaunchError("rank 1"), "").advice == (
        "start all processes with the same command and run this again"
    )
    peer = RuntimeError("Connection closed by peer [1.2.3.4]")
    assert explained("dry run", peer, "rank 1 (b): no memory").text == "rank 1 (b): no memory"
    assert explained("dry run", peer, "").text.startswith("another process has ended without a word (Connection closed")
    assert explained("dry run", Stopped("x", 15), "").text.startswith("stopped by SIGTERM, as launchers do")
    assert explained("dry run", RuntimeError("odd"), "").text == "RuntimeError: odd"


# ---- configuration and resume


def test_the_batch_over_the_processes(tiny_config):
    assert lines(recipe.batch(tiny_config(), 2)) == [
        "ok    batch: 12 images over 2 process(es) and 1 micro-batch(es): 6 at a time"
    ]
    assert lines(recipe.batch(tiny_config(), 5)) == [
        "FAIL  batch: train.batch_size=12 is not a multiple of processes * train.accumulation = 5 * 1 = 5; nearest "
        "valid: 10 or 15; set train.batch_size, or start another number of processes"
    ]
    assert recipe.batch(tiny_config("train.accumulation=12"), 1)[0].level == "warn"


def test_another_training_s_lock(tmp_path):
    assert lines(recipe.lock(tmp_path / "run")) == [f"ok    lock: no training has been in {tmp_path}/run"]
    (tmp_path / ".lock").write_text("process 7 on host")
    assert lines(recipe.lock(tmp_path)) == [f"ok    lock: no other training is writing to {tmp_path}"]
    script = (
        "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); "
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        found = recipe.lock(tmp_path)
        process.stdin.close()
    assert lines(found) == [
        f"FAIL  lock: another training is writing to {tmp_path} (process 7 on host); stop it, or start a new run with "
        "run.name=NAME"
    ]
    with (tmp_path / ".lock").open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nothing is held any more


def saved(config, step, **changes):
    import torch

    values = {
        "config": config.model_dump(mode="json"), "data_digest": "d", "precision": "no", "processes": 1, "run_id": "r",
        "g": {"updates": step},
    } | changes  # fmt: skip
    return storage.save(config.run_dir / "checkpoints", step, {"x": torch.ones(3)}, values)


def test_what_a_resume_would_do(tiny_config):
    config = tiny_config()
    assert lines(recipe.resume(config, recipe.Run(1, "no", "d"))[1]) == [
        f"ok    resume: {config.run_dir} holds no checkpoint: training starts from the beginning"
    ]
    first, second = saved(config, 5), saved(config, 10)
    steps, found = recipe.resume(tiny_config("train.images=480"), recipe.Run(2, "bf16", "d"))
    assert (steps, lines(found)) == (
        10,
        [
            f"ok    resume: training goes on from {second}, step 10 of 40; changed since then: train.images: "
            "240 -> 480; precision: no -> bf16; processes: 1 -> 2"
        ],
    )
    assert lines(recipe.resume(tiny_config("generator.width=9"), recipe.Run(1, "no", "d"))[1]) == [
        f"FAIL  resume: {second} was made with another recipe: generator.width: 8 -> 9; set these back, or start a new "
        "run with run.name=NAME"
    ]
    assert recipe.resume(config, recipe.Run(1, "no", "other"))[1][0].text == (
        f"{second} was trained on other images than those in {config.data.path}"
    )
    assert recipe.resume(tiny_config("train.images=100"), recipe.Run(1, "no", None))[1][0].level == "warn"
    (second / "state.json").write_text("{}")
    steps, found = recipe.resume(config, recipe.Run(1, "no", "d"))
    assert (steps, [finding.level for finding in found]) == (5, ["warn", "ok"])
    assert "state.json is damaged" in found[0].text
    (first / "state.json").unlink()
    assert recipe.resume(config, recipe.Run(1, "no", "d"))[1][-1].text.startswith("none of the checkpoints in")
    saved(config, 15, run_id="r", extra=1)
    values = {"config": config.model_dump(mode="json")}
    (finding,) = recipe.fits(config, first, recipe.State({}, values), recipe.Run(1, "no", None))
    assert "has no data_digest" in finding.text


# ---- data


def looked(path, config):
    found, findings = data.seen(config)
    return found, findings


def test_a_whole_data_set(tiny_config, shapes):
    config = tiny_config()
    seen, found = data.seen(config)
    assert lines(found)[0].startswith(f"ok    data: {shapes}: 300 images of 32x32, 10 class(es), 5 shard(s), ")
    assert [finding.level for finding in data.contents(config, seen, False, False)] == ["ok"] * 4
    quick = data.contents(config, seen, True, False)
    assert lines(quick)[1:] == [
        "ok    checksums: left out (--quick)",
        "ok    images: the first 16 can be decoded, 32x32 RGB",
        "ok    classes: 10, 30 images each",
    ]


def test_a_data_set_that_is_not_there(tiny_config, tmp_path):
    nothing = tmp_path / "nothing"
    seen, found = data.seen(tiny_config(f"data.path={nothing}", "data.prepare=null"))
    assert seen is None
    assert lines(found) == [
        f"FAIL  data: {nothing} holds no manifest.json, so no complete data set; make one with `distgan prepare "
        f"shapes|cifar10|folder --out {nothing}`; mend data.path, data.classes or the copy of the data set"
    ]
    seen, found = data.seen(tiny_config(f"data.path={nothing}"))
    assert lines(found) == [
        f"ok    data: data.prepare=shapes will make {nothing} when training starts: it takes seconds, needs up to "
        "60.0 MiB"
    ]
    nothing.mkdir()
    (nothing / "mine.txt").touch()
    seen, found = data.seen(tiny_config(f"data.path={nothing}"))
    assert found[0].level == "fail"
    assert "holds something that is not a distgan data set" in found[0].text


def test_no_room_for_a_data_set_that_is_to_be_made(tmp_path, monkeypatch):
    monkeypatch.setitem(data.MADE, "shapes", (1 << 60, "takes seconds"))
    assert data.to_be_made(tmp_path / "new", "shapes").advice == "make room, or set data.path"


def test_damaged_and_missing_shards(tiny_config, tmp_path):
    make(tmp_path / "own")
    place = tmp_path / "own"
    config = tiny_config(f"data.path={place}")
    shard = sorted(place.glob("*.tar"))[0]
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    seen, _ = data.seen(config)
    mend = "copy them again, make the data set again, or set data.on_error=skip"
    assert lines(data.checksums(seen.wanted, False, False)) == [
        f"FAIL  checksums: 1 of 6 shard(s): {shard.name} is damaged: its sha256 is not the manifest's; {mend}"
    ]
    assert data.checksums(seen.wanted, True, False)[0].level == "warn"
    assert data.checksums(seen.wanted, False, False, seconds=-1)[0].text.startswith("only 0 of 6 shards were read in")
    assert data.images(seen.wanted, 0)[0].level == "fail"
    assert data.images(seen.wanted, 100)[0].level == "ok"
    shard.write_bytes(content[:-512])
    found = data.contents(config, seen, False, False)
    assert found[0].level == "fail"
    assert f"{shard.name} has {len(content) - 512:,} bytes, its manifest says {len(content):,}" in found[0].text
    assert [finding.what for finding in found] == ["shards", "classes"]
    shard.unlink()
    assert lines(data.shards(seen.wanted, True)) == [
        f"warn  shards: 1 of 6 shard(s): {shard.name}: No such file or directory; their bad images will be skipped "
        "(data.on_error=skip)"
    ]


def test_classes(tiny_config, shapes):
    seen, _ = data.seen(tiny_config())
    counts = dict(seen.manifest.class_counts)
    assert lines(data.classes(seen.wanted, counts | {"heart": 2, "star": 0})) == [
        "warn  classes: heart has 2, star has 0 of 300 images; G will hardly learn them: add images, or choose "
        "others with data.classes"
    ]
    _, found = data.seen(tiny_config("data.classes=frog"))
    assert found[0].level == "fail"
    assert f"data.classes=frog: {shapes} has no such class" in found[0].text


def test_a_place_that_does_not_answer(tiny_config):
    _, found = data.seen(tiny_config("data.path=http://127.0.0.1:9/x", "data.prepare=null", "data.tries=1"))
    assert found[0].level == "fail"
    assert "http://127.0.0.1:9/x/manifest.json cannot be fetched" in found[0].text


def test_readers_and_shards(tiny_config, shapes):
    wanted = select_shards(shapes, load_manifest(shapes), None)
    config = tiny_config("data.mode=stream", "data.workers=1")
    found = readers.reading(config, wanted, Rows(0, 12, 12), 1, 8, True)
    assert lines(found) == [
        "ok    readers: 5 shard(s) for 1 reader(s) (1 process(es) x 1): they read 1.2 times the images that they show",
        "ok    epoch: 25 batches per epoch, 0 images left out, others each time; 0.8 epochs in the budget",
    ]
    many = tiny_config("data.mode=stream", "data.workers=4")
    found = readers.reading(many, wanted, Rows(0, 6, 12), 2, 1, True)
    assert [finding.level for finding in found] == ["warn", "ok", "warn"]
    assert found[0].text.startswith("5 shard(s) for 8 reader(s) (2 process(es) x 4): they read 1.")
    assert found[0].advice == (
        "make more shards (`distgan prepare ... --shard-size 9`), lower data.workers, or data.mode=resident"
    )
    assert found[2].text == "2 process(es) with 4 data worker(s) each on 1 core(s)"
    too_large = readers.reading(config, wanted, Rows(0, 301, 301), 1, 8, True)
    assert [finding.level for finding in too_large] == ["fail"]
    assert "fewer than one batch of 301" in too_large[0].text
    assert lines(readers.reading(tiny_config(), wanted, Rows(0, 12, 12), 1, 8, True)) == [
        "ok    readers: resident: 25.0 batches per epoch, 0.8 epochs in the budget"
    ]


def test_memory_for_the_images(tiny_config, shapes):
    wanted = select_shards(shapes, load_manifest(shapes), None)
    config = tiny_config()
    assert lines(readers.resident_memory(config, wanted, 2, GIB, None)) == [
        "ok    data memory: 902.3 KiB of images per process, 2 process(es) here, 1.0 GiB of host memory are free"
    ]
    assert lines(readers.resident_memory(config, wanted, 2, 1 << 20, None)) == [
        "FAIL  data memory: 902.3 KiB of images per process, 2 process(es) here, 1.0 MiB of host memory are free; "
        "use data.mode=stream, or fewer processes per machine"
    ]
    assert readers.resident_memory(config, wanted, 1, GIB, 500 << 10)[0].level == "fail"
    assert readers.resident_memory(config, wanted, 1, GIB, 1 << 20)[0].level == "warn"
    assert readers.resident_memory(config, wanted, 1, GIB, GIB)[0].level == "ok"
    stream = tiny_config("data.mode=stream")
    assert readers.resident_memory(stream, wanted, 1, GIB, None)[0].level == "ok"
    assert readers.resident_memory(stream, wanted, 1, 1000, None)[0].level == "warn"


def test_room_in_the_cache(tiny_config, shapes):
    import dataclasses

    from distgan.data.remote.store import RemoteStore

    here = select_shards(shapes, load_manifest(shapes), None)
    far = dataclasses.replace(here, location=RemoteStore("https://host/x"))
    config = tiny_config("data.cache=/nowhere/x")
    assert readers.cache(config, here, 1) == []
    assert readers.cache(config, far, GIB)[0].level == "ok"
    assert readers.cache(config, far, 1000)[0].advice == "make room, or set data.cache=null"
    assert lines(readers.cache(config, far, None)) == [
        "FAIL  cache: data.cache=/nowhere/x cannot be made; set another directory, or null"
    ]


# ---- disk


def test_what_a_run_needs_on_the_disk(tiny_config):
    config = tiny_config("checkpoint.keep_every_steps=10")  # 20 steps
    need = disk.need(config, 1000, 100, 32)
    assert (need.checkpoint, need.kept) == (1000, 5)
    assert disk.need(tiny_config(), 1000, 100, 32).kept == 3


def test_room_speed_and_locks(tiny_config, tmp_path):
    config = tiny_config()
    probe = disk.Probe(tmp_path, 100 << 20, 0.01, 100e6, "")
    need = disk.Need(10 << 20, 3, 5 << 20)
    assert lines(disk.findings(config, probe, need, 0, 1.0)) == [
        f"ok    disk: up to 45.0 MiB more to the end (3 checkpoint(s) of 10.0 MiB, 5.0 MiB of samples and metrics), "
        f"100.0 MiB free in {tmp_path}",
        "ok    disk speed: a small file takes 10.0 ms, a checkpoint about 104.9 ms",
        f"ok    file locks: work in {tmp_path}",
    ]
    full = disk.findings(config, probe._replace(free=40 << 20, small=2.0, locks="No locks available"), need, 0, 1.0)
    assert [finding.level for finding in full] == ["fail", "warn", "warn"]
    assert full[0].advice == (
        "make room, set run.dir, or keep fewer (checkpoint.keep_last, checkpoint.keep_every_steps)"
    )
    assert full[2].line() == (
        f"warn  file locks: none in {tmp_path} (No locks available); let only one training write to a run directory"
    )
    assert disk.findings(config, probe._replace(free=60 << 20), need, 0, 1.0)[0].level == "warn"
    assert disk.findings(config, probe._replace(free=60 << 20), need, 40 << 20, 1.0)[0].level == "ok"
    slow = disk.findings(config, probe._replace(rate=1e5), need, 0, 1.0)[1]
    assert slow.text == (
        "a small file takes 10.0 ms, a checkpoint about 104.9 s, but they are 5.0 s apart: some would be left out"
    )


def test_the_probe_leaves_nothing_and_names_what_cannot_be_written(tmp_path):
    found = disk.probe(tmp_path / "runs" / "name", 3 << 20)
    assert (found.place, found.locks, list(tmp_path.iterdir())) == (tmp_path, "", [])
    (tmp_path / "file").touch()
    with pytest.raises(
        LaunchError, match=r"run directory .*/file/x/name cannot be written: .*/file is a file; set run"
    ):
        disk.probe(tmp_path / "file" / "x" / "name", 1)
    with pytest.raises(LaunchError, match="cannot be written"):
        disk.probe(tmp_path / "file", 1)
    with pytest.raises(LaunchError, match="/proc cannot be written"):
        disk.probe(disk.Path("/proc/runs/name"), 1)
    with disk.hidden_file(tmp_path):
        disk.clean()
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


# ---- W&B


def test_wandb_modes():
    def refused(_url):
        return 0.1, "Connection refused"

    def answered(_url):
        return 0.2, None

    url = "https://user:secret@wandb.host:8080"
    assert lines(wandb_check.judge("online", None, url, answered)) == [
        "ok    W&B: online with a key; wandb.host:8080 answered in 0.2 s"
    ]
    assert lines(wandb_check.judge("online", None, url, refused)) == [
        "warn  W&B: online, but wandb.host:8080 does not answer well: Connection refused; look at the network, a proxy "
        "(https_proxy) and WANDB_BASE_URL; a run would go on offline"
    ]
    assert lines(wandb_check.judge("offline", "W&B has no API key, so this run is recorded offline", "", answered)) == [
        "warn  W&B: W&B has no API key, so this run is recorded offline; run `wandb login`, set WANDB_API_KEY, or, if "
        "that is meant, wandb.mode=offline"
    ]
    wrong = wandb_check.judge("offline", "1 validation error, so this run is recorded offline", "", answered)
    assert wrong[0].advice == "look at the WANDB_ variables, or, if that is meant, wandb.mode=offline"
    assert wandb_check.judge("offline", None, "", refused)[0].level == "ok"
    assert wandb_check.judge("disabled", None, "", refused) == [Finding("ok", "W&B", "disabled")]


def test_wandb_s_server_is_asked_for_a_bounded_time(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with fake_wandb() as server:
        assert wandb_check.reach(server.url)[1] is None
        server.behaviour = "error"
        assert wandb_check.reach(server.url)[1] == "status 500"
        server.behaviour = "hang"
        monkeypatch.setattr(wandb_check, "SECONDS", 0.5)
        seconds, wrong = wandb_check.reach(server.url)
        assert wrong is not None
        assert seconds < 20, "it hangs for ever"
    assert "refused" in wandb_check.reach("http://127.0.0.1:9")[1]


def test_wandb_online_without_a_key_fails(tiny_config, monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("distgan.training.tracking.wandb_run._look_up", lambda: ("online", "W&B has no API key"))
    found = wandb_check.wandb_findings(tiny_config("wandb.mode=online"))
    assert found[0].level == "fail"
    assert found[0].advice == "or use wandb.mode=auto, which goes on without"


# ---- what the dry run has measured


def test_steps_and_waiting(tiny_config):
    assert lines(estimate.steps(tiny_config(), [MEASURED, other(rank=1, step=0.2)])) == [
        "ok    dry run: 40 steps on stream: 200.0 ms a step (the first 200.0 ms), losses D 0.500, G 1.000, all numbers "
        "finite, all ranks hold the same weights",
        "ok    data wait: 1 % of a step is spent waiting for images",
    ]
    assert lines(estimate.steps(tiny_config(), [other(wrong=("loss/d",))])) == [
        "FAIL  dry run: after 42 steps not finite on rank 0: loss/d; lower the learning rates, use another "
        "train.precision, look at the images"
    ]
    assert estimate.steps(tiny_config(), [other(wait=0.5)])[1].line() == (
        "warn  data wait: 50 % of a step is spent waiting for images; use data.mode=resident, more data.workers, or "
        "a faster disk"
    )


def test_the_network():
    assert estimate.network([MEASURED]) == []
    assert lines(estimate.network([other(reduce=0.01), other(rank=1, reduce=0.02)])) == [
        "ok    network: all-reduce of D's gradients (4.0 MiB) takes 20.0 ms, 200.0 MiB/s"
    ]
    assert estimate.network([other(reduce=0.09), other(rank=1, reduce=0.02)])[0].level == "warn"


def test_memory_for_the_batch(tiny_config):
    assert lines(estimate.memory(tiny_config(), [other(device=10 * GIB, device_free=70 * GIB)], 1, 8 * GIB)) == [
        "ok    memory: 10.0 GiB of the GPU at the peak, 70.0 GiB were free",
        "ok    memory: 1.0 GiB of host memory per process, 1 here, 8.0 GiB were free",
    ]
    tight = estimate.memory(tiny_config(), [other(device=69 * GIB, device_free=70 * GIB)], 8, 8 * GIB)
    assert [finding.level for finding in tight] == ["warn", "warn"]
    assert tight[0].advice == (
        "use more train.accumulation, a smaller train.batch_size, or less data.resident_limit_mb"
    )


def test_timeouts(tiny_config):
    both = [MEASURED, MEASURED]
    assert estimate.timeouts(tiny_config(), [MEASURED])[0].text == "one process: nobody waits for another"
    assert estimate.timeouts(tiny_config(), both)[0].level == "ok"
    assert lines(estimate.timeouts(tiny_config("train.timeout_minutes=0.1"), [other(step=30.0), MEASURED])) == [
        "warn  timeouts: train.timeout_minutes=0.1, 10 steps take(s) 5 min; set train.timeout_minutes=15"
    ]
    far = tiny_config("data.path=https://host/x", "data.prepare=null", "train.timeout_minutes=2")
    assert "all data.tries of a silent server" in estimate.timeouts(far, both)[0].text


def test_the_estimate_counts_from_the_resumed_step(tiny_config):
    need = disk.Need(10 << 20, 3, 5 << 20)
    assert lines(estimate.end(tiny_config(), [MEASURED], 10, need)) == [
        "ok    estimate: 10 steps at 120 images/s: 1.0 s to train.images=240 without samples and checkpoints; 3 "
        "checkpoint(s) written, 35.0 MiB on disk at the end"
    ]
    stand_in = [other(images="400 drawn shapes in place of the images")]
    assert estimate.end(tiny_config(), stand_in, 0, need)[0].text.endswith(
        "(measured on 400 drawn shapes in place of the images)"
    )


@pytest.mark.parametrize(
    ("override", "level", "text"),
    [
        (
            "evaluate.count=50",
            "ok",
            "every 100 images 50 generated ones are looked at; best by fd_effi",
        ),
        (
            "best.metric=fid",
            "fail",
            "best.metric=fid is no score that this training is given; nearest: fd_effi",
        ),
        ("evaluate.reference=/nowhere", "fail", "/nowhere"),
        ("evaluate.reference_count=301", "fail", "evaluate.reference_count=301 must be 20 to 300"),
        ("evaluate.weights=x.pth", "fail", "evaluate.weights=x.pth goes with inception"),
    ],
)
def test_doctor_says_whether_there_can_be_scores(tiny_config, shapes, override, level, text):
    config = tiny_config("evaluate.every_images=100", "evaluate.reference_count=40", override)
    (finding,) = recipe.scores(config, data.seen(config)[0])
    assert finding.level == level
    assert text in finding.line()


def test_doctor_looks_for_scores_only_where_they_are_wanted(tiny_config):
    assert recipe.scores(tiny_config(), None) == []
