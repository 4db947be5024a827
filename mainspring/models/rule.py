"""`Rule`: an expression used as a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mainspring.errors import InvalidDeclaration, declared_at, expect
from mainspring.expressions import Expr, kind_of
from mainspring.features.view import lineage


@dataclass(frozen=True, eq=False)
class Rule:
    """An expression used as a model.

    It answers on day one; a model that has to beat it names it in a gate.

    Args:
        name: its name.
        flag: the answer: true or false.

    Raises:
        InvalidDeclaration: `flag` is not a condition.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Flight(ms.Source, url="flights.parquet"):
        ...     distance: ms.Column[float]
        ...     asked_at: ms.Column[datetime] = ms.event_time()
        >>> ms.Rule("far", Flight.distance > 1000)
        Rule(name='far', flag=Flight.distance > 1000)
    """

    name: str
    flag: Expr[bool | None]
    at: str = field(default_factory=declared_at, init=False, repr=False)

    def __post_init__(self) -> None:
        expect(self, flag=Expr)
        if kind_of(self.flag) != "flag":
            raise InvalidDeclaration(
                subject_name=f"rule {self.name!r}",
                problem=f"flag={self.flag!r} is a {kind_of(self.flag)}, not a condition",
                at=self.at,
                remedy="compare it, for example Source.column > 0",
            )

    @property
    def listed(self) -> Sequence[Expr[Any]]:
        """The rule as the one value of a feature set."""
        return [self.flag]

    def definition(self) -> dict[str, Any]:
        """The rule as JSON for the plan, with the columns that it comes from."""
        return {"flag": self.flag.definition(), "lineage": lineage(self.flag)}
