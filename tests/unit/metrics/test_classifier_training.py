"""Training of the classifier that judges: it learns, by the seed alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from distgan.metrics.classifier_training import Labelled, Schedule, accuracy, moved, split_off, train_classifier
from distgan.utils.errors import QualityError
from distgan.utils.rng import Draws, Rows

CPU = torch.device("cpu")
SCHEDULE = Schedule(epochs=4, batch_size=16, lr=0.02)


def stripes(count: int) -> Labelled:
    """16x16 images of two classes: horizontal and vertical stripes, on noise."""
    stream = torch.Generator().manual_seed(count)
    labels = torch.arange(count) % 2
    waves = (torch.arange(16) % 4 < 2).float() * 100
    both = torch.stack([waves[:, None].expand(16, 16), waves.expand(16, 16)])[labels]
    images = both[:, None] + 80 * torch.rand((count, 1, 16, 16), generator=stream)
    return Labelled(images.to(torch.uint8), labels)


def weights_of(schedule: Schedule) -> list[Tensor]:
    network = train_classifier(stripes(64), stripes(20), 2, schedule, CPU, show=False)
    return list(network.state_dict().values())


def test_two_kinds_of_stripes_are_learned():
    network = train_classifier(stripes(128), stripes(20), 2, SCHEDULE, CPU, show=False)
    assert accuracy(network, stripes(50), CPU) == 1


def test_the_weights_are_a_function_of_the_seed():
    torch.manual_seed(1)
    first = weights_of(Schedule(epochs=1, batch_size=16))
    torch.manual_seed(2)
    assert all(map(torch.equal, first, weights_of(Schedule(epochs=1, batch_size=16))))
    assert not all(map(torch.equal, first, weights_of(Schedule(epochs=1, batch_size=16, seed=1))))


def test_training_in_bf16_learns_too_and_its_weights_stay_float32():
    network = train_classifier(stripes(128), stripes(20), 2, replace(SCHEDULE, bf16=True), CPU, show=False)
    assert accuracy(network, stripes(50), CPU) == 1
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("images", "batch", "lr"),
    [(50_000, 256, 0.25), (16_384, 256, 0.25), (8192, 128, 0.125), (300, 16, 1 / 64), (5, 5, 5 / 1024)],
)
def test_few_images_are_trained_in_small_batches_at_a_lower_rate(images, batch, lr):
    made = Schedule().for_images(images)
    assert (made.batch_size, made.lr) == (batch, lr)


def test_fewer_images_than_a_batch_are_one_batch():
    train_classifier(stripes(10), stripes(4), 2, Schedule(epochs=1), CPU, show=False)


@pytest.mark.parametrize(("count", "held_out"), [(100, 10), (4, 1)])
def test_a_tenth_is_held_out_and_no_image_is_on_both_sides(count, held_out):
    images = torch.arange(count).reshape(-1, 1, 1, 1).to(torch.uint8)
    kept, test = split_off(Labelled(images, torch.arange(count)), seed=3)
    assert len(test.labels) == held_out
    assert sorted([*kept.labels.tolist(), *test.labels.tolist()]) == list(range(count))
    assert torch.equal(test.images.flatten().long(), test.labels)


@pytest.mark.parametrize("flip", [True, False])
def test_an_image_is_moved_by_an_eighth_at_most_and_mirrored_only_if_allowed(flip):
    images = torch.randint(256, (64, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    draws = Draws(0, Rows(0, 64, 64), CPU).at("classifier", 0)
    found = set()
    for image, result in zip(images, moved(images, draws, flip), strict=True):
        padded = torch.nn.functional.pad(image[None].float(), (2, 2, 2, 2), mode="reflect")[0].to(torch.uint8)
        ways = {
            (x, y, turned): (window.flip(2) if turned else window)
            for x in range(5)
            for y in range(5)
            for turned in (False, True)
            if (window := padded[:, y : y + 16, x : x + 16]) is not None
        }
        found |= {way for way, expected in ways.items() if torch.equal(expected, result)}
    assert {x for x, _, _ in found} == {y for _, y, _ in found} == set(range(5))
    assert {turned for _, _, turned in found} == ({True, False} if flip else {False})
    assert len(found) > 20


def test_a_training_that_diverges_leaves_no_classifier():
    with pytest.raises(QualityError, match="diverged: its weights are no numbers"):
        train_classifier(stripes(64), stripes(20), 2, replace(SCHEDULE, lr=1e25), CPU, show=False)
