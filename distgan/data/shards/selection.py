"""The part of a data set that is read: shards, classes, and the form of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from distgan.data.remote.store import Location
from distgan.data.shards.decode import ImageForm
from distgan.data.shards.manifest import AnyLayout, Manifest, Shard
from distgan.utils.errors import DataError
from distgan.utils.names import join_names, known_names


@dataclass(frozen=True)
class ShardSelection:
    """The shards of a data set that hold images of the selected classes."""

    location: Location
    form: ImageForm
    classes: tuple[str, ...]
    """Names of the selected classes, in the manifest's order."""
    label_map: dict[int, int]
    """Label in the shards -> index in `classes`."""
    shards: tuple[Shard, ...]
    """Those with at least one selected image."""
    layout: AnyLayout
    label: str = "cls"
    """Where a sample's class is, in shards of other makers."""
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Text of a class in shards of other makers -> label."""

    def count(self, shard: Shard) -> int:
        """Returns the number of selected images in a shard."""
        return sum(shard.class_counts[label] for label in self.label_map)

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Images of each selected class."""
        return tuple(sum(shard.class_counts[label] for shard in self.shards) for label in self.label_map)

    @property
    def size(self) -> int:
        """Height and width of the images, pixels."""
        return self.form.size

    @property
    def image_bytes(self) -> int:
        """Of a decoded image."""
        return self.form.channels * self.form.size**2

    @property
    def total(self) -> int:
        """Number of selected images."""
        return sum(self.count(shard) for shard in self.shards)


def select_shards(location: Location, manifest: Manifest, classes: Sequence[str] | None) -> ShardSelection:
    """Selects the images of some classes; None: all.

    Raises DataError for a class that is unknown or named twice, or if no image is left.
    """
    for name in classes or ():
        if classes and classes.count(name) > 1:
            raise DataError(f"data.classes={join_names(classes)} names {join_names([name])} twice; name each once")
        if name not in manifest.classes:
            known = known_names(name, manifest.classes)
            raise DataError(f"data.classes={join_names([name])}: {location} has no such class; {known}")
    names = tuple(name for name in manifest.classes if classes is None or name in classes)
    labels = {name: label for label, name in enumerate(manifest.classes)}
    label_map = {labels[name]: index for index, name in enumerate(names)}
    shards = tuple(shard for shard in manifest.shards if any(shard.class_counts[label] for label in label_map))
    if not shards:
        raise DataError(f"{location} holds no image of the classes {', '.join(names)}")
    if manifest.reading is None:
        form = ImageForm(manifest.size, manifest.channels)
        return ShardSelection(location, form, names, label_map, shards, manifest.layout)
    form = ImageForm(manifest.size, manifest.channels, manifest.reading.fit, exact=False)
    return ShardSelection(location, form, names, label_map, shards, manifest.layout, manifest.reading.label, labels)
