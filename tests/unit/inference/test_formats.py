"""Generators for programs without distgan: torch.export, TorchScript, ONNX."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from benchmarks.formats import spread
from distgan.cli.main import main
from distgan.config.load import load_config
from distgan.inference.formats import SUFFIXES
from distgan.inference.formats.portable import Portable, example, largest_difference
from distgan.inference.formats.write import FORMATS as FORMAT_OF
from distgan.inference.formats.write import OPSET, write_portable
from distgan.inference.generator import load_generator
from distgan.networks.batch_norm import ConditionalBatchNorm
from distgan.networks.r3gan import Block
from distgan.training.own_loop import Trainer
from distgan.utils.errors import ExportError
from tests.unit.inference.test_sampling import export

RECIPES = {
    "quickstart": [],
    "dcgan": ["generator.width=8", "discriminator.width=8"],
    "sngan_conditional": ["generator.width=8", "discriminator.width=8"],
    "r3gan_small": ["generator.resampling=binomial"],  # box is a part of it
    "cifar10_cpu": ["discriminator={family: sngan, width: 8, conditional: true}", "loss={name: hinge}"],
}
needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))), reason="needs the extra onnx"
)
FORMATS = [pytest.param(name, marks=[needs_onnx] if name == "onnx" else []) for name in SUFFIXES]


def generator_of(recipe):
    config = load_config(recipe, [*RECIPES[recipe], "train.batch_size=4", "train.precision=no"])
    images = torch.randint(256, (20, 3, 32, 32), dtype=torch.uint8)
    return lively(Trainer.from_config(config, images, torch.arange(20) % 10).generator())


@torch.no_grad()
def lively(generator):
    """As if it were trained: images are not all gray, classes differ, and no residual block adds nothing."""
    torch.manual_seed(0)
    for module in generator.network.modules():
        if isinstance(module, ConditionalBatchNorm):
            torch.nn.init.normal_(module.bias)
        elif isinstance(module, Block):
            torch.nn.init.normal_(module.narrow.weight, std=0.05)
    spread(generator)
    return generator


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_file_of_each_family_makes_the_generator_s_images_within_one_grey_level(tmp_path, recipe, name):
    path = tmp_path / f"g{SUFFIXES[name]}"
    assert write_portable(generator_of(recipe), path, name) <= 1
    assert path.stat().st_size > 0


READERS = {
    "pt2": """
facts = {"distgan.json": ""}
program = torch.export.load(path, extra_files=facts)
run, facts = program.module(), facts["distgan.json"]
""",
    "torchscript": """
facts = {"distgan.json": ""}
run = torch.jit.load(path, _extra_files=facts)
facts = facts["distgan.json"]
""",
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
facts = session.get_modelmeta().custom_metadata_map["distgan.json"]
names = [each.name for each in session.get_inputs()]
run = lambda *inputs: torch.from_numpy(
    session.run(None, {name: each.numpy() for name, each in zip(names, inputs)})[0]
)
""",
}
SCRIPT = """
import json, sys, torch
path, given, made = sys.argv[1:]
{reader}
assert "distgan" not in sys.modules
inputs = torch.load(given, weights_only=True)
torch.save(run(*inputs).detach(), made)
print(facts.decode() if isinstance(facts, bytes) else facts)
"""


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_run_without_distgan_for_any_number_of_rows_and_says_what_it_is(tmp_path, name):
    generator = generator_of("quickstart")
    path, given, made = (tmp_path / file for file in (f"g{SUFFIXES[name]}", "given.pt", "made.pt"))
    write_portable(generator, path, name)
    inputs = example(generator, 5)
    torch.save(inputs, given)
    command = [sys.executable, "-c", SCRIPT.format(reader=READERS[name]), str(path), str(given), str(made)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["class_names"] == list(generator.class_names)
    assert (facts["size"], facts["latent_dim"]) == (32, generator.latent_dim)
    assert facts["weight_digest"] == generator.weight_digest
    images = torch.load(made, weights_only=True)
    levels = images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    assert (levels.int() - generator.sample(range(5)).int()).abs().max() <= 1


@pytest.mark.parametrize("recipe", ["quickstart", "sngan_conditional", "r3gan_small"])
def test_weights_of_one_class_are_its_label_and_others_mix_classes(recipe):
    generator = generator_of(recipe)
    model, (latents, weights) = Portable(generator.network), example(generator, 3)
    labels = generator.labels(range(3))
    assert largest_difference(model(latents, weights), generator(latents, labels).clamp(-1, 1)) == 0
    mixed = model(latents, weights.roll(1, dims=1) / 2 + weights / 2)
    assert largest_difference(mixed, model(latents, weights)) > 0
    assert mixed.isfinite().all()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_fp16_takes_the_same_inputs_in_every_format_and_family_with_a_small_difference(tmp_path, recipe, name):
    generator = generator_of(recipe)
    path = tmp_path / f"g{SUFFIXES[name]}"
    assert 1 <= write_portable(generator, path, name, half=True) <= 4
    read = FORMAT_OF[name][1](path.read_bytes())
    assert read(*example(generator, 3)).shape == (3, 3, 32, 32), "its inputs are float32, as those of fp32 files"
    assert next(generator.network.parameters()).dtype == torch.float32, "the generator stays as it is"


def test_fp16_halves_the_file(tmp_path):
    generator = generator_of("quickstart")
    assert write_portable(generator, tmp_path / "a.pt", "torchscript") == 0
    write_portable(generator, tmp_path / "b.pt", "torchscript", half=True)
    assert (tmp_path / "b.pt").stat().st_size < 0.6 * (tmp_path / "a.pt").stat().st_size


def test_the_command_says_the_difference_and_where_the_file_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    export(tmp_path / "g.safetensors")
    assert main(["export", "g.safetensors", "--format", "torchscript", "--half"]) == 0
    out = capsys.readouterr().out
    assert re.match(
        r"g_fp16.pt: the weights of g.safetensors, 0.1 MiB, the images of 64 seeds are at most \d of 255 grey levels "
        r"from distgan's, sha256",
        out,
    )
    given = {"distgan.json": ""}
    torch.jit.load("g_fp16.pt", _extra_files=given)
    facts = json.loads(given["distgan.json"])
    assert (facts["precision"], facts["class_names"]) == ("fp16", []), "an unconditional generator takes no classes"


@needs_onnx
def test_an_onnx_file_says_in_words_what_goes_in_and_comes_out(tmp_path):
    import onnx

    write_portable(generator_of("quickstart"), tmp_path / "g.onnx", "onnx")
    model = onnx.load(tmp_path / "g.onnx")
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
    assert model.doc_string.startswith(
        "A GAN's generator: latents, float32 [B, 24], standard normal, and class_weights"
    )


def test_a_file_whose_images_would_be_others_is_not_kept(tmp_path, monkeypatch):
    export(tmp_path / "g.safetensors")
    monkeypatch.setattr("distgan.inference.formats.write.largest_difference", lambda *_: 7)
    with pytest.raises(ExportError, match="differ from the generator's by 7 grey levels"):
        write_portable(load_generator(tmp_path / "g.safetensors"), tmp_path / "g.pt2", "pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]
