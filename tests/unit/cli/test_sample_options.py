"""Options of `distgan sample` that do not go together."""

from __future__ import annotations

import pytest

from distgan.cli.main import main
from tests.unit.inference.test_sampling import export


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--walk", "0,3", "--seeds", "0-3", "--out", "w.webp"], "--walk and --seeds do not go together"),
        (["--walk", "0,3", "--batch-size", "2", "--out", "w.webp"], "--walk and --batch-size do not go together"),
        (["--grid-classes", "--batch-size", "2", "--out", "g.png"], "--grid-classes and --batch-size do not go"),
        (["--walk", "0,3", "--columns", "2", "--out", "w.webp"], "--walk and --columns do not go together"),
        (["--walk", "0,x", "--out", "w.webp"], "--walk: 'x' is not a whole number"),
        (["--walk", "0,1", "--frames", "1000001", "--out", "w.webp"], "must be a whole number from 1 to 1,000,000"),
        (["--frames", "20", "--out", "a.png"], "--frames and --fps are of a film: add --walk"),
        (["--mix", "frog,frog,0.5", "--out", "a.png"], "--mix=frog,frog,0.5 must be two classes and the share"),
        (["--mix", "frog,cat,30", "--out", "a.png"], "from 0 to 1"),
        (["--mix", "frog,cat,0.5", "--classes", "cat", "--out", "a.png"], "both choose the class"),
        (["--mix", "frog,dog,0.5", "--out", "a.png"], "there is no class dog"),
        (["--move", "1=2,1=3", "--out", "a.png"], "names a direction twice"),
        (["--move", "1", "--out", "a.png"], "must be directions and distances, such as 1=2.5,3=-1"),
        (["--move", "9=1", "--out", "a.png"], "move 9=1.0 must be a direction from 1 to 8 and a finite distance"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    export(tmp_path / "g.safetensors", conditional=True)
    assert main(["sample", "g.safetensors", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]
