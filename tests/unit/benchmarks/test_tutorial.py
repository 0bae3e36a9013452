"""The tutorial's recipe beside Keras: the same weights in another layout, the same random numbers, and what is told."""

from __future__ import annotations

import json
import math
import os
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from benchmarks.quality import exchange, keras_tutorial, tutorial
from distgan.config.load import load_config
from distgan.training.own_loop import Trainer
from distgan.utils.errors import QualityError
from distgan.utils.images import to_signed
from tests.support.processes import ROOT

KERAS = os.environ.get("DISTGAN_TEST_KERAS", sys.executable)
MARKS = "before\n<!-- tutorial: begin -->\n<!-- tutorial: end -->\nafter\n"


@pytest.fixture
def trainer(shapes):
    own = [f"data.path={shapes}", "data.prepare=null", "data.classes=null", "train.batch_size=4", "train.cpu_threads=1"]
    config = load_config("seed_frogs", [*own, *tutorial.SMALL])
    return Trainer.from_config(config, accelerator=Accelerator(cpu=True, mixed_precision="no"))


# Keras' layers, written from its documentation in numpy: images are [B, H, W, C]


def leak(x):
    return np.where(x > 0, x, 0.3 * x)


def conv(x, kernel, bias, stride=1, same=True):
    """kernel: [h, w, in, out]"""
    size = kernel.shape[0]
    if same:
        edge = ((size - 1) // 2, size // 2)
        x = np.pad(x, ((0, 0), edge, edge, (0, 0)))
    side = (x.shape[1] - size) // stride + 1
    out = np.zeros((len(x), side, side, kernel.shape[3])) + bias
    for row in range(size):
        for column in range(size):
            rows, columns = (slice(start, start + stride * side, stride) for start in (row, column))
            out += x[:, rows, columns] @ kernel[row, column]
    return out


def transposed(x, kernel, bias):
    """4x4, stride 2, same padding: each input adds kernel [h, w, out, in] times itself around twice its place."""
    side = 2 * x.shape[1]
    out = np.zeros((len(x), side + 2, side + 2, kernel.shape[2]))
    for row in range(4):
        for column in range(4):
            out[:, row : row + side : 2, column : column + side : 2] += x @ kernel[row, column].T
    return out[:, 1:-1, 1:-1] + bias


def generated(latents, weights):
    dense, first, up, second, third, last = zip(weights[::2], weights[1::2], strict=True)
    x = leak(latents @ dense[0] + dense[1]).reshape(len(latents), 16, 16, -1)
    x = leak(transposed(leak(conv(x, *first)), *up))
    return np.tanh(conv(leak(conv(leak(conv(x, *second)), *third)), *last))


def judged(images, kept, weights):
    *layers, dense = zip(weights[::2], weights[1::2], strict=True)
    x = leak(conv(images, *layers[0], same=False))
    for layer in layers[1:]:
        x = leak(conv(x, *layer, stride=2, same=False))
    return x.reshape(len(x), -1) * kept / 0.6 @ dense[0] + dense[1]


def with_biases(network):
    """They begin at 0, which would hide a mistake."""
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(weight, std=0.3)
    return network.double()


def test_a_convolutions_kernel_is_keras_kernel():
    layer = nn.Conv2d(3, 5, 4, stride=2).double()
    (weights,) = exchange.weighted_layers(layer)
    images = np.random.default_rng(0).normal(size=(2, 9, 9, 3))
    ours = layer(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()
    assert np.allclose(conv(images, exchange.kernel(weights[0]), weights[1], 2, same=False), ours, atol=1e-12)


def test_a_transposed_convolutions_kernel_is_keras_kernel():
    layer = nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1).double()
    (weights,) = exchange.weighted_layers(layer)
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 3))
    ours = layer(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()
    assert np.allclose(transposed(images, exchange.kernel(weights[0]), weights[1]), ours, atol=1e-12)


def test_flat_maps_are_reordered_for_keras():
    maps = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    expected = [[maps[n, c, h, w] for h in range(4) for w in range(5) for c in range(3)] for n in range(2)]
    assert exchange.channels_last(maps.reshape(2, -1), (3, 4, 5)).tolist() == expected


def test_the_exported_generator_makes_the_same_images(trainer):
    generator = with_biases(trainer.core.g.network)
    latents = np.random.default_rng(0).normal(size=(2, 32))
    ours = generator(torch.from_numpy(latents)).permute(0, 2, 3, 1).detach().numpy()
    assert np.allclose(generated(latents, exchange.generator_weights(generator)), ours, atol=1e-12)


def test_the_exported_discriminator_judges_the_same_with_the_same_dropout(trainer):
    discriminator = with_biases(trainer.core.d.network)
    images = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3))
    draws = trainer.core.draws.at("", 0)
    kept = dict(exchange.draws_of(trainer, draws))["kept_d"]
    assert 0.4 < kept.mean() < 0.8
    exchange.key_layers(trainer.core.d_keyed, draws.of("dropout/d/fake"), draws.of("dropout/d/real"))
    ours = discriminator(torch.from_numpy(images).permute(0, 3, 1, 2)).detach().numpy()
    assert np.allclose(judged(images, kept, exchange.discriminator_weights(discriminator))[:, 0], ours, atol=1e-12)


