"""The table of quality against seconds: what a row is, what is refused, what a stopped or failed training leaves."""

from __future__ import annotations

import datetime
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import yaml

from benchmarks.common.markdown import spread
from benchmarks.quality import __main__ as quality
from benchmarks.quality import options, rows, speeds, table
from benchmarks.quality.chart import Axis, apart, chart, duration, ticks
from benchmarks.quality.options import Judge, parse
from benchmarks.quality.rows import CANDIDATES, RECIPES, Key, Row, budget, finished, trained
from benchmarks.quality.table import Asked, page
from distgan.config.load import load_config
from distgan.metrics.protocol import load_scores, save_scores
from distgan.metrics.registry import SHAPES
from distgan.training.run_dir import locked
from distgan.utils.errors import ConfigError, LaunchError, QualityError
from distgan.utils.safe_io import read_json
from tests.support.processes import run, start
from tests.unit.training.test_early_stopping import FD, PROTOCOL, scores

COMMAND = (sys.executable, "-m", "benchmarks.quality")
MARKS = ("<!-- training: begin -->", "<!-- training: end -->")
LITE, OTHER = "efficientnet_lite0", "another"
TINY = (
    "generator.width=8",  # of dcgan; r3gan has no such key
    "discriminator.width=8",
    "train.batch_size=12",
    "train.cpu_threads=1",
    "log.every_steps=5",
    "log.samples=4",
    "checkpoint.every_steps=20",
)
SETTINGS = {"hardware": "a machine", "torch": "2", "python": "3", "budget": "seconds"}
SVG = "{http://www.w3.org/2000/svg}"


def row(day: int = 1, images: int = 1200, judge: str = LITE, **values: float) -> Row:
    return both(day, **{judge: scored(images, judge, **values)})


def scored(images: int, judge: str, **values: float):
    return scores(images, PROTOCOL.model_copy(update={"extractor": judge}), **values)


def both(day: int = 1, **by_judge) -> Row:
    return Row(by_judge, datetime.date(2026, 1, day))


def lines_of(text: str) -> list[list[str]]:
    """The cells of each line."""
    return [line.strip("| ").split(" | ") for line in text.splitlines()]


def command(out: Path, data: Path, recipes: str, seconds: str, *more: str) -> list[str]:
    """As documented: options, and then keys. The embedded shapes need no network, so a test takes seconds."""
    asked = ["--data", str(data), "--recipes", recipes, "--seconds", seconds, "--extractors", "none"]
    return [*COMMAND, str(out), *asked, "--count", "20", *more, *TINY]


@pytest.mark.parametrize(
    ("launch", "means"),
    [
        ([], ""),
        (["--launch=--multi_gpu"], "--multi_gpu"),
        (["--launch=--num_processes 2 --cpu"], "--num_processes 2 --cpu"),
    ],
)
def test_keys_stand_after_the_options_and_the_launchers_options_after_a_sign(launch, means):
    args = parse(["out", "--data", "shards", *launch, "--seconds", "300,60", "train.batch_size=12", "a.b=1"])
    assert (args.launch, args.seconds, args.overrides) == (means, [60, 300], ["train.batch_size=12", "a.b=1"])


@pytest.mark.parametrize(
    ("option", "text", "sentence"),
    [
        ("--seconds", "0", "'0' must be a whole number, at least 1"),
        ("--seconds", "60,x", "'x' must be a whole number"),
        ("--seconds", "1.5", "'1.5' must be"),
        ("--seconds", "", "'' must be"),
        ("--seeds", "0,-1", "'0,-1' must be whole numbers, at least 0, such as 0,1,2"),
        ("--extractors", "inception,inception=a", "'inception,inception=a' names a judge twice"),
        ("--budget", "steps", "invalid choice: 'steps'"),
    ],
)
def test_what_an_option_does_not_take_is_named(option, text, sentence, capsys):
    with pytest.raises(SystemExit):
        parse(["out", "--data", "shards", f"{option}={text}"])
    assert f"argument {option}: {sentence}" in capsys.readouterr().err


