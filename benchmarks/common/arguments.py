"""What the commands here accept on their command line."""

from __future__ import annotations

from argparse import ArgumentTypeError


def whole(text: str) -> int:
    """A whole number, at least 1."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ArgumentTypeError(f"{text!r} must be a whole number, at least 1")
    return int(text)


def wholes(text: str) -> list[int]:
    """8,64,512 -> [8, 64, 512]."""
    return [whole(part) for part in text.split(",")]
