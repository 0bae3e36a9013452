"""Sampling: a seed is an image, whatever stands beside it; and the command line."""

from __future__ import annotations

import argparse
import math
import random
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from distgan.cli import sample
from distgan.cli.main import main
from distgan.config.networks import SeedGenerator
from distgan.inference.generator import find_device, load_generator
from distgan.inference.generator_file import Description, save_generator
from distgan.inference.latents import truncate
from distgan.inference.sampling import classes_of
from distgan.networks import build_generator
from distgan.utils.errors import ExportError
from distgan.utils.images import PAD

NAMES = ("frog", "cat", "ship")


def export(path, conditional=False, names=NAMES, channels=3):
    config = SeedGenerator(latent_dim=8, stem_channels=4, width=16, depth=1, conditional=conditional)
    description = Description(
        generator=config,
        size=8,
        channels=channels,
        class_names=names,
        config={},
        images_seen=100,
        data_digest="d" * 64,
    )
    weights = build_generator(config, 8, len(names), channels=channels).state_dict()
    save_generator(path, {name: 2 * tensor for name, tensor in weights.items()}, description)  # images less grey
    return path


# Gray images


def test_gray_images_are_sampled_as_gray_pngs_a_gray_grid_and_an_array_of_one_channel(tmp_path, capsys):
    path = str(export(tmp_path / "gray.safetensors", channels=1))
    wanted = load_generator(path).sample(range(6))
    assert wanted.shape == (6, 1, 8, 8)
    for out in ("grid.png", "images", "images.npz"):
        assert main(["sample", path, "--seeds", "0-5", "--out", str(tmp_path / out)]) == 0
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.mode == "L"
    with Image.open(tmp_path / "images" / "seed-000000003.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), wanted[3, 0].numpy())
    with np.load(tmp_path / "images.npz") as arrays:
        assert np.array_equal(arrays["images"], wanted.permute(0, 2, 3, 1).numpy())


# A seed is an image


def test_sampling_returns_uint8_images_that_differ_between_seeds(generator):
    images = generator.sample(seeds=range(20))
    assert (images.shape, images.dtype, images.device.type) == ((20, 3, 8, 8), torch.uint8, "cpu")
    assert len({image.numpy().tobytes() for image in images}) == 20


def test_no_seeds_give_no_images(generator):
    assert generator.sample([]).shape == (0, 3, 8, 8)


def test_every_batch_is_filled_up_to_the_same_size(generator):
    sizes = []
    generator.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    generator.sample(range(7), batch_size=5)
    assert sizes == [5, 5]


@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_a_seed_gives_the_same_bits_in_any_order_and_number(generator, batch_size):
    order = random.Random(0).sample(range(20), 20)
    images = generator.sample(range(20), batch_size=batch_size)
    assert torch.equal(generator.sample(order, batch_size=batch_size), images[order])
    for count in (1, 7):
        assert torch.equal(generator.sample(order[:count], batch_size=batch_size), images[order[:count]])


def test_other_batch_sizes_agree_to_one_grey_level(generator):
    images = generator.sample(range(20), batch_size=16).int()
    for batch_size in (1, 7, 50):
        assert (generator.sample(range(20), batch_size=batch_size).int() - images).abs().max() <= 1


def test_a_sample_is_the_rounded_output_of_the_network(generator):
    output = generator(generator.latents(range(16)))
    assert output.abs().max() <= 1
    expected = ((output + 1) * 127.5).round().to(torch.uint8)
    assert torch.equal(generator.sample(range(16)), expected)


def test_samples_can_be_written_to_and_gradients_reach_the_latents(generator):
    generator.sample([1])[0] = 0
    latents = generator.latents([1]).requires_grad_()
    generator(latents).sum().backward()
    assert latents.grad.abs().sum() > 0


def test_a_network_in_double_precision_is_sampled_as_it_is(generator):
    images = generator.sample(range(4)).int()
    generator.network.double()
    assert (generator.sample(range(4)).int() - images).abs().max() <= 1


def test_neither_autocast_nor_the_global_generator_matters_and_it_is_left_as_it_was(generator):
    images = generator.sample(range(4))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(generator.sample(range(4)), images)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_may_be_numpy_or_torch_integers_up_to_63_bits(generator):
    images = generator.sample([3, 2**63 - 1])
    assert torch.equal(generator.sample(np.array([3, 2**63 - 1])), images)
    assert torch.equal(generator.sample(torch.tensor([3, 2**63 - 1])), images)


@pytest.mark.parametrize("seeds", [5, "0-63", [-1], [2**63], [1.0], [None], ["1"]])
def test_what_is_no_list_of_seeds_is_refused(generator, seeds):
    with pytest.raises(ExportError, match="seed"):
        generator.sample(seeds)


def test_a_wrong_batch_size_device_or_shape_is_refused(generator):
    with pytest.raises(ExportError, match="batch_size=0"):
        generator.sample([1], batch_size=0)
    with pytest.raises(ExportError, match="device cudda cannot be used"):
        generator.to("cudda")
    with pytest.raises(ExportError, match=r"needs \[B, 8\]"):
        generator(torch.zeros(2, 9))


# Classes


def test_without_classes_a_conditional_generator_takes_seed_modulo_classes(conditional):
    images = conditional.sample([0, 4, 8, 3])
    assert torch.equal(images, conditional.sample([0, 4, 8, 3], classes=["frog", "cat", "ship", 0]))


def test_a_class_changes_the_image_and_may_be_a_name_or_number_for_all(conditional):
    cats = conditional.sample(range(3), classes="cat")
    assert torch.equal(cats, conditional.sample(range(3), classes=1))
    assert torch.equal(cats, conditional.sample(range(3), classes="1"))
    assert not torch.equal(cats, conditional.sample(range(3), classes="ship"))


@pytest.mark.parametrize(
    ("classes", "words"),
    [("Frogg", "no class Frogg; nearest: frog"), (3, "no class 3; there are frog, cat, ship, or 0 to 2"),
     (-1, "no class -1"), ("9" * 5000, "no class 9"), (["cat"], "1 classes for 2 seeds")],
)  # fmt: skip
def test_a_wrong_class_names_the_nearest(conditional, classes, words):
    with pytest.raises(ExportError, match=words):
        conditional.sample(range(2), classes=classes)


DIGITS = ("0", "1", "10", "11", "2")  # folders named by numbers, in the order of their text


@pytest.mark.parametrize(
    ("names", "given", "place"),
    [
        (DIGITS, 2, 4), (DIGITS, "2", 4), (DIGITS, 10, 2), (("1", "2", "3"), 1, 0), (("000", "007"), 7, 1),
        (("cat", "dog"), np.int64(1), 1), (("cat", "dog"), torch.tensor(1), 1),
        (("cat", "12", "dog", "x"), "12", 1), (("cat", "12", "dog", "x"), 12, 1), (("cat", "12", "dog", "x"), 3, 3),
        (("cat", "3", "dog", "x"), "3", 1), (("3", "03"), "03", 1), (("a", "b", "2"), 2, 2),
    ],
)  # fmt: skip
def test_a_number_is_a_name_where_names_are_numbers_and_a_place_elsewhere(tmp_path, names, given, place):
    generator = load_generator(export(tmp_path / "named.safetensors", conditional=True, names=names))
    assert generator.labels([0], given).tolist() == [place]


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        (("1", "2", "3"), 0, "there is no class 0; nearest: 1; there are 1, 2, 3$"),
        (("1", "2", "3"), "0", "there is no class 0; nearest: 1"),
        (DIGITS, 3, "there is no class 3; nearest: 2"),
        (("cat", "3", "dog", "x"), 3, "class 3 is ambiguous: it may be 3 or x; give the name as text"),
        (("3", "03"), 3, "class 3 is ambiguous: it may be 3 or 03"),
        (("a", "b"), 1.5, "1.5 is no class; give a class's name or number"),
    ],
)
def test_a_number_that_names_no_class_or_two_is_refused(tmp_path, names, given, words):
    generator = load_generator(export(tmp_path / "named.safetensors", conditional=True, names=names))
    with pytest.raises(ExportError, match=words):
        generator.labels([0], given)


