"""Names beyond ASCII where the locale knows only ASCII: every command works, and the files are those of any locale."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import processes

pytestmark = pytest.mark.slow

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NETWORKS = ("generator.width=8", "generator.stem_channels=8", "generator.upsamples=1", "discriminator.width=8")
SMALL = (*NETWORKS, "discriminator.downsamples=2", "train.batch_size=10", "train.images=40", "log.samples=4")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with 40 images of two classes in bilder_ü."""
    draw = np.random.default_rng(0)
    for name in ("é", "猫"):
        (tmp_path / "bilder_ü" / name).mkdir(parents=True)
        for number in range(20):
            image = Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            image.save(tmp_path / "bilder_ü" / name / f"ä{number}.png")
    return tmp_path


def _run(*words: object, expected: int = 0, **env: str) -> str:
    code, output = processes.run([sys.executable, "-m", "distgan", *map(str, words)], **env)
    assert code == expected, output
    assert "Traceback" not in output, output
    return output


@pytest.mark.parametrize("env", [ASCII, {"PYTHONIOENCODING": "ascii:strict"}], ids=["ASCII", "ASCII terminal"])
def test_every_command_works_with_names_beyond_the_locale(place: Path, env: dict[str, str]) -> None:
    data, runs = place / "daten_ü", place / "läufe"
    _run("prepare", "folder", place / "bilder_ü", "--out", data, "--size", 16, **env)
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["classes"] == ["é", "猫"]
    assert "already complete" in _run("prepare", "folder", place / "bilder_ü", "--out", data, "--size", 16)
    settings = (f"data.path={data}", f"run.dir={runs}", "data.classes=é,猫", *SMALL)
    _run("doctor", "--quick", *settings, **env)
    _run("train", *settings, **env)
    run = runs / "quickstart"
    assert (run / "report.html").is_file()
    _run("sample", run, "--classes", "猫", "--out", place / "bild_ü.png", **env)
    _run("export", run, "--out", place / "ö.safetensors", **env)
    _run("report", run, **env)
    scores = ("--count", 20, "--reference-count", 20, "--out", place / "wért.json")
    _run("evaluate", run, *scores, **env)
    assert json.loads((place / "wért.json").read_text(encoding="utf-8"))["protocol"]["reference_classes"] == ["é", "猫"]


@pytest.mark.parametrize(
    "command", ["sample RUN --classes ê --out x.png", "doctor --quick data.path=nö", "report nö", "train --config ö"]
)
def test_a_mistake_with_a_name_beyond_the_locale_is_one_sentence(command: str) -> None:
    output = _run(*command.split(), expected=2, **ASCII)
    assert output.strip()
