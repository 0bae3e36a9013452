"""Installed libraries inside and outside their ranges."""

from __future__ import annotations

from distgan.doctor import versions
from tests.unit.doctor.results import lines


def test_versions_in_and_out_of_their_ranges():
    there = {"torch": "2.13.0+cpu", "wandb": "0.18.0"}
    assert versions.check_requirements(["torch>=2.6,<2.14", "pytest>=8; extra == 'test'"], there.get) == []
    assert lines(versions.check_requirements(["wandb>=0.19", "webdataset>=1.0", "torch>=2.6,<2.10"], there.get)) == [
        "FAIL  versions: wandb 0.18.0, distgan needs wandb>=0.19; run `pip install 'wandb>=0.19'`",
        "FAIL  versions: webdataset is missing; run `pip install 'webdataset>=1.0'`",
        "warn  versions: torch 2.13.0+cpu, distgan was only tested with torch<2.10,>=2.6; "
        "run `pip install 'torch<2.10,>=2.6'`",
    ]
    assert lines(versions.check_python(">=3.10", "3.9.1")) == [
        "FAIL  versions: python 3.9.1, distgan needs >=3.10; make the environment with another Python"
    ]
    assert lines(versions.check_extras("s3://bucket/x", there.get)) == [
        "FAIL  versions: data.path=s3://bucket/x needs boto3, which is missing; run `pip install 'distgan[s3]'`"
    ]
    assert versions.check_extras("data/shapes", there.get) == []


def test_a_tracker_whose_library_is_missing_is_found_before_the_launch(tiny_config):
    config = tiny_config("log.to=tensorboard,wandb").log
    assert lines(versions.check_trackers(config, {}.get)) == [
        "FAIL  versions: log.to=tensorboard needs tensorboard, which is missing; "
        "run `pip install 'distgan[tensorboard]'`"
    ]
    assert versions.check_trackers(config, {"tensorboard": "2.20"}.get) == []


def test_the_installed_versions_are_named(tiny_config):
    results = versions.check_versions(tiny_config())
    assert results[0].what == "versions"
    assert all("torch" in result.text or result.level != "ok" for result in results)
