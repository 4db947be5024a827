"""`Rule`: an expression used as a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mainspring.errors import declared_at
from mainspring.expressions import Expr


@dataclass(frozen=True, eq=False)
class Rule:
    """An expression used as a model: it answers on day one, and a model must beat it to take its place.

    Args:
        name: its name.
        flag: the answer: true or false.
    """

    name: str
    flag: Expr[bool]
    at: str = field(default_factory=declared_at, init=False, repr=False)

    @property
    def listed(self) -> Sequence[Expr[Any]]:
        """The rule as the one value of a feature set."""
        return [self.flag]

    def definition(self) -> dict[str, Any]:
        """The rule as JSON for the plan."""
        return {"flag": self.flag.definition()}
