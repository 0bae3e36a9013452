"""The explorer as one HTML file: the generator as ONNX, ONNX Runtime as WebAssembly, and the latents of some seeds.

The file asks for nothing, from anywhere: it works from a disk, without a network. Its policy allows only what is in it.
"""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory

from distgan.inference.explorer.page import AFTER, BEFORE, ROOM, encode, facts_of, fill, inline
from distgan.inference.formats.write import write_portable
from distgan.inference.generator import Generator
from distgan.inference.generator_file import writing
from distgan.utils.files import atomic_path

SEEDS = 1000  # whose latents travel in the file
RUNTIME = ROOM / "onnxruntime"
SCRIPTS = (*BEFORE, "file_backend.js", *AFTER)


def write_html(generator: Generator, path: Path, title: str, command: str) -> int:
    """Writes the page, atomically, and returns the largest difference of its images in grey levels (`write_portable`).

    Raises ExportError: the extra onnx is missing, the file cannot be written.
    """
    with TemporaryDirectory() as directory:
        model = Path(directory) / "generator.onnx"
        difference = write_portable(generator, model, "onnx")
        content = model.read_bytes()
    facts = {**facts_of(generator, title, command), "latents": encode(generator.latents(range(SEEDS)))}
    page = fill(
        "single_file.html.j2",
        facts,
        style=inline("style.css"),
        licence=(RUNTIME / "LICENSE").read_text(encoding="utf-8"),
        scripts=[inline(name) for name in SCRIPTS],
        blocks={
            "model": b64encode(content).decode(),
            "runtime": b64encode((RUNTIME / "ort.js").read_bytes()).decode(),
            "wasm": b64encode((RUNTIME / "ort.wasm.gz").read_bytes()).decode(),
            "worker": b64encode((ROOM / "worker.js").read_bytes()).decode(),
        },
    )
    with writing(path), atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return difference
