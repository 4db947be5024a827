"""Judging: a new version against its gates, on the same rows as what it has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainspring.models.evaluate import (
    Floats,
    calibration_error,
    calibration_interval,
    compare,
    evaluate,
    interval,
)
from mainspring.models.gate import Gate
from mainspring.models.metrics import METRICS, Metric
from mainspring.models.signature import Output


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate said: the score, the other's, the difference's interval, whether it passed."""

    gate: str
    metric: str
    score: float
    other: float | None
    low: float | None
    high: float | None
    passed: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The verdict as the registry keeps it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Opponents:
    """What a version may have to beat, as predicted on its judge rows; NaN where it says nothing.

    Attributes:
        ladder: the simple models; the best of them is the baseline.
        champions: the versions that answer now, by number.
        rules: the rules of the gates, by name.
        unfit: why a champion cannot be judged on these rows; empty if all can.
    """

    ladder: Mapping[str, Floats]
    champions: Mapping[int, Floats]
    rules: Mapping[str, Floats]
    unfit: str = ""


def scores(output: Output, y: Floats, p: Floats, seed: int) -> dict[str, dict[str, float]]:
    """Every metric of an output kind on judge rows, each with its 95 % bootstrap interval.

    Example:
        >>> y, p = np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.5, 3.5])
        >>> scores("number", y, p, seed=0)["mae"]
        {'value': 0.5, 'low': 0.5, 'high': 0.5}
    """
    found: dict[str, dict[str, float]] = {}
    for metric in METRICS.values():
        if metric.for_ == output:
            low, high = interval(metric, y, p, seed=seed)
            found[metric.name] = {"value": evaluate(metric, y, p), "low": low, "high": high}
    if output == "probability":
        low, high = calibration_interval(y, p, seed=seed)
        found["calibration_error"] = {"value": calibration_error(y, p), "low": low, "high": high}
    return found


def judge(
    gates: Sequence[Gate], y: Floats, p: Floats, opponents: Opponents, seed: int
) -> list[Verdict]:
    """The verdict of each gate on a version's predictions `p` of the outcomes `y`.

    A gate compares on the rows where its opponent says something. It is met where there is no
    champion yet, and not met where the champion cannot be judged.

    Example:
        >>> from mainspring import beats, mae
        >>> y, p = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.5])
        >>> opponents = Opponents({"constant": np.full(3, 2.0)}, {}, {})
        >>> [v.reason for v in judge([beats("baseline", mae)], y, p, opponents, seed=0)]
        ['mae 0.1667 against 0.6667 of the constant model']
    """
    return [_verdict(gate, y, p, opponents, seed) for gate in gates]


def best(metric: Metric, y: Floats, of: Mapping[Any, Floats]) -> Any:
    """The one of several that a version has to justify itself against; of equal ones the first.

    Example:
        >>> from mainspring import mae
        >>> best(mae, np.zeros(2), {"a": np.ones(2), "b": np.zeros(2), "c": np.zeros(2)})
        'b'
    """
    first, *others = of
    for other in others:
        score = evaluate(metric, *_told(y, of[other]))
        if metric.is_better(score, than=evaluate(metric, *_told(y, of[first]))):
            first = other
    return first


def _verdict(gate: Gate, y: Floats, p: Floats, opponents: Opponents, seed: int) -> Verdict:
    metric = gate.metric
    if gate.other == "champion" and (opponents.unfit or not opponents.champions):
        score, reason = evaluate(metric, y, p), opponents.unfit or "there is no champion yet"
        passed = not opponents.unfit
        return Verdict(gate.name, metric.name, score, None, None, None, passed, reason)
    name, other = _opponent(gate, y, opponents)
    known = ~np.isnan(other)
    y, p, other = y[known], p[known], other[known]
    score, found = evaluate(metric, y, p), compare(metric, y, p, other, seed=seed)
    gain = -found.difference if metric.better == "lower" else found.difference
    theirs = score - found.difference
    reason = f"{metric.name} {score:.4f} against {theirs:.4f} of {name}"
    passed = gain >= gate.by if gate.by else gain > 0
    return Verdict(gate.name, metric.name, score, theirs, found.low, found.high, passed, reason)


def _opponent(gate: Gate, y: Floats, opponents: Opponents) -> tuple[str, Floats]:
    """What a gate compares with, and its name in a sentence."""
    if gate.other == "baseline":
        rung = best(gate.metric, y, opponents.ladder)
        return f"the {rung} model", opponents.ladder[rung]
    if isinstance(gate.other, str):
        number = best(gate.metric, y, opponents.champions)
        return f"the champion, v{number}", opponents.champions[number]
    return f"rule {gate.other.name}", opponents.rules[gate.other.name]


def _told(*columns: Floats) -> Iterable[Floats]:
    """The columns on the rows where all of them say something."""
    known = ~np.isnan(columns).any(axis=0)
    return [column[known] for column in columns]
