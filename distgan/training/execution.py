"""CUDA graphs: forward and backward of an update, recorded once, then replayed without Python between the kernels.

A replay repeats the same kernels on the same memory. What is another in every update (images, labels, random numbers)
is therefore copied into the memory that the recording reads. What a recording has baked in (which penalties are taken,
D's dropout) is its key: another key is another recording, made when it comes for the third time. Update rules and
averages stay outside.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from distgan.config.schema import TrainConfig
from distgan.data.dataset import Batch
from distgan.training.penalties import Weights
from distgan.utils.rng import Draws

T = TypeVar("T")
MAX_KEYS = 8  # that are remembered


class StepInputs(NamedTuple):
    """What is another in every update. The counter of `draws` is the update."""

    draws: Draws
    batch: Batch
    weights: Weights


Work = Callable[[StepInputs], dict[str, Tensor]]
"""Adds an update's gradients to `.grad`, which is None before. Returns metrics, scalars on the device."""


def why_unsupported(config: TrainConfig, device: torch.device, processes: int) -> str:
    """Why this training cannot have graphs; empty: it can."""
    if device.type != "cuda":
        return "there is no GPU"
    if processes > 1:
        return "only a single process can record its step"
    return "train.share_fakes=true joins the two updates" if config.share_fakes else ""


class Recorder(Protocol):
    """What records; tests have one for the CPU."""

    def warm(self, work: Callable[[], T]) -> T:
        """Does the work, as it will be done while recording."""

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        """Does the work without doing it: its tensors have no values before what is also returned, the replay."""


class CudaRecorder:
    """Recordings share their memory: they are replayed one after another, and what they give is kept alive."""

    def __init__(self, device: torch.device) -> None:
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def warm(self, work: Callable[[], T]) -> T:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = work()
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        graph, before, cause = torch.cuda.CUDAGraph(), torch.cuda.current_stream(), ""
        try:
            # thread_local: the loader and the checkpoint's writer may use the GPU meanwhile
            with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"):
                try:
                    result = work()
                except RuntimeError as error:
                    cause = str(error)  # ending the recording raises another one, which does not tell
                    raise
        except RuntimeError as error:
            torch.cuda.set_stream(before)  # a recording that fails leaves its own
            self._close_pool()
            raise RuntimeError(cause or str(error)) from error
        return result, graph.replay

    def _close_pool(self) -> None:
        """A recording that an operation has made invalid ends without telling the allocator, to which it would then be
        under way for ever. Where it was told, it says so."""
        with suppress(RuntimeError):
            newer = hasattr(torch._C, "_cuda_endAllocateToPool")  # torch 2.6 has the other
            end = "_cuda_endAllocateToPool" if newer else "_cuda_endAllocateCurrentStreamToPool"
            getattr(torch._C, end)(self.stream.device_index, self.pool)
            torch._C._cuda_releasePool(self.stream.device_index, self.pool)


class RecordedDraw(NamedTuple):
    """Random numbers of one update, and how to draw those of another."""

    draws: Draws
    kind: Callable[..., Tensor]
    shape: tuple[int, ...]
    buffer: Tensor

    def refill(self, turn: int) -> None:
        """turn: the update, which is the first counter."""
        drawn = replace(self.draws, counters=(turn, *self.draws.counters[1:]))
        self.buffer.copy_(drawn.take(self.kind, self.shape))


@dataclass
class DrawTape:
    """All random numbers that the work takes, in order."""

    cards: list[RecordedDraw] = field(default_factory=list)
    replaying: Iterator[RecordedDraw] | None = None
    """Set while the work is recorded, which is handed what was held when it was last done."""

    def take(self, draws: Draws, kind: Callable[..., Tensor], shape: Sequence[int]) -> Tensor:
        if self.replaying is not None:
            return next(self.replaying).buffer
        self.cards.append(RecordedDraw(draws, kind, tuple(shape), draws.take(kind, shape)))
        return self.cards[-1].buffer


