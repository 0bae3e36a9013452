"""`distgan check`: what keeps a contract passes, and each way of breaking it is named."""

import math
import re
import textwrap

import pytest

from distgan.cli.main import main
from distgan.config.load import validate
from distgan.config.registry import REGISTRIES, TYPED
from distgan.doctor.contracts import check_contract
from distgan.doctor.contracts.subject import Broken, find_subject
from distgan.doctor.contracts.training import Trainings
from distgan.utils.errors import ConfigError
from tests.support.kinds import PAGE, table

GENERATOR = """
import itertools
import torch
from torch import nn
from distgan.extend import *

MADE = itertools.count()

class Generator(nn.Module):
    class Settings(GeneratorSettings):
        latent_dim: int = 4
    def __init__(self, settings, size, classes):
        super().__init__()
        if settings.conditional:
            raise ConfigError("no classes")
        self.dense, self.size = nn.Linear(4, 3 * size**2), size
        {init}
    def forward(self, latents, labels=None):
        x = self.dense(latents)
        {forward}
        return x.unflatten(1, (3, self.size, self.size)).tanh(){end}
"""
DISCRIMINATOR = """
import torch
from torch import nn
from distgan.extend import *

class Discriminator(nn.Module):
    class Settings(DiscriminatorSettings):
        pass
    def __init__(self, settings, size, classes):
        super().__init__()
        if settings.conditional:
            raise ConfigError("no classes")
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * size**2, 8), {activation}, nn.Linear(8, 1))
    def forward(self, images, labels=None):
        return self.layers(images){end}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(code, name):
        module = f"contract_{abs(hash((code, str(tmp_path))))}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        return f"{module}:{name}"

    return write


def _lines(capsys, name, kind=None, **options):
    kept = check_contract(name, kind, options, quick=True)[1]
    out = capsys.readouterr().out
    assert kept == ("FAIL" not in out)
    return out


def _generator(init="pass", forward="pass", end=""):
    return GENERATOR.format(init=init, forward=forward, end=end)


def test_a_generator_that_keeps_the_contract_passes(write, capsys):
    out = _lines(capsys, write(_generator(), "Generator"))
    assert [line.split()[0] for line in out.splitlines()] == ["ok"] * 8
    assert "classes: none: conditional=true is refused" in out
    assert "gray images: none: its __init__ has no parameter `channels`, so it is for RGB images" in out


def test_a_network_with_the_parameter_channels_is_checked_with_one_channel(write, capsys):
    for code, name in (
        (_generator(), "Generator"),
        (DISCRIMINATOR.format(activation="nn.ReLU()", end="[:, 0]"), "Discriminator"),
    ):
        taking = code.replace("size, classes)", "size, classes, channels)").replace("3 * size**2", "channels * size**2")
        shape = {"Generator": "[6, 1, 32, 32]", "Discriminator": "[6]"}[name]
        aware = taking.replace("(3, self.size", "(self.channels, self.size").replace(
            "super().__init__()", "super().__init__(); self.channels = channels"
        )
        assert f"ok    gray images: {shape}\n" in _lines(capsys, write(aware, name))
    out = _lines(capsys, write(taking.replace("channels * size**2", "3 * size**2"), name))
    assert "FAIL  gray images: " in out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"end": "[:, :1]"}, r"returns the shape \[2, 1, 32, 32\] for 2 rows, not \[2, 3, 32, 32\]"),
        ({"end": " * 50"}, r"images reach from .* they must be in \[-1, 1\]"),
        ({"end": " / 0"}, "images are not finite"),
        ({"init": "self.spare = nn.Linear(2, 2)"}, "spare.weight takes no part in the result"),
        ({"forward": "x = x - x.mean(0)"}, "the first two rows alone give another result"),
        ({"init": "self.drop = nn.Dropout(0.5)"}, "draws each process's own mask; use KeyedDropout"),
        ({"init": "self.norm = nn.BatchNorm1d(4)"}, "use GlobalBatchNorm"),
        ({"init": "[nn.init.constant_(weight, 0.1) for weight in self.parameters()]"}, "another seed"),
        ({"init": "self.dense.weight.data += next(MADE)"}, "the same seed"),
        ({"forward": "x = x.unknown()"}, "forward fails: AttributeError: .*unknown"),
    ],
)  # fmt: skip
def test_each_way_of_breaking_a_generator_s_contract_is_named(write, capsys, change, words):
    out = _lines(capsys, write(_generator(**change), "Generator"))
    failed = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert any(re.search(words, line) for line in failed), out


@pytest.mark.parametrize(
    ("activation", "end", "words"),
    [
        ("nn.Softplus()", ".squeeze(1)", ""),
        ("nn.Softplus()", "", "forward returns the shape [2, 1] for 2 rows, not [2]"),
        ("nn.Identity()", ".squeeze(1).detach()", "does not require grad"),
    ],
)
def test_a_discriminator_gives_a_logit_per_image_that_can_be_differentiated_twice(
    write, capsys, activation, end, words
):
    out = _lines(capsys, write(DISCRIMINATOR.format(activation=activation, end=end), "Discriminator"))
    assert words in out
    assert ("FAIL" in out) == bool(words)


FEATURES = """
    def features(self, images):
        return [images{maps}]
    def judge(self, maps, labels):
        return self.forward(maps[0], labels){logits}
