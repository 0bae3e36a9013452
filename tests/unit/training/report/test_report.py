"""The report of a run directory made by hand: whole, hostile, and with parts missing."""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from distgan.cli import report
from distgan.config.load import load_config
from distgan.config.networks import SeedGenerator
from distgan.data.prepare import Request, prepare
from distgan.data.sources.shapes import Shapes
from distgan.inference.generator_file import Description, save_generator
from distgan.networks import build_generator
from distgan.training.report.charts import Chart, Curve, line_chart, y_label
from distgan.training.report.collect import gather
from distgan.training.report.contents import Missing
from distgan.training.report.data_uri import MAX_BYTES, data_uri
from distgan.training.report.parts import best_of, direction_of, score_points
from distgan.training.report.run_reader import RunReader
from distgan.training.report.templates import asset
from distgan.training.report.write import write_report
from distgan.utils.errors import ConfigError
from distgan.utils.images import save_png, to_grid
from tests.support.runs import evaluation, lines

TITLES = (
    *("Summary", "Samples over time", "Interpolation", "Health", "Quality", "Speed", "System", "Further metrics"),
    *("The generator", "Nearest real images", "Events", "Settings"),
)
SHOWN = tuple(title for title in TITLES if title not in ("Interpolation", "System", "Further metrics"))
VOID = {"meta", "img", "br", "wbr", "link", "input"}


