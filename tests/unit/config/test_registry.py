"""Names from outside: imported lazily, validated by their own settings, and never because a file says so."""

import pickle
import subprocess
import sys

import pytest
import torch

from distgan.config import registry
from distgan.config.help import help_text
from distgan.config.load import load_config, read_config, resume_changes, to_yaml
from distgan.config.method import LOSSES
from distgan.config.networks import GENERATORS
from distgan.config.registry import REGISTRIES, TYPED, Trust
from distgan.config.schema import Config
from distgan.networks import build_generator
from distgan.utils.errors import ConfigError
from tests.support.outside import Package

KINDS = {
    *("generator", "discriminator", "loss", "penalty", "augmentation", "optimizer"),
    *("source", "extractor", "metric", "tracker", "controller"),
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    package = Package(tmp_path / "lab", monkeypatch)
    yield package
    package.forget()


def _section(package, **more):
    return f"generator={{family: {package.generator}, {', '.join(f'{key}: {value}' for key, value in more.items())}}}"


def _mistake(*overrides):
    with pytest.raises(ConfigError) as error:
        load_config("quickstart", ["discriminator.conditional=false", *overrides])
    return str(error.value).partition(": ")[2]


def test_every_kind_has_a_registry_with_a_contract_and_its_own_entry_points():
    assert set(REGISTRIES) == KINDS
    assert all(len(each.contract) > 200 for each in REGISTRIES.values())
    groups = [each.group for each in REGISTRIES.values()]
    assert groups.count("distgan.families") == 2, "a family is a generator and a discriminator of one name"
    assert len(set(groups)) == len(groups) - 1


def test_help_names_every_choice_of_every_section():
    text = help_text()
    for kind in ("generator", "loss", "augmentation", "optimizer", "penalty"):
        names = REGISTRIES[kind].entries
        assert f"{', '.join(names)}, or package.module:Name" in text, kind


def test_help_is_made_without_torch():
    code = "import sys, distgan.config.help as h; h.help_text(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_every_name_that_comes_with_distgan_can_be_imported():
    for each in REGISTRIES.values():
        for name in each.entries:
            assert each.load(name) is not None, (each.kind, name)


def test_a_class_from_outside_gets_its_own_settings_with_the_defaults_filled_in(package):
    config = load_config("quickstart", ["discriminator.conditional=false", _section(package, options="{width: 9}")])
    assert (config.generator.latent_dim, config.generator.options) == (6, {"width": 9})
    network = build_generator(config.generator, 8, 10)
    assert next(network.parameters()).shape == (9, 6)
    assert GENERATORS.settings_of(config.generator).width == 9


def test_a_network_from_outside_without_the_parameter_channels_is_for_rgb_images(package):
    config = load_config("quickstart", ["discriminator.conditional=false", _section(package)])
    assert build_generator(config.generator, 8, 10)(torch.zeros(2, 6)).shape == (2, 3, 8, 8)
    with pytest.raises(ConfigError) as error:
        build_generator(config.generator, 8, 10, channels=1)
    assert str(error.value) == (
        f"generator.family={package.generator} takes no argument `channels`, so it is for RGB images, and the images "
        "are gray (1 channel); give its __init__ a parameter channels, or use another family, such as dcgan"
    )


def test_a_network_from_outside_with_the_parameter_channels_is_told_the_number(package):
    gray = package.generator.replace(":Generator", ":Gray")
    config = load_config("quickstart", ["discriminator.conditional=false", f"generator={{family: {gray}}}"])
    for channels in (1, 3):
        network = build_generator(config.generator, 8, 10, channels=channels)
        assert network(torch.zeros(2, 6)).shape == (2, channels, 8, 8)


def test_the_stored_configuration_is_the_same_when_it_is_read_again(package, tmp_path):
    config = load_config("quickstart", ["discriminator.conditional=false", _section(package)])
    (tmp_path / "stored.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "stored.yaml") == config
    assert resume_changes(config.model_dump(mode="json"), config) == ([], [])
    wider = load_config("quickstart", ["discriminator.conditional=false", _section(package, options="{width: 5}")])
    assert resume_changes(config.model_dump(mode="json"), wider)[1] == ["generator.options.width: 4 -> 5"]


def test_a_section_goes_to_another_process(package):
    config = load_config("quickstart", ["discriminator.conditional=false", _section(package)])
    again = pickle.loads(pickle.dumps(config))
    assert again == config
    assert build_generator(again.generator, 8, 10) is not None
    for name in ("logistic", "hinge", "least_squares", "wasserstein", "relativistic"):
        loss = load_config("quickstart", [f"loss={{name: {name}, r1_gamma: 1}}"]).loss
        assert pickle.loads(pickle.dumps(loss)) == loss


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"options": "{width: 0}"}, "generator.options.width=0 must be greater than 0; nearest valid: 1"),
        ({"options": "{widht: 3}"}, "generator.options: there is no option widht; nearest: width"),
        ({"options": "{latent_dim: 3}"}, "generator.options.latent_dim: latent_dim stands beside options, not in it"),
        ({"latent_dim": "0"}, "generator.latent_dim=0 must be greater than 0; nearest valid: 1"),
        (
            {"stem_channels": "1"},
            "generator.stem_channels does not go with a class from outside; if it is a setting of its "
            "own: generator.options.stem_channels",
        ),
        ({"latent_dims": "1"}, "unknown key generator.latent_dims; nearest: generator.latent_dim"),
    ],
)
def test_a_mistake_in_its_settings_is_one_sentence_like_one_of_distgan_s_own(package, more, sentence):
    assert _mistake(_section(package, **more)) == sentence


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "nowhere.nets:Generator",
            "cannot be imported: No module named 'nowhere'; it must be installed, or lie in the",
        ),
        ("{module}:Generatr", "has no Generatr; nearest: Generator"),
        ("{module}:Wrong", "its Settings must be a subclass of distgan.extend.GeneratorSettings"),
        ("{module}:", "is no name of a class; write package.module:Name"),
        ("{module}:os.system('x')", "is no name of a class; write package.module:Name"),
        ("{module}:nn.Linear", "nn is a module; write torch.nn:Name"),
        ("{module}:Generator.foo", "has no foo"),
        ("dcgn", "must be one of seed_dcgan, dcgan, sngan, r3gan, fastgan, or package.module:Name; nearest: dcgan"),
    ],
)
def test_a_name_that_is_none_is_one_sentence(package, name, words):
    assert words in _mistake(f'generator={{family: "{name.format(module=package.module)}"}}')


