"""The images of a dry run where the data set does not exist yet."""

import pytest

from distgan.config.schema import DataConfig
from distgan.data.prepare import prepare
from distgan.doctor.dry_run import drawn_instead


@pytest.mark.parametrize(("source", "form"), [("shapes", (32, 3)), ("cifar10", (32, 3)), ("mnist", (32, 1))])
def test_what_is_drawn_has_the_size_and_the_channels_of_what_will_be_prepared(source, form, tmp_path):
    request = drawn_instead(DataConfig(path=tmp_path / "data", prepare=source), tmp_path / "images")
    made = prepare(request, progress=False)
    assert (made.size, made.channels) == form
    assert len(made.classes) == 10
