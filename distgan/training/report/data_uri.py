"""Images into a page: a PIL image in, a data URI of bounded size out."""

from __future__ import annotations

import base64
import io

from PIL import Image

MAX = 360_000  # bytes of an image; larger ones become a JPEG, and then smaller
THUMB = 64  # pixels a side at which single images are shown
QUALITY = 88


def data_uri(image: Image.Image) -> str:
    """data:image/..., a PNG where it is small enough."""
    kind, content = "png", _encoded(image, "PNG")
    while len(content) > MAX:
        kind, content = "jpeg", _encoded(image, "JPEG", quality=QUALITY)
        image = image.resize((image.width * 3 // 4 or 1, image.height * 3 // 4 or 1), Image.Resampling.LANCZOS)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def thumbnail(image: Image.Image) -> Image.Image:
    """At most THUMB pixels a side; smaller ones stay as they are."""
    return image if max(image.size) <= THUMB else image.resize((THUMB, THUMB), Image.Resampling.LANCZOS)


def _encoded(image: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
