"""Files that are written, whatever the file system can, and temporary ones that killed processes have left."""

from __future__ import annotations

import errno
import os
import stat

import pytest
import torch

from distgan.training.checkpoint import storage
from distgan.utils.files import atomic_path, fsync, sweep


def test_a_temporary_name_that_is_no_file_is_left_alone(tmp_path):
    """A run directory may come from a stranger: a link to itself is no reason not to start."""
    loop, folder, left = (tmp_path / f".metrics.jsonl.{name}.tmp" for name in "abc")
    loop.symlink_to(loop)
    folder.mkdir()
    left.write_text("half")
    (tmp_path / "metrics.jsonl").write_text("kept")
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [loop.name, folder.name, "metrics.jsonl"]


@pytest.fixture
def simple_disk(monkeypatch, request):
    """A file system that has no modes and flushes no directories, as gcsfuse and CIFS."""
    flush = os.fsync

    def refuse(*_arguments, **_options):
        raise OSError(request.param, os.strerror(request.param))

    def flush_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            refuse()
        flush(descriptor)

    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(os, "fsync", flush_files)


@pytest.mark.parametrize("simple_disk", [errno.EPERM, errno.EINVAL, errno.ENOTSUP], indirect=True)
def test_a_file_system_without_modes_and_without_fsync_of_directories_is_fit(simple_disk, tmp_path):
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "file").read_text() == "whole"
    path = storage.save(tmp_path / "checkpoints", 1, {"a": torch.zeros(2)}, {"b": 1})
    assert storage.load(path).values == {"b": 1}


def test_a_disk_that_is_full_when_it_is_flushed_is_still_an_error(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fsync(tmp_path)


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664), (0o022, 0o644)])
def test_the_umask_decides_who_may_read_what_is_written(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text("whole")
        checkpoint = storage.save(tmp_path / "checkpoints", 1, {"a": torch.zeros(2)}, {"b": 1})
    finally:
        os.umask(before)
    files = [tmp_path / "file", *checkpoint.iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}
    assert stat.S_IMODE(checkpoint.stat().st_mode) == mode | (mode & 0o444) >> 2
