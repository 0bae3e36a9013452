"""The game in one process: who moves when, and that the step is the seed recipe's."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from distgan.config import method
from distgan.config.load import load_config
from distgan.data.dataset import Batch, ImageDataset
from distgan.distributed.accelerator import batch_rows, build_accelerator
from distgan.networks.batch_norm import GlobalBatchNorm
from distgan.networks.dropout import KeyedDropout
from distgan.networks.spectral_norm import power_iteration
from distgan.training.checkpoint.state import capture, restore
from distgan.training.controllers.balance import last_level
from distgan.training.execution import MicroBatch
from distgan.training.penalties import Weights, gradient_penalty
from distgan.training.shown import DiscriminatorInput
from distgan.training.trainer import Trainer
from distgan.utils.images import to_signed


def build(config, size=32, counts=(1,) * 10):
    accelerator, _ = build_accelerator(config.train)
    rows = batch_rows(config.train.batch_size, config.train.accumulation, 0, 1)
    return Trainer(config, accelerator, rows, size, counts)


def reals_of(config):
    accelerator, _ = build_accelerator(config.train)
    return ImageDataset(
        config.data, config.run.seed, batch_rows(config.train.batch_size, 1, 0, 1), accelerator.device, False
    )


def snapshot(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def moved(before: dict[str, torch.Tensor], network: nn.Module) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


def noise_batch(config, size=32):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (config.train.batch_size, 3, size, size), generator=generator, dtype=torch.uint8)
    return Batch(images, torch.arange(config.train.batch_size) % 10)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_no_weight_of_g_moves_in_d_s_update_and_every_weight_of_d_does(tiny_config, accumulation):
    config = tiny_config(f"train.accumulation={accumulation}")
    trainer = build(config)
    g, d = snapshot(trainer.g.network), snapshot(trainer.d.network)
    trainer._update_discriminator(noise_batch(config), None)
    assert moved(g, trainer.g.network) == set()
    assert moved(d, trainer.d.network) == set(d)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_no_weight_or_buffer_of_d_moves_in_g_s_update_and_every_weight_of_g_does(tiny_config, accumulation):
    config = tiny_config(f"train.accumulation={accumulation}")
    trainer = build(config)
    trainer.d.network.register_buffer("statistic", torch.zeros(3))
    g, d = snapshot(trainer.g.network), snapshot(trainer.d.network)
    trainer._update_generator(noise_batch(config), None)
    assert moved(d, trainer.d.network) == set()
    assert moved(g, trainer.g.network) == set(g)
    assert all(weight.grad is None for weight in trainer.d.network.parameters()), "G's backward left gradients in D"
    assert all(weight.requires_grad for weight in trainer.d.network.parameters())


def test_shared_fakes_move_both_players_and_neither_in_the_other_s_update(tiny_config):
    config = tiny_config("train.share_fakes=true")
    trainer = build(config)
    batch = noise_batch(config)
    shared = trainer._shared(batch)
    g = snapshot(trainer.g.network)
    trainer._update_discriminator(batch, shared)
    assert moved(g, trainer.g.network) == set()
    d = snapshot(trainer.d.network)
    trainer._update_generator(batch, shared)
    assert moved(d, trainer.d.network) == set()
    assert moved(g, trainer.g.network) == set(g)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("loss", "seen"),
    [
        ("{name: hinge}", 24),
        ("{name: hinge, mode_seeking: {weight: 2, on: features}}", 24),
        ("{name: hinge, mode_seeking: {weight: 2}}", 24),
        ("{name: relativistic}", 24),
        ("{name: hinge, r1_gamma: 0.1}", 48),  # a penalty differentiates D's own features
    ],
)
def test_both_updates_use_the_same_features_of_shared_fakes_where_nothing_trains_them(
    tiny_config, float64, monkeypatch, loss, seen
):
    pytest.importorskip("efficientnet_lite_pytorch")
    config = tiny_config(
        "train.share_fakes=true", f"loss={loss}", "discriminator={family: projected, width: 4, conditional: true}"
    )
    states, counts = [], []
    for fixed in (True, False):
        monkeypatch.setattr("distgan.networks.projected.Discriminator.fixed_features", fixed)
        trainer, images = build(config), []
        trainer.d.network._fixed[0].stem.register_forward_hook(lambda _, shown, __: images.append(len(shown[0])))  # noqa: B023
        for _ in range(2):
            trainer.step(iter([noise_batch(config)]))
        states.append({**snapshot(trainer.g.network), **snapshot(trainer.d.network)})
        counts.append(sum(images) / 2)
    for name, weight in states[0].items():
        torch.testing.assert_close(weight, states[1][name], rtol=1e-9, atol=1e-12)
    assert counts[0] == seen
    assert counts[1] > 24  # batches of 12 fakes and 12 reals


def test_augmented_images_have_features_of_their_own_in_each_update(tiny_config):
    pytest.importorskip("efficientnet_lite_pytorch")
    config = tiny_config(
        "train.share_fakes=true",
        "augment={kind: diffaugment}",
        "discriminator={family: projected, width: 4, conditional: true}",
    )
    trainer = build(config)
    assert trainer._shared(noise_batch(config)).fakes.maps is None


def test_accumulated_micro_batches_give_the_weights_of_the_whole_batch(tiny_config, float64):
    states = []
    for accumulation in (1, 4):
        config = tiny_config(f"train.accumulation={accumulation}")
        trainer, batches = build(config), reals_of(config).batches(0)
        for _ in range(5):
            trainer.step(batches)
        states.append({**snapshot(trainer.g.network), **snapshot(trainer.d.network)})
    for name, weight in states[0].items():
        torch.testing.assert_close(states[1][name], weight, rtol=1e-10, atol=1e-12)


def test_d_steps_show_d_new_images_each_and_count_them(tiny_config):
    config = tiny_config("train.d_steps=3")
    trainer = build(config)
    seen = []

    def batches():
        for batch in reals_of(config).batches(0):
            seen.append(batch.images)
            yield batch

    source = batches()
    trainer.step(source)
    trainer.step(source)
    assert len(seen) == 6
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    assert (trainer.d.updates, trainer.g.updates, trainer.images_seen) == (6, 2, 6 * 12)
    assert config.total_steps == math.ceil(240 / 36)


def test_g_s_update_draws_other_latents_than_d_s(tiny_config):
    trainer = build(tiny_config("generator.conditional=false", "discriminator.conditional=false"))
    for_d, *_ = trainer._fakes("d", trainer.draws.at("", 0), trainer.g.network, torch.zeros(12))
    for_g, *_ = trainer._fakes("g", trainer.draws.at("", 0), trainer.g.network, torch.zeros(12))
    later, *_ = trainer._fakes("d", trainer.draws.at("", 1), trainer.g.network, torch.zeros(12))
    assert not torch.equal(for_d, for_g)
    assert not torch.equal(for_d, later)


def test_a_step_s_metrics_stay_on_the_device_as_detached_scalars(tiny_config):
    config = tiny_config()
    metrics = build(config).step(reals_of(config).batches(0))
    assert set(metrics) == {
        "loss/d", "loss/g", "d/real_prob", "d/fake_prob", "d/real_accuracy", "d/fake_accuracy",
        "d/real_logit", "d/fake_logit", "grad_norm/d", "grad_norm/g",
    }  # fmt: skip
    assert all(value.ndim == 0 and not value.requires_grad for value in metrics.values())


def test_a_learning_rate_has_a_metric_only_where_it_is_not_the_configured_number(tiny_config):
    assert {"lr/d", "lr/g"}.isdisjoint(build(tiny_config()).line_metrics())
    falling = tiny_config("optimizer.generator.lr={start: 1e-3, end: 1e-4, images: 1000}")
    assert set(build(falling).line_metrics()) == {"step", "lr/g"}
    assert set(build(tiny_config("optimizer.discriminator.decay=1e-8")).line_metrics()) == {"step", "lr/d"}
    rolled_back = build(tiny_config())
    rolled_back.lr_scale = 0.5
    assert rolled_back.line_metrics()["lr/g"] == rolled_back.g.lr(0) / 2
    assert {"balance/lr_scale", "balance/dropout"} <= set(build(tiny_config("balance.enabled=true")).line_metrics())


def test_spectral_norms_are_the_largest_singular_values_of_the_weights(tiny_config):
    assert build(tiny_config()).spectral_norms() == {}
    trainer = build(tiny_config("discriminator.spectral_norm=true"))
    for _ in range(100):
        power_iteration(trainer.d_norms)
    exact = [torch.linalg.matrix_norm(weight.flatten(1), 2) for _, weight in trainer.d_norms]
    found = trainer.spectral_norms()
    torch.testing.assert_close(found["d/spectral_norm_min"], min(exact), rtol=1e-2, atol=0)
    torch.testing.assert_close(found["d/spectral_norm_max"], max(exact), rtol=1e-2, atol=0)


def test_d_s_opinion_of_samples_is_of_the_images_as_they_are_and_leaves_no_trace(tiny_config):
    trainer = build(tiny_config("augment={kind: diffaugment}", "discriminator.dropout=0.4"))
    images, classes = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8), torch.arange(5)
    before = snapshot(trainer.d.network)
    logits = trainer.logits(images, classes)
    assert torch.equal(logits, trainer.logits(images, classes)), "no dropout, no augmentation"
    assert trainer.d.network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in snapshot(trainer.d.network).items())
    network = trainer.d.network.eval()
    with torch.no_grad():
        torch.testing.assert_close(logits, network(to_signed(images), classes))


def test_three_steps_of_the_seed_recipe_equal_a_literal_transcription_of_the_document(float64):
    """The recipe written out with plain torch and numpy, sharing nothing but the networks and the random numbers."""
    small = ("generator.width=6", "generator.stem_channels=4", "discriminator.width=6", "train.batch_size=8")
    config = load_config("seed_frogs", [*small, "data.prepare=null"])
    trainer = build(config, counts=(1,))
    g, d = copy.deepcopy(trainer.g.network), copy.deepcopy(trainer.d.network)
    for module in d.modules():
        if isinstance(module, KeyedDropout):
            module.forward = lambda x: x * mask / 0.6  # type: ignore[method-assign]
    means = {weight: torch.zeros_like(weight) for weight in [*g.parameters(), *d.parameters()]}

    def keras_rmsprop(network, lr, step):
        for weight in network.parameters():
            gradient = weight.grad.clamp(-1, 1)
            means[weight] = 0.9 * means[weight] + 0.1 * gradient**2
            weight.data -= lr / (1 + 1e-8 * step) * gradient / torch.sqrt(means[weight] + 1e-7)
            weight.grad = None

    batch = noise_batch(config)
    reals = torch.tensor(batch.images.numpy() / 127.5 - 1)
    for step in range(3):
        draw = trainer.draws.at
        # 1. latents from a normal distribution, fakes, joined with the reals
        fakes = g(draw("latent/d", step).normal([32])).detach()
        joined = torch.cat([fakes, reals])
        # 2. fake = 1, real = 0, and noise of up to 0.05 inward
        labels = torch.cat([1 - 0.05 * draw("label/fake", step).uniform(), 0.05 * draw("label/real", step).uniform()])
        # 3. one update of D on the joined batch
        uniforms = [draw(f"dropout/d/{part}", step, 0).uniform([6 * 4]) for part in ("fake", "real")]
        mask = (torch.cat(uniforms) >= 0.4).double()
        p = torch.sigmoid(d(joined))
        (-(labels * p.log() + (1 - labels) * (1 - p).log()).mean()).backward()
        keras_rmsprop(d, 8e-4, step)
        # 4. new latents, all targets 0 ("real"), D frozen
        mask = (draw("dropout/d/g", step, 0).uniform([6 * 4]) >= 0.4).double()
        (-(1 - torch.sigmoid(d(g(draw("latent/g", step).normal([32]))))).log().mean()).backward()
        d.zero_grad(set_to_none=True)
        keras_rmsprop(g, 4e-4, step)
        trainer.step(iter([batch]))
    for theirs, ours in ((g, trainer.g.network), (d, trainer.d.network)):
        for expected, actual in zip(theirs.parameters(), ours.parameters(), strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_reals_are_scaled_from_minus_one_to_one():
    from distgan.utils.images import to_bytes, to_signed

    every = torch.arange(256, dtype=torch.uint8)
    np.testing.assert_allclose(to_signed(every).numpy(), np.linspace(-1, 1, 256), atol=1e-6)
    assert torch.equal(to_bytes(to_signed(every)), every)


class Blind(nn.Module):
    """A generator that can only shift one grey value: D wins easily until it is held back."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.full((1,), -0.9))

    def forward(self, latents, labels=None):
        return torch.tanh(self.shift + 0.05 * latents[:, :1, None, None]).expand(-1, 3, 32, 32)


