"""The pages of the site that docs/hooks/reference.py makes from the code."""

from __future__ import annotations

import argparse

import pytest

from distgan.cli.main import COMMANDS
from distgan.config.help import help_text, key_helps
from docs.hooks import reference


def test_every_key_stands_once_on_the_page_with_its_rule_and_default():
    page = reference.configuration()
    for each in key_helps():
        assert page.count(f'<span id="{each.key}">') + page.count(f"\n## {each.key}\n") == 1
        assert reference.key_row(each) in page
        assert f"  {each.key}  <{each.rule}>  [{each.default}]\n      {each.meaning}" in help_text()
    row = next(line for line in page.splitlines() if 'id="train.batch_size"' in line)
    assert row.endswith("<small>`int > 0` · default `64`</small> |")


def test_a_key_is_called_free_where_a_resumed_run_may_change_it():
    free = {each.key: each.free for each in key_helps()}
    assert (free["train.images"], free["train.batch_size"], free["loss.name"]) == (True, False, False)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_stands_in_its_section(name):
    section = reference.commands().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    parser = reference.parser_of(name)
    for each in (parser, *(sub for source, sub in reference.sub_parsers(parser) if source != "outside")):
        for action in each._actions:
            if not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
                assert reference.option_row(each, action) in section


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a | b_c *d* <e> [f]", r"a &#124; b\_c \*d\* &lt;e&gt; \[f\]"),
        ("run `a|b_c` now", r"run `a\|b_c` now"),
        ("one ` alone", r"one \` alone"),
        ("two\n  lines", "two lines"),
    ],
)
def test_a_help_text_is_plain_in_a_table_s_cell(text, expected):
    assert reference.prose(text) == expected
