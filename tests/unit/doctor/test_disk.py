"""Space, speed and locks of a disk."""

from __future__ import annotations

import pytest

from distgan.doctor import disk
from distgan.utils.errors import LaunchError
from tests.unit.doctor.results import lines


def test_what_a_run_needs_on_the_disk(tiny_config):
    config = tiny_config("checkpoint.keep_every_steps=10")  # 20 steps
    need = disk.estimate_need(config, 1000, 100, 32)
    assert (need.checkpoint, need.kept) == (1000, 5)
    assert disk.estimate_need(tiny_config(), 1000, 100, 32).kept == 3


def test_room_speed_and_locks(tiny_config, tmp_path):
    config = tiny_config()
    probe = disk.Probe(tmp_path, 100 << 20, 0.01, 100e6, "")
    need = disk.Need(10 << 20, 3, 5 << 20)
    assert lines(disk.check_disk(config, probe, need, 0, 1.0)) == [
        f"ok    disk: up to 45.0 MiB more until the end (3 checkpoint(s) of 10.0 MiB, 5.0 MiB of samples and metrics), "
        f"100.0 MiB free in {tmp_path}",
        "ok    disk speed: a small file takes 10.0 ms, a checkpoint about 104.9 ms",
        f"ok    file locks: they work in {tmp_path}",
    ]
    full = disk.check_disk(
        config, probe._replace(free=40 << 20, small=2.0, lock_error="No locks available"), need, 0, 1.0
    )
    assert [result.level for result in full] == ["fail", "warn", "warn"]
    assert full[0].advice == (
        "make room, set run.dir, or keep fewer (checkpoint.keep_last, checkpoint.keep_every_steps)"
    )
    assert full[2].line() == (
        f"warn  file locks: they do not work in {tmp_path} (No locks available); let only one training write to a "
        "run directory"
    )
    assert disk.check_disk(config, probe._replace(free=60 << 20), need, 0, 1.0)[0].level == "warn"
    assert disk.check_disk(config, probe._replace(free=60 << 20), need, 40 << 20, 1.0)[0].level == "ok"
    slow = disk.check_disk(config, probe._replace(rate=1e5), need, 0, 1.0)[1]
    assert slow.text == (
        "a small file takes 10.0 ms, a checkpoint about 104.9 s, but there is one every 5.0 s: some would be skipped"
    )


def test_the_probe_leaves_nothing_and_names_what_cannot_be_written(tmp_path):
    measured = disk.probe(tmp_path / "runs" / "name", 3 << 20)
    assert (measured.directory, measured.lock_error, list(tmp_path.iterdir())) == (tmp_path, "", [])
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
        disk.remove_hidden_files()
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
