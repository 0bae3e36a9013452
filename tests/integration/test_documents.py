"""Every block of README and docs that is marked as runnable is run, as a user would: in order, in a fresh directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.blocks import MARKED, Block, blocks_of, documents, pages, script_of
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow
BUDGET = {  # for every recipe
    "train.images": "640",
    "log.every_steps": "5",
    "checkpoint.every_steps": "20",
    "evaluate.count": "100",
    "evaluate.reference_count": "200",
}
FENCE = "```"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_marked_blocks_of_a_page_run_in_order(page, tmp_path):
    clone(tmp_path / "distgan")
    photograph(tmp_path / "distgan" / "photos")
    env = environment(tmp_path)
    if page != ROOT / "README.md":  # which makes its own
        (tmp_path / "distgan" / ".venv").symlink_to(sys.prefix)
        env = active(env)
    script = script_of(page)
    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path / "distgan", env=env, text=True, timeout=900,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert ran.returncode == 0, f"{page.name}: {ran.stdout[-6000:]}"


def test_a_block_that_fails_and_a_file_that_is_not_made_end_the_page_s_shell(tmp_path):
    for code, makes, said in (("false\n", (), "== a:1\n"), ("true\n", ("there",), "== a:1\nno there\n")):
        script = f"set -eo pipefail\n{Block('a:1', 'bash', code, makes).script}echo not reached\n"
        ran = subprocess.run(["bash", "-c", script], cwd=tmp_path, text=True, capture_output=True)
        assert (ran.returncode, ran.stdout) == (1, said)


def test_a_marked_block_is_found_with_its_place_and_its_promises(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        f"# A\n\n<!-- runs; makes: a.png, b/c -->\n\n{FENCE}bash\ntouch a.png\n{FENCE}\n\n{FENCE}bash\nno\n{FENCE}\n"
    )
    monkeypatch.setattr("tests.support.blocks.ROOT", tmp_path)
    assert blocks_of(page) == [Block("page.md:5", "bash", "touch a.png\n", ("a.png", "b/c"))]


def test_every_mark_stands_before_a_block():
    for page in documents():
        text = page.read_text()
        assert len(re.findall("^<!-- runs", text, re.MULTILINE)) == len(MARKED.findall(text)), page


def clone(target: Path) -> None:
    """The project's files, as `git clone` would bring them."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)


def photograph(folder: Path) -> None:
    """The reader's own images: two classes of twenty."""
    for number in range(40):
        image = folder / ("cat", "dog")[number % 2] / f"{number}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((80, 70), 10 + number).convert("RGB").save(image)


def environment(home: Path) -> dict[str, str]:
    """Of somebody who has set nothing but small budgets, and has no account."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DISTGAN_", "WANDB_", "PYTEST_"))}
    overrides = " ".join(f"{key}={value}" for key, value in BUDGET.items())
    own = {"HOME": str(home), "TMPDIR": str(home), "DISTGAN_OVERRIDES": overrides, "WANDB_MODE": "offline"}
    return {**kept, **own, "OMP_NUM_THREADS": "1"}


def active(env: dict[str, str]) -> dict[str, str]:
    """With this environment's commands first, as docs/index.md says that its pages assume."""
    return {**env, "PATH": f"{sys.prefix}/bin:{env['PATH']}"}


def test_a_block_with_a_budget_of_its_own_trains_on_after_those_before_it(tmp_path):
    blocks = [Block("a:1", "bash", f'echo {given} "$DISTGAN_OVERRIDES" | tr " " "\\n" | tail -n 1\n', ()) for given in
              ("train.batch_size=8", "train.images=40_000")]  # fmt: skip
    script = "".join(block.script for block in blocks)
    env = environment(tmp_path) | {"DISTGAN_OVERRIDES": "train.images=640"}
    ran = subprocess.run(["bash", "-c", script], env=env, text=True, capture_output=True, check=True)
    assert ran.stdout.split("\n")[1::2] == ["train.images=640", "train.images=960"]
