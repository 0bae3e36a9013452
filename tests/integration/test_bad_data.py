"""Two real ranks on a data set behind a web server: what one of them cannot read never leaves the other waiting."""

from __future__ import annotations

import time

import pytest

from distgan import load_generator
from tests.support import warm
from tests.support.http_server import serve

pytestmark = pytest.mark.slow


def overrides_for(tiny, server, *more):
    kept = [override for override in tiny() if not override.startswith("data.path=")]
    return [*kept, f"data.path={server.url}", "data.prepare=null", "data.shuffle_buffer=50", *more]


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_two_ranks_train_the_same_over_http_as_from_the_directory(tiny, shapes, tmp_path, mode):
    with serve(shapes) as server:
        server.faults = {path.name: [503] for path in shapes.glob("*.tar")}
        for name, overrides in (("far", overrides_for(tiny, server)), ("near", tiny("data.shuffle_buffer=50"))):
            code, output = warm.train([*overrides, f"run.name={name}", f"data.mode={mode}", "data.workers=1"], 2)
            assert code == 0, output
    far, near = (load_generator(tmp_path / name / "generator.safetensors") for name in ("far", "near"))
    assert far.weight_digest == near.weight_digest


def test_a_shard_that_one_rank_cannot_fetch_ends_both_with_its_url_cause_and_rank(tiny, shapes):
    with serve(shapes) as server:
        missing = sorted(path.name for path in shapes.glob("*.tar"))[2]
        server.faults = {missing: ["none"] + [404] * 99}
        start = time.monotonic()
        code, output = warm.train(overrides_for(tiny, server, "data.mode=resident"), 2)
    assert code != 0
    assert f"{server.url}/{missing} cannot be fetched: the server answered 404" in output
    assert "DataError" not in output
    assert "RuntimeError" not in output
    assert time.monotonic() - start < 90


def test_a_shard_that_only_one_rank_can_fetch_is_not_skipped_in_resident_mode(tiny, shapes):
    with serve(shapes) as server:
        missing = sorted(path.name for path in shapes.glob("*.tar"))[2]
        server.faults = {missing: ["none"] + [404] * 99}
        code, output = warm.train(overrides_for(tiny, server, "data.mode=resident", "data.on_error=skip"), 2)
    assert code != 0
    assert "the processes could not read different images" in output
    assert "DataError" not in output
    assert "RuntimeError" not in output


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_two_ranks_skip_a_lost_shard_and_train_to_the_end(tiny, shapes, tmp_path, mode):
    with serve(shapes) as server:
        missing = sorted(path.name for path in shapes.glob("*.tar"))[2]
        server.faults = {missing: [404] * 999}
        more = (f"data.mode={mode}", "data.workers=1", "data.on_error=skip", "train.images=1200")
        code, output = warm.train(overrides_for(tiny, server, *more), 2)
    assert code == 0, output
    assert f"WARNING: skipped: {server.url}/{missing} cannot be fetched: the server answered 404" in output
    assert (tmp_path / "quickstart" / "generator.safetensors").exists()
