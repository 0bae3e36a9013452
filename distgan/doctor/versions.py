"""Whether the installed libraries are those that distgan was written for."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Sequence

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from distgan.config.schema import Config
from distgan.doctor.finding import Finding, fail, ok, warn

WHAT = "versions"
NAMED = ("torch", "accelerate", "webdataset", "wandb", "safetensors")


def versions(config: Config) -> list[Finding]:
    """Of this process, against distgan's own metadata."""
    try:
        metadata = importlib.metadata.metadata("distgan")
        own, requires, python = metadata["Version"], importlib.metadata.requires("distgan"), metadata["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        return [warn(WHAT, "distgan runs from its files and is not installed", "run `pip install -e .` beside them")]
    found = [f"python {platform.python_version()}", f"distgan {own}"]
    found += [f"{name} {version}" for name in NAMED if (version := installed(name))]
    wrong = [*compare_python(python or "", platform.python_version()), *compare(requires or (), installed)]
    return [*wrong, *extras(str(config.data.path), installed)] or [ok(WHAT, ", ".join(found))]


def installed(name: str) -> str | None:
    """The version of a library, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def compare_python(wanted: str, version: str) -> list[Finding]:
    if SpecifierSet(wanted).contains(version, prereleases=True):
        return []
    return [fail(WHAT, f"python {version}, distgan needs {wanted}", "make the environment with another Python")]


def compare(requirements: Sequence[str], version_of: Callable[[str], str | None]) -> list[Finding]:
    """Findings about what is missing or outside its range. requirements: as in a package's metadata."""
    found = []
    for text in requirements:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        version, rule = version_of(wanted.name), f"{wanted.name}{wanted.specifier}"
        if version is None:
            found.append(fail(WHAT, f"{wanted.name} is missing", f"run `pip install '{rule}'`"))
        elif not wanted.specifier.contains(version, prereleases=True):
            lower = SpecifierSet(",".join(str(part) for part in wanted.specifier if part.operator.startswith(">")))
            too_new = lower.contains(version, prereleases=True)
            text = f"{wanted.name} {version}, distgan " + ("was only tried with" if too_new else "needs")
            found.append((warn if too_new else fail)(WHAT, f"{text} {rule}", f"run `pip install '{rule}'`"))
    return found


def extras(place: str, version_of: Callable[[str], str | None]) -> list[Finding]:
    """What this data.path needs beyond distgan's own requirements."""
    if place.startswith("s3://") and version_of("boto3") is None:
        return [fail(WHAT, f"data.path={place} needs boto3, which is missing", "run `pip install 'distgan[s3]'`")]
    return []
