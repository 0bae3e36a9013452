"""A generator's file, a run and a checkpoint name a class that does not come with distgan: each way in is closed."""

import pytest
import torch

from distgan.cli.main import main
from distgan.config.load import load_config, to_yaml
from distgan.inference.generator import Generator, load_generator
from distgan.inference.generator_file import Description, check_described, read_weights, save_generator
from distgan.networks import build_generator
from distgan.training.checkpoint import storage
from distgan.utils.errors import ExportError
from tests.support.outside import Package

REFUSED = "does not come with distgan, and a file imports nothing by itself; if you trust this module: --trust "


@pytest.fixture
def package(tmp_path, monkeypatch):
    package = Package(tmp_path / "lab", monkeypatch)
    yield package
    package.forget()


@pytest.fixture
def run(package, tmp_path):
    """A run of a stranger, as this process finds it: a generator, a checkpoint and a configuration."""
    section = f"generator={{family: {package.generator}}}"
    config = load_config("quickstart", ["discriminator.conditional=false", section])
    directory = tmp_path / "runs" / "theirs"
    directory.mkdir(parents=True)
    weights = build_generator(config.generator, 32, 2).state_dict()
    facts = {"size": 32, "class_names": ("a", "b"), "images_seen": 64, "data_digest": "d"}
    save_generator(directory / "generator.safetensors", weights, Description.of(config, **facts))
    values = {"config": config.model_dump(mode="json"), "size": 32, "class_names": ["a", "b"], "data_digest": "d"}
    tensors = {f"{network}/{name}": weight.clone() for network in ("g", "ema") for name, weight in weights.items()}
    storage.save(directory / "checkpoints", 1, tensors, values | {"d": {"updates": 4}})
    (directory / "config.yaml").write_text(to_yaml(config))
    (directory / "metrics.jsonl").write_text('{"images": 64, "step": 1, "loss/d": 1.0, "loss/g": 1.0}\n')
    package.forget()
    return directory


def test_a_generator_file_is_refused_with_the_module_and_imports_nothing(run, package):
    with pytest.raises(ExportError, match=f"{REFUSED}{package.module} "):
        load_generator(run / "generator.safetensors")
    with pytest.raises(ExportError, match=REFUSED):
        load_generator(run / "generator.safetensors", trust=["os", f"{package.name}x", package.module[:-1]])
    assert not package.imported


def test_a_trusted_module_is_imported_and_its_generator_draws(run, package):
    one = load_generator(run / "generator.safetensors", trust=[package.module]).sample(range(3))
    package.forget()
    two = Generator.from_pretrained(run / "generator.safetensors", trust=[package.name]).sample(range(3))
    assert one.shape == (3, 3, 32, 32)
    assert torch.equal(one, two)


def test_a_class_that_this_process_has_imported_needs_no_trust_again(run, package):
    load_config("quickstart", ["discriminator.conditional=false", f"generator={{family: {package.generator}}}"])
    assert load_generator(run / "generator.safetensors").latent_dim == 6


def _config(package, name):
    section = f"generator={{family: {package.module}:{name}}}"
    return load_config("quickstart", ["discriminator.conditional=false", section])


def test_tensors_that_are_in_no_file_are_made_again(package, tmp_path):
    config = _config(package, "Blurred")
    network = build_generator(config.generator, 32, 1).eval()
    facts = {"size": 32, "class_names": ("a",), "images_seen": 1, "data_digest": "d"}
    save_generator(tmp_path / "g.safetensors", network.state_dict(), Description.of(config, **facts))
    latents = torch.randn(2, 6)
    torch.testing.assert_close(load_generator(tmp_path / "g.safetensors")(latents), network(latents))


def test_a_generator_that_could_not_be_exported_is_told_before_training(package, tmp_path):
    config = _config(package, "Measured")
    description = Description.of(config, size=32, class_names=("a",), images_seen=0, data_digest="d")
    weights = build_generator(config.generator, 32, 1).state_dict()
    with pytest.raises(ExportError, match=r"item.*; it must work on torch's meta device, without memory, as well"):
        check_described(description, weights)


def test_weights_alone_are_read_without_any_import(run, package):
    weights, description = read_weights(run / "generator.safetensors")
    assert weights["layers.0.weight"].shape == (4, 6)
    assert description.generator.family == package.generator
    assert not package.imported


def test_the_hub_s_layout_is_refused_as_well(run, package, tmp_path):
    load_generator(run / "generator.safetensors", trust=[package.name]).save_pretrained(tmp_path / "hub")
    package.forget()
    with pytest.raises(ExportError, match=REFUSED):
        Generator.from_pretrained(tmp_path / "hub")
    assert not package.imported


@pytest.mark.parametrize(
    "command",
    [
        ["sample", "{run}", "--out", "{run}/x.png"],
        ["evaluate", "{run}", "--count", "20"],
        ["export", "{run}", "--out", "{run}/x.safetensors"],
        ["push", "{run}", "me/cats", "--dry-run", "{run}/x"],
        ["space", "{run}", "--out", "{run}/x"],
        ["train", "--config", "{run}/config.yaml", "--print-config"],
        ["doctor", "--config", "{run}/config.yaml"],
    ],
)
def test_every_command_refuses_a_stranger_s_names_without_trust(run, package, capsys, command):
    assert main([part.format(run=run) for part in command]) == 2
    assert f"{REFUSED}{package.module} " in capsys.readouterr().err
    assert not package.imported


@pytest.mark.parametrize(
    "command",
    [
        ["sample", "{run}", "--out", "{run}/x.png", "--trust", "{name}"],
        ["export", "{run}", "--out", "{run}/x.safetensors", "--trust", "{name}.nets"],
        ["push", "{run}", "me/cats", "--dry-run", "{run}/x", "--trust", "{name}"],
        ["space", "{run}", "--out", "{run}/x", "--trust", "{name}"],
        ["train", "--config", "{run}/config.yaml", "--print-config", "--trust", "{name}"],
    ],
)
def test_every_command_takes_them_with_trust(run, package, command):
    assert main([part.format(run=run, name=package.name) for part in command]) == 0
    assert package.imported


def test_the_code_of_a_card_names_what_it_has_to_trust(run, package):
    options = ["--dry-run", str(run / "hub"), "--no-film", "--trust", package.name]
    assert main(["push", str(run), "me/cats", *options]) == 0
    assert f'g = load_generator("me/cats", trust=["{package.name}"])\n' in (run / "hub" / "README.md").read_text()


def test_the_page_of_a_run_shows_its_settings_and_imports_nothing(run, package):
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "data/shapes" in page
    assert REFUSED in page
    assert not package.imported
    assert main(["report", str(run), "--trust", package.name]) == 0
    assert REFUSED not in (run / "report.html").read_text()


def test_resuming_reads_the_names_of_a_checkpoint_and_imports_none(run, package, capsys):
    assert main(["train", "--resume", str(run / "checkpoints" / "step-000000001"), "run.name=mine"]) == 2
    assert not package.imported, capsys.readouterr().err
