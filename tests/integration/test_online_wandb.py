"""A real training, recorded online on a real server, and read back from it."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from distgan.training.tracking.jsonl import read_metrics
from tests.support.processes import ALONE, run
from tests.support.wandb_service import wandb_service

pytestmark = [pytest.mark.slow, pytest.mark.needs("openwandb")]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with wandb_service(tmp_path_factory.mktemp("wandb")) as service:
        yield service


def test_an_online_run_has_its_curves_images_settings_and_generators_on_the_server(service, tiny, tmp_path):
    overrides = [override for override in tiny("wandb.project=one") if override != "wandb.mode=disabled"]
    code, output = run([*ALONE, *overrides], **service.environment)
    assert code == 0, output
    assert f"W&B: {service.url}" in output
    recorded = service.only_run("one")
    rows = read_metrics(tmp_path / "quickstart" / "metrics.jsonl")
    for name in ("loss/d", "loss/g", "d/real_prob", "grad_norm/g"):
        assert recorded.curve(name) == [(row["images"], pytest.approx(row[name])) for row in rows]
    assert recorded.row["display_name"] == "quickstart"
    assert recorded.row["state"] == "finished"
    assert recorded.config
    for name in ("samples/fakes", "samples/reals"):
        assert [Image.open(io.BytesIO(image)).format for image in recorded.images(name)], name
    (generator,) = recorded.artifacts()
    assert (generator["name"], generator["artifact_type"]) == ("generator-quickstart", "model")
    assert generator["metadata"]["images_seen"] == 240
    assert recorded.summary()["loss/d"] == pytest.approx(rows[-1]["loss/d"])
