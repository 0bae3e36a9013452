"""benchmarks/speed.py: what it counts, how contenders take turns, what the table says."""

from __future__ import annotations

import json
import sys
from contextlib import closing

import contest
import flops
import pytest
import rows
import speed
import torch
from processes import ROOT, run
from torch import nn
from torch.nn import functional as F

BENCHMARKS = ROOT / "benchmarks"


def counted(work):
    with flops.Flops() as counter:
        work()
    return counter.total


def test_a_convolution_costs_two_flops_for_each_weight_and_place_and_its_backward_twice_that():
    images, layer = torch.randn(2, 4, 8, 8, requires_grad=True), nn.Conv2d(4, 6, 3, padding=1, groups=2)
    forward = 2 * layer.weight.numel() * 2 * 8 * 8
    assert counted(lambda: layer(images)) == forward
    out = layer(images)
    assert counted(lambda: out.sum().backward()) == 2 * forward


def test_a_transposed_convolution_costs_its_weights_at_each_place_of_its_input():
    layer = nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1)
    assert counted(lambda: layer(torch.randn(3, 4, 5, 5))) == 2 * layer.weight.numel() * 3 * 5 * 5


def test_products_and_a_penaltys_second_derivatives_are_counted():
    weight, x = torch.randn(5, 7, requires_grad=True), torch.randn(3, 7, requires_grad=True)
    product = 2 * 3 * 5 * 7

    def penalty():
        (slope,) = torch.autograd.grad(F.linear(x, weight).square().sum(), x, create_graph=True)
        slope.square().sum().backward()

    assert counted(lambda: F.linear(x, weight)) == product
    assert counted(penalty) % product == 0
    assert counted(penalty) > 3 * product


