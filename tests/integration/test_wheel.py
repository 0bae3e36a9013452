"""The wheel, installed in an environment of its own and used in an empty directory, without the repository."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import tarfile
import zipfile

import pytest
from PIL import Image

import distgan
from tests.support.processes import ROOT
from tests.support.wheel import build, install

pytestmark = pytest.mark.slow
TINY = ("train.images=32", "log.samples=4", "log.every_steps=1", "run.name=tiny")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def content(installed):
    """The wheel's files, {name: bytes}."""
    with zipfile.ZipFile(installed.wheel) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


def test_the_wheel_has_every_file_of_the_package_and_the_recipes_and_no_other(content):
    files = [path.relative_to(ROOT) for path in ROOT.glob("distgan/**/*") if path.is_file()]
    expected = {str(path) for path in files if path.suffix != ".pyc"}
    expected |= {f"distgan/configs/{path.name}" for path in ROOT.glob("configs/*")} | {"distgan/launch/slurm.sbatch"}
    assert {name for name in content if ".dist-info/" not in name} == expected
    assert "distgan/py.typed" in expected


def test_the_source_archive_has_every_file_of_the_repository(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("needs a clone: git says which files the repository has")
    command = ["git", "ls-files", "--exclude-standard", "--cached"]
    tracked = set(subprocess.check_output(command, cwd=ROOT, text=True).splitlines())
    new = set(subprocess.check_output([*command, "--others"], cwd=ROOT, text=True).splitlines())
    with tarfile.open(build("sdist", tmp_path)) as archive:
        files = {member.name.partition("/")[2] for member in archive.getmembers()}
    assert tracked - files == set()
    assert files - new == {"PKG-INFO"}


def test_the_files_that_the_image_is_built_from_make_the_same_wheel(content, tmp_path):
    """The wheel that `pip install .` makes in the Dockerfile, of what its COPY lines bring."""
    source = tmp_path / "source"
    for line in re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        *names, target = line.split()
        for name in names:
            place = source / target / name if target == "./" else source / target
            place.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, place)
    with zipfile.ZipFile(build("wheel", tmp_path, source)) as wheel:
        assert {name: wheel.read(name) for name in wheel.namelist() if name.endswith(("METADATA", ".py"))} == {
            name: data for name, data in content.items() if name.endswith(("METADATA", ".py"))
        }
        assert set(wheel.namelist()) == set(content)


def test_the_wheel_s_description_has_no_link_that_only_works_in_the_repository(content):
    (name,) = (name for name in content if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(content[name])
    links = re.findall(r"\]\(([^)]+)\)", metadata.get_payload())
    assert len(links) > 20
    assert [link for link in links if not link.startswith("https://")] == []
    assert metadata["License-Expression"] == "Apache-2.0 AND MIT"
    licences = {name.partition("/licenses/")[2] for name in content if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE", "distgan/inference/explorer/onnxruntime/LICENSE"}


def test_distgan_prepares_trains_samples_and_explores_where_there_is_no_repository(installed, tmp_path):
    page = ("explore", "runs/tiny/generator.safetensors", "--html", "page.html")
    for command in [
        ("distgan", "prepare", "shapes", "--out", "data/shapes", "--count", "100"),
        ("distgan", "train", *TINY),
        ("accelerate", "launch", "-m", "distgan.train", *TINY, "run.name=launched"),
        ("distgan", "sample", "runs/launched/generator.safetensors", "--seeds", "0-3", "--out", "grid.png"),
        ("distgan", "sample", "demo", "--seeds", "0-3", "--out", "demo.png"),
        ("distgan", *page),
    ]:
        code, out = installed.run(tmp_path, *command)
        assert code == 0, out
        assert "Traceback" not in out
    assert {path.name for path in tmp_path.iterdir()} == {"data", "runs", "grid.png", "demo.png", "page.html"}


@pytest.mark.parametrize("options", [(), ("--data", "my photos")], ids=["shapes", "own images"])
def test_the_commands_in_the_readme_of_a_new_project_run_as_they_stand(installed, tmp_path, options):
    for number in range(20):
        image = tmp_path / "my photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((80, 70), 10 + number).convert("RGB").save(image)
    code, out = installed.run(tmp_path, "distgan", "init", "faces", *options)
    assert code == 0, out
    project = tmp_path / "faces"
    (commands,) = re.findall("```bash\n(.*?)```", (project / "README.md").read_text(), re.DOTALL)
    assert len(commands.splitlines()) == 3
    code, out = installed.bash(project, commands, DISTGAN_OVERRIDES="train.images=32 log.every_steps=1")
    assert code == 0, out
    assert (project / "runs" / "faces" / "generator.safetensors").exists()
    assert Image.open(project / "grid.png").width > 200
    code, out = installed.bash(project, "git init -q && git status --porcelain --untracked-files=all")
    assert code == 0, out
    written = (".gitignore", "README.md", "recipe.yaml", "slurm.sbatch", "train.sh")
    assert out.splitlines() == [f"?? {name}" for name in written]


def test_the_installed_package_is_the_wheel_s_and_not_the_checkout_s(installed, tmp_path):
    ask = "import distgan, importlib.metadata as m; print(distgan.__file__, m.version('distgan'))"
    code, out = installed.run(tmp_path, "python", "-c", ask)
    assert code == 0, out
    file, version = out.split()
    assert file.startswith(str(installed.bin.parent))
    assert version == distgan.__version__
