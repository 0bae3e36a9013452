"""Scores by the features that a generator was trained against: they flatter it.

Source: Kynkäänniemi et al. 2022 (arXiv:2203.06026).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distgan.distributed.collectives import rank
from distgan.utils.log import log

EXTRACTORS = {"projected": "efficientnet_lite0"}  # by family of the discriminators that are made of an extractor


def flattery(config: Mapping[str, Any], extractor: str) -> str | None:
    """What a user must know of scores by this extractor; None where it is independent of the training.

    config: of the training, as in a generator file, where it may be anything.
    """
    section = config.get("discriminator")
    family = section.get("family") if isinstance(section, Mapping) else None
    if not isinstance(family, str) or EXTRACTORS.get(family) != extractor:
        return None
    return f"the scores of {extractor} flatter this generator, which was trained against its features"


def warn_of_flattery(config: Mapping[str, Any], extractor: str) -> None:
    """Logs it, on the main process."""
    if rank() == 0 and (text := flattery(config, extractor)):
        log.warning("%s; classifier and inception are independent (docs/judges.md)", text)
