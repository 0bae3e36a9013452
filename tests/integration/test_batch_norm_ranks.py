"""Two processes, and three, with a share of the batch each normalise as one process with all of it."""

from pathlib import Path

import pytest
import torch

from tests.support import warm
from tests.support.workers import batch_norm

pytestmark = pytest.mark.slow


def play(out: Path, ranks: int, dtype: str) -> list[dict[str, torch.Tensor]]:
    code, output = warm.run(batch_norm.play, out, dtype, processes=ranks)
    assert code == 0, output
    return [torch.load(f"{out}.{rank}", weights_only=True) for rank in range(ranks)]


@pytest.mark.parametrize(
    ("ranks", "dtype", "bound"), [(2, "float64", 1e-12), (3, "float64", 1e-12), (2, "float32", 1e-5)]
)
def test_images_gradients_and_running_statistics_are_those_of_one_process(tmp_path, ranks, dtype, bound):
    """Under DistributedDataParallel as it is by default: every weight has its gradient in its player's own step."""
    (one,) = play(tmp_path / "one", 1, dtype)
    many = play(tmp_path / "many", ranks, dtype)
    for name, expected in one.items():
        if "/rows/" in name:
            ours = torch.cat([rank[name] for rank in many])
        else:
            ours = many[0][name]
            assert all(torch.equal(rank[name], ours) for rank in many), f"all ranks hold the same {name}"
        assert (ours - expected).norm() <= bound * expected.norm(), name
