"""What a card says that the generator's file does not know, and how a card that nobody has edited is known again."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from typing import TypedDict

from distgan.utils.errors import ExportError
from distgan.utils.safe_io import parse_json, printable

LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*", re.ASCII)
LICENSES = (
    *("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0"),
    *("openrail", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "unlicense", "unknown"),
    *("other",),
)
"""Some of those that the Hub knows, for the nearest name; it checks the name itself."""
SEAL = re.compile(r"(.*)\n<!-- distgan (\{.*\}) ([0-9a-f]{64}) -->\s*", re.DOTALL)


class CardFacts(TypedDict, total=False):
    """What a card says that the generator's file does not know."""

    license: str
    """The Hub's identifier, such as apache-2.0; other: with license_name."""
    license_name: str
    license_link: str
    """Of the license `other`: an address, or LICENSE for a file in the repository."""
    dataset: str
    """Name of the training data, such as CIFAR-10, or the Hub's OWNER/NAME."""


def check_facts(facts: CardFacts) -> CardFacts:
    """Raises ExportError for a license that the Hub cannot know."""
    name = facts.get("license")
    if name is None:
        if given := [key for key in ("license_name", "license_link") if facts.get(key)]:
            raise ExportError(f"{given[0]} goes with the license `other`; choose it too")
        return facts
    if not LICENSE.fullmatch(name):
        near = difflib.get_close_matches(name.lower(), LICENSES, n=1, cutoff=0)[0]
        raise ExportError(f"license={printable(name)} is no identifier of a license on the Hub; nearest: {near}")
    if name == "other" and not facts.get("license_name"):
        raise ExportError(
            "the license `other` needs license_name (--license-name), such as my-license-1.0; license_link may be given"
        )
    if name != "other" and facts.get("license_name"):
        raise ExportError(f"license_name goes with the license `other`, not with {name}; leave it out")
    return facts


def unusual_license(name: str) -> str | None:
    """The nearest of the usual licenses; None where it is one of them."""
    return None if name in LICENSES else difflib.get_close_matches(name, LICENSES, n=1, cutoff=0)[0]


def sealed(text: str, facts: CardFacts) -> str:
    """A card with a last line, which a page does not show, by which `facts_of` knows it again."""
    given = json.dumps(facts, sort_keys=True).replace(">", "\\u003e")
    return f"{text}\n<!-- distgan {given} {_digest(text, given)} -->\n"


def facts_of(card: str) -> CardFacts | None:
    """The facts in a card that nobody has edited since `model_card` made it; None for any other."""
    found = SEAL.fullmatch(card)
    if found is None or _digest(found[1], found[2]) != found[3]:
        return None
    try:
        content = parse_json(found[2])
    except ValueError:
        return None
    return CardFacts(**{key: str(content[key]) for key in CardFacts.__annotations__ if key in content})  # type: ignore[typeddict-item]


def renewed(held: CardFacts | None, given: CardFacts | None) -> CardFacts:
    """The facts of a card that is written anew: those given, and of those held the ones that still fit."""
    given = given or {}
    stay = {key: value for key, value in (held or {}).items() if not (key.startswith("license") and "license" in given)}
    return CardFacts(**{**stay, **given})  # type: ignore[typeddict-item]


def _digest(text: str, facts: str) -> str:
    return hashlib.sha256(f"{text}\0{facts}".encode()).hexdigest()
