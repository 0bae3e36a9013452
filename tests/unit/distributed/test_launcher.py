"""What started the processes: refusals, and that they can be made before torch is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from distgan.distributed.launcher import check_connected, check_launcher
from distgan.utils.errors import LaunchError


def test_it_is_imported_before_anything_slow():
    script = "import sys, distgan.distributed.launcher; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "accelerate", "numpy", "pydantic", "yaml"}


def test_processes_that_do_not_know_each_other_are_refused():
    for variable in ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        with pytest.raises(LaunchError, match=f"{variable}=2 processes were started, but this one knows only 1"):
            check_connected({variable: "2"}, 1)
        check_connected({variable: "2"}, 2)
    check_connected({}, 1)


def test_a_world_without_a_meeting_place_is_refused_by_the_missing_names():
    with pytest.raises(LaunchError, match="WORLD_SIZE=2 but RANK, MASTER_PORT not set"):
        check_launcher({"WORLD_SIZE": "2", "MASTER_ADDR": "localhost"})
    check_launcher({"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1", "RANK": "0"})
