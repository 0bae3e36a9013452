"""The explorer as one file: what is in it, and what no name can break."""

from __future__ import annotations

import base64
import gzip
import io
import re
import tarfile

import numpy as np

from distgan.inference.explorer.single_file import RUNTIME, SEEDS, write_html
from distgan.inference.generator import load_generator
from tests.support.onnxruntime_web import main
from tests.unit.inference.test_formats import needs_onnx
from tests.unit.inference.test_sampling import export

EVIL = "</script><script>alert(1)</script><!--\u202e"


def block(page: str, name: str) -> bytes:
    return base64.b64decode(re.search(rf'<script type="text/plain" id="{name}">([^<]*)</script>', page)[1])


@needs_onnx
def test_a_file_holds_the_generator_the_runtime_and_latents_and_hostile_names_stay_text(tmp_path):
    generator = load_generator(export(tmp_path / "g.safetensors", conditional=True, names=("a", EVIL)))
    write_html(generator, tmp_path / "page.html", EVIL, EVIL)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert block(page, "wasm") == (RUNTIME / "ort.wasm.gz").read_bytes()
    assert block(page, "runtime") == (RUNTIME / "ort.js").read_bytes()
    import onnx

    assert onnx.load_model_from_string(block(page, "model")).graph.input[0].name == "latents"
    latents = np.frombuffer(base64.b64decode(re.search(r'"latents": "([^"]*)"', page)[1]), "<f4").reshape(SEEDS, -1)
    assert np.array_equal(latents, generator.latents(range(SEEDS)).numpy())
    assert "alert(1)</script>" not in page
    assert "\u202e" not in page
    assert "default-src 'none'" in page
    assert "connect-src" not in page


def test_the_runtime_is_the_version_that_its_notice_names_and_can_be_made_again(tmp_path, monkeypatch):
    script = (RUNTIME / "ort.js").read_text()
    version = re.search(r"ONNX Runtime Web v([\d.]+)", script)[1]
    assert f"onnxruntime-web {version} " in (RUNTIME / "LICENSE").read_text()
    assert gzip.decompress((RUNTIME / "ort.wasm.gz").read_bytes())[:4] == b"\0asm"

    files = {"dist/ort.wasm.bundle.min.mjs": b"var a=import.meta.url;export{a as env};\n//# sourceMappingURL=x",
             "dist/ort-wasm-simd-threaded.wasm": b"\0asm", "package.json": b'{"version": "9"}'}  # fmt: skip
    with tarfile.open(tmp_path / "p.tgz", "w:gz") as package:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    monkeypatch.setattr("tests.support.onnxruntime_web.RUNTIME", tmp_path)
    main(tmp_path / "p.tgz")
    assert (tmp_path / "ort.js").read_text() == "(()=>{var a=self.location.href;self.ort={env:a};})();\n"
    assert gzip.decompress((tmp_path / "ort.wasm.gz").read_bytes()) == b"\0asm"
