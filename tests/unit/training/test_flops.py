"""FLOPs of a step, counted without computing it, against those of real steps; peaks of GPUs."""

from __future__ import annotations

import pytest
import torch

from distgan.config.load import load_config
from distgan.training.flops import Flops, peak_flops, step_flops
from distgan.training.own_loop import Trainer


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("quickstart", {}),
        ("quickstart", {"train.share_fakes": True, "train.d_steps": 1}),
        ("cifar10_cpu", {"generator.widths": [16, 16, 16, 16], "train.precision": "no"}),
        ("cifar10_cpu", {"loss.r1_gamma": 1, "loss.penalty_every_steps": 2, "train.precision": "no"}),
        ("r3gan_small", {"loss.penalty_every_steps": 2}),
        ("dcgan", {"generator.width": 16, "discriminator.width": 16, "train.d_steps": 2, "train.precision": "no"}),
        (
            "dcgan",
            {"generator.width": 16, "discriminator.width": 16, "loss.gradient_penalty": 10, "train.precision": "no"},
        ),
    ],
)
def test_the_flops_of_a_step_are_those_that_real_steps_do(recipe, overrides):
    config = load_config(recipe, {"train.batch_size": 4, **overrides})
    images = torch.randint(256, (20, 3, 32, 32), dtype=torch.uint8)
    trainer, every = Trainer.from_config(config, images, torch.arange(20) % 10), config.loss.penalty_every_steps
    with Flops() as counter:
        for _ in trainer.steps(every):
            pass
    assert step_flops(config, 32, 10, 3) == counter.total / every > 0


def test_a_network_that_does_not_run_without_memory_has_no_flops(monkeypatch):
    monkeypatch.setattr("distgan.training.flops.build_generator", lambda *_, **__: 1 / 0)
    assert step_flops(load_config("quickstart"), 32, 10, 3) is None


def test_a_gpus_peak_is_known_by_its_name_and_precision():
    assert peak_flops("NVIDIA H100 80GB HBM3", "bf16") == 989e12
    assert peak_flops("NVIDIA H100 PCIe", "bf16") == 756e12
    assert peak_flops("NVIDIA A100-SXM4-40GB", "no") == 156e12
    assert peak_flops("NVIDIA GeForce RTX 4090", "fp16") == 165.2e12
    assert peak_flops("NVIDIA GeForce RTX 4090 Laptop GPU", "fp16") is None
    assert peak_flops("NVIDIA H100 NVL", "bf16") is None
    assert peak_flops("Tesla T4", "bf16") is None  # it has none
    assert peak_flops("Some other GPU", "bf16") is None
