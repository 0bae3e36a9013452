"""Recipes that build on others: what is merged, what does not apply, and the file that a mistake stands in."""

from __future__ import annotations

import pytest
import yaml

from distgan.config.load import load_config, to_yaml, validate
from distgan.config.recipes import RECIPES, read_recipe
from distgan.utils.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    """Writes files by name, and returns the path of the last."""

    def _write(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return tmp_path / f"{list(files)[-1]}.yaml"

    return _write


def _refusal(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value).splitlines()


def test_a_recipe_that_only_names_its_base_is_the_base(write):
    assert load_config(write(mine="base: r3gan_small")) == load_config("r3gan_small")


def test_sections_are_merged_key_by_key_and_the_file_wins(write):
    config = load_config(write(mine="base: r3gan_small\ntrain: {batch_size: 8}\nloss: {r1_gamma: 2}\n"))
    base = load_config("r3gan_small")
    assert config.train == base.train.model_copy(update={"batch_size": 8})
    assert config.loss == base.loss.model_copy(update={"r1_gamma": 2.0})
    assert (config.generator, config.discriminator, config.optimizer) == (
        base.generator,
        base.discriminator,
        base.optimizer,
    )


def test_a_chain_is_followed_by_name_and_by_paths_relative_to_each_file(write, tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "own.yaml").write_text("base: ../first.yaml\nrun: {seed: 2}\n")
    write(first="base: r3gan_small\nrun: {name: first, seed: 1}\ntrain: {images: 100}\n")
    config = load_config(write(mine="base: deeper/own.yaml\ntrain: {batch_size: 2}\n"))
    assert (config.run.name, config.run.seed) == ("first", 2)
    assert (config.train.images, config.train.batch_size) == (100, 2)
    assert config.generator == load_config("r3gan_small").generator


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("discriminator", "discriminator: {family: sngan, conditional: true}"),
        ("loss", "loss: {name: hinge}"),
        ("augment", "augment: {kind: diffaugment}"),
    ],
)
def test_another_variant_takes_no_key_of_the_base_s_section(write, section, text):
    networks = {"generator": {"conditional": True}, "discriminator": {"conditional": True}}
    alone = validate(networks | yaml.safe_load(text), "alone")
    assert getattr(load_config(write(mine=f"base: cifar10\n{text}")), section) == getattr(alone, section)


def test_the_variant_of_a_base_without_a_name_is_the_usual_one(write):
    write(first="generator: {width: 12}\n")
    assert load_config(write(mine="base: first.yaml\ngenerator: {family: seed_dcgan, depth: 1}")).generator.width == 12
    assert load_config(write(mine="base: first.yaml\ngenerator: {family: dcgan}")).generator.width == 64


def test_an_optimizer_of_another_rule_takes_no_key_and_the_other_player_s_stays(write):
    config = load_config(write(mine="base: r3gan_small\noptimizer: {generator: {name: rmsprop}}"))
    assert config.optimizer.generator == load_config(write(none="{}")).optimizer.generator
    assert config.optimizer.discriminator == load_config("r3gan_small").optimizer.discriminator


def test_a_schedule_is_a_section_of_its_own_and_a_number_replaces_it(write):
    lr = load_config(write(mine="base: r3gan_small\noptimizer: {generator: {lr: {end: 2e-4}}}")).optimizer.generator.lr
    assert (lr.start, lr.end, lr.images) == (1e-3, 2e-4, 90_000)
    assert (
        load_config(write(mine="base: r3gan_small\noptimizer: {generator: {lr: 5e-4}}")).optimizer.generator.lr == 5e-4
    )


def test_the_base_prepares_its_own_path_only(write):
    assert load_config(write(mine="base: quickstart\ndata: {flip: true}")).data.prepare == "shapes"
    assert load_config(write(mine="base: quickstart\ndata: {path: data/mine}")).data.prepare is None
    assert load_config(write(mine="base: quickstart\ndata: {path: data/x, prepare: cifar10}")).data.prepare == "cifar10"
    assert load_config(write(mine="base: quickstart"), ["data.path=data/mine"]).data.prepare is None


def test_it_is_printed_and_stored_resolved(write):
    path = write(mine="base: r3gan_small\nrun: {name: mine}\n")
    text = to_yaml(load_config(path))
    assert "base" not in text
    assert load_config(write(stored=text)) == load_config(path)


