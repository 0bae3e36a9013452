"""The table of quality against seconds: what a row is, what is refused, what a stopped or failed training leaves."""

from __future__ import annotations

import datetime
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from benchmarks.quality import __main__ as quality
from distgan.metrics.protocol import load_scores
from distgan.training.run_dir import locked
from distgan.utils.errors import ConfigError, LaunchError, QualityError
from distgan.utils.safe_io import read_json
from tests.support.processes import run, start
from tests.unit.training.test_early_stopping import FD, PROTOCOL, scores

COMMAND = (sys.executable, "-m", "benchmarks.quality")
MARKS = ("<!-- training: begin -->", "<!-- training: end -->")
TINY = (
    "generator.width=8",  # of dcgan; r3gan has no such key
    "discriminator.width=8",
    "train.batch_size=12",
    "train.cpu_threads=1",
    "log.every_steps=5",
    "log.samples=4",
    "checkpoint.every_steps=20",
)
SETTINGS = {"extractor": "efficientnet_lite0", "count": 20, "reference_count": 40, "reference_digest": "ab" * 32}
SETTINGS |= {"hardware": "a machine", "torch": "2", "python": "3"}


def row(day: int = 1, images: int = 1200, extractor: str = "efficientnet_lite0", **values: float):
    found = scores(images, PROTOCOL.model_copy(update={"extractor": extractor}), **values)
    return quality.Row(found, datetime.date(2026, 1, day))


def command(out: Path, data: Path, recipes: str, seconds: str, *more: str) -> list[str]:
    """As documented: options, and then keys. The embedded shapes need no network, so a test takes seconds."""
    options = ["--data", str(data), "--recipes", recipes, "--seconds", seconds, "--extractor", "none"]
    return [*COMMAND, str(out), *options, "--count", "20", *more, *TINY]


@pytest.mark.parametrize(
    ("launch", "means"),
    [
        ([], ""),
        (["--launch=--multi_gpu"], "--multi_gpu"),
        (["--launch=--num_processes 2 --cpu"], "--num_processes 2 --cpu"),
    ],
)
def test_keys_stand_after_the_options_and_the_launchers_options_after_a_sign(launch, means):
    args = quality.parse(["out", "--data", "shards", *launch, "--seconds", "300,60", "train.batch_size=12", "a.b=1"])
    assert (args.launch, args.seconds, args.overrides) == (means, [60, 300], ["train.batch_size=12", "a.b=1"])


@pytest.mark.parametrize("text", ["0", "60,x", "1.5", ""])
def test_seconds_are_whole_numbers_above_0(text, capsys):
    with pytest.raises(SystemExit):
        quality.parse(["out", "--data", "shards", "--seconds", text])
    assert f"--seconds: invalid whole_seconds value: '{text}'" in capsys.readouterr().err


def test_a_recipe_of_other_data_and_a_key_of_the_benchmark_are_refused():
    with pytest.raises(ConfigError, match="no recipe for CIFAR-10: seed_frogs; there are dcgan, sngan"):
        quality.parse(["out", "--data", "shards", "--recipes", "dcgan,seed_frogs"])
    with pytest.raises(ConfigError, match="train.seconds is set by this benchmark"):
        quality.parse(["out", "--data", "shards", "train.seconds=5"])


def test_the_table_has_every_recipe_for_the_seconds_asked_for_and_found():
    rows = {("dcgan", 60): row(fd_efficientnet_lite0=12.34567), ("sngan", 90): row(day=3, images=5)}
    text = quality.table(rows, {("dcgan", 300): 4}, [60, 300], SETTINGS, "the command")
    lines = text.splitlines()
    assert lines[0] == "| recipe | seconds | images | fd | kd | precision | recall | coverage |"
    assert [line.split(" | ")[:2] for line in lines[2:-2]] == [
        [f"| {recipe}", seconds] for recipe in quality.RECIPES for seconds in ("60", "90", "300")
    ]
    assert lines[2] == "| dcgan | 60 | 1,200 | 12.35 | - | - | - | - |"
    assert lines[3] == f"| dcgan | 90 |{' not measured |' * 6}"
    assert lines[4] == f"| dcgan | 300 |{' failed (exit 4) |' * 6}"
    assert lines[6] == "| sngan | 90 | 5 | - | - | - | - | - |"
    assert "; 2026-01-01 to 2026-01-03, n = 1; efficientnet_lite0, 20 images against 40, data abab" in lines[-1]


def test_without_an_extractor_the_table_has_what_is_told_of_the_shapes():
    settings = {**SETTINGS, "extractor": "none", "reference_count": None}
    rows = {("dcgan", 60): row(extractor="none", shapes_recognised=0.25)}
    lines = quality.table(rows, {}, [60], settings, "the command").splitlines()
    assert lines[0].startswith("| recipe | seconds | images | shapes_recognised | shapes_sharp |")
    assert lines[2].startswith("| dcgan | 60 | 1,200 | 0.25 | - |")
    assert "; 2026-01-01, n = 1; none, 20 images, data abab" in lines[-1]


@pytest.mark.parametrize(("name", "other"), [("count", 30), ("reference_digest", "cd"), ("hardware", "another")])
def test_other_settings_are_refused_and_named(tmp_path, name, other):
    path = tmp_path / "settings.json"
    quality.keep_settings(path, SETTINGS)
    quality.keep_settings(path, SETTINGS)
    with pytest.raises(QualityError, match=f"{name}={SETTINGS[name]}, this call has {other}; choose another OUT"):
        quality.keep_settings(path, {**SETTINGS, name: other})
    assert read_json(path, 1 << 16) == SETTINGS


