"""The example package, as a user has it: trained, stopped half-way, resumed, exported, evaluated and sampled."""

import shutil
import subprocess
import sys

import pytest

from tests.support.processes import ROOT, environment, run

pytestmark = pytest.mark.slow
EXAMPLE = ROOT / "examples" / "mylab"


@pytest.fixture
def place(tmp_path):
    """A copy of the example."""
    shutil.copytree(EXAMPLE, tmp_path / "mylab", ignore=shutil.ignore_patterns("data", "runs", "__pycache__"))
    return tmp_path / "mylab"


def _distgan(place, *arguments, path=str(ROOT)):
    """Exit code and output of a command in a directory."""
    command = [sys.executable, "-m", "distgan", *arguments]
    env = environment(PYTHONPATH=path)
    done = subprocess.run(command, cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240)
    return done.returncode, done.stdout.decode()


def test_the_example_trains_resumes_exports_evaluates_and_samples(place):
    small = ("train.images=640", "evaluate.every_images=320", "evaluate.count=20", "evaluate.reference_count=40")
    assert _distgan(place, "prepare", "shapes", "--out", "data/shapes", "--count", "300")[0] == 0
    code, out = _distgan(place, "train", "--config", "mylab.yaml", *small, "train.images=320")
    assert code == 0, out
    assert "Nearest_efficientnet_lite0" in out
    assert "--out grid.png --trust mylab.nets" in out
    code, out = _distgan(place, "train", "--config", "mylab.yaml", *small)
    assert "resumed from" in out
    assert code == 0, out
    stored = (place / "runs" / "mylab" / "config.yaml").read_text()
    assert "family: mylab.nets:Generator" in stored
    assert "margin: 0.5" in stored

    generator = "runs/mylab/generator.safetensors"
    code, out = _distgan(place, "sample", generator, "--out", "grid.png")
    assert code == 2
    assert "--trust mylab.nets" in out
    assert _distgan(place, "sample", generator, "--trust", "mylab", "--out", "grid.png")[0] == 0
    code, out = _distgan(place, "export", "runs/mylab", "--trust", "mylab", "--out", "again.safetensors")
    assert code == 0, out
    assert (place / "again.safetensors").read_bytes() == (place / generator).read_bytes()
    more = ("--metric", "mylab.method:Nearest", "--count", "20", "--reference-count", "40")
    code, out = _distgan(place, "evaluate", generator, "--trust", "mylab", *more)
    assert code == 0, out
    assert "Nearest_efficientnet_lite0" in out


def test_the_example_s_classes_keep_their_contracts(place):
    code, out = _distgan(place, "check", "mylab.nets:Generator")
    assert code == 0, out
    assert "two processes: the weights are" in out
    for name in ("mylab.nets:Discriminator", "mylab.method:MarginLoss", "mylab.method:Nearest"):
        code, out = _distgan(place, "check", name, "--quick")
        assert code == 0, out


def test_a_part_that_depends_on_the_process_or_the_past_is_found_by_the_trainings(place):
    (place / "bad.py").write_text(BAD)
    code, out = _distgan(place, "check", "bad:Noisy")
    assert code == 2
    assert "FAIL  resume: three steps and then three more give another" in out
    assert "FAIL  two processes: two processes train other weights than one" in out


def test_the_package_installed_has_names_of_its_own(place, tmp_path):
    """The entry points, as pip leaves them in a directory of installed packages."""
    site = tmp_path / "site"
    pip = ("-m", "pip", "install", "--no-deps", "--no-build-isolation", "-q", "--target", str(site))
    code, out = run([sys.executable, *pip, str(place)])
    assert code == 0, out
    path = f"{ROOT}:{site}"
    code, out = _distgan(tmp_path, "check", path=path)
    assert "seed_dcgan, dcgan, sngan, r3gan, fastgan, mlp" in out, out
    recipe = ("generator={family: mlp, conditional: true}", "discriminator={family: mlp, conditional: true}")
    code, out = _distgan(tmp_path, "train", "--print-config", *recipe, path=path)
    assert "family: mlp" in out, out
    assert code == 0


BAD = '''
import torch
from distgan.extend import LossSettings


class Noisy:
    """Draws its own random numbers."""
    class Settings(LossSettings):
        pass
    needs_real_logits = needs_label_noise = False
    def __init__(self, settings):
        self.numbers = torch.Generator()
        self.numbers.seed()
    def discriminator(self, fake, real):
        return ((fake + 1) ** 2).mean() + ((real - 1 + torch.randn(len(real), generator=self.numbers)) ** 2).mean()
    def generator(self, fake, real=None):
        return ((fake - 1) ** 2).mean()
    def real_probabilities(self, fake, real):
        return fake.sigmoid(), real.sigmoid()

'''
