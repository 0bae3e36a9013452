"""The model card: README.md with a YAML header. The same template for conditional and unconditional generators.

Names in a generator's file may come from a stranger: in the text they are escaped as `plain` says, in the header PyYAML
quotes them, and the code names none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distgan.config.outside import OutsideSection
from distgan.inference.generator_file import Description
from distgan.inference.hub.client import library
from distgan.inference.hub.facts import CardFacts, check_facts, sealed
from distgan.inference.hub.find import MODEL
from distgan.utils.safe_io import printable

CARD_TEMPLATE = Path(__file__).with_name("model_card.md.j2")
TASK = "unconditional-image-generation"  # the Hub knows no task of class-conditional images
CLASSES_TAG = "class-conditional-image-generation"
GRID, FILM = "samples.png", "walk.webp"
MAX_SCORES = 50
MAX_SCORE = 1e15  # beyond, and NaN: left out
SIGNS = re.compile(r"[\"#$&*:<>@\[\\\]^`{|}~]|(?<![^\W_])_|_(?![^\W_])|\.(?=[A-Za-z])")


@dataclass(frozen=True)
class Place:
    """Where a card stands. repository: None: beside the file, in a directory; grid, film: whether they are there."""

    repository: str | None = None
    grid: bool = False
    film: bool = False


HERE = Place()


def model_card(description: Description, digest: str, facts: CardFacts | None = None, place: Place = HERE) -> str:
    """The README.md. digest: of the weights. Raises ExportError: a package is missing, a wrong license."""
    facts = check_facts(facts or {})
    hub = library("save_pretrained")
    library("save_pretrained", "jinja2")  # huggingface_hub imports it for the template
    card = hub.ModelCard.from_template(
        _header(hub, description, facts, place),
        template_path=str(CARD_TEMPLATE),
        title=plain(_name(place)),
        conditional=description.generator.conditional,
        size=description.size,
        channels=description.channels,
        classes=plain(", ".join(description.class_names), 2000) or "not recorded",
        dataset=plain(dataset_of(description, facts)),
        family=plain(_family(description)),
        latent_dim=description.generator.latent_dim,
        images_seen=description.images_seen,
        weights=description.weights,
        digest=digest,
        versions=plain(", ".join(f"{name} {version}" for name, version in sorted(description.versions.items()))),
        call=call_of(description, place),
        grid=GRID if place.grid else "",
        film=FILM if place.film else "",
        scores=[(plain(name), value, real) for name, value, real in scores_of(description)],
        protocol=plain(_protocol(description)),
    )  # fmt: skip
    return sealed(f"{card}\n", facts)


def _header(hub: Any, description: Description, facts: CardFacts, place: Place) -> Any:
    conditional = description.generator.conditional
    dataset = printable(dataset_of(description, facts)) or "not recorded"
    known = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", dataset, re.ASCII) is not None
    results = [
        hub.EvalResult(
            task_type=TASK,
            task_name="class-conditional image generation" if conditional else "unconditional image generation",
            dataset_type=dataset if known else re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-") or "unknown",
            dataset_name=dataset,
            metric_type=printable(name),
            metric_name=printable(name),
            metric_value=value,
        )
        for name, value, _ in scores_of(description)
    ]
    return hub.ModelCardData(
        library_name="distgan",
        pipeline_tag=TASK,
        tags=["gan", "distgan", "image-generation", *([CLASSES_TAG] if conditional else [])],
        datasets=[dataset] if known else None,
        model_name=_name(place) if results else None,  # the name of the model-index
        eval_results=results or None,
        **{key: printable(str(facts[key])) for key in ("license", "license_name", "license_link") if facts.get(key)},  # type: ignore[literal-required]
    )


def _name(place: Place) -> str:
    return place.repository.rpartition("/")[2] if place.repository else "GAN generator"


def dataset_of(description: Description, facts: CardFacts) -> str:
    """Name of the training data; without a given one, that of the source or of the directory. Empty: not recorded."""
    data = description.config.get("data")
    recorded = data if isinstance(data, dict) else {}
    source, path = recorded.get("prepare"), recorded.get("path")
    return facts.get("dataset") or str(source or "") or str(path or "").rstrip("/").rpartition("/")[2]


def _family(description: Description) -> str:
    return str(getattr(description.generator, "family", ""))  # all settings of families have it


def call_of(description: Description, place: Place) -> str:
    """Python that loads the generator where the card stands."""
    family = _family(description)
    outside = isinstance(description.generator, OutsideSection)
    trust = f', trust=["{family.partition(":")[0].partition(".")[0]}"]' if outside else ""
    return f'load_generator("{place.repository or MODEL}"{trust})'


def scores_of(description: Description) -> list[tuple[str, float, float | None]]:
    """(name, value, value of real images) of the scores in a description, which may be anything."""
    scores = description.scores or {}
    values, real = _numbers(scores.get("values")), _numbers(scores.get("real_values"))
    return [(name, value, real.get(name)) for name, value in list(values.items())[:MAX_SCORES]]


def _numbers(values: Any) -> dict[str, float]:
    if not isinstance(values, Mapping):
        return {}
    return {
        str(name): float(f"{value:.6g}")
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and -MAX_SCORE < value < MAX_SCORE
    }


def _protocol(description: Description) -> str:
    """How the scores were measured; empty where it is not recorded."""
    protocol = (description.scores or {}).get("protocol")
    if not isinstance(protocol, Mapping):
        return ""
    parts = {
        "count": "{} generated images",
        "reference_count": "{} real ones",
        "reference_split": "split {}",
        "extractor": "extractor {}",
    }
    known = [text.format(protocol[key]) for key, text in parts.items() if protocol.get(key) is not None]
    return printable(", ".join(known), 500)


def plain(text: str, max_length: int = 500) -> str:
    """Text that Markdown and HTML show as it is: one line, with all signs that mean something there as references.

    References (`&#60;`) are never read as structure (CommonMark 0.31, 2.5).
    """
    return SIGNS.sub(lambda sign: f"&#{ord(sign[0])};", printable(text, max_length))
