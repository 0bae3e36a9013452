"""One process, two, three and four give the same weights, average, optimiser state, balance and logged means."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.workers import training

pytestmark = pytest.mark.slow
DRAWS = (  # all that draws random numbers or sees the batch as a whole
    "train.batch_size=48", "data.flip=true", "generator.dropout=0.1", "loss.r1_gamma=0.5", "loss.label_noise=0.05",
)  # fmt: skip
BALANCE = (  # a controller with thresholds, made to act
    "balance.enabled=true", "balance.every_steps=3", "balance.accuracy_high=0.51", "balance.accuracy_low=0.5",
    "balance.d_loss_low=9", "balance.g_loss_high=0.01",
)  # fmt: skip


MODERN = (  # no batch statistics: any number of processes and micro-batches
    "generator={family: r3gan, widths: [16, 16, 8, 8], blocks: 1, group_width: 8, conditional: true}",
    "discriminator={family: r3gan, widths: [16, 16, 8, 8], blocks: 1, group_width: 8, conditional: true, dropout: 0.1}",
    "loss={name: relativistic, r1_gamma: 0.1, r2_gamma: {start: 0.2, end: 0.1, images: 900}, penalty_every_steps: 2}",
    "optimizer.generator={name: adam, beta1: 0, beta2: {start: 0.9, end: 0.99, images: 900}}",
    "optimizer.discriminator={name: adam, beta1: 0, lr: {start: 1e-3, end: 1e-4, images: 900}}",
    "augment={kind: ada, target: 0.0, speed_images: 2_000, every_steps: 3}", "train.batch_size=48",
)  # fmt: skip
LOSSES = (  # statistics of the global batch in G
    "generator={family: sngan, width: 8, conditional: true}",
    "discriminator={family: sngan, width: 8, conditional: true}",
    "loss={name: hinge, gradient_penalty: 1}", "augment.kind=diffaugment", "train.batch_size=24", "train.d_steps=2",
)  # fmt: skip
STEPS = {"float64": 20, "float32": 4}  # after which training amplifies float32's roundings to 1e-3 on some processors
CONTROLLED = {"window", "augment/window"}  # each rank's own sums


def play(
    out: Path, processes: int, overrides: list[str], dtype: str = "float64", steps: int | None = None
) -> list[dict]:
    """What each rank ended with. steps: STEPS where none are given."""
    return training.play(out, processes, overrides, steps or STEPS[dtype], dtype)


def distance(state: dict, other: dict, roundings: float = 0.0) -> float:
    """Largest difference over all tensors and logged means, each as a share of its norm.

    Tensors whose norm is below `roundings` are left out.
    """
    norms = {name: tensor.double().norm().item() for name, tensor in other["tensors"].items() if name not in CONTROLLED}
    tensors = [
        (state["tensors"][name].double() - other["tensors"][name].double()).norm().item() / max(norm, 1e-30)
        for name, norm in norms.items()
        if norm >= roundings
    ]
    means = [abs(state["metrics"][name] - value) / max(abs(value), 1e-30) for name, value in other["metrics"].items()]
    return max(tensors + means)


def apart(state: dict, other: dict, part: str) -> float:
    """How far all tensors whose names begin with `part` lie apart as one vector, as a share of its norm."""
    names = sorted(name for name in other["tensors"] if name.startswith(part))
    one, two = (torch.cat([side["tensors"][name].flatten().double() for name in names]) for side in (state, other))
    return ((one - two).norm() / two.norm()).item()


@pytest.fixture(scope="module")
def alone(shapes, tmp_path_factory):
    """The answer of one process with one micro-batch, by the type of its numbers."""
    from tests.support.config import TINY

    out = tmp_path_factory.mktemp("alone")
    recipes = {"float64": (*DRAWS, *BALANCE), "float32": DRAWS}
    return {
        dtype: play(out / dtype, 1, [*TINY, f"data.path={shapes}", *recipe], dtype)[0]
        for dtype, recipe in recipes.items()
    }


@pytest.mark.parametrize(("processes", "accumulation"), [(2, 1), (3, 1), (4, 1), (1, 4), (2, 4), (3, 4), (4, 4)])
def test_any_number_of_processes_and_micro_batches_gives_the_answer_of_one_to_1e_12(
    tiny, tmp_path, alone, processes, accumulation
):
    assert 1 in alone["float64"]["levels"], "the balance acts"
    ranks = play(tmp_path / "ranks", processes, tiny(*DRAWS, *BALANCE, f"train.accumulation={accumulation}"))
    for rank in ranks:
        assert rank["values"] == alone["float64"]["values"]
        assert rank["levels"] == alone["float64"]["levels"]
        assert distance(rank, alone["float64"]) < 1e-12
        for name in rank["tensors"].keys() - CONTROLLED:
            assert torch.equal(rank["tensors"][name], ranks[0]["tensors"][name]), "all ranks hold the same bits"


@pytest.mark.parametrize(("processes", "accumulation"), [(2, 1), (4, 4)])
def test_in_float32_weights_average_optimiser_state_and_losses_of_the_first_steps_agree_to_1e_4(
    tiny, tmp_path, alone, processes, accumulation
):
    ranks = play(tmp_path / "ranks", processes, tiny(*DRAWS, f"train.accumulation={accumulation}"), "float32")
    for part in ("g/", "d/", "ema/", "optimizer_g", "optimizer_d"):
        assert apart(ranks[0], alone["float32"], part) < 1e-4, part
    for name, value in alone["float32"]["metrics"].items():
        assert ranks[0]["metrics"][name] == pytest.approx(value, rel=1e-4), name


def test_several_d_steps_and_adam_and_smoothing_agree_too(tiny, tmp_path):
    overrides = tiny("train.accumulation=3", "train.d_steps=2", "loss.label_smoothing=0.1")
    one = play(tmp_path / "one", 1, overrides)[0]
    assert distance(play(tmp_path / "two", 2, overrides)[0], one) < 1e-12


@pytest.mark.parametrize(("processes", "accumulation"), [(2, 1), (3, 2)])
def test_the_modern_recipe_s_answer_is_that_of_one_process_to_1e_12(tiny, tmp_path, processes, accumulation):
    one = play(tmp_path / "one", 1, tiny(*MODERN), steps=10)[0]
    many = play(tmp_path / "many", processes, tiny(*MODERN, f"train.accumulation={accumulation}"), steps=10)[0]
    assert one["metrics"]["augment/p"] > 0, "the controller moves"
    assert distance(many, one) < 1e-12


@pytest.mark.parametrize("shared", ["false", "true"])
def test_noise_pairs_and_heads_on_fixed_features_agree_too(tiny, tmp_path, shared):
    pytest.importorskip("efficientnet_lite_pytorch")
    overrides = tiny(
        "generator={family: fastgan, widths: [8, 8, 8, 8], excitation_stages: 3, conditional: true}",
        "discriminator={family: projected, width: 8, resolution: 32, conditional: true}",
        "loss={name: hinge, mode_seeking: {weight: 1, on: features}}", "train.batch_size=24",
        f"train.share_fakes={shared}",
    )  # fmt: skip
    one = play(tmp_path / "one", 1, overrides, steps=4)[0]
    two = play(tmp_path / "two", 2, overrides, steps=4)[0]
    # 5e-10 of a head's bias: within the hinge's margins its gradient is roundings, which Adam brings to a step
    assert distance(two, one, roundings=1e-9) < 1e-8


@pytest.mark.parametrize("family", ["sngan", "dcgan"])
def test_batch_normalisation_spectral_normalisation_and_mixtures_agree_too(tiny, tmp_path, family):
    overrides = tiny(*(text.replace("sngan", family) for text in LOSSES), "discriminator.spectral_norm=true")
    one = play(tmp_path / "one", 1, overrides, steps=10)[0]
    two = play(tmp_path / "two", 2, overrides, steps=10)[0]
    # a bias before batch normalisation has no effect: it and its memory are roundings, which reach running means
    assert distance(two, one, roundings=1e-8) < 2e-8


def test_stream_mode_promises_its_answer_for_one_number_of_processes_and_keeps_it(tiny, tmp_path):
    """Its order depends on the number of processes (docs/shards.md): two runs of two are equal, to the bit."""
    overrides = tiny("data.mode=stream", "data.workers=1", "data.shuffle_buffer=50")
    first, second = (play(tmp_path / name, 2, overrides)[0] for name in ("first", "second"))
    assert first["metrics"] == second["metrics"]
    for name, tensor in first["tensors"].items():
        assert torch.equal(tensor, second["tensors"][name])
