"""A generator in, its `Scores` out, on every rank: what `distgan evaluate` and the training loop call.

Each rank looks at its own share of the images in whole batches, so the batches, and with them the numbers, do not
depend on the number of ranks. The values are computed on the main process and told to the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from distgan.config.schema import DataConfig, EvaluateConfig
from distgan.data import reference
from distgan.data.shards.manifest import Manifest
from distgan.data.shards.reader import ShardSelection
from distgan.data.sources.shapes import CLASSES, SIZE
from distgan.distributed.collectives import Ranks, on_main
from distgan.inference.generator import Generator
from distgan.metrics import cache
from distgan.metrics.distances import MIN, compare_sets
from distgan.metrics.extractors.base import Extractor, load_extractor
from distgan.metrics.feature_pass import Columns, FeaturePass, ImageBatches
from distgan.metrics.manifold import DENSITY, MANIFOLD, VERSION, Cloud, cloud
from distgan.metrics.protocol import Protocol, Scores
from distgan.metrics.registry import DIRECTIONS, SHAPES, full_name
from distgan.metrics.shapes_coverage import coverage
from distgan.utils.errors import QualityError

Named = dict[str, float]


class Evaluator:
    """Every rank makes one, and all call it together. Attributes: protocol, size (pixels of the real images)."""

    def __init__(self, config: EvaluateConfig, data: DataConfig, device: torch.device, show: bool) -> None:
        """device: where the extractor works and the process group's tensors are. show: whether to show progress.

        Raises QualityError or DataError if an extra, weights or images are missing.
        """
        self._config = config
        place = data if config.reference is None else data.model_copy(update={"path": config.reference})
        manifest, self._wanted = reference.open_data(place)
        self.size = manifest.size
        self._shapes = is_shapes(manifest)
        check(config, self._wanted.total, self._shapes)
        self._extractor = load_extractor(config, device)
        self.protocol = protocol_of(config, manifest, self._wanted, self._extractor)
        self._ranks = Ranks(device)
        self._looker = FeaturePass(self._extractor, self._shapes, self.size, self._ranks, show)
        self._ready = self._extractor is None
        self._reference: Cloud | None = None  # on the main process, once ready
        self._floor: Named | None = None

    def names(self, generator: Generator) -> list[str]:
        """What its scores will be called. Raises QualityError if its images have another size."""
        self._check_size(generator)
        return names_of(self._config, self._shapes, asked_for(generator, 1) is not None)

    def evaluate(self, generator: Generator) -> Scores:
        """The same scores on every rank. Raises QualityError if the generator's images have another size."""
        self._check_size(generator)
        floor = self.prepare()
        labels = asked_for(generator, self.protocol.count)
        values, spreads = self.values_of(partial(fakes, generator), "generated images", labels)
        return Scores(
            protocol=self.protocol,
            values=values,
            spreads=spreads,
            real_values=floor,
            images_seen=generator.images_seen,
            weights=generator.description.weights,
            weight_digest=generator.weight_digest,
        )

    def _check_size(self, generator: Generator) -> None:
        if generator.size != self.size:
            raise QualityError(
                f"the generator makes images of {generator.size}x{generator.size}, the reference has "
                f"{self.size}x{self.size}; compare with a data set of size {generator.size}"
            )

    def prepare(self) -> Named:
        """Looks at the real images, once (minutes on a CPU), or finds in the cache what was seen; returns the floor.

        Every rank calls it together; `evaluate` does, too. Raises DataError for an image that cannot be read.
        """
        self._see_reference()
        if self._floor is None:
            self._floor = self._see_floor()
        return self._floor

    def values_of(self, images: ImageBatches, what: str, labels: Tensor | None = None) -> tuple[Named, Named]:
        """Values and spreads of `protocol.count` images, whatever made them. Every rank calls it together.

        what: for the progress. labels: int64 [count], place in `shapes.CLASSES` of what each is to show.
        """
        self._see_reference()
        seen = self._looker.look(images, self.protocol.count, what)
        return on_main(lambda: self._values(seen, labels))

    def _see_reference(self) -> None:
        if self._ready:
            return
        key = {"what": "reference", **self.protocol.model_dump(mode="json", exclude={"count", "seeds"})}
        rows = range(self.protocol.reference_count or 0)
        arrays = self._known(key, rows, "real images", lambda seen: cloud(seen["features"]).arrays())
        self._reference = Cloud.of_arrays(arrays) if arrays else None
        self._ready = True

    def _see_floor(self) -> Named:
        """The values of other real images, on every rank; {} where the data set has too few."""
        start = self.protocol.reference_count or 0
        rows = range(start, start + self.protocol.count)
        if rows.stop > self._wanted.total:
            return {}
        key = {"what": "floor", **self.protocol.model_dump(mode="json")}
        arrays = self._known(key, rows, "other real images", lambda seen: cache.numbers(self._values(seen, None)[0]))
        return on_main(lambda: {name: float(value) for name, value in arrays.items()})

    def _known(
        self, key: cache.Key, rows: range, what: str, compute: Callable[[Columns], cache.Arrays]
    ) -> cache.Arrays:
        """On the main process what the cache has under the key, or else what is computed of the real images in these
        rows of the random order, and then stored; {} elsewhere."""
        arrays: cache.Arrays = {}

        def recall() -> bool:
            arrays.update(cache.load(key) or {})
            return bool(arrays)

        def remember(seen: Columns) -> None:
            arrays.update(compute(seen))
            cache.store(key, arrays)

        if not on_main(recall):
            seen = self._look_at_reals(rows, what)
            on_main(lambda: remember(seen))
        return arrays

    def _look_at_reals(self, rows: range, what: str) -> Columns:
        places, order = reference.choose(self._wanted.total, rows).sort()  # the shards are read in their order
        seen = self._looker.look(partial(reference.read_images, self._wanted, places), len(rows), what)
        return {name: column[order.argsort()] if len(column) else column for name, column in seen.items()}

    def _values(self, seen: Columns, labels: Tensor | None) -> tuple[Named, Named]:
        """Values and spreads by their full names, on the main process; what is NaN or infinite is no value.

        labels: of the shapes that were asked for.
        """
        values: Named = coverage(seen["images"], labels) if self._shapes else {}
        spreads: Named = {}
        if self._extractor and self._reference:
            found = compare_sets(self._reference, cloud(seen["features"]), seen["logits"])
            name = self._extractor.name
            values |= {full_name(value, name): number for value, number in found.values.items()}
            spreads = {full_name(value, name): number for value, number in found.spreads.items()}
        return finite(values), finite(spreads)


