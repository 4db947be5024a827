"""`TrainingSet`: label rows with their features as they were known, over a lookback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mainspring.errors import OutcomeLeak, declared_at
from mainspring.features.feature_set import FeatureSet, Listed, resolve
from mainspring.training.label import Label
from mainspring.windows import microseconds


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Label rows with their features as they were known at each request's time.

    Args:
        label: what to predict.
        features: whole views, single features, columns of the request, and expressions of them.
        lookback: how much of the past a training takes.
        judge: how much of it, at the end, is kept for judging; the rest is for fitting. Between the two lies a gap of the
            label's maturity, so that no fit row's label could have been known after a judge row's request.

    Raises:
        OutcomeLeak: a feature that stands on the outcome's own row, or on a row that the request does not carry.
        InvalidDeclaration: a name listed twice, or a view whose key the request does not carry.
    """

    name: str
    label: Label[Any]
    features: Sequence[Listed]
    lookback: timedelta
    judge: timedelta = timedelta(days=7)
    at: str = field(default_factory=declared_at, init=False, repr=False)
    feature_set: FeatureSet = field(init=False, repr=False)

    def __post_init__(self) -> None:
        owner = f"training set {self.name!r}"
        resolved = resolve(self.features, self.label.request, owner, self.at)
        own = {id(self.label.of), id(self.label.when)}
        for view in resolved.views:
            if id(view.__view__.key) in own:
                raise OutcomeLeak(
                    feature=f"{view.__name__}, a view by {view.__view__.key!r}",
                    owner=owner,
                    request=self.label.request.__name__,
                    at=view.__view__.at,
                )
        object.__setattr__(self, "feature_set", resolved)

    def definition(self) -> dict[str, Any]:
        """The training set as JSON for the plan."""
        return {
            "label": self.label.name,
            "features": list(self.feature_set.names),
            "lookback_us": microseconds(self.lookback),
            "judge_us": microseconds(self.judge),
        }
