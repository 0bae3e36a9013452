"""Recorded updates: replayed from their memory alone, they give the same bits as updates that run as usual."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from distgan import train
from distgan.config.load import load_config
from distgan.data.dataset import Batch
from distgan.training.checkpoint.state import capture, restore
from distgan.training.execution import MAX_KEYS, CudaRecorder, Graphs, StepInputs, why_unsupported
from distgan.training.penalties import Weights
from distgan.utils.rng import Draws, Rows
from tests.support.graph_recorder import CpuRecorder, Unable
from tests.unit.training.test_trainer import build, reals_of

STEPS = 9
SNGAN = (
    *("generator.family=sngan", "generator.width=8", "discriminator.family=sngan", "discriminator.width=8"),
    *("generator.conditional=true", "discriminator.conditional=true", "train.d_steps=2", "loss={name: hinge}"),
    *("generator.latent_dim=8", "train.batch_size=4", "augment={kind: diffaugment}"),
)
R3GAN = (
    *("generator.widths=[8,8,8,8]", "discriminator.widths=[8,8,8,8]", "generator.group_width=4"),
    *("discriminator.group_width=4", "train.batch_size=4", "data.flip=true"),
    *("loss.r1_gamma={start: 0.05, end: 0.01, images: 30}", "loss.r2_gamma={start: 0.05, end: 0.01, images: 30}"),
)
PROJECTED = (
    "generator={family: fastgan, widths: [8, 8, 8, 8], latent_dim: 8, conditional: true}",
    "discriminator={family: projected, width: 8, resolution: 32, conditional: true}",
    *(
        "loss={name: hinge, mode_seeking: {weight: {start: 9, end: 1, images: 30}, on: features}}",
        "augment={kind: none}",
        "train.share_fakes=false",
    ),
    "train.batch_size=4",
)
CASES = {  # settings; how many recordings there must be, and how many replays in 9 steps
    "dropout and noisy labels": (["discriminator.dropout=0.3", "loss.label_noise=0.1"], 2, 14),
    "micro-batches": (["train.accumulation=3", "discriminator.dropout=0.3"], 2, 14),
    "lazy penalty": (["loss.r1_gamma=1", "loss.penalty_every_steps=3", "discriminator.dropout=0"], 3, 12),
    "mixtures": (["loss.gradient_penalty=10"], 2, 14),
    "several updates of D": (["train.d_steps=3"], 2, 32),
}


def played(config, make=None, steps=STEPS, state=None):
    """The trainer after so many steps, its state, each step's metrics, and its recorder."""
    trainer = build(config)
    recorder = make(trainer.g.network, trainer.d.network) if make else None
    if recorder:
        trainer.compute = Graphs(recorder)
    if state:
        restore(trainer, state)
    batches = reals_of(config).batches(trainer.d.updates)
    told = []
    for step in range(steps):
        if config.balance.enabled and step in (3, 7):
            balance = trainer.controllers.by_name["balance"]
            balance.set_level(balance.level + 1)  # more dropout
        told.append(trainer.step(batches))
    return trainer, capture(trainer), told, recorder


