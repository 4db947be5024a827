"""What a new version may have to beat, predicted on the rows that it is judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mainspring.errors import SignatureMismatch
from mainspring.features.backfill import Backfill, Rows
from mainspring.features.feature_set import resolve
from mainspring.models.judge import Opponents
from mainspring.models.model import Model
from mainspring.models.registry import Registry, check_signature
from mainspring.models.rule import Rule
from mainspring.sources.home import Home
from mainspring.vectors import Vector


def opponents(
    model: Model,
    rows: Rows,
    ladder: Mapping[str, Vector],
    champions: Sequence[int],
    registry: Registry,
    home: Home,
) -> Opponents:
    """The ladder, the champions and the rules of the gates, on the rows to judge on.

    A champion of another signature is judged as long as its inputs are among the columns.
    """
    rules = {g.other.name: g.other for g in model.gates if isinstance(g.other, Rule)}
    predicted = {name: _of_rule(model, rule, rows, home) for name, rule in rules.items()}
    try:
        answers = {n: _of_champion(model, n, rows, registry) for n in champions}
    except SignatureMismatch as error:
        return Opponents(ladder, {}, predicted, unfit=error.subject)
    return Opponents(ladder, answers, predicted)


def _of_champion(model: Model, number: int, rows: Rows, registry: Registry) -> Vector:
    predictor, owner = registry.predictor(model.name, number), f"training set {model.rows.name!r}"
    check_signature(model, number, predictor.signature, owner, model.rows.at)
    return predictor.predict(rows.columns)


def _of_rule(model: Model, rule: Rule, rows: Rows, home: Home) -> Vector:
    """A rule may read other features than the model, so it has a backfill of its own."""
    label = model.rows.label
    read = resolve(rule.listed, label.request, f"rule {rule.name!r}", rule.at)
    backfill = Backfill(home.path("features"), read, label.of.name, home.table, home.engine)
    found = backfill.read(int(rows.at.min()), int(rows.at.max()) + 1)
    answers = found.columns[read.names[0]].tolist()
    value = dict(zip(zip(found.ids, found.at.tolist(), strict=True), answers, strict=True))
    asked = zip(rows.ids, rows.at.tolist(), strict=True)
    return np.array([value[pair] for pair in asked], np.float64)
