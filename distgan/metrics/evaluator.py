"""A generator in, its `Scores` out, on every rank; for `distgan evaluate` and for evaluations during training.

Each rank processes its share of the images in whole batches, so the numbers do not depend on the number of ranks. The
main process computes the values and sends them to the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from distgan.config.choices import METRICS
from distgan.config.schema import DataConfig, EvaluateConfig
from distgan.data import reference
from distgan.data.shards.manifest import Manifest
from distgan.data.shards.selection import ShardSelection
from distgan.data.sources.shapes import CLASSES, SIZES
from distgan.distributed.collectives import Ranks, on_main
from distgan.inference.generator import Generator
from distgan.metrics import cache
from distgan.metrics.distances import MIN_IMAGES, Comparison, Metric, compare_sets
from distgan.metrics.extractors.base import Extractor, load_extractor
from distgan.metrics.feature_pass import Columns, FeaturePass, ImageBatches
from distgan.metrics.manifold import DENSITY_K, MANIFOLD_K, VERSION, VERSIONS, Manifold, estimate_manifold
from distgan.metrics.protocol import FurtherMetric, Protocol, Scores
from distgan.metrics.registry import SHAPES, full_name, scores_of
from distgan.metrics.shapes_coverage import coverage
from distgan.utils.errors import QualityError
from distgan.utils.names import join_names
from distgan.utils.shares import is_even, spread
from distgan.utils.system import usable_cores

T = TypeVar("T")
Named = dict[str, float]
KINDS = {1: "gray", 3: "RGB"}  # of images, by their channels


class Asked(NamedTuple):
    """The class that each of N images was asked for; of a real image its own."""

    labels: Tensor
    """int64 [N], indices of `names`."""
    names: tuple[str, ...]

    def among(self, names: Sequence[str]) -> Tensor | None:
        """The labels as indices of other names, int64 [N]; None if one of the classes is not among them."""
        if not set(self.names) <= set(names):
            return None
        return torch.tensor([names.index(name) for name in self.names])[self.labels]


class Evaluator:
    """Compares generators with one reference. Every rank makes one, and all call its methods together.

    Attributes: protocol, form (size and channels of the real images).
    """

    def __init__(self, config: EvaluateConfig, data: DataConfig, device: torch.device, show: bool) -> None:
        """Opens the reference and loads the extractor.

        device: device of the extractor and of the process group's tensors. show: whether to show progress.
        Raises QualityError or DataError if an extra, weights or images are missing.
        """
        self._config = config
        real_data = data if config.reference is None else reference.elsewhere(data, config.reference)
        manifest, self._shards = reference.open_data(real_data)
        self.form = self._shards.form
        self._shapes = is_shapes(manifest)
        check(config, self._shards.total, self._shapes)
        self._extractor = load_extractor(config, device)
        check_known(self._extractor, self._shards)
        self.protocol = _protocol(config, manifest, self._shards, self._extractor)
        further = {chosen.name: METRICS.build(chosen) for chosen in config.metrics}
        self._metrics = dict[str, Metric](scores_of(config.extractor)) | further
        self._further = {
            full_name(chosen.name, config.extractor): FurtherMetric(
                name=chosen.name, options=chosen.options, better=further[chosen.name].better
            )
            for chosen in config.metrics
        }
        keep = self._shapes or any(getattr(metric, "needs_images", False) for metric in further.values())
        self._feature_pass = FeaturePass(self._extractor, keep, self.form, Ranks(device), show)
        self._ready = self._extractor is None
        self._threads = usable_cores() if device.type != "cpu" else torch.get_num_threads()
        self._reference: Manifold | None = None  # on the main process, once ready
        self._floor: Named | None = None

    def names(self, generator: Generator) -> list[str]:
        """The names of its scores. Raises QualityError if its images have another size, or other channels."""
        self._check_size(generator)
        named = CLASSES if self._shapes else self._extractor.class_names if self._extractor else ()
        asked = requested(generator, 1)
        return names_of(self._config, self._shapes, asked is not None and asked.among(named) is not None)

    def evaluate(self, generator: Generator, truncation: float | None = None) -> Scores:
        """The generator's scores, the same on every rank. truncation: of its latents.

        Raises QualityError if its images have another size, or other channels.
        """
        self._check_size(generator)
        floor = self.prepare()
        counts = self.protocol.class_counts
        shares = dict(zip(self.protocol.reference_classes, counts, strict=True)) if counts else {}
        asked = requested(generator, self.protocol.count, shares)
        make = partial(_generate, generator, truncation, asked and asked.labels)
        values, spreads = self.values_of(make, "generated images", asked)
        return Scores(
            protocol=self.protocol.truncated(truncation),
            values=values,
            further=self._further,
            spreads=spreads,
            real_values=floor,
            images_seen=generator.images_seen,
            weights=generator.description.weights,
            weight_digest=generator.weight_digest,
        )

    def _check_size(self, generator: Generator) -> None:
        size = self.form.size
        if generator.size != size:
            raise QualityError(
                f"the generator makes images of {generator.size}x{generator.size}, the reference has "
                f"{size}x{size}; compare with a data set of size {generator.size}"
            )
        if generator.channels != self.form.channels:
            raise QualityError(
                f"the generator makes {KINDS[generator.channels]} images, the reference has "
                f"{KINDS[self.form.channels]} ones; compare with a data set of {KINDS[generator.channels]} images"
            )

    def prepare(self) -> Named:
        """Computes the statistics of the real images (minutes on a CPU) or loads them from the cache.

        Returns the floor: the values of other real images. `evaluate` calls it as well; later calls take no time.
        Raises DataError for an image that cannot be read.
        """
        self._prepare_reference()
        if self._floor is None:
            self._floor = self._load_floor()
        return self._floor

    def values_of(self, images: ImageBatches, label: str, asked: Asked | None = None) -> tuple[Named, Named]:
        """Values and spreads of any `protocol.count` images.

        label: names the images in the progress. asked: the class that each was asked for.
        """
        self._prepare_reference()
        columns = self._feature_pass.run(images, self.protocol.count, label)
        return self._on_main(lambda: self._values(columns, asked))

    def _prepare_reference(self) -> None:
        if self._ready:
            return
        key = {"what": "reference", **self.protocol.key("count", "seeds")}
        rows = range(self.protocol.reference_count or 0)
        arrays = self._cached(
            key, rows, "real images", lambda columns: estimate_manifold(columns["features"]).to_arrays()
        )
        self._reference = Manifold.from_arrays(arrays) if arrays else None
        self._ready = True

    def _load_floor(self) -> Named:
        """The values of other real images, on every rank; {} if the data set has too few."""
        start = self.protocol.reference_count or 0
        rows = range(start, start + self.protocol.count)
        if rows.stop > self._shards.total:
            return {}
        further = {name: metric.model_dump(mode="json") for name, metric in self._further.items()}
        key = {"what": "floor", **self.protocol.key()} | ({"further": further} if further else {})
        arrays = self._cached(
            key, rows, "other real images",
            lambda columns: cache.numbers(self._values(columns, self._own_classes(rows))[0]),
        )  # fmt: skip
        return on_main(lambda: {name: float(value) for name, value in arrays.items()})

    def _cached(
        self, key: cache.Key, rows: range, label: str, compute: Callable[[Columns], cache.Arrays]
    ) -> cache.Arrays:
        """The arrays under the key, on the main process; {} elsewhere.

        If the cache does not have them, they are computed from these rows of the randomly ordered real images, and
        stored.
        """
        arrays: cache.Arrays = {}

        def load() -> bool:
            arrays.update(cache.load(key) or {})
            return bool(arrays)

        def store(columns: Columns) -> None:
            arrays.update(compute(columns))
            cache.store(key, arrays)

        if not on_main(load):
            columns = self._real_columns(rows, label)
            self._on_main(lambda: store(columns))
        return arrays

    def _on_main(self, work: Callable[[], T]) -> T:
        """`on_main`, with all cores for the main process where its GPU has nothing to do meanwhile.

        Launchers give each process one thread. On CPUs the threads stay as they were set.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            return on_main(work)
        finally:
            torch.set_num_threads(before)

    def _real_columns(self, rows: range, label: str) -> Columns:
        """The columns of these rows of the randomly ordered real images, which are read in the order of the shards."""
        positions, order = reference.choose(self._shards.total, rows).sort()
        columns = self._feature_pass.run(partial(reference.read_images, self._shards, positions), len(rows), label)
        return {name: column[order.argsort()] if len(column) else column for name, column in columns.items()}

    def _own_classes(self, rows: range) -> Asked | None:
        """The classes of these rows of the randomly ordered real images, where the extractor knows them."""
        if not (self._extractor and self._extractor.class_names):
            return None
        positions, order = reference.choose(self._shards.total, rows).sort()
        return Asked(reference.read_labels(self._shards, positions)[order.argsort()], self._shards.classes)

    def _values(self, columns: Columns, asked: Asked | None) -> tuple[Named, Named]:
        """Finite values and spreads by full name, on the main process. asked: see `values_of`."""
        values: Named = coverage(columns["images"], asked and asked.among(CLASSES)) if self._shapes else {}
        spreads: Named = {}
        if self._extractor and self._reference:
            fake, name = estimate_manifold(columns["features"]), self._extractor.name
            images = columns.get("images", columns["logits"][:0])
            of_logits = asked and asked.among(self._extractor.class_names)
            comparison = Comparison(self._reference, fake, columns["logits"], images, of_logits)
            found = compare_sets(comparison, self._metrics)
            values |= {full_name(value, name): number for value, number in found.values.items()}
            spreads = {full_name(value, name): number for value, number in found.spreads.items()}
        return _finite(values), _finite(spreads)