def rigged_game(tiny_config, *overrides):
    """Reals are one grey (0.6); D learns fast; G has one number to move. Returns (trainer, actions, G's distance)."""
    config = tiny_config(
        "generator.conditional=false", "discriminator.conditional=false", "discriminator.dropout=0.2",
        "optimizer.discriminator.lr=2e-3", "optimizer.generator.lr=2e-4", "loss.label_noise=0", *overrides,
    )  # fmt: skip
    trainer = build(config)
    trainer.g.__init__(Blind(), config.optimizer.generator, trainer.accelerator)
    trainer.ema.network = Blind()
    batch = Batch(torch.full((12, 3, 32, 32), 204, dtype=torch.uint8), torch.zeros(12, dtype=torch.int64))
    levels, losses = [0], []
    for _ in range(150):
        losses.append(float(trainer.step(iter([batch]))["loss/g"]))
        levels.append(trainer.controllers.by_name["balance"].level)
    return trainer, np.diff(levels), np.mean(losses[-50:])


BALANCE = ("balance.enabled=true", "balance.every_steps=5")


def test_in_a_game_rigged_in_d_s_favour_the_balance_acts_within_its_limits_and_helps(tiny_config):
    trainer, actions, loss = rigged_game(tiny_config, *BALANCE)
    _, idle, loss_without = rigged_game(tiny_config)
    assert not idle.any()
    assert max(actions) == 1
    assert all(action == 0 for step, action in enumerate(actions, 1) if step % 5)
    controller = trainer.controllers.by_name["balance"]
    last = last_level(controller.config, 0.2)
    levels = np.cumsum(actions)
    assert 0 <= levels.min() <= levels.max() <= last
    assert controller.level == levels[-1]
    assert loss < 0.8 * loss_without, f"G's loss {loss:.2f} with balance, {loss_without:.2f} without"