def test_a_class_with_a_comma_in_its_name_is_chosen_in_quotes(tmp_path):
    path = export(tmp_path / "named.safetensors", conditional=True, names=("a,b", "a", "c"))
    options = "--seeds", "0-1", "--out", tmp_path / "x.npz", "--classes"
    cli(path, *options, '"a,b",c')
    assert np.load(tmp_path / "x.npz")["labels"].tolist() == [0, 2]
    with pytest.raises(ExportError, match='there is no class b; there are "a,b", a, c'):
        cli(path, *options, "a,b")
    with pytest.raises(ExportError, match="names no class"):
        cli(path, *options, ",")


def test_an_unconditional_generator_refuses_classes(generator):
    with pytest.raises(ExportError, match="unconditional"):
        generator.sample([1], classes="frog")


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_refused(conditional, label):
    with pytest.raises(ExportError, match=f"label {label} must be 0 to 2"):
        conditional(conditional.latents([0, 1]), torch.tensor([0, label]))


def test_a_conditional_forward_needs_labels(conditional):
    with pytest.raises(ExportError, match="needs labels"):
        conditional(conditional.latents([1]))


# Truncation


@pytest.mark.parametrize("limit", [0.2, 0.7, 1.0, 2.0])
def test_truncated_latents_have_the_moments_of_the_truncated_normal(limit):
    count = 200_000
    normal = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cut = truncate(normal, limit)
    density = math.exp(-(limit**2) / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * limit * density / math.erf(limit / math.sqrt(2))
    assert cut.abs().max() <= limit
    assert abs(cut.mean()) < 4 * math.sqrt(variance / count)
    assert abs(cut.square().mean() / variance - 1) < 4 * math.sqrt(2 / count)


def test_truncation_is_monotone_odd_and_continuous_up_to_no_truncation():
    normal = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    for limit in (1e-3, 0.5, 1.0, 5.0):
        cut = truncate(normal, limit)
        assert (cut.diff() >= 0).all()
        assert torch.equal(cut, -truncate(-normal, limit))
        torch.testing.assert_close(truncate(normal, limit * (1 + 1e-9)), cut, rtol=1e-7, atol=1e-15)
    torch.testing.assert_close(truncate(normal, 50.0), normal, rtol=1e-12, atol=1e-12)


def test_truncation_follows_its_definition(generator):
    normal, cut = generator.latents(range(50)).double(), generator.latents(range(50), truncation=0.7).double()
    phi = torch.special.ndtr
    low, high = phi(torch.tensor([-0.7, 0.7], dtype=torch.float64))
    torch.testing.assert_close(phi(cut), low + phi(normal) * (high - low), rtol=0, atol=1e-6)


@pytest.mark.parametrize("limit", [0, -1, math.nan, math.inf, True, "0.7"])
def test_a_truncation_that_is_no_number_above_zero_is_refused(generator, limit):
    with pytest.raises(ExportError, match=r"truncation=.* must be a number above 0"):
        generator.sample([1], truncation=limit)


def test_a_truncation_may_be_a_number_of_numpy_s_or_a_tensor_s(generator):
    wanted = generator.sample([1], truncation=0.5)
    for limit in (np.float32(0.5), torch.tensor(0.5)):
        assert torch.equal(generator.sample([1], truncation=limit), wanted)


def test_untruncated_latents_are_standard_normal(generator):
    latents = generator.latents(range(5000))
    assert abs(latents.mean()) < 4 / math.sqrt(latents.numel())
    assert abs(latents.var() - 1) < 4 * math.sqrt(2 / latents.numel())


# The command line


def cli(*arguments):
    parser = argparse.ArgumentParser()
    sample.add_arguments(parser)
    return sample.run(parser.parse_args([str(argument) for argument in arguments]))


def test_seed_lists_are_numbers_and_ranges():
    assert sample.parse_seeds("0-3, 7,5-5,100-101") == [0, 1, 2, 3, 7, 5, 100, 101]


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "''"), ("1,,2", "''"), ("0-3,x", "'x'"), ("1-2-3", "'1-2-3'"), ("-5", "'-5'"), ("3-1", "use 1-3"),
     ("1.5", "'1.5'"), ("0-1000000", "1,000,001 seeds"), (f"{2**63}", "largest seed"), ("9" * 99, "9")],
)  # fmt: skip
def test_a_wrong_seed_list_names_the_wrong_part(text, words):
    with pytest.raises(ExportError, match=words):
        sample.parse_seeds(text)


