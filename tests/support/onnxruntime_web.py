"""Renews distgan/inference/explorer/onnxruntime from the npm package: `npm pack onnxruntime-web@1.30.0`, then
`python -m tests.support.onnxruntime_web onnxruntime-web-1.30.0.tgz`.

The package's module becomes a classic script that sets `ort`: a worker of a page from a disk can load no module.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import tarfile
from pathlib import Path

from distgan.inference.explorer.single_file import RUNTIME


def as_script(module: str) -> str:
    """A module's text as a script that sets `ort` to what the module exports."""
    module = re.sub(r"//# sourceMappingURL=.*", "", module).replace("import.meta.url", "self.location.href")
    body, exported = re.fullmatch(r"(.*)export\{([^}]*)\};?\s*", module, flags=re.DOTALL).groups()
    names = [name.split(" as ") for name in exported.split(",")]
    return f"(()=>{{{body}self.ort={{{','.join(f'{public}:{inner}' for inner, public in names)}}};}})();\n"


def main(tarball: Path) -> None:
    with tarfile.open(tarball) as package:

        def read(name: str) -> bytes:
            return package.extractfile(f"package/{name}").read()

        (RUNTIME / "ort.js").write_text(as_script(read("dist/ort.wasm.bundle.min.mjs").decode()))
        (RUNTIME / "ort.wasm.gz").write_bytes(gzip.compress(read("dist/ort-wasm-simd-threaded.wasm"), 9, mtime=0))
        print(f"onnxruntime-web {json.loads(read('package.json'))['version']}: {RUNTIME}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
