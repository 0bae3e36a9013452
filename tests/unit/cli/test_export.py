"""`distgan export`: from a checkpoint to a generator file, through the console command."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from distgan import load_generator
from distgan.cli.main import main
from distgan.inference.generator_file import save_generator
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.state import capture
from distgan.training.run import describe
from tests.unit.inference.test_sampling import export as export_file
from tests.unit.training.test_trainer import build, reals_of


@pytest.fixture
def run_dir(tiny_config, tmp_path):
    """A run of two steps with one checkpoint, and its trainer."""
    config = tiny_config()
    trainer, reals = build(config), reals_of(config)
    batches = reals.batches(0)
    trainer.step(batches)
    trainer.step(batches)
    session = SimpleNamespace(config=config, reals=reals, trainer=trainer)
    state, facts = capture(trainer), describe(session, "id")
    storage.save(tmp_path / "run" / "checkpoints", 2, state.tensors, state.values | facts)
    return tmp_path / "run", trainer


@pytest.mark.parametrize(("weights", "network"), [("ema", "ema"), ("raw", "g")])
def test_a_checkpoint_s_averaged_or_raw_weights_are_exported_with_their_description(run_dir, weights, network, capsys):
    directory, trainer = run_dir
    assert main(["export", str(directory / "checkpoints" / "step-000000002"), "--weights", weights]) == 0
    generator = load_generator(directory / "generator.safetensors")
    expected = {"ema": trainer.ema.network, "g": trainer.g.network}[network].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in generator.network.state_dict().items())
    assert (generator.images_seen, generator.description.weights, len(generator.class_names)) == (24, weights, 10)
    assert generator.description.config["train"]["batch_size"] == 12
    assert generator.weight_digest in capsys.readouterr().out


def test_a_run_directory_means_its_newest_checkpoint_and_out_names_the_file(run_dir, tmp_path):
    assert main(["export", str(run_dir[0]), "--out", str(tmp_path / "new" / "g.safetensors")]) == 0
    assert load_generator(tmp_path / "new" / "g.safetensors").images_seen == 24


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing"], "there is no missing"),
        (["step-000000009"], "step-000000009 is not a complete checkpoint: manifest.json is missing"),
        (["RUN", "--out", "g.pt"], "--out g.pt must end in .safetensors; nearest: g.safetensors"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(run_dir, arguments, sentence, capsys):
    assert main(["export", *(str(run_dir[0]) if word == "RUN" else word for word in arguments)]) == 2
    assert sentence in capsys.readouterr().err


def test_a_damaged_checkpoint_is_not_exported(run_dir, capsys):
    path = run_dir[0] / "checkpoints" / "step-000000002" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    assert main(["export", str(path.parent)]) == 2
    assert "state.safetensors is damaged" in capsys.readouterr().err
    assert not (run_dir[0] / "generator.safetensors").exists()


def test_a_directory_of_the_hub_s_layout_is_exported_like_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load_generator(export_file(tmp_path / "g.safetensors")).save_pretrained("saved")
    assert main(["export", "saved", "--format", "torchscript", "--half"]) == 0
    assert (tmp_path / "saved" / "model_fp16.pt").is_file()


def test_of_a_run_every_command_takes_the_same_generator_and_a_plain_file_is_of_its_checkpoint(run_dir, capsys):
    run, best = run_dir[0], run_dir[0] / "best.safetensors"
    export_file(best)
    digest = load_generator(best).weight_digest
    assert main(["export", str(run), "--format", "torchscript"]) == 0
    assert f"best.pt: the weights of {best}" in (said := capsys.readouterr().out)
    assert digest in said
    assert main(["sample", str(run), "--seeds", "0-3", "--out", str(run / "of_run.npz")]) == 0
    assert main(["sample", str(best), "--seeds", "0-3", "--out", str(run / "of_best.npz")]) == 0
    assert (run / "of_run.npz").read_bytes() == (run / "of_best.npz").read_bytes()
    assert main(["export", str(run)]) == 0
    assert load_generator(run / "generator.safetensors").images_seen == 24, "the checkpoint's"


def test_a_checkpoint_is_sampled_as_its_exported_file_is(run_dir):
    run, checkpoint = run_dir[0], run_dir[0] / "checkpoints" / "step-000000002"
    assert main(["export", str(checkpoint)]) == 0
    for source, name in ((checkpoint, "a.npz"), (run / "generator.safetensors", "b.npz")):
        assert main(["sample", str(source), "--seeds", "0-3", "--out", str(run / name)]) == 0
    assert (run / "a.npz").read_bytes() == (run / "b.npz").read_bytes()


def test_raw_weights_are_a_checkpoint_s_alone(run_dir, capsys):
    run = run_dir[0]
    assert main(["export", str(run)]) == 0
    assert main(["export", str(run / "generator.safetensors"), "--half", "--weights", "raw"]) == 2
    assert "a checkpoint has both; name RUN/checkpoints/step-" in capsys.readouterr().err
    assert not (run / "generator_fp16.safetensors").exists()


def test_from_inside_the_checkpoints_the_default_place_is_the_run_too(run_dir, monkeypatch):
    monkeypatch.chdir(run_dir[0] / "checkpoints")
    assert main(["export", "step-000000002"]) == 0
    assert (run_dir[0] / "generator.safetensors").is_file()
    assert not list((run_dir[0] / "checkpoints").glob("*.safetensors"))


def test_half_makes_a_safetensors_file_of_a_run_and_of_a_file(run_dir, capsys):
    run = run_dir[0]
    assert main(["export", str(run), "--half"]) == 0
    first = (run / "generator_fp16.safetensors").read_bytes()
    assert main(["export", str(run)]) == 0
    assert main(["export", str(run / "generator.safetensors"), "--half"]) == 0
    assert (run / "generator_fp16.safetensors").read_bytes() == first
    half = load_generator(run / "generator_fp16.safetensors")
    own = load_generator(run / "generator.safetensors")
    levels = (half.sample(range(64)).int() - own.sample(range(64)).int()).abs().max()
    found = f"as fp16, the images of 64 seeds are at most {levels} of 255 grey levels from its own"
    assert capsys.readouterr().out.count(found) == 2


def test_scores_of_the_weights_in_fp32_are_not_those_of_a_half_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = load_generator(export_file(tmp_path / "g.safetensors"))
    scored = whole.description.model_copy(update={"scores": {"fd": 1.0}})
    save_generator(tmp_path / "scored.safetensors", whole.network.state_dict(), scored)
    assert main(["export", "scored.safetensors", "--half"]) == 0
    assert load_generator("scored_fp16.safetensors").description.scores is None