def test_a_module_that_fails_is_a_sentence_with_its_error(package):
    (package.directory / "nets.py").write_text("raise SystemExit('no licence')")
    assert _mistake(_section(package)).endswith("cannot be imported: SystemExit: no licence")


def test_a_validation_without_a_trust_imports_nothing_and_nothing_can_be_built_of_it(package):
    tree = {"generator": {"family": package.generator, "options": {"width": 3}}}
    config = Config.model_validate(tree)
    assert config.generator.options == {"width": 3}
    with pytest.raises(ConfigError, match=r"is not imported, since nobody said that it is trusted: .*load_config"):
        build_generator(config.generator, 8, 10)
    assert not package.imported


@pytest.mark.parametrize(
    ("trusted", "covered"),
    [("{name}", True), ("{name}.nets", True), ("{name}.net", False), ("lab", False), ("", False)],
)
def test_a_trust_covers_a_module_and_what_is_in_it_and_nothing_that_only_begins_alike(package, trusted, covered):
    trust = Trust((trusted.format(name=package.name),))
    tree = {"generator": {"family": package.generator}}
    if covered:
        assert Config.model_validate(tree, context=trust.context).generator.latent_dim == 6
    else:
        with pytest.raises(
            ValueError, match=f"imports nothing by itself; if you trust this module: --trust {package.name}"
        ):
            Config.model_validate(tree, context=trust.context)
    assert package.imported == covered


@pytest.mark.parametrize("mark", ["run.json", "metrics.jsonl", "generator.safetensors", "nothing.txt"])
def test_the_configuration_in_a_run_s_directory_imports_nothing_without_a_trust(package, tmp_path, mark):
    run = tmp_path / "run"
    run.mkdir()
    (run / mark).touch()
    (run / "config.yaml").write_text(f"generator: {{family: '{package.generator}'}}\n")
    with pytest.raises(ConfigError, match=r"config.yaml: generator.family: .* --trust "):
        load_config(run / "config.yaml")
    with pytest.raises(ConfigError, match="--trust"):
        load_config(run / "config.yaml", ["run.name=x"], trust=["other"])
    (tmp_path / "mine.yaml").write_text("base: run/config.yaml\n")
    with pytest.raises(ConfigError, match="--trust"):
        load_config(tmp_path / "mine.yaml")
    (tmp_path / "link.yaml").symlink_to(run / "config.yaml")
    with pytest.raises(ConfigError, match="--trust"):
        load_config(tmp_path / "link.yaml")
    assert read_config(run / "config.yaml").generator.options == {}
    assert not package.imported
    assert load_config(run / "config.yaml", trust=[package.name]).generator.latent_dim == 6


def test_a_list_of_names_is_a_list_of_sections(package):
    (package.directory / "more.py").write_text("class A: ...\nclass B: ...\n")
    one, two = f"{package.name}.more:A", f"{package.name}.more:B"
    config = load_config("quickstart", [f"controllers={one},{two}", f"log.to=[wandb, {{name: {one}}}]"])
    assert [chosen.name for chosen in config.controllers] == [one, two]
    assert [chosen.name for chosen in config.log.to] == ["wandb", one]
    assert "stands there twice" in _mistake(f"controllers={one},{one}")
    assert "there is no option a: the class has none" in _mistake(f"controllers=[{{name: {one}, options: {{a: 1}}}}]")
    assert "balance comes with distgan and is not chosen here" in _mistake("controllers=balance")
    own = "must be package.module:Name; distgan's own, balance, augment, are not chosen here"
    assert own in _mistake("controllers=balanse")