"""


@pytest.mark.parametrize(
    ("maps", "logits", "words"),
    [
        ("", "", "ok    features: 1 maps, of which judge makes the logits of forward"),
        (".flatten(1)", "", "a map of features has the shape [6, 3072], not [6, C, H, W]"),
        ("", " + 1", "judge of features gives other logits than forward"),
    ],
)
def test_the_features_of_a_discriminator_are_what_its_logits_are_made_of(write, capsys, maps, logits, words):
    code = DISCRIMINATOR.format(activation="nn.ReLU()", end="[:, 0]") + FEATURES.format(maps=maps, logits=logits)
    out = _lines(capsys, write(code, "Discriminator"))
    assert words in out
    assert ("FAIL" in out) == (words[:2] != "ok")


FIXED = """
import torch
from torch import nn
from distgan.extend import *

class Discriminator(nn.Module):
    class Settings(DiscriminatorSettings):
        pass
    fixed_features = True
    def __init__(self, settings, size, classes):
        super().__init__()
        if settings.conditional:
            raise ConfigError("no classes")
        self.dense, self.scale = nn.Linear(3 * size**2, 8), nn.Parameter(torch.ones(8))
    def features(self, images):
        return [images{maps}]
    def judge(self, maps, labels):
        return (self.dense(maps[0].flatten(1)).relu() * self.scale).sum(1)
    def forward(self, images, labels=None, maps=None):
        return self.judge(self.features(images) if maps is None else {known}, labels)