def test_a_png_is_a_grid(path, tmp_path, capsys):
    out = tmp_path / "new" / "grid.png"
    assert cli(path, "--seeds", "0-5", "--out", out, "--columns", 3, "--device", "cpu") == 0
    with Image.open(out) as image:
        assert image.size == (3 * (64 + PAD) + PAD, 2 * (64 + PAD) + PAD)
    assert capsys.readouterr().out == f"6 images of 8x8: {out}\n"


@pytest.mark.parametrize(
    ("options", "columns", "words"),
    [
        ("--seeds 0-8", 3, "columns: frog, cat, ship\n"),
        ("--seeds 4-9 --columns 3", 3, "columns: cat, ship, frog\n"),
        ("--seeds 0-3 --classes ship,cat", 2, "columns: ship, cat\n"),
        ("--seeds 0-8 --columns 4", 4, ""),
        ("--seeds 0-8 --mix cat,ship,0.5", 3, ""),
    ],
)
def test_the_columns_of_a_grid_have_a_class_each_where_they_can_and_it_is_told(
    tmp_path, capsys, options, columns, words
):
    out = tmp_path / "grid.png"
    assert cli(export(tmp_path / "g.safetensors", True), *options.split(), "--out", out, "--device", "cpu") == 0
    with Image.open(out) as image:
        assert image.width == columns * (64 + PAD) + PAD
    told = capsys.readouterr().out
    assert told.startswith(words)
    assert ("columns: " in told) == bool(words)


