"""Exported files in a bare environment: torch alone, or onnxruntime and numpy alone; no distgan, nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from distgan.inference.formats import SUFFIXES
from distgan.inference.formats.portable import example
from distgan.inference.formats.write import write_portable
from tests.support.processes import ROOT
from tests.unit.inference.test_formats import RECIPES, generator_of

pytestmark = pytest.mark.slow
COUNTS = (1, 5, 64)  # rows of a batch
PACKAGES = {"pt2": "torch", "torchscript": "torch", "onnx": "onnxruntime"}
READERS = {
    "pt2": """
program = torch.export.load(path, extra_files=facts)
run = program.module()
""",
    "torchscript": """
run = torch.jit.load(path, _extra_files=facts)
""",
}
TORCH = """
import json, sys, numpy, torch
path, folder, banned = sys.argv[1:]
facts = {{"distgan.json": ""}}
{reader}
def images(*inputs):
    with torch.no_grad():
        return run(*map(torch.from_numpy, inputs)).numpy()
facts = facts["distgan.json"]
facts = facts.decode() if isinstance(facts, bytes) else facts
"""
ONNX = """
import json, sys, numpy, onnxruntime
path, folder, banned = sys.argv[1:]
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
facts = session.get_modelmeta().custom_metadata_map["distgan.json"]
names = [each.name for each in session.get_inputs()]
assert names == ["latents", "class_weights"], names
def images(*inputs):
    return session.run(["images"], dict(zip(names, inputs)))[0]
"""
REST = """
for name in banned.split(","):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} can be imported here")
given = numpy.load(f"{folder}/given.npz")
latents, weights = given["latents"], given["weights"]
made = {f"first{n}": images(latents[:n], weights[:n]) for n in map(int, given["counts"])}
made["mixed"] = images(latents, given["mixed"])
numpy.savez(f"{folder}/made.npz", **made)
print(facts)
"""
BANNED = {"torch": "distgan,safetensors,pydantic,PIL", "onnxruntime": "distgan,torch,onnx,safetensors,PIL"}


def environment_of(package: str, folder: Path) -> Path:
    """A directory with links to a package and what it needs, for sys.path: a bare environment, in no time."""
    left, seen = [package, "numpy"], set()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # only for other systems
        for requirement in map(Requirement, found.requires or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(requirement.name)
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))).resolve())
    return folder


def run_bare(packages: Path, code: str, *arguments: str) -> str:
    """Output of code in a Python that finds these packages only."""
    start = f"import sys; sys.path.append({str(packages)!r})\n"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", start + code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def levels(images: np.ndarray) -> np.ndarray:
    return np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.int64)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """By package, made once."""
    made: dict[str, Path] = {}

    def of(package: str) -> Path:
        if package not in made:
            made[package] = environment_of(package, tmp_path_factory.mktemp(package))
        return made[package]

    return of


@pytest.mark.parametrize("name", SUFFIXES)
@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe != "dcgan"])
def test_a_file_makes_the_generator_s_images_where_there_is_no_distgan(tmp_path, bare, recipe, name):
    if name == "onnx" and not all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))):
        pytest.skip("needs the extra onnx")
    generator = generator_of(recipe)
    path = tmp_path / f"g{SUFFIXES[name]}"
    write_portable(generator, path, name)
    latents, weights = example(generator, max(COUNTS))
    mixed = (weights + weights.roll(1, dims=1)) / 2
    arrays = {"latents": latents.numpy(), "weights": weights.numpy(), "mixed": mixed.numpy()}
    np.savez(tmp_path / "given.npz", counts=COUNTS, **arrays)
    package = PACKAGES[name]
    code = ONNX if name == "onnx" else TORCH.format(reader=READERS[name])
    facts = json.loads(run_bare(bare(package), code + REST, str(path), str(tmp_path), BANNED[package]))

    assert (facts["size"], facts["channels"], facts["value_range"]) == (32, 3, [-1, 1])
    assert facts["latent_dim"] == generator.latent_dim
    assert facts["class_names"] == list(generator.class_names)
    assert facts["weight_digest"] == generator.weight_digest
    assert facts["scores"] is None, "it was not evaluated"
    with np.load(tmp_path / "made.npz") as made:
        for count in COUNTS:
            wanted = generator.sample(range(count)).numpy().astype(np.int64)
            assert np.abs(levels(made[f"first{count}"]) - wanted).max() <= 1
        wanted = generator.network(latents, mixed).detach().clamp(-1, 1).numpy()
        assert np.abs(levels(made["mixed"]) - levels(wanted)).max() <= 1
        assert np.abs(levels(made["mixed"]) - levels(made["first64"])).max() > 1, "a mixture is no class"


PAGE = (ROOT / "docs" / "export.md").read_text()
EXAMPLES = re.findall(r"^```python standalone\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("name", "number"), [("onnx", 0), ("pt2", 1)])
def test_the_example_in_the_documentation_runs_as_it_stands(tmp_path, bare, monkeypatch, name, number):
    if name == "onnx" and not all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))):
        pytest.skip("needs the extra onnx")
    assert len(EXAMPLES) == 2
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "quickstart"
    run.mkdir(parents=True)
    write_portable(generator_of("quickstart"), run / f"generator{SUFFIXES[name]}", name)
    code = EXAMPLES[number] + "\nassert images.shape == (5, 3, 32, 32) and abs(images).max() <= 1"
    run_bare(bare(PACKAGES[name]), code)