def test_a_package_s_entry_points_look_like_distgan_s_own_names_and_replace_none(package, monkeypatch):
    points = {"distgan.families": {"perceptron": package.module, "dcgan": package.module}}
    monkeypatch.setattr(registry, "_entry_points", lambda group: points.get(group, {}))
    config = load_config("quickstart", ["discriminator.conditional=false", "generator={family: perceptron}"])
    assert (config.generator.family, config.generator.latent_dim) == ("perceptron", 6)
    assert type(build_generator(config.generator, 8, 1)).__module__ == package.module
    assert "nearest: perceptron" in _mistake("generator={family: perceptrn}")
    assert load_config("quickstart", ["generator={family: dcgan, conditional: true}"]).generator.width == 64
    assert "has no Discriminator" in _mistake("discriminator={family: perceptron}", "generator.conditional=false")


def test_two_of_one_short_name_or_a_score_named_as_one_of_distgan_s_own_are_refused(package):
    (package.directory / "more.py").write_text("class A: ...\nclass fd: ...\n")
    (package.directory / "other.py").write_text("class A: ...\n")
    one, two = f"{package.name}.more:A", f"{package.name}.other:A"
    assert "A stands there twice; give one of the two another name" in _mistake(f"evaluate.metrics={one},{two}")
    assert "would be called fd, as a score of distgan's own" in _mistake(f"evaluate.metrics={package.name}.more:fd")


def test_options_of_one_s_own_may_have_any_keys_and_are_free_to_change_where_the_section_is(package):
    (package.directory / "more.py").write_text(
        "from distgan.extend import Settings\nclass A:\n class Settings(Settings):\n  w: dict[int, float] = {}\n"
    )
    chosen = {"extractor": f"{package.name}.more:A", "extractor_options": {"w": {0: 1.0}}}
    one = load_config("quickstart", {"evaluate": chosen})
    assert one.evaluate.extractor_options == {"w": {0: 1.0}}
    two = load_config("quickstart", {"evaluate": chosen | {"extractor_options": {"w": {0: 2.0}}}})
    assert resume_changes(one.model_dump(mode="json"), two)[1] == []


def test_a_section_alone_is_read_in_a_process_that_has_loaded_nothing(package, tmp_path):
    config = load_config("quickstart", ["discriminator.conditional=false", _section(package)])
    (tmp_path / "pickled").write_bytes(pickle.dumps(config.generator))
    code = f"import pickle; print(pickle.load(open({str(tmp_path / 'pickled')!r}, 'rb')).latent_dim)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "6\n", done.stderr


def test_what_lacks_a_part_of_its_contract_is_a_sentence_before_training(package):
    start = "    def __init__(self, settings):\n        "
    (package.directory / "more.py").write_text(f"class Loss:\n{start}pass\nclass Broken:\n{start}self.x = 1 / 0\n")
    config = load_config("quickstart", [f"loss={{name: {package.name}.more:Loss}}"])
    with pytest.raises(ConfigError, match=r"Loss has no discriminator; `distgan check loss` says what it must have"):
        LOSSES.build(config.loss)
    config = load_config("quickstart", [f"loss={{name: {package.name}.more:Broken}}"])
    with pytest.raises(ConfigError, match=r"Broken cannot be built: ZeroDivisionError: .*more\.py:6\)"):
        LOSSES.build(config.loss)


def test_an_installed_name_needs_no_trust(package, monkeypatch):
    monkeypatch.setattr(registry, "_entry_points", lambda group: {"perceptron": package.module})
    tree = {"generator": {"family": "perceptron"}}
    assert Config.model_validate(tree, context=Trust(()).context).generator.latent_dim == 6


def test_a_typed_name_is_found_in_the_working_directory(package, tmp_path, monkeypatch):
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / f"{package.name}_here.py").write_text((package.directory / "nets.py").read_text())
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"{package.name}_here:Generator"
    assert Config.model_validate({"generator": {"family": name}}, context=TYPED.context).generator.latent_dim == 6


def test_the_older_name_of_the_trackers_is_read_as_the_list_beside_wandb(package):
    (package.directory / "older.py").write_text("class A: ...\n")
    one = f"{package.name}.older:A"
    for given in (f"log.trackers={one}", f"log.trackers=[{{name: {one}}}]"):
        assert [chosen.name for chosen in load_config("quickstart", [given]).log.to] == ["wandb", one]
    assert "trackers is the older name of to" in _mistake(f"log.trackers={one}", "log.to=wandb")
