"""The evaluator and `distgan evaluate`: exact counts, the floor, the cache, what may be compared, and mistakes."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from webdataset import ShardWriter

from distgan.cli import evaluate
from distgan.cli.evaluate import to_option_names
from distgan.cli.main import main
from distgan.config.load import load_config
from distgan.config.networks import SeedGenerator
from distgan.config.schema import DataConfig, EvaluateConfig
from distgan.data import reference
from distgan.data.bad_samples import SkipBudget
from distgan.data.prepare import Request, prepare
from distgan.data.reference import fitted
from distgan.data.resident import load_images
from distgan.data.shards.manifest import load_manifest
from distgan.data.sources.shapes import CLASSES, Shapes, render, truth
from distgan.inference.generator import load_generator
from distgan.inference.generator_file import Description, save_generator
from distgan.metrics import cache
from distgan.metrics import evaluator as evaluator_module
from distgan.metrics.distances import Comparison, compare_sets
from distgan.metrics.evaluate import process_device, reference_data
from distgan.metrics.evaluator import Evaluator, check, requested
from distgan.metrics.extractors.base import Extractor
from distgan.metrics.extractors.inception import STANDARD_SHA256
from distgan.metrics.manifold import estimate_manifold
from distgan.metrics.protocol import load_scores
from distgan.metrics.registry import BUILT_IN
from distgan.networks import build_generator
from distgan.utils.errors import ConfigError, DataError, QualityError
from distgan.utils.system import usable_cores
from tests.support.processes import run
from tests.unit.metrics.test_classifier_file import write

CPU = torch.device("cpu")
FEW = EvaluateConfig(count=20, reference_count=40)


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def never_the_user_s_cache(shared_cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache.cache_directory()


def export(path: Path, size: int = 32, conditional: bool = False, data: str = "data/gone", channels: int = 3) -> Path:
    config = SeedGenerator(latent_dim=8, stem_channels=4, width=16, depth=1, conditional=conditional)
    description = Description(
        generator=config,
        size=size,
        channels=channels,
        class_names=CLASSES,
        config={"data": {"path": data}},
        images_seen=100,
        data_digest="d" * 64,
    )
    torch.manual_seed(0)
    weights = build_generator(config, size, len(CLASSES), channels=channels).state_dict()
    save_generator(path, {name: 2 * tensor for name, tensor in weights.items()}, description)
    return path


@pytest.fixture
def path(tmp_path):
    return export(tmp_path / "generator.safetensors")


def evaluator(shapes: Path, config: EvaluateConfig = FEW) -> Evaluator:
    return Evaluator(config, DataConfig(path=shapes), CPU, show=False)


# The evaluator


def test_scores_tell_what_they_are_worth_by_which_protocol(shapes, path):
    scores = evaluator(shapes).evaluate(load_generator(path))
    names = {
        f"{value}_efficientnet_lite0" for value in ("fd", "kd", "is", "precision", "recall", "density", "coverage")
    }
    shape_names = {f"shapes_{value}" for value in ("recognised", "sharp", "classes", "colours", "places", "balance")}
    assert scores.values.keys() == scores.real_values.keys() == names | shape_names
    assert scores.spreads.keys() == {"kd_efficientnet_lite0", "is_efficientnet_lite0"}
    assert scores.real_values["fd_efficientnet_lite0"] < scores.values["fd_efficientnet_lite0"] / 2
    assert scores.real_values["shapes_recognised"] > 0.95
    assert scores.values["shapes_recognised"] < 0.05
    assert (scores.images_seen, scores.weights) == (100, "ema")
    protocol = scores.protocol
    assert (protocol.count, protocol.seeds, protocol.reference_count, protocol.resize) == (20, "0-19", 40, 112)
    assert protocol.reference_digest == load_manifest(shapes).digest
    assert (protocol.reference_split, protocol.reference_classes) == ("train", CLASSES)


def test_the_values_are_those_of_exactly_the_images_of_the_seeds(shapes, path):
    """By the plain way: all images at once, no batches, no ranks."""
    generator = load_generator(path)
    judge = evaluator(shapes)
    found = judge.evaluate(generator).values
    _, wanted = reference.open_data(DataConfig(path=shapes))
    places = reference.choose(300, range(40))
    reals = torch.cat(list(reference.read_images(wanted, places.sort().values, range(40), 40)))[
        places.argsort().argsort()
    ]
    extract = judge._extractor
    features, logits = extract(generator.sample(range(20)))
    real, fake = estimate_manifold(extract(reals)[0]), estimate_manifold(features)
    expected = compare_sets(Comparison(real, fake, logits, reals[:0]), BUILT_IN)
    for name, value in expected.values.items():
        assert found[f"{name}_efficientnet_lite0"] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_images_of_truncated_latents_are_scored_against_the_same_real_images(shapes, path):
    generator, judge = load_generator(path), evaluator(shapes)
    plain, truncated = judge.evaluate(generator), judge.evaluate(generator, 0.5)
    images = generator.sample(range(20), truncation=0.5)
    expected, _ = judge.values_of(lambda seeds, batch: images[seeds.start : seeds.stop].split(batch), "images")
    assert truncated.values == pytest.approx(expected)
    assert truncated.values["fd_efficientnet_lite0"] != plain.values["fd_efficientnet_lite0"]
    assert truncated.real_values == plain.real_values
    assert (plain.protocol.truncation, truncated.protocol.truncation) == (None, 0.5)


def test_the_floor_is_made_of_images_that_are_not_in_the_reference(shapes, monkeypatch, empty_cache):
    looked = []
    choose = reference.choose
    monkeypatch.setattr(reference, "choose", lambda total, rows: looked.append(rows) or choose(total, rows))
    evaluator(shapes).prepare()
    assert looked == [range(40), range(40, 60)]


def test_without_enough_other_images_there_is_no_floor(shapes, path):
    few = DataConfig(path=shapes, classes=("heart", "star"))  # 60 images
    exactly = Evaluator(FEW, few, CPU, show=False)
    assert exactly.prepare().keys() >= {"fd_efficientnet_lite0"}
    one_short = Evaluator(FEW.model_copy(update={"reference_count": 41}), few, CPU, show=False)
    assert one_short.evaluate(load_generator(path)).real_values == {}


def test_a_second_evaluator_looks_at_no_real_image_and_says_the_same(shapes, path, monkeypatch, empty_cache):
    generator = load_generator(path)
    first = evaluator(shapes).evaluate(generator)
    counts = []
    see = Extractor.__call__
    monkeypatch.setattr(Extractor, "__call__", lambda self, images: counts.append(len(images)) or see(self, images))
    assert evaluator(shapes).evaluate(generator) == first
    assert sum(counts) == 20


def test_a_damaged_cache_is_computed_again_and_mended(shapes, path, capsys, empty_cache):
    generator = load_generator(path)
    first = evaluator(shapes).evaluate(generator)
    files = list(empty_cache.iterdir())
    assert len(files) == 2, "the reference and the floor"
    for file in files:
        file.write_bytes(file.read_bytes()[:1000])
    assert evaluator(shapes).evaluate(generator) == first
    assert capsys.readouterr().err.count("is damaged or belongs to another key") == 2
    assert evaluator(shapes).evaluate(generator) == first
    assert capsys.readouterr().err == ""


def test_another_count_shares_the_reference_but_not_the_floor(shapes, empty_cache):
    evaluator(shapes).prepare()
    evaluator(shapes, EvaluateConfig(count=25, reference_count=40)).prepare()
    assert len(list(empty_cache.iterdir())) == 3


def test_without_an_extractor_only_the_shapes_are_looked_at(shapes, path):
    judge = evaluator(shapes, EvaluateConfig(extractor="none", count=40))
    scores = judge.evaluate(load_generator(path))
    assert {name.split("_")[0] for name in scores.values} == {"shapes"}
    assert scores.real_values["shapes_recognised"] > 0.95
    assert (scores.protocol.reference_count, scores.protocol.extractor_digest) == (None, None)


def test_a_conditional_generator_is_asked_for_each_class_in_turn(shapes, tmp_path, monkeypatch, empty_cache):
    asked = []
    monkeypatch.setattr(
        evaluator_module, "coverage", lambda images, labels: asked.append(labels) or {"shapes_recognised": 1.0}
    )
    generator = load_generator(export(tmp_path / "c.safetensors", conditional=True))
    evaluator(shapes, EvaluateConfig(extractor="none", count=40)).evaluate(generator)
    assert asked[0] is None, "the floor is not asked for anything"
    assert asked[1].tolist() == [seed % 10 for seed in range(40)]


def test_classes_are_asked_for_as_often_as_the_real_images_have_them(shapes, tmp_path, empty_cache):
    generator = load_generator(export(tmp_path / "c.safetensors", conditional=True))
    star, heart = CLASSES.index("star"), CLASSES.index("heart")
    asked = requested(generator, 1000, {"star": 900, "heart": 100})
    found = asked.labels.bincount(minlength=10)
    assert abs(found[star] - 900) <= 2
    assert found[star] + found[heart] == 1000
    uneven = tmp_path / "uneven"
    prepare(Request(out=uneven, source=Shapes(count=305)), progress=False)
    config = EvaluateConfig(extractor="none", count=40)
    protocol = evaluator(uneven, config).evaluate(generator).protocol
    assert protocol.class_counts == (31,) * 5 + (30,) * 5
    assert "class_counts" not in evaluator(shapes, config).protocol.model_dump(), "where all are equally many"


def test_images_in_memory_are_judged_like_a_generator_s(shapes, path):
    generator, judge = load_generator(path), evaluator(shapes)
    images = generator.sample(range(20))
    values, _ = judge.values_of(lambda rows, batch: images[rows.start : rows.stop].split(batch), "images")
    assert values == judge.evaluate(generator).values


def test_a_data_set_of_another_size_is_refused(shapes, tmp_path):
    small = load_generator(export(tmp_path / "small.safetensors", size=16))
    with pytest.raises(QualityError, match="makes images of 16x16, the reference has 32x32"):
        evaluator(shapes).evaluate(small)


def test_a_small_reference_is_taken_as_a_whole_where_no_number_is_asked_for(shapes):
    assert evaluator(shapes, EvaluateConfig(count=20)).protocol.reference_count == 300


def test_more_images_than_the_reference_has_are_refused_before_anything_is_read(shapes):
    with pytest.raises(QualityError, match="evaluate.reference_count=400 must be 20 to 300, .*; nearest valid: 300"):
        evaluator(shapes, EvaluateConfig(count=40, reference_count=400))


def test_a_reference_that_is_too_small_for_every_count_is_not_answered_with_a_count():
    with pytest.raises(
        QualityError, match="the reference has 5 images, and scores need 20 or more; choose a larger"
    ) as no:
        check(EvaluateConfig(), 5, False)
    assert "nearest" not in str(no.value)


@pytest.mark.parametrize("key", ["count", "reference_count"])
def test_fewer_than_twenty_images_are_refused_by_the_configuration(key):
    with pytest.raises(ConfigError, match=f"evaluate.{key}=19 must be .*greater than or equal to 20; nearest.*: 20"):
        load_config("quickstart", [f"evaluate.{key}=19"])


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    """100 gray shapes."""
    out = tmp_path_factory.mktemp("data") / "gray"
    prepare(Request(out, Shapes(100, channels="gray")), progress=False)
    return out


def test_an_extractor_sees_a_gray_image_as_rgb_with_three_equal_channels(gray, tmp_path):
    judge = evaluator(gray)
    generator = load_generator(export(tmp_path / "gray.safetensors", channels=1))
    scores = judge.evaluate(generator)
    assert scores.protocol.channels == 1
    assert not any(name.startswith("shapes_") for name in scores.values)
    images = generator.sample(range(20), batch_size=20)
    features = [judge._extractor(each)[0] for each in (images, images.repeat(1, 3, 1, 1))]
    assert torch.equal(*features)
    assert scores.real_values["fd_efficientnet_lite0"] < scores.values["fd_efficientnet_lite0"] / 2


def test_gray_images_are_compared_with_gray_ones_only(gray, shapes, path, tmp_path):
    with pytest.raises(QualityError, match="the generator makes RGB images, the reference has gray ones; compare with"):
        evaluator(gray).evaluate(load_generator(path))
    coloured = load_generator(export(tmp_path / "gray.safetensors", channels=1))
    with pytest.raises(QualityError, match="makes gray images, the reference has RGB ones; .* of gray images"):
        evaluator(shapes).evaluate(coloured)
    with pytest.raises(QualityError, match="for the embedded shapes in colour only"):
        evaluator(gray, EvaluateConfig(extractor="none"))


def test_shapes_of_64_pixels_are_scored_without_a_network(tmp_path):
    prepare(Request(tmp_path / "shapes", Shapes(100, size=64)), progress=False)
    judge = evaluator(tmp_path / "shapes", EvaluateConfig(extractor="none", count=20))
    assert judge.prepare()["shapes_recognised"] == 1.0
    generator = load_generator(export(tmp_path / "generator.safetensors", size=64))
    assert judge.evaluate(generator).values["shapes_recognised"] < 0.1


def test_none_needs_shapes(shapes, tmp_path):
    for file in shapes.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    manifest = load_manifest(shapes).model_copy(update={"source": "folder"})
    manifest.save(tmp_path)
    with pytest.raises(QualityError, match="extractor=none is for the embedded shapes in colour only"):
        evaluator(tmp_path, EvaluateConfig(extractor="none"))


def test_missing_images_are_told_at_once(tmp_path):
    with pytest.raises(DataError, match="is empty, so it is no data set"):
        evaluator(tmp_path)


def test_another_reference_may_be_named(shapes, tmp_path):
    Evaluator(FEW.model_copy(update={"reference": shapes}), DataConfig(path=tmp_path), CPU, show=False)


def test_a_prepared_reference_is_not_read_as_the_shards_of_another_maker_that_are_trained_on(shapes, tmp_path):
    foreign = DataConfig(path=tmp_path, label="json:class", size=64, channels="gray", fit="pad")
    assert Evaluator(FEW.model_copy(update={"reference": shapes}), foreign, CPU, show=False).form[:2] == (32, 3)


@pytest.mark.parametrize(("device", "threads"), [("cpu", 1), ("cuda", usable_cores())])
def test_the_main_process_uses_all_cores_for_its_sums_where_the_gpus_wait(shapes, device, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        none = FEW.model_copy(update={"extractor": "none"})
        made = Evaluator(none, DataConfig(path=shapes), torch.device(device), show=False)
        assert made._on_main(torch.get_num_threads) == threads
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


# The command


def command(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    few = ("--count", "20", "--reference-count", "40", "--device", "cpu")
    return evaluate.run(parser.parse_args([*few, *map(str, arguments)]))


def test_the_command_prints_a_table_and_writes_the_scores(shapes, path, tmp_path, capsys):
    assert command(path, "--data", shapes, "--out", tmp_path / "scores.json") == 0
    lines = capsys.readouterr().out.splitlines()
    scores = load_scores(tmp_path / "scores.json")
    assert lines[0].split() == ["value", "generator", "spread", "real", "better"]
    (line,) = (line.split() for line in lines if line.startswith("fd_"))
    value, floor = (values["fd_efficientnet_lite0"] for values in (scores.values, scores.real_values))
    assert line == ["fd_efficientnet_lite0", f"{value:.4g}", "-", f"{floor:.4g}", "lower"]
    assert any("20 generated (seeds 0-19) against 40 real images" in line for line in lines)


def test_scores_against_earlier_ones_show_the_change(shapes, path, tmp_path, capsys):
    command(path, "--data", shapes, "--out", tmp_path / "scores.json")
    content = json.loads((tmp_path / "scores.json").read_text())
    content["values"]["fd_efficientnet_lite0"] += 10
    (tmp_path / "scores.json").write_text(json.dumps(content))
    capsys.readouterr()
    assert command(path, "--data", shapes, "--against", tmp_path / "scores.json") == 0
    changes = {line.split()[0]: line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:] if "er  " in line}
    assert changes.pop("fd_efficientnet_lite0") == "-10"
    assert set(changes.values()) == {"+0"}


def test_scores_of_another_protocol_are_refused_before_the_work(shapes, path, tmp_path, monkeypatch):
    command(path, "--data", shapes, "--out", tmp_path / "scores.json")
    monkeypatch.setattr(Evaluator, "evaluate", None)
    with pytest.raises(QualityError, match="the scores cannot be compared: count 20 against 30"):
        command(path, "--data", shapes, "--count", "30", "--against", tmp_path / "scores.json")


def test_a_run_s_directory_stands_for_its_generator_and_its_training_data(shapes, tmp_path):
    directory = tmp_path / "run"
    export(directory / "generator.safetensors", data=str(shapes))
    assert command(directory, "--extractor", "none", "--out", tmp_path / "scores.json") == 0
    assert load_scores(tmp_path / "scores.json").protocol.reference_digest == load_manifest(shapes).digest


@pytest.mark.parametrize("place", ["data/gone", "https://example.org/shapes", "\x1b[2J"])
def test_training_data_that_are_not_here_must_be_named_and_a_file_s_url_is_not_followed(tmp_path, place):
    export(tmp_path / "g.safetensors", data=place)
    with pytest.raises(
        QualityError, match="is not a data set on this machine; name the real images with --data"
    ) as error:
        command(tmp_path / "g.safetensors")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--count", "0"), "--count=0 must be greater than or equal to 20; nearest valid: 20"),
        (("--count", "many"), "--count=many must be a valid integer"),
        (("--reference-count", "1.5"), "--reference-count=1.5 must be "),
        (("--data", "ftp://host/x"), "--data: .*ftp:// cannot be read; use a directory"),
    ],
)
def test_mistakes_are_told_by_the_option_s_name(path, arguments, sentence):
    with pytest.raises(ConfigError, match=sentence):
        command(path, *arguments)


def test_the_command_truncates_and_says_so(shapes, path, capsys):
    assert command(path, "--data", shapes, "--extractor", "none", "--truncation", 0.5) == 0
    assert "20 generated (seeds 0-19, truncation 0.5)" in capsys.readouterr().out


def test_an_unwritable_out_is_told(shapes, path, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(QualityError, match="cannot be written"):
        command(path, "--data", shapes, "--extractor", "none", "--out", tmp_path / "file" / "scores.json")


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("g.json", r"--out .*g\.json would replace another file: .* holds no scores"),
        ("manifest.json", r"manifest\.json would replace another file: .* holds no scores"),
        ("scores.txt", r"scores\.txt must end in \.json; nearest: .*scores\.json"),
    ],
)
def test_scores_replace_no_other_file_which_is_told_before_the_work(shapes, path, tmp_path, monkeypatch, out, sentence):
    monkeypatch.setattr(Evaluator, "evaluate", None)
    shutil.copy(path, tmp_path / "g.json")
    shutil.copy(shapes / "manifest.json", tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    with pytest.raises(QualityError, match=sentence):
        command(path, "--data", shapes, "--extractor", "none", "--out", tmp_path / out)
    assert before == {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}


def test_the_command_needs_no_accelerate_and_no_optional_package(shapes, path, tmp_path):
    script = (
        "import sys; sys.modules.update(dict.fromkeys(('accelerate', 'efficientnet_lite_pytorch', 'torch_fidelity')));"
        "import argparse; from distgan.cli import evaluate as c; p = argparse.ArgumentParser(); c.add_arguments(p);"
        f"c.run(p.parse_args([{str(path)!r}, '--extractor', 'none', '--count', '20', '--data', {str(shapes)!r}]))"
    )
    code, output = run([sys.executable, "-c", script], XDG_CACHE_HOME=str(tmp_path))
    assert code == 0, output


def test_scores_by_other_weights_than_torch_fidelity_s_say_so(shapes):
    by_standard = evaluator(shapes).protocol.model_copy(
        update={
            "extractor": "inception",
            "extractor_digest": STANDARD_SHA256 + "0" * 56,
        }
    )
    by_others = by_standard.model_copy(update={"extractor_digest": "0" * 64})
    assert "not comparable" not in evaluate.describe(by_standard)
    assert "not comparable with FID of other programs" in evaluate.describe(by_others)


def test_data_without_the_generator_s_classes_are_taken_as_a_whole(shapes, tmp_path):
    generator = load_generator(export(tmp_path / "g.safetensors"))
    assert reference_data(generator, "g", str(shapes)).classes == CLASSES
    generator.class_names = ("frog",)
    assert reference_data(generator, "g", str(shapes)).classes is None


@pytest.mark.parametrize("named", ["", "/x-{000..001}.tar"])
def test_shards_of_another_maker_are_compared_as_they_were_trained_on(tmp_path, monkeypatch, named):
    """64x64 JPEGs in colour, to which a gray generator of 32x32 is compared: recorded, and named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shards").mkdir()
    with ShardWriter("shards/x-%03d.tar", maxcount=30, verbose=0) as writer:
        for number, pixels in enumerate(render(truth(0, "train", range(60)), size=64)):
            writer.write({"__key__": f"{number:03d}", "jpg": pixels, "cls": number % 10})
    trained = {"path": f"shards{named}", "size": 32, "channels": "gray", "label": "none", "fit": "crop"}
    generator = load_generator(export(tmp_path / "g.safetensors", channels=1))
    generator.description.config["data"] = trained
    generator.class_names = ()
    data = reference_data(generator, "g", None)
    assert (data.size, data.channels, data.label) == (32, "gray", "none")
    assert Evaluator(FEW, data, CPU, show=False).evaluate(generator).protocol.channels == 1
    given = fitted(DataConfig(path=f"shards{named}"), 32, 1)
    assert reference_data(generator, "g", f"shards{named}") == given
    assert (given.size, given.channels) == (32, "gray")
    assert Evaluator(FEW, given, CPU, show=False).form[:2] == (32, 1)


