"""Names of classes in text: lists with commas and quotes, and the nearest name to a mistyped one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

MAX_LISTED = 20  # names in a message
ALIKE = 0.6  # least likeness of the nearest name, as difflib measures it
_PART = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^,]*?))\s*(?:,|$)""")


def split_names(text: str) -> tuple[str, ...]:
    """Splits text at commas, but not in quotes: `a, "b,c"` -> ("a", "b,c"). Empty parts are left out."""
    parts = [next((group for group in found.groups() if group is not None), "") for found in _PART.finditer(text)]
    return tuple(part for part in parts if part)


def join_names(names: Iterable[str], separator: str = ",") -> str:
    """The text that `split_names` splits into these names: `a,"b,c"`."""
    return separator.join(map(_quoted, names))


def is_number(name: str) -> bool:
    """Whether a name is a whole number, such as 7 or 007."""
    return name.isascii() and name.isdigit() and len(name) < 20


def nearest_name(name: str, names: Sequence[str], least: float = ALIKE) -> str | None:
    """The name most like `name`: among numbers, the next one; None if none is as like it as `least`, 0 to 1."""
    if names and is_number(name) and all(map(is_number, names)):
        return min(names, key=lambda known: abs(int(known) - int(name)))
    spellings = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), spellings, n=1, cutoff=least)
    return spellings[close[0]] if close else None


def known_names(name: str, names: Sequence[str]) -> str:
    """What to say about a name that is none of these: `nearest: B; there are A, B, C`."""
    nearest = nearest_name(name, names)
    hint = "" if nearest is None else f"nearest: {join_names([nearest])}; "
    more = f", ... ({len(names):,} in all, to {join_names(names[-1:])})" if len(names) > MAX_LISTED else ""
    return f"{hint}there are {join_names(names[:MAX_LISTED], ', ')}{more}"


def _quoted(name: str) -> str:
    quote = "'" if '"' in name else '"'
    return name if split_names(name) == (name,) else f"{quote}{name}{quote}"
