"""Counts that say how easy the package is to find one's way in.

python -m tests.counts [CHECKOUT ...]     # a column for each; default: this one
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES, MAX_PARAMETERS = 40, 6  # of a function
SECTIONS = "run|data|generator|discriminator|optimizer|loss|ema|augment|balance|train|log|checkpoint|guard|evaluate|best|watchdog|wandb"  # noqa: E501  # fmt: skip
READ = re.compile(rf"\bconfig\.(?:{SECTIONS})\.[a-z]\w*")
OLD_WORDS = re.compile(
    r"\b(pictures?|heeded|rival|opinions?|dealt|judges?|keeper|farewell|weighed|looker|obstacle|mend(?:ed|s)?|anew|told|"
    r"whole (?:checkpoints?|shards?|files?|data sets?|images?|lines?)|(?:is|are|not) whole)\b|\b(?:MOST|FEWEST)_?\w*"
)
EXEMPT = re.compile(  # a layout's name in manifests and on the command line; a key of random numbers since 0.1.0
    r"--layout [\w|`]+|layout|[\"'|`]pictures[\"'|`]|\"rival\""
)


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "configs" not in path.parts)


def functions(folder: Path) -> Iterator[tuple[Path, ast.FunctionDef]]:
    """Every function of a package, methods and inner ones included."""
    for path in python_files(folder):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def parameters(function: ast.FunctionDef) -> int:
    """Number of parameters without self and cls."""
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def too_long(folder: Path) -> list[str]:
    """Names of the functions of more than MAX_LINES lines."""
    return [f"{path.stem}.{node.name}" for path, node in functions(folder)
            if (node.end_lineno or 0) - node.lineno >= MAX_LINES]  # fmt: skip


def too_many_parameters(folder: Path) -> list[str]:
    """Names of the functions of more than MAX_PARAMETERS parameters."""
    return [f"{path.stem}.{node.name}" for path, node in functions(folder) if parameters(node) > MAX_PARAMETERS]


def importers(folder: Path) -> Counter[str]:
    """How many modules of the package import each of its modules."""
    names = {".".join(path.relative_to(folder.parent).with_suffix("").parts) for path in python_files(folder)}
    found: Counter[str] = Counter(dict.fromkeys(names, 0))
    for path in python_files(folder):
        imported = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        found.update(imported & names)
    return found


def old_words(checkout: Path) -> list[str]:
    """Lines of the package, the documents and the recipes with a word that has a plain one now."""
    places = [*python_files(checkout / "distgan"), *(checkout / "docs").glob("*.md"), checkout / "README.md"]
    lines = [(path, line) for path in places for line in path.read_text().splitlines()]
    return [f"{path.name}: {line.strip()}" for path, line in lines if OLD_WORDS.search(EXEMPT.sub("", line))]


def counts(checkout: Path) -> dict[str, int]:
    """The figures of one checkout."""
    package = checkout / "distgan"
    entries = [path for path in package.iterdir() if path.suffix in ("", ".py") and not path.name.startswith("__")]
    entries += [path for path in [package / "__main__.py"] if path.exists()]
    reads = {path: len(READ.findall(path.read_text())) for path in python_files(package)}
    return {
        "entries at the top of the package": len([path for path in entries if path.name != "configs"]),
        "modules": len(python_files(package)),
        "modules with one importer": sum(count == 1 for count in importers(package).values()),
        f"functions over {MAX_LINES} lines": len(too_long(package)),
        f"functions with more than {MAX_PARAMETERS} parameters": len(too_many_parameters(package)),
        "modules that read config.SECTION.KEY": sum(map(bool, reads.values())),
        "reads of config.SECTION.KEY": sum(reads.values()),
        "lines with old words": len(old_words(checkout)),
        "lines of the package": sum(len(path.read_text().splitlines()) for path in python_files(package)),
    }


def main(*checkouts: str) -> None:
    columns = [counts(Path(checkout)) for checkout in checkouts or [str(ROOT)]]
    for name in columns[0]:
        print(f"{name:45}", *(f"{column[name]:7,}" for column in columns))


if __name__ == "__main__":
    main(*sys.argv[1:])
