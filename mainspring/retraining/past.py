"""The past of a system, as its home keeps it: what was asked, answered and found out since."""

from __future__ import annotations

import numpy as np

from mainspring.features.backfill import Backfill
from mainspring.features.feature_set import FeatureSet
from mainspring.models.model import Model
from mainspring.models.registry import Alias, Registry
from mainspring.monitoring.watch import Reference
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.prediction_log import PredictionLog
from mainspring.serving.request import identity_of
from mainspring.sources.home import Home
from mainspring.stores.base import Transaction
from mainspring.training.outcomes import Outcomes, outcomes
from mainspring.vectors import Vector

FOLDED = "folded"
"""The cursor of how far the log is in the tables."""


class Past:
    """What is known of the past of endpoints and models.

    Args:
        home: where it is kept.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.registry = Registry(home.metadata, home.path("versions"))
        self._backfills: dict[tuple[int, str], Backfill] = {}

    def answered(self, endpoint: Endpoint) -> PredictionLog:
        """The answers of an endpoint."""
        return PredictionLog(endpoint, self.home.tables, self.home.engine)

    def requests(self, of: Endpoint | Model) -> Backfill:
        """The requests of an endpoint or a model, with their features."""
        features, identity = _asked(of)
        key = id(features), identity
        if key not in self._backfills:
            folder, home = self.home.path("features"), self.home
            self._backfills[key] = Backfill(folder, features, identity, home.table, home.engine)
        return self._backfills[key]

    def outcomes(self, model: Model, start: int, end: int, now: int) -> Outcomes:
        """What was known at `now` of the requests with `start <= time < end`."""
        return outcomes(model.rows.label, start, end, now, self.home.table, self.home.engine)

    def matured(self, model: Model, start: int, now: int) -> Outcomes:
        """What became of the requests since `start` whose outcome would have come by `now`.

        Of younger ones the quick outcomes alone are known, which are no fair sample.
        """
        return self.outcomes(model, start, max(start, now - model.rows.label.settled_after), now)

    def scores(
        self, endpoint: Endpoint, champion: Alias, start: int, now: int
    ) -> tuple[Vector, Vector]:
        """The champion's scores since `start` and their times: what it answered, and before it was
        champion what it would have."""
        crowned = max(start, champion.at)
        before = self.requests(endpoint).read(start, crowned)
        predictor = self.registry.predictor(endpoint.model.name, champion.number)
        answered = self.answered(endpoint).read(crowned, now)
        own = answered.version == champion.number
        scores = np.concatenate([predictor.predict(before.columns), answered.score[own]])
        return scores, np.concatenate([before.at, answered.at[own]])

    def reference(self, model: str, number: int) -> Reference:
        """What a version of a model was trained on."""
        sha256 = self.registry.version(model, number).sha256
        return Reference.read(self.home.path("profiles"), sha256)

    def cursor(self, name: str) -> int:
        """How far something is done, in microseconds; 0 if it was never begun."""
        with self.home.metadata.read() as snapshot:
            row = snapshot.one("cursor", name=name)
        return 0 if row is None else row["value"]


def move(transaction: Transaction, cursor: str, to: int) -> None:
    """Moves a cursor."""
    transaction.upsert("cursor", {"name": cursor}, value=to)


def _asked(of: Endpoint | Model) -> tuple[FeatureSet, str]:
    """The features of a request, and the column that names it."""
    if isinstance(of, Model):
        return of.rows.feature_set, of.rows.label.of.name
    return of.feature_set, identity_of(of).name
