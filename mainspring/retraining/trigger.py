"""Triggers: the reasons to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mainspring.errors import InvalidDeclaration, declared_at, expect
from mainspring.models.metrics import Metric
from mainspring.models.model import Model
from mainspring.monitoring.monitor import Monitor
from mainspring.serving.endpoint import Endpoint
from mainspring.windows import microseconds


@dataclass(frozen=True, slots=True)
class Every:
    """A schedule; see `ms.every`."""

    period: timedelta

    def __post_init__(self) -> None:
        microseconds(self.period, "period")

    def definition(self) -> dict[str, Any]:
        return {"every_us": microseconds(self.period)}


@dataclass(frozen=True, slots=True)
class Drifted:
    """An open drift incident; see `ms.drifted`."""

    monitor: Monitor

    def __post_init__(self) -> None:
        expect(self, monitor=Monitor)

    def definition(self) -> dict[str, Any]:
        return {"drifted": self.monitor.name}


@dataclass(frozen=True, slots=True)
class Worse:
    """A champion that got worse; see `ms.worse`."""

    endpoint: Endpoint
    metric: Metric
    by: float

    def __post_init__(self) -> None:
        expect(self, endpoint=Endpoint, metric=Metric, by=float | int)
        if isinstance(self.endpoint.model, Model):
            self.endpoint.model.expect_metric(self.metric, "ms.worse")

    def definition(self) -> dict[str, Any]:
        return {"worse": self.endpoint.name, "metric": self.metric.name, "by": self.by}


@dataclass(frozen=True, slots=True)
class NewLabels:
    """Enough labels that no training has seen; see `ms.new_labels`."""

    rows: int

    def definition(self) -> dict[str, Any]:
        return {"new_labels": self.rows}


Trigger = Every | Drifted | Worse | NewLabels
"""A reason to train."""


def every(period: timedelta) -> Every:
    """The trigger that trains when `period` has passed since the last training.

    Raises:
        InvalidDeclaration: `period` is not a duration.

    Example:
        >>> from mainspring import days
        >>> every(days(7)).definition()
        {'every_us': 604800000000}
    """
    return Every(period)


def drifted(monitor: Monitor) -> Drifted:
    """The trigger that trains when `monitor` opens an incident.

    Raises:
        InvalidDeclaration: `monitor` is something else.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Departure(ms.Source, url="departures.parquet"):
        ...     origin: ms.Column[str]
        ...     delay: ms.Column[float]
        ...     left_at: ms.Column[datetime] = ms.event_time()
        >>> class Airport(ms.FeatureView, key=Departure.origin):
        ...     delay_1h = ms.mean(Departure.delay, window=ms.hours(1))
        >>> drift = ms.Monitor("airports", Airport, ms.drift(), every=ms.hours(1))
        >>> drifted(drift).definition()
        {'drifted': 'airports'}
    """
    return Drifted(monitor)


def worse(endpoint: Endpoint, metric: Metric, *, by: float) -> Worse:
    """The trigger that trains when the champion is worse than when it was judged.

    Args:
        endpoint: where it answers; its metric is computed anew as labels arrive.
        metric: what is compared.
        by: how much worse, in the metric's unit.

    Raises:
        InvalidDeclaration: an argument of another type.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Departure(ms.Source, url="departures.parquet"):
        ...     origin: ms.Column[str]
        ...     delay: ms.Column[float]
        ...     left_at: ms.Column[datetime] = ms.event_time()
        >>> rule = ms.Rule("slow", Departure.delay > 15)
        >>> endpoint = ms.Endpoint("slow", rule, request=Departure)
        >>> worse(endpoint, ms.log_loss, by=0.02).definition()
        {'worse': 'slow', 'metric': 'log_loss', 'by': 0.02}
    """
    return Worse(endpoint, metric, by)


def new_labels(rows: int) -> NewLabels:
    """The trigger that trains when `rows` labels have come since the last training.

    Raises:
        InvalidDeclaration: `rows` is not positive.

    Example:
        >>> new_labels(10_000).definition()
        {'new_labels': 10000}
    """
    if rows < 1:
        raise InvalidDeclaration(
            subject_name="ms.new_labels",
            problem=f"{rows} is not a number of labels",
            at=declared_at(),
            remedy="write for example ms.new_labels(10_000)",
        )
    return NewLabels(rows)


@dataclass(frozen=True, eq=False)
class Retraining:
    """When a model is trained anew; each training records its reason.

    Args:
        model: the model.
        when: the triggers; any of them trains.

    Raises:
        InvalidDeclaration: a trigger that is none; a monitor is wrapped in `ms.drifted`.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Flight(ms.Source, url="flights.parquet"):
        ...     flight_id: ms.Column[str] = ms.column(unique=True)
        ...     distance: ms.Column[float]
        ...     asked_at: ms.Column[datetime] = ms.event_time()
        >>> class Arrival(ms.Source, url="arrivals.parquet"):
        ...     flight_id: ms.Column[str]
        ...     delay: ms.Column[float]
        ...     landed_at: ms.Column[datetime] = ms.event_time()
        >>> delay = ms.Label(
        ...     "delay",
        ...     of=Flight.flight_id,
        ...     when=Arrival.flight_id,
        ...     value=Arrival.delay,
        ...     within=ms.days(2),
        ... )
        >>> rows = ms.TrainingSet("rows", delay, [Flight.distance], lookback=ms.days(120))
        >>> from sklearn.linear_model import Ridge
        >>> model = ms.Model("delay", Ridge(), rows)
        >>> ms.Retraining(model, when=[ms.every(ms.days(7))]).definition()
        {'model': 'delay', 'when': [{'every_us': 604800000000}]}
    """

    model: Model
    when: Sequence[Trigger]
    at: str = field(default_factory=declared_at, init=False, repr=False)

    def __post_init__(self) -> None:
        expect(self, model=Model, when=list[Trigger])

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    def definition(self) -> dict[str, Any]:
        """The retraining as JSON for the plan."""
        return {"model": self.model.name, "when": [t.definition() for t in self.when]}
