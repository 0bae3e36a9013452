"""The game: alternating updates of D and G, in step on all ranks. One process is the case world = 1 of the same code.

In: real batches. Out: metrics on the device, never read here: nothing in a step waits for the device. Every random
number is keyed by (seed, purpose, update) and drawn for the global batch, so the state is the weights, the optimisers
and a few counters (see state.py), and a step does the same on any number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from distgan import balance
from distgan.config import Config
from distgan.data.loader import Batch
from distgan.ema import Ema, ema_decay
from distgan.losses import BinaryCrossEntropy, gradient_penalty
from distgan.networks import build_discriminator, build_generator, check_same_answer
from distgan.networks.dropout import key_dropout, set_dropout
from distgan.pixels import to_signed
from distgan.player import Player
from distgan.rng import Draws, Rows

Fakes = tuple[Tensor, "Tensor | None"]


class Trainer:
    """Both players, the averaged generator and the counters."""

    def __init__(self, config: Config, accelerator: Accelerator, rows: Rows, size: int, classes: int) -> None:
        """`rows`: this rank's rows of the global batch; pictures are size x size of `classes` classes."""
        self.config, self.accelerator, self.classes = config, accelerator, classes
        generator = build_generator(config.generator, size, classes, config.run.seed)
        discriminator = build_discriminator(config.discriminator, size, classes, config.run.seed)
        for network in (generator, discriminator):
            check_same_answer(network, accelerator.num_processes)
        self.ema = Ema(generator.to(accelerator.device))  # before `prepare`, which changes `forward`
        self.g = Player(generator, config.optimizer.generator, accelerator)
        self.d = Player(discriminator, config.optimizer.discriminator, accelerator)
        self.loss = BinaryCrossEntropy(config.loss)
        self.draws = Draws(config.run.seed, rows, accelerator.device)
        self.balance_level = 0
        self.lr_scale = 1.0  # of both players; a rollback lowers it
        self.window = Window(accelerator.device)
        self.dealt: dict[str, Tensor] = {}  # the last latents and pictures of this rank, for the guard

    @property
    def steps(self) -> int:
        return self.g.updates

    @property
    def images_seen(self) -> int:
        """Real pictures that D has been shown."""
        return self.d.updates * self.config.train.batch_size

    def step(self, reals: Iterator[Batch]) -> dict[str, Tensor]:
        """One turn: D's updates, G's update, the average. Returns means over this rank's rows, on the device."""
        metrics: dict[str, Tensor] = {}
        shared = (
            self._fakes("g", self.steps, self.draws.rows, self.g.wrapped) if self.config.train.share_fakes else None
        )
        for _ in range(self.config.train.d_steps):
            metrics |= self._update_discriminator(next(reals), shared)
        metrics |= self._update_generator(shared)
        decay = ema_decay(self.config.ema, self.config.images_per_step, self.images_seen)
        self.ema.update(self.g.network, decay)
        return metrics

    def _update_discriminator(self, batch: Batch, shared: Fakes | None) -> dict[str, Tensor]:
        """D learns to tell this rank's reals from as many new fakes, joined in one forward."""
        d, turn, parts, sums = self.d, self.d.updates, self.config.train.accumulation, Sums()
        gamma = self.config.loss.r1_gamma
        for part, (images, labels) in enumerate(zip(batch.images.chunk(parts), batch.labels.chunk(parts), strict=True)):
            rows = self.draws.rows.part(part, parts)
            draw = self.draws.for_rows(rows).at
            self.dealt["pictures"] = images
            with torch.no_grad():
                fakes, fake_labels = shared or self._fakes("d", turn, rows, self.g.network)
            joined = torch.cat([fakes.detach(), to_signed(images)]).contiguous(memory_format=torch.channels_last)
            joined_labels = None if fake_labels is None else torch.cat([fake_labels, labels])
            key_dropout(d.network, draw("dropout/d/fake", turn), draw("dropout/d/real", turn))
            with d.part(part, parts):
                fake, real = d.wrapped(joined.requires_grad_(gamma > 0), joined_labels).chunk(2)
                noise = draw("label/fake", turn).uniform(), draw("label/real", turn).uniform()
                loss = self.loss.discriminator(fake, real, *noise)
                penalty = gamma / 2 * gradient_penalty(joined, real).chunk(2)[1].mean() if gamma else 0.0
                d.backward((loss + penalty) / parts)
            fake_prob, real_prob = self.loss.probability(fake.detach()), self.loss.probability(real.detach())
            sums.add("loss/d", loss)
            sums.add("d/fake_prob", fake_prob.mean())
            sums.add("d/real_prob", real_prob.mean())
            sums.add("d/fake_accuracy", (fake_prob < 0.5).to(fake_prob.dtype).mean())
            sums.add("d/real_accuracy", (real_prob > 0.5).to(fake_prob.dtype).mean())
        norm = d.update(self.d_lr)
        return sums.means(parts) | {"grad_norm/d": norm}

    def _update_generator(self, shared: Fakes | None) -> dict[str, Tensor]:
        """G learns to pass new fakes for real through D, whose weights stay as they are."""
        g, turn, parts, sums = self.g, self.g.updates, self.config.train.accumulation, Sums()
        self.d.network.requires_grad_(False)
        for part in range(parts):
            rows = self.draws.rows.part(part, parts)
            with g.part(part, parts):
                fakes, labels = shared or self._fakes("g", turn, rows, g.wrapped)
                key_dropout(self.d.network, self.draws.for_rows(rows).at("dropout/d/g", turn))
                loss = self.loss.generator(self.d.network(fakes, labels))
                g.backward(loss / parts)
            sums.add("loss/g", loss)
        self.d.network.requires_grad_(True)
        norm = g.update(self.g_lr)
        return sums.means(parts) | {"grad_norm/g": norm}

    def _fakes(self, purpose: str, turn: int, rows: Rows, generator: nn.Module) -> Fakes:
        """Pictures [rows, 3, H, W] in [-1, 1] and their classes, from latents that belong to (purpose, turn)."""
        draw = self.draws.for_rows(rows).at
        latents = draw(f"latent/{purpose}", turn).normal([self.config.generator.latent_dim])
        self.dealt["latents"] = latents
        labels = draw(f"class/{purpose}", turn).integers(self.classes) if self.config.generator.conditional else None
        key_dropout(self.g.network, draw(f"dropout/g/{purpose}", turn))
        return generator(latents, labels), labels

    @property
    def g_lr(self) -> float:
        """G's next learning rate."""
        return self.g.lr(self.lr_scale)

    @property
    def d_lr(self) -> float:
        """D's next learning rate, held back by the balance."""
        return self.d.lr(self.lr_scale * balance.lr_scale(self.config.balance, self.balance_level))

    def weight_norms(self) -> dict[str, Tensor]:
        """L2 norms of both players' weights, on the device: NaN or infinite as soon as one weight is."""
        players = (("d", self.d), ("g", self.g))
        norms = {name: get_total_norm(list(player.network.parameters())) for name, player in players}
        return {f"weight_norm/{name}": norm.detach() for name, norm in norms.items()}

    @property
    def d_dropout(self) -> float:
        return balance.dropout(self.config.balance, self.config.discriminator.dropout, self.balance_level)

    def rebalance(self, metrics: dict[str, Tensor]) -> int:
        """Shows the balance one step's metrics; at the end of its window it acts. Returns the action (-1, 0, 1)."""
        if not self.config.balance.enabled:
            return 0
        self.window.add(metrics)
        if self.steps % self.config.balance.every_steps:
            return 0
        base, means = self.config.discriminator.dropout, self.window.means(self.accelerator)
        action = balance.action(self.config.balance, base, self.balance_level, means)
        self.set_balance(self.balance_level + action)
        return action

    def set_balance(self, level: int) -> None:
        self.balance_level = level
        set_dropout(self.d.network, self.d_dropout)


class Window:
    """What the balance watches, summed on the device since its last look."""

    def __init__(self, device: torch.device) -> None:
        self.sums, self.steps = torch.zeros(len(balance.WATCHED), device=device), 0

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        self.sums += torch.stack([metrics[name] for name in balance.WATCHED])
        self.steps += 1

    def means(self, accelerator: Accelerator) -> dict[str, float]:
        """Over the window and all ranks; the same numbers on every rank. Begins a new window."""
        means = accelerator.reduce(self.sums / self.steps, "mean").tolist()
        self.sums, self.steps = torch.zeros_like(self.sums), 0
        return dict(zip(balance.WATCHED, means, strict=True))


class Sums:
    """Sums of detached metrics over micro-batches, on the device."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor) -> None:
        value = value.detach()
        self.values[name] = self.values[name] + value if name in self.values else value

    def means(self, parts: int) -> dict[str, Tensor]:
        return {name: value / parts for name, value in self.values.items()}
