"""Writes the pages of docs/ that follow from the code: modules.md, reference.md and errors.md.

Usage: python -m tools.refresh_docs
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import mainspring as ms
from mainspring import errors
from mainspring.errors import MainspringError
from mainspring.models.metrics import Metric
from tools.error_examples import example

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "mainspring"
FLOOR = ("errors", "clock", "windows", "expressions", "graph", "vectors")
PARTS = {
    "the floor": "what everything else stands on",
    "stores": "at the side: where state lives",
    "engines": "at the side: what computes",
    "sources": "rows come in, under a contract",
    "features": "rows become values",
    "training": "values and outcomes become training sets",
    "models": "training sets become versions",
    "serving": "versions answer requests",
    "monitoring": "answers are watched",
    "retraining": "what is found starts the loop again",
    "console": "all of it, to look at",
    "on top": "the system, and what a person does with it",
}
"""The parts of the package and what happens there; the first and the last are in no folder."""

WRITTEN = "This page is written by `python -m tools.refresh_docs` from the code."


def first_sentence(docstring: str | None) -> str:
    """What a docstring says first, on one line.

    Example:
        >>> first_sentence("The log: what was\\nacknowledged. It is here.\\n\\nMore.")
        'The log: what was acknowledged.'
    """
    paragraph = " ".join(inspect.cleandoc(docstring or "").partition("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", paragraph)[0]


def modules() -> str:
    """docs/modules.md: each module in one line."""
    lines = ["# Modules", "", WRITTEN, ""]
    lines += ["The parts stand in the order in which data flows, and in each part a module stands"]
    lines += ["after those that it imports. Imports only go down: never to a later part."]
    for part, about in PARTS.items():
        lines += ["", f"## {part}", "", f"*{about}*", ""]
        for path in in_order(files_of(part)):
            docstring = ast.get_docstring(ast.parse(path.read_text()))
            place = path.relative_to(PACKAGE.parent)
            lines.append(f"- `{place}` — {first_sentence(docstring)}")
    return "\n".join(lines) + "\n"


def files_of(part: str) -> list[Path]:
    """The modules of a part, by name."""
    if (PACKAGE / part).is_dir():
        return sorted((PACKAGE / part).glob("[!_]*.py"))
    alone = sorted(path for path in PACKAGE.glob("*.py") if path.name != "__init__.py")
    return [path for path in alone if (path.stem in FLOOR) == (part == "the floor")]


def in_order(paths: list[Path]) -> list[Path]:
    """Modules of one part, each after those of them that it imports."""
    names = {".".join(p.relative_to(REPOSITORY).with_suffix("").parts): p for p in paths}
    ordered: dict[Path, None] = {}

    def add(path: Path) -> None:
        for name in sorted(imported(path) & names.keys()):
            add(names[name])
        ordered[path] = None

    for path in paths:
        add(path)
    return list(ordered)


def imported(path: Path) -> set[str]:
    """The dotted names that a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def public_names() -> dict[str, Any]:
    """The public names and what they stand for."""
    return {
        name: value
        for name, value in vars(ms).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }


def reference() -> str:
    """docs/reference.md: each public name in one line."""
    lines = ["# Reference", "", WRITTEN, ""]
    lines += ["Every public name of `import mainspring as ms` in one line. `help(ms.Label)` tells"]
    lines += ["the rest, with an example of each."]
    groups: dict[str, list[str]] = {title: [] for title in REFERENCE.values()}
    for name, value in public_names().items():
        groups[group_of(value)].append(f"- {written(name, value)} — {said(value)}")
    for title, found in groups.items():
        lines += ["", f"## {title}", "", *found]
    return "\n".join(lines) + "\n"


REFERENCE = {
    "mainspring.system": "The system",
    "mainspring.sources": "Sources",
    "mainspring.features": "Features",
    "mainspring.expressions": "Expressions",
    "mainspring.windows": "Durations",
    "mainspring.training": "Labels and training sets",
    "mainspring.models": "Models and gates",
    "mainspring.models.metrics": "Metrics",
    "mainspring.serving": "Endpoints",
    "mainspring.monitoring": "Monitors",
    "mainspring.retraining": "Retraining",
}
"""The title of each group of names, by the module or folder that they come from."""


def group_of(value: Any) -> str:
    """The title of the group that a public name belongs to."""
    module = getattr(value, "__module__", None) or type(value).__module__
    prefixes = [prefix for prefix in REFERENCE if f"{module}.".startswith(f"{prefix}.")]
    return REFERENCE[max(prefixes, key=len)]


def written(name: str, value: Any) -> str:
    """How a public name is written."""
    if isinstance(value, Metric):
        return f"`ms.{name}`"
    if name in ("Source", "FeatureView"):
        hook = inspect.signature(value.__init_subclass__)
        return f"`class Name(ms.{name}, {', '.join(map(parameter, hook.parameters.values()))})`"
    if name in ("Column", "Expr", "Feature"):
        return f"`ms.{name}`"
    return f"`ms.{name}({', '.join(parameters(value))})`"


def parameters(value: Any) -> Iterator[str]:
    """The parameters of a function or class, without their types."""
    keyword_only = False
    for p in inspect.signature(value).parameters.values():
        if p.kind is p.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            yield "*"
        yield parameter(p)


def parameter(p: inspect.Parameter) -> str:
    """A parameter as it may be left out, or must be given."""
    return p.name if p.default is p.empty else f"{p.name}={default(p.default)}"


def default(value: Any) -> str:
    """A default as it would be written.

    Example:
        >>> default(timedelta(days=7)), default(timedelta(milliseconds=500)), default(None)
        ('days(7)', 'seconds(0.5)', 'None')
    """
    if not isinstance(value, timedelta):
        return repr(value)
    units = {"days": 86_400, "hours": 3_600, "minutes": 60}
    whole = value.total_seconds()
    unit = next((u for u, size in units.items() if whole and whole % size == 0), "seconds")
    return f"{unit}({whole / units.get(unit, 1):g})"


def said(value: Any) -> str:
    """What a public name is, in one sentence."""
    if isinstance(value, Metric):
        return f"A metric of a {value.for_}: {value.better} is better."
    return first_sentence(inspect.getdoc(value))


def error_page() -> str:
    """docs/errors.md: every error with its meaning and a message as it is printed."""
    lines = ["# Errors", "", WRITTEN, ""]
    lines += ["Each mistake has a name. Its message says what is wrong, where, and what to do; a"]
    lines += ["program reads `error.code` and `error.fields`. Each is shown as the command line"]
    lines += ["prints it. Over HTTP the same facts come as JSON: see"]
    lines += ["[operations.md](operations.md#errors-over-http)."]
    for kind in error_kinds():
        lines += ["", f"## {kind.__name__}", "", f"{inspect.getdoc(kind)}", ""]
        lines += ["```text", f"{kind.__name__}: {example(kind)}", "```"]
    return "\n".join(lines) + "\n"


def error_kinds() -> list[type[MainspringError]]:
    """Every error class but the base, in the order of errors.py."""
    classes = (c for c in vars(errors).values() if isinstance(c, type))
    return [c for c in classes if issubclass(c, MainspringError) and c is not MainspringError]


PAGES = {"modules.md": modules, "reference.md": reference, "errors.md": error_page}
"""The pages that are written, and what writes each."""


if __name__ == "__main__":
    for name, page in PAGES.items():
        (REPOSITORY / "docs" / name).write_text(page())
