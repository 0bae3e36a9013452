"""The game: alternating updates of D and G, in step on all ranks. One process is the case world = 1 of the same code.

In: real batches. Out: metrics on the device, never read here: nothing in a step waits for the device (but for fp16's
scalers, which read whether an update is skipped). Every random number is keyed by (seed, purpose, update) and drawn for
the global batch, so the state is the weights, the optimisers and a few counters (see state.py), and a step does the
same on any number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from distgan.config.schema import Config
from distgan.data.dataset import Batch
from distgan.networks import build_discriminator, build_generator, check_same_answer, to_device
from distgan.networks.dropout import dropouts, key_dropout, set_dropout
from distgan.networks.spectral_norm import power_iteration, spectral_norms_of
from distgan.training import balance
from distgan.training.augmenter import Augmenter
from distgan.training.compiling import compile_network, eager
from distgan.training.ema import Ema, ema_decay
from distgan.training.execution import CudaRecorder, Graphs, StepInputs, run_eager, why_unsupported
from distgan.training.losses import build_loss
from distgan.training.penalties import Weights, mix, penalty
from distgan.training.player import Player, total_norm
from distgan.training.window import Sums, Window, mean_of
from distgan.utils.images import to_signed
from distgan.utils.rng import Draws, Rows

Fakes = tuple[Tensor, "Tensor | None"]


class Trainer:
    """Both players, the averaged generator and the counters."""

    def __init__(self, config: Config, accelerator: Accelerator, rows: Rows, size: int, classes: int) -> None:
        """`rows`: this rank's rows of the global batch; images are size x size of `classes` classes."""
        self.config, self.accelerator, self.classes = config, accelerator, classes
        generator = build_generator(config.generator, size, classes, config.run.seed)
        discriminator = build_discriminator(config.discriminator, size, classes, config.run.seed)
        for network in (generator, discriminator):
            check_same_answer(network, accelerator.num_processes, config.train.accumulation)
        self.ema = Ema(to_device(generator, accelerator.device))  # a copy as it is: the next lines change `forward`
        for network in (generator, discriminator):
            compile_network(network, config.train.compile)
        self.g = Player(generator, config.optimizer.generator, accelerator, config.train.bucket_mb)
        self.d = Player(discriminator, config.optimizer.discriminator, accelerator, config.train.bucket_mb)
        self.g_dropouts, self.d_dropouts = dropouts(generator), dropouts(discriminator)
        self.d_norms = spectral_norms_of(discriminator)
        self.loss = build_loss(config.loss)
        self.matched = self.loss.paired or config.loss.gradient_penalty > 0  # each fake is of the class of its real
        self.augment = Augmenter(config.augment, accelerator.device)
        self.draws = Draws(config.run.seed, rows, accelerator.device)
        self.balance_level = 0
        self.lr_scale = 1.0  # of both players; a rollback lowers it
        self.watched = Window(balance.WATCHED, accelerator.device)  # by the balance
        self.heeded = Window(("d/real_accuracy",), accelerator.device)  # by the augmentation
        device = accelerator.device
        graphs = config.train.graphs == "on" and not why_unsupported(config.train, device, accelerator.num_processes)
        self.compute = Graphs(CudaRecorder(device)) if graphs else run_eager
        self.dealt: dict[str, Tensor] = {}  # the last latents and images of this rank, for the guard

    @property
    def steps(self) -> int:
        return self.g.updates

    @property
    def images_seen(self) -> int:
        """Real images that D has been shown."""
        return self.d.updates * self.config.train.batch_size

    def step(self, reals: Iterator[Batch]) -> dict[str, Tensor]:
        """One turn: D's updates, G's update, the average. Returns means over this rank's rows, on the device."""
        told: list[dict[str, Tensor]] = []
        for _ in range(self.config.train.d_steps):
            batch, shared = next(reals), None
            if self.config.train.share_fakes:
                shared = self._fakes("g", self.draws.at("", self.steps), self.g.wrapped, batch.labels)
            told.append(self._update_discriminator(batch, shared))
        metrics = mean_of(told) | self._update_generator(batch, shared)
        decay = ema_decay(self.config.ema, self.config.images_per_step, self.images_seen)
        self.ema.update(decay)
        return metrics | self._adapt(metrics)

    def _update_discriminator(self, batch: Batch, shared: Fakes | None) -> dict[str, Tensor]:
        """D learns to tell this rank's reals from as many new fakes."""
        d, weights = self.d, Weights.of(self.config.loss, self.d.updates, self.images_seen)
        given = StepInputs(self.draws.at("", d.updates), batch, weights)
        metrics = self.compute(("d", self.d_dropout), partial(self._discriminate, shared), given, d.weights)
        norm = d.update(self.d_lr, self.images_seen)
        power_iteration(self.d_norms)
        return metrics | {"grad_norm/d": norm}

    def _discriminate(self, shared: Fakes | None, given: StepInputs) -> dict[str, Tensor]:
        """D's gradients, of fakes and reals joined in one forward."""
        d, weights, parts, sums = self.d, given.weights, self.config.train.accumulation, Sums()
        penalised, mixed = any(weights.taken), weights.mixed is not None
        for part, (images, labels) in enumerate(given.batch.parts(parts)):
            draws = given.draws.for_rows(given.draws.rows.part(part, parts))
            self.dealt["images"] = images
            with torch.no_grad():
                fakes, fake_labels = shared or self._fakes("d", draws, self.g.network, labels)
                joined = torch.cat([fakes.detach(), to_signed(images)])
                shown = self.augment(joined, draws.of("augment/fake"), draws.of("augment/real"))
                if mixed:
                    shown = torch.cat([shown, mix(shown, draws.of("mix").uniform())])
                seen = shown.contiguous(memory_format=torch.channels_last)
            kinds = ("fake", "real", "mixed")[: 3 if mixed else 2]
            key_dropout(self.d_dropouts, *(draws.of(f"dropout/d/{kind}") for kind in kinds))
            classes = None if fake_labels is None else torch.cat([fake_labels, labels, labels][: len(kinds)])
            with d.part(part, parts):
                with eager(self.config.train.compile, penalised):
                    logits = d.wrapped(seen.requires_grad_(penalised), classes)
                fake, real = logits.chunk(len(kinds))[:2]
                noise = [draws.of(f"label/{kind}").uniform() for kind in kinds[:2] if self.loss.noisy]
                loss = self.loss.discriminator(fake, real, *noise)
                price = penalty(weights, seen, logits) if penalised else loss.new_zeros(())
                d.backward((loss + price) / parts)
            sums.add("loss/d", loss)
            if penalised:
                sums.add("loss/penalty", price)
            for name, value in _opinions(*self.loss.opinions(fake.detach(), real.detach())).items():
                sums.add(name, value)
        return sums.means(parts)

    def _update_generator(self, batch: Batch, shared: Fakes | None) -> dict[str, Tensor]:
        """G learns to pass new fakes for real through D, whose weights stay as they are.

        batch: the last that D was shown, for losses that set each fake against a real.
        """
        g, given = self.g, StepInputs(self.draws.at("", self.g.updates), batch, Weights())
        self.d.freeze(True)
        metrics = self.compute(("g", self.d_dropout), partial(self._generate, shared), given, g.weights)
        self.d.freeze(False)
        norm = g.update(self.g_lr, self.images_seen)
        return metrics | {"grad_norm/g": norm}

    def _generate(self, shared: Fakes | None, given: StepInputs) -> dict[str, Tensor]:
        """G's gradients, through D."""
        g, parts, sums = self.g, self.config.train.accumulation, Sums()
        for part, (images, labels) in enumerate(given.batch.parts(parts)):
            draws = given.draws.for_rows(given.draws.rows.part(part, parts))
            with g.part(part, parts):
                fakes, fake_labels = shared or self._fakes("g", draws, g.wrapped, labels)
                fake, real_logits = (
                    self._judge(fakes, fake_labels, draws.of("augment/g"), draws.of("dropout/d/g")),
                    None,
                )
                if self.loss.paired:
                    with torch.no_grad():
                        reals = to_signed(images), None if fake_labels is None else labels
                        real_logits = self._judge(*reals, draws.of("augment/rival"), draws.of("dropout/d/rival"))
                loss = self.loss.generator(fake, real_logits)
                g.backward(loss / parts)
            sums.add("loss/g", loss)
        return sums.means(parts)

    def _judge(self, images: Tensor, labels: Tensor | None, augment: Draws, dropout: Draws) -> Tensor:
        """D's logits in G's step."""
        key_dropout(self.d_dropouts, dropout)
        seen = self.augment(images, augment).contiguous(memory_format=torch.channels_last)
        return self.d.network(seen, labels)

    def _fakes(self, purpose: str, draws: Draws, generator: nn.Module, reals: Tensor) -> Fakes:
        """Images [rows, 3, H, W] in [-1, 1] and their classes, from latents that belong to (purpose, update).

        reals: classes [rows] of the reals that they will stand beside.
        """
        latents = draws.of(f"latent/{purpose}").normal([self.config.generator.latent_dim])
        self.dealt["latents"] = latents
        labels = None
        if self.config.generator.conditional:
            labels = reals if self.matched else draws.of(f"class/{purpose}").integers(self.classes)
        key_dropout(self.g_dropouts, draws.of(f"dropout/g/{purpose}"))
        return generator(latents, labels), labels

    def _adapt(self, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
        """The augmentation follows D's accuracy, or its schedule."""
        if self.config.augment.kind != "ada":
            return {}
        self.augment.follow(self.images_seen)
        if every := self.augment.every_steps:
            self.heeded.add(metrics)
            if self.heeded.steps == every:
                self.augment.move(self.heeded.means(self.accelerator)[0], every * self.config.images_per_step)
        return {"augment/p": self.augment.p.clone()}

    @property
    def g_lr(self) -> float:
        """G's next learning rate."""
        return self.lr_scale * self.g.lr(self.images_seen)

    @property
    def d_lr(self) -> float:
        """D's next learning rate, held back by the balance."""
        return self.lr_scale * balance.lr_scale(self.config.balance, self.balance_level) * self.d.lr(self.images_seen)

    def weight_norms(self) -> dict[str, Tensor]:
        """L2 norms of both players' weights, on the device: NaN or infinite as soon as one weight is."""
        players = (("d", self.d), ("g", self.g))
        return {f"weight_norm/{name}": total_norm(player.weights) for name, player in players}

    @property
    def d_dropout(self) -> float:
        return balance.dropout(self.config.balance, self.config.discriminator.dropout, self.balance_level)

    def rebalance(self, metrics: dict[str, Tensor]) -> int:
        """Shows the balance one step's metrics; at the end of its window it acts. Returns the action (-1, 0, 1)."""
        if not self.config.balance.enabled:
            return 0
        self.watched.add(metrics)
        if self.steps % self.config.balance.every_steps:
            return 0
        means = dict(zip(balance.WATCHED, self.watched.means(self.accelerator).tolist(), strict=True))
        action = balance.action(self.config.balance, self.config.discriminator.dropout, self.balance_level, means)
        self.set_balance(self.balance_level + action)
        return action

    def set_balance(self, level: int) -> None:
        self.balance_level = level
        set_dropout(self.d_dropouts, self.d_dropout)


def _opinions(fake: Tensor, real: Tensor) -> dict[str, Tensor]:
    """What D thinks of a batch, from each image's probability of being real."""
    return {
        "d/fake_prob": fake.mean(),
        "d/real_prob": real.mean(),
        "d/fake_accuracy": (fake < 0.5).to(fake.dtype).mean(),
        "d/real_accuracy": (real > 0.5).to(real.dtype).mean(),
    }