def test_only_whole_rows_of_known_recipes_are_found(tmp_path):
    for name in ("dcgan-60", "sngan_conditional-300", "dcgan-90.partial", "seed_frogs-60", "notes-1"):
        quality.save_scores(tmp_path / name / "scores.json", scores(**{FD: 1.0}))
    (tmp_path / "dcgan-30").mkdir()
    assert set(quality.finished(tmp_path)) == {("dcgan", 60), ("sngan_conditional", 300)}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--data", "nowhere"], "does not exist"),
        (["--data", "DATA", "--count", "0"], "evaluate.count"),
        (["--data", "DATA", "--extractor", "eye"], "evaluate.extractor"),
        (["--data", "DATA", "--into", "nowhere.md"], "No such file or directory: 'nowhere.md'"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_trained(tmp_path, shapes, monkeypatch, capsys, options, sentence):
    options = [str(shapes) if option == "DATA" else option for option in options]
    monkeypatch.setattr("sys.argv", ["quality.py", str(tmp_path / "out"), *options])
    assert quality.main() == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_rows_are_trained_for_their_seconds_and_kept_while_others_come_and_fail(tmp_path, shapes):
    out, document = tmp_path / "out", tmp_path / "page.md"
    document.write_text("\n".join(MARKS))
    into = ("--into", str(document))
    code, text = run(command(out, shapes, "dcgan", "2,4", *into))
    assert code == 0, text
    first = {seconds: load_scores(out / f"dcgan-{seconds}" / "scores.json") for seconds in (2, 4)}

    code, text = run(command(out, shapes, "r3gan,dcgan", "2,3,4", *into))
    assert code == 1, text
    assert "generator.width" in text
    assert "r3gan for 2 s: failed (exit 1), as said above" in text
    assert {path.name for path in out.iterdir()} == {
        *(f"dcgan-{seconds}" for seconds in (2, 3, 4)),
        "settings.json",
        "results.md",
    }
    rows = {seconds: load_scores(out / f"dcgan-{seconds}" / "scores.json") for seconds in (2, 3, 4)}
    assert {seconds: rows[seconds] for seconds in (2, 4)} == first
    for seconds, more in ((2, 2), (3, 1), (4, 2)):
        trained = yaml.safe_load((out / f"dcgan-{seconds}" / "config.yaml").read_text())["train"]["seconds"]
        assert trained == more, "what the row before has is not trained again"
    begun = (out / "dcgan-2" / "metrics.jsonl").read_text()
    for seconds in (3, 4):
        assert (out / f"dcgan-{seconds}" / "metrics.jsonl").read_text().startswith(begun)
        assert rows[seconds].images_seen > rows[2].images_seen
        assert (out / f"dcgan-{seconds}" / "grid.png").is_file()

    page = document.read_text()
    for seconds, row in rows.items():
        assert f"| dcgan | {seconds} | {row.images_seen:,} | {row.values['shapes_recognised']:.4g} |" in page
    assert page.count("failed (exit 1)") == 3 * (1 + len(quality.SHAPES)), "r3gan's three rows"

    code, text = run(command(out, shapes, "r3gan", "2", *into))
    assert code == 1, text
    assert all(f"| dcgan | {seconds} | {row.images_seen:,} |" in document.read_text() for seconds, row in rows.items())

    before = document.read_bytes()
    code, text = run(command(out, shapes, "dcgan", "2", *into, "--count", "30"))
    assert code == 2
    assert "count=20, this call has 30; choose another OUT" in text
    assert "Traceback" not in text
    assert document.read_bytes() == before


@contextmanager
def locked_soon(run_dir: Path) -> Iterator[None]:
    """The lock, once its holder is gone."""
    with ExitStack() as stack:
        for _ in range(300):
            try:
                stack.enter_context(locked(run_dir))
                break
            except LaunchError:
                time.sleep(0.1)
        else:
            pytest.fail(f"{run_dir} is still held after 30 s")
        yield


@pytest.mark.slow
def test_a_row_that_was_killed_is_made_anew_but_not_while_its_training_goes_on(tmp_path, shapes):
    out = tmp_path / "out"
    arguments, partial = command(out, shapes, "dcgan", "3"), out / "dcgan-3.partial"
    harness = start(arguments, tmp_path / "log")
    try:
        until = time.monotonic() + 90
        while not list(partial.glob("checkpoints/step-*")):
            assert harness.poll() is None
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.05)
    finally:
        os.killpg(harness.pid, signal.SIGKILL)
        harness.wait()
    assert not (out / "dcgan-3").exists()
    (partial / "of the killed one").touch()

    with locked_soon(partial):  # the killed processes may take a moment to be gone
        code, text = run(arguments)
    assert code == 2, text
    assert "another training is writing to" in text
    assert (partial / "of the killed one").exists()

    code, text = run(arguments)
    assert code == 0, text
    assert "resumed from" not in text
    assert not partial.exists()
    assert not (out / "dcgan-3" / "of the killed one").exists()
    assert load_scores(out / "dcgan-3" / "scores.json").images_seen > 0
