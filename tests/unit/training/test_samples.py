"""What a grid of samples shows."""

from __future__ import annotations

from distgan.training.samples import in_columns


def test_reals_stand_in_the_column_of_their_class_and_what_lacks_is_filled_up_in_order():
    labels = [0, 0, 2, 1, 2, 0]
    assert in_columns(labels, 3, 6) == [0, 3, 2, 1, 4, 5]
    assert in_columns(labels, 3, 3) == [0, 3, 2]
    assert in_columns([1, 1], 3, 6) == [0, 1]
