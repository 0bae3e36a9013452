"""`import distgan`: what it offers, what it loads, and what it says where a package is missing."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import distgan
from distgan.metrics.protocol import Scores, save_scores
from distgan.utils.errors import ConfigError, QualityError
from tests.support.processes import ROOT, environment
from tests.unit.cli.test_export import run_dir as run_dir  # a fixture
from tests.unit.inference.test_generator_file import export


def python(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)


def test_every_name_is_there_and_train_stays_a_module():
    for name in distgan.__all__:
        assert getattr(distgan, name).__name__ == name
    assert set(distgan.__all__) <= set(dir(distgan))
    assert callable(importlib.import_module("distgan.train").main)
    assert distgan.train is sys.modules["distgan.train"]
    with pytest.raises(AttributeError, match="module 'distgan' has no attribute 'trian'"):
        distgan.trian  # noqa: B018


def test_importing_it_loads_no_torch_and_neither_do_configurations_and_data_sets():
    done = python(
        "import sys, distgan; distgan.load_config; distgan.Config; distgan.prepare; distgan.DistganError;"
        "print(sorted({'torch', 'accelerate', 'wandb', 'webdataset'} & set(sys.modules)))"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("fit", "accelerate", "accelerate"),
        ("Trainer", "webdataset", "webdataset"),
        ("evaluate", "yaml", "pyyaml"),
        ("prepare", "PIL", "pillow"),
        ("load_config", "pydantic", "pydantic"),
    ],
)
def test_a_missing_package_is_named_in_one_sentence(name, module, package):
    error = python(f"import sys; sys.modules[{module!r}] = None; import distgan; distgan.{name}").stderr
    expected = (
        f"distgan.utils.errors.LaunchError: distgan.{name} needs a package that is not installed; pip install {package}"
    )
    assert error.strip().splitlines()[-1] == expected


def test_evaluate_and_prepare_need_no_accelerate():
    done = python(
        "import sys; sys.modules['accelerate'] = None; import distgan; print(distgan.evaluate, distgan.prepare)"
    )
    assert done.returncode == 0, done.stderr


# load_config with values


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ({"train.batch_size": 32}, ["train.batch_size=32"]),
        ({"train": {"batch_size": 32, "images": 100}}, ["train.batch_size=32", "train.images=100"]),
        ({"data.classes": ("star", "heart")}, ["data.classes=star,heart"]),
        ({"train.seconds": None, "augment": {"kind": "none"}}, ["train.seconds=null", "augment.kind=none"]),
        (
            {"optimizer.generator.lr": {"start": 1e-3, "end": 1e-4, "images": 1000}},
            ["optimizer.generator.lr={start: 1e-3, end: 1e-4, images: 1000}"],
        ),
        ({"data.path": ROOT}, [f"data.path={ROOT}"]),
    ],
)
def test_values_by_key_are_the_command_line_s_overrides(values, texts):
    assert distgan.load_config("quickstart", values) == distgan.load_config("quickstart", texts)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"train.batchsize": 3}, "train.batchsize.*nearest: train.batch_size"),
        ({5: 3}, "5 is no key; write it as in 'train.batch_size'"),
        ({"train..images": 3}, "'train..images' is no key"),
        ({"train.images": -1}, "train.images=-1"),
        ({"run.name.x": 1}, "run.name.x=1: name is a value, not a section; nearest: run.name"),
    ],
)
def test_wrong_values_are_told_as_wrong_overrides_are(values, sentence):
    with pytest.raises(ConfigError, match=sentence):
        distgan.load_config("quickstart", values)


# evaluate


@pytest.fixture
def generator(shapes):
    return distgan.Trainer.from_config(distgan.load_config("quickstart", {"data.path": shapes})).generator()


def test_a_generator_a_file_and_a_directory_have_the_same_scores(generator, shapes, tmp_path):
    generator.save_pretrained(tmp_path)
    settings = {"extractor": "none", "count": 20, "progress": False}
    by_training_data = distgan.evaluate(generator, **settings)
    assert isinstance(by_training_data, Scores)
    for which in (tmp_path, str(tmp_path / "model.safetensors")):
        assert distgan.evaluate(which, shapes, against=by_training_data, **settings).values == by_training_data.values


def test_of_a_run_the_generator_is_evaluated_that_the_command_takes(run_dir, shapes):
    export(run_dir[0] / "generator.safetensors", images_seen=1)  # left by an earlier end
    scores = distgan.evaluate(run_dir[0], shapes, extractor="none", count=20, progress=False)
    assert scores.images_seen == 24, "of the newest checkpoint"


def test_what_cannot_be_compared_is_refused_before_the_work(generator, tmp_path):
    before, file = distgan.evaluate(generator, extractor="none", count=20, progress=False), tmp_path / "before.json"
    save_scores(file, before)
    for against in (before, file, str(file)):
        with pytest.raises(QualityError, match="cannot be compared: count 20 against 30"):
            distgan.evaluate(generator, extractor="none", count=30, against=against)
    with pytest.raises(QualityError, match="gone.json cannot be read: No such file"):
        distgan.evaluate(generator, extractor="none", count=20, against=tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"count": 1}, "evaluate.count=1 must be .*20"),
        ({"extractr": "none"}, "unknown key evaluate.extractr; nearest: evaluate.extractor"),
        ({"data": "ftp://host/x"}, "evaluate.data: ftp:// cannot be read"),
    ],
)
def test_wrong_settings_are_told_by_their_keys(settings, sentence, generator):
    with pytest.raises(ConfigError, match=sentence):
        distgan.evaluate(generator, **settings)


def test_a_section_by_key_that_chooses_another_variant_replaces_the_recipe_s():
    config = distgan.load_config("quickstart", {"generator": {"family": "dcgan", "conditional": True}})
    assert (config.generator.width, config.discriminator.family) == (64, "seed_dcgan")
    kept = distgan.load_config(
        "quickstart", {"generator": {"width": 8}, "loss.r1_gamma": {"start": 2, "end": 1, "images": 9}}
    )
    assert (kept.generator.width, kept.generator.latent_dim, kept.loss.r1_gamma.start) == (8, 24, 2.0)
