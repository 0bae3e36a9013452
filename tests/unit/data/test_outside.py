"""Images of a source from outside that are not as its offer says: one sentence, and nothing is published."""

import io

import numpy as np
import pytest
from PIL import Image

from distgan.data.prepare import Request, prepare
from distgan.data.shards.decode import ImageFile
from distgan.data.sources.base import Offer, SourceImages
from distgan.data.survey import survey
from distgan.utils.errors import DataError
from tests.support.image_files import noise


class Outside:
    """Six images, the third of which is given."""

    def __init__(self, image):
        self.image = image

    def offer(self, split, classes):
        return Offer("mine", 8, ("one",), {}, self.load)

    def load(self, progress):
        return SourceImages(np.arange(6) + 10, np.zeros(6, np.int64), self.read)

    def read(self, rows):
        return [self.image if row == 2 else noise(8, 8, 3, seed=row) for row in rows]


def file(*shape, kind="PNG"):
    content = io.BytesIO()
    Image.fromarray(noise(*shape)).save(content, kind)
    return content.getvalue()


WRONG = [
    (noise(16, 16, 3), r"image 12 of mine is uint8 \[16, 16, 3\]; its offer says uint8 \[8, 8, 3\]"),
    (np.zeros((8, 8, 3)), r"image 12 of mine is float64 \[8, 8, 3\]; its offer says"),
    ("a.png", "image 12 of mine is str; its offer says"),
    (ImageFile(file(16, 16, 3), "png"), "image 12 of mine is a file of 16x16 in RGB; its offer says 8x8 in RGB"),
    (ImageFile(file(8, 8), "png"), "image 12 of mine is a file of 8x8 in L; its offer says 8x8 in RGB"),
    (ImageFile(file(8, 8, 3), "jpg"), "image 12 of mine is no jpg file"),
    (ImageFile(file(8, 8, 3), "gif"), "image 12 of mine is a file of format 'gif'; png, jpg, webp are kept"),
    (ImageFile(file(8, 8, 3)[:-40], "png"), "image 12 of mine cannot be decoded"),
]


@pytest.mark.parametrize(("image", "sentence"), WRONG, ids=[case[1][20:50] for case in WRONG])
def test_an_image_that_is_not_as_offered_is_refused(tmp_path, image, sentence):
    request = Request(tmp_path / "out", Outside(image))
    for make in (prepare, survey):
        with pytest.raises(DataError, match=sentence):
            make(request, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_as_offered_is_kept_and_does_not_go_into_blocks(tmp_path):
    source = Outside(ImageFile(file(8, 8, 3), "png"))
    assert prepare(Request(tmp_path / "out", source), progress=False).count == 6
    with pytest.raises(DataError, match="image 12 of mine is a file, and blocks hold raw pixels"):
        prepare(Request(tmp_path / "blocks", source, layout="blocks"), progress=False)


def test_as_many_images_as_rows_are_read(tmp_path):
    source = Outside(None)
    source.read = lambda rows: [noise(8, 8, 3)]
    with pytest.raises(DataError, match="mine: read.. gives 1 images for 6 rows"):
        prepare(Request(tmp_path / "out", source), progress=False)
