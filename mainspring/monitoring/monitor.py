"""`Monitor`: a scheduled check of a view's features or an endpoint's predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mainspring.errors import InvalidDeclaration, declared_at, expect
from mainspring.features.view import FeatureView
from mainspring.serving.endpoint import Endpoint
from mainspring.windows import microseconds


@dataclass(frozen=True, slots=True)
class Drift:
    """How a drift check decides: see `ms.drift`."""

    effect: float
    urgent: float
    min_rows: int
    false_pages_per_month: float

    def definition(self) -> dict[str, Any]:
        """The check as JSON for the plan."""
        return {"drift": {name: getattr(self, name) for name in self.__slots__}}


def drift(
    *,
    effect: float = 0.04,
    urgent: float = 0.25,
    min_rows: int = 300,
    false_pages_per_month: float = 1.0,
) -> Drift:
    """The check that a distribution has changed.

    It is tuned to page once a month at most without cause. Windows of 1, 6 and 24 hours are
    compared with the champion's training rows by the G statistic, against what history shows to be
    usual; a page also needs an effect and persistence.

    Args:
        effect: the least population stability index, beyond its usual excess, that pages.
        urgent: the index that pages at once.
        min_rows: a window with fewer rows is left to the next longer one.
        false_pages_per_month: the significance budget over all features and windows.

    Example:
        >>> drift(min_rows=1000)
        Drift(effect=0.04, urgent=0.25, min_rows=1000, false_pages_per_month=1.0)
    """
    return Drift(effect, urgent, min_rows, false_pages_per_month)


@dataclass(frozen=True, eq=False)
class Monitor:
    """A scheduled check.

    Args:
        name: its name in incidents.
        watch: a feature view (its features at the requests), or an endpoint (its predictions).
        check: what is checked: `ms.drift()`.
        every: how often.

    Raises:
        InvalidDeclaration: something that cannot be watched, or a period without a unit.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Departure(ms.Source, url="departures.parquet"):
        ...     origin: ms.Column[str]
        ...     left_at: ms.Column[datetime] = ms.event_time()
        >>> class Airport(ms.FeatureView, key=Departure.origin):
        ...     departures_1h = ms.count(window=ms.hours(1))
        >>> monitor = ms.Monitor("airports", Airport, ms.drift(), every=ms.hours(1))
        >>> monitor.definition()["watch"]
        'Airport'
    """

    name: str
    watch: type[FeatureView] | Endpoint
    check: Drift
    every: timedelta
    at: str = field(default_factory=declared_at, init=False, repr=False)

    def __post_init__(self) -> None:
        is_view = isinstance(self.watch, type) and issubclass(self.watch, FeatureView)
        if not is_view and not isinstance(self.watch, Endpoint):
            raise InvalidDeclaration(
                subject_name=f"monitor {self.name!r}",
                problem=f"it cannot watch {getattr(self.watch, 'name', self.watch)!r}",
                at=self.at,
                remedy="name a feature view or an endpoint",
            )
        expect(self, check=Drift)
        microseconds(self.every, "every")

    def definition(self) -> dict[str, Any]:
        """The monitor as JSON for the plan."""
        watched = self.watch.name if isinstance(self.watch, Endpoint) else self.watch.__view__.id
        return {"watch": watched, **self.check.definition(), "every_us": microseconds(self.every)}
