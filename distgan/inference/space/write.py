"""Writes a Space: app.py, generator.onnx (extra `onnx`), requirements.txt and README.md with the Hub's header."""

from __future__ import annotations

from pathlib import Path

import yaml

from distgan.inference.formats.write import write_portable
from distgan.inference.generator import Generator
from distgan.inference.generator_file import writing
from distgan.inference.hub.card import plain
from distgan.utils.errors import ExportError
from distgan.utils.files import atomic_path
from distgan.utils.safe_io import printable

APP = Path(__file__).with_name("app.py")
ONNX, REQUIREMENTS, README = "generator.onnx", "requirements.txt", "README.md"
GRADIO, PYTHON = "6.31.0", "3.12"  # with which the page is tested; of the Space
NEEDED = (f"gradio=={GRADIO}", "onnxruntime>=1.18", "numpy>=1.26", "pillow>=10.3")
MAX_TITLE = 100  # characters
USE = """
# {title}

A page that draws images from a GAN generator which was trained with distgan. Here:

```bash
pip install -r requirements.txt
python app.py
```
"""


def write_space(directory: Path, generator: Generator, title: str, model: str | None = None) -> list[Path]:
    """Writes the files of a Space; returns them. In a Space that is there README.md is kept.

    model: the generator's repository on the Hub, to which the Space's page links. Raises ExportError: the extra `onnx`
    is missing, an empty title, a file that cannot be written, a network that ONNX does not hold.
    """
    title = " ".join(title.split())
    if not title or len(title) > MAX_TITLE or printable(title) != title:
        raise ExportError(f"title='{printable(title)}' must be one line of 1 to {MAX_TITLE} printable characters")
    there = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    if there and not {"app.py", ONNX} <= there:
        raise ExportError(f"{directory} holds other files; give a new directory, or a Space's to renew it")
    with writing(directory / ONNX):
        write_portable(generator, directory / ONNX, "onnx")
    texts = {"app.py": app_text(title), REQUIREMENTS: "\n".join(NEEDED) + "\n", README: readme_text(title, model)}
    if README in there:
        del texts[README]
    for name, text in texts.items():
        with writing(directory / name), atomic_path(directory / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [directory / name for name in (ONNX, *texts)]


def app_text(title: str) -> str:
    """app.py with its title."""
    before, line, after = APP.read_text(encoding="utf-8").partition('TITLE = "GAN generator"\n')
    if not line:
        raise AssertionError("app.py has no title")
    return f"{before}TITLE = {title!r}\n{after}"


def readme_text(title: str, model: str | None) -> str:
    """README.md with the header that the Hub reads."""
    header = {
        "title": title,
        "sdk": "gradio",
        "sdk_version": GRADIO,
        "python_version": PYTHON,
        "app_file": "app.py",
        "pinned": False,
        **({"models": [model]} if model else {}),
        "tags": ["gan", "distgan"],
    }
    shown = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{shown}---\n{USE.format(title=plain(title))}"