@dataclass(frozen=True)
class TapedRandom(Draws):
    """Draws that keep what was taken."""

    deck: DrawTape = field(default_factory=DrawTape)

    @classmethod
    def like(cls, draws: Draws, deck: DrawTape) -> TapedRandom:
        return cls(draws.seed, draws.rows, draws.device, draws.purpose, draws.counters, deck)

    def take(self, kind: Callable[..., Tensor], shape: Sequence[int]) -> Tensor:
        plain = Draws(self.seed, self.rows, self.device, self.purpose, self.counters)
        return self.deck.take(plain, kind, shape)


@dataclass(frozen=True)
class Recording:
    """One key's."""

    buffer: StepInputs
    deck: DrawTape
    names: list[str]
    metrics: Tensor
    """[names]"""
    gradients: list[Tensor | None]
    repeat: Callable[[], None]

    @classmethod
    def make(
        cls, recorder: Recorder, work: Work, given: StepInputs, parameters: Sequence[Tensor], deck: DrawTape
    ) -> Recording:
        """Raises RuntimeError where something in the work cannot be recorded."""
        scalars = (
            None
            if weight is None
            else torch.as_tensor(weight, dtype=torch.get_default_dtype(), device=given.draws.device)
            for weight in given.weights
        )
        batch = Batch(given.batch.images.clone(), given.batch.labels.clone())
        buffer = StepInputs(TapedRandom.like(given.draws, deck), batch, Weights(*scalars))
        deck.replaying = iter(deck.cards)

        def recorded() -> tuple[list[str], Tensor]:
            metrics = work(buffer)
            return list(metrics), torch.stack(list(metrics.values()))

        (names, metrics), repeat = recorder.record(recorded)
        return cls(buffer, deck, names, metrics, [parameter.grad for parameter in parameters], repeat)

    def replay(self, given: StepInputs, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
        for buffer, new in zip(self.buffer.batch, given.batch, strict=True):
            buffer.copy_(new)
        for scalar, weight in zip(self.buffer.weights, given.weights, strict=True):
            if isinstance(scalar, Tensor) and weight is not None:
                scalar.fill_(weight)
        for card in self.deck.cards:
            card.refill(given.draws.counters[0])
        self.repeat()
        for parameter, gradient in zip(parameters, self.gradients, strict=True):
            parameter.grad = gradient  # the update before has dropped it
        return dict(zip(self.names, self.metrics.clone().unbind(), strict=True))


def run_eager(_key: Hashable, work: Work, given: StepInputs, _parameters: Sequence[Tensor]) -> dict[str, Tensor]:
    """The same as `Graphs` without any."""
    return work(given)


class Graphs:
    """Does an update's work: the first and the second time as usual, then by recording it and replaying that."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.failure = recorder, ""
        """failure: why nothing is recorded any more; empty: it is."""
        self.known: dict[Hashable, DrawTape | Recording | None] = {}
        """By key: None after the first time; the numbers that it took after the second."""

    def __call__(self, key: Hashable, work: Work, given: StepInputs, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
        """key: all that the work takes from elsewhere than `given`; parameters: whose gradients it makes.

        Where recording fails, it says so once, and all work is done as usual from then on.
        """
        if self.failure:
            return work(given)
        key = (key, given.weights.taken)
        first, known = key not in self.known, self.known.pop(key, None)
        if isinstance(known, DrawTape):
            try:
                known = Recording.make(self.recorder, work, given, parameters, known)
            except RuntimeError as error:
                self._give_up(error, parameters)
            if self.failure:  # not above: there, the error still holds what the recording has made
                return work(given)
        if isinstance(known, Recording):
            metrics = known.replay(given, parameters)
        elif first:
            metrics = self.recorder.warm(lambda: work(given))
        else:
            deck = known = DrawTape()
            metrics = self.recorder.warm(lambda: work(given._replace(draws=TapedRandom.like(given.draws, deck))))
        self.known[key] = known  # now the newest
        if len(self.known) > MAX_KEYS:
            self.known.pop(next(iter(self.known)))
        return metrics

    def _give_up(self, error: RuntimeError, parameters: Sequence[Tensor]) -> None:
        self.failure = str(error)
        self.known.clear()
        for parameter in parameters:
            parameter.grad = None
        warnings.warn(f"train.graphs=on: this step cannot be recorded, so it runs without: {error}", stacklevel=2)
