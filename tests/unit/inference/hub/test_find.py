"""What a generator's name means, and downloads from a stand-in of the Hub: cached, offline, private, gated, absent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distgan.cli.main import main
from distgan.inference.generator import Generator, load_generator
from distgan.inference.hub.find import DEMO_FILE, check_id, nearest_id, repository_of
from distgan.inference.hub.find import Repository as Named
from distgan.utils.errors import ExportError
from tests.support.hub_server import TOKEN, Repository, commands, hub_server, python_path
from tests.support.processes import environment
from tests.unit.inference.test_generator_file import export

LOAD = """
import sys
from distgan import Generator, load_generator
from distgan.utils.errors import ExportError
for name in sys.argv[1:]:
    try:
        generator = eval(name)
        print(generator.weight_digest, generator.images_seen)
    except ExportError as error:
        print(error)
"""


@pytest.fixture
def hub():
    with hub_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_demo_is_the_generator_that_comes_with_distgan(tmp_path):
    generator = load_generator("demo")
    assert generator.class_names == (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    assert DEMO_FILE.stat().st_size < 2_000_000
    assert main(["sample", "demo", "--seeds", "0-9", "--out", "grid.png"]) == 0
    assert (tmp_path / "grid.png").is_file()
    (tmp_path / "demo").mkdir()
    assert repository_of("demo") is None, "what is here comes first"


def held(hub, path, **options):
    """A repository with a generator in it."""
    hub.stored["g"] = path.read_bytes()
    return Repository(branches={"main": {"model.safetensors": "g"}}, **options)


def loads(*calls, folder, **variables):
    """What each of these calls in one process gives: a digest, or a sentence."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *calls], cwd=folder, env=environment(PYTHONPATH=python_path(), **variables),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(calls), done.stdout
    return lines


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("me/cats", Named("me/cats")),
        ("me/cats.v2", Named("me/cats.v2")),
        ("hf://me/cats", Named("me/cats")),
        ("hf://me/cats@v1.0", Named("me/cats", "v1.0")),
        ("hf://here/cats", Named("here/cats")),
        ("here/cats", None),
        ("cats", None),
        ("me/cats.safetensors", None),
        ("me/cats.pt2", None),
        ("./me/cats", None),
        ("runs/quickstart", None),
        ("hf://runs/quickstart", Named("runs/quickstart")),
        ("~/cats", None),
        ("/me/cats", None),
        ("me/cats/x", None),
        ("me/", None),
        ("..", None),
        ("../cats", None),
        (Path("me/cats"), None),
        ("", None),
    ],
)
def test_a_name_is_a_repository_or_a_path(given, meant, tmp_path):
    (tmp_path / "here").mkdir()
    assert repository_of(given) == meant


def test_what_is_here_comes_before_the_hub(tmp_path, monkeypatch):
    generator = load_generator(export(tmp_path / "me" / "cats"))
    monkeypatch.setattr("socket.socket", None)
    assert load_generator("me/cats").weight_digest == generator.weight_digest


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("hf://cats", "hf://cats is no repository's name; write hf://OWNER/NAME[@REVISION], nearest: hf://OWNER/cats"),
        ("hf://models/me/cats", "nearest: hf://me/cats"),
        ("https://huggingface.co/me/cats/tree/main", "nearest: hf://me/cats"),
        ("hf://me/my cats", "nearest: hf://me/my-cats"),
        ("hf://me/cats@", "nearest: hf://me/cats"),
        ("hf://me/a--b", "'me/a--b' is no repository's name: .* nearest: me/a-b"),
        ("not an id!", "there is no file not an id!"),
    ],
)
def test_a_malformed_name_is_one_sentence_with_the_nearest(given, sentence):
    with pytest.raises(ExportError, match=sentence.replace("[", r"\[")):
        load_generator(given)


def test_two_revisions_and_one_of_a_path_are_refused(tmp_path):
    with pytest.raises(ExportError, match="names a revision, and revision=v2 another"):
        load_generator("hf://me/cats@v1", revision="v2")
    with pytest.raises(ExportError, match="revision=v2 goes with a repository on the Hub, but"):
        load_generator(export(tmp_path / "g.safetensors"), revision="v2")


@pytest.mark.parametrize(
    "text", ["", "/", "x", "a b/c d", "me/..", "-/-", "ö/ü", "a/b/c/d", "me/" + "x" * 200, "me/x.git"]
)
def test_the_nearest_name_is_one_that_the_hub_takes(text):
    assert check_id(nearest_id(text))


