"""benchmarks/speed/operations.py: what it counts, and what it says of two sides."""

from __future__ import annotations

import sys

import pytest
import torch

from benchmarks.speed import operations
from benchmarks.speed.interleave import Side
from benchmarks.speed.operations import Moves, Work, line
from benchmarks.speed.rows import Row
from tests.support.processes import run


def counted(work):
    with Moves() as moves:
        work()
    return moves


def test_an_operation_moves_what_it_reads_and_what_it_writes():
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    moves = counted(lambda: a @ b)
    assert moves.calls == {"mm": 1}
    assert moves.moved == {"mm": 4 * (15 + 35 + 21)}


def test_a_view_moves_nothing_and_what_writes_into_its_argument_does():
    a = torch.ones(4, 4)
    moves = counted(lambda: a.view(16)[3:].detach().add_(1))
    assert moves.calls == {"add": 1}
    assert moves.moved == {"add": 4 * (13 + 13)}


def test_lists_that_are_changed_in_place_are_written_too():
    means, weights = [torch.zeros(3), torch.zeros(5)], [torch.ones(3), torch.ones(5)]
    moves = counted(lambda: torch._foreach_lerp_(means, weights, 0.5))
    assert moves.moved == {"_foreach_lerp": 4 * (8 + 8 + 8)}


def test_a_gather_moves_what_it_takes():
    images, index = torch.ones(1000, 8), torch.tensor([5, 7])
    moves = counted(lambda: images.index_select(0, index))
    assert moves.moved == {"index_select": 2 * 4 * 2 * 8}


def test_a_line_says_what_is_more_and_by_how_much():
    bare = Work(2e9, {"mm": 10, "add": 10}, {"mm": 50e6, "add": 50e6})
    ours = Work(2e9, {"mm": 10, "add": 12, "cat": 0.5}, {"mm": 50e6, "add": 51e6, "cat": 4e6})
    said = line(Row("key", "a step", Side("a.b", {})), ours, bare)
    assert said == (
        "| a step | 2.0 GFLOP | 22, 20: +12.5% | 105 MB, 100 MB: +5.0% | cat 4.0 MB in +0.5, add 1.0 MB in +2.0 |"
    )


def test_a_pattern_without_a_row_is_told_what_rows_there_are(capsys):
    with pytest.raises(SystemExit):
        operations.parse(["--rows", "feed_*"])
    assert "no row feed_*; there are step_seed_frogs_no_20, " in capsys.readouterr().err


@pytest.mark.long
def test_distgan_s_step_moves_few_bytes_more_than_the_bare_loop_s(tmp_path):
    """Counts: the same on every machine."""
    code, text = run(
        [sys.executable, "-m", "benchmarks.speed.operations", "--rows", "step_quickstart_no_16"], TMPDIR=str(tmp_path)
    )
    assert code == 0, text
    flops, _, moved, _ = text.split("step of quickstart, batch 16, fp32 | ")[1].split(" | ")
    assert flops == "6.1 GFLOP", "of both"
    assert abs(float(moved.split(": ")[1].rstrip("%"))) < 2, moved
