"""Writes a generator for programs without distgan: torch.export (.pt2), TorchScript (.pt), ONNX (.onnx, extra `onnx`).

In: a generator. Out: a file that was read again and makes the generator's images within one grey level.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from distgan.inference.formats import CHECKED
from distgan.inference.formats.portable import (
    IMAGES,
    METADATA,
    Portable,
    example,
    facts_of,
    largest_difference,
    names_of,
    text_of,
)
from distgan.inference.generator import Generator
from distgan.inference.generator_file import writing
from distgan.utils.background import short
from distgan.utils.errors import ExportError
from distgan.utils.files import atomic_path

Format = Literal["pt2", "torchscript", "onnx"]
OPSET = 18  # of ONNX, 2022; the oldest that torch writes without a conversion
BATCH = 16  # seeds that are compared at a time
Model = Callable[..., Tensor]


def write_portable(generator: Generator, path: Path, format_: Format, half: bool = False) -> int:
    """Writes `path`, atomically, and returns the largest difference to the generator's images, in grey levels.

    half: weights and computation in fp16, whose difference may be larger. Raises ExportError: the extra is missing, the
    file cannot be written, or in fp32 its images differ by more than one grey level.
    """
    generator.check_full_precision()
    reference = Portable(copy.deepcopy(generator.network).cpu()).eval()
    model = Portable(copy.deepcopy(reference.network).half()).eval() if half else reference
    inputs = example(generator)
    write, read = FORMATS[format_]
    with writing(path), atomic_path(path) as temporary:
        with _quiet(), torch.no_grad():
            shown = example(generator, CHECKED)
            try:
                temporary.write_bytes(write(model, inputs, generator))
                made = _in_batches(read(temporary.read_bytes()), shown)
            except (OSError, ExportError):
                raise
            except Exception as error:  # of torch's exporters: an operator of a network from outside, a size
                raise ExportError(f"{format_} cannot hold this network: {short(error)}") from None
            found = largest_difference(made, _in_batches(reference, shown))
        if found > 1 and not half:
            raise ExportError(f"{path}: its images differ from the generator's by {found} grey levels; it is not kept")
    return found


def _in_batches(model: Model, inputs: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([model(*part) for part in zip(*(each.split(BATCH) for each in inputs), strict=True)])


def _write_pt2(model: Portable, inputs: tuple[Tensor, ...], generator: Generator) -> bytes:
    batch, file = torch.export.Dim("batch"), io.BytesIO()
    program = torch.export.export(model, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
    torch.export.save(program, file, extra_files={METADATA: facts_of(generator, model)})
    return file.getvalue()


def _read_pt2(content: bytes) -> Model:
    return torch.export.load(io.BytesIO(content)).module()


def _write_script(model: Portable, inputs: tuple[Tensor, ...], generator: Generator) -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, inputs), file, _extra_files={METADATA: facts_of(generator, model)})  # type: ignore[no-untyped-call]
    return file.getvalue()


def _read_script(content: bytes) -> Model:
    model: Model = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
    return model


def _write_onnx(model: Portable, inputs: tuple[Tensor, ...], generator: Generator) -> bytes:
    onnx = _onnx()
    batch, names = torch.export.Dim("batch"), names_of(generator)
    program: Any = torch.onnx.export(
        model, inputs, dynamo=True, input_names=names, output_names=[IMAGES],
        dynamic_shapes=tuple({0: batch} for _ in inputs), verbose=False, opset_version=OPSET,
    )  # fmt: skip
    proto = program.model_proto
    proto.doc_string = text_of(generator)
    onnx.helper.set_model_props(proto, {METADATA: facts_of(generator, model)})
    return bytes(proto.SerializeToString())


def _read_onnx(content: bytes) -> Model:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        given = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, given)[0]).float()

    return run


FORMATS: dict[str, tuple[Callable[..., bytes], Callable[[bytes], Model]]] = {
    "pt2": (_write_pt2, _read_pt2),
    "torchscript": (_write_script, _read_script),
    "onnx": (_write_onnx, _read_onnx),
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' warnings of their own: deprecations, and torchvision's operators."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _onnx() -> Any:
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise ExportError(f'an ONNX file needs the extra onnx ({short(error)}): pip install "distgan[onnx]"') from None
    del onnxruntime, onnxscript
    return onnx
