"""`Label`: the outcome to predict, and how long until a missing one means something."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

from mainspring.errors import InvalidDeclaration, declared_at, expect
from mainspring.expressions import Expr, Kind, Number, kind_of, leaves
from mainspring.sources.source import Column, ColumnOf, Source
from mainspring.windows import microseconds

K = TypeVar("K")


@dataclass(frozen=True, eq=False)
class Label(Generic[K]):
    """The outcome to predict: joins outcomes to requests by key.

    A request is pending until its outcome arrives or none can come any more: `within` has passed
    since it was made, and the time by which the outcome's source is late. Then it is labelled with
    what the outcome says, or with `default`; without a default it is censored: not used.

    Args:
        of: the column that names the request.
        when: the column of the outcome's source that names the request it belongs to.
        within: the maturity: how long after the request an outcome counts.
        value: what the outcome says, an expression over its columns; if not given, 1 for a request
            with an outcome and 0 for one without.
        default: the label of a request whose outcome never came.

    Raises:
        InvalidDeclaration: the value uses another source or is no flag or number, the two columns
            are of one source or of two types, or `within` is not a positive duration.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Flight(ms.Source, url="flights.parquet"):
        ...     flight_id: ms.Column[str] = ms.column(unique=True)
        ...     asked_at: ms.Column[datetime] = ms.event_time()
        >>> class Arrival(ms.Source, url="arrivals.parquet"):
        ...     flight_id: ms.Column[str]
        ...     delay: ms.Column[float]
        ...     landed_at: ms.Column[datetime] = ms.event_time()
        >>> late = ms.Label(
        ...     "late",
        ...     of=Flight.flight_id,
        ...     when=Arrival.flight_id,
        ...     value=Arrival.delay > 15,
        ...     within=ms.days(2),
        ... )
        >>> late.request.__name__, late.kind
        ('Flight', 'flag')
    """

    name: str
    of: ColumnOf[Any, K]
    when: ColumnOf[Any, K] | ColumnOf[Any, K | None]
    within: timedelta
    value: Expr[Number] | None = None
    default: float | bool | None = None
    at: str = field(default_factory=declared_at, init=False, repr=False)

    def __post_init__(self) -> None:
        expect(self, of=Column, when=Column, value=Expr | None, default=float | int | None)
        if microseconds(self.within, "within") <= 0:
            raise self._invalid("within= must be longer than nothing", "write within=ms.days(2)")
        if self.of.source is self.when.source:
            raise self._invalid("of= and when= are the same source", "join an outcome to a request")
        if kind_of(self.of) != kind_of(self.when):
            problem = f"{self.of!r} is a {kind_of(self.of)}, {self.when!r} a {kind_of(self.when)}"
            raise self._invalid(problem, "join by columns of one type")
        self._check_value()

    def _check_value(self) -> None:
        for leaf in leaves(self.value):
            if not isinstance(leaf, Column) or leaf.source is not self.when.source:
                problem = f"value uses {leaf!r}, which is not a column of {self.outcome.__name__}"
                raise self._invalid(problem, f"use columns of {self.outcome.__name__}")
        if self.kind not in ("flag", "number"):
            remedy = "write a condition, for example value=Source.column > 0"
            raise self._invalid(f"value={self.value!r} is a {self.kind}", remedy)

    @property
    def key(self) -> Column[Any]:
        """The column that names a request."""
        column: Any = self.of
        return cast(Column[Any], column)

    @property
    def request(self) -> type[Source]:
        """The source whose rows are the requests."""
        source: type[Source] = self.of.source
        return source

    @property
    def outcome(self) -> type[Source]:
        """The source whose rows are the outcomes."""
        source: type[Source] = self.when.source
        return source

    @property
    def maturity(self) -> int:
        """`within` in microseconds."""
        return microseconds(self.within)

    @property
    def settled_after(self) -> int:
        """Microseconds from a request to when a missing outcome means no: `within`, and then what
        an outcome of history takes to arrive."""
        return self.maturity + self.outcome.__schema__.late_by

    @property
    def kind(self) -> Kind:
        """`flag` for a yes or no, `number` for an amount."""
        return "flag" if self.value is None else kind_of(self.value)

    @property
    def missing(self) -> float | None:
        """The label of a request whose outcome never came; None leaves it out."""
        if self.default is None and self.value is None:
            return 0.0
        return None if self.default is None else float(self.default)

    def definition(self) -> dict[str, Any]:
        """The label as JSON for the plan."""
        return {
            "of": self.of.definition(),
            "when": self.when.definition(),
            "value": None if self.value is None else self.value.definition(),
            "within_us": self.maturity,
            "default": self.missing,
        }

    def _invalid(self, problem: str, remedy: str) -> InvalidDeclaration:
        return InvalidDeclaration(
            subject_name=f"label {self.name!r}", problem=problem, at=declared_at(), remedy=remedy
        )
