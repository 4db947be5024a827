"""`TrainingSet`: label rows with their features as they were known, over a lookback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mainspring.errors import OutcomeLeak, declared_at, expect
from mainspring.features.feature_set import FeatureSet, Listed, resolve
from mainspring.features.view import lineage
from mainspring.training.label import Label
from mainspring.windows import microseconds


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Label rows with their features as they were known at each request's time.

    Args:
        label: what to predict.
        features: whole views, single features, columns of the request, and expressions of them.
        lookback: how much of the past a training takes.
        judge: how much of it, at the end, is kept for judging; the rest is for fitting. Between the
            two lies a gap of the label's maturity, so that no fit row's label could have become
            known after a judge row's request.
        at_least: with fewer labelled rows to fit on there is no training yet.

    Raises:
        OutcomeLeak: a feature that stands on the outcome's own row, or on a row that the request
            does not carry.
        InvalidDeclaration: a name listed twice, or a view whose key the request does not carry.

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
        >>> rows.feature_set.names
        ('distance',)
    """

    name: str
    label: Label[Any]
    features: Sequence[Listed]
    lookback: timedelta
    judge: timedelta = timedelta(days=7)
    at_least: int = 100
    at: str = field(default_factory=declared_at, init=False, repr=False)
    feature_set: FeatureSet = field(init=False, repr=False)

    def __post_init__(self) -> None:
        expect(self, label=Label)
        microseconds(self.lookback, "lookback")
        microseconds(self.judge, "judge")
        owner = f"training set {self.name!r}"
        resolved = resolve(self.features, self.label.request, owner, self.at)
        own = {id(self.label.of), id(self.label.when)}
        for view in resolved.views:
            if not own.isdisjoint(map(id, view.__view__.keys)):
                raise OutcomeLeak(
                    feature=f"{view.__name__}, a view by {view.__view__.keys[0]!r}",
                    owner=owner,
                    request=self.label.request.__name__,
                    at=view.__view__.at,
                )
        object.__setattr__(self, "feature_set", resolved)

    def definition(self) -> dict[str, Any]:
        """The training set as JSON for the plan, with the columns that each feature comes from."""
        values = dict(zip(self.feature_set.names, self.feature_set.expressions, strict=True))
        return {
            "label": self.label.name,
            "features": list(values),
            "values": {name: value.definition() for name, value in values.items()},
            "lineage": {name: lineage(value) for name, value in values.items()},
            "lookback_us": microseconds(self.lookback),
            "judge_us": microseconds(self.judge),
            "at_least": self.at_least,
        }
