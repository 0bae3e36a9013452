"""`distgan push RUN|FILE me/cats`: a generator, with a card, a grid and a film, to the Hugging Face Hub.

In: a run, a checkpoint, or a generator file. Out: one commit in a repository; with --dry-run a directory.
"""

from __future__ import annotations

import argparse

from distgan.config.command_line import add_trust_argument, to_path
from distgan.inference.hub.facts import CardFacts, check_facts, unusual_license
from distgan.inference.hub.find import check_id, repository_of
from distgan.inference.hub.upload import MESSAGE, Pushed, Target
from distgan.inference.publish import listed, publish, warn_of_paths, write_repository
from distgan.training.checkpoint.find import SOURCE, Found, open_generator
from distgan.utils.errors import ExportError
from distgan.utils.log import log

FACTS = tuple(CardFacts.__annotations__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `distgan push`."""
    parser.add_argument("source", type=to_path, metavar="RUN|FILE", help=SOURCE)
    parser.add_argument("repository", metavar="OWNER/NAME", help="on the Hub; made if it is not there")
    parser.add_argument("--private", action="store_true", help="a new repository that only you see")
    parser.add_argument("--revision", metavar="BRANCH", help="made if it is not there (default: main)")
    parser.add_argument("--message", default=MESSAGE, metavar="TEXT", help="of the commit")
    parser.add_argument("--license", metavar="ID", help="such as apache-2.0, cc-by-nc-4.0, other (default: none)")
    parser.add_argument("--license-name", metavar="NAME", help="of the license `other`")
    parser.add_argument("--license-link", metavar="URL", help="of the license `other`")
    parser.add_argument("--dataset", metavar="NAME", help="such as CIFAR-10, or the Hub's OWNER/NAME")
    parser.add_argument("--no-film", action="store_true", help="without walk.webp")
    parser.add_argument("--dry-run", type=to_path, metavar="DIR", help="write the files there, send nothing")
    add_trust_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the files and uploads them. Raises CheckpointError, ExportError, before anything is sent if possible."""
    name = check_id(args.repository)
    facts = check_facts(given_facts(args))
    if repository_of(str(args.source)):
        raise ExportError(
            f"push sends what is here, and {args.source} is not; give RUN, RUN/checkpoints/step-..., or a file"
        )
    generator, found = open_generator(args.source, args.trust)
    film = not args.no_film
    if args.dry_run is not None:
        warn_of_paths(generator.description)
        warn_of_license(facts)
        files = write_repository(args.dry_run, generator, name, facts, film)
        print(f"{args.dry_run}: {listed(files)}; of {found}; nothing was sent")
        return 0
    if "license" in facts:
        warn_of_license(facts)
    target = Target(name, True if args.private else None, args.revision, args.message)
    report(name, found, publish(generator, target, facts, film))
    return 0


def warn_of_license(facts: CardFacts) -> None:
    """Says that none was chosen, or one that is not among those that are usual on the Hub."""
    name = facts.get("license")
    if name is None:
        log.info("no license was chosen, so nobody else may use it: --license")
    elif near := unusual_license(name):
        log.warning(
            "%s is no license that is usual on the Hub, which refuses those that it does not know; nearest: %s",
            name,
            near,
        )


def given_facts(args: argparse.Namespace) -> CardFacts:
    """The options that go into the card."""
    given = {name: value for name in FACTS if (value := getattr(args, name)) is not None}
    return CardFacts(**given)  # type: ignore[typeddict-item]


def report(name: str, found: Found, done: Pushed) -> None:
    """Says what was done."""
    if done.facts is None:
        log.info("the README.md in %s is somebody's own, and kept; `--dry-run DIR` writes a new one", name)
    elif "license" not in done.facts:
        log.info("no license was chosen, so nobody else may use it: add one to the card of %s, or --license", name)
    print(
        f"{name}: {found}, {done.url}" if done.changed else f"{name} has the generator of {found} already, {done.url}"
    )
