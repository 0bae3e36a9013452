"""How long a training takes to end when W&B's server does not let go of it."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support.processes import ALONE, start, wait_for
from tests.support.wandb_server import fake_wandb

pytestmark = pytest.mark.slow
AFTER_THE_FAREWELL = 5.0  # seconds; W&B's own hook takes 15 to 97 more


@pytest.mark.parametrize(("behaviour", "stopped"), [("hang", True), ("drip", True), ("drip", False)])
def test_a_server_that_does_not_let_go_keeps_the_process_no_longer_than_promised(tiny, tmp_path, behaviour, stopped):
    """10 s after a signal and 30 s else for W&B, and twice 5 s for its own process, as docs/wandb.md says."""
    limit = (10 if stopped else 30) + 2 * 5 + AFTER_THE_FAREWELL
    run = tmp_path / "quickstart"
    with fake_wandb() as server:
        wandb = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "k" * 40}
        overrides = [option for option in tiny() if not option.startswith(("wandb.", "train.images"))]
        images = "train.images=1200000" if stopped else "train.images=2400"
        process = start([*ALONE, *overrides, "wandb.mode=online", images], log := tmp_path / "log", **wandb)
        wait_for(lambda: (run / "metrics.jsonl").exists() and server.history, process)
        server.behaviour = behaviour
        if stopped:
            begin = time.monotonic()
            process.send_signal(signal.SIGTERM)
        else:
            wait_for(lambda: (run / "generator.safetensors").exists(), process)
            begin = time.monotonic()
        farewell = "stopped by SIGTERM at" if stopped else "done: "
        wait_for(lambda: farewell in log.read_text(), process)
        said = time.monotonic()
        assert process.wait(limit) == (143 if stopped else 0), log.read_text()
        assert time.monotonic() - said < AFTER_THE_FAREWELL, log.read_text()
        assert time.monotonic() - begin < limit, log.read_text()
    assert "to upload this run to W&B: wandb sync" in log.read_text()
