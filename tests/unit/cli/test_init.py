"""`distgan init`: the project that it writes, and what it refuses. tests/integration/test_wheel.py runs one."""

from __future__ import annotations

import os
import subprocess

import pytest

from distgan.cli.main import main
from distgan.config.load import load_config


def test_the_recipe_of_a_project_is_its_base_under_the_project_s_name(tmp_path, capsys):
    assert main(["init", str(tmp_path / "new" / "my shapes!")]) == 0
    project = tmp_path / "new" / "my shapes!"
    assert capsys.readouterr().out.startswith(f"{project}: README.md, recipe.yaml, train.sh, slurm.sbatch, .gitignore;")
    config, base = load_config(str(project / "recipe.yaml"), []), load_config("quickstart", [])
    assert config.run.name == "my-shapes-"
    assert str(config.data.path) == "data/shapes"
    assert config.train == base.train
    assert config.generator == base.generator


def test_a_folder_of_images_is_quoted_in_the_readme_and_found_from_everywhere(tmp_path, monkeypatch):
    (tmp_path / "it's mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["init", "faces", "--data", "it's mine"]) == 0
    quoted = str(tmp_path / "it's mine").replace("'", """'"'"'""")
    readme = (tmp_path / "faces" / "README.md").read_text()
    assert f"distgan prepare folder '{quoted}' --size 64 --out data/images\n" in readme
    config = load_config("faces/recipe.yaml", [])
    assert (config.augment.kind, str(config.data.path), config.data.prepare) == ("ada", "data/images", None)


def test_the_scripts_are_executable_bash_and_name_no_file_of_the_repository(tmp_path):
    assert main(["init", str(tmp_path / "new")]) == 0
    for name in ("train.sh", "slurm.sbatch"):
        script = tmp_path / "new" / name
        subprocess.run(["bash", "-n", str(script)], check=True)
        assert os.access(script, os.X_OK)
        assert "launch/" not in script.read_text()
        assert "-m distgan.train" in script.read_text()
    examples = [line for line in script.read_text().splitlines() if line.startswith("#   ") and "sbatch " in line]
    assert len(examples) == 2
    assert all("slurm.sbatch --config recipe.yaml" in line for line in examples)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["full"], "full holds files; give a directory that is new or empty"),
        (["full/file"], "full/file is a file; give a directory that is new or empty"),
        (["full/file/new"], "full/file/new cannot be written: Not a directory; give another place"),
        (["new", "--data", "nowhere"], "--data=nowhere does not exist; give the folder that holds your images"),
        (["new", "--data", "full/file"], "--data=full/file is a file; give the folder that holds your images"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_nothing_is_written(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    assert main(["init", *arguments]) == 2
    assert capsys.readouterr().err == f"{sentence}\n"
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["full", "full/file"]