def test_a_balance_level_sets_d_s_learning_rate_and_dropout_and_undoing_it_restores_both(tiny_config):
    trainer = build(tiny_config(*BALANCE, "discriminator.dropout=0.4", "optimizer.discriminator.lr=8e-4"))
    dropout = next(module for module in trainer.d.network.modules() if isinstance(module, KeyedDropout))
    controller = trainer.controllers.by_name["balance"]
    controller.set_level(2)
    assert (trainer.d_lr, dropout.p) == (pytest.approx(2e-4), pytest.approx(0.6))
    controller.set_level(0)
    assert (trainer.d_lr, dropout.p) == (pytest.approx(8e-4), pytest.approx(0.4))


def test_bf16_autocast_is_used_in_both_players_and_the_losses_stay_float32(tiny_config):
    config = tiny_config("train.precision=bf16")
    trainer = build(config)
    kinds = []
    for network in (trainer.g.network, trainer.d.network):
        first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        first.register_forward_hook(lambda _module, _inputs, output: kinds.append(output.dtype))
    metrics = trainer.step(reals_of(config).batches(0))
    assert set(kinds) == {torch.bfloat16}
    assert metrics["loss/d"].dtype == torch.float32
    assert all(weight.dtype == torch.float32 for weight in trainer.g.network.parameters())


