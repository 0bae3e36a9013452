"""`distgan check NAME`: whether a network, loss, metric, ... keeps the contract of its kind (config/contracts.py)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distgan.config.registry import error_text
from distgan.doctor.contracts.networks import discriminator_checks, generator_checks
from distgan.doctor.contracts.parts import part_checks
from distgan.doctor.contracts.subject import Broken, Check, Subject, find_subject
from distgan.doctor.contracts.training import Trainings
from distgan.utils.errors import DistganError


def check_contract(name: str, kind: str | None, options: Mapping[str, Any], quick: bool) -> tuple[str, bool]:
    """Checks an implementation and prints a line for each part of the contract. Returns its kind, and whether all hold.

    kind: None: recognised; options: its settings; quick: without trainings. Raises ConfigError for a name that is none.
    """
    subject = find_subject(name, kind, options)
    kept = True
    with tempfile.TemporaryDirectory(prefix="distgan-check-") as scratch:
        for check in _checks(subject, Path(scratch), quick):
            failure = _failure(check)
            kept = kept and not failure
            if failure and check.name in ("settings", "weights", "extractor", "training"):
                break  # the next ones need it
    return subject.registry.kind, kept


def _checks(subject: Subject, scratch: Path, quick: bool) -> Iterator[Check]:
    if subject.name not in subject.registry.entries:
        yield Check("settings", subject.check_settings)
    networks = {"generator": generator_checks, "discriminator": discriminator_checks}
    yield from networks.get(subject.registry.kind, part_checks)(subject)
    if not quick:
        yield from Trainings(subject, scratch).checks()


def _failure(check: Check) -> str:
    """Makes a check and prints its line. Returns why it failed, or an empty text."""
    try:
        print(f"ok    {check.name}: {check.run()}", flush=True)
        return ""
    except (Broken, DistganError) as error:
        reason = str(error)
    except Exception as error:  # of the implementation
        reason = error_text(error)
    print(f"FAIL  {check.name}: {reason}", flush=True)
    return reason
