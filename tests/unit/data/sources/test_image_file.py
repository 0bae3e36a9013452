"""One image file: how every format, mode and depth becomes a square of 8-bit RGB, and what is refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from distgan.data.fit import Fit
from distgan.data.sources import image_file
from distgan.data.sources.image_file import ImageReader, is_image
from distgan.utils.errors import DataError
from tests.support.image_files import noise, put


def load_image(path, size, white=None):
    return ImageReader(Fit(size), white).read(path)


def test_an_image_of_the_right_size_keeps_every_pixel(tmp_path):
    pixels = noise(32, 32, 3)
    np.testing.assert_array_equal(load_image(put(tmp_path / "a.png", pixels), 32), pixels)
    np.testing.assert_array_equal(load_image(put(tmp_path / "a.webp", pixels, lossless=True), 32), pixels)


def test_a_larger_image_is_cut_to_its_central_square_and_resized_with_lanczos(tmp_path):
    pixels = noise(64, 128, 3)
    whole = np.asarray(Image.fromarray(pixels).resize((64, 32), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(load_image(put(tmp_path / "a.png", pixels), 32), whole[:, 16:48])
    np.testing.assert_array_equal(load_image(tmp_path / "a.png", 64), pixels[:, 32:96])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_respected(tmp_path, orientation):
    pixels = noise(16, 16, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = put(tmp_path / "a.png", pixels, exif=exif)
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels),
    }
    np.testing.assert_array_equal(load_image(path, 16), turned[orientation])


def test_damaged_exif_data_does_not_lose_the_image(tmp_path):
    pixels = noise(8, 8, 3)
    path = put(tmp_path / "a.png", pixels, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    np.testing.assert_array_equal(load_image(path, 8), pixels)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)  # 257 * 0 ... 257 * 255
    path = put(tmp_path / "a.png", Image.fromarray(values))
    expected = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    np.testing.assert_array_equal(load_image(path, 16), expected)


def test_grey_and_one_bit_images_are_repeated_in_three_channels(tmp_path):
    grey = noise(8, 8)
    np.testing.assert_array_equal(load_image(put(tmp_path / "l.png", grey), 8), np.stack([grey] * 3, 2))
    bits = grey > 127
    np.testing.assert_array_equal(load_image(put(tmp_path / "1.png", bits), 8), np.stack([bits * 255] * 3, 2))


def test_transparency_is_put_on_white(tmp_path):
    rgba = noise(8, 8, 4)
    share = rgba[..., 3:] / 255
    expected = rgba[..., :3] * share + 255 * (1 - share)
    np.testing.assert_allclose(load_image(put(tmp_path / "rgba.png", rgba), 8), expected, atol=1)
    la = noise(8, 8, 2)
    share = la[..., 1] / 255
    expected = np.stack([la[..., 0] * share + 255 * (1 - share)] * 3, 2)
    np.testing.assert_allclose(load_image(put(tmp_path / "la.png", Image.fromarray(la, "LA")), 8), expected, atol=1)


def test_clear_palette_entries_and_clear_colours_become_white(tmp_path):
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    palette.putpalette([9, 8, 7, 200, 100, 50])
    expected = [[[255, 255, 255], [200, 100, 50]], [[200, 100, 50], [255, 255, 255]]]
    assert load_image(put(tmp_path / "p.png", palette, transparency=0), 2).tolist() == expected
    assert load_image(put(tmp_path / "q.png", palette), 2)[0, 0].tolist() == [9, 8, 7]
    rgb = np.array(expected, np.uint8)
    rgb[rgb == 255] = 3
    path = put(tmp_path / "rgb.png", rgb, transparency=(3, 3, 3))
    assert load_image(path, 2).tolist() == expected
    deep = Image.fromarray(np.array([[7, 65535], [257 * 9, 7]], np.uint16))
    grey = load_image(put(tmp_path / "deep.png", deep, transparency=7), 2)
    assert grey[..., 0].tolist() == [[255, 255], [9, 255]]


def test_cmyk_and_grey_jpegs_are_converted(tmp_path):
    ink = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    cyan = load_image(put(tmp_path / "c.jpg", ink, quality=100), 8)
    np.testing.assert_allclose(cyan, np.broadcast_to([0, 255, 255], (8, 8, 3)), atol=3)
    grey = load_image(put(tmp_path / "g.jpg", Image.new("L", (8, 8), 99), quality=100), 8)
    np.testing.assert_allclose(grey, 99, atol=1)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_an_animation_gives_its_first_frame(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **({"lossless": True} if suffix == "webp" else {}))
    assert load_image(path, 8)[0, 0].tolist() == [250, 0, 0]


def test_a_damaged_png_chunk_is_an_error(tmp_path):
    path = put(tmp_path / "a.png", noise(32, 32, 3))
    content = bytearray(path.read_bytes())
    content[content.index(b"IHDR") + 7] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png"):
        load_image(path, 32)


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = put(tmp_path / "a.png", noise(20, 20, 3))
    monkeypatch.setattr(image_file, "MAX_PIXELS", 399)
    with pytest.raises(DataError, match=r"a\.png has more than 399 pixels"):
        load_image(path, 8)
    monkeypatch.setattr(image_file, "MAX_PIXELS", 10**12)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"a\.png has more than"):
        load_image(path, 8)


def test_a_text_chunk_that_unpacks_without_end_is_an_error(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("bomb", "x" * 2**21, zip=True)
    path = put(tmp_path / "a.png", noise(8, 8, 3), pnginfo=text)
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        load_image(path, 8)


@pytest.mark.parametrize(
    "suffix", ["bmp", "gif", "tif", "tiff", "ppm", "jp2", "tga", "pcx", "sgi", "ico", "avif", "dib"]
)
def test_every_format_of_pixels_that_pillow_reads_is_read(tmp_path, suffix):
    grey = np.full((16, 16, 3), 128, np.uint8)
    path = put(tmp_path / f"a.{suffix}", grey)
    assert is_image(path)
    np.testing.assert_allclose(load_image(path, 16), grey, atol=2)
    path.rename(tmp_path / "a.xyz")
    assert is_image(tmp_path / "a.xyz")


def test_a_format_that_starts_another_program_is_not_read(tmp_path):
    path = put(tmp_path / "a.eps", np.zeros((4, 4, 3), np.uint8))
    assert not is_image(path)
    with pytest.raises(DataError, match=r"a\.eps is not an image that Pillow reads"):
        load_image(path, 4)


def _deep(path, *values, dtype=np.uint16):
    return put(path, Image.fromarray(np.array(values, dtype).reshape(1, -1)))


def test_the_value_that_becomes_white_can_be_named(tmp_path):
    path = _deep(tmp_path / "a.png", 0, 2047, 4095, 5000)
    reader = ImageReader(Fit(4, "pad"), white=4095)
    assert reader.read(path)[1, :, 0].tolist() == [0, 127, 255, 255]
    assert reader.notes() == [
        "images of more than 8 bits (1): the largest value is 5,000, and all above --white 4,095 became white",
        "1 grey image(s) were made RGB; --channels gray keeps one channel",
    ]


def test_images_that_do_not_fill_their_16_bits_are_noted_with_the_largest_value(tmp_path):
    reader = ImageReader(Fit(1, channels="gray"))
    reader.read(_deep(tmp_path / "a.png", 7, 3000))
    reader.read(_deep(tmp_path / "b.tif", 4095, 1))
    assert reader.notes() == [
        "images of more than 8 bits (2): the largest value is 4,095 of 65,535, so they are dark; --white 4095 makes "
        "this value white"
    ]
    bright = ImageReader(Fit(1))
    bright.read(_deep(tmp_path / "c.png", 0, 65535))
    assert bright.notes()[0].endswith("the largest value is 65,535 of 65,535")
    plain = ImageReader(Fit(1))
    plain.read(put(tmp_path / "d.png", noise(1, 1, 3)))
    assert plain.notes() == []


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 0.5), (np.float32, 1000), (np.int32, 70_000)])
def test_values_without_a_known_white_are_refused_until_it_is_named(tmp_path, dtype, largest):
    path = _deep(tmp_path / "a.tif", largest, dtype=dtype)
    with pytest.raises(
        DataError, match=r"a\.tif has values up to .*, and nothing says which one is white; pass --white"
    ):
        load_image(path, 1)
    assert load_image(path, 1, white=2 * largest)[0, 0].tolist() == [128, 128, 128]


def test_16_bit_colours_are_noted_and_not_scaled(tmp_path):
    rows = b"".join(b"\0" + (4095).to_bytes(2, "big") * 6 for _ in range(2))
    path = tmp_path / "a.png"
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    reader = ImageReader(Fit(2))
    assert reader.read(path).max() == 4095 >> 8
    assert reader.notes() == [
        "images with 16-bit colours (1): the upper 8 bits were read; the largest value is about 3,855 of 65,535, so "
        "they are dark; scale them to 8 bits with another program"
    ]
    with pytest.raises(DataError, match=r"a\.png has 16-bit colours, and --white scales grey images only"):
        load_image(path, 2, white=4095)


def test_bytes_are_decoded_as_the_file_is_and_sizes_and_channels_are_counted(tmp_path):
    reader = ImageReader(Fit(8))
    for number, shape in enumerate([(8, 8, 3), (20, 30), (20, 30, 3)]):
        path = put(tmp_path / f"{number}.png", noise(*shape))
        np.testing.assert_array_equal(reader.decode(path.read_bytes(), "a"), reader.read(path))
    assert reader.sizes == {(8, 8): 2, (30, 20): 4}
    assert reader.notes() == [
        "2 grey image(s) were made RGB; --channels gray keeps one channel",
        "4 image(s) are at least 2 times as large as 8x8, such as 30x20; --size makes larger ones",
    ]
    with pytest.raises(DataError, match=r"^set\.zip: a\.png is not an image that Pillow reads; remove"):
        reader.decode(b"hello", "set.zip: a.png")
    grey = ImageReader(Fit(8, channels="gray"))
    assert grey.read(tmp_path / "1.png").shape == (8, 8, 1)
    assert grey.read(tmp_path / "2.png").shape == (8, 8, 1)
    assert grey.notes()[0] == "1 colour image(s) were made grey"


def test_enlarged_images_and_much_larger_ones_are_said(tmp_path):
    def notes(fit, *sizes):
        reader = ImageReader(fit)
        for width, height in sizes:
            reader.read(put(tmp_path / "a.png", noise(height, width, 3)))
        return reader.notes()

    assert notes(Fit(16), (1, 1), (400, 2), (16, 16), (20, 30)) == [
        "2 image(s) have a side below 16 pixels, and were enlarged"
    ]
    assert notes(Fit(16, "pad"), (1, 1), (400, 2)) == []
    assert notes(Fit(16), (32, 40), (16, 16)) == [
        "1 image(s) are at least 2 times as large as 16x16, such as 32x40; --size makes larger ones"
    ]
    assert notes(Fit(16), (32, 40), (16, 16), (20, 20)) == []
