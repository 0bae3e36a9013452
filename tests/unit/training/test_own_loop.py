"""A trainer whose loop is the caller's."""

from __future__ import annotations

import itertools
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState

import distgan
from distgan.data import in_memory
from distgan.data.dataset import ImageDataset
from distgan.data.resident import Resident
from distgan.distributed.accelerator import build_accelerator
from distgan.distributed.collectives import in_group
from distgan.training.checkpoint.state import capture, restore
from distgan.utils.errors import ConfigError, DataError
from distgan.utils.rng import Rows

IMAGES = torch.randint(256, (40, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.arange(40) % 10


def losses(trainer, steps=3):
    return [metrics["loss/g"].item() for metrics in trainer.steps(steps)]


def test_its_steps_are_those_of_fit(tiny_config):
    """On the data set of the configuration: the metrics of each step, and the averaged weights."""

    class Keeps(distgan.Callback):
        def on_step(self, state):
            kept.append(state.metrics["loss/g"].item())

    kept = []
    config = tiny_config("train.images=60")
    result = distgan.fit(config, [Keeps()])
    trainer = distgan.Trainer.from_config(config)
    assert losses(trainer, 2) + losses(trainer, 3) == kept
    assert trainer.images_seen == 60
    assert trainer.generator().weight_digest == result.generator.weight_digest


def test_arrays_give_the_batches_of_a_data_set_of_shards(tiny_config):
    config = tiny_config("data.flip=true")
    shards = ImageDataset(config.data, 0, Rows(0, 12, 12), torch.device("cpu"), show=False)
    source = shards._source
    trainer = distgan.Trainer.from_config(config, source.images, source.labels, class_names=shards.classes)
    for one, other in itertools.islice(zip(trainer.reals.batches(5), shards.batches(5), strict=True), 60):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    assert trainer.generator().class_names == shards.classes


def test_another_call_of_steps_goes_on_with_the_open_batches_and_a_restored_state_opens_others(
    tiny_config, monkeypatch
):
    trainer = distgan.Trainer.from_config(tiny_config(), IMAGES, LABELS)
    opened, batches = [], trainer.reals.batches
    monkeypatch.setattr(type(trainer.reals), "batches", lambda self, start: opened.append(start) or batches(start))
    state = capture(trainer.core)
    first = losses(trainer, 1) + losses(trainer, 1)
    assert opened == []
    restore(trainer.core, state)
    assert losses(trainer, 2) == first
    assert opened == [0]


def test_a_penalty_in_fp16_is_refused_as_fit_refuses_it(tiny_config):
    with pytest.raises(ConfigError, match="loss.r1_gamma with fp16: the penalty's gradients underflow"):
        distgan.Trainer.from_config(
            tiny_config("loss.r1_gamma=1"), IMAGES, LABELS, accelerator=SimpleNamespace(mixed_precision="fp16")
        )


def test_what_the_controllers_have_done_is_said_once(tiny_config, caplog):
    trainer = distgan.Trainer.from_config(tiny_config(), IMAGES, LABELS)
    trainer.core.controllers._reports.append("balance: D's learning rate is halved")
    with caplog.at_level(logging.INFO, "distgan"):
        losses(trainer, 2)
    assert [record.getMessage() for record in caplog.records].count("balance: D's learning rate is halved") == 1


def test_arrays_are_put_on_the_device_once_for_all_steps(tiny_config, monkeypatch):
    made = []
    monkeypatch.setattr(in_memory, "Resident", lambda *given: made.append(given) or Resident(*given))
    trainer = distgan.Trainer.from_config(tiny_config(), IMAGES, LABELS)
    losses(trainer, 1), losses(trainer, 1)
    assert len(made) == 1


def test_arrays_of_numpy_with_colours_last_are_the_same_images(tiny_config):
    config = tiny_config()
    first = distgan.Trainer.from_config(config, IMAGES, LABELS)
    second = distgan.Trainer.from_config(config, np.asarray(IMAGES.permute(0, 2, 3, 1)), LABELS.tolist())
    assert losses(first) == losses(second)
    assert first.reals.manifest_digest == second.reals.manifest_digest


@pytest.mark.parametrize("augment", ["none", "diffaugment", "ada"])
@pytest.mark.parametrize("family", ["seed_dcgan", "dcgan", "sngan", "r3gan"])
def test_gray_arrays_train_a_generator_of_one_channel(tiny_config, family, augment):
    width = {"widths": "16,8,8,8", "group_width": 4} if family == "r3gan" else {"width": 4}
    sections = [f"{player}={{family: {family}}}" for player in ("generator", "discriminator")]
    keys = [f"{player}.{key}={value}" for player in ("generator", "discriminator") for key, value in width.items()]
    config = tiny_config(*sections, *keys, f"augment={{kind: {augment}}}", "loss.r1_gamma=1")
    gray = IMAGES[:, :1]
    trainer = distgan.Trainer.from_config(config, gray, LABELS)
    assert all(np.isfinite(losses(trainer)))
    generator = trainer.generator()
    assert generator.sample([0, 1]).shape == (2, 1, 32, 32)
    assert "32x32 gray" in repr(generator)


def test_gray_arrays_may_have_their_channel_first_or_last_or_none(tiny_config):
    gray, config = IMAGES[:, :1], tiny_config()
    ways = gray, gray.permute(0, 2, 3, 1), gray[:, 0], gray[:, 0].numpy()
    trainers = [distgan.Trainer.from_config(config, images, LABELS) for images in ways]
    assert len({trainer.reals.manifest_digest for trainer in trainers}) == 1
    assert {trainer.reals.channels for trainer in trainers} == {1}
    batches = itertools.cycle([(gray[:12, 0], LABELS[:12])])
    names = [str(number) for number in range(10)]
    assert distgan.Trainer.from_config(config, batches, class_names=names).reals.channels == 1


def test_an_iterator_gives_the_batches_as_they_come(tiny_config):
    batches = itertools.cycle([(IMAGES[:12], LABELS[:12]), (IMAGES[12:24].numpy(), LABELS[12:24].numpy())])
    names = [f"class {number}" for number in range(10)]
    trainer = distgan.Trainer.from_config(tiny_config(), batches, class_names=names)
    assert len(losses(trainer)) == 3
    assert trainer.generator().class_names == tuple(names)


def test_an_iterator_that_ends_says_so(tiny_config):
    trainer = distgan.Trainer.from_config(tiny_config(), [(IMAGES[:12], None)] * 2)
    steps = trainer.steps(3)
    next(steps), next(steps)
    with pytest.raises(DataError, match="an iterator that has ended; give one without end"):
        next(steps)


@pytest.mark.parametrize(
    ("images", "labels", "sentence"),
    [
        (IMAGES.float(), None, r"images are torch.float32 \[40, 3, 32, 32\]; they must be uint8"),
        (IMAGES[0], None, r"images are torch.uint8 \[3, 32, 32\]"),
        (IMAGES[:0], None, r"they must be uint8 \(0 to 255\) of shape \[N, 3, H, H\]"),
        (IMAGES[:, :2], None, "RGB and square"),
        (IMAGES[:, :, :16], None, "RGB and square"),
        (IMAGES, LABELS[:5], r"labels are torch.int64 \[5\]; they must be whole numbers, \[40\]"),
        (IMAGES, LABELS / 2, "labels are torch.float32"),
        (IMAGES, ["cat", "dog"] * 20, "labels are of the type <U3; they must be whole numbers"),
        (np.array([object()]), None, "images are of the type object"),
        (itertools.repeat((IMAGES[:12], ["cat"] * 12)), None, "labels are of the type <U3"),
        (IMAGES, LABELS - 1, "labels are -1 to 8; they must be 0 to N"),
        ("data/shapes", None, "images=str must be a uint8 tensor or array .*: .*|named by data.path"),
        ([], None, "an iterator that gives no batch"),
        ([IMAGES[:5]], None, "a batch of images has 5 images, this process needs 12"),
    ],
)
def test_images_that_cannot_be_used_are_refused_in_a_sentence(images, labels, sentence, tiny_config):
    with pytest.raises(DataError, match=sentence):
        distgan.Trainer.from_config(tiny_config(), images, labels)


@pytest.mark.parametrize(
    ("names", "sentence"), [(["a", "a"], "class_names has a twice"), (["a", "b\n"], "class_names")]
)
def test_names_that_would_mean_no_class_or_two_are_refused(names, sentence, tiny_config):
    with pytest.raises(DataError, match=sentence):
        distgan.Trainer.from_config(tiny_config(), IMAGES, LABELS % 2, class_names=names)


@pytest.mark.filterwarnings("error")
def test_arrays_that_torch_cannot_share_are_copied(tiny_config):
    expected = losses(distgan.Trainer.from_config(tiny_config(), IMAGES.flip(1), LABELS))
    pixels = np.asarray(IMAGES.permute(0, 2, 3, 1))[..., ::-1]  # OpenCV's order of colours
    pixels.flags.writeable = False
    for labels in (LABELS.numpy().astype(np.uint16), LABELS.numpy().astype(">i8")):
        assert losses(distgan.Trainer.from_config(tiny_config(), pixels, labels)) == expected


def test_more_labels_than_names_are_refused(tiny_config):
    with pytest.raises(DataError, match="labels are 0 to 9; they must be 0 to 1"):
        distgan.Trainer.from_config(tiny_config(), IMAGES, LABELS, class_names=["frog", "cat"])


def test_two_of_different_precisions_take_turns(tiny_config):
    """Each has an Accelerator of its own; the process's is as it was."""
    before = dict(AcceleratorState._shared_state)
    one, other = (
        distgan.Trainer.from_config(tiny_config(f"train.precision={name}"), IMAGES) for name in ("no", "bf16")
    )
    alone = losses(distgan.Trainer.from_config(tiny_config("train.precision=no"), IMAGES), 4)
    turns = [(losses(one, 2), losses(other, 2)) for _ in range(2)]
    assert turns[0][0] + turns[1][0] == alone
    assert turns[0][1] + turns[1][1] != alone
    assert (one.accelerator.mixed_precision, other.accelerator.mixed_precision) == ("no", "bf16")
    assert dict(AcceleratorState._shared_state) == before


def test_a_generator_taken_on_the_way_stays_as_it_was(tiny_config):
    trainer = distgan.Trainer.from_config(tiny_config(), IMAGES, LABELS)
    taken = trainer.generator()
    before = taken.sample(range(2))
    losses(trainer)
    assert torch.equal(taken.sample(range(2)), before)
    assert not torch.equal(trainer.generator().sample(range(2)), before)


def test_it_begins_with_the_weights_that_init_names(tiny_config):
    result = distgan.fit(tiny_config("train.images=60"))
    trainer = distgan.Trainer.from_config(tiny_config(f"init.from={result.run_dir}"))
    assert trainer.generator().weight_digest == result.generator.weight_digest


@pytest.mark.parametrize("others", [True, False])
def test_closing_it_ends_a_group_of_its_own_and_leaves_one_that_was_there_before(others, tiny_config, monkeypatch):
    def join():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)

    def build(config):
        if not others:
            join()
        return build_accelerator(config)

    monkeypatch.setattr("distgan.training.own_loop.build_accelerator", build)
    monkeypatch.setattr("distgan.distributed.collectives._meetings", [])
    if others:
        join()
    try:
        trainer = distgan.Trainer.from_config(tiny_config(), IMAGES)
        losses(trainer, 1)
        trainer.close()
        assert in_group() == others
    finally:
        if in_group():
            dist.destroy_process_group()


def test_a_batch_that_cannot_be_divided_is_refused(tiny_config):
    with pytest.raises(ConfigError, match="train.batch_size=12 is not a multiple"):
        distgan.Trainer.from_config(tiny_config("train.accumulation=5"), IMAGES)