def test_seeds_and_judges_are_lists_and_a_judge_may_have_a_file(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    args = parse(["out", "--data", "shards", "--seeds", "2,0", "--extractors", "none,inception=it.pth,lab.eyes:Eye"])
    assert args.seeds == [2, 0]
    assert args.extractors == [
        Judge("none", None),
        Judge("inception", tmp_path / "it.pth"),
        Judge("lab.eyes:Eye", None),
    ]
    assert args.extractors[2].name == "Eye"
    args = parse(["out", "--data", "shards", "--extractor", "none"])
    assert (args.seeds, args.extractors) == ([0], [Judge("none", None)]), "as before there were several"


def test_an_independent_judge_is_asked_too_where_nothing_is_said_and_the_document_has_a_line_for_each_recipe():
    args = parse(["out", "--data", "shards"])
    names = [judge.name for judge in args.extractors]
    assert names == ["efficientnet_lite0", "classifier"]
    text = (rows.ROOT / "docs" / "quality.md").read_text().split(MARKS[0])[1].split(MARKS[1])[0]
    head, _, *lines = [line for line in text.splitlines() if line.startswith("|")]
    shown = [line.split(" | ")[0].strip("| ") for line in lines]
    assert [name for name in shown if name in RECIPES] == [name for name in RECIPES for _ in args.seconds]
    assert all(f"fd_{name}" in head for name in names)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--recipes", "dcgan,seed_frogs"], "no recipe for CIFAR-10: seed_frogs; there are dcgan, sngan"),
        (["train.seconds=5"], "train.seconds is set by this benchmark"),
        (["run.seed=5"], "run.seed is set by this benchmark"),
        (["--chart", "a.png"], "--chart a.png: the chart is an SVG; call it a.svg"),
        (["--chart", "a.svg", "--extractors", "none"], "the extractor none has none"),
        (["--chart", "nodir/q.svg"], "--chart nodir/q.svg: there is no directory nodir; make it, or name another file"),
        (["--chart", "dir.svg"], "--chart dir.svg is a directory; name a file in it, such as dir.svg/quality.svg"),
    ],
)
def test_a_recipe_of_other_data_a_key_of_the_benchmark_and_a_chart_of_nothing_are_refused(
    tmp_path, monkeypatch, more, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dir.svg").mkdir()
    with pytest.raises(ConfigError, match=sentence):
        parse(["out", "--data", "shards", *more])


def test_a_chart_may_lie_in_the_out_that_is_yet_to_be_made(tmp_path):
    out = tmp_path / "out"
    assert parse([str(out), "--data", "shards", "--chart", str(out / "q.svg")]).chart == out / "q.svg"


def test_overrides_that_some_recipe_takes_are_right_and_those_that_none_takes_are_told_with_its_name():
    def asked(recipes, *overrides):
        return options.check_overrides(parse(["out", "--data", "shards", "--recipes", recipes, *overrides]))

    asked("r3gan,dcgan", *TINY)
    with pytest.raises(ConfigError, match=r"^r3gan: .*generator\.width"):
        asked("r3gan", *TINY)
    with pytest.raises(ConfigError) as told:
        asked("sngan,r3gan", "generator.width=8", "train.batchsize=32")
    wrong, alone = str(told.value).splitlines()
    assert wrong == "sngan, r3gan: override: unknown key train.batchsize; nearest: train.batch_size"
    assert alone.startswith("r3gan: override: generator.width does not go with generator.family=r3gan; ")


def test_the_recipes_are_those_for_all_of_cifar10_and_the_candidates():
    known = list(rows.files())
    assert tuple(known[: len(RECIPES)]) == RECIPES
    assert {"sngan_cpu", "sngan_cpu_diffaugment", "r3gan_cpu"} <= set(known)
    assert not {"seed_frogs", "quickstart", "sngan_64"} & set(known)


@pytest.mark.parametrize("path", sorted(CANDIDATES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_candidate_builds_on_a_recipe_and_learns_classes_of_cifar10_in_bf16(path):
    config, base = load_config(path), yaml.safe_load(path.read_text())["base"]
    assert base.removeprefix("./").removesuffix(".yaml") in (*rows.files(), "r3gan_small")
    assert config.run.name == path.stem
    assert (config.data.prepare, config.data.classes, config.train.precision) == ("cifar10", None, "bf16")
    assert config.generator.conditional
    assert config.discriminator.conditional
    assert config.evaluate.every_images is None


def test_a_row_ends_by_the_clock_or_by_the_images_that_the_speed_makes_of_its_seconds():
    assert budget(600, 60, None) == ["train.seconds=540", f"train.images={rows.UNLIMITED}"]
    assert budget(600, 60, 12.5) == ["train.seconds=null", "train.images=7500"]
    assert budget(1, 0, 0.1) == ["train.seconds=null", "train.images=1"]


def test_the_table_has_the_lines_asked_for_and_those_found():
    found = {Key("dcgan", 60, 0): row(**{FD: 12.34567}), Key("sngan", 90, 0): row(day=3, images=5)}
    asked = Asked(["dcgan", "cifar10"], [60, 300], [LITE])
    text = page(found, {Key("dcgan", 300, 0): 4}, asked, SETTINGS, "the command")
    lines = lines_of(text)
    names = [f"{name}_{LITE}" for name in ("fd", "recall", "coverage")]
    assert lines[0] == ["recipe", "n", "seconds", "images", "images/s", *names]
    assert lines[2:-2] == [
        ["dcgan", "1", "60", "1,200", "20", "12.35", "-", "-"],
        ["dcgan", "0", "300", *["failed (exit 4)"] * 5],
        ["sngan", "1", "90", "5", "0.05556", "-", "-", "-"],
        ["cifar10", "0", "60", *["not measured"] * 5],
        ["cifar10", "0", "300", *["not measured"] * 5],
    ]
    last = text.splitlines()[-1]
    assert last.startswith(
        "`the command`; a machine; torch 2, Python 3; 2026-01-01 to 2026-01-03; n: seeds (0); a row's"
    )
    assert last.endswith("; efficientnet_lite0, 20 images against 40, data aa.")


def test_several_seeds_are_a_mean_and_a_range_and_what_a_judge_has_not_seen_yet_is_said():
    found = {
        Key("dcgan", 60, seed): both(
            **{LITE: scored(600 + 6 * seed, LITE, **{FD: 10.0 + seed})},
            **({OTHER: scored(600, OTHER, fd_another=2.0, class_accuracy_another=0.5)} if seed == 1 else {}),
        )
        for seed in (0, 1, 2)
    }
    asked = Asked(["dcgan", "sngan"], [60], [LITE, OTHER])
    lines = lines_of(table.table(found, {Key("dcgan", 60, 3): 4}, asked))
    columns = dict(zip(lines[0], lines[2], strict=True))
    assert columns["n"] == "3; another failed (exit 4)"
    assert columns["images"] == "606 (600 ... 612)"
    assert columns["images/s"] == "10.1 (10 ... 10.2)"
    assert columns[FD] == "11 (10 ... 12)"
    assert (columns["fd_another"], columns["class_accuracy_another"]) == ("2, n = 1", "0.5, n = 1")
    assert columns["recall_another"] == "-"
    assert f"class_accuracy_{LITE}" not in columns
    only_one = {Key("dcgan", 60, 0): found[Key("dcgan", 60, 0)]}
    assert lines_of(table.table(only_one, {}, asked))[2][-3:] == ["not measured"] * 3


def test_values_that_read_the_same_are_one_number():
    assert spread([1.0, 2.0, 6.0]) == "3 (1 ... 6)"
    assert spread([1200.0, 1300.0], ",.0f") == "1,250 (1,200 ... 1,300)"
    assert spread([0.25]) == spread([0.25, 0.25000001]) == "0.25"


def test_the_last_line_is_what_other_real_images_score():
    real = scored(5, LITE, **{FD: 9.0}).model_copy(update={"real_values": {FD: 1.5}})
    lines = lines_of(table.table({Key("dcgan", 60, 0): both(**{LITE: real})}, {}, Asked([], [], [])))
    assert lines[-1] == ["other real images", *[""] * 4, "1.5", "-", "-"]


def test_without_an_extractor_the_table_has_what_is_told_of_the_shapes():
    protocol = PROTOCOL.model_copy(update={"extractor": "none", "reference_count": None})
    found = {Key("dcgan", 60, 0): both(none=scores(1200, protocol, shapes_recognised=0.25))}
    text = page(found, {}, Asked(["dcgan"], [60], ["none"]), SETTINGS, "the command")
    assert lines_of(text)[0][5:7] == ["shapes_recognised", "shapes_sharp"]
    assert lines_of(text)[2][3:7] == ["1,200", "20", "0.25", "-"]
    assert text.endswith("; none, 20 images, data aa.")


def test_facts_of_a_budget_of_images_say_how_the_speeds_were_measured(tmp_path):
    assert speeds.told(tmp_path, "wall") == ""
    turns = [{"images_per_second": 5.0, "cores_of_others": used} for used in (0.1, 0.75)]
    known = {"turn_seconds": 30, "recipes": {"dcgan": turns}}
    (tmp_path / "speed.json").write_text(json.dumps(known))
    text = page({Key("dcgan", 60, 0): row()}, {}, Asked([], [], []), SETTINGS, "it", speeds.told(tmp_path, "wall"))
    assert "sees training alone, in so many seconds (speed.json: median of 3 turns of 30 s; other processes" in text
    assert "up to 0.75 cores meanwhile)" in text
    assert "wall clock" not in text
    assert "sees in so many seconds of its own CPU time (speed.json" in speeds.told(tmp_path, "cpu")


def test_a_speed_is_that_of_the_steps_after_the_first_quarter_of_a_turn():
    lines = [{"images": 10 * step, "seconds": float(step)} for step in range(1, 9)]
    lines[0]["images"] = -1000
    assert speeds.speed(lines, 8) == 10.0
    halved = [{**line, "cpu_seconds": 7 + line["seconds"] / 2} for line in lines]
    assert speeds.speed(halved, 8, "cpu_seconds") == 20.0
    assert speeds.median([{"images_per_second": value} for value in (1.0, 50.0, 2.0)], "wall") == 2.0
    with pytest.raises(ValueError, match="1 lines"):
        speeds.speed(lines, 32)


def test_cores_of_others_are_what_all_have_worked_without_the_children(monkeypatch):
    monkeypatch.setattr(speeds, "_busy", iter([100.0, 108.0]).__next__)
    monkeypatch.setattr(speeds, "_of_children", iter([1.0, 4.0]).__next__)
    monkeypatch.setattr(speeds, "time", SimpleNamespace(perf_counter=iter([0.0, 2.0]).__next__))
    with speeds.others() as used:
        pass
    assert used == [2.5]


def test_a_watched_training_s_lines_come_with_the_time_that_children_have_worked(monkeypatch, tmp_path):
    monkeypatch.setattr(speeds, "_of_running_children", iter([1.5, 2.5]).__next__)
    path = tmp_path / "metrics.jsonl"
    with speeds.watched(path) as lines:
        for number, text in enumerate(('{"images": 12}\n{"ima', 'ges": 24}\n{"image'), 1):
            with path.open("a") as file:
                file.write(text)
            until = time.monotonic() + 30
            while len(lines) < number and time.monotonic() < until:
                time.sleep(0.01)
    assert lines == [{"images": 12, "cpu_seconds": 1.5}, {"images": 24, "cpu_seconds": 2.5}]


def test_a_child_s_time_is_what_it_has_worked_not_how_long_it_lives():
    script = "import time\nwhile time.process_time() < 0.3: pass\nprint('worked', flush=True)\ntime.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "worked\n"
        time.sleep(0.2)
        assert 0.25 < speeds._of_running_children() < 0.45
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize(
    "more",
    [["train.cpu_threads=1"], ["--budget", "images"], ["--budget=images", "--launch=--cpu", "train.cpu_threads=1"]],
)
def test_the_cpu_s_clock_is_for_one_process_of_one_thread(more):
    with pytest.raises(ConfigError, match="--clock cpu is for --budget images with one process of one thread; add"):
        parse(["out", "--data", "shards", "--clock", "cpu", *more])


def test_the_cpu_s_clock_is_not_for_a_gpu(monkeypatch):
    right = ["out", "--data", "shards", "--clock", "cpu", "--budget", "images", "train.cpu_threads=1"]
    monkeypatch.setattr(options.torch.cuda, "is_available", lambda: False)
    assert parse(right).clock == "cpu"
    monkeypatch.setattr(options.torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="training is on the GPU here; use --clock wall"):
        parse(right)


def turns_of(monkeypatch, tmp_path, broken: str = "") -> tuple[list[str], tuple[dict[str, float], dict[str, int]]]:
    """The order of the turns that a call takes, and what it returns."""
    taken: list[str] = []

    def turn(recipe, _args):
        taken.append(recipe)
        return 4 if recipe == broken else {"images_per_second": float(len(taken)), "cores_of_others": 0.0}

    monkeypatch.setattr(speeds, "turn", turn)
    args = parse([str(tmp_path), "--data", "shards", "--recipes", "dcgan,sngan"])
    return taken, speeds.measured(args, {"hardware": "a machine"})


def test_the_recipes_take_turns_in_alternating_order_and_a_second_call_takes_none(monkeypatch, tmp_path):
    taken, (known, failed) = turns_of(monkeypatch, tmp_path)
    assert taken == ["dcgan", "sngan", "sngan", "dcgan", "dcgan", "sngan"]
    assert (known, failed) == ({"dcgan": 4.0, "sngan": 3.0}, {})
    taken, again = turns_of(monkeypatch, tmp_path)
    assert (taken, again) == ([], (known, {}))
    assert read_json(tmp_path / "speed.json", 1 << 16)["hardware"] == "a machine"
    args = parse([str(tmp_path), "--data", "shards", "--turn-seconds", "7"])
    with pytest.raises(QualityError, match="turn_seconds=30, this call has 7; choose another OUT"):
        speeds.measured(args, {"hardware": "a machine"})


def test_a_recipe_whose_turn_fails_takes_no_more_and_has_no_speed(monkeypatch, tmp_path):
    taken, (known, failed) = turns_of(monkeypatch, tmp_path, broken="dcgan")
    assert taken == ["dcgan", "sngan", "sngan", "sngan"]
    assert (list(known), failed) == (["sngan"], {"dcgan": 4})


@pytest.mark.parametrize(("name", "other"), [("budget", "images"), ("hardware", "another")])
def test_other_settings_are_refused_and_named(tmp_path, name, other):
    path = tmp_path / "settings.json"
    options.keep_settings(path, SETTINGS)
    options.keep_settings(path, SETTINGS)
    with pytest.raises(QualityError, match=f"{name}={SETTINGS[name]}, this call has {other}; choose another OUT"):
        options.keep_settings(path, {**SETTINGS, name: other})
    assert read_json(path, 1 << 16) == SETTINGS


def test_further_judges_and_recipes_may_come_but_none_may_change(tmp_path, monkeypatch):
    protocol = PROTOCOL.model_dump(mode="json")
    options.keep_all(tmp_path, SETTINGS, {LITE: protocol}, ["dcgan"])
    options.keep_all(tmp_path, SETTINGS, {LITE: protocol, OTHER: {**protocol, "count": 30}}, ["dcgan", "sngan_cpu"])
    with pytest.raises(QualityError, match=f"judge-{LITE}.json has count=20, this call has 30; choose another OUT"):
        options.keep_all(tmp_path, SETTINGS, {LITE: {**protocol, "count": 30}}, ["dcgan"])
    changed = tmp_path / "changed.yaml"
    changed.write_text(rows.files()["sngan_cpu"].read_text().replace("lr: 4e-4", "lr: 3e-4"))
    monkeypatch.setattr(options, "files", lambda: {"sngan_cpu": changed})
    with pytest.raises(QualityError, match=r"recipe-sngan_cpu.json has optimizer.discriminator.lr=.*this call has"):
        options.keep_all(tmp_path, SETTINGS, {}, ["sngan_cpu"])


def test_what_the_benchmark_sets_itself_may_change_in_a_recipe():
    recipe = {"run": {"name": "a"}, "train": {"images": 5, "batch_size": 2}, "evaluate": {"count": 3}}
    assert options.of_training(recipe) == {"train.batch_size": 2}


def test_rows_of_an_earlier_version_are_refused(tmp_path):
    save_scores(tmp_path / "dcgan-60" / "scores.json", scores(**{FD: 1.0}))
    with pytest.raises(QualityError, match="dcgan-60/scores.json is of an earlier version, .*choose another OUT"):
        options.keep_all(tmp_path, SETTINGS, {}, [])


def test_only_whole_rows_of_known_recipes_are_found(tmp_path):
    names = (
        "dcgan-60-seed0",
        "sngan_conditional-300-seed2",
        "dcgan-90-seed0.partial",
        "seed_frogs-60-seed0",
        "dcgan-1",
    )
    for name in names:
        save_scores(tmp_path / name / f"scores-{LITE}.json", scores(**{FD: 1.0}))
    save_scores(tmp_path / "dcgan-60-seed0" / f"scores-{OTHER}.json", scores(**{FD: 2.0}))
    (tmp_path / "dcgan-30-seed0").mkdir()
    found = finished(tmp_path)
    assert set(found) == {Key("dcgan", 60, 0), Key("sngan_conditional", 300, 2)}
    assert {name: each.values[FD] for name, each in found[Key("dcgan", 60, 0)].scores.items()} == {
        LITE: 1.0,
        OTHER: 2.0,
    }
    assert trained(tmp_path) == {*found, Key("dcgan", 30, 0)}, "trained, and waits for its judge"


def drawn() -> str:
    """Two recipes, one of them with three seeds, by two judges."""
    made = {}
    for recipe, seconds, seed, fd in (
        ("dcgan", 60, 0, 800.0),
        ("dcgan", 3600, 0, 400.0),
        ("r3gan_cpu", 60, 0, 600.0),
        ("r3gan_cpu", 60, 1, 700.0),
        ("r3gan_cpu", 60, 2, 500.0),
    ):
        by_judge = {name: scored(5, name, **{f"fd_{name}": fd * share}) for name, share in ((LITE, 1), (OTHER, 0.01))}
        by_judge = {
            name: each.model_copy(update={"real_values": {f"fd_{name}": 0.1}}) if name == OTHER else each
            for name, each in by_judge.items()
        }
        made[Key(recipe, seconds, seed)] = both(**by_judge)
    return chart(made, [LITE, OTHER, "none"])


def test_the_chart_has_a_panel_for_each_judge_and_names_everything_in_text():
    text = drawn()
    assert text == drawn()
    root = ElementTree.fromstring(text)
    words = [each.text for each in root.iter(f"{SVG}text")]
    for word in (
        "dcgan",
        "r3gan_cpu",
        "other real images",
        "fd_efficientnet_lite0",
        "fd_another",
        "1 min",
        "1 h",
        "500",
    ):
        assert word in words
    assert len(root.findall(f"{SVG}g")) == 2
    assert root.get("aria-label").endswith(": dcgan, r3gan_cpu")
    assert len([each for each in root.iter(f"{SVG}path") if each.get("class") == "limit"]) == 1, "one judge's floor"


def test_a_curve_goes_through_the_means_and_shows_the_range_of_its_seeds():
    first = ElementTree.fromstring(drawn()).find(f"{SVG}g")
    curves = {each.get("class"): each.get("points") for each in first.iter(f"{SVG}polyline")}
    assert len(curves["s0"].split()) == 2
    (dot,) = (each for each in first.iter(f"{SVG}circle") if each.get("class") == "s1")
    assert f"{dot.get('cx')},{dot.get('cy')}" == curves["s1"]
    (span,) = (each.get("d") for each in first.iter(f"{SVG}path") if each.get("class") == "range s1")
    column, low, high = re.match(r"M([\d.]+) ([\d.]+)V([\d.]+)M", span).groups()
    assert column == dot.get("cx")
    assert float(low) > float(dot.get("cy")) > float(high), "500 is below 600, and 700 above"
    tall = (float(low) - float(dot.get("cy"))) / (float(low) - float(high))
    assert tall == pytest.approx(math.log(600 / 500) / math.log(700 / 500), abs=0.01)


def test_each_colour_of_the_chart_is_defined_for_light_and_dark():
    text = drawn()
    themes = re.findall(r":root \{(.*?)\}", text, flags=re.S)
    assert len(themes) == 2
    assert "@media (prefers-color-scheme: dark)" in text
    used = set(re.findall(r"var\((--\w+)\)", text))
    assert {"--page", "--text", "--c0", "--c1"} <= used
    assert all(f"{name}:" in themes[0] for name in used)
    assert all(f"{name}:" in themes[1] for name in used - {"--soft"}), "the grid's gray is half transparent"


def test_a_chart_without_distances_is_empty_and_one_of_too_many_recipes_is_refused(monkeypatch):
    assert chart({Key("dcgan", 60, 0): row(images=5)}, [LITE]) == ""
    names = [f"recipe{number}" for number in range(9)]
    monkeypatch.setattr("benchmarks.quality.chart.files", lambda: names)
    with pytest.raises(QualityError, match="at most 8 curves, and there are 9 recipes; leave --chart out"):
        chart({Key(name, 60, 0): row(**{FD: 1.0}) for name in names}, [LITE])


def test_an_axis_is_logarithmic_and_its_labels_are_round_numbers_that_do_not_overlap():
    axis = Axis(10, 1000, 0, 200)
    assert [axis.at(value) for value in (10, 100, 1000)] == [0, 100, 200]
    assert ticks(40, 1100) == [50, 100, 200, 500, 1000]
    assert ticks(210, 480) == [300, 400]
    assert ticks(210, 220) == [pytest.approx(math.sqrt(210 * 220))]
    assert apart([10, 12, 1000], axis, pixels=48) == [12, 1000]
    assert [duration(seconds) for seconds in (45, 60, 90, 600, 3600, 5400)] == [
        *("45 s", "1 min", "1.5 min", "10 min", "1 h", "1.5 h")
    ]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (["--data", "nowhere"], "does not exist"),
        (["--data", "DATA", "--count", "0"], "evaluate.count"),
        (["--data", "DATA", "--extractors", "eye"], "evaluate.extractor"),
        (["--data", "DATA", "--into", "nowhere.md"], "No such file or directory: 'nowhere.md'"),
        (["--data", "DATA", "train.batchsize=32"], "unknown key train.batchsize; nearest: train.batch_size"),
        (["--data", "DATA", "train.batch_size=no"], "train.batch_size=no must be"),
        (["--data", "DATA", "--recipes", "r3gan", "generator.width=8"], "r3gan: "),
        (["--data", "DATA", "--chart", "nowhere/a.svg"], "there is no directory nowhere"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_trained(tmp_path, shapes, monkeypatch, capsys, asked, sentence):
    asked = [str(shapes) if option == "DATA" else option for option in asked]
    monkeypatch.setattr("sys.argv", ["quality.py", str(tmp_path / "out"), *asked])
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
    first = {seconds: load_scores(out / f"dcgan-{seconds}-seed0" / "scores-none.json") for seconds in (2, 4)}

    code, text = run(command(out, shapes, "r3gan,dcgan", "2,3,4", *into))
    assert code == 1, text
    assert "generator.width" in text
    assert "r3gan for 2 s, seed 0: failed (exit 1), as said above" in text
    assert {path.name for path in out.iterdir()} == {
        *(f"dcgan-{seconds}-seed0" for seconds in (2, 3, 4)),
        *("settings.json", "judge-none.json", "recipe-dcgan.json", "recipe-r3gan.json", "results.md"),
    }
    made = {seconds: load_scores(out / f"dcgan-{seconds}-seed0" / "scores-none.json") for seconds in (2, 3, 4)}
    assert {seconds: made[seconds] for seconds in (2, 4)} == first
    for seconds, more in ((2, 2), (3, 1), (4, 2)):
        trained = yaml.safe_load((out / f"dcgan-{seconds}-seed0" / "config.yaml").read_text())["train"]["seconds"]
        assert trained == more, "what the row before has is not trained again"
    begun = (out / "dcgan-2-seed0" / "metrics.jsonl").read_text()
    for seconds in (3, 4):
        assert (out / f"dcgan-{seconds}-seed0" / "metrics.jsonl").read_text().startswith(begun)
        assert made[seconds].images_seen > made[2].images_seen
        assert (out / f"dcgan-{seconds}-seed0" / "grid.png").is_file()

    page = document.read_text()
    for seconds, row in made.items():
        cells = f"{row.images_seen:,} | {row.images_seen / seconds:.4g} | {row.values['shapes_recognised']:.4g}"
        assert f"| dcgan | 1 | {seconds} | {cells} |" in page
    assert page.count("failed (exit 1)") == 3 * (2 + len(SHAPES)), "r3gan's three rows"

    code, text = run(command(out, shapes, "r3gan,dcgan", "2", *into))
    assert code == 1, text
    assert all(
        f"| dcgan | 1 | {seconds} | {row.images_seen:,} |" in document.read_text() for seconds, row in made.items()
    )

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
    arguments, partial = command(out, shapes, "dcgan", "3"), out / "dcgan-3-seed0.partial"
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
    assert not (out / "dcgan-3-seed0").exists()
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
    assert not (out / "dcgan-3-seed0" / "of the killed one").exists()
    assert load_scores(out / "dcgan-3-seed0" / "scores-none.json").images_seen > 0


@pytest.mark.slow
def test_seeds_and_a_budget_of_images_resume_and_a_longer_row_is_what_it_would_be_without_the_shorter(tmp_path, shapes):
    out, alone = tmp_path / "out", tmp_path / "alone"
    by_images = ("--budget", "images", "--clock", "cpu", "--turn-seconds", "2")
    code, text = run(command(out, shapes, "dcgan", "1", "--seeds", "0", *by_images))
    assert code == 0, text
    known = read_json(out / "speed.json", 1 << 16)
    assert len(known["recipes"]["dcgan"]) == speeds.TURNS
    speed = speeds.median(known["recipes"]["dcgan"], "cpu")

    code, text = run(command(out, shapes, "dcgan", "1,2", "--seeds", "0,1", *by_images))
    assert code == 0, text
    assert read_json(out / "speed.json", 1 << 16) == known, "a speed is measured once"
    made = {key: load_scores(out / key.name / "scores-none.json") for key in trained(out)}
    assert set(made) == {Key("dcgan", seconds, seed) for seconds in (1, 2) for seed in (0, 1)}
    for key, each in made.items():
        assert each.images_seen == 12 * math.ceil(round(key.seconds * speed) / 12), "whole steps of 12"
        assert (out / key.name / "grid.png").is_file()
    assert len({each.weight_digest for each in made.values()}) == 4
    assert "| dcgan | 2 | 2 |" in (out / "results.md").read_text()
    assert "median of 3 turns of 2 s" in (out / "results.md").read_text()

    alone.mkdir()
    shutil.copy(out / "speed.json", alone)
    code, text = run(command(alone, shapes, "dcgan", "2", "--seeds", "1", *by_images))
    assert code == 0, text
    key = Key("dcgan", 2, 1)
    assert load_scores(alone / key.name / "scores-none.json").weight_digest == made[key].weight_digest

    before = {path: path.stat().st_mtime_ns for path in out.glob("*-seed*/*")}
    (out / key.name / "scores-none.json").unlink()
    code, text = run(command(out, shapes, "dcgan", "1,2", "--seeds", "0,1", *by_images))
    assert code == 0, text
    after = {path: path.stat().st_mtime_ns for path in out.glob("*-seed*/*")}
    changed = {path.relative_to(out) for path in before if before[path] != after[path]}
    assert changed == {Path(key.name, "scores-none.json")}, "only what is missing is judged"
    assert load_scores(out / key.name / "scores-none.json") == made[key]
