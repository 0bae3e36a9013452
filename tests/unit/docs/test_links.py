"""Links of Markdown pages that leave docs/, as docs/hooks/links.py changes them for the site."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from docs.hooks import links


@pytest.mark.parametrize(
    ("link", "page", "expected"),
    [
        ("../launch/README.md", "doctor.md", "repository/launch/README.md"),
        ("../../launch/README.md#exit-codes", "tutorials/many_gpus.md", "../repository/launch/README.md#exit-codes"),
        ("../configs/sngan.yaml", "recipes.md", "repository/configs/sngan.yaml.md"),
        ("../docs/doctor.md", "repository/launch/README.md", "../../doctor.md"),
        ("sweep.yaml", "repository/launch/README.md", "sweep.yaml.md"),
        ("docs/quickstart.png", "repository/README.md", "../quickstart.png"),
        ("quality.md#scores", "metrics.md", "quality.md#scores"),
    ],
)
def test_a_link_leads_to_the_page_of_its_file(link, page, expected):
    assert links.rewritten(f"see [it]({link}).", links.repository_path(page), page) == f"see [it]({expected})."


def test_code_and_links_to_other_hosts_stay_as_they_are():
    text = (
        "`[a](../b.md)` [c](https://host/d.md) [e](#here)\n\n```bash\necho '[f](../g.md)'\n```\n\n[h](../i.md) and "
        "[`j`](../k.yaml)"
    )
    changed = text.replace("[h](../i.md)", "[h](repository/i.md)").replace("../k.yaml", "repository/k.yaml.md")
    assert links.rewritten(text, "docs/page.md", "page.md") == changed
    assert links.linked("docs/page.md", text) == ["i.md", "k.yaml"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```python loader\nx = 1\n```\n", "```python\nx = 1\n```\n"),
        ("- a\n  b\n  - c\n1. d\n   e\n", "- a\n    b\n    - c\n1. d\n    e\n"),
        ("- a\n\n  b\n- c\n", "- a\n\n    b\n\n- c\n"),
        ("- a\n\n```\n  b\n```\n", "- a\n\n```\n  b\n```\n"),
    ],
)
def test_fences_and_lists_are_written_as_python_markdown_wants_them(text, expected):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))
    assert links.on_page_markdown(text, page=page) == expected


def test_a_file_a_folder_and_a_notebook_become_markdown(tmp_path):
    (tmp_path / "nets.py").write_text("x = '```'\n")
    (tmp_path / "image.png").write_bytes(b"\x89")
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": ["y = 2"], "outputs": ["left out"]},
    ]
    (tmp_path / "book.ipynb").write_text(json.dumps({"cells": cells}))
    code = "~~~~~ python\nx = '```'\n~~~~~"
    assert links.page_of(tmp_path / "nets.py") == f"# nets.py\n\n{code}"
    assert links.page_of(tmp_path) == f"# {tmp_path.name}\n\n## nets.py\n\n{code}"
    assert links.page_of(tmp_path / "book.ipynb") == "# Title\ntext\n\n~~~~~ python\ny = 2\n~~~~~"