def assert_same(left, right):
    for one, other in zip(left[2], right[2], strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert left[1].values == right[1].values
    assert [name for name, tensor in left[1].tensors.items() if not torch.equal(tensor, right[1].tensors[name])] == []


@pytest.mark.parametrize("name", CASES)
def test_replayed_updates_give_the_same_bits(name, tiny_config):
    settings, recordings, replays = CASES[name]
    config = tiny_config(*settings)
    graphed = played(config, CpuRecorder)
    assert_same(graphed, played(config))
    assert (graphed[3].recorded, graphed[3].replayed) == (recordings, replays)


def test_batch_norm_spectral_norm_and_classes_are_replayed(shapes, tmp_path):
    given = [f"data.path={shapes}", f"run.dir={tmp_path}", "wandb.mode=disabled", "train.cpu_threads=1"]
    config = load_config("sngan_conditional", [*given, "data.prepare=null", *SNGAN])
    graphed = played(config, CpuRecorder, steps=4)
    assert_same(graphed, played(config, steps=4))
    assert graphed[3].recorded == 2


def test_noise_fixed_features_and_pairs_of_one_class_are_replayed_without_a_wait(shapes, tmp_path):
    given = [f"data.path={shapes}", f"run.dir={tmp_path}", "wandb.mode=disabled", "train.cpu_threads=1"]
    config = load_config("quickstart", [*given, "data.prepare=null", *PROJECTED])
    graphed = played(config, CpuRecorder, steps=4)
    assert_same(graphed, played(config, steps=4))
    assert graphed[3].recorded == 2


@pytest.mark.parametrize("recipe", ["r3gan_small", "cifar10"])
def test_penalties_learning_rates_and_augmentation_follow_their_schedules_in_replays(recipe, shapes, tmp_path):
    """The weight of a penalty that changes with every update is no new recording."""
    given = [f"data.path={shapes}", f"run.dir={tmp_path}", "wandb.mode=disabled", "train.cpu_threads=1"]
    config = load_config(recipe, [*given, "data.prepare=null", *R3GAN])
    graphed = played(config, CpuRecorder, steps=10)
    plain = played(config, steps=10)
    assert_same(graphed, plain)
    assert len({step["loss/penalty"].item() for step in plain[2] if "loss/penalty" in step}) > 2
    assert graphed[3].recorded == (3 if recipe == "r3gan_small" else 2)


def test_another_dropout_is_another_recording(tiny_config):
    config = tiny_config("balance.enabled=true")
    graphed = played(config, CpuRecorder, steps=12)
    assert_same(graphed, played(config, steps=12))
    assert graphed[3].recorded == 3 * 2, "D's and G's updates, at each level"


def test_recordings_read_the_weights_that_a_rollback_has_put_back(tiny_config):
    config = tiny_config("loss.r1_gamma=1")
    before, _, _, recorder = played(config, CpuRecorder, steps=5)
    state = capture(before)
    batches = reals_of(config).batches(before.d.updates)
    went_on = [before.step(batches) for _ in range(3)]
    restore(before, state)
    batches = reals_of(config).batches(before.d.updates)
    again = [before.step(batches) for _ in range(3)]
    assert all(torch.equal(one[name], other[name]) for one, other in zip(went_on, again, strict=True) for name in one)
    assert recorder.recorded == 2


@pytest.mark.parametrize("settings", [[], ["train.d_steps=2"]])
def test_what_cannot_be_recorded_runs_as_usual_and_says_so_once(tiny_config, settings):
    config = tiny_config(*settings)
    with pytest.warns(UserWarning, match=r"train.graphs=on: .*stream is capturing") as said:
        failed = played(config, Unable)
    assert len(said) == 1
    assert_same(failed, played(config))


def given_of(turn=0, device="cpu"):
    draws = Draws(0, Rows(0, 2, 2), torch.device(device)).at("", turn)
    batch = Batch(*(torch.zeros(shape, dtype=torch.uint8, device=device) for shape in ((2, 3, 4, 4), 2)))
    return StepInputs(draws, batch, Weights())


def four_times(graphs, work, device="cpu"):
    """As usual, as usual, recorded or not, and once more."""
    return [graphs("key", work, given_of(turn, device), []) for turn in range(4)]


def test_what_a_failed_recording_has_made_is_gone_before_the_work_is_done_as_usual():
    """Or a GPU whose memory was too small for the recording would be too small again."""
    graphs, made, alive = Graphs(Unable()), [], []

    def work(given):
        alive.append([ref() is not None for ref in made])
        activations = torch.zeros(3)
        made.append(weakref.ref(activations))
        return {"x": activations.sum()}

    with pytest.warns(UserWarning, match="train.graphs=on"):
        four_times(graphs, work)
    assert alive[3] == [False, False, False], "two as usual, the recording, then again as usual"


def test_the_first_error_of_a_recording_is_told_not_the_one_of_its_end(monkeypatch):
    """As torch has it: the end of a recording that has failed raises, too."""

    @contextmanager
    def recording(*_, **__):
        try:
            yield
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    closed = []
    recorder = CudaRecorder.__new__(CudaRecorder)
    recorder.stream, recorder.pool = SimpleNamespace(device_index=0), (0, 1)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", SimpleNamespace)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "before")
    monkeypatch.setattr(torch.cuda, "set_stream", closed.append)
    end = "_cuda_endAllocateToPool"
    end = end if hasattr(torch._C, end) else "_cuda_endAllocateCurrentStreamToPool"  # in torch 2.6
    monkeypatch.setattr(torch._C, end, lambda *place: closed.append(place))
    monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda *place: closed.append(place))

    def waiting():
        raise RuntimeError("item() waits for the device")

    with pytest.raises(RuntimeError, match=r"^item\(\) waits for the device$"):
        recorder.record(waiting)
    assert closed == ["before", (0, (0, 1)), (0, (0, 1))]
    with pytest.raises(RuntimeError, match="^operation failed due to"):
        recorder.record(dict)


def test_only_the_last_keys_are_remembered():
    graphs = Graphs(CpuRecorder())
    given, parameter = given_of(), torch.zeros(1)
    for number in range(3 * MAX_KEYS):
        for key in ("often", number):
            graphs(key, lambda given: {"x": given.draws.of("x").normal().mean()}, given, [parameter])
    assert len(graphs.known) == MAX_KEYS
    assert graphs.recorder.recorded == 1


def test_graphs_are_for_one_gpu_and_for_updates_of_their_own(tiny_config):
    gpu, config = torch.device("cuda"), tiny_config().train
    assert not why_unsupported(config, gpu, 1)
    assert "no GPU" in why_unsupported(config, torch.device("cpu"), 1)
    assert "single process" in why_unsupported(config, gpu, 2)
    assert "share_fakes" in why_unsupported(config.model_copy(update={"share_fakes": True}), gpu, 1)


@pytest.mark.slow
def test_without_a_gpu_a_training_says_that_graphs_have_no_effect(tiny, capsys):
    train.main([*tiny("train.graphs=on", "train.images=24")])
    assert "train.graphs=on has no effect: there is no GPU" in capsys.readouterr().err


@pytest.mark.needs("gpu")
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_s_recordings_give_what_its_usual_updates_give(name, tiny_config):
    config = tiny_config(*CASES[name][0], "train.precision=no")
    with torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
        graphed = played(config, lambda *_: CudaRecorder(torch.device("cuda")))
        plain = played(config)
    assert not graphed[0].compute.failure
    for key, tensor in graphed[1].tensors.items():
        torch.testing.assert_close(tensor, plain[1].tensors[key], rtol=1e-3, atol=1e-4)


@pytest.mark.needs("gpu")
def test_on_a_gpu_a_step_that_waits_for_it_runs_without_graphs_and_leaves_its_memory_in_order(tiny_config):
    config = tiny_config("train.precision=no")
    graphs = Graphs(CudaRecorder(torch.device("cuda")))

    def waiting(given):
        return {"x": torch.zeros((), device="cuda") + given.draws.of("x").normal().sum().item()}

    with pytest.warns(UserWarning, match="train.graphs=on"):
        told = four_times(graphs, waiting, "cuda")
    assert all(metrics["x"].isfinite() for metrics in told)
    torch.cuda.empty_cache()  # asserts that no recording is under way
    played(config, steps=1)
