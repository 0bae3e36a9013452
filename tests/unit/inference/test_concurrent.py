"""A generator in threads, in a DataLoader's workers, and in half precision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from distgan.inference.formats.write import write_portable
from distgan.inference.generator import load_generator
from distgan.utils.errors import ExportError
from tests.unit.inference.test_formats import RECIPES, generator_of
from tests.unit.inference.test_sampling import NAMES, export


class Samples(Dataset):
    """The image of each seed, made when it is asked for."""

    def __init__(self, generator):
        self.generator = generator

    def __len__(self):
        return 12

    def __getitem__(self, seed):
        return self.generator.sample([seed], NAMES[seed % 3], truncation=0.8)[0], torch.initial_seed()


@pytest.fixture
def generator(tmp_path):
    return load_generator(export(tmp_path / "g.safetensors", conditional=True))


def test_threads_that_sample_at_once_make_the_bits_of_one_alone(generator):
    parts = [range(start, start + 9) for start in range(0, 90, 9)]
    alone = [generator.sample(part) for part in parts]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            together = list(pool.map(generator.sample, parts))
            assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers are not touched"
    assert torch.backends.cudnn.allow_tf32, "nor its settings"


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_of_a_dataloader_make_the_same_images_whatever_their_own_seeds_are(generator, start):
    wanted = torch.cat([generator.sample([seed], NAMES[seed % 3], truncation=0.8) for seed in range(12)])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    alone = torch.cat([generator.sample([seed], NAMES[seed % 3], truncation=0.8) for seed in range(12)])
    torch.set_num_threads(threads)
    loader = DataLoader(Samples(generator), batch_size=4, num_workers=2, multiprocessing_context=start)
    images, seeds = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert len(set(seeds.tolist())) == 2, "each worker has a seed of its own"
    assert torch.equal(images, alone)
    assert (images.int() - wanted.int()).abs().max() <= 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_half_precision_is_a_copy_with_a_small_difference(recipe):
    generator = generator_of(recipe)
    half = generator.half()
    assert (half.precision, generator.precision) == ("fp16", "fp32")
    assert repr(half) == repr(generator)[:-1] + ", fp16)"
    images, wanted = half.sample(range(16)), generator.sample(range(16))
    assert 1 <= (images.int() - wanted.int()).abs().max() <= 4
    assert torch.equal(half.latents([3]), generator.latents([3]))
    assert half(half.latents([3]), half.labels([3])).dtype == torch.float32
    assert len(half.images([1, 2])) == 2
    assert half.grid([1, 2])
    assert len(half.interpolate(1, 2, 3)) == 3


def test_rounded_weights_go_into_no_file(generator, tmp_path):
    half = generator.half()
    for write in (lambda: half.save_pretrained(tmp_path / "x"), lambda: write_portable(half, tmp_path / "x.pt", "pt2")):
        with pytest.raises(ExportError, match="rounded to fp16 by half.*export the one that it is a copy of"):
            write()
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]
