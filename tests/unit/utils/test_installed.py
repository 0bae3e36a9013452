"""What `distgan --version` says, with the nvidia-smi of other machines."""

from __future__ import annotations

import subprocess
import sys

import accelerate
import pytest
import torch

import distgan
from distgan.utils import installed
from distgan.utils.installed import built_for, describe_gpus, describe_installation
from tests.support.processes import ROOT, environment


@pytest.fixture
def smi(tmp_path):
    """Makes an nvidia-smi that runs a shell script. Returns the environment in which it is found."""

    def make(script, **more):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        return {"PATH": f"{tmp_path}:/usr/bin:/bin", **more}

    return make


def test_each_line_has_the_version_that_the_library_itself_has():
    lines = describe_installation({"PATH": ""})
    build = built_for(torch.version.cuda, torch.version.hip) or "the CPU"
    assert lines[0] == f"distgan {distgan.__version__}"
    assert lines[1] == f"python {sys.version.split()[0]}"
    assert lines[2] == f"torch {torch.__version__}, built for {build}"
    assert lines[3] == f"accelerate {accelerate.__version__}"
    assert lines[4].startswith("devices: ")
    assert len(lines) == 5


def test_the_builds_of_torch():
    assert built_for("12.8", None) == "CUDA 12.8"
    assert built_for(None, "6.3.42131") == "ROCm 6.3.42131"
    assert built_for(None, None) is None


@pytest.mark.skipif(sys.platform == "darwin", reason="nvidia-smi is not asked on macOS")
def test_the_gpus_are_those_of_nvidia_smi_and_a_failure_is_in_its_own_words(smi, monkeypatch):
    assert describe_gpus({"PATH": "/nowhere"}) == "no NVIDIA GPU"
    eight = smi("for i in 1 2 3 4 5 6 7; do echo NVIDIA H200; done; echo NVIDIA A100 80GB PCIe")
    assert describe_gpus(eight) == "7 x NVIDIA H200, 1 x NVIDIA A100 80GB PCIe"
    assert describe_gpus(smi("echo NVIDIA H200", CUDA_VISIBLE_DEVICES="1")).endswith("H200 (CUDA_VISIBLE_DEVICES=1)")
    words = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    assert describe_gpus(smi(f'echo "{words}"; echo more; exit 9')) == f"nvidia-smi fails ({words})"
    assert describe_gpus(smi("exit 9")) == "nvidia-smi fails (exit code 9)"
    monkeypatch.setattr(installed, "SMI_SECONDS", 0.2)
    assert describe_gpus(smi("exec sleep 60")) == "nvidia-smi does not answer within 0 s"


def test_the_command_shows_them_where_torch_cannot_be_imported():
    code = "import sys; sys.modules['torch'] = None; from distgan.cli.main import main; main(['--version'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(PATH=""), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"distgan {distgan.__version__}"
    assert "torch is not installed" in done.stdout
