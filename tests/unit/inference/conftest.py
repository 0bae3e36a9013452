"""Generators of one small network, with classes and without."""

from __future__ import annotations

import pytest

from distgan.inference.generator import load_generator
from tests.unit.inference.test_sampling import export


@pytest.fixture
def path(tmp_path):
    return export(tmp_path / "generator.safetensors")


@pytest.fixture
def generator(path):
    return load_generator(path)


@pytest.fixture
def conditional(tmp_path):
    return load_generator(export(tmp_path / "conditional.safetensors", conditional=True))
