"""The environment of the processes, and accelerate's own default file."""

from __future__ import annotations

from distgan.config.schema import TrainConfig
from distgan.doctor import launch
from tests.unit.doctor.results import lines


def test_the_environment_of_the_processes():
    assert launch.check_environment({}, 1)[0].text.startswith("one process; to check several")
    two = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "h", "MASTER_PORT": "1"}
    assert lines(launch.check_environment(two, 2)) == [
        "ok    wiring: 2 processes: WORLD_SIZE=2, RANK=0, MASTER_ADDR=h, MASTER_PORT=1"
    ]
    assert lines(launch.check_environment({"SLURM_NTASKS": "8"}, 1)) == [
        "warn  wiring: this SLURM job has 8 tasks, but this process was not started by srun; start this "
        "as launch/slurm.sbatch starts its tasks"
    ]
    for wrong_environment in ({"ACCELERATE_USE_FSDP": "true"}, {"WORLD_SIZE": "2"}, {"PMI_SIZE": "2"}):
        results = launch.check_environment(wrong_environment, 1)
        assert [result.level for result in results] == ["fail"]


def test_accelerate_s_own_default_file(tmp_path):
    assert launch.find_defaults_file({"HF_HOME": str(tmp_path)}) is None
    assert launch.check_defaults_file(None, 0)[0].level == "ok"
    path = tmp_path / "accelerate" / "default_config.yaml"
    path.parent.mkdir()
    path.write_text("distributed_type: FSDP\nnum_processes: 8\n")
    assert launch.find_defaults_file({"HF_HOME": str(tmp_path)}) == path
    change = "pass --config_file launch/gpu_8.yaml or another of launch/, or rewrite it with `accelerate config`"
    assert lines(launch.check_defaults_file(path, 2)) == [
        f"warn  accelerate: its default file {path} says distributed_type: FSDP, which holds one model, and a GAN has "
        f"two; {change}",
        f"warn  accelerate: its default file {path} says num_processes: 8, and this machine has 2 GPU(s); {change}",
    ]
    path.write_text("- no mapping")
    assert lines(launch.check_defaults_file(path, 2)) == [
        f"warn  accelerate: its default file {path} cannot be read; {change}"
    ]
    path.write_text("distributed_type: MULTI_GPU\nnum_processes: 2\nmixed_precision: 'no'\n")
    assert launch.check_defaults_file(path, 2)[0].level == "ok"
    assert (
        len(launch.unsuitable({"distributed_type": "MULTI_CPU", "mixed_precision": "fp8", "num_machines": 2}, 0)) == 3
    )
    for key in ("dynamo_backend", "backend"):
        assert launch.unsuitable({"dynamo_config": {key: "INDUCTOR"}}, 0) == [
            "says dynamo_backend: INDUCTOR, which has no effect: train.compile decides"
        ]
    assert launch.unsuitable({"dynamo_config": {"dynamo_backend": "NO"}}, 0) == []
    assert launch.unsuitable({"dynamo_config": {}}, 0) == []
    assert launch.unsuitable({"use_cpu": True}, 1) == ["says use_cpu: true, though there is a GPU"]


def test_options_of_the_launcher_that_training_ignores_are_warned_of():
    config = TrainConfig()
    assert launch.check_overruled(config, {"ACCELERATE_DYNAMO_BACKEND": "no"}) == []
    (result,) = launch.check_overruled(config, {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"})
    assert result.level == "warn"
    assert result.text == "the launcher's dynamo backend inductor has no effect: train.compile=auto decides"
