"""The reference images: exactly as many as asked for, all different, a function of the data set alone."""

from __future__ import annotations

import pytest
import torch

from distgan.config.schema import DataConfig
from distgan.data import reference
from distgan.data.bad_samples import SkipBudget
from distgan.data.resident import load_images
from distgan.utils.errors import DataError


def test_the_choice_is_exact_without_doubles_and_the_same_again():
    first, others = reference.choose(300, range(100)), reference.choose(300, range(100, 160))
    assert (len(first), len(others)) == (100, 60)
    assert len({*first.tolist(), *others.tolist()}) == 160
    assert {*first.tolist(), *others.tolist()} <= set(range(300))
    assert torch.equal(reference.choose(300, range(160)), torch.cat([first, others]))
    assert first[:5].tolist() == [207, 62, 10, 298, 227], "also on another machine"


@pytest.mark.parametrize("classes", [None, ("heart", "star")])
def test_the_chosen_images_are_those_at_their_indices(shapes, classes):
    _, selection = reference.open_data(DataConfig(path=shapes, classes=classes))
    everything, _ = load_images(selection, SkipBudget(0), progress=False)
    indices = reference.choose(selection.total, range(40)).sort().values
    batches = list(reference.read_images(selection, indices, range(40), 16))
    assert [len(batch) for batch in batches] == [16, 16, 8]
    assert torch.equal(torch.cat(batches), everything[indices])
    assert torch.equal(
        torch.cat(list(reference.read_images(selection, indices, range(16, 33), 16))), everything[indices[16:33]]
    )


def test_near_images_lie_in_as_few_shards_as_hold_them(shapes):
    _, selection = reference.open_data(DataConfig(path=shapes))
    assert reference.choose_from_few_shards(selection, 300).tolist() == list(range(300)), "all there are"
    for count, shards in ((10, 1), (60, 1), (61, 2), (240, 4)):
        indices = reference.choose_from_few_shards(selection, count)
        assert len(set(indices.tolist())) == count
        assert torch.equal(indices, indices.sort().values)
        assert len(set((indices // 60).tolist())) == shards


def test_only_the_chosen_images_are_decoded(shapes, monkeypatch):
    _, selection = reference.open_data(DataConfig(path=shapes))
    names = []
    decoded = reference.try_decode
    monkeypatch.setattr(reference, "try_decode", lambda item, size: names.append(item.name) or decoded(item, size))
    assert len(torch.cat(list(reference.read_images(selection, torch.tensor([3, 70, 71]), range(3), 2)))) == 3
    assert len(names) == 3


def test_a_chosen_image_that_cannot_be_read_is_reported(shapes, tmp_path):
    for path in shapes.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    _, selection = reference.open_data(DataConfig(path=tmp_path))
    (tmp_path / selection.shards[1].name).unlink()
    assert len(list(reference.read_images(selection, torch.tensor([3]), range(1), 1))) == 1
    with pytest.raises(DataError, match=f"{selection.shards[1].name} is missing"):
        list(reference.read_images(selection, torch.tensor([3, 70]), range(2), 2))