class Reader(HTMLParser):
    """Checks that tags are closed in order, and keeps headings, text and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.titles: list[str] = []
        self.shown: list[str] = []
        """Titles of the sections that are not hidden."""
        self.hidden: list[bool] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "section":
            self.hidden.append("hidden" in dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)
            self.shown += [] if self.hidden[-1] else [data]


@pytest.fixture
def run(shapes, tmp_path) -> Path:
    """A finished run on the 300 shapes, without any training."""
    directory = tmp_path / "runs" / "first"
    (directory / "samples").mkdir(parents=True)
    overrides = ["run.name=first", f"run.dir={tmp_path / 'runs'}", f"data.path={shapes}", "train.images=4000"]
    config = load_config("quickstart", overrides)
    (directory / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    lines(
        directory / "metrics.jsonl",
        [
            {"images": n, "loss/d": 1 / n, "loss/g": None, "d/real_prob": 0.5, "speed/images_per_second": 10.0}
            for n in range(500, 4001, 500)
        ],
    )
    lines(directory / "scores.jsonl", [evaluation(2000, 81.25), evaluation(4000, 40.5)])
    lines(
        directory / "events.jsonl",
        [{"images": 900, "time": "2026-01-02T03:04:05+0000", "event": "collapse", "text": "images alike"}],
    )
    for images in (1000, 2000, 3000, 4000):
        grid = to_grid(torch.full((4, 3, 32, 32), images // 20, dtype=torch.uint8))
        save_png(grid, directory / "samples" / f"fakes-{images:09d}.png")
    generator = SeedGenerator(latent_dim=8, stem_channels=4, width=16, depth=1)
    description = Description(
        generator=generator, size=32, class_names=("a",), config={}, images_seen=4000, data_digest="d" * 64
    )
    weights = build_generator(generator, 32, 1).state_dict()
    save_generator(directory / "generator.safetensors", weights, description)
    return directory


def page_of(run: Path) -> str:
    return write_report(run).read_text()


def test_a_whole_run_gives_all_sections_and_the_facts(run, shapes):
    page = page_of(run)
    reader = Reader(page)
    assert tuple(reader.titles) == TITLES
    assert tuple(reader.shown) == SHOWN
    assert "Left out" not in page
    for fact in ("4,000", "seed_dcgan", str(shapes), "about 6.7 minutes", "81.25", "40.5", "3.5", "images alike"):
        assert fact in reader.text  # 4000 images at 10/s are 400 s
    assert "of 300 (of 300) real images" in reader.text
    assert "fid (lower is better)" in reader.text
    assert "latent_dim: 24" in reader.text


def test_the_scores_of_an_extractor_or_metric_from_outside_have_a_direction_and_a_best(run):
    with open(run / "scores.jsonl", "w") as file:
        for images, fd, mine in ((1000, 9.0, 1.0), (2000, 5.0, 3.0), (3000, 7.0, 2.0)):
            scores = {
                "protocol": {"extractor": "mylab.features:Dino"},
                "values": {"fd_Dino": fd, "mine_Dino": mine, "odd_Dino": 1.0},
                "further": {"mine_Dino": {"better": "higher"}, "odd_Dino": {"better": "sideways"}},
            }
            file.write(json.dumps({"images": images, "scores": scores}) + "\n")
    evaluations = RunReader(run).read_all().scores
    better = {name: direction_of(name, evaluations) for name in evaluations[0].values}
    assert better == {"fd_Dino": "lower", "mine_Dino": "higher", "odd_Dino": None}
    best = {name: best_of(better[name], score_points(name, evaluations)) for name in better}
    assert best == {"fd_Dino": (2000, 5.0), "mine_Dino": (2000, 3.0), "odd_Dino": None}
    assert "mine_Dino (higher is better)" in Reader(page_of(run)).text


def test_the_page_needs_no_network_and_is_small(run):
    page = page_of(run)
    for tag, name, value in Reader(page).attributes:
        assert tag != "iframe"
        if name in ("src", "href"):
            assert value.startswith(("data:", "#"))
        assert not name.startswith("on")
        assert name != "style"
    assert "http://" not in page
    assert "https://" not in page
    assert len(page) < 3_000_000
    assert "default-src 'none'" in page


def test_the_policy_allows_the_page_s_own_script_and_style_and_no_other(run):
    page = page_of(run)
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page


def test_grids_over_time_are_all_seen_without_a_script_and_bounded_in_number(run):
    def captions() -> list[str]:
        return re.findall(r"<figcaption>after ([0-9,]+) images", page_of(run))

    assert captions() == ["1,000", "2,000", "3,000", "4,000"]
    assert not re.search(r"<figure data-frame=[^>]* hidden", page_of(run))
    for images in range(10_000, 60_000, 1000):
        shutil.copy(run / "samples" / "fakes-000004000.png", run / "samples" / f"fakes-{images:09d}.png")
    assert len(captions()) == 12
    assert (captions()[0], captions()[-1]) == ("1,000", "59,000")


def test_an_interpolation_has_a_section_of_its_own(run):
    shutil.copy(run / "samples" / "fakes-000004000.png", run / "samples" / "interpolation-000004000.png")
    assert "Interpolation" in Reader(page_of(run)).shown
    assert "after 4,000 images: generated, from one latent to the next" in page_of(run)


def test_the_same_run_gives_the_same_page(run):
    assert page_of(run) == page_of(run)


def test_an_exact_copy_of_a_training_image_is_marked(run, monkeypatch):
    from distgan.data.sources.shapes import render, truth
    from distgan.inference.generator import Generator

    real = torch.from_numpy(render(truth(0, "train", [5]))).permute(0, 3, 1, 2)
    monkeypatch.setattr(Generator, "sample", lambda self, seeds: real.expand(len(seeds), -1, -1, -1))
    found = gather(run).likeness
    assert found.nearest.distance[:, 0].tolist() == [0] * 10
    assert page_of(run).count("copy?") == 10


def test_images_of_an_untrained_generator_are_not_marked(run):
    assert "copy?" not in page_of(run)


def test_hostile_text_is_escaped_wherever_it_stands(run):
    evil = "<script>alert('x')</script>\x1b[2J\u202e"
    lines(
        run / "scores.jsonl",
        [evaluation(10, 1.0, values={evil: 1.5}, protocol={evil: evil}), evaluation(20, 1.0, values={evil: 2.5})],
    )
    lines(run / "events.jsonl", [{"images": 1, "time": evil, "event": evil, "text": evil * 1000}])
    with (run / "config.yaml").open("a") as file:
        file.write(f"# {evil}\n")
    page = page_of(run)
    Reader(page)
    assert page.count("<script") == 1
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert len(page) < 3_000_000


@pytest.mark.parametrize("path", ["a<b>&c", "<img src=x onerror=alert(1)>"])
def test_a_run_without_settings_is_called_by_its_escaped_directory(tmp_path, path):
    (tmp_path / path).mkdir()
    lines(tmp_path / path / "metrics.jsonl", [{"images": 5}])
    page = page_of(tmp_path / path)
    assert path not in page
    assert path in Reader(page).text


def test_missing_parts_are_named_and_the_rest_is_there(run):
    for name in ("scores.jsonl", "events.jsonl", "generator.safetensors"):
        (run / name).unlink()
    for path in (run / "samples").iterdir():
        path.unlink()
    page = page_of(run)
    reader = Reader(page)
    assert tuple(reader.titles) == TITLES
    assert (
        "Left out: there is no scores.jsonl, and evaluate.every_images is null: the run is not evaluated."
        in reader.text
    )
    assert "Left out: there is no events.jsonl." in reader.text
    assert "Left out: there is no grid in samples/." in reader.text
    assert reader.text.count("generator.safetensors; make one with") == 2  # the grid and the neighbours need it
    assert "about 6.7 minutes" in reader.text


def test_damaged_parts_are_named_and_the_rest_is_there(run):
    (run / "config.yaml").write_text("train: [")
    (run / "generator.safetensors").write_bytes(b"{}" * 50)
    (run / "samples" / "fakes-000001000.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (run / "samples" / "fakes-000002000.png").write_bytes((run / "samples" / "fakes-000002000.png").read_bytes()[:-60])
    lines(run / "scores.jsonl", ["{", "[]", "7", {"images": 3}, {"images": 1e400, "scores": {}}, evaluation(5, 7.25)])
    lines(run / "events.jsonl", ["\x00", {"event": "no images"}, {"images": 10**30}])
    report = gather(run)
    assert isinstance(report.generator, Missing)
    assert [row.values for row in report.facts.scores] == [{"fid": 7.25}]
    assert report.facts.events.newest == []
    text = Reader(page_of(run)).text
    assert re.findall(r"after ([0-9,]+) images", text) == ["3,000", "4,000"]
    assert "config.yaml" in text
    assert "is not a safetensors file" in text
    assert "Left out: fakes-000001000.png is not a PNG." in text


@pytest.mark.parametrize(
    "scores",
    [[], None, {"values": []}, {"values": {"fid": "low"}}, {"values": {"fid": True}}, {"values": {"fid": 1e999}}],
)
def test_lines_without_a_score_are_no_evaluations(run, scores):
    (run / "scores.jsonl").write_text(json.dumps({"images": 1, "scores": scores}) + "\n")
    assert gather(run).facts.scores.reason.startswith("scores.jsonl holds no scores")


def test_after_a_restart_the_later_score_of_the_same_place_counts(run):
    lines(run / "scores.jsonl", [evaluation(4000, 9.0), evaluation(2000, 8.0), evaluation(4000, 7.0)])
    assert [(row.images, row.values["fid"]) for row in gather(run).facts.scores] == [(2000, 8.0), (4000, 7.0)]


def test_scores_by_another_protocol_are_left_out_and_that_is_said(run):
    lines(run / "scores.jsonl", [evaluation(2000, 987.5, protocol={"count": 1}), evaluation(4000, 8.0)])
    page = page_of(run)
    assert "1 evaluation(s) by another protocol are left out" in page
    assert "987.5" not in page


def test_many_evaluations_make_a_short_table_with_the_last_one(run):
    lines(run / "scores.jsonl", [evaluation(100 * n, n + 0.25) for n in range(1, 102)])
    (run / "events.jsonl").unlink()
    page = page_of(run)
    rows = re.findall(r'<tr><td class="number">([0-9,]+)</td>', page)
    assert len(rows) <= 20
    assert rows[-1] == "10,100"


def test_data_that_are_gone_are_named(run, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["path"] = str(tmp_path / "gone")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert f"{tmp_path / 'gone'} does not exist" in Reader(page_of(run)).text


def test_a_url_in_a_run_s_settings_is_not_followed(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"] |= {"path": "https://127.0.0.1:9/shapes", "prepare": None}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    part = gather(run).likeness
    assert isinstance(part, Missing)
    assert "--data https://127.0.0.1:9/shapes" in part.reason


def test_other_real_images_can_be_named(run, tmp_path, capsys):
    prepare(Request(out=tmp_path / "other", source=Shapes(count=40, seed=9), shard_size=40), progress=False)
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    assert report.run(parser.parse_args([str(run), "--data", str(tmp_path / "other")])) == 0
    assert capsys.readouterr().out == f"report: {run / 'report.html'}\n"
    assert "of 40 (of 40) real images" in (run / "report.html").read_text()


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not a run directory"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_is_an_error_and_leaves_the_old_one(run, monkeypatch):
    old = page_of(run)

    def fails(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("distgan.utils.files.fsync", fails)
    with pytest.raises(ConfigError, match=r"report\.html cannot be written: No space left"):
        write_report(run)
    assert (run / "report.html").read_text() == old
    assert not list(run.glob(".*.tmp"))


# Charts and images


def polylines(chart: Chart) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(r'points="([^"]*)"', str(chart))
    ]


def test_a_chart_runs_from_corner_to_corner_and_gaps_stay_gaps():
    chart = line_chart("t", [Curve("a", [(0, 0.0), (50, 1.0), (75, float("nan")), (80, 0.5), (100, 0.0)])], (0, 1))
    assert polylines(chart) == [[(68.0, 194.0), (258.0, 14.0)], [(372.0, 104.0), (448.0, 194.0)]]


@pytest.mark.parametrize("value", [0.0, -0.25, 20.0, 1e16, -3e25, 9e299])
def test_a_constant_is_a_line_in_the_middle_of_its_chart_however_large_it_is(value):
    chart = line_chart("t", [Curve("a", [(0, value), (50, value)])])
    heights = [y for y, _ in chart.grid]
    assert [y for _, y in chart.lines[0].runs[0]] == [heights[1]] * 2
    assert heights[0] > heights[1] > heights[2]


@pytest.mark.parametrize("points", [[], [(0, float("nan"))], [(0, 3.0), (0, 3.0)]])
def test_a_chart_of_nothing_or_of_one_value_is_drawn(points):
    Reader(str(line_chart("nothing", [Curve("a", points)])))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.25, "0.25"), (-1.5e-7, "-1.5e-07"), (999.4, "999"), (999.6, "1,000"), (1284.0, "1,284"),
        (-9999.0, "-9,999"),
        (12_840.0, "12.84k"), (999_990.0, "1000k"), (1.284e6, "1.284M"), (-2.5e9, "-2.5G"), (-1.284e15, "-1.3e+15"),
    ],
)  # fmt: skip
def test_a_number_beside_an_axis_is_short_enough_to_be_read(value, text):
    assert y_label(value) == text
    assert len(text) <= 9


def test_two_equal_curves_are_both_seen():
    points = [(n, 0.5) for n in range(5)]
    chart = line_chart("t", [Curve("one", points), Curve("other", points), Curve("real", points, dashed=True)])
    styles = [line.style for line in chart.lines]
    dashes = [re.search(rf"\.{style} {{[^}}]*stroke-dasharray: ([\d ]+)", asset("style.css")) for style in styles]
    assert dashes[0] is None
    assert len({found[1] for found in dashes if found}) == 2, "the gaps of the upper show the lower"
    assert chart.lines[0].dot > chart.lines[1].dot > chart.lines[2].dot == 0


def test_a_wide_table_can_be_scrolled_by_the_keyboard_and_every_image_has_a_text(run):
    attributes = Reader(page_of(run)).attributes
    regions = {value for tag, name, value in attributes if (tag, name) == ("div", "aria-label")}
    tables = ("scores of the evaluations", "generated images and the nearest real ones", "events")
    assert {f"Table: {name}" for name in tables} <= regions
    focusable = [value for tag, name, value in attributes if name == "tabindex"]
    wide = [value for _, name, value in attributes if name == "class" and value.split()[:1] == ["wide"]]
    assert focusable == ["0"] * (len(wide) + 1)
    texts = [value for tag, name, value in attributes if (tag, name) == ("img", "alt")]
    assert len(texts) == len([1 for tag, name, _ in attributes if (tag, name) == ("img", "src")])
    assert all(texts)
    assert len(set(texts)) == len(texts)


def test_labels_of_a_chart_are_escaped_in_text_and_in_attributes():
    evil = '"><script>alert(1)</script>\x1b'
    page = str(line_chart(evil, [Curve(evil, [(0, 1.0)])]))
    reader = Reader(page)
    assert "<script" not in page
    assert "\x1b" not in page
    shown = evil.replace("\x1b", "\ufffd")
    assert reader.text.count(shown) == 2
    labels = [value for _, name, value in reader.attributes if name == "aria-label"]
    assert labels == [f"{shown}, {shown} now 1"]


def test_values_above_the_span_are_drawn_at_its_end():
    chart = line_chart("t", [Curve("a", [(0, 5.0), (1, -5.0)])], (0, 1))
    assert [y for _, y in polylines(chart)[0]] == [14.0, 194.0]


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def test_a_small_image_comes_through_bit_for_bit():
    image = Image.effect_noise((64, 64), 50).convert("RGB")
    assert list(opened(data_uri(image)).getdata()) == list(image.getdata())


@pytest.mark.parametrize("size", [(2, 262_278), (70_000, 500), (1, 70_000)])
def test_an_image_that_is_too_long_for_a_jpeg_becomes_shorter(size):
    image = opened(data_uri(Image.effect_noise(size, 100).convert("RGB"), 5000))
    assert max(image.size) <= 8192


def test_a_large_image_becomes_smaller_than_the_limit():
    uri = data_uri(Image.effect_noise((1000, 1000), 100).convert("RGB"))
    assert uri.startswith("data:image/jpeg")
    assert len(uri) < MAX_BYTES * 4 / 3 + 100