def test_an_exchange_has_what_the_training_then_draws(trainer):
    given, core = exchange.exchange_of(trainer, 2), trainer.core
    seen = {"latents": [], "noise": [], "reals": [], "masks": []}
    core.g.network.register_forward_pre_hook(lambda _, inputs: seen["latents"].append(inputs[0].numpy()))
    core.d.network.register_forward_pre_hook(lambda _, inputs: seen["reals"].append(inputs[0].detach()))
    core.d_dropouts[0].register_forward_hook(
        lambda _, inputs, output: seen["masks"].append(((output != 0) | (inputs[0] == 0)).numpy())
    )
    inner = core.loss.discriminator
    core.loss.discriminator = lambda *all_: (seen["noise"].append(torch.cat(all_[2:]).numpy()), inner(*all_))[1]
    list(trainer.steps(2))
    for step in range(2):
        assert np.array_equal(seen["latents"][2 * step], given["latents_d"][step])
        assert np.array_equal(seen["latents"][2 * step + 1], given["latents_g"][step])
        assert np.array_equal(seen["noise"][step], given["noise"][step])
        reals = to_signed(torch.from_numpy(given["reals"][step])).permute(0, 3, 1, 2)
        assert torch.equal(seen["reals"][2 * step][4:], reals)
        for mask, name in zip(seen["masks"][2 * step :], ("kept_d", "kept_g"), strict=False):
            assert np.array_equal(exchange.channels_last(mask, exchange.last_maps(core.d.network)), given[name][step])


def test_label_noise_points_towards_the_other_label():
    assert keras_tutorial.labels(np.array([0.0, 1.0, 0.0, 1.0])).ravel().tolist() == [1, 0.95, 0, 0.05]


def test_nudged_weights_are_the_next_numbers(trainer):
    before = [weight.clone() for player in trainer.core.players.values() for weight in player.weights]
    tutorial.nudge(trainer)
    after = [weight for player in trainer.core.players.values() for weight in player.weights]
    for old, new in zip(before, after, strict=True):
        assert bool((new > old).all())
        assert torch.equal(torch.nextafter(new, torch.full_like(new, -math.inf)), old)


def test_the_measures_have_their_closed_forms():
    assert tutorial.relative([1.0, 3.0], [2.0, 4.0]) == [0.5, 0.25]
    assert tutorial.smoothed([1.0, 2.0, 6.0, 4.0], 2) == [1.5, 4.0, 5.0]
    assert tutorial.smoothed([1.0, 3.0], 25) == [2.0]
    assert tutorial.distance([1.0] * 60, [0.5] * 30 + [1.5] * 30) == pytest.approx(
        np.mean([0.5] * 6 + [abs(1 - (0.5 * (25 - n) + 1.5 * n) / 25) for n in range(1, 25)] + [0.5] * 6)
    )
    assert tutorial.powers([1.0, 1.1], [1.0, 1.0]) == pytest.approx([-8, -1])


def losses(grows, steps=60):
    values = [0.7 + grows * step for step in range(steps)]
    return {
        "loss_d": values,
        "loss_g": values,
        "seconds_per_step": 1.5,
        "versions": {"torch": "2"},
        "date": "2026-11-29",
    }


SIDES = {"distgan": losses(0.0), "keras": losses(2e-3), "nudged": losses(1e-2)}


def test_the_table_has_each_side_beside_distgan():
    lines = tutorial.table(SIDES, 60).splitlines()
    assert lines[0] == "|  | Keras: D | Keras: G | distgan, weights nudged: D | distgan, weights nudged: G |"
    assert lines[2].split(" | ")[1] == "0.0e+00"
    assert lines[3].startswith("| largest relative difference, steps 1 to 10 | 2.5e-02 | 2.5e-02 | 1.1e-01 |")
    assert lines[4].startswith("| largest relative difference, steps 1 to 50 | ")
    assert "| 0.059 | 0.059 | 0.295 | 0.295 |" in lines[5]
    cut = tutorial.table({name: SIDES[name] for name in ("distgan", "keras")}, 60).splitlines()
    assert cut[3].endswith("| 2.5e-02 | not measured | not measured |")


