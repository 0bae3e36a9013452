"""The training step: alternating updates of D and G, in step on all ranks. One process is the case of one rank.

In: batches of real images. Out: metrics on the device, which nothing here reads: a step never waits for the device
(but for fp16's scalers, which read whether an update is skipped). Every random number is keyed by (seed, purpose,
update) and drawn for the global batch. So the state is weights, optimizers and a few counters (checkpoint/state.py),
and a step computes the same on any number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Literal, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from distgan.config.schema import Config
from distgan.data.dataset import Batch
from distgan.distributed.accelerator import autocast
from distgan.networks import build_discriminator, build_generator, check_same_answer, to_device
from distgan.networks.batch_norm import batch_norms_of, joined
from distgan.networks.dropout import dropouts, key_layers, keyed
from distgan.networks.layers import HasFeatures, freeze_layers, verdict
from distgan.networks.spectral_norm import power_iteration, spectral_norms_of
from distgan.training.augment import Augmenter
from distgan.training.controllers import Controllers
from distgan.training.ema import Ema, ema_decay
from distgan.training.execution import (
    CudaRecorder,
    Graphs,
    MicroBatch,
    StepInputs,
    compile_network,
    eager,
    run_eager,
    why_unsupported,
)
from distgan.training.features import featured, reusable
from distgan.training.losses import build_loss, discriminator_statistics, mean_over_heads
from distgan.training.meters import Averages
from distgan.training.penalties import Weights, build_penalty, gradient_penalty, mix, slopes_needed
from distgan.training.player import Player, total_norm
from distgan.training.regularisers import check_pairs, in_pairs, mode_seeking
from distgan.training.shown import Classed, DiscriminatorInput, Judged, Pair
from distgan.utils.images import to_signed
from distgan.utils.numerics import at_least_float32
from distgan.utils.rng import Draws, Rows
from distgan.utils.shares import ClassDraws

LOOK_ROWS = 16  # images that D is shown at once where it only looks


class Trainer:
    """G, D, the moving average of G, and the counters."""

    def __init__(
        self, config: Config, accelerator: Accelerator, rows: Rows, size: int, counts: Sequence[int], channels: int = 3
    ) -> None:
        """rows: this rank's rows of the global batch; images are size x size; counts: of the images of each class."""
        device, bucket_mb, classes = accelerator.device, config.train.bucket_mb, len(counts)
        self.accelerator, self.classes, self.conditional = accelerator, classes, config.generator.conditional
        self.settings, self.loss_settings, self.ema_settings = config.train, config.loss, config.ema
        self.latent_dim, self.images_per_step = config.generator.latent_dim, config.images_per_step
        generator = build_generator(config.generator, size, classes, config.run.seed, channels=channels)
        discriminator = build_discriminator(config.discriminator, size, classes, config.run.seed, channels=channels)
        for network in (generator, discriminator):
            check_same_answer(network, accelerator.num_processes, config.train.accumulation)
        freeze_layers(discriminator, config.discriminator.freeze_layers)
        self.ema = Ema(to_device(generator, device))  # a copy as it is: the next lines change `forward`
        for network in (generator, discriminator):
            compile_network(network, config.train.compile)
        self.g = Player(generator, config.optimizer.generator, accelerator, bucket_mb)
        self.d = Player(discriminator, config.optimizer.discriminator, accelerator, bucket_mb)
        self.g_keyed, self.d_keyed, self.d_dropouts = keyed(generator), keyed(discriminator), dropouts(discriminator)
        self.d_batch_norms = batch_norms_of(discriminator)
        self.d_norms = [norm for norm in spectral_norms_of(discriminator) if norm[1].requires_grad]
        self.loss, self.penalty = build_loss(config.loss), build_penalty(config.loss)
        # whether each fake has the class of the real image beside it
        mixed = self.penalty is not None and self.penalty.on == "mixed"
        self.matched = self.loss.needs_real_logits or config.loss.gradient_penalty > 0 or mixed
        check_pairs(config, rows, self.matched)
        self.augment = Augmenter(config.augment, device)
        self.featured = featured(discriminator, config)  # D, where its features are looked at by themselves
        self.seeks_on_features, self.reuses = config.loss.mode_seeking.on == "features", reusable(discriminator, config)
        self.draws, self.draw_classes = Draws(config.run.seed, rows, device), ClassDraws(counts, device)
        self.lr_scale = 1.0  # of both learning rates; rollbacks lower it
        self.lr_factors: dict[str, dict[str, float]] = {"g": {}, "d": {}}  # of the controllers, by their names
        self.moved_lrs: set[str] = set()  # of whom the learning rate has been another than the configured number
        self.d_dropout = config.discriminator.dropout  # the balance changes it
        self.controllers = Controllers(config, self)
        graphs = config.train.graphs == "on" and not why_unsupported(config.train, device, accelerator.num_processes)
        self.compute = Graphs(CudaRecorder(device)) if graphs else run_eager
        self.last: dict[str, Tensor] = {}  # latents and images of this rank, for the consistency check

    @property
    def players(self) -> dict[str, Player]:
        """D and G by their names in metrics."""
        return {"d": self.d, "g": self.g}

    @property
    def steps(self) -> int:
        """Steps done."""
        return self.g.updates

    @property
    def images_seen(self) -> int:
        """Real images that D has been shown, on all ranks."""
        return self.d.updates * self.settings.batch_size

    # The step

    def step(self, batches: Iterator[Batch]) -> dict[str, Tensor]:
        """`train.d_steps` updates of D, one of G, the moving average, the controllers.

        Returns metrics: means over this rank's rows, scalars on the device.
        """
        averages = Averages()
        for player in self.players.values():
            player.optimizer.zero_grad(set_to_none=True)  # of a step that was interrupted
        for _ in range(self.settings.d_steps):
            batch, shared = next(batches), None
            if self.settings.share_fakes:
                shared = self._shared(batch)
            averages.add(self._update_discriminator(batch, shared))
        metrics = averages.means() | self._update_generator(batch, shared)
        self.ema.update(ema_decay(self.ema_settings, self.images_per_step, self.images_seen))
        self.last["images"] = batch.images.chunk(self.settings.accumulation)[-1]
        return metrics | self.controllers.step(metrics)

    def _update_discriminator(self, batch: Batch, shared: Pair | None) -> dict[str, Tensor]:
        """One update of D, on this rank's reals and as many fakes. shared: those that G's update uses as well."""
        d, weights = self.d, Weights.of_d(self.loss_settings, self.d.updates, self.images_seen)
        inputs = StepInputs(self.draws.at("", d.updates), batch, weights)
        work = partial(self._discriminator_gradients, shared)
        metrics = self.compute(("d", self.d_dropout), work, inputs, d.trained)
        norm = d.update(self.d_lr, self.images_seen)
        power_iteration(self.d_norms)
        return metrics | {"grad_norm/d": norm}

    def _discriminator_gradients(self, shared: Pair | None, inputs: StepInputs) -> dict[str, Tensor]:
        """Adds D's gradients, micro-batch by micro-batch. Returns mean metrics."""
        d, parts, averages, weights = self.d, self.settings.accumulation, Averages(), inputs.weights
        for micro in inputs.micro_batches(parts):
            shown = self._discriminator_input(shared or self._pair("d", micro), micro.draws, weights)
            with d.part(micro.number, parts):
                logits = self._discriminator_logits(shown, micro.draws, any(weights.taken))
                fake, real = logits.chunk(len(shown.origins))[:2]
                loss = self._discriminator_loss(fake, real, micro.draws)
                signs = self._head_signs(logits, micro.draws, shown.origins) if any(weights.taken) else None
                penalty = gradient_penalty(weights, shown.origins, logits, self.penalty, signs)
                d.backward((loss + penalty) / parts)
            averages.add({"loss/d": loss} | ({"loss/penalty": penalty} if any(weights.taken) else {}))
            fake, real = verdict(fake.detach()), verdict(real.detach())
            averages.add(discriminator_statistics(fake, real, self.loss.real_probabilities))
        return averages.means()

    def _update_generator(self, batch: Batch, shared: Pair | None) -> dict[str, Tensor]:
        """One update of G through D, whose weights stay as they are. batch: the last that D was shown."""
        g, weights = self.g, Weights.of_g(self.loss_settings.mode_seeking, self.images_seen)
        inputs = StepInputs(self.draws.at("", g.updates), batch, weights)
        with self.d.frozen():
            metrics = self.compute(("g", self.d_dropout), partial(self._generator_gradients, shared), inputs, g.trained)
        return metrics | {"grad_norm/g": g.update(self.g_lr, self.images_seen)}

    def _generator_gradients(self, shared: Pair | None, inputs: StepInputs) -> dict[str, Tensor]:
        """Adds G's gradients, micro-batch by micro-batch. Returns mean metrics."""
        g, parts, averages = self.g, self.settings.accumulation, Averages()
        for micro in inputs.micro_batches(parts):
            with g.part(micro.number, parts):
                pair = shared or self._pair("g", micro)
                fake = self._judged(pair.fakes, micro.draws, "g")
                real = self._reals_judged(pair.reals, micro.draws, inputs.weights)
                loss = mean_over_heads(self.loss.generator, *fake.logits, *real.logits)
                added = self._regularisers(fake, real, inputs.weights)
                g.backward((loss + sum(added.values())) / parts)
            averages.add({"loss/g": loss} | added)
        return averages.means()

    # Its parts

    def _fakes(self, purpose: str, draws: Draws, generator: nn.Module, real_classes: Tensor) -> Classed:
        """New fakes, [b, channels, H, W], from latents that belong to (purpose, update).

        real_classes: int64 [b], of the real images that they will stand beside.
        """
        latents = draws.of(f"latent/{purpose}").normal([self.latent_dim])
        self.last["latents"] = latents
        classes = None
        if self.conditional:
            classes = real_classes if self.matched else self.draw_classes(draws.of(f"class/{purpose}"))
            if self.loss_settings.mode_seeking.wanted and purpose == "g":
                classes = in_pairs(classes)
        key_layers(self.g_keyed, draws.of(f"dropout/g/{purpose}"))
        return Classed(generator(latents, classes), classes)

    def _pair(self, purpose: Literal["d", "g"], micro: MicroBatch) -> Pair:
        """New fakes beside a micro-batch's reals, for an update of D or of G."""
        with torch.set_grad_enabled(purpose == "g"):
            generator = self.g.wrapped if purpose == "g" else self.g.network
            fakes = self._fakes(purpose, micro.draws, generator, micro.labels)
        return Pair(fakes, Classed(to_signed(micro.images), None if fakes.classes is None else micro.labels))

    def _shared(self, batch: Batch) -> Pair:
        """The fakes and reals of both updates of a step; with D's features of them where nothing changes these."""
        pair = self._pair("g", MicroBatch(0, batch.images, batch.labels, self.draws.at("", self.steps)))
        if not self.reuses:
            return pair
        return Pair(*(each._replace(maps=self._features(each.images)) for each in pair))

    def _features(self, images: Tensor) -> list[Tensor]:
        """D's maps of augmented images, with the graph of those images that have one."""
        with autocast(self.accelerator):
            return cast(HasFeatures, self.featured).features(images.contiguous(memory_format=torch.channels_last))

    def _augmented(self, pair: Pair, draws: Draws, slopes: set[str]) -> tuple[dict[str, Tensor], Tensor]:
        """What D's slopes are by, and both as D sees them, [2b, channels, H, W]. slopes: the kinds that need one."""
        keys = (draws.of("augment/fake"), draws.of("augment/real"))
        both, by_image = torch.cat([each.images for each in pair]).detach(), self.loss_settings.penalty_at == "image"
        if not by_image:
            both = self.augment(both, *keys)
        origins = dict(zip(("fake", "real"), both.chunk(2), strict=True))
        for kind, origin in origins.items():
            origin.requires_grad_(kind in slopes)
        joined = torch.cat([*origins.values()])
        return origins, self.augment(joined, *keys) if by_image else joined

    def _discriminator_input(self, pair: Pair, draws: Draws, weights: Weights) -> DiscriminatorInput:
        """Fakes, reals and mixtures of a micro-batch, augmented: [2b or 3b, channels, H, W]."""
        fakes, reals = pair
        slopes = slopes_needed(weights, self.penalty)
        origins, images = self._augmented(pair, draws, slopes)
        if "mixed" in slopes:
            origins["mixed"] = mix(images.detach(), draws.of("mix").uniform()).requires_grad_()
            images = torch.cat([images, origins["mixed"]])
        classes, maps = None, None
        if fakes.classes is not None and reals.classes is not None:
            classes = torch.cat([fakes.classes, reals.classes, reals.classes][: len(origins)])
        if fakes.maps and reals.maps and not slopes:  # which go through the features
            maps = [torch.cat([fake.detach(), real]) for fake, real in zip(fakes.maps, reals.maps, strict=True)]
        return DiscriminatorInput(images.contiguous(memory_format=torch.channels_last), origins, classes, maps)

    def _discriminator_logits(self, shown: DiscriminatorInput, draws: Draws, penalised: bool) -> Tensor:
        """D's logits, [2b or 3b] or [2b or 3b, heads]. penalised: they will be differentiated by the images, twice."""
        key_layers(self.d_keyed, *(draws.of(f"dropout/d/{kind}") for kind in shown.origins))
        known = {} if shown.maps is None else {"maps": shown.maps}
        with eager(self.settings.compile, penalised), joined(self.d_batch_norms, len(shown.origins)):
            return self.d.wrapped(shown.images, shown.classes, **known)  # type: ignore[no-any-return]

    def _head_signs(self, logits: Tensor, draws: Draws, kinds: Iterable[str]) -> Tensor | None:
        """-1 or 1 for each image and head, [2b or 3b, heads], where D has several: see `gradient_penalty`."""
        if logits.ndim == 1 or logits.shape[1] == 1:
            return None
        uniform = torch.cat([draws.of(f"heads/{kind}").uniform([logits.shape[1]]) for kind in kinds])
        return 1 - 2 * (uniform < 0.5).to(logits.dtype)

    def _discriminator_loss(self, fake: Tensor, real: Tensor, draws: Draws) -> Tensor:
        """D's loss without penalties, a scalar, of its logits, [b] or [b, heads] each."""
        noise = self._label_noise(draws)
        return mean_over_heads(lambda *pair: self.loss.discriminator(*pair, *noise), fake, real)

    def _label_noise(self, draws: Draws) -> list[Tensor]:
        """Noise on the labels of fakes and reals, [b] each in [0, 1); nothing where the loss takes none."""
        return [draws.of(f"label/{kind}").uniform() for kind in ("fake", "real") if self.loss.needs_label_noise]

    def _judged(self, shown: Classed, draws: Draws, purpose: str) -> Judged:
        """What G's loss needs of images that D sees in G's update."""
        key_layers(self.d_keyed, draws.of(f"dropout/d/{purpose}"))
        images = self.augment(shown.images, draws.of(f"augment/{purpose}"))
        if self.featured is None:
            images = images.contiguous(memory_format=torch.channels_last)
            return Judged([self.d.network(images, shown.classes)], [shown.images])
        maps = shown.maps or self._features(images)
        with autocast(self.accelerator):
            logits = at_least_float32(self.featured.judge(maps, shown.classes))
        return Judged([logits], maps if self.seeks_on_features else [shown.images])

    @torch.no_grad()
    def _reals_judged(self, reals: Classed, draws: Draws, weights: Weights) -> Judged:
        """The same of the real images, as far as G's loss compares with them: logits, and maps for mode seeking."""
        if self.loss.needs_real_logits:
            return self._judged(reals, draws, "rival")  # the key of its random numbers, since 0.1.0
        if weights.seeking is None:
            return Judged([], [])
        return Judged([], (reals.maps or self._features(reals.images)) if self.seeks_on_features else [reals.images])

    def _regularisers(self, fakes: Judged, reals: Judged, weights: Weights) -> dict[str, Tensor]:
        """What G's loss grows by because of its images, by the names of metrics."""
        if weights.seeking is None:
            return {}
        too_near = mode_seeking(fakes.maps, reals.maps, self.loss_settings.mode_seeking.share)
        return {"loss/mode_seeking": weights.seeking * too_near}

    # State and metrics

    @property
    def g_lr(self) -> float:
        """G's next learning rate."""
        return self.lr_scale * math.prod(self.lr_factors["g"].values()) * self.g.lr(self.images_seen)

    @property
    def d_lr(self) -> float:
        """D's next learning rate."""
        return self.lr_scale * math.prod(self.lr_factors["d"].values()) * self.d.lr(self.images_seen)

    def weight_norms(self) -> dict[str, Tensor]:
        """L2 norms of G's and D's weights, on the device: NaN or infinite as soon as one weight is."""
        return {f"weight_norm/{name}": total_norm(player.weights) for name, player in self.players.items()}

    def spectral_norms(self) -> dict[str, Tensor]:
        """The smallest and the largest spectral norm of D's normalised weights, as estimated; empty without any."""
        norms = [norm.largest(weight) for norm, weight in self.d_norms]
        if not norms:
            return {}
        smallest, largest = torch.stack(norms).aminmax()
        return {"d/spectral_norm_min": smallest, "d/spectral_norm_max": largest}

    @torch.no_grad()
    def logits(self, images: Tensor, classes: Tensor | None) -> Tensor:
        """D's logits of images as they are: without augmentation and dropout, [N] on the CPU. For one rank alone.

        images: uint8 [N, channels, H, W]; classes: int64 [N], for a conditional D.
        """
        network, device, logits = self.d.network, self.accelerator.device, []
        network.eval()
        try:
            with eager(self.settings.compile, True):
                for rows in torch.arange(len(images)).split(LOOK_ROWS):
                    shown = to_signed(images[rows].to(device)).contiguous(memory_format=torch.channels_last)
                    found = network(shown, None if classes is None else classes[rows].to(device))
                    logits.append(verdict(found).float().cpu())
        finally:
            network.train()
        return torch.cat(logits)

    def line_metrics(self) -> dict[str, float]:
        """Learning rates, scales and the controllers' values as they are now, for a line of metrics.

        A learning rate that is the configuration's number, and stays it, is none of them.
        """
        metrics = {"step": self.steps, **self.controllers.line_metrics()}
        for name, player, lr in (("d", self.d, self.d_lr), ("g", self.g, self.g_lr)):
            if player.lr_varies or lr != player.lr(self.images_seen):
                self.moved_lrs.add(name)
            if name in self.moved_lrs:
                metrics[f"lr/{name}"] = lr
        if self.g.scaler.is_enabled():
            metrics |= {"precision/scale_d": self.d.scaler.get_scale(), "precision/scale_g": self.g.scaler.get_scale()}
        return metrics
