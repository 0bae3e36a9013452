"""The Hugging Face Hub's layout of a generator: model.safetensors, config.json, README.md.

model.safetensors is the generator file itself, bit for bit; only it is read back. config.json and the model card are
for readers. The network is used for repository ids alone, never for a local directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from distgan.inference.generator_file import Description, metadata_json, save_generator, writing
from distgan.utils.errors import ExportError
from distgan.utils.files import atomic_path
from distgan.utils.safe_io import printable

MODEL = "model.safetensors"


def save(directory: Path, weights: Mapping[str, Tensor], description: Description) -> None:
    """Writes the three files, each atomically; a README.md that is there already is kept.

    Raises ExportError if they cannot be written.
    """
    digest = save_generator(directory / MODEL, weights, description)
    _write(directory / "config.json", metadata_json(description, digest, indent=2) + "\n")
    if not (directory / "README.md").exists():
        _write(directory / "README.md", model_card(description, digest))


def find(path_or_repo_id: str | Path, revision: str | None = None) -> Path:
    """The generator file of a local directory, or of a repository on the Hub (downloaded once, then cached).

    Raises ExportError: no such directory or repository, no generator in it, or no network.
    """
    text = str(path_or_repo_id)
    path = Path(path_or_repo_id).expanduser()
    if os.path.exists(path):  # False, not an error, for a name that is too long
        if revision is not None:
            raise ExportError(
                f"revision={revision} goes with a repository on the Hub, but {text} is here; leave it out"
            )
        if path.is_dir() and not (path / MODEL).is_file():
            raise ExportError(
                f"there is no {MODEL} in {text}; write one with `load_generator(FILE).save_pretrained(DIR)`"
            )
        return path / MODEL if path.is_dir() else path
    if _is_path(path_or_repo_id):
        raise ExportError(
            f"there is no directory {text}; give one that `save_pretrained` wrote, or a Hub id as in me/cats"
        )
    return _download(text, revision)


def model_card(description: Description, digest: str) -> str:
    """The README.md: YAML header (no license: the owner chooses), what it is, how to use it."""
    conditional = description.generator.conditional
    names = printable(", ".join(description.class_names), 2000) or "not recorded"
    task = "class-conditional-image-generation" if conditional else "unconditional-image-generation"
    pipeline = "" if conditional else f"pipeline_tag: {task}\n"
    call = "g.sample(seeds=range(64)" + (f", classes={description.class_names[0]!r})" if conditional else ")")
    return f"""---
library_name: distgan
{pipeline}tags:
- gan
- distgan
- {task}
---

# GAN generator, {description.size}x{description.size}

{"Class-conditional" if conditional else "Unconditional"} generator trained with distgan.

| | |
| --- | --- |
| images | {description.size}x{description.size} RGB |
| architecture | {description.generator.family}, latent vector of {description.generator.latent_dim} |
| classes of the training data | {names} |
| real images seen in training | {description.images_seen:,} |
| weights | {"exponential moving average" if description.weights == "ema" else "last step"}, SHA-256 {digest} |
| versions | {printable(", ".join(f"{name} {version}" for name, version in sorted(description.versions.items())))} |

```python
from distgan import Generator

g = Generator.from_pretrained("THIS_DIRECTORY_OR_REPOSITORY")
images = {call}  # uint8 [64, 3, {description.size}, {description.size}]
```

The resolved training configuration is in `config.json`.
"""


def _write(path: Path, text: str) -> None:
    with writing(path), atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _is_path(given: str | Path) -> bool:
    text = str(given)
    return (
        isinstance(given, Path)
        or text.startswith((".", "~", "/"))
        or text.count("/") > 1
        or "\\" in text
        or text.endswith(("/", ".safetensors"))
    )


def _download(repo_id: str, revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub.utils import HFValidationError

    try:
        return Path(huggingface_hub.hf_hub_download(repo_id, MODEL, revision=revision))
    except HFValidationError:
        raise ExportError(f"'{repo_id}' is neither a directory here nor a Hub id; an id looks like me/cats") from None
    except Exception as error:  # the HTTP library's own classes differ between versions of huggingface_hub
        reason = " ".join(str(error).split())
        at = f" at revision {revision}" if revision else ""
        raise ExportError(
            f"{repo_id}{at} is no directory here, and {MODEL} cannot be had from the Hub "
            f"({type(error).__name__}: {reason[:300]})"
        ) from error