def names_of(config: EvaluateConfig, shapes: bool, conditional: bool) -> list[str]:
    """The names of the scores.

    shapes: whether the reference holds embedded shapes; conditional: whether the generator makes requested classes.
    """
    own = (name for name in scores_of(config.extractor) if conditional or name != "class_accuracy")
    values = (full_name(value, config.extractor) for value in (*own, *(chosen.name for chosen in config.metrics)))
    of_shapes = (f"shapes_{value}" for value in SHAPES if conditional or value != "right_class")
    return [*values, *(of_shapes if shapes else ())]


def is_shapes(manifest: Manifest) -> bool:
    """Whether a data set holds the embedded shapes in colour, which can be recognised from pixels."""
    return manifest.source == "shapes" and manifest.size in SIZES and manifest.channels == 3


def check(config: EvaluateConfig, images: int, shapes: bool) -> None:
    """Raises QualityError if the reference has too few images, or the values cannot be computed from it.

    images: number of images of the reference; shapes: whether it holds embedded shapes.
    """
    if config.extractor == "none":
        if not shapes:
            raise QualityError(
                "evaluate.extractor=none is for the embedded shapes in colour only (`distgan prepare shapes`), and the "
                "reference is another data set; use efficientnet_lite0 or classifier"
            )
    elif images < MIN_IMAGES:
        raise QualityError(
            f"the reference has {images} images, and scores need {MIN_IMAGES} or more; choose a larger data set"
        )
    elif config.reals_of(images) > images:
        raise QualityError(
            f"evaluate.reference_count={config.reference_count} must be {MIN_IMAGES} to {images}, the images that the "
            f"reference has; nearest valid: {images}"
        )


