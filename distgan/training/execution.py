"""Executes an update's forward and backward: eagerly, compiled, or as a CUDA graph.

Compiled: `module.compile()` keeps the names of the weights and goes before DDP. It has no second derivatives
(pytorch#91469), so a forward of which a penalty is taken runs eagerly; with lazy penalties that is one update of many.

CUDA graph: forward and backward of an update, recorded once and then replayed, without Python between the kernels. A
replay repeats the same kernels on the same memory. Whatever changes from update to update (images, labels, random
numbers, weights of penalties) is therefore copied into the memory that the recording reads. What is fixed in a
recording (which penalties are taken, D's dropout) is its key; another key gets another recording, made when it comes
for the third time. Optimizers and the moving average stay outside.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from distgan.config.schema import TrainConfig
from distgan.data.dataset import Batch
from distgan.networks.dropout import keyed
from distgan.networks.layers import has_features
from distgan.training.penalties import Weights
from distgan.utils.rng import Draws

T = TypeVar("T")
Mode = Literal["auto", "off", "on"]
MAX_KEYS = 8  # recordings that are kept


def compile_network(network: nn.Module, mode: Mode) -> None:
    """Compiles in place; nothing is compiled before the first forward."""
    if mode == "on":
        for layer in keyed(network):
            layer.drawn = torch.compiler.disable(layer.drawn)  # type: ignore[method-assign]
        network.compile(dynamic=False)
        if has_features(network):  # called by themselves, too
            for part in ("features", "judge"):
                setattr(network, part, torch.compile(getattr(network, part), dynamic=False))


def eager(mode: Mode, penalised: bool) -> AbstractContextManager[object]:
    """A context for a forward of D: not compiled if a penalty is taken of it."""
    return torch.compiler.set_stance("force_eager") if mode == "on" and penalised else nullcontext()


class MicroBatch(NamedTuple):
    """A part of a rank's batch that goes through the networks at once."""

    number: int
    images: Tensor
    """uint8 [b, channels, H, W]."""
    labels: Tensor
    """int64 [b]."""
    draws: Draws
    """Random numbers of its rows."""


class StepInputs(NamedTuple):
    """Everything that changes from update to update. The first counter of `draws` is the update."""

    draws: Draws
    batch: Batch
    weights: Weights

    def micro_batches(self, count: int) -> Iterator[MicroBatch]:
        """The batch cut into `count` equal parts, with the random numbers of their rows."""
        for index, (images, labels) in enumerate(self.batch.micro_batches(count)):
            yield MicroBatch(index, images, labels, self.draws.for_rows(self.draws.rows.part(index, count)))


Work = Callable[[StepInputs], dict[str, Tensor]]
"""Adds an update's gradients to `.grad`, which is None before. Returns metrics, scalars on the device."""


def why_unsupported(config: TrainConfig, device: torch.device, processes: int) -> str:
    """The reason why this training cannot use CUDA graphs, or an empty string."""
    if device.type != "cuda":
        return "there is no GPU"
    if processes > 1:
        return "only a single process can record its step"
    return "train.share_fakes=true joins the two updates" if config.share_fakes else ""


class Recorder(Protocol):
    """Records and replays work; the tests have one for the CPU."""

    def warm(self, work: Callable[[], T]) -> T:
        """Does the work under the conditions of a recording."""

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        """Records the work without doing it. Returns its result, whose tensors have no values yet, and the replay."""


class CudaRecorder:
    """Records CUDA graphs that share one memory pool: they are replayed one after another, and outputs stay alive."""

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
                    cause = str(error)  # the end of the recording raises another error, which hides this one
                    raise
        except RuntimeError as error:
            torch.cuda.set_stream(before)  # a failed recording leaves its own stream
            self._close_pool()
            raise RuntimeError(cause or str(error)) from error
        return result, graph.replay

    def _close_pool(self) -> None:
        """Tells the allocator that a recording is over: one that an operation made invalid ends without that, and would
        stay open for ever. Raises nothing where the allocator already knows."""
        with suppress(RuntimeError):
            newer = hasattr(torch._C, "_cuda_endAllocateToPool")  # torch 2.6 has the other
            end = "_cuda_endAllocateToPool" if newer else "_cuda_endAllocateCurrentStreamToPool"
            getattr(torch._C, end)(self.stream.device_index, self.pool)
            torch._C._cuda_releasePool(self.stream.device_index, self.pool)


class RecordedDraw(NamedTuple):
    """One draw of random numbers: how it is made, and the buffer that the recording reads."""

    draws: Draws
    kind: Callable[..., Tensor]
    shape: tuple[int, ...]
    buffer: Tensor

    def refill(self, update: int) -> None:
        """Fills the buffer with the numbers of another update."""
        drawn = replace(self.draws, counters=(update, *self.draws.counters[1:]))
        self.buffer.copy_(drawn.take(self.kind, self.shape))


