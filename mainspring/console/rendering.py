"""Templates and the style sheet: every value is escaped, and a missing one is an error."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mainspring.console.words import FILTERS


def rendered(template: str, **values: Any) -> str:
    """The page that a template makes of values."""
    return _environment().get_template(template).render(**values)


@cache
def style_sheet() -> str:
    """The one style sheet, for the console's pages and within the report."""
    return (files("mainspring.console") / "console.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mainspring.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # An SVG of ours is the only thing that is not escaped: it was made here, from escaped text.
    environment.filters |= {**FILTERS, "svg": Markup}
    return environment
