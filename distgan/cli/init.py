"""`distgan init DIR`: writes a small project, with which a training of one's own begins.

In: a new directory, and perhaps a folder of images. Out: recipe.yaml, train.sh, slurm.sbatch, README.md, .gitignore.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from shlex import quote

from distgan.config.command_line import to_path
from distgan.config.load import load_config
from distgan.utils.errors import ConfigError
from distgan.utils.paths import shown_path

PACKAGE = Path(__file__).resolve().parent.parent
LAUNCH = PACKAGE / "launch" if (PACKAGE / "launch").is_dir() else PACKAGE.parent / "launch"
SLURM = "slurm.sbatch"
SCRIPTS = ("train.sh", SLURM)

RECIPE = """\
# What is trained. Any key of `distgan train --help` may stand here; what does not stand here is as in the base.
base: {base}  # {other}

run:
  name: {name}

data:
  path: {data}

# train:
#   images: {images:_}  # real images that D sees: how long it trains; this is what the base says
"""
TRAIN = """\
#!/usr/bin/env bash
# Trains on all GPUs of this machine, or on its CPU. The same command resumes. Arguments are keys of the recipe:
#   ./train.sh train.images=100_000
set -euo pipefail
cd "$(dirname "$0")"
exec accelerate launch -m distgan.train --config recipe.yaml "$@"
"""
README = """\
# {title}

A GAN, trained with [distgan](https://github.com/distgan/distgan). In this directory, with distgan's environment active:

```bash
{prepare}
./train.sh
distgan sample runs/{name} --seeds 0-63 --out grid.png
```

The first command makes the data set, the second trains, and resumes if it is given again. The third draws 64 images.

- `recipe.yaml` says what is trained. `distgan train --help` lists its keys; `./train.sh KEY=VALUE` changes one.
- `distgan doctor --config recipe.yaml` checks everything before a long training, and estimates its time.
- `distgan report runs/{name} --serve` shows it while it trains, `distgan explore runs/{name}` what it has learnt.
- On SLURM: `sbatch --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 slurm.sbatch --config recipe.yaml`, with this
  directory on storage that all nodes see. The job saves before its time limit, requeues itself and resumes.
"""
IGNORED = "/data/\n/runs/\n/wandb/\n/grid.png\n*.out\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `distgan init`."""
    parser.add_argument("directory", type=to_path, metavar="DIR", help="a directory that is new or empty")
    parser.add_argument(
        "--data", type=to_path, metavar="FOLDER", help="your images, in a folder per class or without classes "
        "(default: drawn shapes)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Writes the project and prints what to do next. Returns the exit code. Raises ConfigError."""
    directory: Path = args.directory
    if args.data is not None and not args.data.is_dir():
        what = "is a file" if args.data.exists() else "does not exist"
        raise ConfigError(f"--data={shown_path(args.data)} {what}; give the folder that holds your images")
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            what = "holds files" if directory.is_dir() else "is a file"
            raise ConfigError(f"{shown_path(directory)} {what}; give a directory that is new or empty")
        texts = project(directory.resolve().name, args.data)
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
            if name in SCRIPTS:
                (directory / name).chmod(0o755)
    except OSError as error:
        raise ConfigError(f"{shown_path(directory)} cannot be written: {error.strerror}; give another place") from None
    print(f"{shown_path(directory)}: {', '.join(texts)}; its README.md has the three commands to go on")
    return 0


def project(title: str, images: Path | None) -> dict[str, str]:
    """The files of a project, {name: text}. title: its directory's name; images: a folder, None for shapes."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", title).lstrip("._-") or "gan"
    base, data = ("quickstart", "data/shapes") if images is None else ("small_data", "data/images")
    other = "or r3gan_small: slower, better" if images is None else "with thousands of images and a GPU: r3gan_64"
    prepare = f"distgan prepare shapes --out {data}"
    if images is not None:
        prepare = f"distgan prepare folder {quote(shown_path(images.resolve()))} --size 64 --out {data}"
    budget = load_config(base).train.images
    slurm = (LAUNCH / SLURM).read_text(encoding="utf-8").replace(f"launch/{SLURM}", f"{SLURM} --config recipe.yaml")
    return {
        "README.md": README.format(title=shown_path(title), prepare=prepare, name=name),
        "recipe.yaml": RECIPE.format(base=base, other=other, name=name, data=data, images=budget),
        "train.sh": TRAIN,
        SLURM: slurm,
        ".gitignore": IGNORED,
    }