def names_of(config: EvaluateConfig, shapes: bool, asked: bool) -> list[str]:
    """What scores will be called.

    shapes: the reference is of embedded shapes; asked: G is asked for their classes.
    """
    values = () if config.extractor == "none" else (full_name(value, config.extractor) for value in DIRECTIONS)
    told = (f"shapes_{value}" for value in SHAPES if asked or value != "right_class")
    return [*values, *(told if shapes else ())]


def is_shapes(manifest: Manifest) -> bool:
    """Whether it is a data set of the embedded shapes, whose truth is known."""
    return manifest.source == "shapes" and manifest.size == SIZE


def check(config: EvaluateConfig, images: int, shapes: bool) -> None:
    """Raises QualityError for numbers of images that cannot be, or values that cannot be computed."""
    if config.extractor == "none":
        if not shapes:
            raise QualityError(
                "evaluate.extractor=none looks at the embedded shapes only (`distgan prepare shapes`), and the "
                "reference is another data set; use efficientnet_lite0, or train without scores "
                "(evaluate.every_images=null)"
            )
    elif config.reference_count > images:
        raise QualityError(
            f"evaluate.reference_count={config.reference_count} must be {MIN} to {images}, the images that the "
            f"reference has; nearest valid: {images}"
        )


def protocol_of(
    config: EvaluateConfig, manifest: Manifest, wanted: ShardSelection, extractor: Extractor | None
) -> Protocol:
    return Protocol(
        extractor=config.extractor,
        extractor_digest=extractor.digest if extractor else None,
        resize=extractor.resize if extractor else None,
        precision=config.precision,
        count=config.count,
        seeds=f"0-{config.count - 1}",
        reference_digest=manifest.digest,
        reference_split=manifest.split,
        reference_classes=wanted.classes,
        reference_count=config.reference_count if extractor else None,
        manifold_k=MANIFOLD if extractor else None,
        density_k=DENSITY if extractor else None,
        version=VERSION,
    )


def finite(named: Named) -> Named:
    return {name: number for name, number in named.items() if math.isfinite(number)}


def fakes(generator: Generator, seeds: range, batch: int) -> Iterator[Tensor]:
    """The images of consecutive seeds, uint8 [<= batch, 3, size, size] at a time."""
    for start in range(seeds.start, seeds.stop, batch):
        yield generator.sample(range(start, min(start + batch, seeds.stop)), batch_size=batch)


def asked_for(generator: Generator, count: int) -> Tensor | None:
    """Which of the embedded shapes the seeds 0 ... count - 1 ask for, int64 [count]; None: no shapes, or no classes."""
    labels = generator.labels(range(count))
    if labels is None or not set(generator.class_names) <= set(CLASSES):
        return None
    return torch.tensor([CLASSES.index(name) for name in generator.class_names])[labels]
