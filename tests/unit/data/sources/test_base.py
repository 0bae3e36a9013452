"""The protocol of sources: a source that distgan does not know is prepared as the built-in ones are."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from distgan.data.prepare import Request, prepare
from distgan.data.sources.base import Offer, Source, SourceImages, select_classes
from distgan.utils.errors import DataError
from tests.support.shards import members


@dataclass(frozen=True)
class Grey:
    """Images of one grey value each: dark ones below 128, light ones from 128 on."""

    count: int = 20
    bad: int = -1

    def offer(self, split, classes):
        names = select_classes(("dark", "light"), classes)
        return Offer("grey", 8, names, {"count": self.count}, lambda progress: self.images(names))

    def images(self, names):
        values = np.linspace(0, 255, self.count).astype(int)
        keys = np.flatnonzero(np.isin(np.where(values < 128, "dark", "light"), names))
        labels = np.array([names.index("dark" if values[key] < 128 else "light") for key in keys])

        def read(rows):
            return [None if key == self.bad else np.full((8, 8, 3), values[key], np.uint8) for key in keys[rows]]

        return SourceImages(keys, labels, read, ["one is left out"] if self.bad >= 0 else [])


def test_a_source_from_outside_needs_only_an_offer(tmp_path, capsys):
    source: Source = Grey()
    request = Request(tmp_path / "grey", source, shard_size=8)
    manifest = prepare(request, progress=False)
    assert (manifest.source, manifest.class_counts) == ("grey", {"dark": 10, "light": 10})
    assert [shard.count for shard in manifest.shards] == [8, 8, 4]
    assert prepare(request, progress=False) == manifest
    with pytest.raises(DataError, match="made with count = 20, not 30"):
        prepare(replace(request, source=Grey(30)), progress=False)
    with pytest.raises(DataError, match=r"class 'drak' is not in this data set; nearest: dark"):
        prepare(replace(request, classes=("drak",)), progress=False)
    manifest = prepare(replace(request, source=Grey(bad=3), classes=("dark",), overwrite=True), progress=False)
    assert manifest.class_counts == {"dark": 9}
    assert capsys.readouterr().err == "note: one is left out\n"
    keys = [name for shard in manifest.shards for name, _ in members(tmp_path / "grey" / shard.name)]
    assert "000000003.png" not in keys


def test_an_offer_alone_loads_nothing(tmp_path, monkeypatch):
    prepare(Request(tmp_path / "grey", Grey()), progress=False)
    monkeypatch.setattr(Grey, "images", None)
    prepare(Request(tmp_path / "grey", Grey()), progress=False)