@pytest.mark.parametrize(
    "forged",
    [{"path": "shards/{0..1.tar"}, {"path": "shards", "size": -1}, {"path": "\0"}, {"path": ["shards"]}, "shards"],
)
def test_a_forged_record_of_the_training_data_is_told_in_a_sentence(tmp_path, monkeypatch, forged):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "x.tar").touch()
    generator = load_generator(export(tmp_path / "g.safetensors"))
    generator.description.config["data"] = forged
    with pytest.raises(QualityError, match="which is not a data set on this machine"):
        reference_data(generator, "g", None)


def test_a_world_size_without_a_launcher_is_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with process_device("cpu") as device:
        assert device == CPU


def test_mistakes_are_named_by_the_options():
    text = "evaluate.reference_count=5 must be 20 to 300; evaluate.weights=x goes with inception"
    assert to_option_names(text) == "--reference-count=5 must be 20 to 300; --weights-file=x goes with inception"


# A judge that knows the classes


@pytest.fixture
def judged(tmp_path) -> EvaluateConfig:
    """By a classifier of the shapes that has learned nothing."""
    weights = write(tmp_path / "judge.safetensors", class_names=CLASSES)
    return EvaluateConfig(extractor="classifier", weights=weights, count=20, reference_count=40)


def test_a_classifier_of_the_reference_s_classes_adds_its_own_scores(shapes, tmp_path, judged):
    judge = evaluator(shapes, judged)
    for conditional in (True, False):
        generator = load_generator(export(tmp_path / "g.safetensors", conditional=conditional))
        scores = judge.evaluate(generator)
        assert set(scores.values) == set(judge.names(generator))
        assert ("class_accuracy_classifier" in scores.values) == conditional
        assert {"fd_classifier", "classes_classifier", "memorised_classifier"} <= set(scores.values)
        assert {"class_accuracy_classifier", "memorised_classifier"} <= set(scores.real_values)
    assert {scores.better(f"{name}_classifier") for name in ("class_accuracy", "classes")} == {"higher"}
    assert scores.better("memorised_classifier") == "lower"


