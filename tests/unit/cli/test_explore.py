"""What `distgan explore` says to a user."""

from __future__ import annotations

from argparse import Namespace

import pytest

from distgan.cli.explore import _command
from distgan.cli.main import main
from distgan.training.checkpoint.find import find_generator
from tests.support.shards import make
from tests.unit.cli.test_export import run_dir as run_dir  # a fixture
from tests.unit.inference.test_sampling import export

SERVED = " is for the page that is served; leave it out, or leave out --html o.html"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(tmp_path / "g.safetensors")
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["emty"], "there is no emty; the nearest that is there: empty"),
        (["empty"], "empty is neither a checkpoint (RUN/checkpoints/step-...) nor a run with a complete one"),
        (["g.safetensors", "--html", "out.htm"], "--html out.htm must end in .html; nearest: out.html"),
        (["g.safetensors", "--html", "o.html", "--serve"], f"--serve{SERVED}"),
        (["g.safetensors", "--html", "o.html", "--port", "1"], f"--port{SERVED}"),
        (["g.safetensors", "--html", "o.html", "--device", "cpu"], f"--device{SERVED}"),
        (["g.safetensors", "--device", "tpu"], "device tpu cannot be used on this machine"),
        (["g.safetensors", "--data", "missing"], "missing does not exist in the working directory"),
        (["g.safetensors", "--data", "reals"], "the real images at reals have 32 pixels a side, not 8"),
        (["g.safetensors", "--html", "g.safetensors/o.html"], "g.safetensors/o.html cannot be written"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(here, capsys, arguments, said):
    make(here / "reals", 20)
    assert main(["explore", *arguments]) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert "Traceback" not in errors
    assert not list(here.glob("**/*.html"))


def test_the_commands_on_the_page_name_a_file_that_makes_its_images(run_dir, monkeypatch):
    def command(source, html=None, trust=()):
        return _command(Namespace(source=source, html=html, trust=trust), find_generator(source))

    run, checkpoint = run_dir[0], run_dir[0] / "checkpoints" / "step-000000002"
    exported = run / "generator.safetensors"
    assert command(run, trust=["my lab"]) == f"distgan sample {checkpoint} --trust 'my lab'"
    assert main(["export", str(run)]) == 0
    assert command(exported) == f"distgan sample {exported}"
    assert command(run, html="a.html") == "distgan sample generator.safetensors", "no place on this machine"
    assert command("demo", html="a.html") == "distgan sample demo"