def test_the_chart_stands_alone_in_both_themes_and_is_the_same_each_time():
    svg = tutorial.chart(SIDES)
    root = ElementTree.fromstring(svg)
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"distgan", "Keras", "step", "loss of D, mean over 25 steps", "loss of G, mean over 25 steps"} <= texts
    assert "prefers-color-scheme: dark" in svg
    assert ".s1 {" in svg
    assert "href" not in svg
    assert svg == tutorial.chart(SIDES)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 3 + 2 * 3 + 2 * 2


@pytest.fixture
def known(monkeypatch, shapes):
    """A call whose trainings are known beforehand; returns which were asked for."""
    asked = []
    config = load_config(
        "seed_frogs", [f"data.path={shapes}", "data.prepare=null", "data.classes=null", *tutorial.SMALL]
    )
    monkeypatch.setattr(tutorial, "configuration", lambda args: config)
    monkeypatch.setattr(tutorial, "keras", lambda *_: "")
    monkeypatch.setattr(tutorial, "train", lambda side, args: asked.append(side) or SIDES[side])
    return asked


def test_a_training_that_is_there_is_not_repeated_and_the_document_gets_table_and_chart(known, tmp_path, capsys):
    out, page = tmp_path / "out", tmp_path / "page.md"
    page.write_text(MARKS)
    call = [str(out), "--data", "somewhere", "--steps", "60", "--threads", "1"]
    assert tutorial.main(call) == 0
    assert known == ["distgan", "keras", "nudged"]
    assert tutorial.main([*call, "--into", str(page)]) == 0
    assert len(known) == 3, "all three are there"
    text = page.read_text()
    assert text.startswith("before\n<!-- tutorial: begin -->\n![")
    assert f"]({tutorial.CHART})" in text
    assert "`python -m benchmarks.quality.tutorial OUT --data SHARDS --steps 60 --threads 1 --into " in text
    assert (tmp_path / tutorial.CHART).read_text() == (out / "losses.svg").read_text()
    assert json.loads((out / "results.json").read_text())["keras"]["loss_d"] == SIDES["keras"]["loss_d"]
    assert tutorial.main([*call[:-3], "30", "--threads", "1"]) == 0
    assert len(known) == 6, "other settings"


def test_a_document_without_a_place_is_told_before_any_training(known, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    assert tutorial.main([str(tmp_path / "out"), "--data", "somewhere", "--into", str(page)]) == 2
    assert "has no place for the table" in capsys.readouterr().err
    assert not known


def test_a_python_without_keras_is_one_sentence(tmp_path, capsys):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'keras'\" >&2; exit 1\n")
    python.chmod(0o755)
    assert tutorial.main([str(tmp_path / "out"), "--data", "nowhere", "--keras-python", str(python)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"{python} has no Keras 3 with a backend (ModuleNotFoundError: No module named 'keras'); name"
    )
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_python_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert tutorial.main([str(tmp_path / "out"), "--data", "nowhere", "--keras-python", "/no/python"]) == 2
    assert capsys.readouterr().err.startswith("/no/python cannot be started (No such file or directory); name one that")


@pytest.mark.parametrize(("size", "channels"), [(64, 3), (32, 1)])
def test_images_of_another_kind_are_refused(size, channels):
    trainer = SimpleNamespace(reals=SimpleNamespace(size=size, channels=channels))
    with pytest.raises(
        QualityError, match=rf"those of --data are {size}x{size} with {channels} channel\(s\); use CIFAR"
    ):
        tutorial.check_images(trainer)


@pytest.mark.slow
@pytest.mark.needs("keras")
def test_keras_makes_the_same_steps_from_the_same_weights(trainer, tmp_path):
    np.savez(tmp_path / "exchange.npz", **exchange.exchange_of(trainer, 3))
    args = tutorial.parse([str(tmp_path), "--data", "unused", "--keras-python", KERAS, "--threads", "1"])
    tutorial.keras(args, tmp_path / "exchange.npz", tmp_path / "losses.json")
    theirs = json.loads((tmp_path / "losses.json").read_text())
    for step, metrics in enumerate(trainer.steps(3)):
        assert metrics["loss/d"].item() == pytest.approx(theirs["loss_d"][step], rel=1e-4)
        assert metrics["loss/g"].item() == pytest.approx(theirs["loss_g"][step], rel=1e-4)
    assert theirs["versions"]["keras"].startswith("3.")
    assert str(ROOT) not in json.dumps(theirs)
