"""Shared by the tests of the doctor."""

from __future__ import annotations

from collections.abc import Sequence

from distgan.doctor.check_result import CheckResult

GIB = 1 << 30


def lines(results: Sequence[CheckResult]) -> list[str]:
    """The results as the doctor prints them."""
    return [result.line() for result in results]
