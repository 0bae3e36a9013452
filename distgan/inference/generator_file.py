"""The generator file: one safetensors file that contains its own description (docs/generator_file.md).

In: weights and a `Description`. Out: the file, and from a file the network. The description is sorted JSON under one
metadata key; another one says `format: pt`, which other loaders ask for. A file is checked before it is used: the
described network is made without memory and compared with the tensors in the file.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from distgan.config.messages import first_mistake
from distgan.config.networks import GeneratorConfig
from distgan.config.outside import OutsideSection
from distgan.config.registry import Trust
from distgan.config.schema import Config
from distgan.inference.formats import SUFFIXES as PROGRAMS
from distgan.networks import build_generator
from distgan.utils.errors import ConfigError, ExportError
from distgan.utils.files import atomic_path
from distgan.utils.limits import MAX_SIZE
from distgan.utils.safe_io import open_regular, parse_json, printable
from distgan.utils.version import __version__

KEY = "distgan"  # of the metadata
FORMAT = "distgan-generator"
FORMAT_VERSION = 2  # 1, which older versions read as well, unless there is fp16 in the file
ZIP = b"PK\x03\x04"  # how a zip file begins, as programs and pickles of torch are
DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.bool: "BOOL",
}  # torch's types -> safetensors' names


def _versions() -> dict[str, str]:
    return {"distgan": __version__, "torch": str(torch.__version__)}


class Description(BaseModel):
    """The contents of a generator file except the weights. Unknown keys are kept, but not used."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, use_attribute_docstrings=True)

    generator: GeneratorConfig
    """Architecture. Unknown keys are refused here, since they would change the images."""
    size: Annotated[int, Field(ge=1, le=MAX_SIZE)]
    """Height and width of an image, pixels."""
    channels: Literal[1, 3] = 3
    """Of an image: 3 (RGB), or 1 (gray). Only files with 1 have this key."""
    class_names: tuple[str, ...]
    """Names of the classes in the training data, by label."""
    config: dict[str, Any]
    """The resolved training configuration, for information; sampling does not need it."""
    images_seen: NonNegativeInt
    """Real images that D had seen."""
    weights: Literal["ema", "raw"] = "ema"
    """ema: the averaged weights; raw: those of the last step."""
    data_digest: str
    """Digest of the manifest of the training data."""
    scores: dict[str, Any] | None = None
    """Scores of this generator with their protocol (docs/judges.md); None: not evaluated."""
    value_range: tuple[Literal[-1], Literal[1]] = (-1, 1)
    """Meaning of the network's output: -1 is black, 1 is white."""
    versions: dict[str, str] = Field(default_factory=_versions)
    """Versions of distgan and torch that trained the generator."""

    @classmethod
    def of(cls, config: Config, **facts: Any) -> Description:
        """The description of a generator trained by `config`. facts: the other fields, such as size and images_seen."""
        return cls(generator=config.generator, config=config.model_dump(mode="json"), **facts)

    @model_validator(mode="after")
    def _classes_have_names(self) -> Description:
        if self.generator.conditional and not self.class_names:
            raise ValueError("generator.conditional=true needs class_names")
        return self


def save_generator(path: Path, weights: Mapping[str, Tensor], description: Description, *, half: bool = False) -> str:
    """Writes a generator file atomically, and returns the digest of the weights.

    weights: the network's state_dict, on any device, in any float type and memory format; stored as contiguous fp32.
    half: matrices and kernels are stored as fp16, for half the size; computed with is fp32 all the same. Missing
    directories are made. Raises ExportError if the weights do not fit the description, or the write fails.
    """
    stored = {
        name: tensor.detach().to(
            device="cpu",
            dtype=_stored_type(tensor, half),
            memory_format=torch.contiguous_format,
            copy=True,  # safetensors refuses tensors that share memory
        )
        for name, tensor in weights.items()
    }
    _empty_network(description, {name: _label(tensor) for name, tensor in stored.items()}, str(path))
    if half:
        _check_finite(weights, stored, path)
    digest = weight_digest(stored)
    described = metadata_json(description, digest, version=FORMAT_VERSION if half else 1)
    content = _with_metadata(safetensors.torch.save(stored), {"format": "pt", KEY: described})
    with writing(path), atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return digest


def _stored_type(tensor: Tensor, half: bool) -> torch.dtype:
    if not tensor.is_floating_point():
        return tensor.dtype
    return torch.float16 if half and tensor.ndim > 1 else torch.float32


def _check_finite(weights: Mapping[str, Tensor], stored: Mapping[str, Tensor], path: Path) -> None:
    """Raises ExportError for a weight that is too large for fp16."""
    for name, tensor in stored.items():
        if tensor.is_floating_point() and (tensor.isinf() & ~weights[name].cpu().isinf()).any():
            raise ExportError(f"{path} is not written: {name} has weights above 65504, too large for fp16; use fp32")


