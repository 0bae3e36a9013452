"""Devices, precision and limits of a planted machine."""

from __future__ import annotations

import pytest

from distgan.doctor import machine
from tests.unit.doctor.results import GIB, lines

MACHINE = machine.Machine((), None, False, 8, False)
GPU = machine.Gpu("NVIDIA H100", 80 * GIB)


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
            MACHINE._replace(gpus=(GPU,), cpu_requested=True),
            1,
            "warn  devices: no GPU is used; 8 CPU core(s) for 1 process(es), because ACCELERATE_USE_CPU is set; unset "
            "it to train on the GPU",
        ),
        (
            MACHINE._replace(built_for="CUDA 12.8"),
            1,
            "warn  devices: no GPU is used; 8 CPU core(s) for 1 process(es): torch is built for CUDA 12.8 but sees no "
            "GPU; check `nvidia-smi`, the version of the driver, and CUDA_VISIBLE_DEVICES",
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
    assert lines(machine.check_devices(there, processes)) == [line]


def test_precision(tiny_config):
    assert lines(machine.check_precision(tiny_config(), {}, False)) == [
        "ok    precision: no: train.precision=auto, and no GPU with bf16"
    ]
    assert lines(machine.check_precision(tiny_config("train.precision=fp16"), {}, False)) == [
        "FAIL  precision: fp16 needs a GPU (on the CPU it would silently be fp32); use bf16 or no; set "
        "train.precision, or the launcher's --mixed_precision"
    ]
    assert lines(
        machine.check_precision(tiny_config("loss.r1_gamma=1"), {"ACCELERATE_MIXED_PRECISION": "fp16"}, True)
    ) == [
        "FAIL  precision: loss.r1_gamma with fp16: the penalty's gradients underflow; use train.precision=bf16, or "
        "loss.r1_gamma=0"
    ]


def test_bf16_is_warned_of_on_a_cpu_that_has_to_emulate_it(tiny_config, monkeypatch):
    for there, level in ((False, "warn"), (True, "ok")):
        monkeypatch.setattr(machine.cpu, "has_bf16", lambda there=there: there)
        assert machine.check_precision(tiny_config("train.precision=bf16"), {}, False)[0].level == level


def test_open_files_and_shared_memory():
    assert lines(machine.check_open_files(4, 256)) == [
        "warn  open files: the limit of a process is 256, and it may need 512; run `ulimit -n 4096` before"
    ]
    assert machine.check_open_files(4, -1)[0].level == "ok"
    assert machine.check_open_files(0, 256)[0].level == "ok"
    docker = machine.check_shared_memory(4, 1 << 20, 1, 64 << 20, 60 << 20)
    assert lines(docker) == [
        "warn  /dev/shm: 60.0 MiB free of 64.0 MiB, data workers need 18.0 MiB; give the container more (docker run "
        "--shm-size=8g, Kubernetes: an emptyDir in memory), or data.workers=0"
    ]
    assert machine.check_shared_memory(4, 8 << 20, 1, 64 << 20, 60 << 20)[0].level == "fail"
    assert machine.check_shared_memory(4, 1 << 20, 1, GIB, GIB)[0].level == "ok"
    assert machine.check_shared_memory(0, 1 << 20, 1, None, None)[0].level == "ok"
    assert machine.check_shared_memory(4, 1 << 20, 1, None, None)[0].level == "warn"


def test_a_container_s_memory_limit_counts(tmp_path):
    free = machine.free_host_memory([tmp_path])
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.free_host_memory([tmp_path]) == pytest.approx(free, rel=0.5)
    (tmp_path / "memory.max").write_text("5000\n")
    assert machine.free_host_memory([tmp_path]) == 4000