def test_a_circle_is_refused_with_its_chain(write, tmp_path):
    path = write(one="base: two.yaml", two="base: three.yaml", three=f"base: ../{tmp_path.name}/two.yaml")
    (line,) = _refusal(tmp_path / "one.yaml")
    assert line.startswith(f"{path}: base: the recipes build on each other in a circle: {tmp_path}/one.yaml -> ")
    assert line.count(" -> ") == 3
    (line,) = _refusal(write(one="base: one.yaml"))
    assert line.count("one.yaml") == 3


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        ("qickstart", "base=qickstart: there is no such recipe; recipes that come with distgan: cifar10, "),
        ("other", "base=other: there is no such recipe; nearest: other.yaml, which lies there"),
        ("nowhere/x.yaml", "/nowhere/x.yaml; recipes that come with distgan: "),
        ("[quickstart]", "base must be the name of a recipe, or a path relative to this file"),
        ("''", "base: it is empty"),
    ],
)
def test_a_base_that_is_not_there_is_refused_with_the_nearest_thing(write, base, sentence):
    path = write(other="", mine=f"base: {base}")
    (line,) = _refusal(path)
    assert line.startswith(f"{path}: ")
    assert sentence in line


def test_a_mistake_is_said_of_the_file_that_it_stands_in(write, tmp_path):
    write(first="train: {batch_size: 0}\nlos: {name: bce}\nlog: {every_steps: 5}\n")
    path = write(mine="base: first.yaml\nlog: {every_stepz: 3}\n")
    first = tmp_path / "first.yaml"
    assert sorted(line.split(";")[0] for line in _refusal(path)) == [
        f"{first}: train.batch_size=0 must be greater than 0",
        f"{first}: unknown key los",
        f"{path}: unknown key log.every_stepz",
    ]
    assert _refusal(write(mine="base: first.yaml\nlog: 3\n"))[1].startswith(f"{path}: log=3 is wrong")
    assert _refusal(path, "train.batch_size=-1", "los=null")[0].startswith("override: train.batch_size=-1")
    (line,) = _refusal(write(broken="train: [", mine="base: broken.yaml"))
    assert line.startswith(f"{tmp_path / 'broken.yaml'} is not valid YAML")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("trian.batch_size=3", "unknown key trian; nearest: train"),
        ("discriminator.conditional=true", "generator.conditional=false but discriminator.conditional=true; set both"),
        ("loss.r1_gamma={start: 2, end: 1}", "loss.r1_gamma={'start': 2, 'end': 1} lacks images, such as {start: "),
        ("data.shuffle=maybe", "data.shuffle=maybe must be true or false"),
        ({"genrator.family": "dcgan"}, "unknown key genrator; nearest: generator"),
    ],
)
def test_a_mistake_that_no_file_has_by_itself_is_said_of_the_override(write, override, sentence):
    write(first="base: sngan\nloss: {r1_gamma: {start: 1, end: 2, images: 9}}\n")
    path = write(mine="base: first.yaml\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, override if isinstance(override, dict) else [override])
    assert str(caught.value).startswith(f"override: {sentence}")
    write(first="base: sngan\nlos: {name: bce}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, override if isinstance(override, dict) else [override])
    lines = sorted(str(caught.value).splitlines())
    assert [line.partition(": ")[0] for line in lines[:1]] == [str(path.parent / "first.yaml")]


def test_base_is_no_override(write):
    assert _refusal("quickstart", "base=r3gan_small") == [
        "base=r3gan_small: base stands at the top of a file; for the recipe itself: --config r3gan_small"
    ]


def test_what_a_run_s_directory_names_is_not_imported_through_a_base(write, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "run" / "config.yaml").write_text("generator: {family: 'nowhere.nets:G'}\n")
    (line,) = _refusal(write(mine="base: run/config.yaml\n"))
    assert "a file imports nothing by itself" in line


def test_a_run_s_own_configuration_opens_no_other_file(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "config.yaml").write_text("base: quickstart\n")
    with pytest.raises(ConfigError, match="config.yaml: a run's own configuration is complete, so its base is not"):
        load_config(tmp_path / "config.yaml")


def test_the_recipes_that_come_with_distgan_build_on_recipes_that_do():
    for recipe in RECIPES.glob("*.yaml"):
        assert {path.parent for path in read_recipe(recipe).files} == {RECIPES}
