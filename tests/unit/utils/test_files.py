"""Temporary files that killed processes have left."""

from __future__ import annotations

from distgan.utils.files import sweep


def test_a_temporary_name_that_is_no_file_is_left_alone(tmp_path):
    """A run directory may come from a stranger: a link to itself is no reason not to start."""
    loop, folder, left = (tmp_path / f".metrics.jsonl.{name}.tmp" for name in "abc")
    loop.symlink_to(loop)
    folder.mkdir()
    left.write_text("half")
    (tmp_path / "metrics.jsonl").write_text("kept")
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [loop.name, folder.name, "metrics.jsonl"]
