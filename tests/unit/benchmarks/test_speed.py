"""benchmarks/speed: what it counts, how contenders take turns, what the table says."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.common.markdown import filled
from benchmarks.speed import __main__ as speed
from benchmarks.speed import interleave, rows
from benchmarks.speed.baselines.distgan_loop import countable
from benchmarks.speed.baselines.pytorch_loop import Update
from benchmarks.speed.cpu_rows import cpu_rows
from benchmarks.speed.gpu_rows import gpu_rows
from benchmarks.speed.table import paired, table
from distgan.config.load import load_config
from distgan.training import flops
from distgan.training.watchdog import Fault
from distgan.utils.errors import ConfigError
from tests.support.processes import ROOT, run

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
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "toys.py").write_text(
        "import os, time\n"
        "from benchmarks.speed.interleave import turns\n"
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
        "def full(lap):\n"
        "    lap(1)\n"
        "    raise MemoryError('2 GiB | at once\\nand more')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "log"


def test_a_turn_is_timed_per_unit_and_facts_are_kept(contenders):
    with closing(
        interleave.Contender(interleave.Side("box.toys.sleeper", {"seconds": "0.4"}), contenders)
    ) as contender:
        contender.ready()
        begin = time.monotonic()
        seconds = contender.turn().seconds
        assert 0.1 <= seconds <= (time.monotonic() - begin) / 4, "of four units"
    with closing(interleave.Contender(interleave.Side("box.toys.told", {}), contenders)) as contender:
        contender.ready()
        turn = contender.turn()
    assert turn.facts == {"flops": 6.0}
    assert turn.memory > 0


def test_several_processes_know_each_other_and_the_slowest_counts(contenders):
    with closing(interleave.Contender(interleave.Side("box.toys.ranks", {}, processes=2), contenders)) as contender:
        contender.ready()
        turn = contender.turn()
    assert turn.facts == {"rank": 1.0, "world": 2.0}, "the slower one's"


def test_a_contender_that_ends_says_why_and_the_row_is_not_measured(contenders, tmp_path):
    row = rows.Row("toy", "a toy", interleave.Side("box.toys.broken", {}))
    line = speed.measure(row, 1, contenders)
    assert line == {"row": "toy", "failed": "no such thing here"}
    assert "| a toy | not measured: no such thing here |" in table([row], {}, {"toy": line["failed"]})


def test_a_row_without_room_is_said_and_the_next_is_measured(contenders, tmp_path, monkeypatch, capsys):
    lacking = rows.Row("lacking", "too large a batch", interleave.Side("box.toys.full", {}))
    told = rows.Row("told", "what follows", interleave.Side("box.toys.told", {}))
    page, out = tmp_path / "page.md", tmp_path / "speed.jsonl"
    page.write_text("<!-- speed: begin -->\n<!-- speed: end -->\n")
    monkeypatch.setattr(speed, "cpu_rows", lambda: [lacking, told])
    monkeypatch.setattr(speed, "shapes", lambda layout: None)
    arguments = ["--rounds", "1", "--out", str(out), "--into", str(page), "--keras-python", "/a/place/python"]
    monkeypatch.setattr(sys, "argv", ["speed.py", *arguments])
    assert speed.main() == 1
    assert "lacking: MemoryError: 2 GiB | at once\n" in capsys.readouterr().err
    text = page.read_text()
    assert "| too large a batch | not measured: MemoryError: 2 GiB \\| at once |" in text
    assert "| what follows | 0.0 ms/step" in text
    assert "`python -m benchmarks.speed --rounds 1 --out FILE --into" in text
    assert "--keras-python PYTHON`" in text
    assert list(speed.load(out)) == ["told"]
    monkeypatch.setattr(sys, "argv", ["speed.py", "--rows", "told", *arguments])
    assert speed.main() == 0
    assert "too large" not in page.read_text(), "it was not asked for"


def test_both_sides_work_in_every_round(contenders):
    sides = (interleave.Side("box.toys.sleeper", {"seconds": seconds}) for seconds in ("0.04", "0.02"))
    line = speed.measure(rows.Row("toy", "a toy", *sides), 3, contenders)
    assert [len(side) for side in line["sides"]] == [3, 3]


def test_in_every_other_round_the_other_side_goes_first(tmp_path, monkeypatch):
    went = []

    class Told(speed.Contender):
        def __init__(self, side, log):
            self.name = side.name

        def ready(self):
            pass

        def turn(self):
            went.append(self.name)
            return interleave.Turn(1.0, 1.0, {})

        def close(self):
            pass

    monkeypatch.setattr(speed, "Contender", Told)
    speed.measure(
        rows.Row("toy", "a toy", interleave.Side("ours", {}), interleave.Side("theirs", {})), 4, tmp_path / "log"
    )
    assert went == ["ours", "theirs", "theirs", "ours"] * 2


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
        ("ratio", 1.03, {}, "| 1.000 (1.000 to 1.000) | at most 1.030: met |"),
        ("ratio", 0.57, {}, "| at most 0.570: **missed** |"),
        ("rate", 400, {"unit": "image"}, "| at least 400/s: met |"),
        ("rate", 600, {"unit": "image"}, "| at least 600/s: **missed** |"),
        ("seconds", 10, {"unit": "launch"}, "| at most 10.0 s: met |"),
        ("share", 0.01, {"denser": 10}, ", 0.00% |"),
        ("growth", 0.01, {}, ", 0.000 GiB more after 1,000 steps |"),
    ],
)
def test_the_table_has_median_ratio_and_verdict(measure, target, more, said):
    side = interleave.Side("a.b", {"label": "the other", "steps": "500"})
    row = rows.Row("key", "what", side, side, measure=measure, target=target, **more)
    text = table([row], {"key": measured([0.001, 0.002, 0.002], [0.002, 0.001, 0.002])}, {})
    assert said in text
    assert ": the other |" in text
    assert text.endswith(" | 3 |")


def test_what_going_first_is_worth_and_a_drift_of_the_machine_are_in_no_ratio():
    """Turns in the order ours, theirs, theirs, ours."""
    first_wins = paired([1.0, 1.2], [1.2, 1.0])
    slower_and_slower = paired([1.0, 1.3], [1.1, 1.2])
    assert first_wins == slower_and_slower == pytest.approx([1.0])
    assert paired([2.0, 2.0, 3.0], [1.0, 1.0, 1.0]) == [2.0, 3.0], "the last is alone"


def test_growth_is_told_of_two_turns_and_not_of_one():
    row = rows.Row("key", "what", interleave.Side("a.b", {"steps": "350"}), measure="growth", target=0.25)
    found = measured([1.0, 1.0])
    found["sides"][0][1]["memory"] = 1.5
    assert ", 0.500 GiB more after 350 steps |  |  | at most 0.250 GiB more: **missed** |" in table(
        [row], {"key": found}, {}
    )
    assert "| at most 0.250 GiB more: needs two rounds |" in table([row], {"key": measured([1.0])}, {})


def test_a_launch_s_memory_is_not_its_stopwatch_s():
    row = rows.Row("key", "what", interleave.Side("a.b", {}), unit="launch")
    assert table([row], {"key": measured([1.0])}, {}).endswith("|  |  | 1 |")


def test_a_gpu_s_table_has_a_place_of_its_own():
    page = ROOT / "docs" / "performance.md"
    for gpu, heading in ((False, "## CPU\n"), (True, "## On a GPU\n")):
        before, _, after = filled(page, speed.place(gpu), "a new table").partition("a new table")
        assert page.read_text().startswith(before)
        assert page.read_text().endswith(after)
        assert "\n## " not in before.split(heading)[1]


def test_a_step_is_a_share_of_the_peak_in_its_precision():
    found = {
        "peak_product": measured([0.5] * 3, [1.0] * 3, flops=100.0),
        "peak_convolution": measured([0.6] * 3, [0.8] * 3, flops=80.0),
        "key": measured([1.0] * 3, flops=50.0),
    }
    row = rows.Row("key", "what", interleave.Side("a.b", {}), precision="bf16")
    assert "| 25% of bf16, " in table([row], found, {})
    assert "| 50% of fp32, " in table([rows.Row("key", "what", row.ours)], found, {})
    for least, said in ((0.25, "at least 25%: met |"), (0.40, "at least 40%: **missed** |")):
        assert said in table([replace(row, share_of_peak=least)], found, {})


def test_results_of_another_machine_are_not_mixed_in(tmp_path):
    out = tmp_path / "speed.jsonl"
    assert speed.load(out) == {}
    done = {"row": "a", **measured([1.0])}
    out.write_text(out.read_text() + json.dumps(done) + "\n" + json.dumps({"row": "b", "failed": "why"}) + "\n")
    assert speed.load(out) == {"a": done}, "what failed is tried again"
    out.write_text(json.dumps({"hardware": "another"}) + "\n")
    with pytest.raises(ConfigError, match="choose another --out"):
        speed.load(out)


def test_what_a_kill_has_left_half_written_is_written_anew(tmp_path):
    out, here = tmp_path / "speed.jsonl", json.dumps(speed.machine()) + "\n"
    for begun in ("", here[:9], here[:-1]):
        out.write_text(begun)
        assert speed.load(out) == {}
        assert out.read_text() == here
    done = {"row": "a", **measured([1.0])}
    out.write_text(f'{here}{json.dumps(done)}\n{{"row": "b", "si')
    assert speed.load(out) == {"a": done}
    assert out.read_text() == f"{here}{json.dumps(done)}\n"


@pytest.mark.parametrize("text", ["notes", "notes\n", "[1]\n", '{"row": "a"}\n[]\n', "5\n6\n"])
def test_a_file_of_something_else_stays_as_it_is(tmp_path, text):
    out = tmp_path / "notes.txt"
    out.write_text(text)
    with pytest.raises(ConfigError, match="choose another --out"):
        speed.load(out)
    assert out.read_text() == text


def settings_of(side):
    return {key: value for key, value in side.options.items() if "." in key}


def test_the_rows_have_keys_of_their_own_contenders_that_are_there_and_settings_that_are_valid():
    for made in (cpu_rows(), gpu_rows()):
        assert len({row.key for row in made}) == len(made)
        for row in made:
            for side in filter(None, (row.ours, row.other)):
                module, name = side.name.split(".")
                assert f"def {name}(" in (BENCHMARKS / "speed" / "baselines" / f"{module}.py").read_text()
                if module == "distgan_loop" and "recipe" in side.options:
                    load_config(side.options["recipe"], [f"{key}={value}" for key, value in settings_of(side).items()])


FAULTS = {f"watchdog.{fault}" for fault in get_args(Fault)}


@pytest.mark.parametrize(
    ("key", "processes", "also"),
    [("checkpoint", 1, set()), ("watching", 2, FAULTS | {"wandb.mode"}), ("grids", 1, FAULTS | {"wandb.mode"})],
)
def test_the_sides_of_a_share_differ_in_what_one_does_so_many_times_as_often_as_by_default(key, processes, also):
    row = next(row for row in cpu_rows() if row.key == key)
    ours, without = row.ours.options, row.other.options
    different = {name for name in ours.keys() | without.keys() if ours.get(name) != without.get(name)} - {"label"}
    dense = {name for name in different if name.endswith("every_steps")}
    assert different - dense == also
    assert row.ours.processes == row.other.processes == processes, "the guard compares ranks"
    default = load_config(ours["recipe"]).model_dump()
    for name in dense:
        section, field = name.split(".")
        assert default[section][field] == row.denser * int(ours[name])
        assert int(ours["steps"]) % int(ours[name]) == 0, "every turn has as many"


def batch_of(options):
    """As text."""
    return options.get("train.batch_size") or str(load_config(options.get("recipe", "quickstart"), []).train.batch_size)


def test_a_row_for_its_memory_has_fewer_rounds_and_no_other_row_has_it_twice():
    made = cpu_rows()
    few = [row for row in made if row.most_rounds]
    assert {row.rounds(8) for row in few} == {3}
    assert {row.rounds(2) for row in few} == {2}
    assert {row.rounds(8) for row in made if row not in few} == {8, 40}
    sizes = [(options["recipe"], batch_of(options)) for options in (row.ours.options for row in few)]
    others = {(row.ours.options.get("recipe"), batch_of(row.ours.options)) for row in made if row not in few}
    assert len(set(sizes)) == len(sizes)
    assert not others & set(sizes)


def test_a_turn_is_a_whole_number_of_lazy_penalties_intervals():
    checked = 0
    for row in [*cpu_rows(), *gpu_rows()]:
        if row.ours.name == "distgan_loop.training":
            config = load_config(row.ours.options["recipe"], [])
            checked += config.loss.penalty_every_steps > 1
            assert int(row.ours.options["steps"]) % config.loss.penalty_every_steps == 0, row.key
    assert checked


def test_rows_are_chosen_by_name_or_pattern_in_the_table_s_order(capsys):
    known = ["peak_product", "feed_png", "feed_blocks", "launch"]
    assert speed.parse([], known).rows == known
    assert speed.parse(["--rows", "launch,feed_*"], known).rows == ["feed_png", "feed_blocks", "launch"]
    with pytest.raises(SystemExit):
        speed.parse(["--rows", "launch,fed_*"], known)
    assert "no row fed_*; nearest: feed_png" in capsys.readouterr().err


def test_every_modern_recipe_has_a_row_in_its_own_batch_and_the_seed_recipe_its_own_floor():
    made = {row.key: row for row in gpu_rows()}
    small = {"quickstart", "small_data", "finetune"}  # with the networks of the quickstart
    larger = {"sngan_64", "sngan_128", "r3gan_64", "r3gan_128"}  # than the benchmark's images
    modern = {path.stem for path in (ROOT / "configs").glob("*.yaml")} - {"seed_frogs", *small, *larger}
    assert {row.ours.options["recipe"] for row in made.values() if row.share_of_peak == 0.40} == modern
    for row in made.values():
        if row.share_of_peak == 0.40:
            assert "train.batch_size" not in row.ours.options
            assert row.ours.options["train.precision"] == row.precision == "bf16"
    floors = {key for key, row in made.items() if row.share_of_peak == 0.50}
    assert floors == {f"step_seed_frogs_bf16_20_{mode}" for mode in ("eager", "compiled", "graphs")}


def test_flops_are_counted_where_every_operation_is_called():
    assert countable({})
    assert countable({"train.compile": "off", "train.graphs": "off"})
    assert not countable({"train.compile": "on"})
    assert not countable({"train.graphs": "on"})
    uncounted = [row.key for row in gpu_rows() if "recipe" in row.ours.options and not countable(row.ours.options)]
    assert all(key.endswith(("_compiled", "_graphs")) for key in uncounted)
    assert len(uncounted) == 7 * 2 + 3 * 4 * 2 * 2 + 4


def test_where_ours_cannot_count_the_other_side_s_flops_are_taken():
    peak = {"peak_product": measured([0.5] * 3, [1.0] * 3, flops=100.0)}
    found = {"key": measured([1.0] * 3, [1.0] * 3, flops=50.0)}
    for turn in found["key"]["sides"][0]:
        turn["facts"] = {}
    row = rows.Row("key", "what", interleave.Side("a.b", {}), interleave.Side("a.b", {"label": "bare"}))
    assert "| 50% of fp32, " in table([row], peak | found, {})


@pytest.mark.parametrize("precision", ["no", "fp16"])
def test_the_bare_loop_s_update_is_the_same_with_a_scaler_as_without(precision):
    """By powers of two the scale is undone to the bit."""
    layer, plain = nn.Linear(3, 1), nn.Linear(3, 1)
    plain.load_state_dict(layer.state_dict())
    x = torch.tensor([[1.0, 2.0, 400.0]])
    update = Update(torch.optim.SGD(layer.parameters(), 0.5), precision, clip=1.0)
    assert update.scaler.is_enabled() == (precision == "fp16")
    update(layer(x).sum())
    plain(x).sum().backward()
    nn.utils.clip_grad_value_(plain.parameters(), 1.0)
    torch.optim.SGD(plain.parameters(), 0.5).step()
    assert torch.equal(layer.weight, plain.weight)
    assert layer.weight.grad is None


@pytest.mark.long
def test_distgans_training_and_the_bare_loop_do_the_same_flops(tmp_path):
    """As a user does it; what the ratio is on a busy machine is not tested."""
    out = tmp_path / "speed.jsonl"
    row = "step_quickstart_no_16"
    code, text = run(
        [sys.executable, "-m", "benchmarks.speed", "--rows", row, "--rounds", "1", "--out", str(out)],
        TMPDIR=str(tmp_path),
    )
    assert code == 0, text
    ours, bare = json.loads(out.read_text().splitlines()[1])["sides"]
    assert len(ours) == len(bare) == 5, "a round of short steps is five short turns"
    assert ours[0]["facts"] == bare[0]["facts"]
    assert "| step of quickstart, batch 16, fp32 |" in text
