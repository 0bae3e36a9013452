"""Whether the installed libraries are those that distgan needs."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Sequence

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from distgan.config.schema import Config, LogConfig
from distgan.doctor.check_result import CheckResult, fail, ok, warn
from distgan.training.tracking.tracker import EXTRAS
from distgan.utils.installed import installed_version

WHAT = "versions"
SHOWN = ("torch", "accelerate", "webdataset", "wandb", "safetensors")


def check_versions(config: Config) -> list[CheckResult]:
    """Compares the libraries of this process with distgan's own metadata."""
    try:
        metadata = importlib.metadata.metadata("distgan")
        own, requires, python = metadata["Version"], importlib.metadata.requires("distgan"), metadata["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        return [warn(WHAT, "distgan is not installed, it runs from its source files", "run `pip install -e .` there")]
    versions = [f"python {platform.python_version()}", f"distgan {own}"]
    versions += [f"{name} {version}" for name in SHOWN if (version := installed_version(name))]
    problems = [
        *check_python(python or "", platform.python_version()),
        *check_requirements(requires or (), installed_version),
        *check_extras(str(config.data.path), installed_version),
        *check_trackers(config.log, installed_version),
    ]
    return problems or [ok(WHAT, ", ".join(versions))]


def check_python(required: str, version: str) -> list[CheckResult]:
    """Compares a Python version with a range such as ">=3.10"."""
    if SpecifierSet(required).contains(version, prereleases=True):
        return []
    return [fail(WHAT, f"python {version}, distgan needs {required}", "make the environment with another Python")]


def check_requirements(requirements: Sequence[str], version_of: Callable[[str], str | None]) -> list[CheckResult]:
    """Finds libraries that are missing or outside their range. requirements: as in a package's metadata."""
    results = []
    for text in requirements:
        required = Requirement(text)
        if required.marker is not None and not required.marker.evaluate({"extra": ""}):
            continue
        version, rule = version_of(required.name), f"{required.name}{required.specifier}"
        if version is None:
            results.append(fail(WHAT, f"{required.name} is missing", f"run `pip install '{rule}'`"))
        elif not required.specifier.contains(version, prereleases=True):
            lower = SpecifierSet(",".join(str(part) for part in required.specifier if part.operator.startswith(">")))
            too_new = lower.contains(version, prereleases=True)
            text = f"{required.name} {version}, distgan " + ("was only tested with" if too_new else "needs")
            results.append((warn if too_new else fail)(WHAT, f"{text} {rule}", f"run `pip install '{rule}'`"))
    return results


def check_trackers(config: LogConfig, version_of: Callable[[str], str | None]) -> list[CheckResult]:
    """Finds libraries that only the trackers in log.to need."""
    missing = [name for name in EXTRAS if config.names(name) and version_of(name) is None]
    return [
        fail(WHAT, f"log.to={name} needs {name}, which is missing", f"run `pip install 'distgan[{name}]'`")
        for name in missing
    ]


def check_extras(data_path: str, version_of: Callable[[str], str | None]) -> list[CheckResult]:
    """Finds libraries that only this data.path needs."""
    if data_path.startswith("s3://") and version_of("boto3") is None:
        return [fail(WHAT, f"data.path={data_path} needs boto3, which is missing", "run `pip install 'distgan[s3]'`")]
    return []
