"""What a good engineer writes by hand for the same recipe: plain PyTorch, one process, images in memory.

No logging, no checkpoints, no guard, no keyed random numbers. This is the floor that distgan is measured against, with
the same settings of the machine (distgan/utils/cpu.py), but for `unset_memory`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.speed.baselines.dataset import IMAGES
from benchmarks.speed.interleave import Lap
from distgan.config.load import load_config
from distgan.config.schema import Config
from distgan.networks import build_discriminator, build_generator, to_device
from distgan.training.flops import Flops
from distgan.training.optim import KerasRMSprop
from distgan.utils.cpu import keep_freed_memory

CLASSES, SIZE = 10, 32
LEAK = 0.3


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(precision: str) -> torch.autocast | nullcontext[None]:
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device().type, dtypes[precision]) if precision in dtypes else nullcontext()


def batches(size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random images of random classes, drawn from memory: ([size, 3, 32, 32] in [-1, 1], [size])."""
    images = torch.randint(256, (IMAGES, 3, SIZE, SIZE), dtype=torch.uint8, device=device())
    labels = torch.randint(CLASSES, (IMAGES,), device=device())
    while True:
        for index in torch.randperm(IMAGES, device=device()).split(size)[:-1]:
            yield images.index_select(0, index).float() / 127.5 - 1, labels.index_select(0, index)


def unset_memory(lap: Lap, loop: str, **options: str) -> None:
    """One of the loops below, with memory as PyTorch comes: what a step frees is given back."""
    global keep_freed_memory
    keep_freed_memory = bool
    globals()[loop](lap, **options)


def run(lap: Lap, steps: int, step: Callable[[], None]) -> None:
    keep_freed_memory()
    with Flops() as counter:
        for _ in range(steps):
            step()
    lap(steps, {"flops": counter.total / steps})
    while True:
        for _ in range(steps):
            step()
        lap(steps)


