"""Which metrics share a chart."""

from __future__ import annotations

import re
from pathlib import Path

from distgan.training.report.charts import STYLES
from distgan.training.report.history import History
from distgan.training.report.panels import PANELS, NamedHistory, panels_of, sections_of, sections_of_all
from distgan.training.tracking.backend import COUNTERS
from tests.support.processes import ROOT


def history(rows: int = 3, **values: float) -> History:
    made = History()
    for n in range(rows):
        made.add({"images": n, **{name.replace("__", "/"): value + n for name, value in values.items()}})
    return made


def documented() -> list[str]:
    page = Path(ROOT, "docs", "metrics.md").read_text()
    tables = "\n".join(part.split("\n\n")[0] for part in page.split("| metric |")[1:])
    cells = re.findall(r"^\| (`.*?`) \|", tables, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([\w/]+)`", cell)]


def test_d_and_g_share_a_panel_and_so_do_real_and_fake():
    made = history(loss__d=1.0, loss__g=2.0, d__real_prob=0.1, d__fake_prob=0.2, speed__images_per_second=5.0)
    sections = {section.title: section.charts for section in sections_of(made)}
    assert list(sections) == ["Health", "Speed"]
    assert [[line.label for line in chart.lines] for chart in sections["Health"]] == [["D", "G"], ["real", "fake"]]


def test_every_documented_metric_but_counters_has_a_panel_of_its_kind():
    names = [name for name in documented() if name not in COUNTERS]
    assert len(names) > 20
    assert [panel.title for panel in panels_of(names) if panel.section == "Further metrics"] == []


def test_a_metric_that_nobody_knows_is_shown_and_scores_are_left_to_their_own_section():
    titles = {section.title: [chart.title for chart in section.charts] for section in sections_of(
        history(patience__scale=1.0, speed__mine=2.0, quality__fid=3.0)
    )}  # fmt: skip
    assert titles == {"Speed": ["speed/mine"], "Further metrics": ["patience/scale"]}


def test_no_metric_is_in_two_panels():
    names = [name for panel in PANELS for name, _ in panel.curves]
    assert len(set(names)) == len(names)


def test_a_few_huge_values_do_not_flatten_the_others():
    made = History()
    for n in range(100):
        made.add({"images": n, "grad_norm/d": 1e6 if n == 50 else 1.0, "grad_norm/g": 2.0})
    ((_, (chart,)),) = sections_of(made)
    assert chart.title == "gradient norms (cut off at 3)"


def test_of_several_runs_each_metric_has_one_chart_and_each_run_its_colour_in_all():
    runs = [NamedHistory("a", history(loss__d=1.0)), NamedHistory("b", history(loss__d=1.0, loss__g=2.0))]
    ((title, charts),) = sections_of_all(runs)
    assert title == "Health"
    shown = [(chart.title, [(line.label, line.style) for line in chart.lines]) for chart in charts]
    assert shown == [("loss: D", [("a", "s0"), ("b", "s1")]), ("loss: G", [("b", "s1")])]


def test_eight_runs_have_eight_styles():
    ((_, (chart,)),) = sections_of_all([NamedHistory(str(n), history(d__x=n)) for n in range(STYLES)])
    assert len({line.style for line in chart.lines}) == STYLES == 8
