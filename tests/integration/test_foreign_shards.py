"""Shards of another maker on a web server: trained on by two processes, killed, started again, sampled from."""

import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from distgan.cli.main import main
from tests.support.config import TINY
from tests.support.foreign import webdataset_shards
from tests.support.http_server import serve
from tests.support.processes import TORCHRUN, kill_all, run, start, wait_for

pytestmark = pytest.mark.slow


def test_training_from_a_server_ends_with_the_same_bits_after_sigkill(tmp_path, monkeypatch, capsys):
    webdataset_shards(tmp_path / "in", count=120, size=40)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serve(tmp_path / "in") as server:
        data = (f"data.path={server.url}/{{000000..000005}}.tar", "data.size=32", "data.mode=stream")

        def command(name):
            place = (f"run.dir={tmp_path}", f"run.name={name}")
            return [*TORCHRUN, "2", "distgan/train.py", *TINY, "generator.conditional=true",
                    "discriminator.conditional=true", *data, *place]  # fmt: skip

        code, out = run(command("whole"))
        assert code == 0, out
        assert "120 images, 3 class(es), 32x32, stream" in out
        killed = start(command("killed"), tmp_path / "killed.log")
        wait_for(lambda: list((tmp_path / "killed" / "checkpoints").glob("step-*")), killed)
        kill_all(killed)
        code, out = run(command("killed"))
        assert code == 0, out
        assert "resumed" in out
    again = tmp_path / "killed" / "generator.safetensors"
    whole, tensors = (load_file(path) for path in (tmp_path / "whole" / again.name, again))
    assert all(torch.equal(whole[name], tensors[name]) for name in whole)
    assert main(["sample", str(again), "--classes", "2", "--seeds", "0-3", "--out", str(tmp_path / "grid.png")]) == 0
    assert "4 images of 32x32" in capsys.readouterr().out


def test_one_channel_is_trained_on_where_it_is_asked_for(tmp_path, monkeypatch):
    webdataset_shards(tmp_path / "in", count=60, size=32)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = (f"data.path={tmp_path / 'in'}", "data.channels=gray", f"run.dir={tmp_path}", "run.name=gray")
    code, out = run([sys.executable, "distgan/train.py", *TINY, *place])
    assert code == 0, out
    assert main(["sample", str(tmp_path / "gray"), "--seeds", "0-3", "--out", str(tmp_path / "few")]) == 0
    with Image.open(next((tmp_path / "few").iterdir())) as image:
        assert (image.mode, image.size) == ("L", (32, 32))