class Update:
    """Backward, clipping and step of one network's rule; in fp16 with a gradient scaler of its own."""

    def __init__(self, rule: torch.optim.Optimizer, precision: str, clip: float | None = None) -> None:
        self.rule, self.clip = rule, clip
        self.scaler = torch.amp.GradScaler(device().type, enabled=precision == "fp16")

    def __call__(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()
        if self.clip is not None:
            self.scaler.unscale_(self.rule)
            nn.utils.clip_grad_value_(self.rule.param_groups[0]["params"], self.clip)
        self.scaler.step(self.rule)
        self.scaler.update()
        self.rule.zero_grad()


def average(mean: nn.Module, network: nn.Module, decay: float) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(list(mean.parameters()), list(network.parameters()), 1 - decay)


def seed_generator() -> nn.Module:
    conv, leak = nn.Conv2d, nn.LeakyReLU(LEAK)
    return nn.Sequential(
        nn.Linear(32, 128 * 16 * 16),
        leak,
        nn.Unflatten(1, (128, 16, 16)),
        *(conv(128, 256, 5, padding=2), leak),
        *(nn.ConvTranspose2d(256, 256, 4, stride=2, padding=1), leak),
        *(conv(256, 256, 5, padding=2), leak, conv(256, 256, 5, padding=2), leak),
        *(conv(256, 3, 7, padding=3), nn.Tanh()),
    )


def seed_discriminator() -> nn.Module:
    halved = [layer for _ in range(3) for layer in (nn.Conv2d(128, 128, 4, stride=2), nn.LeakyReLU(LEAK))]
    first = nn.Conv2d(3, 128, 3), nn.LeakyReLU(LEAK)
    return nn.Sequential(*first, *halved, nn.Flatten(), nn.Dropout(0.4), nn.Linear(512, 1), nn.Flatten(0))


def seed(lap: Lap, precision: str = "no", batch_size: str = "20", steps: str = "2") -> None:
    """The seed recipe: see configs/seed_frogs.yaml."""
    batch = int(batch_size)
    g, d = to_device(seed_generator(), device()), to_device(seed_discriminator(), device())
    update_g = Update(KerasRMSprop(g.parameters(), 4e-4), precision, clip=1.0)
    update_d = Update(KerasRMSprop(d.parameters(), 8e-4), precision, clip=1.0)
    reals = batches(batch)
    fake_base, real_base = (torch.full((batch,), value, device=device()) for value in (1.0, 0.0))

    def step() -> None:
        images, _ = next(reals)
        with torch.no_grad(), autocast(precision):
            fakes = g(torch.randn(batch, 32, device=device()))
        noise = 0.05 * torch.rand(2 * batch, device=device())
        targets = torch.cat([fake_base - noise[:batch], real_base + noise[batch:]])
        joined = torch.cat([fakes.float(), images]).contiguous(memory_format=torch.channels_last)
        with autocast(precision):
            logits = d(joined)
        update_d(F.binary_cross_entropy_with_logits(logits.float(), targets))
        d.requires_grad_(False)
        with autocast(precision):
            logits = d(g(torch.randn(batch, 32, device=device())))
        update_g(F.binary_cross_entropy_with_logits(logits.float(), real_base))
        d.requires_grad_(True)

    run(lap, int(steps), step)


def players(recipe: str, precision: str) -> tuple[Config, nn.Module, nn.Module, Update, Update]:
    """The recipe's own networks under torch's own Adam."""
    config = load_config(recipe, [])
    g = to_device(build_generator(config.generator, SIZE, CLASSES, 0), device())
    d = to_device(build_discriminator(config.discriminator, SIZE, CLASSES, 0), device())
    update_g, update_d = (
        Update(torch.optim.Adam(network.parameters(), 1e-3, (0.0, 0.99)), precision) for network in (g, d)
    )
    return config, g, d, update_g, update_d


def quickstart(lap: Lap, precision: str = "no", batch_size: str = "16", steps: str = "20") -> None:
    """configs/quickstart.yaml: cross-entropy, R1 in every update, one forward of G for both updates."""
    config, g, d, update_g, update_d = players("quickstart", precision)
    batch, reals, mean = int(batch_size), batches(int(batch_size)), copy.deepcopy(g)
    zeros, ones = torch.zeros(batch, device=device()), torch.ones(batch, device=device())

    def step() -> None:
        images, labels = next(reals)
        fake_labels = torch.randint(CLASSES, (batch,), device=device())
        with autocast(precision):
            fakes = g(torch.randn(batch, config.generator.latent_dim, device=device()), fake_labels)
        joined = torch.cat([fakes.detach().float(), images]).contiguous(memory_format=torch.channels_last)
        joined.requires_grad_(True)
        with autocast(precision):
            logits = d(joined, torch.cat([fake_labels, labels])).float()
        loss = F.binary_cross_entropy_with_logits(logits, torch.cat([zeros, ones]))
        (slope,) = torch.autograd.grad(logits.sum(), joined, create_graph=True)
        update_d(loss + slope[batch:].square().sum((1, 2, 3)).mean() / 2)
        d.requires_grad_(False)
        with autocast(precision):
            logits = d(fakes, fake_labels).float()
        update_g(F.binary_cross_entropy_with_logits(logits, ones))
        d.requires_grad_(True)
        average(mean, g, 0.99)

    run(lap, int(steps), step)


def r3gan(lap: Lap, precision: str = "no", batch_size: str = "16", steps: str = "16") -> None:
    """configs/r3gan_small.yaml: each real against a fake of its class, R1 and R2 in every fourth update."""
    config, g, d, update_g, update_d = players("r3gan_small", precision)
    batch, reals, mean = int(batch_size), batches(int(batch_size)), copy.deepcopy(g)
    every, done = config.loss.penalty_every_steps, 0

    def step() -> None:
        nonlocal done
        images, labels = next(reals)
        with torch.no_grad(), autocast(precision):
            fakes = g(torch.randn(batch, config.generator.latent_dim, device=device()), labels)
        joined = torch.cat([fakes.float(), images]).contiguous(memory_format=torch.channels_last)
        penalised = done % every == 0
        joined.requires_grad_(penalised)
        with autocast(precision):
            logits = d(joined, torch.cat([labels, labels])).float()
        fake, real = logits.chunk(2)
        loss = F.softplus(fake - real).mean()
        if penalised:
            (slope,) = torch.autograd.grad(logits.sum(), joined, create_graph=True)
            loss = loss + every * slope.square().sum((1, 2, 3)).view(2, -1).mean(1).sum() / 2
        update_d(loss)
        d.requires_grad_(False)
        with autocast(precision):
            fake = d(g(torch.randn(batch, config.generator.latent_dim, device=device()), labels), labels).float()
            with torch.no_grad():
                real = d(images, labels).float()
        update_g(F.softplus(real - fake).mean())
        d.requires_grad_(True)
        average(mean, g, 0.99)
        done += 1

    run(lap, int(steps), step)


def sngan(lap: Lap, precision: str = "no", batch_size: str = "64", steps: str = "1") -> None:
    """configs/sngan.yaml: hinge, five updates of D for one of G. Spectral norms are the networks' own."""
    from distgan.networks.spectral_norm import power_iteration, spectral_norms_of

    config, g, d, update_g, update_d = players("sngan", precision)
    batch, reals, mean = int(batch_size), batches(int(batch_size)), copy.deepcopy(g)
    latents, norms = config.generator.latent_dim, spectral_norms_of(d)

    def step() -> None:
        for _ in range(config.train.d_steps):
            images, _ = next(reals)
            with torch.no_grad(), autocast(precision):
                fakes = g(torch.randn(batch, latents, device=device()))
            joined = torch.cat([fakes.float(), images]).contiguous(memory_format=torch.channels_last)
            with autocast(precision):
                fake, real = d(joined).float().chunk(2)
            update_d(F.relu(1 + fake).mean() + F.relu(1 - real).mean())
            power_iteration(norms)
        d.requires_grad_(False)
        with autocast(precision):
            loss = -d(g(torch.randn(batch, latents, device=device()))).float().mean()
        update_g(loss)
        d.requires_grad_(True)
        average(mean, g, 0.99)

    run(lap, int(steps), step)