def test_the_average_follows_the_half_life_rule(tiny_config):
    config = tiny_config("ema.half_life_images=24", "ema.rampup_ratio=null")
    trainer = build(config)
    before = snapshot(trainer.g.network)
    trainer.step(reals_of(config).batches(0))
    keep = 0.5 ** (12 / 24)
    for name, weight in trainer.g.network.state_dict().items():
        expected = keep * before[name] + (1 - keep) * weight
        torch.testing.assert_close(trainer.ema.network.state_dict()[name], expected, rtol=1e-5, atol=1e-7)


def test_cross_entropy_of_the_default_loss_is_torch_s(tiny_config):
    loss = build(tiny_config("loss.label_noise=0")).loss
    logits = torch.tensor([0.3, -2.0])
    expected = F.binary_cross_entropy_with_logits(torch.cat([logits, logits]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    torch.testing.assert_close(loss.discriminator(logits, logits, torch.zeros(2), torch.zeros(2)), expected)


def test_r1_enters_d_s_update_once_on_reals_only(tiny_config, float64):
    gamma, batches = 3.0, []
    norms = []
    for weight in (0.0, gamma):
        config = tiny_config(f"loss.r1_gamma={weight}", "discriminator.dropout=0", "loss.label_noise=0")
        trainer = build(config)
        batch = noise_batch(config)
        batches.append(batch)
        gradients: dict[str, torch.Tensor] = {}
        trainer.d.update = lambda lr, images, d=trainer.d, g=gradients: g.update(
            {name: weight.grad.clone() for name, weight in d.network.named_parameters()}
        )  # type: ignore[method-assign]
        trainer._update_discriminator(batch, None)
        norms.append(gradients)
    reals = torch.tensor(batches[0].images.numpy() / 127.5 - 1, requires_grad=True)
    logits = trainer.d.network(reals, batches[0].labels)
    (slope,) = torch.autograd.grad(logits.sum(), reals, create_graph=True)
    penalty = gamma / 2 * slope.square().sum((1, 2, 3)).mean()
    weights = dict(trainer.d.network.named_parameters())
    expected = torch.autograd.grad(penalty, list(weights.values()), allow_unused=True)
    for name, gradient in zip(weights, expected, strict=True):
        difference = norms[1][name] - norms[0][name]
        torch.testing.assert_close(difference, torch.zeros_like(difference) if gradient is None else gradient)


def with_scalers(trainer, scale=1024.0):
    """As in fp16, which only a GPU has: the logic of the scalers is the same in float32."""
    for player in (trainer.g, trainer.d):
        player.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return trainer


def test_scaled_gradients_are_unscaled_before_they_are_clipped_and_used(tiny_config):
    config = tiny_config("optimizer.generator.clip_value=1e-4", "optimizer.discriminator.clip_value=1e-4")
    plain, scaled = build(config), with_scalers(build(config))
    batches = [noise_batch(config)] * 3
    for trainer in (plain, scaled):
        source = iter(batches)
        metrics = [trainer.step(source) for _ in batches]
        trainer.norms = [float(step["grad_norm/d"]) for step in metrics]
    assert scaled.norms == pytest.approx(plain.norms, rel=1e-5)
    for ours, theirs in zip(scaled.g.network.parameters(), plain.g.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_an_overflow_of_d_skips_its_update_and_halves_its_scale_but_not_g_s(tiny_config):
    trainer = with_scalers(build(tiny_config()))
    before = snapshot(trainer.d.network)
    trainer.d.backward(sum(weight.sum() for weight in trainer.d.network.parameters()) * float("inf"))
    trainer.d.update(trainer.d_lr, 0)
    assert moved(before, trainer.d.network) == set()
    assert (trainer.d.scaler.get_scale(), trainer.g.scaler.get_scale()) == (512.0, 1024.0)
    again = with_scalers(build(tiny_config()))
    restore(again, capture(trainer))
    assert (again.d.scaler.get_scale(), again.g.scaler.get_scale()) == (512.0, 1024.0)


R3GAN = (
    "generator={family: r3gan, widths: [16, 16, 8, 8], blocks: 1, group_width: 8, conditional: true}",
    "discriminator={family: r3gan, widths: [16, 16, 8, 8], blocks: 1, group_width: 8, conditional: true}",
    "optimizer.generator={name: adam, beta1: 0, lr: 1e-3}",
    "optimizer.discriminator={name: adam, beta1: 0, lr: 1e-3}",
    "loss={name: relativistic, r1_gamma: 0.1, r2_gamma: 0.2}",
)


def test_the_relativistic_game_is_played_as_written_out_by_hand(tiny_config, float64):
    """D's gradient and G's of one step against the paper's formulas, with each fake of its real's class."""
    config = tiny_config(*R3GAN, "data.classes=null")
    trainer, batch = build(config), noise_batch(config)
    g, d = copy.deepcopy(trainer.g.network), copy.deepcopy(trainer.d.network)
    reals = (batch.images.double() / 127.5 - 1).requires_grad_()

    def by_hand(purpose: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        latents = trainer.draws.at(f"latent/{purpose}", 0).normal([64])
        fakes = g(latents, batch.labels)
        return fakes, d(fakes, batch.labels), d(reals, batch.labels)

    fakes, fake, real = by_hand("d")
    loss = F.softplus(fake - real).mean()
    for images, logits, gamma in ((reals, real, 0.1), (fakes, fake, 0.2)):
        (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        loss = loss + gamma / 2 * slope.square().sum((1, 2, 3)).mean()
    expected_d = torch.autograd.grad(loss, list(d.parameters()), allow_unused=True)
    found: dict[str, list[torch.Tensor]] = {}
    for name, player in (("d", trainer.d), ("g", trainer.g)):
        player.update = lambda lr, images, n=name, p=player: found.update(  # type: ignore[method-assign]
            {n: [weight.grad.clone() for weight in p.network.parameters()]}
        )
    trainer._update_discriminator(batch, None)
    trainer.d.network.zero_grad()
    trainer._update_generator(batch, None)
    _, fake, real = by_hand("g")
    expected_g = torch.autograd.grad(F.softplus(real.detach() - fake).mean(), list(g.parameters()))
    for ours, theirs in zip(found["d"] + found["g"], [*expected_d, *expected_g], strict=True):
        torch.testing.assert_close(ours, torch.zeros_like(ours) if theirs is None else theirs)


def test_a_lazy_penalty_is_logged_in_the_updates_that_take_it_only(tiny_config):
    config = tiny_config("loss.r1_gamma=1", "loss.penalty_every_steps=2")
    trainer, batches = build(config), reals_of(config).batches(0)
    logged = ["loss/penalty" in trainer.step(batches) for _ in range(4)]
    assert logged == [True, False, True, False]


def test_schedules_reach_the_update_rules(tiny_config):
    lr, beta2 = (
        "{start: 1e-3, end: 1e-4, images: 24, shape: linear}",
        "{start: 0.9, end: 0.99, images: 24, shape: linear}",
    )
    config = tiny_config(
        *(f"optimizer.{player}={{name: adam, lr: {lr}, beta2: {beta2}}}" for player in ("generator", "discriminator"))
    )
    trainer, batches = build(config), reals_of(config).batches(0)
    used = []
    for _ in range(3):
        trainer.step(batches)
        used.append(
            [
                (p.optimizer.param_groups[0]["lr"], p.optimizer.param_groups[0]["betas"][1])
                for p in (trainer.d, trainer.g)
            ]
        )
    expected = [[(1e-3, 0.9), (5.5e-4, 0.945)], [(5.5e-4, 0.945), (1e-4, 0.99)], [(1e-4, 0.99), (1e-4, 0.99)]]
    assert used == [[pytest.approx(pair) for pair in step] for step in expected], "G's update comes after D's images"


def test_ada_raises_p_while_d_is_sure_of_the_reals_and_the_state_has_it(tiny_config):
    config = tiny_config("augment={kind: ada, target: -0.9, speed_images: 240, every_steps: 2}")
    trainer, batches = build(config), reals_of(config).batches(0)
    shown = [trainer.step(batches)["augment/p"].item() for _ in range(5)]
    assert shown == pytest.approx([0, 0.1, 0.1, 0.2, 0.2]), "24 images of 240 between two moves"
    again = build(config)
    restore(again, capture(trainer))
    windows = [each.controllers.windows["augment"] for each in (again, trainer)]
    assert (again.augment.p.item(), windows[0].steps) == (pytest.approx(0.2), 1)
    torch.testing.assert_close(windows[0].sums, windows[1].sums)


def test_a_scheduled_p_is_where_it_should_be_after_a_restart(tiny_config):
    config = tiny_config("augment={kind: ada, target: null, p: {start: 0, end: 1, images: 48, shape: linear}}")
    trainer, batches = build(config), reals_of(config).batches(0)
    for _ in range(2):
        trainer.step(batches)
    again = build(config)
    restore(again, capture(trainer))
    assert trainer.augment.p.item() == again.augment.p.item() == 0.5


def test_the_images_that_d_is_shown_and_those_that_g_is_judged_by_are_augmented(tiny_config):
    config = tiny_config("augment.kind=diffaugment")
    trainer, purposes = build(config), []
    augment = trainer.augment
    trainer.augment = lambda images, *draws: (
        purposes.append([draw.purpose for draw in draws]),
        augment(images, *draws),
    )[1]
    trainer.step(reals_of(config).batches(0))
    assert purposes == [["augment/fake", "augment/real"], ["augment/g"]]


def test_spectral_norms_iterate_once_per_update_of_d(tiny_config):
    config = tiny_config("discriminator.spectral_norm=true", "train.d_steps=2")
    trainer, calls = build(config), []
    for module in trainer.d.network.modules():
        if hasattr(module, "iterate"):
            module.iterate = lambda weight, m=module: calls.append(m)
    trainer.step(reals_of(config).batches(0))
    layers = len(set(calls))
    assert layers >= 3
    assert len(calls) == 2 * layers


SMALL = {
    "seed_dcgan": ("width: 8, stem_channels: 8, depth: 1", "width: 8"),
    "dcgan": ("width: 4", "width: 4"),
    "sngan": ("width: 8", "width: 8"),
    "r3gan": ("widths: [8, 8, 8, 8], blocks: 1, group_width: 8", "widths: [8, 8, 8, 8], blocks: 1, group_width: 8"),
}
ONLY_G, ONLY_D = {"fastgan": "widths: [8, 8, 8, 8], excitation_stages: 3"}, {"projected": "width: 8, resolution: 32"}
FAMILIES_OF_G = ONLY_G | {family: g for family, (g, _) in SMALL.items()}
FAMILIES_OF_D = ONLY_D | {family: d for family, (_, d) in SMALL.items()}
LOSSES = (
    "{name: bce, r1_gamma: 0.1}", "{name: logistic, r1_gamma: 0.1, penalty_every_steps: 2}", "{name: hinge}",
    "{name: least_squares}", "{name: wasserstein, gradient_penalty: 10}",
    "{name: relativistic, r1_gamma: 0.1, r2_gamma: 0.1}",
)  # fmt: skip
AUGMENTS = ("{kind: none}", "{kind: diffaugment}", "{kind: ada, p: 0.5}")
COMBINATIONS = [
    (g, d, LOSSES[n % len(LOSSES)], AUGMENTS[n % len(AUGMENTS)], ("false", "true")[n // 4 % 2])
    for n, (g, d) in enumerate(itertools.product(SMALL, SMALL))
] + [("r3gan", "sngan", loss, augment, "true") for loss in LOSSES for augment in AUGMENTS]
COMBINATIONS += [("fastgan", d, LOSSES[2], AUGMENTS[1], "true") for d in FAMILIES_OF_D]
COMBINATIONS += [(g, "projected", LOSSES[2], AUGMENTS[1], "false") for g in FAMILIES_OF_G]
COMBINATIONS += [("fastgan", "projected", loss, AUGMENTS[1], "true") for loss in LOSSES]


def test_every_loss_is_among_the_combinations():
    assert {loss.split(",")[0].strip("{}").removeprefix("name: ") for loss in LOSSES} == {*method.LOSSES.entries}


@pytest.mark.parametrize(("g", "d", "loss", "augment", "conditional"), COMBINATIONS)
def test_any_families_loss_and_augmentation_go_together(tiny_config, g, d, loss, augment, conditional):
    config = tiny_config(
        f"generator={{family: {g}, {FAMILIES_OF_G[g]}, conditional: {conditional}}}",
        f"discriminator={{family: {d}, {FAMILIES_OF_D[d]}, conditional: {conditional}}}",
        f"loss={loss}", f"augment={augment}", "train.batch_size=4",
    )  # fmt: skip
    if d == "projected":
        pytest.importorskip("efficientnet_lite_pytorch")
    trainer, batches = build(config), reals_of(config).batches(0)
    before = snapshot(trainer.g.network), snapshot(trainer.d.network)
    for _ in range(2):
        metrics = trainer.step(batches)
    assert all(torch.isfinite(value) for value in metrics.values())
    for player, old in zip((trainer.g, trainer.d), before, strict=True):
        still = {name for name, _ in player.network.named_parameters()} - moved(old, player.network)
        assert all(name.endswith(WITHOUT_EFFECT) for name in still), still


# biases before a batch normalisation; D's last one, where a fake and a real pull it both ways
WITHOUT_EFFECT = ("conv1.bias", "conv2.bias", "shortcut.bias", "dense.bias")


def test_with_several_updates_of_d_the_metrics_are_means_over_all_of_them(tiny_config, monkeypatch):
    config = tiny_config("train.d_steps=3", "loss.r1_gamma=1", "loss.penalty_every_steps=2")
    trainer, told = build(config), []
    update = trainer._update_discriminator
    monkeypatch.setattr(trainer, "_update_discriminator", lambda *a: told.append(update(*a)) or told[-1])
    metrics = trainer.step(reals_of(config).batches(0))
    assert metrics["loss/d"].item() == pytest.approx(sum(part["loss/d"].item() for part in told) / 3)
    assert ["loss/penalty" in part for part in told] == [True, False, True]
    assert metrics["loss/penalty"].item() == pytest.approx(
        (told[0]["loss/penalty"] + told[2]["loss/penalty"]).item() / 2
    )


def test_fakes_have_the_classes_of_the_data_as_often_as_the_data_has_them(tiny_config):
    config = tiny_config("train.batch_size=2000", "train.accumulation=1")
    trainer = build(config, counts=(90, 10))
    fakes = trainer._fakes("d", trainer.draws.at("", 0), trainer.g.network, torch.zeros(2000, dtype=torch.int64))
    assert fakes.classes.float().mean().item() == pytest.approx(0.1, abs=0.035)


@pytest.mark.parametrize("where", ["g", "d"])
def test_a_step_that_was_interrupted_leaves_nothing_in_the_next_one(tiny_config, where):
    config = tiny_config()
    undisturbed, trainer = build(config), build(config)

    def interrupt(*_):
        raise KeyboardInterrupt

    player = getattr(trainer, where)
    backward = player.backward
    player.backward = lambda loss: (backward(loss), interrupt())
    with pytest.raises(KeyboardInterrupt):
        trainer.step(iter([noise_batch(config)]))
    player.backward = backward
    if where == "d":  # in G's the update of D was made before
        for each in (undisturbed, trainer):
            each.step(iter([noise_batch(config)]))
        assert moved(snapshot(undisturbed.d.network), trainer.d.network) == set()
        assert moved(snapshot(undisturbed.g.network), trainer.g.network) == set()
    assert all(weight.requires_grad for weight in trainer.d.trained)
    trainer.step(iter([noise_batch(config)]))


class WithBatchNorm(nn.Module):
    """A discriminator with batch normalisation, and a dropout of its own."""

    def __init__(self, settings, size, classes):
        super().__init__()
        self.norm, self.dropout, self.dense = GlobalBatchNorm(3), KeyedDropout(0.25), nn.Linear(3 * size * size, 1)

    def forward(self, images, labels):
        return self.dense(self.norm(images).flatten(1)).squeeze(1)


OWN = ("generator.conditional=false", f"discriminator={{family: {__name__}:WithBatchNorm}}")


def test_batch_normalisation_in_d_sees_fakes_beside_reals_as_it_sees_them_alone(tiny_config):
    trainer = build(tiny_config(*OWN))
    fakes, reals = torch.randn(12, 3, 32, 32), 5 + torch.randn(12, 3, 32, 32)
    shown = DiscriminatorInput(torch.cat([fakes, reals]), {"fake": fakes, "real": reals}, None)
    together = trainer._discriminator_logits(shown, trainer.draws.at("", 0), False)
    torch.testing.assert_close(together[:12], trainer.d.network(fakes, None))


class Tripled:
    """An augmentation that any slope shows."""

    uniforms = normals = 0

    def __init__(self, settings):
        pass

    def __call__(self, images, uniform, normal, p):
        return 3 * images


class Linear(nn.Module):
    """A discriminator of the same slope everywhere: of length 5."""

    def __init__(self, settings, size, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3 * size * size))
        self.weight.data[:2] = torch.tensor([3.0, 4.0])

    def forward(self, images, labels):
        return images.flatten(1) @ self.weight


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        ("r1_gamma: 0.4", 0.2 * 15**2),
        ("r2_gamma: 0.2", 0.1 * 15**2),
        ("r1_gamma: 0.4, penalty_at: augmented", 0.2 * 5**2),
        ("gradient_penalty: 10", 10 * (5 - 1) ** 2),  # at mixtures of augmented images
    ],
)
def test_r1_and_r2_are_of_the_image_before_its_augmentation(tiny_config, penalty, expected):
    config = tiny_config(
        f"discriminator={{family: {__name__}:Linear}}",
        "generator.conditional=false",
        f"augment={{kind: {__name__}:Tripled}}",
        f"loss={{name: hinge, {penalty}}}",
    )
    metrics = build(config)._update_discriminator(noise_batch(config), None)
    assert metrics["loss/penalty"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("policy", ["blit", "geometry", "color"])
def test_r1_through_each_group_of_ada_is_the_slope_that_differences_find(tiny_config, float64, policy):
    augment = f"augment={{kind: ada, p: 0.9, target: null, policy: [{policy}]}}"
    config = tiny_config(augment, "loss={name: hinge, r1_gamma: 2}")
    trainer, batch = build(config), noise_batch(config)
    micro = MicroBatch(0, batch.images, batch.labels, trainer.draws.at("", 0))
    weights = Weights(r1=2.0)
    shown = trainer._discriminator_input(trainer._pair("d", micro), micro.draws, weights)
    logits = trainer._discriminator_logits(shown, micro.draws, True)
    found = gradient_penalty(weights, shown.origins, logits)
    direction = torch.randn_like(shown.origins["real"])

    def moved_by(step):
        origins = [shown.origins["fake"].detach(), shown.origins["real"].detach() + step * direction]
        images = trainer.augment(torch.cat(origins), micro.draws.of("augment/fake"), micro.draws.of("augment/real"))
        return trainer._discriminator_logits(shown._replace(images=images), micro.draws, False).sum()

    (slope,) = torch.autograd.grad(logits.sum(), shown.origins["real"])
    difference = (moved_by(1e-7) - moved_by(-1e-7)) / 2e-7
    torch.testing.assert_close((slope * direction).sum(), difference, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(found.detach(), slope.square().sum((1, 2, 3)).mean())


def test_a_dropout_that_a_discriminator_of_one_s_own_chose_stays(tiny_config):
    assert build(tiny_config(*OWN)).d.network.dropout.p == 0.25
    trainer = build(tiny_config(*OWN, "balance={enabled: true, dropout_step: 0.1, dropout_max: 0.9}"))
    trainer.controllers.by_name["balance"].set_level(2)
    assert trainer.d.network.dropout.p == pytest.approx(0.45)
