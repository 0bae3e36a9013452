"""The generator file: what goes in comes out, bit for bit, and everything else is one clear error."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from accelerate.utils import load_state_dict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import distgan
from distgan.cli.main import main
from distgan.config.networks import SeedGenerator
from distgan.config.schema import Config
from distgan.inference.generator import Generator, load_generator
from distgan.inference.generator_file import (
    Description,
    metadata_json,
    read_weights,
    save_generator,
    weight_digest,
)
from distgan.networks import build_generator
from distgan.training.checkpoint import storage
from distgan.utils.errors import ExportError
from tests.support.processes import ROOT

TINY = SeedGenerator(latent_dim=4, stem_channels=2, width=4, depth=1)


def describe(**changes):
    values = {
        "generator": TINY,
        "size": 8,
        "class_names": ("frog", "cat", "katze-ü"),
        "config": Config().model_dump(mode="json"),
        "images_seen": 12800,
        "data_digest": "d" * 64,
    }
    return Description(**(values | changes))


def weights_of(description, seed=0):
    size, classes, channels = description.size, len(description.class_names), description.channels
    return build_generator(description.generator, size, classes, seed, channels=channels).state_dict()


def export(path, **changes):
    description = describe(**changes)
    save_generator(path, weights_of(description), description)
    return path


def metadata_of(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["distgan"])


def test_a_gray_generator_is_the_same_after_the_way_through_a_file(tmp_path):
    generator = load_generator(export(tmp_path / "gray.safetensors", channels=1))
    assert generator.channels == generator.description.channels == 1
    assert generator.sample(range(3)).shape == (3, 1, 8, 8)
    assert generator(generator.latents([0])).shape == (1, 1, 8, 8)
    assert "8x8 gray" in repr(generator)
    assert metadata_of(tmp_path / "gray.safetensors")["channels"] == 1


def test_a_file_of_rgb_images_says_nothing_of_channels_as_before_there_were_gray_ones(tmp_path):
    path = export(tmp_path / "rgb.safetensors")
    assert "channels" not in metadata_of(path)
    assert load_generator(path).channels == 3


@pytest.mark.parametrize(
    ("channels", "sentence"),
    [(1, r"does not fit its description: .*layers\..*\[1\]"), (2, "channels: .* 1 or 3"), ("1", "1 or 3")],
)
def test_forged_channels_are_refused(tmp_path, channels, sentence):
    path = export(tmp_path / "rgb.safetensors")
    with pytest.raises(ExportError, match=sentence):
        load_generator(rewrite(path, lambda content: content.update(channels=channels)))


def rewrite(path, change, weights=None, digest=True):
    """The file with its metadata (a dict) changed, and with a metadata digest that fits unless `digest` is false."""
    with safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()["distgan"])
        weights = weights or {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(content)
    if digest:
        rest = {key: value for key, value in content.items() if key != "metadata_digest"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        content["metadata_digest"] = hashlib.sha256(text.encode()).hexdigest()
    safetensors.torch.save_file(weights, path, metadata={"distgan": json.dumps(content)})
    return path


def python(code, *arguments, **environment):
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], env=env, capture_output=True, text=True)


@pytest.fixture
def path(tmp_path):
    return export(tmp_path / "generator.safetensors")


# What goes in comes out


def test_weights_and_description_come_back_exactly(path):
    generator = load_generator(path)
    for name, tensor in weights_of(describe()).items():
        assert torch.equal(generator.network.state_dict()[name], tensor)
    assert generator.description == describe()
    assert (generator.latent_dim, generator.size, generator.images_seen) == (4, 8, 12800)
    assert generator.class_names == ("frog", "cat", "katze-ü")
    assert not generator.conditional
    assert not generator.network.training
    assert not any(tensor.requires_grad for tensor in generator.network.parameters())


def test_the_digest_is_a_sha256_over_sorted_names_types_shapes_and_bytes(tmp_path):
    weights = {"b": torch.tensor([1.0, -2.0]), "a": torch.tensor(3)}
    expected = hashlib.sha256(b"a\0I64 []\0" + struct.pack("<q", 3) + b"b\0F32 [2]\0" + struct.pack("<2f", 1, -2))
    assert weight_digest(weights) == expected.hexdigest()
    digest = save_generator(tmp_path / "g", weights_of(describe()), describe())
    assert load_generator(tmp_path / "g").weight_digest == digest == weight_digest(weights_of(describe()))


def test_the_file_is_mode_0644_and_nothing_else_is_left_beside_it(path):
    assert path.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_identical_content_gives_identical_bytes_in_another_process_and_order(path, tmp_path):
    code = """
