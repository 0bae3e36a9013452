"""Pushing to a stand-in of the Hub: one commit, interrupted and resumed, and every refusal one sentence."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys

import pytest
import yaml

from distgan.inference.generator import load_generator
from tests.support.hub_server import READER, TOKEN, Repository, commands, hub_server, python_path
from tests.support.processes import environment
from tests.unit.inference.test_generator_file import export

NAMES = ["README.md", "config.json", "model.safetensors", "samples.png", "walk.webp"]


@pytest.fixture
def hub():
    with hub_server() as server:
        yield server


@pytest.fixture
def file(tmp_path):
    return export(tmp_path / "g.safetensors")


def test_a_push_is_one_commit_of_what_a_dry_run_writes_and_another_push_sends_nothing(hub, file, tmp_path):
    options = ("--license", "mit", "--dataset", "uoft-cs/cifar10")
    push = ["push", "g.safetensors", "me/cats", *options]
    lines = [[*push, "--dry-run", "dry"], push, push]
    (dry, shown), (pushed, said), (again, twice) = commands(lines, hub.environment(tmp_path / "cache"), tmp_path)
    assert (dry, pushed, again) == (0, 0, 0), (shown, said, twice)
    assert "nothing was sent" in shown
    files = hub.repositories["me/cats"].branches["main"]
    assert sorted(files) == NAMES == sorted(path.name for path in (tmp_path / "dry").iterdir())
    for name in files:
        assert hub.content("me/cats", name) == (tmp_path / "dry" / name).read_bytes(), name
    assert hub.content("me/cats", "model.safetensors") == file.read_bytes()
    assert hub.repositories["me/cats"].messages == ["Upload the generator with distgan"]
    assert f"{hub.url}/me/cats/commit/{hub.repositories['me/cats'].commits['main'][1]}" in said
    assert "me/cats has the generator of g.safetensors already" in twice
    assert len(hub.puts) == 3, "the second push sends no file again"
    assert not hub.repositories["me/cats"].private


def test_a_dry_run_needs_no_network_no_token_and_keeps_the_card_that_is_there(file, tmp_path):
    (tmp_path / "dry").mkdir()
    (tmp_path / "dry" / "README.md").write_text("mine")
    variables = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "none")}
    line = ["push", "g.safetensors", "me/cats", "--dry-run", "dry", "--no-film"]
    [(code, said)] = commands([line], {**variables, "HF_TOKEN": ""}, tmp_path)
    assert code == 0, said
    assert sorted(path.name for path in (tmp_path / "dry").iterdir()) == NAMES[:-1]
    assert (tmp_path / "dry" / "README.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["model.safetensors", "walk.webp"])
def test_an_upload_that_is_cut_off_is_one_sentence_and_the_same_command_sends_only_the_rest(hub, file, tmp_path, name):
    push = ["push", "g.safetensors", "me/cats"]
    hub.cut = name
    [(code, said)] = commands([push], hub.environment(tmp_path / "cache"), tmp_path)
    assert code == 2
    [sentence] = [line for line in said.splitlines() if "cannot be uploaded" in line]
    assert "me/cats cannot be uploaded to the Hub (the connection failed: " in sentence
    assert sentence.endswith("; the same command goes on: what the Hub has already is not sent again")
    assert "Traceback" not in said
    assert "hunter2" not in said, "the address was signed"
    assert hub.repositories["me/cats"].messages == [], "nothing is committed by halves"
    sent = set(hub.stored)
    hub.cut, hub.puts = None, []
    [(code, said)] = commands([push], hub.environment(tmp_path / "cache"), tmp_path)
    assert code == 0, said
    assert sorted(hub.repositories["me/cats"].branches["main"]) == NAMES
    again = {oid for oid, _ in hub.puts}
    assert again.isdisjoint(sent), "what the Hub has already is not sent again"
    assert len(again) + len(sent) == 3


def test_a_private_repository_a_branch_and_a_card_that_is_there(hub, file, tmp_path):
    hub.repositories["me/old"] = Repository(branches={"main": {"README.md": b"mine"}})
    push = ["push", "g.safetensors", "--no-film"]
    lines = [
        [*push, "me/new", "--private", "--message", "first"],
        [*push, "me/old", "--revision", "v2"],
        [*push, "me/old", "--private"],
    ]
    new, branch, public = commands(lines, hub.environment(tmp_path / "cache"), tmp_path)
    assert (new[0], branch[0], public[0]) == (0, 0, 2), (new, branch, public)
    assert hub.repositories["me/new"].private
    assert hub.repositories["me/new"].messages == ["first"]
    assert hub.repositories["me/old"].branches["main"] == {"README.md": b"mine"}
    assert sorted(hub.repositories["me/old"].branches["v2"]) == NAMES[:-1]
    assert hub.content("me/old", "README.md", "v2") == b"mine"
    assert "the README.md in me/old is somebody's own, and kept" in branch[1]
    assert "me/old is on the Hub already, and public: private is for a new one" in public[1]


def test_every_mistake_is_one_sentence_and_exit_code_2(hub, file, tmp_path):
    (tmp_path / "here").write_text("a file")
    push = ["push", "g.safetensors"]
    cases = [
        ([*push, "cats"], "'cats' is no repository's name: OWNER/NAME", "nearest: OWNER/cats"),
        ([*push, "me/my cats!"], "'me/my cats!' is no repository's name", "nearest: me/my-cats"),
        ([*push, "https://huggingface.co/me/cats"], "is no repository's name", "nearest: me/cats"),
        ([*push, "me/cats", "--license", "MIT"], "license=MIT is no identifier of a license", "nearest: mit"),
        ([*push, "me/cats", "--license", "other"], "the license `other` needs license_name", ""),
        ([*push, "me/cats", "--license-link", "LICENSE"], "license_link goes with the license `other`", ""),
        (
            [*push, "me/cats", "--license", "gpl-9"],
            "me/cats cannot be uploaded to the Hub (Invalid metadata",
            "one of [",
        ),
        ([*push, "you/cats"], "you/cats cannot be uploaded to the Hub (403: the token may not do this", ""),
        ([*push, "me/cats", "--dry-run", "here"], "here/model.safetensors cannot be written: ", "File exists"),
        (["push", "nothing", "me/cats"], "there is no nothing", ""),
        (["push", "demo", "me/cats"], "push sends what is here, and demo is not", ""),
    ]
    results = commands([line for line, *_ in cases], hub.environment(tmp_path / "cache"), tmp_path)
    for (line, start, end), (code, said) in zip(cases, results, strict=True):
        sentence = said.strip().splitlines()[-1]
        assert code == 2, (line, said)
        assert start in sentence, (line, said)
        assert end in sentence, (line, said)
        assert "Traceback" not in said
    assert hub.puts == [], "nothing was sent"


@pytest.mark.parametrize(
    ("token", "answer", "sentence"),
    [
        (
            "",
            None,
            "me/cats cannot be uploaded to the Hub without a token: log in with `hf auth login`, or set HF_TOKEN",
        ),
        ("hf_wrong", None, "(401: the token is wrong or has expired; log in with"),
        (READER, None, "(403: the token may not do this; take one that may write"),
        (TOKEN, 500, "(500: an error of the Hub); nothing was sent; try again"),
        (TOKEN, 429, "(429: the Hub takes no more requests for now; try again later); nothing was sent"),
    ],
)
def test_a_token_that_does_not_fit_and_a_hub_that_fails_are_one_sentence(hub, file, tmp_path, token, answer, sentence):
    hub.answer = answer
    line = ["push", "g.safetensors", "me/cats"]
    [(code, said)] = commands([line], hub.environment(tmp_path / "cache", token), tmp_path)
    assert code == 2
    assert sentence in said
    assert said.count("\n") == 1


def test_no_network_and_offline_are_one_sentence(file, tmp_path):
    variables = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "cache"), "HF_TOKEN": TOKEN}
    for offline, sentence in (("0", "(the connection failed: "), ("1", "(HF_HUB_OFFLINE forbids it)")):
        line = ["push", "g.safetensors", "me/cats"]
        [(code, said)] = commands([line], {**variables, "HF_HUB_OFFLINE": offline}, tmp_path)
        assert (code, said.count("\n")) == (2, 1), said
        assert f"me/cats cannot be uploaded to the Hub {sentence}" in said


def test_the_code_of_a_card_runs_where_it_was_pushed_and_where_it_was_saved(hub, file, tmp_path):
    [(code, said)] = commands(
        [["push", "g.safetensors", "me/cats", "--no-film"]], hub.environment(tmp_path / "cache"), tmp_path
    )
    assert code == 0, said
    load_generator(file).save_pretrained(tmp_path / "saved")
    pushed = hub.content("me/cats", "README.md").decode()
    for card, folder in ((pushed, tmp_path), ((tmp_path / "saved" / "README.md").read_text(), tmp_path / "saved")):
        [block] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        variables = environment(PYTHONPATH=python_path(), **hub.environment(tmp_path / "other"))
        done = subprocess.run([sys.executable, "-c", block], cwd=folder, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (folder / "grid.png").stat().st_size > 1000


def test_push_to_hub_in_python_makes_the_same_commit_as_the_command(hub, file, tmp_path):
    code = (
        "import sys; from distgan import load_generator; g = load_generator('g.safetensors');"
        f"print(g.push_to_hub('me/cats', commit_message='mine', token={TOKEN!r}, license='mit', dataset='CIFAR-10'))"
    )
    variables = environment(PYTHONPATH=python_path(), **hub.environment(tmp_path / "cache", None))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=variables, capture_output=True, text=True)
    repository = hub.repositories["me/cats"]
    assert done.stdout.strip() == f"{hub.url}/me/cats/commit/{repository.commits['main'][1]}", done.stderr
    assert repository.messages == ["mine"]
    assert sorted(repository.branches["main"]) == NAMES
    header = yaml.safe_load(hub.content("me/cats", "README.md").decode().split("---\n")[1])
    assert header["license"] == "mit"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == repository.branches["main"]["model.safetensors"]


def test_a_newer_generator_renews_the_card_and_keeps_its_license(hub, file, tmp_path):
    variables = hub.environment(tmp_path / "cache")
    push = ["push", "g.safetensors", "me/cats", "--no-film"]
    [(code, said)] = commands([[*push, "--license", "mit"]], variables, tmp_path)
    assert code == 0, said
    export(tmp_path / "g.safetensors", images_seen=99)
    [(code, said)] = commands([push], variables, tmp_path)
    assert code == 0, said
    card = hub.content("me/cats", "README.md").decode()
    assert "| real images seen in training | 99 |" in card
    assert "license: mit\n" in card
    assert "no license" not in said
    hub.repositories["me/cats"].branches["main"]["README.md"] = card.replace("# cats", "# My cats").encode()
    export(tmp_path / "g.safetensors", images_seen=100)
    [(code, said)] = commands([push], variables, tmp_path)
    assert code == 0, said
    assert "# My cats" in hub.content("me/cats", "README.md").decode()
    assert "somebody's own, and kept" in said
