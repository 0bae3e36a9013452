"""Keyed random numbers: the same everywhere, unrelated between keys, independent of the number of processes."""

import subprocess
import sys

import pytest
import torch

from distgan.utils.rng import Draws, Rows, generator, key

CPU = torch.device("cpu")
GOLDEN = (1206539961146738518, 8004246441104984998, 8847845036524701094, 3548525328270209636)


def test_keys_are_the_same_for_ever():
    assert key(0, "init/g") == GOLDEN[0]
    assert key(7, "latent/d", 3) == GOLDEN[1]
    assert key(7, "latent/d", 3, 0) == GOLDEN[2]
    assert key(2**70, "é", -1) == GOLDEN[3]


def test_keys_do_not_depend_on_the_process():
    code = "from distgan.utils.rng import key; print(key(7, 'latent/d', 3))"
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert int(done.stdout) == key(7, "latent/d", 3)


def test_different_keys_are_different_63_bit_numbers():
    counters = [(), (0,), (1,), (11,), (1, 1), (1, 11), (11, 1), (111,)]
    keys = {
        key(seed, purpose, *numbers) for seed in (0, 1, 11) for purpose in ("a", "b", "a/b") for numbers in counters
    }
    assert len(keys) == 3 * 3 * len(counters)
    assert all(0 <= number < 2**63 for number in keys)


def test_a_generator_starts_at_its_key_whatever_was_drawn_before():
    first = torch.rand(5, generator=generator("cpu", 3, "x", 1))
    torch.rand(100)
    assert torch.equal(first, torch.rand(5, generator=generator("cpu", 3, "x", 1)))
    assert not torch.equal(first, torch.rand(5, generator=generator("cpu", 3, "x", 2)))


@pytest.mark.parametrize(("total", "parts"), [(1, 1), (12, 1), (12, 3), (12, 12), (64, 8)])
def test_the_parts_of_rows_cover_them_once(total, parts):
    rows = Rows(0, total, total)
    covered = [
        row for index in range(parts) for row in range(rows.part(index, parts).start, rows.part(index, parts).stop)
    ]
    assert covered == list(range(total))
    assert {len(rows.part(index, parts)) for index in range(parts)} == {total // parts}


def test_the_parts_of_a_part_lie_inside_it():
    half = Rows(0, 24, 24).part(1, 2)
    assert [half.part(index, 3) for index in range(3)] == [Rows(12, 16, 24), Rows(16, 20, 24), Rows(20, 24, 24)]


@pytest.mark.parametrize("world", [1, 2, 3, 4, 6, 12])
def test_the_draws_of_all_ranks_are_the_draws_of_one(world):
    whole = Draws(5, Rows(0, 12, 12), CPU).at("latent", 7)
    ranks = [whole.for_rows(Rows(0, 12, 12).part(rank, world)) for rank in range(world)]
    assert torch.equal(torch.cat([rank.normal([3, 2]) for rank in ranks]), whole.normal([3, 2]))
    assert torch.equal(torch.cat([rank.uniform([5]) for rank in ranks]), whole.uniform([5]))
    assert torch.equal(torch.cat([rank.uniform() for rank in ranks]), whole.uniform())
    assert torch.equal(torch.cat([rank.integers(10) for rank in ranks]), whole.integers(10))


def test_draws_have_the_stated_shape_type_and_range():
    draws = Draws(0, Rows(2, 1002, 2000), CPU).at("x")
    normal, uniform, integers = draws.normal([3]), draws.uniform([3]), draws.integers(4)
    assert (normal.shape, normal.dtype) == ((1000, 3), torch.float32)
    assert (uniform.shape, uniform.dtype) == ((1000, 3), torch.float32)
    assert (integers.shape, integers.dtype) == ((1000,), torch.int64)
    assert ((uniform >= 0) & (uniform < 1)).all()
    assert integers.unique().tolist() == [0, 1, 2, 3]


def test_draws_differ_by_seed_purpose_and_counter():
    rows = Rows(0, 4, 4)
    draws = [Draws(seed, rows, CPU).at(purpose, *counters) for seed, purpose, counters in [
        (0, "a", (0,)), (1, "a", (0,)), (0, "b", (0,)), (0, "a", (1,)), (0, "a", (0, 0)),
    ]]  # fmt: skip
    assert len({tuple(draw.uniform().tolist()) for draw in draws}) == 5