import sys; from pathlib import Path; from tests.unit.inference.test_generator_file import describe, weights_of
from distgan.inference.generator_file import save_generator
save_generator(Path(sys.argv[1]), dict(reversed(weights_of(describe()).items())), describe())
"""
    for hash_seed in ("1", "2"):
        other = tmp_path / f"other{hash_seed}"
        result = python(code, other, PYTHONHASHSEED=hash_seed)
        assert result.returncode == 0, result.stderr
        assert other.read_bytes() == path.read_bytes()


def test_the_loader_of_accelerate_takes_the_file_and_a_reader_of_the_description_alone_too(path):
    loaded = load_state_dict(str(path))  # refuses a file without format: pt
    assert loaded.keys() == weights_of(describe()).keys()
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], len(metadata)) == ("pt", 2)
    assert json.loads(metadata["distgan"])["format_version"] == 1  # the only key that distgan 0.2.0 reads


def test_memory_format_and_shared_memory_do_not_change_the_bytes(path, tmp_path):
    weights = weights_of(describe())
    flat = torch.cat([tensor.flatten() for tensor in weights.values()])  # views of one buffer, as an EMA may keep them
    parts = flat.split([tensor.numel() for tensor in weights.values()])
    views = {name: part.view_as(tensor) for (name, tensor), part in zip(weights.items(), parts, strict=True)}
    last = {
        name: tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in weights.items()
    }
    for index, variant in enumerate((views, last)):
        save_generator(tmp_path / str(index), variant, describe())
        assert (tmp_path / str(index)).read_bytes() == path.read_bytes()


def test_half_precision_weights_are_stored_as_fp32(tmp_path):
    weights = {name: tensor.bfloat16() for name, tensor in weights_of(describe()).items()}
    save_generator(tmp_path / "g", weights, describe())
    state = load_generator(tmp_path / "g").network.state_dict()
    assert all(torch.equal(state[name], tensor.float()) for name, tensor in weights.items())


def test_a_half_file_holds_fp16_matrices_and_is_computed_in_fp32(path, tmp_path):
    whole = load_generator(path)
    digest = save_generator(tmp_path / "half", *read_weights(path), half=True)
    saved = sum(2 * tensor.numel() for tensor in whole.network.state_dict().values() if tensor.ndim > 1)
    assert path.stat().st_size - (tmp_path / "half").stat().st_size == pytest.approx(saved, abs=64)
    half = load_generator(tmp_path / "half")
    assert half.weight_digest == digest != whole.weight_digest
    for name, tensor in whole.network.state_dict().items():
        found = half.network.state_dict()[name]
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor.half().float() if tensor.ndim > 1 else tensor)
    levels = (half.sample(range(8)).int() - whole.sample(range(8)).int()).abs()
    assert levels.max() <= 2
    assert read_weights(tmp_path / "half")[0].keys() == read_weights(path)[0].keys()


def test_weights_that_fp16_cannot_hold_are_not_written(path, tmp_path):
    weights, description = read_weights(path)
    weights["dense.weight"][0, 0] = 1e5
    with pytest.raises(ExportError, match=r"dense\.weight has weights above 65504"):
        save_generator(tmp_path / "half", weights, description, half=True)
    assert not (tmp_path / "half").exists()


def test_one_weight_that_is_infinite_already_hides_no_other_that_becomes_so(path, tmp_path):
    weights, description = read_weights(path)
    weights["dense.weight"][0, :2] = torch.tensor([torch.inf, 1e5])
    with pytest.raises(ExportError, match=r"dense\.weight has weights above 65504"):
        save_generator(tmp_path / "half", weights, description, half=True)


def test_files_are_fp32_under_another_default_type_too(path, tmp_path):
    images = load_generator(path).sample(range(3))
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(load_generator(path).sample(range(3)), images)
        export(tmp_path / "double")  # its weights are drawn in float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert load_generator(tmp_path / "double").network.dense.weight.dtype == torch.float32


def test_the_description_is_sorted_json_under_one_key_beside_the_format(path):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    content = json.loads(metadata["distgan"])
    assert sorted(metadata) == ["distgan", "format"]
    assert list(content) == sorted(content)
    assert (content["format"], content["format_version"]) == ("distgan-generator", 1)
    assert content["config"] == Config().model_dump(mode="json")
    assert content["value_range"] == [-1, 1]
    assert content["versions"] == {"distgan": distgan.__version__, "torch": torch.__version__}


def test_a_loaded_generator_does_not_change_when_its_file_is_overwritten_in_place(path):
    generator = load_generator(path)
    before = generator.sample([0])
    with path.open("r+b") as file:
        file.seek(-200, os.SEEK_END)
        file.write(bytes(200))
    assert torch.equal(generator.sample([0]), before)


def test_saving_weights_that_do_not_fit_is_refused_and_leaves_the_old_file(path):
    before = path.read_bytes()
    weights = {f"module.{name}": tensor for name, tensor in weights_of(describe()).items()}
    with pytest.raises(ExportError, match=r"lacks dense\.bias"):
        save_generator(path, weights, describe())
    assert path.read_bytes() == before


def test_a_failed_write_is_one_sentence_and_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("distgan.utils.files.fsync", full)
    with pytest.raises(ExportError, match=r"cannot be written: No space left on device"):
        save_generator(path, weights_of(describe(), seed=1), describe())
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


# Files that cannot be used


@pytest.mark.parametrize(("text", "words"), [("", "it is empty"), ("~nobody_here/x", "is nobody's home directory")])
def test_text_that_is_no_path_is_refused(text, words):
    with pytest.raises(ExportError, match=words):
        load_generator(text)


def test_a_missing_file_names_the_nearest_one(path):
    with pytest.raises(ExportError, match=r"no file .*generater\.safetensors; nearest: .*generator\.safetensors"):
        load_generator(path.with_name("generater.safetensors"))


def test_a_missing_directory_names_the_command(tmp_path):
    with pytest.raises(ExportError, match="distgan export RUN"):
        load_generator(tmp_path / "nowhere" / "g.safetensors")


def test_a_directory_names_the_file_inside(path):
    with pytest.raises(ExportError, match=r"is a directory.*give .*generator\.safetensors"):
        load_generator(path.parent)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", f"{__file__}/x"])
def test_an_impossible_name_is_an_error(name):
    for load in (load_generator, Generator.from_pretrained):
        with pytest.raises(ExportError):
            load(name)


def test_a_device_file_is_refused():
    with pytest.raises(ExportError, match="not a regular file"):
        load_generator("/dev/zero")


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 100, b"PK\x03\x04" + b"x" * 200, b"\xff" * 4096])
def test_what_is_no_safetensors_file_is_named_so(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ExportError, match="not a safetensors file, or it is damaged or cut short"):
        load_generator(tmp_path / "x")


@pytest.mark.parametrize("name", ["g.pt2", "g.pt", "g.onnx", "g"])
@pytest.mark.parametrize("command", [["sample", "--out", "x.png"], ["evaluate"], ["export", "--format", "onnx"]])
def test_a_program_is_refused_with_the_command_that_works(tmp_path, monkeypatch, capsys, name, command):
    monkeypatch.chdir(tmp_path)
    if name == "g.onnx":
        Path(name).write_bytes(b"\x08\x0a")
    else:
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), name)
    assert main([command[0], name, *command[1:]]) == 2
    error = capsys.readouterr().err
    assert f"{name} is a program (" in error
    assert (
        "distgan runs none from a file; give the generator's safetensors file: `distgan sample RUN --out x.png`"
        in error
    )
    Path(name).with_suffix(".safetensors").touch()
    with pytest.raises(ExportError, match=r"file: `distgan sample g.safetensors --out"):
        load_generator(name)


def test_a_safetensors_file_of_someone_else_is_foreign(tmp_path):
    safetensors.torch.save_file({"x": torch.zeros(2)}, tmp_path / "x", metadata={"format": "pt"})
    with pytest.raises(ExportError, match="not one made by `distgan export`"):
        load_generator(tmp_path / "x")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000, '{"a": NaN}', "1" * 5000])
def test_metadata_that_is_no_json_object_is_damaged(tmp_path, text):
    safetensors.torch.save_file({"x": torch.zeros(2)}, tmp_path / "x", metadata={"distgan": text})
    with pytest.raises(ExportError, match="metadata is not a JSON object"):
        load_generator(tmp_path / "x")


def test_a_future_format_asks_for_an_upgrade(path):
    rewrite(path, lambda content: content.update(format_version=3), digest=False)
    with pytest.raises(ExportError, match=r"newer distgan \(format 3\), this one reads up to 2: upgrade"):
        load_generator(path)


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None])
def test_a_format_version_that_is_no_whole_number_is_refused(path, version):
    rewrite(path, lambda content: content.update(format_version=version))
    with pytest.raises(ExportError, match="must be a whole number"):
        load_generator(path)


def test_another_format_is_refused(path):
    rewrite(path, lambda content: content.update(format="distgan-discriminator"))
    with pytest.raises(ExportError, match="it is not a generator"):
        load_generator(path)


def test_changed_metadata_is_tampered_with(path):
    rewrite(path, lambda content: content.update(images_seen=10**9), digest=False)
    with pytest.raises(ExportError, match="tampered with or damaged: its metadata digest"):
        load_generator(path)


def test_changed_weights_are_tampered_with(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ExportError, match="tampered with or damaged: its weight digest"):
        load_generator(path)


def test_keys_of_a_later_minor_version_are_kept_and_not_used(path, tmp_path):
    rewrite(path, lambda content: content.update(colour_space="sRGB"))
    generator = load_generator(path)
    generator.save_pretrained(tmp_path / "hub")
    assert json.loads((tmp_path / "hub" / "config.json").read_text())["colour_space"] == "sRGB"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("size"), "size: Field required"),
        (lambda c: c.update(size=10**9), "size: "),
        (lambda c: c.update(size="big"), "size: "),
        (lambda c: c.update(value_range=[0, 1]), "value_range"),
        (lambda c: c.update(weights="mean"), "weights: "),
        (lambda c: c["generator"].update(family="biggan"), "generator.family=biggan must be one of .*dcgan"),
        (lambda c: c["generator"].update(attention=True), r"generator\.seed_dcgan\.attention"),
        (lambda c: c.update(class_names=[]) or c["generator"].update(conditional=True), "needs class_names"),
        (lambda c: c.update(size=9), "multiples of 2"),
        (lambda c: c.pop("weight_digest"), "weight digest"),
    ],
)
def test_a_description_that_breaks_a_rule_names_the_key(path, change, words):
    rewrite(path, change)
    with pytest.raises(ExportError, match=words):
        load_generator(path)


@pytest.mark.parametrize("key", ["width", "depth", "upsamples", "latent_dim", "stem_channels"])
@pytest.mark.parametrize("value", [3, 10**9, 10**30])
def test_forged_architecture_numbers_cost_neither_memory_nor_time(path, key, value):
    rewrite(path, lambda content: content["generator"].update({key: value}))
    with pytest.raises(ExportError, match=r"does not fit its description|cannot be used"):
        load_generator(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("dense.bias"), r"lacks dense\.bias"),
        (lambda w: w.update(extra=torch.zeros(1)), "holds extra as .*should not have"),
        (lambda w: w.update({"dense.bias": w["dense.bias"][:-1].clone()}), r"dense\.bias as F32 \[31\].*F32 \[32\]"),
        (lambda w: w.update({"dense.bias": w["dense.bias"].bfloat16()}), r"dense\.bias as BF16 \[32\].*F32 \[32\]"),
    ],
)
def test_tensors_that_do_not_fit_are_named(path, change, words):
    weights = weights_of(describe())
    change(weights)
    rewrite(path, lambda content: None, weights)
    with pytest.raises(ExportError, match=words):
        load_generator(path)


def test_every_truncation_of_a_file_is_an_error(path):
    data = path.read_bytes()
    for length in [*range(0, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ExportError):
            load_generator(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_are_an_error_or_change_nothing(tmp_path, data):
    path = tmp_path / "fuzzed"
    whole = export(tmp_path / "whole") if not (tmp_path / "whole").exists() else tmp_path / "whole"
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        generator = load_generator(path)
    except ExportError:
        return
    original = load_generator(whole)
    assert generator.description == original.description
    assert generator.weight_digest == original.weight_digest == weight_digest(generator.network.state_dict())


# The Hub's layout


def test_the_hub_layout_holds_the_same_bytes_a_readable_config_and_a_model_card(path, tmp_path):
    load_generator(path).save_pretrained(tmp_path / "hub")
    hub = tmp_path / "hub"
    assert sorted(file.name for file in hub.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert {file.stat().st_mode & 0o777 for file in hub.iterdir()} == {0o644}
    assert (hub / "model.safetensors").read_bytes() == path.read_bytes()
    content = json.loads((hub / "config.json").read_text())
    assert content == json.loads(metadata_json(describe(), load_generator(path).weight_digest))
    card = (hub / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: distgan\npipeline_tag: unconditional-image-generation\n")
    assert "frog, cat, katze-ü" in card
    assert "12,800" in card


@pytest.mark.parametrize(("channels", "kind"), [(3, "RGB"), (1, "gray")])
def test_the_model_card_says_whether_images_are_gray_and_what_sample_returns(tmp_path, channels, kind):
    load_generator(export(tmp_path / "generator.safetensors", channels=channels)).save_pretrained(tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert f"| images | 8x8 {kind} |" in card
    assert f"# uint8 [64, {channels}, 8, 8]" in card
    assert Generator.from_pretrained(tmp_path / "hub").channels == channels


def test_a_model_card_that_is_there_is_kept(path, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    load_generator(path).save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_from_pretrained_reads_a_local_directory_or_file_without_the_network(path, tmp_path, monkeypatch):
    load_generator(path).save_pretrained(tmp_path / "hub")
    monkeypatch.setattr("socket.socket", None)
    seeds = range(3)
    for place in (tmp_path / "hub", str(tmp_path / "hub"), path):
        assert torch.equal(Generator.from_pretrained(place).sample(seeds), load_generator(path).sample(seeds))


@pytest.mark.parametrize("name", ["./hub", "~/hub", "/hub", "a/b/c", "../x", "x/", Path("me/cats"), "g.safetensors"])
def test_what_looks_like_a_path_is_never_asked_of_the_network(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("socket.socket", None)
    with pytest.raises(ExportError, match="there is no directory"):
        Generator.from_pretrained(name)


def test_a_local_directory_without_a_model_or_with_a_revision_is_an_error(tmp_path):
    with pytest.raises(ExportError, match=r"no model\.safetensors in"):
        Generator.from_pretrained(tmp_path)
    with pytest.raises(ExportError, match="revision=main goes with a repository"):
        Generator.from_pretrained(tmp_path, revision="main")


# What it costs to import


def test_loading_and_sampling_need_none_of_the_training_libraries(path):
    code = """
