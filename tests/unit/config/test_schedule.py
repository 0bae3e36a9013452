"""Numbers that follow a schedule."""

import pytest

from distgan.config.load import load_config, resume_changes, validate
from distgan.config.schedule import Schedule, at, largest
from distgan.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("images", "linear", "cosine"), [(0, 4, 4), (25, 3.25, 3.56066), (50, 2.5, 2.5), (100, 1, 1), (900, 1, 1)]
)
def test_a_schedule_goes_from_start_to_end_and_stays(images, linear, cosine):
    for shape, expected in (("linear", linear), ("cosine", cosine)):
        assert at(Schedule(start=4, end=1, images=100, shape=shape), images) == pytest.approx(expected, abs=1e-5)


def test_a_number_is_always_itself():
    assert at(0.5, 10**9) == 0.5 == largest(0.5)


def test_the_top_of_a_schedule_is_its_higher_end():
    assert largest(Schedule(start=0, end=2, images=5)) == largest(Schedule(start=2, end=0, images=5)) == 2


def test_a_schedule_is_a_section_in_a_file_and_braces_on_the_command_line():
    config = load_config("quickstart", ["loss.r1_gamma={start: 2, end: 0.2, images: 1_000}"])
    assert config.loss.r1_gamma == Schedule(start=2, end=0.2, images=1000)
    again = validate(config.model_dump(mode="json"), "a checkpoint")
    assert again == config


def test_a_changed_schedule_is_another_recipe():
    config = load_config("quickstart", ["loss.r1_gamma={start: 2, end: 0.2, images: 1_000}"])
    changed = load_config("quickstart", ["loss.r1_gamma={start: 2, end: 0.2, images: 2_000}"])
    harmless, refused = resume_changes(config.model_dump(mode="json"), changed)
    assert (harmless, refused) == ([], ["loss.r1_gamma.images: 1000 -> 2000"])


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("loss.r1_gamma={start: 2, end: -1, images: 9}", "loss.r1_gamma.end=-1 must be greater than or equal to 0"),
        (
            "loss.r1_gamma={start: 2}",
            "loss.r1_gamma={'start': 2} lacks end, such as {start: 1e-3, ",
        ),
        ("optimizer.generator.beta2=1", "optimizer.generator.beta2=1 must be less than 1"),
        ("optimizer.generator.lr={start: 0, end: 0, images: 9}", "optimizer.generator.lr: start and end are both 0"),
        ("augment={kind: ada, target: null, p: {start: 0, end: 2, images: 9}}", "augment.p: it reaches 2"),
        ("loss.r1_gamma=many", "loss.r1_gamma=many must be a valid number"),
        (
            "optimizer.generator.beta2={start: 0.9, end: 1, images: 9}",
            "optimizer.generator.beta2: it reaches 1; it must stay below 1",
        ),
    ],
)
def test_a_mistake_in_a_schedule_is_told_by_its_key(override, text):
    with pytest.raises(ConfigError) as error:
        load_config("quickstart", [override])
    assert text in str(error.value)
    assert "schedule" not in str(error.value)
