"""PIL images in, data URIs of bounded size out."""

from __future__ import annotations

import base64
import io

from PIL import Image

MAX_BYTES = 360_000  # of an encoded image
THUMBNAIL = 64  # pixels a side
JPEG_QUALITY = 88


def data_uri(image: Image.Image, max_bytes: int = MAX_BYTES) -> str:
    """data:image/...: a PNG if it fits into `max_bytes`, else a JPEG, made smaller until it fits."""
    kind, content = "png", _encoded(image, "PNG")
    while len(content) > max_bytes:
        kind, content = "jpeg", _encoded(image, "JPEG", quality=JPEG_QUALITY)
        image = image.resize((image.width * 3 // 4 or 1, image.height * 3 // 4 or 1), Image.Resampling.LANCZOS)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def thumbnail(image: Image.Image) -> Image.Image:
    """The image with at most THUMBNAIL pixels a side."""
    return image if max(image.size) <= THUMBNAIL else image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)


def _encoded(image: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