def check_known(extractor: Extractor | None, reals: ShardSelection) -> None:
    """Raises QualityError if the extractor knows classes, and the real images have others, or other channels."""
    if extractor is None or not extractor.class_names:
        return
    unknown = [name for name in reals.classes if name not in extractor.class_names]
    if unknown:
        raise QualityError(
            f"the classifier does not know the class {join_names(unknown[:1])} of the real images (it knows "
            f"{join_names(extractor.class_names[:20])}); make one that does with `distgan classifier DATA --out FILE`, "
            "and name it as evaluate.weights"
        )
    if extractor.channels and extractor.channels != reals.form.channels:
        raise QualityError(
            f"the classifier was trained on {KINDS[extractor.channels]} images, the reference has "
            f"{KINDS[reals.form.channels]} ones; make another with `distgan classifier DATA --out FILE`, and name it "
            "as evaluate.weights"
        )


def requested(generator: Generator, count: int, shares: Mapping[str, int] | None = None) -> Asked | None:
    """The classes that seeds 0 ... count - 1 request; None if the generator is unconditional.

    shares: real images of each class, where they are not equally many: the requested ones are as many. Classes that the
    real images do not have are left out then.
    """
    labels, names = generator.labels(range(count)), tuple(generator.class_names)
    if labels is None:
        return None
    counts = [(shares or {}).get(name, 0) for name in names]
    return Asked(spread(count, counts) if any(counts) else labels, names)


def _protocol(
    config: EvaluateConfig, manifest: Manifest, shards: ShardSelection, extractor: Extractor | None
) -> Protocol:
    return Protocol(
        extractor=config.extractor,
        extractor_options=extractor.options if extractor else {},
        extractor_digest=extractor.digest if extractor else None,
        resize=extractor.resize if extractor else None,
        precision=config.precision,
        count=config.count,
        seeds=f"0-{config.count - 1}",
        reference_digest=manifest.digest,
        channels=manifest.channels,
        reference_split=manifest.split,
        reference_classes=shards.classes,
        class_counts=None if is_even(shards.class_counts) else shards.class_counts,
        reference_count=config.reals_of(shards.total) if extractor else None,
        manifold_k=MANIFOLD_K if extractor else None,
        density_k=DENSITY_K if extractor else None,
        version=VERSIONS.get(config.extractor, VERSION),
    )


def _finite(named: Named) -> Named:
    return {name: number for name, number in named.items() if math.isfinite(number)}


def _generate(
    generator: Generator, truncation: float | None, labels: Tensor | None, seeds: range, batch: int
) -> Iterator[Tensor]:
    """Yields the images of consecutive seeds, uint8 [<= batch, channels, size, size] at a time. labels: by seed."""
    for start in range(seeds.start, seeds.stop, batch):
        part = range(start, min(start + batch, seeds.stop))
        chosen = None if labels is None else labels[part.start : part.stop]
        yield generator.pixels(generator.latents(part, truncation), chosen, batch)