"""


@pytest.mark.parametrize(
    ("maps", "known", "words"),
    [
        ("", "maps", "ok    features: 1 maps"),
        ("", "[-maps[0]]", "forward of known maps gives other logits than forward of the images"),
        (" * self.scale.mean()", "maps", "fixed_features is true, and a weight is trained through the features"),
    ],
)
def test_fixed_features_are_trained_by_nothing_and_taken_by_forward(write, capsys, maps, known, words):
    out = _lines(capsys, write(FIXED.format(maps=maps, known=known), "Discriminator"))
    assert words in out
    assert ("FAIL" in out) == (words[:2] != "ok")


D, G = "lambda f, r: (f - r).square().mean()", "lambda f, r: -f.mean()"
PARTS = {
    f"lambda f, r: (f - r).square().sum(), {G}, lambda f, r: (f, r)": "must be a mean",
    f"{D}, {G}, lambda f, r: (f, r)": "not [12] in [0",
    f"{D}, lambda f, r: f.new_ones(()).requires_grad_(), None": "unused",
    f"{D}, {G}, lambda f, r: (f > 0, r > 0)": "ok ",
}
ONCE = "torch.cdist(g.flatten(1)[:, None], 0 * g.flatten(1)[:, None], p=1.0)[..., None]"  # has no second derivative


@pytest.mark.parametrize(("code", "words"), PARTS.items())
def test_a_loss_is_a_mean_with_gradients_and_gives_probabilities(write, capsys, code, words):
    name = write(f"from distgan.extend import *\nX = LossFunctions({code})\n", "X")
    assert words in _lines(capsys, name, "loss")


@pytest.mark.parametrize(
    ("kind", "attributes", "result", "words"),
    [
        ("penalty", "on = 'both'", "g.sum((1, 2, 3))", "`on` is 'both', not real, fake"),
        ("penalty", "on = 'real'", "g.sum()", "not [12], finite"),
        ("penalty", "on = 'real'", "g.square().sum((1, 2, 3)).log()", "D is flat"),
        ("penalty", "on = 'real'", "g.square().sum((1, 2, 3))", "ok "),
        ("augmentation", "uniforms, normals = 1, 0", "g * torch.rand(1)", "take random"),
        ("augmentation", "uniforms, normals = 1, 0", "g - g.mean(0)", "own row only"),
        ("augmentation", "uniforms, normals = 1, 0", "g.round() + 0 * g", "no gradient"),
        ("augmentation", "uniforms, normals = 1, 0", "g + l[:, :, None, None]", "R1 and R2 can go through it"),
        ("augmentation", "uniforms, normals = 0, 0", f"g + {ONCE}", "no R1 or R2 through it"),
        ("metric", "better = 'up'", "1.0", "better is 'up', not lower or higher"),
        ("metric", "better = 'lower'", "1", "it returns 1, not a finite float"),
        ("metric", "better = 'higher'", "g.fake_features.norm().item()", "but better=higher"),
        ("metric", "better = 'lower'", "g.fake_features.norm().item()", "ok "),
        ("tracker", "pass", "None", "X has no log; `distgan check tracker` says what"),
        ("controller", "pass", "None", "must be a subclass of distgan.extend.Controller"),
    ],
)
def test_each_part_s_contract_is_checked(write, capsys, kind, attributes, result, words):
    code = "import torch\nfrom distgan.extend import *\nclass X:\n def __init__(self, *given): pass\n"
    code += f" {attributes}\n def __call__(self, g, l=None, *more): return {result}\n"
    assert words in _lines(capsys, write(code, "X"), kind)


def test_an_optimizer_moves_weights_and_a_source_makes_the_same_images_again(write, capsys):
    lazy = "import torch\ndef X(settings, weights): return torch.optim.SGD(weights, lr=0.0)\n"
    assert "has not moved" in _lines(capsys, write(lazy, "X"), "optimizer")
    assert "state of a weight" in _lines(capsys, "adam", "optimizer")
    assert "the same again" in _lines(capsys, "shapes", "source", count=20)


def test_all_families_that_come_with_distgan_keep_their_contracts(capsys):
    for kind in ("generator", "discriminator"):
        for name in REGISTRIES[kind].entries:
            assert "FAIL" not in _lines(capsys, name, kind)


QUICK = [
    (kind, name)
    for kind, registry in REGISTRIES.items()
    for name in registry.entries
    if kind not in ("generator", "discriminator") and name not in ("shapes", "cifar10", "cifar100", "mnist")
]  # the networks are checked above; the others make or download a data set
SENTENCE = r"[^\n]*(needs the package|needs torch-fidelity|reads what you have: distgan check \w+ \w+=)[^\n]*"


@pytest.mark.parametrize(("kind", "name"), QUICK)
def test_every_name_that_comes_with_distgan_keeps_its_contract_or_a_sentence_says_why_it_cannot_be_checked(
    monkeypatch, tmp_path, capsys, kind, name
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *_, **__: pytest.skip("its weights are downloaded"))
    code = main(["check", name, "--kind", kind, "--quick"])
    out, error = capsys.readouterr()
    if code == 0:
        assert f"{name} keeps the contract of its kind, {kind}" in out
    elif "FAIL" in out:
        assert re.fullmatch(rf"FAIL  {kind}: {SENTENCE}\nthe contract: distgan check {kind}\n", out)
    else:
        assert f"{name} comes with distgan: " in error
        assert f"so it cannot be checked alone; for a {kind} of your own give package.module:Name" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["projected", "resolution=100"], "weights: discriminator.resolution=100 must be a multiple of 32"),
        (["hinge", "r1_gama=1"], "loss: unknown key loss.r1_gama; nearest: loss.r1_gamma"),
        (["wgan_lp", "weight=-1"], "loss.penalty.weight=-1 must be greater than or equal to 0; nearest valid: 0"),
        (["adam", "beta1=2"], "optimizer.generator.beta1=2 "),
        (["classifier", "weights=/nowhere"], "/nowhere cannot be read"),
        (["shapes", "coun=3"], "shapes has no setting coun; nearest: count"),
        (["shapes", "count=-3"], "count=-3 must be greater than 0; nearest valid: 1"),
        (["folder", "directory=/nowhere"], "/nowhere cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_setting_reads_as_it_does_in_a_recipe(capsys, arguments, words):
    assert main(["check", *arguments, "--quick"]) == 2
    out = capsys.readouterr().out
    assert words in out
    assert "Input should" not in out


@pytest.mark.parametrize(
    ("name", "kind", "near"),
    [("fastgn", None, "fastgan"), ("lss", None, "loss"), ("hing", "loss", "hinge"), ("projectd", None, "projected")],
)
def test_a_name_that_is_none_is_told_the_nearest_of_all_kinds(name, kind, near):
    with pytest.raises(ConfigError, match=f"^{name} is no name; nearest: {near}; `distgan check` lists them, or give"):
        check_contract(name, kind, {}, True)
    with pytest.raises(ConfigError, match="^xyzxyz is no name; `distgan check` lists them"):
        check_contract("xyzxyz", kind, {}, True)


@pytest.mark.parametrize(
    ("apart", "words"),
    [
        ({"whole": 9e-4}, "the weights are 0.0009 of their length apart$"),
        ({"whole": 1e-2, "whole64": 2e-16}, "0.01 of their length apart, and 2e-16 in float64: training amplifies"),
        ({"whole": 1e-2, "whole64": 1e-2}, "FAIL .* than one: they are 0.01 .* less than 0.001, and 0.01 in float64"),
        ({"whole": 1e-2}, "FAIL .* than one: they are 0.01 .* in float64, which would tell, it does not train"),
        ({"whole": math.nan, "whole64": math.nan}, "FAIL .* than one: they are nan"),
    ],
)
def test_two_processes_that_differ_by_more_than_roundings_are_compared_in_float64(monkeypatch, tmp_path, apart, words):
    def train(_self, name, launcher=(), module="distgan.train"):
        assert module == ("distgan.doctor.contracts.float64" if name.endswith("64") else "distgan.train")
        if name == "whole64" not in apart:
            raise Broken("training ends with code 1")

    monkeypatch.setattr(Trainings, "train", train)
    monkeypatch.setattr(Trainings, "gap", lambda _self, one, _other: apart[one])
    trainings = Trainings(find_subject("projected", None, {}), tmp_path)
    try:
        said = trainings.check_two_processes()
    except Broken as broken:
        said = f"FAIL {broken}"
    assert re.search(words, said)


@pytest.mark.slow
def test_a_discriminator_whose_training_amplifies_roundings_gives_the_same_answer_on_two_processes(capsys):
    assert check_contract("projected", None, {}, quick=False)[1], capsys.readouterr().out


@pytest.mark.parametrize("name", REGISTRIES["loss"].entries)
def test_every_loss_is_trained_with_a_discriminator_that_it_goes_with(tmp_path, name):
    validate(Trainings(find_subject(name, "loss", {}), tmp_path).recipe(), "the check", TYPED)


def test_an_extractor_of_certain_classes_is_not_trained_with_on_others(tmp_path):
    checks = list(Trainings(find_subject("classifier", None, {}), tmp_path).checks())
    assert [check.name for check in checks] == ["training"]
    assert checks[0].run() == "left out: it judges images of its own classes only (airplane, automobile, ...)"


def test_what_a_class_is_is_seen_from_its_settings_or_asked_for(write):
    with pytest.raises(ConfigError, match=r"what .*:X is cannot be seen from its Settings; give --kind "):
        check_contract(write("class X: ...", "X"), None, {}, True)
    with pytest.raises(ConfigError, match="dcgan is a generator and discriminator: give --kind"):
        check_contract("dcgan", None, {}, True)
    with pytest.raises(ConfigError, match="No module named 'nowhere'"):
        check_contract("nowhere:X", None, {}, True)


def test_the_command_lists_names_shows_contracts_and_ends_with_2_for_a_broken_one(write, capsys):
    assert main(["check"]) == 0
    assert "generator.family" in capsys.readouterr().out
    assert main(["check", "loss"]) == 0
    assert "means over the images" in " ".join(capsys.readouterr().out.split())
    assert main(["check", "hinge", "--quick"]) == 0
    assert main(["check", write(_generator(end="[:, :1]"), "Generator"), "--quick"]) == 2
    assert main(["check", "hinge", "r1_gamma", "--quick"]) == 2


def test_the_page_has_the_table_and_the_contracts_of_the_registries():
    assert table() in PAGE.read_text(), "write them again: python -m tests.support.kinds"