def test_a_directory_gets_one_png_per_seed_with_the_images_of_the_library(path, generator, tmp_path):
    cli(path, "--seeds", "7,63-64", "--out", tmp_path / "images", "--batch-size", "2")
    files = sorted((tmp_path / "images").iterdir())
    assert [file.name for file in files] == ["seed-000000007.png", "seed-000000063.png", "seed-000000064.png"]
    stored = torch.stack([torch.from_numpy(np.array(Image.open(file))) for file in files]).permute(0, 3, 1, 2)
    assert torch.equal(stored, generator.sample([7, 63, 64], batch_size=2))


def test_an_npz_holds_images_seeds_and_labels_and_is_the_same_bytes_every_time(conditional, tmp_path):
    for name in ("a.npz", "b.NPZ"):
        cli(tmp_path / "conditional.safetensors", "--seeds", "0-19", "--out", tmp_path / name, "--classes", "ship,cat")
    with np.load(tmp_path / "a.npz") as arrays:
        assert {name: (arrays[name].dtype.name, arrays[name].shape) for name in arrays} == {
            "images": ("uint8", (20, 8, 8, 3)),
            "seeds": ("int64", (20,)),
            "labels": ("int64", (20,)),
        }
        assert arrays["labels"].tolist() == [2, 1] * 10
        images = conditional.sample(range(20), classes=["ship", "cat"] * 10)
        assert np.array_equal(arrays["images"], images.permute(0, 2, 3, 1).numpy())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.NPZ").read_bytes()
    assert zipfile.is_zipfile(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").stat().st_mode & 0o777 == 0o644


def test_labels_of_an_unconditional_generator_are_minus_one(path, tmp_path):
    cli(path, "--seeds", "0-1", "--out", tmp_path / "a.npz", "--truncation", "0.5")
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["labels"].tolist() == [-1, -1]
        images = load_generator(path).sample(range(2), truncation=0.5)
        assert np.array_equal(arrays["images"], images.permute(0, 2, 3, 1).numpy())


def test_a_chosen_class_does_not_depend_on_the_order_of_the_seeds():
    assert classes_of([0, 1, 2], ["frog", "cat"]) == ["frog", "cat", "frog"]
    assert classes_of([1, 2, 0], ["frog", "cat"]) == ["cat", "frog", "frog"]


def test_a_run_or_hub_directory_stands_for_the_file_inside(path, tmp_path):
    load_generator(path).save_pretrained(tmp_path / "hub")
    for directory in (tmp_path, tmp_path / "hub"):
        assert cli(directory, "--seeds", "1", "--out", tmp_path / "grid.png") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "grid.jpg"], r"grid\.jpg ends in \.jpg; use a grid NAME\.png, a file NAME\.npz, or a directory"),
        (["--out", "images", "--columns", "4"], "--columns=4 goes with a grid"),
        (["--out", "grid.png", "--columns", "0"], "--columns=0 must be"),
        (["--out", "grid.png", "--batch-size", "x"], "--batch-size=x must be"),
        (["--out", "grid.png", "--batch-size", "20000"], "--batch-size=20000 must be a whole number from 1 to 1,024"),
        (["--out", "grid.png", "--seeds", ""], "--seeds is empty; give it a value, or leave it out"),
        (["--out", "grid.png", "--grid-classes", "--walk", ""], "--walk is empty"),
        (["--out", "grid.png", "--device", "meta"], "device meta cannot be used on this machine"),
        (["--out", "grid.png", "--classes", "cat"], "unconditional"),
        (["--out", "grid.png", "--device", "tpu9"], "device tpu9"),
        (["--out", "grid.png", "--seeds", "0-10000"], "a grid holds up to 10,000"),
        (["--out", "generator.safetensors/grid.png"], "cannot be written: "),
        (["--out", "taken.png"], "is a directory"),
        (["--out", "taken"], "is a file, not a directory"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_writes_nothing(path, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.png").mkdir()
    (tmp_path / "taken").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ExportError, match=words) as caught:
        cli(path, *arguments)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_misspelt_class_is_told_before_any_image_is_made(conditional, tmp_path):
    with pytest.raises(ExportError, match="no class catt; nearest: cat"):
        cli(tmp_path / "conditional.safetensors", "--out", tmp_path / "x.png", "--classes", "frog,catt")


@pytest.mark.needs("gpu")
def test_a_gpu_gives_the_images_of_the_cpu_to_one_grey_level(path):
    images = load_generator(path, "cuda").sample(range(40))
    assert (images.int() - load_generator(path).sample(range(40)).int()).abs().max() <= 1
    order = random.Random(0).sample(range(40), 40)
    assert torch.equal(load_generator(path, "cuda").sample(order), images[order])


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_the_first_gpu_also_one_of_apple_s_or_the_cpu(cuda, mps, expected, monkeypatch):
    tried: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch, "zeros", lambda *_, device: tried.append(device) or torch.ones(1))
    assert find_device("auto") == torch.device(expected)
    assert tried == [expected]
