"""Who makes the data set of a training, and who waits."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from distgan.training import run


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        ((True, True), ["made", "waits", "made", "waits"]),
        ((False, True), ["waits", "made", "waits"]),
        ((False, False), ["waits", "waits"]),
    ],
    ids=["main process", "first process of another machine", "another process"],
)
def test_other_machines_come_after_the_main_process_which_may_share_its_disk(
    tiny_config, tmp_path, monkeypatch, process, expected
):
    done = []
    monkeypatch.setattr(run, "gloo_group", lambda minutes: "group")
    monkeypatch.setattr(run, "barrier", lambda group: done.append("waits"))
    monkeypatch.setattr(run, "ensure", lambda path, source: done.append("made"))
    config = tiny_config(f"data.path={tmp_path / 'new'}", "data.prepare=shapes")
    main, first = process
    run.prepare_data(config, SimpleNamespace(is_main_process=main, is_local_main_process=first))
    assert done == expected