@pytest.fixture
def contenders(tmp_path, monkeypatch):
    """A module of contenders in a place of its own."""
    (tmp_path / "contenders").mkdir()
    (tmp_path / "contenders" / "toys.py").write_text(
        "import os, time\n"
        "from contest import turns\n"
        "@turns\n"
        "def sleeper(seconds):\n"
        "    print('noise on stdout is no answer')\n"
        "    def work():\n"
        "        time.sleep(float(seconds))\n"
        "        return 4\n"
        "    return work\n"
        "def told(lap):\n"
        "    lap(2, {'flops': 6.0})\n"
        "    while True:\n"
        "        lap(2)\n"
        "def ranks(lap):\n"
        "    lap(1, {'rank': float(os.environ['RANK']), 'world': float(os.environ['WORLD_SIZE'])})\n"
        "    while True:\n"
        "        time.sleep(0.01 * (1 + int(os.environ['RANK'])))\n"
        "        lap(1)\n"
        "def broken(lap):\n"
        "    raise SystemExit('no such thing here')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "log"


def test_a_turn_is_timed_per_unit_and_facts_are_kept(contenders):
    with closing(contest.Contender(contest.Side("toys.sleeper", {"seconds": "0.04"}), contenders)) as contender:
        contender.ready()
        assert [0.01 <= contender.turn().seconds < 0.5 for _ in range(3)] == [True] * 3
    with closing(contest.Contender(contest.Side("toys.told", {}), contenders)) as contender:
        contender.ready()
        turn = contender.turn()
    assert turn.facts == {"flops": 6.0}
    assert turn.memory > 0


def test_several_processes_know_each_other_and_the_slowest_counts(contenders):
    with closing(contest.Contender(contest.Side("toys.ranks", {}, processes=2), contenders)) as contender:
        contender.ready()
        turn = contender.turn()
    assert turn.facts == {"rank": 1.0, "world": 2.0}, "the slower one's"


def test_a_contender_that_ends_says_why_and_the_row_is_not_measured(contenders, tmp_path):
    row = rows.Row("toy", "a toy", contest.Side("toys.broken", {}))
    line = speed.measure(row, 1, contenders)
    assert line == {"row": "toy", "failed": "no such thing here"}
    text = speed.table([row], {}, {"toy": line["failed"]})
    assert "| a toy | not measured: no such thing here |" in text


def test_both_sides_work_in_every_round(contenders):
    sides = (contest.Side("toys.sleeper", {"seconds": seconds}) for seconds in ("0.04", "0.02"))
    line = speed.measure(rows.Row("toy", "a toy", *sides), 3, contenders)
    assert [len(side) for side in line["sides"]] == [3, 3]


def measured(ours, theirs=(), flops=None, memory=1.0):
    facts = {} if flops is None else {"flops": flops}
    return {
        "date": "2026-01-02",
        "sides": [
            [{"seconds": second, "memory": memory, "facts": facts} for second in side]
            for side in (ours, theirs)
            if side
        ],
    }


@pytest.mark.parametrize(
    ("measure", "target", "more", "said"),
    [
        ("ratio", 1.03, {}, "| 1.000 (0.500 to 2.000) | at most 1.030: met |"),
        ("ratio", 0.57, {}, "| at most 0.570: **missed** |"),
        ("rate", 0.4, {"unit": "picture"}, "| at least 0/s: met |"),
        ("rate", 1.5, {"unit": "picture"}, "**missed**"),
        ("seconds", 10, {"unit": "launch"}, "| at most 10.0 s: met |"),
        ("share", 0.01, {"denser": 10}, ", 0.00% |"),
        ("growth", 0.01, {}, ", 0.000 GiB more |"),
    ],
)
def test_the_table_has_median_ratio_and_verdict(measure, target, more, said):
    side = contest.Side("a.b", {"label": "the other"})
    row = rows.Row("key", "what", side, side, measure=measure, target=target, **more)
    text = speed.table([row], {"key": measured([1.0, 2.0, 2.0], [2.0, 1.0, 2.0])}, {})
    assert said in text
    assert ": the other |" in text


def test_a_step_is_a_share_of_the_peak_in_its_precision():
    found = {
        "peak_product": measured([0.5] * 3, [1.0] * 3, flops=100.0),
        "peak_convolution": measured([0.6] * 3, [0.8] * 3, flops=80.0),
        "key": measured([1.0] * 3, flops=50.0),
    }
    row = rows.Row("key", "what", contest.Side("a.b", {}), precision="bf16")
    assert "| 25% of bf16, " in speed.table([row], found, {})
    assert "| 50% of fp32, " in speed.table([rows.Row("key", "what", row.ours)], found, {})


def test_results_of_another_machine_are_not_mixed_in(tmp_path):
    out = tmp_path / "speed.jsonl"
    assert speed.load(out) == {}
    done = {"row": "a", **measured([1.0])}
    out.write_text(out.read_text() + json.dumps(done) + "\n" + json.dumps({"row": "b", "failed": "why"}) + "\n")
    assert speed.load(out) == {"a": done}, "what failed is tried again"
    out.write_text(json.dumps({"hardware": "another"}) + "\n")
    with pytest.raises(SystemExit, match="choose another --out"):
        speed.load(out)


def test_the_rows_have_keys_of_their_own_and_contenders_that_are_there():
    for made in (rows.cpu_rows(), rows.gpu_rows()):
        assert len({row.key for row in made}) == len(made)
        for row in made:
            for side in filter(None, (row.ours, row.other)):
                module, name = side.name.split(".")
                assert f"def {name}(" in (BENCHMARKS / "contenders" / f"{module}.py").read_text()


@pytest.mark.slow
def test_distgans_training_and_the_bare_loop_do_the_same_flops(tmp_path):
    """As a user does it; what the ratio is on a busy machine is not tested."""
    out = tmp_path / "speed.jsonl"
    row = "step_quickstart_no_16"
    code, text = run(
        [sys.executable, "benchmarks/speed.py", "--rows", row, "--rounds", "1", "--out", str(out)],
        TMPDIR=str(tmp_path),
    )
    assert code == 0, text
    (ours,), (bare,) = json.loads(out.read_text().splitlines()[1])["sides"]
    assert ours["facts"] == bare["facts"]
    assert "| step of quickstart, batch 16, fp32 |" in text
