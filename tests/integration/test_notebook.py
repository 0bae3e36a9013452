"""notebooks/quickstart.ipynb: clean as it is kept, and executed as it stands in a real Jupyter kernel."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from tests.support.processes import ROOT

PATH = ROOT / "notebooks" / "quickstart.ipynb"
CELLS = json.loads(PATH.read_text())["cells"]


def text_of(cell):
    return "".join(cell["source"])


def test_the_notebook_is_kept_without_outputs_and_installs_nothing_by_itself():
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert text_of(code[0]).startswith('# %pip install "distgan[onnx]"')
    for cell in code:
        python = "\n".join(line for line in text_of(cell).splitlines() if not line.lstrip().startswith("!"))
        compile(python.replace("else:", "    pass\nelse:"), "cell", "exec")


@pytest.mark.long
def test_the_notebook_runs_from_top_to_bottom_in_a_kernel(tmp_path, monkeypatch):
    nbclient, nbformat = (pytest.importorskip(name, reason="needs the extra test") for name in ("nbclient", "nbformat"))
    pytest.importorskip("ipykernel", reason="needs the extra test")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    client = nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    texts = {name: "".join(output.get("text", "") for output in found) for name, found in outputs.items()}
    shown = {
        text_of(cell).splitlines()[-1]: [output.data for output in outputs[cell.id] if "data" in output]
        for cell in notebook.cells
        if cell.cell_type == "code"
    }
    assert shown["g"][0]["text/html"].startswith("<p>Generator(32x32, 10 classes, ")
    (grid,) = shown['g.grid(range(16), "star", truncation=0.8)']
    assert Image.open(io.BytesIO(base64.b64decode(grid["image/png"]))).size == (266, 266)
    (training,) = [cell for cell in notebook.cells if "distgan.fit(" in cell.source]
    assert [output.data for output in training.outputs if "image/png" in output.get("data", {})], "samples and a chart"
    assert "images: runs/notebook" in texts[training.id]
    for name in ("training.webp", "walk.webp", "runs/notebook/generator.pt", "runs/notebook/report.html"):
        assert (tmp_path / name).stat().st_size > 0
