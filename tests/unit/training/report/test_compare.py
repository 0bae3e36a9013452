"""Several runs on one page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from distgan.training.report.compare import names_of
from distgan.training.report.write import write_comparison
from distgan.utils.errors import ConfigError
from tests.support.runs import make_run
from tests.unit.training.report.test_report import Reader


def compared(tmp_path: Path, *runs: Path) -> str:
    return write_comparison(runs, tmp_path / "all.html").read_text()


def section(page: str, name: str) -> str:
    return re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)[0]


def test_each_metric_and_each_score_of_all_runs_shares_one_chart(tmp_path):
    page = compared(tmp_path, make_run(tmp_path / "a"), make_run(tmp_path / "b", fid=60.0))
    Reader(page)
    health, quality = section(page, "health"), section(page, "quality")
    assert re.findall(r"<figcaption><b>(.*?)</b>", health) == [
        *("loss: D", "loss: G", "D&#39;s probability of real: real", "D&#39;s probability of real: fake"),
        *("gradient norms: D", "gradient norms: G"),
    ]
    assert [len(re.findall(f'<polyline class="{style}"', health)) for style in ("s0", "s1", "s2")] == [6, 6, 0]
    assert re.findall(r"<figcaption><b>(.*?)</b>", quality) == ["fid (lower is better)"]
    assert quality.count('class="best"') == 2
    assert quality.count('<polyline class="limit"') == 1
    assert "protocols" not in quality


def test_the_table_of_runs_has_the_state_and_the_best_and_the_last_score(tmp_path):
    page = compared(tmp_path, make_run(tmp_path / "a", "train.images=9000"), make_run(tmp_path / "b", fid=60.0))
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", section(page, "runs"))]
    assert rows[1][:3] == ["a", "stopped", "2,000 of 9,008"]
    assert rows[1][-2:] == ["fid 42 after 2,000 images", "42"]
    assert rows[2][-2:] == ["fid 52 after 2,000 images", "52"]


def test_only_settings_that_differ_are_in_the_table(tmp_path):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", "train.batch_size=32", "optimizer.generator.lr=1e-4")]
    text = section(compared(tmp_path, *runs), "settings")
    assert set(re.findall(r'<th scope="row">(.*?)</th>', text)) == {"train.batch_size", "optimizer.generator.lr"}
    (tmp_path / "a" / "config.yaml").write_text("train: [")
    assert "train.batch_size" in section(compared(tmp_path, *runs), "settings")


def test_equal_runs_differ_in_no_setting(tmp_path):
    assert "None." in section(compared(tmp_path, make_run(tmp_path / "a"), make_run(tmp_path / "b")), "settings")


def test_scores_by_different_protocols_are_never_in_one_chart_and_that_is_said(tmp_path):
    other = {"protocol": {"extractor": "inception", "count": 300}}
    page = compared(tmp_path, make_run(tmp_path / "a"), make_run(tmp_path / "b", **other), make_run(tmp_path / "c"))
    quality = section(page, "quality")
    assert "scored by 2 protocols that differ in count. Their scores cannot be compared" in quality
    assert re.findall(r"<h3>(.*?)</h3>", quality) == ["a, c", "b"]
    first, second = quality.split("<h3>")[1:]
    assert set(re.findall(r'<polyline class="(s\d)"', first)) == {"s0", "s2"}
    assert set(re.findall(r'<polyline class="(s\d)"', second)) == {"s1"}


def test_the_newest_grids_stand_side_by_side_and_nothing_is_fetched(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "metrics.jsonl").write_text(json.dumps({"images": 5}) + "\n")
    page = compared(tmp_path, make_run(tmp_path / "a"), tmp_path / "b")
    samples = section(page, "samples")
    assert re.findall(r"<b>(.*?)</b> (.*?)</figcaption>", samples) == [
        ("a", "after 2,000 images: real left, generated right"),
        ("b", "no samples"),
    ]
    sources = [value for _, name, value in Reader(page).attributes if name in ("src", "href")]
    assert all(value.startswith(("data:", "#")) for value in sources)


def test_hostile_names_and_settings_are_escaped(tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b")]
    runs[1] = runs[1].rename(tmp_path / evil)
    (runs[1] / "config.yaml").write_text(f'"{evil}": "{evil}"\n')
    page = compared(tmp_path, *runs)
    Reader(page)
    assert evil not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") > 3


def test_runs_of_one_name_are_told_apart_by_what_stands_before_it(tmp_path):
    paths = [tmp_path / name for name in ("x/first", "y/first", "y/second")]
    assert names_of(paths) == ["x/first", "y/first", "y/second"]
    assert names_of(paths[1:]) == ["first", "second"]


def test_what_is_no_run_is_named_and_nothing_is_written(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(ConfigError, match=r"b is not a run directory"):
        compared(tmp_path, make_run(tmp_path / "a"), tmp_path / "b")
    assert not (tmp_path / "all.html").exists()