import sys
for name in ("accelerate", "wandb", "webdataset", "matplotlib", "huggingface_hub"):
    sys.modules[name] = None
from distgan import load_generator
print(list(load_generator(sys.argv[1]).sample(seeds=range(3)).shape))
import distgan.cli.sample
assert "distgan.data" not in sys.modules and "distgan.training.trainer" not in sys.modules
"""
    result = python(code, path)
    assert result.stdout.strip() == "[3, 3, 8, 8]", result.stderr


@pytest.mark.parametrize(("module", "package"), [("pydantic", "pydantic"), ("PIL", "pillow"), ("numpy", "numpy")])
def test_a_package_that_load_generator_lacks_is_named_in_one_sentence(module, package, path):
    code = f"import sys; sys.modules[{module!r}] = None; import distgan; distgan.load_generator(sys.argv[1])"
    error = python(code, path).stderr.strip().splitlines()[-1]
    assert error == (
        "distgan.utils.errors.ExportError: distgan.load_generator needs a package that is not installed; "
        f"pip install {package}"
    )


@pytest.mark.parametrize(
    ("module", "call", "sentence"),
    [
        ("huggingface_hub", "Generator.from_pretrained('me/cats')", "a repository on the Hub needs"),
        ("huggingface_hub", "load_generator(sys.argv[1]).save_pretrained('hub')", "save_pretrained needs"),
        ("huggingface_hub", "load_generator(sys.argv[1]).push_to_hub('me/cats')", "push_to_hub needs"),
        ("jinja2", "load_generator(sys.argv[1]).save_pretrained('hub')", "save_pretrained needs"),
    ],
)
def test_a_package_that_the_hub_lacks_is_named_in_one_sentence(module, call, sentence, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = f"import sys; sys.modules[{module!r}] = None; from distgan import Generator, load_generator; {call}"
    error = python(code, path).stderr.strip().splitlines()[-1]
    assert error.startswith(f"distgan.utils.errors.ExportError: {sentence} {module}, which cannot be imported")
    assert error.endswith(f"pip install {module}")


def test_a_local_generator_needs_no_huggingface_hub(path):
    code = "import sys; sys.modules['huggingface_hub'] = None; from distgan import Generator;"
    assert python(f"{code} Generator.from_pretrained(sys.argv[1])", path).returncode == 0


@pytest.mark.parametrize("given", ["run/checkpoints/step-000000007", "run"])
def test_a_checkpoint_or_a_run_without_a_generator_is_told_how_to_make_one(given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    storage.save(Path("run/checkpoints"), 7, {"a": torch.zeros(1)}, {})
    with pytest.raises(ExportError, match=f"make a generator of it with `distgan export {given}`"):
        load_generator(given)
    assert main(["sample", given, "--seeds", "0-3", "--out", "grid.png"]) == 2
    assert "step-000000007 is damaged: its state.json has no 'config'" in capsys.readouterr().err
    with pytest.raises(ExportError, match=r"make a generator with `distgan export run/checkpoints/step-000000007`$"):
        load_generator("run/checkpoints/step-000000007/state.safetensors")