@dataclass
class DrawTape:
    """All draws of an update, in order."""

    recorded: list[RecordedDraw] = field(default_factory=list)
    replaying: Iterator[RecordedDraw] | None = None
    """Set while the work is recorded: it then gets the buffers of the draws before, in the same order."""

    def take(self, draws: Draws, kind: Callable[..., Tensor], shape: Sequence[int]) -> Tensor:
        """The next buffer while replaying; else a new draw, which is put on the tape."""
        if self.replaying is not None:
            return next(self.replaying).buffer
        self.recorded.append(RecordedDraw(draws, kind, tuple(shape), draws.take(kind, shape)))
        return self.recorded[-1].buffer


@dataclass(frozen=True)
class TapedRandom(Draws):
    """Draws that go through a tape."""

    tape: DrawTape = field(default_factory=DrawTape)

    @classmethod
    def like(cls, draws: Draws, tape: DrawTape) -> TapedRandom:
        return cls(draws.seed, draws.rows, draws.device, draws.purpose, draws.counters, tape)

    def take(self, kind: Callable[..., Tensor], shape: Sequence[int]) -> Tensor:
        plain = Draws(self.seed, self.rows, self.device, self.purpose, self.counters)
        return self.tape.take(plain, kind, shape)


@dataclass(frozen=True)
class Recording:
    """A recorded update: the memory that it reads, its outputs and its replay."""

    buffers: StepInputs
    tape: DrawTape
    names: list[str]
    metrics: Tensor
    """[names]"""
    gradients: list[Tensor | None]
    repeat: Callable[[], None]

    @classmethod
    def make(
        cls, recorder: Recorder, work: Work, inputs: StepInputs, parameters: Sequence[Tensor], tape: DrawTape
    ) -> Recording:
        """Records the work. Raises RuntimeError where something in it cannot be recorded."""
        dtype, device = torch.get_default_dtype(), inputs.draws.device
        weights = (weight if weight is None else torch.as_tensor(weight, dtype=dtype, device=device)
                   for weight in inputs.weights)  # fmt: skip
        batch = Batch(inputs.batch.images.clone(), inputs.batch.labels.clone())
        buffers = StepInputs(TapedRandom.like(inputs.draws, tape), batch, Weights(*weights))
        tape.replaying = iter(tape.recorded)

        def recorded() -> tuple[list[str], Tensor]:
            metrics = work(buffers)
            return list(metrics), torch.stack(list(metrics.values()))

        (names, metrics), repeat = recorder.record(recorded)
        return cls(buffers, tape, names, metrics, [parameter.grad for parameter in parameters], repeat)

    def replay(self, inputs: StepInputs, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
        """Copies the inputs into the buffers, replays, and gives the parameters their gradients. Returns metrics."""
        for buffer, new in zip(self.buffers.batch, inputs.batch, strict=True):
            buffer.copy_(new)
        for scalar, weight in zip(self.buffers.weights, inputs.weights, strict=True):
            if isinstance(scalar, Tensor) and weight is not None:
                scalar.fill_(weight)
        for draw in self.tape.recorded:
            draw.refill(inputs.draws.counters[0])
        self.repeat()
        for parameter, gradient in zip(parameters, self.gradients, strict=True):
            parameter.grad = gradient  # the update before has dropped it
        return dict(zip(self.names, self.metrics.clone().unbind(), strict=True))


def run_eager(_key: Hashable, work: Work, inputs: StepInputs, _parameters: Sequence[Tensor]) -> dict[str, Tensor]:
    """Does the work at once; the signature is that of `Graphs`."""
    return work(inputs)


class Graphs:
    """Does an update's work: the first two times of a key eagerly, then by a recording that is replayed."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.failure = ""
        """The reason why nothing is recorded any more, or an empty string."""
        self.known: dict[Hashable, DrawTape | Recording | None] = {}
        """By key: None after the first time, the tape of its draws after the second, then its recording."""

    def __call__(
        self, key: Hashable, work: Work, inputs: StepInputs, parameters: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Metrics of the work.

        key: everything that the work reads beside `inputs`; parameters: tensors whose gradients the work makes. Where
        recording fails, one warning says so, and all work is done eagerly from then on.
        """
        if self.failure:
            return work(inputs)
        key = (key, inputs.weights.taken)
        first, known = key not in self.known, self.known.pop(key, None)
        if isinstance(known, DrawTape):
            try:
                known = Recording.make(self.recorder, work, inputs, parameters, known)
            except RuntimeError as error:
                self._give_up(error, parameters)
            if self.failure:  # not above: there, the error still holds what the recording has made
                return work(inputs)
        if isinstance(known, Recording):
            metrics = known.replay(inputs, parameters)
        elif first:
            metrics = self.recorder.warm(lambda: work(inputs))
        else:
            tape = known = DrawTape()
            metrics = self.recorder.warm(lambda: work(inputs._replace(draws=TapedRandom.like(inputs.draws, tape))))
        self.known[key] = known  # the newest is last
        if len(self.known) > MAX_KEYS:
            self.known.pop(next(iter(self.known)))
        return metrics

    def _give_up(self, error: RuntimeError, parameters: Sequence[Tensor]) -> None:
        self.failure = str(error)
        self.known.clear()
        for parameter in parameters:
            parameter.grad = None
        warnings.warn(f"train.graphs=on: this step cannot be recorded, so it runs without: {error}", stacklevel=2)