def test_a_repository_is_loaded_by_each_of_its_names_and_again_without_a_network(hub, tmp_path):
    path = export(tmp_path / "g.safetensors")
    digest = load_generator(path).weight_digest
    repository = hub.repositories["me/cats"] = held(hub, path)
    other = export(tmp_path / "v2.safetensors", images_seen=7)
    hub.stored["v2"] = other.read_bytes()
    repository.branches["v2"] = {"model.safetensors": "v2"}
    repository.commits["v2"] = ["2" * 40]
    names = ["load_generator('me/cats')", "load_generator('hf://me/cats')", "Generator.from_pretrained('me/cats')"]
    cache = tmp_path / "cache"
    second = ["load_generator('hf://me/cats@v2')", "load_generator('me/cats', revision='v2')"]
    found = loads(*names, *second, folder=tmp_path, **hub.environment(cache))
    assert found == [f"{digest} 12800"] * 3 + [f"{digest} 7"] * 2
    assert hub.asked.count("GET /storage/g") == 1, "downloaded once"
    for away in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        variables = {**hub.environment(cache), **away}
        assert loads(*names, folder=tmp_path, **variables) == [f"{digest} 12800"] * 3
    asked = len(hub.asked)
    assert loads(names[0], folder=tmp_path, **{**hub.environment(cache), "HF_HUB_OFFLINE": "1"})
    assert len(hub.asked) == asked


def test_what_cannot_be_downloaded_is_one_sentence(hub, tmp_path):
    path = export(tmp_path / "g.safetensors")
    hub.repositories |= {
        "me/private": held(hub, path, private=True),
        "me/gated": held(hub, path, gated=True),
        "me/empty": Repository(),
    }
    calls = [f"load_generator('me/{name}')" for name in ("private", "gated", "empty", "none", "empty', revision='v9")]
    variables = hub.environment(tmp_path / "cache", None)
    private, gated, empty, none, revision = loads(*calls, folder=tmp_path, **variables)
    end = "is not a directory here, and model.safetensors cannot be downloaded from the Hub"
    login = "log in with `hf auth login`, or set HF_TOKEN"
    assert private == f"me/private {end} (there is no such repository, or it is private: {login})"
    assert gated.startswith(f"me/gated {end} (its owner wants the terms on its page accepted first; then log in")
    assert empty == f"me/empty {end} (there is no such file in it: it is no generator of distgan)"
    assert none == private.replace("private", "none", 1)
    assert revision == f"me/empty at revision v9 {end} (it has no such branch, tag or commit)"
    wrong = loads(calls[0], folder=tmp_path, **{**variables, "HF_TOKEN": "hf_wrong"})
    assert wrong == [f"me/private {end} (401: the token is wrong or has expired; {login})"]
    mine = loads(*calls[:2], folder=tmp_path, **{**variables, "HF_TOKEN": TOKEN})
    assert mine == [f"{load_generator(path).weight_digest} 12800"] * 2
    for away in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        [sentence] = loads(calls[0], folder=tmp_path, **{**variables, "HF_HOME": str(tmp_path / "new"), **away})
        assert sentence == f"me/private {end} (the Hub cannot be reached, and it is not in the cache)"


def test_every_command_takes_a_repository_for_a_file(hub, tmp_path):
    hub.repositories["me/cats"] = held(hub, export(tmp_path / "g.safetensors"))
    lines = [
        ["sample", "me/cats", "--seeds", "0-3", "--out", "here.png", "--device", "cpu"],
        ["sample", "g.safetensors", "--seeds", "0-3", "--out", "there.png", "--device", "cpu"],
        ["export", "hf://me/cats", "--format", "torchscript", "--out", "cats.pt"],
        ["explore", "hf://me/cats", "--html", "cats.html"],
        ["evaluate", "me/cats", "--extractor", "none", "--count", "20", "--data", "nothing"],
        ["export", "hf://me/cats", "--format", "torchscript"],
        ["sample", "hf://me/cat", "--out", "no.png"],
        ["sample", "hf://cats", "--out", "no.png"],
    ]
    done = commands(lines, hub.environment(tmp_path / "cache"), tmp_path)
    assert [code for code, _ in done] == [0, 0, 0, 0, 2, 2, 2, 2], done
    assert Path("here.png").read_bytes() == Path("there.png").read_bytes()
    assert Path("cats.pt").is_file()
    assert '"command": "distgan sample hf://me/cats"' in Path("cats.html").read_text()
    assert "nothing" in done[4][1], "it is the data that is missing"
    assert "--out" in done[5][1], "nothing is written into the cache"
    assert "there is no such repository" in done[6][1]
    assert "nearest: hf://OWNER/cats" in done[7][1]


def test_from_pretrained_takes_what_save_pretrained_wrote(tmp_path):
    generator = load_generator(export(tmp_path / "g.safetensors"))
    generator.save_pretrained("me/cats")
    assert Generator.from_pretrained("me/cats").weight_digest == generator.weight_digest
    with pytest.raises(ExportError, match="there is no directory me/dogs; give one that .* or hf://OWNER/NAME"):
        Generator.from_pretrained("me/dogs")
