"""JPEGs decoded with libjpeg-turbo: the pixels are Pillow's, bit for bit, and so is each refusal."""

import itertools

import numpy as np
import pytest

from distgan.data import jpeg
from distgan.data.fit import Fit
from distgan.data.shards.decode import EncodedImage, ImageFile, ImageForm, try_decode
from distgan.data.sources.image_file import ImageReader
from tests.support.foreign import encoded, picture

pytest.importorskip("simplejpeg", reason="needs the extra `jpeg`")
OPTIONS = [
    dict(zip(("quality", "subsampling", "progressive"), values, strict=True))
    for values in itertools.product((30, 75, 95, 100), (0, 1, 2), (False, True))
]
ROTATED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def cases():
    for number, options in enumerate(OPTIONS):
        for mode in ("RGB", "L"):
            yield encoded(picture(number, 17 + number, 33, mode), "jpg", **options)
    good = encoded(picture(1, 40, 30), "jpg")
    yield from (
        good[: len(good) // 2],
        good[:-2],
        good[:100] + b"\0" * 50 + good[150:],
        b"\xff\xd8\xff",
        good + b"more",
    )
    yield encoded(picture(2, 40, 30), "jpg", exif=ROTATED)
    turned, padding = encoded(picture(2, 40, 30), "jpg", exif=ROTATED), b"\xff\xed\xea\x60" + bytes(0xEA60 - 2)
    yield turned[:2] + 2 * padding + turned[2:]  # the rotation is far from the start
    yield encoded(picture(3).convert("CMYK"), "jpg")
    yield encoded(picture(4), "png")


@pytest.mark.parametrize("channels", ["rgb", "gray"])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", None])
def test_pixels_and_refusals_are_those_of_pillow(monkeypatch, fit, channels):
    form = ImageForm(24, 3 if channels == "rgb" else 1, fit, exact=False)

    def read(data):
        found = try_decode(EncodedImage("s/k", ImageFile(data, "jpg"), 0), form)
        return found.pixels if hasattr(found, "pixels") else found.message

    fast = [read(data) for data in cases()]
    monkeypatch.setattr(jpeg, "_library", lambda: None)
    for with_library, by_pillow in zip(fast, [read(data) for data in cases()], strict=True):
        np.testing.assert_array_equal(with_library, by_pillow)


@pytest.mark.parametrize("keep", [True, False])
def test_a_source_gives_the_same_images_and_notes_with_and_without_it(monkeypatch, keep):
    def read():
        reader = ImageReader(Fit(33), keep_format=keep)
        images = [reader.decode(data, "x") for data in itertools.islice(cases(), 2 * len(OPTIONS))]
        return images, reader.notes(), reader.sizes

    fast = read()
    monkeypatch.setattr(jpeg, "_library", lambda: None)
    slow = read()
    assert fast[1:] == slow[1:]
    for with_library, by_pillow in zip(fast[0], slow[0], strict=True):
        assert type(with_library) is type(by_pillow)
        if isinstance(by_pillow, ImageFile):
            assert with_library == by_pillow
        else:
            np.testing.assert_array_equal(with_library, by_pillow)


def test_plain_jpegs_are_decoded_by_it_and_not_by_pillow():
    assert all(jpeg.fast_jpeg(data) is not None for data in itertools.islice(cases(), 2 * len(OPTIONS)))
