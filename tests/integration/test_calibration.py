"""Known damage, in the order of its strength: the benchmark's own table, small, on the embedded shapes."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.quality import calibration
from distgan.config.schema import EvaluateConfig
from distgan.data.prepare import Request, prepare
from distgan.data.sources.shapes import Shapes

ORDERS = (  # each is worse than the one before
    ("held out", "blur 0.4 px", "blur 0.6 px", "blur 1.0 px"),
    ("held out", "noise 4/255", "noise 8/255", "noise 16/255"),
    ("held out", "JPEG quality 50", "JPEG quality 20"),
    ("held out", "1 class missing", "5 classes missing"),
    ("held out", "each 10 times"),
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict[str, dict[str, float]]:
    root = tmp_path_factory.mktemp("calibration")
    prepare(Request(out=root / "train", source=Shapes(count=1000)), progress=False)
    prepare(Request(out=root / "test", source=Shapes(count=600), split="test"), progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root))
        return dict(calibration.measure(EvaluateConfig(count=300, reference_count=600), root / "train", root / "test"))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["fd_efficientnet_lite0", "kd_efficientnet_lite0"])
def test_the_distances_rise_with_the_damage(table, order, name):
    for weaker, stronger in pairwise(order):
        assert table[weaker][name] < table[stronger][name], (weaker, stronger)


def test_other_real_images_are_nearer_than_any_damaged_ones(table):
    for name in ("fd_efficientnet_lite0", "kd_efficientnet_lite0"):
        best = min(table[kind][name] for order in ORDERS for kind in order[1:])
        assert max(table["held out"][name], table["other real train"][name]) < best


def test_copies_of_the_reference_are_nearer_than_any_other_images(table):
    for name in ("fd_efficientnet_lite0", "kd_efficientnet_lite0"):
        assert table["copies of the reference"][name] < min(table["held out"][name], table["other real train"][name])
    assert table["copies of the reference"]["precision_efficientnet_lite0"] == 1


def test_what_is_missing_costs_recall_and_coverage_and_copies_leave_no_recall(table):
    recall, coverage = "recall_efficientnet_lite0", "coverage_efficientnet_lite0"
    assert table["5 classes missing"][recall] < table["1 class missing"][recall] < table["held out"][recall]
    assert table["5 classes missing"][coverage] < table["1 class missing"][coverage] < table["held out"][coverage]
    assert table["each 10 times"][recall] == 0
    assert table["each 10 times"][coverage] < table["held out"][coverage] / 2


def test_missing_classes_are_counted(table):
    counts = {kind: values["shapes_classes"] for kind, values in table.items()}
    assert (counts["held out"], counts["1 class missing"], counts["5 classes missing"]) == (10, 9, 5)
