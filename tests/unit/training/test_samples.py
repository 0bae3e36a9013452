"""What a grid of samples shows."""

from __future__ import annotations

from distgan.training.samples import columns_for, in_columns


def test_a_few_classes_have_a_column_each_and_one_or_many_classes_have_none():
    assert columns_for(10, 64) == 10
    assert columns_for(1, 64) is None
    assert columns_for(10, 9) is None, "no row would be full"
    assert columns_for(100, 400) is None


def test_reals_stand_in_the_column_of_their_class_and_what_lacks_is_filled_up_in_order():
    labels = [0, 0, 2, 1, 2, 0]
    assert in_columns(labels, 3, 6) == [0, 3, 2, 1, 4, 5]
    assert in_columns(labels, 3, 3) == [0, 3, 2]
    assert in_columns([1, 1], 3, 6) == [0, 1]
