"""Triggers: the reasons to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mainspring.errors import InvalidDeclaration, declared_at
from mainspring.models.metrics import Metric
from mainspring.models.model import Model
from mainspring.monitoring.monitor import Monitor
from mainspring.serving.endpoint import Endpoint
from mainspring.windows import microseconds


@dataclass(frozen=True, slots=True)
class Every:
    """A schedule; see `ms.every`."""

    period: timedelta

    def definition(self) -> dict[str, Any]:
        return {"every_us": microseconds(self.period)}


@dataclass(frozen=True, slots=True)
class Drifted:
    """An open drift incident; see `ms.drifted`."""

    monitor: Monitor

    def definition(self) -> dict[str, Any]:
        return {"drifted": self.monitor.name}


@dataclass(frozen=True, slots=True)
class Worse:
    """A champion that got worse; see `ms.worse`."""

    endpoint: Endpoint
    metric: Metric
    by: float

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
    """The trigger that trains when `period` has passed since the last training."""
    microseconds(period)
    return Every(period)


def drifted(monitor: Monitor) -> Drifted:
    """The trigger that trains when `monitor` opens an incident."""
    return Drifted(monitor)


def worse(endpoint: Endpoint, metric: Metric, *, by: float) -> Worse:
    """The trigger that trains when the champion's metric on arriving labels is worse by `by` than when it was judged."""
    return Worse(endpoint, metric, by)


def new_labels(rows: int) -> NewLabels:
    """The trigger that trains when `rows` labels have arrived since the last training.

    Raises:
        InvalidDeclaration: `rows` is not positive.
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
    """

    model: Model
    when: Sequence[Trigger]
    at: str = field(default_factory=declared_at, init=False, repr=False)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    def definition(self) -> dict[str, Any]:
        """The retraining as JSON for the plan."""
        return {"model": self.model.name, "when": [t.definition() for t in self.when]}
