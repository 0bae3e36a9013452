"""Training that begins from what exists: what is taken, what is new, and how both are told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from distgan.config.load import load_config, resume_changes, to_yaml
from distgan.config.schema import InitConfig
from distgan.inference.generator_file import Description, save_generator
from distgan.inference.hub.find import MODEL
from distgan.networks.class_weights import ClassEntries, class_entries
from distgan.networks.spectral_norm import spectral_norms_of
from distgan.training.checkpoint import storage
from distgan.training.checkpoint.resume import load_saved
from distgan.training.checkpoint.state import capture
from distgan.training.init import Classes, Source, begin_from, describe, fit, open_source
from distgan.training.own_loop import Trainer
from distgan.utils.errors import CheckpointError, ConfigError, DistganError, ExportError
from tests.unit.training.test_trainer import build, noise_batch

NAMES = tuple("abcdefghij")
NO_CLASSES = Classes({}, (), ())


def init_of(path) -> InitConfig:
    return InitConfig.model_validate({"from": str(path)})


def weights_of(trainer) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in capture(trainer).tensors.items() if "optimizer" not in name}


@pytest.fixture
def checkpoint(tiny_config, tmp_path):
    """Writes the checkpoint of a run after a step: (its directory, its trainer)."""

    def write(*overrides: str, classes=NAMES, step=1, size=32):
        config = tiny_config(*overrides)
        trainer = build(config, size, (1,) * len(classes))
        batch = noise_batch(config, size)
        batch = batch._replace(labels=batch.labels % len(classes))
        trainer.step(iter([batch]))
        state = capture(trainer)
        values = state.values | {"config": config.model_dump(mode="json"), "class_names": list(classes)}
        return storage.save(tmp_path / "old" / "checkpoints", step, state.tensors, values), trainer

    return write


@pytest.fixture
def generator_file(checkpoint, tiny_config, tmp_path):
    def write(path: Path) -> dict[str, torch.Tensor]:
        _, trainer = checkpoint()
        facts = {"size": 32, "class_names": NAMES, "images_seen": 12, "data_digest": "x"}
        state = trainer.ema.network.state_dict()
        save_generator(path, state, Description.of(tiny_config(), **facts))
        return state

    return write


# What fits


def test_a_tensor_is_taken_where_name_and_shape_agree_and_is_new_elsewhere():
    ours = {"same": torch.zeros(2, 3), "other": torch.zeros(4), "lacking": torch.zeros(5), "scalar": torch.zeros(())}
    theirs = {"same": torch.ones(2, 3), "other": torch.ones(3), "more": torch.ones(1), "scalar": torch.ones(())}
    found = fit(ours, theirs, NO_CLASSES)
    assert {name for name, tensor in found.state.items() if tensor.sum()} == {"same", "scalar"}
    assert (found.weights, found.taken, found.unused) == (16, 7, 1)
    assert found.new == ("other [4] (there: [3])", "lacking [5] (not there)")
    assert found.in_part == ()


def test_classes_are_taken_by_their_names_in_whatever_order():
    entries = {"table": ClassEntries(0, 0), "dense": ClassEntries(1, 2)}
    classes = Classes(entries, here=("cat", "owl", "dog"), there=("dog", "eel", "cat", "fox"))
    ours = {"table": torch.zeros(3, 1), "dense": torch.zeros(1, 5)}
    theirs = {"table": torch.tensor([[1.0], [2], [3], [4]]), "dense": torch.tensor([[8.0, 9, 1, 2, 3, 4]])}
    found = fit(ours, theirs, classes)
    assert found.state["table"].flatten().tolist() == [3, 0, 1]
    assert found.state["dense"].flatten().tolist() == [8, 9, 3, 0, 1]
    assert found.in_part == ("table [3, 1] (there: [4, 1])", "dense [1, 5] (there: [1, 6])")
    assert (found.taken, found.weights, found.new) == (6, 8, ())


def test_with_as_many_classes_those_without_a_namesake_take_the_place_that_they_have():
    classes = Classes({"table": ClassEntries(0, 0)}, here=("dog", "owl"), there=("cat", "dog"))
    found = fit({"table": torch.zeros(2)}, {"table": torch.tensor([1.0, 2.0])}, classes)
    assert found.state["table"].tolist() == [2, 2]
    assert (found.taken, found.in_part) == (2, ())


def test_an_embedding_whose_classes_have_other_names_is_new():
    classes = Classes({"table": ClassEntries(0, 0)}, here=("dog",), there=("cat", "eel"))
    found = fit({"table": torch.zeros(1, 4)}, {"table": torch.ones(2, 4)}, classes)
    assert (found.taken, found.new) == (0, ("table [1, 4] (there: [2, 4])",))


@pytest.mark.parametrize("family", ["seed_dcgan", "dcgan", "sngan", "r3gan"])
@pytest.mark.parametrize("spectral", ["false", "true"])
def test_class_entries_are_all_tensors_whose_shape_follows_the_number_of_classes(tiny_config, family, spectral):
    if family == "r3gan" and spectral == "true":
        return
    config = tiny_config(
        f"generator={{family: {family}, conditional: true}}",
        f"discriminator={{family: {family}, conditional: true, spectral_norm: {spectral}}}",
    )
    few, many = build(config, counts=(1,) * 3), build(config, counts=(1,) * 7)
    for player in ("g", "d"):
        small, large = (getattr(trainer, player).network for trainer in (few, many))
        entries = class_entries(small)
        for name, tensor in small.state_dict().items():
            if tensor.shape != (other := large.state_dict()[name]).shape and not name.endswith((".u", ".v")):
                axis, first = entries[name]
                assert (tensor.shape[axis], other.shape[axis]) == (first + 3, first + 7)


# What is read


def test_every_weight_of_a_checkpoint_is_taken_and_the_optimisers_begin_anew(checkpoint, tiny_config):
    path, old = checkpoint()
    config = tiny_config(f"init.from={path}", "run.seed=5", "loss={name: hinge}", "optimizer.generator={name: adam}")
    trainer = build(config)
    place, lines = begin_from(config, trainer, NAMES)
    assert place == str(path)
    theirs = weights_of(old)
    for name, tensor in weights_of(trainer).items():
        assert torch.equal(tensor, theirs[name]), name
    assert (trainer.steps, trainer.images_seen, any(trainer.g.optimizer.state.values())) == (0, 0, False)
    assert lines == [
        f"init: {path}",
        *(
            f"init: {name} {count} of {count} tensors taken (100 % of the weights)"
            for name, count in (("generator", 12), ("discriminator", 11), ("average", 12))
        ),
    ]


def test_a_run_with_other_classes_and_another_depth_gives_what_fits(checkpoint, tiny_config):
    path, old = checkpoint()
    config = tiny_config(f"init.from={path}", "generator.depth=0", "run.seed=5")
    trainer = build(config, counts=(1,) * 3)
    before = trainer.g.network.dense.weight.clone()
    _, lines = begin_from(config, trainer, ("x", "j", "y"))
    ours, theirs = trainer.g.network.dense.weight, old.g.network.dense.weight
    latent = config.generator.latent_dim
    assert torch.equal(ours[:, :latent], theirs[:, :latent])
    assert torch.equal(ours[:, latent + 1], theirs[:, latent + 9]), "the class j"
    assert torch.equal(ours[:, latent], before[:, latent]), "the class x is new"
    assert torch.equal(trainer.d.network.project.weight[1], old.d.network.project.weight[9])
    assert "in part: dense.weight [512, 27] (there: [512, 34])" in lines[1]
    assert "new: layers.6.weight [3, 8, 7, 7] (there: [8, 8, 5, 5]), layers.6.bias [3] (there: [8])" in lines[1]
    assert lines[1].endswith("left there: 2")
    assert lines[2].startswith("init: discriminator 11 of 11 tensors taken (9")
    assert trainer.g.network.state_dict()["layers.0.weight"].is_contiguous(memory_format=torch.channels_last)


def test_a_run_s_directory_means_its_newest_complete_checkpoint(checkpoint, capsys):
    first, _ = checkpoint(step=1)
    second, _ = checkpoint(step=2)
    run = first.parent.parent
    assert open_source(init_of(run)).path == second
    (second / "state.json").write_text("{}")
    assert open_source(init_of(run)).path == first
    assert "looking for the one before it" in capsys.readouterr().err


def test_a_generator_file_gives_g_and_the_average_and_says_that_d_is_new(generator_file, tiny_config, tmp_path):
    theirs = generator_file(path := tmp_path / "g.safetensors")
    config = tiny_config(f"init.from={path}", "run.seed=5")
    trainer = build(config)
    before = {name: tensor.clone() for name, tensor in trainer.d.network.state_dict().items()}
    _, lines = begin_from(config, trainer, NAMES)
    for network in (trainer.g.network, trainer.ema.network):
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in network.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.d.network.state_dict().items())
    assert lines[2] == "init: discriminator 0 of 11 tensors taken: a generator file has none, so all of it is new"


def test_a_run_s_directory_without_checkpoints_means_its_generator(generator_file, tmp_path, capsys):
    run = tmp_path / "shared"
    generator_file(run / "generator.safetensors")
    assert open_source(init_of(run)).path == run / "generator.safetensors"
    assert f"{run} has no complete checkpoint, so generator.safetensors is taken" in capsys.readouterr().err


def test_a_repository_on_the_hub_is_downloaded_and_read_as_a_file(generator_file, tmp_path, monkeypatch):
    generator_file(path := tmp_path / "model.safetensors")
    asked = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *given, **more: asked.append((given, more)) or path)
    for name, revision in (("hf://me/cats", None), ("hf://me/cats@v1.0", "v1.0")):
        assert "discriminator" not in open_source(init_of(name)).networks
        assert asked.pop() == (("me/cats", MODEL), {"revision": revision})


def test_a_download_that_fails_is_told_in_a_sentence(monkeypatch):
    def no_network(*_given, **_more):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", no_network)
    with pytest.raises(
        ExportError,
        match="init.from=hf://me/cats: model.safetensors cannot be downloaded from the Hub .the connection failed",
    ):
        open_source(init_of("hf://me/cats"))


# What is refused


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda place: None, "place is not there; give a run's directory"),
        (
            lambda place: place.mkdir(),
            "place has no complete checkpoint and no generator in it; give a run's directory",
        ),
        (lambda place: place.write_text("x"), "is not a safetensors file"),
        (
            lambda place: (place / "checkpoints" / "step-000000001").mkdir(parents=True),
            "has no complete checkpoint and no gene",
        ),
    ],
)
def test_what_holds_no_weights_is_refused(make, sentence, tmp_path):
    make(place := tmp_path / "place")
    with pytest.raises(DistganError, match=sentence):
        open_source(init_of(place))


def test_a_checkpoint_that_is_damaged_is_refused(checkpoint):
    path, _ = checkpoint()
    (path / "state.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="its sha256 is not the one"):
        open_source(init_of(path))


@pytest.mark.parametrize(("channels", "frozen", "said"), [(1, 2, 1), (1, 0, 0), (3, 2, 0)])
def test_a_frozen_layer_that_is_new_is_said(checkpoint, tiny_config, channels, frozen, said):
    """As the first layer is where the source has RGB images, and the data set gray ones."""
    path, _ = checkpoint()
    config = tiny_config(f"discriminator.freeze_layers={frozen}", f"init.from={path}")
    images = torch.zeros(12, channels, 32, 32, dtype=torch.uint8)
    trainer = Trainer.from_config(config, images, torch.arange(12) % 10, class_names=NAMES).core
    lines = begin_from(config, trainer, NAMES)[1]
    found = [line for line in lines if "freezes layers.0.weight, which is new" in line]
    assert len(found) == said


def test_strict_names_the_first_tensor_that_is_not_taken(checkpoint, generator_file, tiny_config, tmp_path):
    path, _ = checkpoint()
    config = tiny_config(f"init.from={path}", "init.strict=true")
    begin_from(config, build(config), NAMES)
    with pytest.raises(ConfigError, match=r"of the generator dense.weight \[512, 27\] \(there: \[512, 34\]\) is not"):
        begin_from(config, build(config, counts=(1,) * 3), tuple("xyz"))
    generator_file(file := tmp_path / "g.safetensors")
    config = tiny_config(f"init.from={file}", "init.strict=true")
    with pytest.raises(ConfigError, match=r"of the discriminator layers.0.weight \[8, 3, 3, 3\] \(not there\)"):
        begin_from(config, build(config), NAMES)


def test_a_source_of_which_nothing_fits_is_refused_with_what_differs(checkpoint, tiny_config):
    path, _ = checkpoint("generator.width=6", "discriminator.width=4", "generator.stem_channels=5")
    config = tiny_config(f"init.from={path}", "generator={family: sngan, conditional: true, width: 8}")
    config = config.model_copy(update={"discriminator": config.discriminator.model_copy(update={"width": 7})})
    trainer = build(config)
    before = weights_of(trainer)
    trainer.d.network.dense = nn.Linear(trainer.d.network.dense.in_features, 2)  # in any other D it has one bias
    with pytest.raises(ConfigError) as caught:
        begin_from(config, trainer, NAMES)
    assert "nothing fits: set as there: generator.latent_dim: 24 -> 128; generator.family: seed_dcgan -> sngan" in str(
        caught.value
    )
    assert "discriminator.width: 4 -> 7" in str(caught.value)
    assert all(torch.equal(before[f"g/{name}"], tensor) for name, tensor in trainer.g.network.state_dict().items())


# Spectral norms


def test_spectral_norms_are_those_of_the_weights_that_were_taken(checkpoint, tiny_config):
    path, _ = checkpoint("discriminator.spectral_norm=true")
    config = tiny_config(f"init.from={path}", "discriminator.spectral_norm=true", "run.seed=5")
    trainer = build(config, counts=(1,) * 3)
    begin_from(config, trainer, ("a", "y", "z"))
    for norm, weight in spectral_norms_of(trainer.d.network):
        weight = weight.detach().flatten(1)
        assert (norm.u @ weight @ norm.v).item() == pytest.approx(torch.linalg.matrix_norm(weight, 2).item(), rel=0.05)


# The configuration


@pytest.mark.parametrize(
    "text", ["runs/quickstart", "~/x/generator.safetensors", "hf://me/cats", "hf://me/cats@main", "null", "a b #c"]
)
def test_the_key_is_init_from_on_the_command_line_and_in_yaml(text, tmp_path):
    config = load_config("quickstart", [f"init.from={text}"])
    stored = tmp_path / "config.yaml"
    stored.write_text(to_yaml(config))
    assert "\n  from: " in stored.read_text()
    assert load_config(stored) == config
    assert (config.init.from_ is None) == (text == "null")
    assert isinstance(config.init.from_, str) == text.startswith("hf://")


@pytest.mark.parametrize(
    "text", ["https://x.org/a", "hf://me", "hf://me/cats/x", "hf://", "hf://me/cats@", "hf://../cats", "hf://me/c?x=1"]
)
def test_another_address_is_refused_with_what_works(text):
    with pytest.raises(ConfigError, match=r"init.from: \w+://\.\.\. cannot be read; use .* or hf://OWNER/NAME"):
        load_config("quickstart", [f"init.from={text}"])


def test_python_s_name_of_the_field_is_no_key():
    with pytest.raises(ConfigError, match=r"unknown key init.from_; nearest: init.from"):
        load_config("quickstart", ["init.from_=x"])


def test_a_resumed_run_may_not_change_it_and_older_checkpoints_have_none(tiny_config):
    saved = tiny_config("init.from=a").model_dump(mode="json")
    assert resume_changes(saved, tiny_config("init.from=b")) == ([], ["init.from: a -> b"])
    del saved["init"]
    assert resume_changes(saved, tiny_config()) == ([], [])


# --resume


def test_another_run_s_checkpoint_and_init_from_are_two_beginnings(checkpoint, tiny_config):
    path, _ = checkpoint()
    config = tiny_config("init.from=elsewhere", "run.name=new")
    with pytest.raises(CheckpointError, match=f"--resume {path} goes on .* and init.from=elsewhere begins a new one"):
        load_saved(config, str(path))


def test_a_run_that_began_with_init_from_can_be_gone_on_with_in_another_one(checkpoint, tiny_config):
    path, _ = checkpoint("init.from=gone")
    _, values = storage.load(path)
    storage.save(path.parent, 2, {"a": torch.zeros(1)}, values | {"data_digest": "", "precision": "no", "processes": 1,
                                                                  "run_id": "x"})  # fmt: skip
    saved = load_saved(tiny_config("init.from=gone", "run.name=new"), str(path.parent / "step-000000002"))
    assert saved is not None


def test_what_is_said_of_many_tensors_names_four():
    ours = {f"layer{index}": torch.zeros(2) for index in range(7)}
    source = Source(Path("x"), {"generator": {}}, {}, ())
    said = describe("generator", source, fit(ours, {}, NO_CLASSES))
    assert said.startswith("init: generator 0 of 7 tensors taken (0 % of the weights), new: layer0 [2] (not there), ")
    assert said.endswith("layer3 [2] (not there) and 3 more")