def check_described(description: Description, weights: Mapping[str, Tensor]) -> None:
    """Raises ExportError if a generator with these weights could not be written: better now than after training."""
    stored = {
        name: tensor.to("meta", torch.float32) if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
    _empty_network(description, {name: _label(tensor) for name, tensor in stored.items()}, "generator.safetensors")


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with this metadata. safetensors itself writes keys in an order that differs between processes.

    Its header: 8 bytes with the length of a JSON object, which follows, filled up with spaces to a multiple of 8.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(
        {"__metadata__": metadata} | json.loads(content[8 : 8 + length]), separators=(",", ":")
    ).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def read_generator(path: Path, trust: Sequence[str] = ()) -> tuple[nn.Module, Description, str]:
    """Reads a generator file: the network on the CPU in eval mode, its description, the digest of the weights.

    trust: modules that may be imported for a network that does not come with distgan; without it the file is refused.
    Raises ExportError: missing, a directory, damaged, foreign, newer, tampered with, or weights that do not fit.
    """
    with _opened(path) as file:
        names = list(file.keys())
        description, expected = _describe((file.metadata() or {}).get(KEY), str(path), Trust(tuple(trust)))
        found = {name: f"{(part := file.get_slice(name)).get_dtype()} {list(part.get_shape())}" for name in names}
        network = _empty_network(description, found, str(path))
        state = _tensors(file)
    digest, state = _checked_digest(state, expected, path), _in_fp32(state)
    if isinstance(description.generator, OutsideSection):  # it may have tensors that are in no file
        network = _build(description)
        network.load_state_dict(state)
    else:
        network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False), description, digest


def read_weights(path: Path) -> tuple[dict[str, Tensor], Description]:
    """The weights in a generator file, by name, and its description; nothing is imported, and no network made.

    Raises ExportError as `read_generator` does.
    """
    with _opened(path) as file:
        description, expected = _describe((file.metadata() or {}).get(KEY), str(path), None)
        state = _tensors(file)
    _checked_digest(state, expected, path)
    return _in_fp32(state), description


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file. Raises ExportError."""
    try:
        _check_path(path)
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ExportError(
            f"{path} is not a safetensors file, or it is damaged or cut short ({printable(str(error))}); "
            "copy or export it again (`distgan export CHECKPOINT`)"
        ) from None
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or error}") from None


def _tensors(file: Any) -> dict[str, Tensor]:
    return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # a tensor is a view of the file


def _in_fp32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that a file holds as fp16 as they are computed with."""
    return {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in state.items()}


def _checked_digest(state: Mapping[str, Tensor], expected: str, path: Path) -> str:
    """The digest of the weights. Raises ExportError if it is not the one in the description."""
    if (digest := weight_digest(state)) != expected:
        raise ExportError(
            f"{path} is tampered with or damaged: its weight digest is {digest[:12]}, the file says {expected[:12]}; "
            "copy or export it again"
        )
    return digest


def weight_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of CPU tensors in the order of their names: name, type, shape, little-endian bytes."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].contiguous()
        digest.update(f"{name}\0{_label(tensor)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def metadata_json(description: Description, digest: str, indent: int | None = None, *, version: int = 1) -> str:
    """The metadata as sorted JSON; its `metadata_digest` is the SHA-256 of the compact JSON of all other keys."""
    content = {"format": FORMAT, "format_version": version, "weight_digest": digest}
    content |= description.model_dump(mode="json", exclude={"channels"} if description.channels == 3 else None)
    content["metadata_digest"] = _metadata_digest(content)
    return json.dumps(content, sort_keys=True, indent=indent) if indent else _compact(content)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes the directory of `path`, and turns an OSError inside the context into an ExportError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}") from None


