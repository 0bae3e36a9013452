"""The images of all contenders: the embedded data set, made once per machine."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from webdataset import ShardWriter

from distgan.data.prepare import Request, prepare
from distgan.data.publish import publish
from distgan.data.sources.shapes import Shapes

IMAGES = 20_000
FOREIGN_IMAGES = 10_000


def foreign(data: str = "") -> Path:
    """A directory of JPEGs, 128 pixels wide, in shards of `webdataset.ShardWriter`. data: as for shapes."""
    out = Path(data) if data else Path(tempfile.gettempdir()) / "distgan-benchmark-foreign"
    if not out.is_dir():
        drawn = Shapes(FOREIGN_IMAGES, size=128).offer("train", None).load(False)
        made = out.with_name(f"{out.name}.{os.getpid()}")
        made.mkdir(parents=True)
        with ShardWriter(f"{made}/%05d.tar", maxcount=1000, verbose=0) as writer:
            for row, label in enumerate(drawn.labels.tolist()):
                (image,) = drawn.read(np.array([row]))
                buffer = io.BytesIO()
                Image.fromarray(image).save(buffer, "JPEG", quality=90)
                writer.write({"__key__": f"{row:07d}", "jpg": buffer.getvalue(), "cls": label})
        publish(made, out, replace=False)  # another contender may have been first
        shutil.rmtree(made, ignore_errors=True)
    return out


def shapes(layout: str = "pictures", data: str = "") -> Path:
    """A directory of shards. data: where it is, or else a place of the machine's."""
    out = Path(data) if data else Path(tempfile.gettempdir()) / f"distgan-benchmark-shapes-{layout}"
    prepare(Request(out, Shapes(IMAGES), layout=layout), progress=False)  # type: ignore[arg-type]
    return out
