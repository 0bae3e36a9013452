"""Checks that all ranks hold the same weights and got different rows of the batch.

In: a trainer, on every rank. Out: nothing, or Disagreement on every rank, which names rank and tensor. A digest is one
number per tensor, computed on the device from its bits; only digests cross the network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from distgan.config.load import resume_changes
from distgan.config.schema import Config
from distgan.distributed.collectives import gather_objects
from distgan.training.trainer import Trainer
from distgan.utils.errors import Disagreement, LaunchError
from distgan.utils.rng import Rows

SUSPICIONS = 3  # checks in a row with equal images, before that is no chance; data sets may hold doubles
NAMED = 4  # tensors in the sentence
OWN = {  # settings that a machine may have for itself
    *("data.path", "data.cache", "data.tries", "data.stall_seconds", "data.workers"),
    *("data.resident_limit_mb", "data.resident_on", "train.cpu_threads"),
}
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class ConsistencyCheck:
    """Compares the ranks. Attribute: suspicions, how often in a row it has seen equal images."""

    def __init__(self, accelerator: Accelerator, images: bool) -> None:
        """images: whether these are compared, too."""
        self.accelerator, self.images = accelerator, images
        self.suspicions = 0

    def check(self, trainer: Trainer) -> None:
        """Compares digests of G, D and the average of G, and of the last latents and images, if there has been a step
        since the start. A collective.

        Raises Disagreement on every rank. One all-gather of 8 bytes per tensor, and one copy to the host.
        """
        if self.accelerator.num_processes == 1:
            return
        held = weights(trainer) | {"seed (random numbers)": common_numbers(trainer)}
        own = trainer.last
        ours = torch.stack([digest(tensor) for tensor in (*held.values(), *own.values())])
        by_rank = self.accelerator.gather(ours[None]).tolist()
        if found := unequal([row[: len(held)] for row in by_rank], list(held)):
            raise Disagreement(f"at step {trainer.steps} {found}; {_WHAT_NOW}")
        twins = {name: equal([row[len(held) + index] for row in by_rank]) for index, name in enumerate(own)}
        self.suspicions = self.suspicions + 1 if self.images and twins.get("images") else 0
        if twins.get("latents") or self.suspicions == SUSPICIONS:
            what = "latents" if twins.get("latents") else "images"
            raise Disagreement(f"at step {trainer.steps} {twins[what]} got the same {what}; {_WHAT_NOW}")


_WHAT_NOW = (
    "training has stopped, the checkpoints are from before: the same command goes on from the newest. If this comes "
    "again, a machine computes or communicates wrongly (the newest change of code, drivers, memory)"
)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    """Tensors that must be equal on all ranks, buffers included: {"d/features.0.weight": tensor}."""
    networks = {"g": trainer.g.network, "d": trainer.d.network, "ema": trainer.ema.network}
    return {f"{part}/{name}": value for part, net in networks.items() for name, value in net.state_dict().items()}


def common_numbers(trainer: Trainer) -> Tensor:
    """Random numbers of a global batch, equal on all ranks."""
    draws = trainer.draws
    complete = draws.for_rows(Rows(0, draws.rows.total, draws.rows.total))
    return complete.at("guard", trainer.steps).uniform()


def check_same_recipe(accelerator: Accelerator, config: Config) -> None:
    """Raises LaunchError on every rank if one was started with another configuration than rank 0.

    Intervals must be equal as well, since ranks meet for what is done. Only the settings in OWN may differ.
    """
    if accelerator.num_processes == 1:
        return
    everyone = gather_objects(config.model_dump(mode="json"))
    for rank, theirs in enumerate(everyone):
        harmless, refused = resume_changes(everyone[0], Config.model_validate(theirs))
        if changes := [change for change in (*refused, *harmless) if change.split(":")[0] not in OWN]:
            raise LaunchError(f"rank {rank} was started with another configuration than rank 0: {'; '.join(changes)}")


def check_same_data(accelerator: Accelerator, data_digest: str, mode: str) -> None:
    """Raises LaunchError on every rank if one sees other images than rank 0, or reads them in another mode."""
    if accelerator.num_processes == 1:
        return
    everyone = gather_objects((data_digest, mode))
    for rank, (theirs, their_mode) in enumerate(everyone):
        if theirs != everyone[0][0]:
            raise LaunchError(f"rank {rank} sees other images in its data.path than rank 0")
        if their_mode != everyone[0][1]:
            raise LaunchError(
                f"data.mode is {their_mode} on rank {rank} and {everyone[0][1]} on rank 0; set it, or the same "
                "data.resident_limit_mb on all machines"
            )


def digest(tensor: Tensor) -> Tensor:
    """One int64 made of a tensor's bits and their positions; a change of one element always changes it."""
    bits = tensor.detach().reshape(-1)
    bits = bits.to(torch.uint8) if bits.dtype == torch.bool else bits.view(_BITS[bits.element_size()])
    odd = torch.arange(1, 2 * bits.numel(), 2, device=bits.device)  # modulo 2^64 an odd factor loses nothing
    return (bits.to(torch.int64) * odd).sum()


def unequal(by_rank: Sequence[Sequence[int]], names: Sequence[str]) -> str | None:
    """A sentence about the rank that differs from most (of two: from rank 0), or None.

    by_rank: digests, [rank][tensor]; names: of the tensors.
    """
    different = [index for index in range(len(names)) if len({row[index] for row in by_rank}) > 1]
    if not different:
        return None
    votes = Counter(tuple(row[index] for index in different) for row in by_rank)
    usual, count = votes.most_common(1)[0]
    if count == 1:  # no two agree
        usual = tuple(by_rank[0][index] for index in different)
    rank, row = next((r, row) for r, row in enumerate(by_rank) if tuple(row[index] for index in different) != usual)
    wrong = [names[index] for index, number in zip(different, usual, strict=True) if row[index] != number]
    more = f" and {len(wrong) - NAMED} more tensors" if len(wrong) > NAMED else ""
    than = "rank 0" if count == 1 else "most"
    return f"rank {rank} holds another {', '.join(wrong[:NAMED])}{more} than {than}"


def equal(numbers: Sequence[int]) -> str | None:
    """The first two ranks with the same number, or None."""
    seen: dict[int, int] = {}
    for rank, number in enumerate(numbers):
        if number in seen:
            return f"ranks {seen[number]} and {rank}"
        seen[number] = rank
    return None