def _compact(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _metadata_digest(content: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != "metadata_digest"}
    return hashlib.sha256(_compact(rest).encode()).hexdigest()


def check_no_program(path: Path) -> None:
    """Raises ExportError for a file that holds a program, such as `distgan export --format` makes, or a pickle.

    Raises OSError if it cannot be read.
    """
    with open_regular(path) as file:
        zipped = file.read(len(ZIP)) == ZIP and zipfile.is_zipfile(file)
    if not zipped and path.suffix != PROGRAMS["onnx"]:
        return
    what = "a torch.export program, TorchScript or a pickle" if zipped else "ONNX"
    beside = path.with_suffix(".safetensors")
    fix = (
        f"`distgan sample {beside} --out x.png`"
        if beside.is_file()
        else "`distgan sample RUN --out x.png` (`distgan export RUN` makes it)"
    )
    raise ExportError(
        f"{path} is a program ({what}), and distgan runs none from a file; give the generator's safetensors file: {fix}"
    )


def _check_path(path: Path) -> None:
    if path.is_file():
        check_no_program(path)
        return
    if path.is_dir():
        if checkpoint := _checkpoint_of(path):
            raise ExportError(f"{path} is {checkpoint}; make a generator of it with `distgan export {path}`")
        inside = [name for name in ("generator.safetensors", "model.safetensors") if (path / name).is_file()]
        hint = f"; give {path / inside[0]}" if inside else " without generator.safetensors or model.safetensors"
        raise ExportError(f"{path} is a directory, not a generator file{hint}")
    if path.exists():
        raise ExportError(f"{path} is not a regular file; give a file made by `distgan export`")
    folder = path.parent
    others = sorted(file.name for file in folder.glob("*.safetensors")) if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, others, n=1, cutoff=0) if others else []
    make = "make one with `distgan export RUN`; a repository on the Hub is OWNER/NAME"
    hint = f"nearest: {folder / close[0]}" if close else make
    raise ExportError(f"there is no file {path}; {hint}")


def _checkpoint_of(path: Path) -> str:
    """What a directory is that `distgan export` makes a generator of; empty for any other."""
    if (path / "state.safetensors").is_file() and (path / "state.json").is_file():
        return "a checkpoint, not a generator file"
    no_generator = not any((path / name).is_file() for name in ("generator.safetensors", "model.safetensors"))
    return "a run without a generator file" if no_generator and any(path.glob("checkpoints/step-*")) else ""


def _describe(text: str | None, origin: str, trust: Trust | None) -> tuple[Description, str]:
    """Description and weight digest from the metadata. Raises ExportError."""
    if text is None:
        folder = Path(origin).parent
        fix = f"; make a generator with `distgan export {folder}`" if _checkpoint_of(folder) else ""
        raise ExportError(f"{origin} is a safetensors file, but not one made by `distgan export`{fix}")
    try:
        content = parse_json(text)
        actual = _metadata_digest(content) if isinstance(content, dict) else ""
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ExportError(f"{origin} is damaged: its metadata is not a JSON object; export it again")
    if content.pop("format", None) != FORMAT:
        raise ExportError(
            f"{origin} is made by distgan, but it is not a generator; give a file made by `distgan export`"
        )
    version = content.pop("format_version", None)
    if type(version) is int and version > FORMAT_VERSION:
        raise ExportError(
            f"{origin} is made by a newer distgan (format {version}), this one reads up to {FORMAT_VERSION}: upgrade"
        )
    if type(version) is not int or version < 1:
        raise ExportError(
            f"{origin}: format_version={printable(repr(version))} must be a whole number of 1 or more; export it again"
        )
    if content.pop("metadata_digest", None) != actual:
        raise ExportError(f"{origin} is tampered with or damaged: its metadata digest does not fit; export it again")
    expected = content.pop("weight_digest", None)
    try:
        return Description.model_validate(content, context=trust.context if trust else None), str(expected)
    except ValidationError as error:
        fix = "" if error.errors()[0]["type"] == "untrusted" else "; export it again"
        raise ExportError(f"{origin} cannot be used: {first_mistake(error)}{fix}") from None


def _empty_network(description: Description, found: Mapping[str, str], origin: str) -> nn.Module:
    """The described network on the meta device, without memory.

    found: {name: type and shape} of the weights. Raises ExportError if they do not fit the network.
    """
    config = description.generator
    if (layers := config.min_layers) > len(found):  # before that many layers are made
        raise ExportError(
            f"{origin} does not fit its description, which has {layers} layers or more: it holds {len(found)} tensors"
        )
    try:
        with torch.device("meta"):
            network = _build(description)
    except (ConfigError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        reason = str(error) if isinstance(error, ConfigError) else "its layers are too large"
        if error.__cause__ is not None:  # of a class from outside
            reason += "; it must work on torch's meta device, without memory, as well"
        raise ExportError(f"{origin} cannot be used: {reason}") from None
    needed = {name: _label(tensor) for name, tensor in network.state_dict().items()}
    for name in sorted({*needed, *found}):
        if needed.get(name) != found.get(name, "").replace("F16 ", "F32 "):
            state = f"holds {printable(name)} as {printable(found[name])}" if name in found else f"lacks {name}"
            rule = f"which should be {needed[name]}" if name in needed else "which it should not have"
            raise ExportError(f"{origin} does not fit its description: it {state}, {rule}")
    return network


def _build(description: Description) -> nn.Module:
    size, classes = description.size, len(description.class_names)
    return build_generator(description.generator, size, classes, channels=description.channels).float()


def _label(tensor: Tensor) -> str:
    """Type and shape as safetensors writes them: `F32 [3, 4]`."""
    return f"{DTYPES.get(tensor.dtype, tensor.dtype)} {list(tensor.shape)}"
