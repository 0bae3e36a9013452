"""`distgan space RUN|FILE|me/cats --out DIR`: a page with a generator, to run here or on the Hugging Face Hub.

In: a run, a checkpoint, a generator file, or a repository on the Hub. Out: a directory with app.py.
"""

from __future__ import annotations

import argparse

from distgan.config.command_line import add_trust_argument, to_path, to_source
from distgan.inference.hub.find import DEMO, check_id, repository_of
from distgan.inference.publish import listed
from distgan.inference.space.write import write_space
from distgan.training.checkpoint.find import ANY_SOURCE, open_generator

TITLE = "GAN generator"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan space`."""
    parser.add_argument("source", type=to_source, metavar="RUN|FILE|OWNER/NAME", help=ANY_SOURCE)
    parser.add_argument("--out", type=to_path, required=True, metavar="DIR", help="the Space's directory")
    parser.add_argument(
        "--title", metavar="TEXT", help="of the page (default: the name on the Hub, else GAN generator)"
    )
    parser.add_argument("--model", metavar="OWNER/NAME", help="the generator on the Hub, to which the Space links")
    add_trust_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the directory. Raises CheckpointError, ExportError."""
    repository = repository_of(args.source)
    linked = args.model or (repository.id if repository and repository != DEMO else None)
    model = None if linked is None else check_id(linked)
    generator, found = open_generator(args.source, args.trust)
    title = model.rpartition("/")[2] if args.title is None and model else args.title
    files = write_space(args.out, generator, TITLE if title is None else title, model)
    start = f"start it, where gradio is installed, with: python {args.out}/app.py"
    print(f"{args.out}: {listed(files)}; of {found}; {start}")
    return 0
