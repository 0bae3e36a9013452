"""The files of launch/: what they say is what the trainer, accelerate and Kubernetes' training operator understand."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from distgan.config.load import load_config
from distgan.distributed.accelerator import batch_rows
from distgan.train import parse

LAUNCH = Path(__file__).resolve().parent.parent / "launch"
ACCELERATE = {"cpu_2.yaml": (1, 2), "one.yaml": (1, 1), "gpu_8.yaml": (1, 8), "two_machines.yaml": (2, 16)}


@pytest.mark.parametrize(("name", "size"), ACCELERATE.items())
def test_accelerate_reads_its_configurations(name, size):
    config = load_config_from_file(str(LAUNCH / name))
    assert (config.num_machines, config.num_processes) == size
    assert config.mixed_precision == "no", "the recipe decides"


@pytest.mark.parametrize("name", ["slurm.sbatch", "torchrun_elastic.sh"])
def test_the_scripts_are_executable_bash(name):
    subprocess.run(["bash", "-n", str(LAUNCH / name)], check=True)
    assert (LAUNCH / name).stat().st_mode & 0o111


def test_the_pytorchjob_is_of_the_operator_s_form_and_its_command_is_one_that_trains():
    """The fields are those of kubeflow.org/v1; an unknown one would be dropped silently by the cluster."""
    job = yaml.safe_load((LAUNCH / "pytorchjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    spec = job["spec"]
    assert spec.keys() <= {"elasticPolicy", "nprocPerNode", "pytorchReplicaSpecs", "runPolicy"}
    assert spec["elasticPolicy"].keys() <= {"rdzvBackend", "rdzvId", "minReplicas", "maxReplicas", "maxRestarts"}
    assert spec["runPolicy"].keys() <= {"backoffLimit", "cleanPodPolicy", "ttlSecondsAfterFinished"}
    assert isinstance(spec["nprocPerNode"], str), "a string in kubeflow.org/v1"
    worker = spec["pytorchReplicaSpecs"].pop("Worker")
    assert not spec["pytorchReplicaSpecs"], "a Master replica would add RANK and WORLD_SIZE, which torchrun sets"
    assert worker.keys() == {"replicas", "restartPolicy", "template"}
    assert spec["elasticPolicy"]["minReplicas"] == spec["elasticPolicy"]["maxReplicas"] == worker["replicas"]
    pod = worker["template"]["spec"]
    assert "restartPolicy" not in pod, "the replica's counts"
    (container,) = pod["containers"]
    assert container["name"] == "pytorch", "the operator looks for this name"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == spec["nprocPerNode"]
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    assert all(isinstance(value, str) for value in env.values())
    assert int(env["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) < pod["terminationGracePeriodSeconds"]
    launcher, _, module, *arguments = container["command"]
    assert (launcher, module) == ("torchrun", "distgan.train")
    check_trains(arguments, int(spec["nprocPerNode"]) * worker["replicas"])


def test_the_skypilot_job_has_the_fields_of_sky_and_its_command_is_one_that_trains():
    """The fields are those of sky.Task (0.14.1), which refuses others."""
    job = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    assert job.keys() <= {"name", "workdir", "resources", "envs", "secrets", "file_mounts", "setup", "run"}
    assert job["resources"].keys() <= {"accelerators", "use_spot", "disk_size", "job_recovery"}
    assert job["resources"]["job_recovery"].keys() <= {"max_restarts_on_errors"}
    (mount,) = job["file_mounts"].values()
    assert mount["mode"] == "MOUNT_CACHED", "a run needs locks and renames, which a plain mount of a bucket lacks"
    assert {each.rsplit(":")[1] for each in job["resources"]["accelerators"]} == {"8"}
    for script in (job["setup"], job["run"]):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    words = shlex.split(job["run"].replace("\\\n", "").replace("$ARGUMENTS", job["envs"]["ARGUMENTS"]))
    arguments = words[words.index("distgan.train") + 1 :]
    assert "run.dir=/storage/runs" in arguments
    check_trains(arguments, 8)


def test_the_image_has_a_pinned_base_no_root_and_only_files_that_exist():
    lines = re.sub(r"\\\n\s*", "", (LAUNCH.parent / "Dockerfile").read_text()).splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    bases = [text.split()[0] for name, text in steps if name == "FROM"]
    assert all(re.fullmatch(r"python:\$\{PYTHON\}-slim-[a-z]+", base) for base in bases)
    assert ["USER", "1000:1000"] in steps[-4:]
    (torch,) = re.findall(r'"(torch[^"]+)"', (LAUNCH.parent / "Dockerfile").read_text())
    assert f'    "{torch}",\n' in (LAUNCH.parent / "pyproject.toml").read_text()
    copied = [text.split() for name, text in steps if name == "COPY" and not text.startswith("--from=build")]
    sources = {path for (*paths, _) in copied for path in paths}
    assert all((LAUNCH.parent / path).exists() for path in sources)
    sent = set(re.findall(r"^!(.+)$", (LAUNCH.parent / ".dockerignore").read_text(), re.MULTILINE))
    assert {path.split("/")[0] for path in sources} == sent
    assert not [text for name, text in steps if name in ("ARG", "ENV") and re.search(r"TOKEN|KEY|SECRET", text)]


def check_trains(arguments, processes):
    """Whether a trainer's arguments are those of a training, for so many processes."""
    options = parse(arguments)
    config = load_config(options.config, options.overrides)
    batch_rows(config.train.batch_size, config.train.accumulation, 0, processes)


def test_the_readme_names_every_file_and_only_files_that_exist():
    text = (LAUNCH / "README.md").read_text()
    named = set(re.findall(r"launch/([\w.]+\w)", text))
    assert named == {path.name for path in LAUNCH.iterdir()} - {"README.md"}
