"""`Endpoint`: a served name, what answers there, and how a new version takes over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mainspring.errors import InvalidDeclaration, declared_at, expect
from mainspring.features.feature_set import FeatureSet, resolve
from mainspring.models.model import Model
from mainspring.models.rule import Rule
from mainspring.sources.source import Source
from mainspring.windows import microseconds


@dataclass(frozen=True, eq=False)
class Canary:
    """How a version that passed its gates takes over: in silence, then step by step.

    First it runs as a shadow, which answers nobody, then it gets growing shares of the traffic.

    Args:
        steps: the shares of the traffic, growing, the last one 1.0. A share is sticky by hash of
            the request's key.
        bake: how long shadow and each share last before the next decision.

    Raises:
        InvalidDeclaration: shares that do not grow from above 0 to 1, or a bake without a unit.

    Example:
        >>> from mainspring import hours
        >>> Canary([0.05, 0.5, 1.0], bake=hours(6)).definition()
        {'steps': [0.05, 0.5, 1.0], 'bake_us': 21600000000}
    """

    steps: Sequence[float]
    bake: timedelta

    def __post_init__(self) -> None:
        expect(self, steps=list[float | int])
        microseconds(self.bake, "bake")
        shares = list(self.steps)
        if not shares or shares != sorted(set(shares)) or shares[0] <= 0 or shares[-1] != 1.0:
            raise InvalidDeclaration(
                subject_name="ms.Canary",
                problem=f"the steps {shares} do not grow from above 0 to 1",
                at=declared_at(),
                remedy="write for example [0.05, 0.5, 1.0]",
            )

    def definition(self) -> dict[str, Any]:
        """The rollout as JSON for the plan."""
        return {"steps": list(self.steps), "bake_us": microseconds(self.bake)}


@dataclass(frozen=True, eq=False)
class Endpoint:
    """A served name: `POST /predict/<name>` answers with its champion.

    The body of a request is derived: the request source's key, the entity keys of the views and the
    raw columns that the model or rule uses. Every answer is in the prediction log with its features
    and version before it is sent.

    Args:
        name: its name in the URL.
        model: what answers: a model's champion, or a rule.
        rollout: how a new version takes over; without it, a version that passes its gates answers
            at once.
        fallback: the answer while there is no champion, or when the deadline has passed; marked as
            such.
        timeout: the deadline of one request.
        request: for a rule, the source whose rows ask for a prediction; a model knows it.

    Raises:
        InvalidDeclaration: a rule without `request`, or a setting of another type.
        OutcomeLeak: a rule over a row that the request does not carry.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Flight(ms.Source, url="flights.parquet"):
        ...     distance: ms.Column[float]
        ...     asked_at: ms.Column[datetime] = ms.event_time()
        >>> far = ms.Rule("far", Flight.distance > 1000)
        >>> ms.Endpoint("far", far, request=Flight).definition()["request"]
        ['distance']
    """

    name: str
    model: Model | Rule
    rollout: Canary | None = None
    fallback: float | None = None
    timeout: timedelta = timedelta(milliseconds=500)
    request: type[Source] | None = None
    at: str = field(default_factory=declared_at, init=False, repr=False)
    feature_set: FeatureSet = field(init=False, repr=False)

    def __post_init__(self) -> None:
        expect(self, model=Model | Rule, rollout=Canary | None, fallback=float | int | None)
        microseconds(self.timeout, "timeout")
        object.__setattr__(self, "feature_set", self._resolved())

    def _resolved(self) -> FeatureSet:
        if isinstance(self.model, Model):
            return self.model.rows.feature_set
        if self.request is None:
            raise InvalidDeclaration(
                subject_name=f"endpoint {self.name!r}",
                problem="a rule does not say what its requests are",
                at=self.at,
                remedy="write request=Source, the source whose rows ask for a prediction",
            )
        return resolve(self.model.listed, self.request, f"endpoint {self.name!r}", self.at)

    def definition(self) -> dict[str, Any]:
        """The endpoint as JSON for the plan, with the body that a request sends."""
        return {
            "answers": self.model.name,
            "request": [c.name for c in self.feature_set.columns],
            "rollout": None if self.rollout is None else self.rollout.definition(),
            "fallback": self.fallback,
            "timeout_us": microseconds(self.timeout),
        }
