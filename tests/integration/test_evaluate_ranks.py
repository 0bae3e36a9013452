"""Two processes, and three, find what one finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from distgan.metrics.protocol import Scores, load_scores
from tests.support import warm
from tests.support.workers import evaluation

pytestmark = pytest.mark.slow


def evaluate(generator: Path, data: Path, out: Path, processes: int, count: int) -> list[Scores]:
    cache = str(out.parent / f"cache-{processes}-{count}")
    code, output = warm.run(evaluation.evaluate, generator, data, out, count, processes=processes, XDG_CACHE_HOME=cache)
    assert code == 0, output
    return [load_scores(Path(f"{out}.{rank}")) for rank in range(processes)]


@pytest.fixture(scope="module")
def generator(tmp_path_factory) -> Path:
    from tests.unit.metrics.test_evaluator import export

    return export(tmp_path_factory.mktemp("generator") / "generator.safetensors", conditional=True)


@pytest.mark.parametrize(("processes", "count"), [(2, 50), (3, 50), (3, 20)])
def test_any_number_of_processes_finds_what_one_finds(generator, shapes, tmp_path, processes, count):
    """20 images are two batches: one of three ranks has no share."""
    (one,) = evaluate(generator, shapes, tmp_path / "one", 1, count)
    ranks = evaluate(generator, shapes, tmp_path / "many", processes, count)
    for scores in ranks:
        assert scores == ranks[0], "all ranks hold the same scores"
    assert ranks[0].protocol == one.protocol
    for part in ("values", "real_values", "spreads"):
        ours, theirs = getattr(ranks[0], part), getattr(one, part)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=1e-6, abs=1e-12), name


def test_the_command_shares_the_work_under_a_launcher_and_speaks_once(generator, shapes, tmp_path):
    out = tmp_path / "s.json"
    options = {"--data": shapes, "--count": 40, "--reference-count": 100, "--device": "cpu", "--out": out}
    arguments = [str(generator), *(str(word) for pair in options.items() for word in pair)]
    code, output = warm.run(evaluation.call_the_command, arguments, processes=2, XDG_CACHE_HOME=str(tmp_path))
    assert code == 0, output
    assert output.count("fd_efficientnet_lite0") == 1
    assert load_scores(out).protocol.count == 40


def test_a_mistake_on_the_main_process_ends_all():
    code, output = warm.run(evaluation.fail_on_main, processes=2)
    assert code == 0, output
    assert output.count("told no") == 2
