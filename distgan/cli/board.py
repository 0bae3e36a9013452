"""`distgan board`: makes W&B's page for a project's runs, or a report that compares some of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan board`."""
    parser.add_argument("--project", help="W&B project (default: WANDB_PROJECT, else distgan)")
    parser.add_argument("--entity", help="W&B user or team (default: WANDB_ENTITY, else your own)")
    parser.add_argument(
        "--report", nargs="+", default=[], metavar="RUN",
        help="a report that compares these runs: run directories, names or ids in W&B",
    )  # fmt: skip
    parser.add_argument(
        "--score", action="append", default=[], metavar="NAME", help="a panel for a score of your own; may be repeated"
    )
    parser.add_argument("--print", action="store_true", help="print what W&B would be sent; needs no network, no key")


def run_in_wandb(run: str) -> str:
    """A run's name or id in W&B. run: the same, or a run directory, whose id it is then."""
    from distgan.training.checkpoint.resume import recorded  # with torch

    return recorded(Path(run), "wandb_id") or run


def run(args: argparse.Namespace) -> int:
    """Prints the board's address, or with --print the board itself as JSON. Raises ConfigError."""
    from distgan.training.tracking.board.views import Board, publish, specification  # with torch

    board = Board.of(args.project, args.entity, [run_in_wandb(run) for run in args.report], args.score)
    print(json.dumps(specification(board), indent=2) if args.print else f"board: {publish(board)}")
    return 0
