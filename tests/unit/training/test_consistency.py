"""The digest notices every change of one element; the verdict names the rank and the tensor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distgan.training.consistency import digest, equal, unequal


@given(st.integers(0, 2**31), st.integers(1, 3000), st.data())
def test_a_change_of_any_bit_of_any_element_changes_the_digest(seed, size, data):
    tensor = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    changed = tensor.clone()
    place, bit = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 30))
    changed.view(torch.int32)[place] ^= 1 << bit
    assert digest(changed) != digest(tensor)


def test_two_elements_that_change_places_change_the_digest():
    assert digest(torch.tensor([1.0, 2.0])) != digest(torch.tensor([2.0, 1.0]))


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]
)
def test_every_kind_of_number_has_a_digest_also_a_scalar_and_nan(dtype):
    ones = torch.ones(3, dtype=dtype)
    assert digest(ones) == digest(ones.clone())
    assert digest(ones) != digest(torch.zeros(3, dtype=dtype))
    assert digest(torch.ones((), dtype=dtype)).dtype == torch.int64
    if dtype.is_floating_point:
        nan = torch.full((2,), float("nan"), dtype=dtype)
        assert digest(nan) == digest(nan.clone())


def test_the_digest_does_not_depend_on_the_memory_format():
    weight = torch.randn(4, 3, 5, 5)
    assert digest(weight) == digest(weight.contiguous(memory_format=torch.channels_last))


def test_equal_ranks_are_not_accused():
    assert unequal([[1, 2], [1, 2], [1, 2]], ["a", "b"]) is None


def test_the_rank_that_differs_from_most_is_named_also_rank_0():
    assert unequal([[1, 2], [1, 3], [1, 2]], ["a", "b"]) == "rank 1 holds another b than most"
    assert unequal([[9, 2], [1, 2], [1, 2]], ["a", "b"]) == "rank 0 holds another a than most"


def test_of_two_ranks_the_second_is_named_and_long_lists_are_cut():
    names = list("abcdef")
    found = unequal([[0] * 6, [1] * 6], names)
    assert found == "rank 1 holds another a, b, c, d and 2 more tensors than rank 0"


def test_where_no_two_ranks_agree_the_first_that_differs_from_rank_0_is_named():
    assert unequal([[1], [2], [3]], ["a"]) == "rank 1 holds another a than rank 0"


def test_twins_are_named():
    assert equal([5, 6, 7]) is None
    assert equal([5, 6, 7, 6]) == "ranks 1 and 3"
