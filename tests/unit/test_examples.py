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


@pytest.mark.parametrize(
    "name", ["Callback", "Trainer.from_config", "evaluate", "fit", "load_config", "load_generator", "prepare"]
)
def test_every_call_of_the_interface_has_an_example(name):
    first, _, method = name.partition(".")
    described = getattr(distgan, first)
    assert ">>> " in (getattr(described, method) if method else described).__doc__


def test_the_code_of_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) == 5
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/python.md, block {number}", "exec"), names)
    assert names["watch"].losses, "the callback was called"
    assert names["again"].values == names["scores"].values
