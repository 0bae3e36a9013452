"""Every example on docs/extending.md, saved as the page says, keeps its contract."""

import re

import pytest

from distgan.doctor.contracts import check_contract
from tests.support.kinds import PAGE

FILES = ("nets", "method", "mydata")  # the page's blocks of Python, in order


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == len(FILES)
    names = {file: f"{file}_{tmp_path.name}" for file in FILES}
    for file, block in zip(FILES, blocks, strict=True):
        (tmp_path / f"{names[file]}.py").write_text(block)
    return names


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nets:Generator", None),
        ("method:SQUARED", None),
        ("method:OneSided", None),
        ("method:Brightness", None),
        ("method:Nadam", None),
        ("method:Margin", "loss"),
        ("method:Halve", None),
        ("method:Slowest", None),
        ("method:Spread", None),
        ("method:Patches", "extractor"),
        ("mydata:Birds", None),
        ("method:Table", None),
    ],
)
def test_an_example_of_the_page_keeps_its_contract(page, capsys, name, kind):
    file, _, attribute = name.partition(":")
    assert check_contract(f"{page[file]}:{attribute}", kind, {}, quick=True)[1], capsys.readouterr().out
