"""The sentence for an error that ends a stage. Real launches: tests/integration."""

from __future__ import annotations

from distgan.doctor.runner import explain
from distgan.utils.errors import DataError, LaunchError, Stopped


def test_the_error_that_ended_a_stage_is_explained():
    assert explain("dry run", DataError("a shard"), "").line() == (
        "FAIL  dry run: a shard; fix that and run this again"
    )
    assert explain("same recipe", LaunchError("rank 1"), "").advice == (
        "start all processes with the same command and run this again"
    )
    peer = RuntimeError("Connection closed by peer [1.2.3.4]")
    assert explain("dry run", peer, "rank 1 (b): no memory").text == "rank 1 (b): no memory"
    assert explain("dry run", peer, "").text.startswith(
        "another process has ended without an error message (Connection closed"
    )
    assert explain("dry run", Stopped("x", 15), "").text.startswith("stopped by SIGTERM, as launchers do")
    assert explain("dry run", RuntimeError("odd"), "").text == "RuntimeError: odd"
