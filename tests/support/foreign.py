"""Shards as other programs write them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

PILLOW = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}


def picture(seed: int, width: int = 16, height: int | None = None, mode: str = "RGB") -> Image.Image:
    """A smooth image, so that JPEG does not tear it apart."""
    shape = (4, 4, 3) if mode == "RGB" else (4, 4)
    small = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    return Image.fromarray(small).resize((width, height or width), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, ending: str = "jpg", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, PILLOW[ending], **options)
    return buffer.getvalue()


def pixels(data: bytes, mode: str = "RGB") -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert(mode))


def webdataset_shards(directory: Path, count: int = 60, per_shard: int = 20, size: int = 16, ending: str = "jpg"):
    """As `webdataset.ShardWriter` writes them: PAX headers, .cls. Returns [(file, label)] in their order."""
    from webdataset import ShardWriter

    directory.mkdir(parents=True, exist_ok=True)
    content = [(encoded(picture(i, size), ending), i % 3) for i in range(count)]
    with ShardWriter(f"{directory}/%06d.tar", maxcount=per_shard, verbose=0) as writer:
        for number, (data, label) in enumerate(content):
            writer.write({"__key__": f"{number:07d}", ending: data, "cls": label})
    return content


def tar(path: Path, members: list[tuple[str, bytes]], format: int = tarfile.GNU_FORMAT, mode: str = "w") -> Path:
    """Any members, by tarfile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=format) as archive:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return path
