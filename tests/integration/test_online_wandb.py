"""A real training, recorded online on a real server, and read back from it."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable

import pytest
from PIL import Image

from distgan.config.keys import flatten
from distgan.config.load import load_config
from distgan.training.checkpoint.storage import steps
from distgan.training.tracking.jsonl import read_metrics
from tests.support.processes import ALONE, ROOT, TWO, kill_all, run, start, wait_for
from tests.support.wandb_service import Run, wandb_service
from tests.unit.training.tracking.test_wandb import documented

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


def test_the_page_of_a_training_that_was_killed_after_its_last_step_stands_at_its_end(service, tiny, tmp_path):
    overrides = [override for override in tiny("wandb.project=again") if override != "wandb.mode=disabled"]
    for _ in range(2):
        code, output = run([*ALONE, *overrides], **service.environment)
        assert code == 0, output
        (tmp_path / "quickstart" / "generator.safetensors").unlink()  # as if it had not got so far
    rows = service.only_run("again").history()
    assert [row["images"] for row in rows] == sorted(row["images"] for row in rows)
    assert [row["images"] for row in rows if "report" in row][-1] == 240


DOCUMENTED_ELSEWHERE = {  # with a GPU, fp16, faults, classes that are not matched
    *("memory/device_gb", "speed/peak_share", "precision/scale_d", "precision/scale_g"),
    *("data/skipped", "watchdog/rollbacks", "loss/mode_seeking"),
}
ALL_THERE_IS = (  # what makes the metrics that a usual run does not have
    *("loss.r1_gamma=1", "discriminator.spectral_norm=true", "balance.enabled=true", "augment.kind=ada"),
    *("optimizer.generator.decay=1e-4", "optimizer.discriminator.decay=1e-4"),
    *("evaluate.every_images=1200", "evaluate.count=20", "evaluate.reference_count=40"),
    *("checkpoint.every_steps=20", "log.samples_every_steps=50", "wandb.mode=auto", "wandb.project=two"),
    *("wandb.tags=shapes,two", "wandb.notes=killed once", "log.every_steps=10"),
)


def test_what_is_documented_is_read_back_from_an_online_run_of_two_processes_that_was_killed_once(
    service, tiny, tmp_path
):
    """One W&B run; its rows are those of metrics.jsonl, but what W&B had not sent when it was killed."""
    command, directory = [*TWO, *tiny(*ALL_THERE_IS)], tmp_path / "quickstart"
    process = start([*command, "train.images=1_000_000"], tmp_path / "log", **service.environment)
    wait_for(lambda: (runs := service.runs("two")) and runs[0].rows() > 5, process)
    kill_all(process)
    sent = service.only_run("two").history()
    images = steps(directory / "checkpoints")[-1] * 12 + 2400
    code, output = run([*command, f"train.images={images}"], **service.environment)
    assert code == 0, output
    recorded, kept = service.only_run("two"), read_metrics(directory / "metrics.jsonl")
    assert (recorded.row["state"], recorded.row["notes"]) == ("finished", "killed once")
    assert set(recorded.row["tags"]) == {"shapes", "two"}
    by_images = {row["images"]: row for row in recorded.history() if "loss/d" in row}
    lost = {row["images"] for row in kept} - by_images.keys()
    resumed = int(re.search(r"resumed? .*?([\d,]+) images", output)[1].replace(",", ""))
    assert max(row["images"] for row in sent) < min(lost, default=math.inf), "only what was not sent is missing"
    assert max(lost, default=0) <= resumed
    for row in kept:
        for name in row if row["images"] in by_images else ():
            assert by_images[row["images"]][name] == pytest.approx(row[name]), name
    shown = {
        value["path"]
        for row in recorded.history()
        if row["images"] > resumed
        for value in row.values()
        if is_file(value)
    }
    assert shown <= recorded.files()
    assert f"{images:,} of {images:,} images (100 %)" in recorded.output()
    assert recorded.summary()["state"] == "finished"
    settings = set(flatten(load_config(directory / "config.yaml").model_dump(mode="json")))
    table = TABLE.format(**names_of(recorded, settings))
    assert table in (ROOT / "docs" / "wandb.md").read_text(), table


TABLE = """\
| what | read back |
| --- | --- |
| metrics | {metrics} |
| scores, each with its curves beside it | {scores} |
| images | {images} |
| summary | {summary} |
| settings | {settings} |
| artifacts | {artifacts} |
"""


def is_file(value: object) -> bool:
    return isinstance(value, dict) and "path" in value


INCEPTION = {"quality/fid", "quality/kid", "quality/inception_score"}


def min_or_max(summary: dict[str, float]) -> float:
    return summary["min"] if "min" in summary else summary["max"]


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def names_of(recorded: Run, settings: set[str]) -> dict[str, str]:
    """What the server has, by name, for the table of docs/wandb.md."""
    names = {name for row in recorded.history() for name in row if not name.startswith("_")}
    scores = {name.removeprefix("quality/") for name in names if name.startswith("quality/")}
    images = {name for name in names if name.startswith("samples/")} | {"report"} & names
    summary = recorded.summary()
    extremes = {"max", "last"}, {"min", "last"}
    assert all(set(summary[f"quality/{score}"]) in extremes for score in scores)
    assert all(summary[f"quality_best/{score}"] == min_or_max(summary[f"quality/{score}"]) for score in scores)
    assert all(recorded.images(name) for name in images)
    beside = {f"{kind}/{score}" for kind in ("quality", "quality_real", "quality_best") for score in scores}
    metrics = names - images - beside
    assert metrics == set(documented("metric")) - DOCUMENTED_ELSEWHERE | {"images"}
    of_this_extractor = {name for name in documented("score") if not name.endswith(("_inception", "_classifier"))}
    assert {f"quality/{score}" for score in scores} == of_this_extractor - INCEPTION
    assert images - {"report"} == set(documented("image in W&B"))
    assert recorded.config.keys() >= settings
    generators = {(artifact["name"], artifact["artifact_type"]) for artifact in recorded.artifacts()}
    return {
        "metrics": listed(metrics),
        "scores": listed(scores),
        "images": listed(images),
        "summary": listed({name for name in documented("in W&B's summary") if "SCORE" not in name} & summary.keys()),
        "settings": listed(name for name in recorded.config if name.startswith("run/")),
        "artifacts": ", ".join(f"`{name}` ({kind})" for name, kind in generators),
    }