def test_images_are_asked_for_the_classes_of_their_seeds_and_real_ones_for_their_own(shapes, tmp_path, judged):
    """The logits are those of the classes in another order than the reference's."""
    order = tuple(reversed(CLASSES))
    write(judged.weights, class_names=order)
    judge = evaluator(shapes, judged)
    asked: list[list[str]] = []

    def remember(comparison: Comparison) -> float:
        asked.append([order[number] for number in comparison.asked])
        return 0.5

    judge._metrics = {"class_accuracy": remember}
    judge.evaluate(load_generator(export(tmp_path / "g.safetensors", conditional=True)))
    _, selection = reference.open_data(DataConfig(path=shapes))
    _, labels = load_images(selection, SkipBudget(0), progress=False)
    places = reference.choose(300, range(40, 60))
    assert asked == [[CLASSES[label] for label in labels[places]], [CLASSES[seed % 10] for seed in range(20)]]


def test_a_generator_of_other_classes_has_no_accuracy(shapes, tmp_path, judged):
    generator = load_generator(export(tmp_path / "g.safetensors", conditional=True))
    judge = evaluator(shapes, judged)
    judge.prepare()
    generator.class_names = tuple(f"other {name}" for name in CLASSES)
    assert "class_accuracy_classifier" not in judge.names(generator)
    assert "class_accuracy_classifier" not in judge.evaluate(generator).values


def test_a_reference_of_other_classes_or_channels_is_refused(shapes, gray, judged):
    with pytest.raises(
        QualityError, match=r"does not know the class arrow of the real images \(it knows airplane,.*evaluate.weights"
    ):
        evaluator(shapes, judged.model_copy(update={"weights": None}))
    with pytest.raises(QualityError, match="was trained on RGB images, the reference has gray ones; make another with"):
        evaluator(gray, judged)
    some = DataConfig(path=shapes, classes=("heart", "star"))
    assert "class_accuracy_classifier" in Evaluator(judged, some, CPU, show=False).prepare()


def test_the_command_calls_the_weights_by_its_own_option(shapes, path, capsys):
    arguments = ["evaluate", str(path), "--data", str(shapes), "--extractor", "classifier", "--reference-count", "100"]
    assert main([*arguments, "--count", "20"]) == 2
    assert "name it as --weights-file" in capsys.readouterr().err
