"""Two processes, and three, find what one finds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from processes import TORCHRUN, run

from distgan.metrics.protocol import Scores, load_scores

pytestmark = pytest.mark.slow
SCRIPT = str(Path(__file__).parent / "evaluate_together.py")


def evaluate(generator: Path, data: Path, out: Path, processes: int, count: int, **env: str) -> list[Scores]:
    launcher = (sys.executable,) if processes == 1 else (*TORCHRUN, str(processes))
    command = [*launcher, SCRIPT, str(generator), str(data), str(out), str(count)]
    code, output = run(command, PYTHONPATH=".", XDG_CACHE_HOME=str(out.parent / f"cache-{processes}-{count}"), **env)
    assert code == 0, output
    return [load_scores(Path(f"{out}.{rank}")) for rank in range(processes)]


@pytest.fixture(scope="module")
def generator(tmp_path_factory) -> Path:
    from test_evaluate import export

    return export(tmp_path_factory.mktemp("generator") / "generator.safetensors", conditional=True)


@pytest.mark.parametrize(("processes", "count"), [(2, 50), (3, 50), (3, 20)])
def test_any_number_of_processes_finds_what_one_finds(generator, shapes, tmp_path, processes, count):
    """20 pictures are two batches: one of three ranks has no share."""
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
    call = (
        "import argparse, sys; from distgan import evaluate_command as c; p = argparse.ArgumentParser();"
        "c.add_arguments(p); c.run(p.parse_args(sys.argv[1:]))"
    )
    script = tmp_path / "command.py"
    script.write_text(call)
    options = [
        "--data",
        shapes,
        "--count",
        40,
        "--reference-count",
        100,
        "--device",
        "cpu",
        "--out",
        tmp_path / "s.json",
    ]
    command = [*TORCHRUN, "2", str(script), str(generator), *map(str, options)]
    code, output = run(command, PYTHONPATH=".", XDG_CACHE_HOME=str(tmp_path))
    assert code == 0, output
    assert output.count("fd_efficientnet_lite0") == 1
    assert load_scores(tmp_path / "s.json").protocol.count == 40


def test_a_mistake_on_the_main_process_ends_all(generator, shapes, tmp_path):
    script = tmp_path / "failing.py"
    script.write_text(
        "import torch, torch.distributed as dist\n"
        "from distgan.errors import QualityError\n"
        "from distgan.metrics.ranks import Ranks\n"
        "dist.init_process_group('gloo')\n"
        "def fail():\n    raise QualityError('no')\n"
        "try:\n    Ranks(torch.device('cpu')).on_main(fail)\n"
        "except QualityError as error:\n    print('told', error, flush=True)\n"
        "dist.barrier()\ndist.destroy_process_group()\n"  # one that leaves early may take the other's connections away
    )
    code, output = run([*TORCHRUN, "2", str(script)], PYTHONPATH=".")
    assert code == 0, output
    assert output.count("told no") == 2
