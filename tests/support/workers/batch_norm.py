"""One rank's part of a game of two turns with batch normalisation."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distgan.config.networks import DcganGenerator, SnganDiscriminator
from distgan.networks import build_discriminator, build_generator, spectral_norm
from distgan.utils.rng import Draws, Rows

BATCH, SIZE, CLASSES = 12, 16, 3


def play(out: Path, dtype: str) -> None:
    """Writes what the rank has seen to OUT.RANK; joined with the others where there are any."""
    torch.set_num_threads(1)
    torch.set_default_dtype(getattr(torch, dtype))
    joined = "RANK" in os.environ
    if joined:
        dist.init_process_group("gloo")
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if joined else (0, 1)
    torch.save(seen_by(rank, ranks), f"{out}.{rank}")
    if joined:
        dist.destroy_process_group()


def seen_by(rank: int, ranks: int) -> dict[str, torch.Tensor]:
    """Gradients, this rank's rows of latents' gradients and images in both turns, and the buffers at the end."""
    draws = Draws(0, Rows(0, BATCH, BATCH).part(rank, ranks), torch.device("cpu"))
    g = build_generator(DcganGenerator(width=4, latent_dim=5, conditional=True), SIZE, CLASSES)
    d = build_discriminator(SnganDiscriminator(width=6, conditional=True), SIZE, CLASSES)
    wrapped_g, wrapped_d = (DistributedDataParallel(net) if ranks > 1 else net for net in (g, d))
    seen = {}
    for turn in range(2):
        latents = draws.at("latents", turn).normal([5]).to(torch.get_default_dtype()).requires_grad_()
        labels = draws.at("labels", turn).integers(CLASSES)
        with torch.no_grad():
            fakes = g(latents, labels)
        logits = wrapped_d(fakes.requires_grad_(), labels)
        (slopes,) = torch.autograd.grad(logits.sum(), fakes, create_graph=True)  # as R1 does
        (logits.square().mean() + slopes.square().sum((1, 2, 3)).mean()).backward()
        seen |= {f"{turn}/d/{name}": value for name, value in gradients(d).items()}
        spectral_norm.power_iteration(spectral_norm.spectral_norms_of(d))
        d.requires_grad_(False)
        images = wrapped_g(latents, labels)
        d(images, labels).exp().mean().backward()
        d.requires_grad_(True)
        seen |= {f"{turn}/g/{name}": value for name, value in gradients(g).items()}
        seen |= {f"{turn}/rows/latents": latents.grad / ranks, f"{turn}/rows/images": images.detach()}
    return seen | {f"state/{name}": value for net in (g, d) for name, value in net.named_buffers()}


def gradients(network: nn.Module) -> dict[str, torch.Tensor]:
    """Copies, then forgets them."""
    found = {name: weight.grad.clone() for name, weight in network.named_parameters()}
    network.zero_grad()
    return found
