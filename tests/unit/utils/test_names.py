"""Lists of names as text, and the nearest name."""

import pytest

from distgan.utils.names import join_names, known_names, nearest_name, split_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a, b,", ("a", "b")), ('"a,b",c', ("a,b", "c")), ("'a,b' , c", ("a,b", "c")), (",,", ()), ("", ()),
        ("it's,b", ("it's", "b")), ('x"y,z', ('x"y', "z")), ('"a,b', ('"a', "b")), ("a b", ("a b",)),
    ],
)  # fmt: skip
def test_names_are_split_at_commas_outside_of_quotes_and_joined_again(text, names):
    assert split_names(text) == names
    assert split_names(join_names(names)) == names


@pytest.mark.parametrize(
    ("name", "names", "nearest"),
    [
        ("1000", [f"{i:03d}" for i in range(1000)], "999"),
        ("7", ["000", "007", "070"], "007"),
        ("CATS", ["Cat", "Dog"], "Cat"),
        ("fish", ["arrow", "circle"], None),
        ("7", ["a", "b"], None),
        ("x", [], None),
    ],
)
def test_the_nearest_name_is_the_next_number_among_numbers_and_the_most_alike_elsewhere(name, names, nearest):
    assert nearest_name(name, names) == nearest


def test_a_long_list_of_names_is_cut_but_ends_with_the_last():
    assert known_names("1000", [f"{i:03d}" for i in range(1000)]).endswith("019, ... (1,000 in all, to 999)")
