"""Systems and users that lack something."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from distgan import load_generator
from distgan.cli.main import main
from distgan.distributed.accelerator import cpu_share
from distgan.doctor import launch, machine
from distgan.utils import system
from distgan.utils.errors import ExportError, LaunchError
from tests.support.processes import ROOT


@pytest.mark.parametrize("platform", ["linux", "darwin", "freebsd14"])
def test_linux_and_its_relatives_are_fit(platform):
    system.check_system(platform)


def test_on_windows_every_command_is_one_sentence_that_names_the_systems(monkeypatch, capsys):
    with pytest.raises(LaunchError, match="need Linux or macOS, not Windows"):
        system.check_system("win32")
    monkeypatch.setattr(system.check_system, "__defaults__", ("win32",))
    for command in (["sample", "g.safetensors"], ["doctor"], ["train"]):
        assert main(command) == 2
        assert capsys.readouterr().err.count("distgan's commands need Linux or macOS") == 1


def test_the_library_and_the_commands_are_imported_where_windows_lacks_their_modules():
    code = (
        "import sys; sys.modules['fcntl'] = sys.modules['resource'] = sys.modules['pwd'] = None;"
        "import distgan, distgan.cli.main, distgan.train, distgan.doctor.__main__;"
        "distgan.load_generator, distgan.Generator"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert result.returncode == 0, result.stderr.decode()


def test_macos_which_has_no_affinity_and_no_dev_shm_is_no_reason_to_fail(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert system.usable_cores() == os.cpu_count()
    assert machine.inspect_machine({}).cores == cpu_share({}) == os.cpu_count()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine.check_shared_memory(2, 1000, 1, None, None)[0].level == "ok"


def test_a_user_without_a_home_directory_has_no_cache_and_no_default_file_of_accelerate(no_home, tmp_path):
    assert system.cache_home() is None
    assert launch.find_defaults_file({}) is None
    assert system.cache_home({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path
    with pytest.raises(ExportError, match="~ is nobody's home directory here; write the whole path"):
        load_generator("~/g.safetensors")
