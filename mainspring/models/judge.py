"""Judging: a new version against its gates, on the same rows as what it has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.models.evaluate import Floats, calibration_error, compare, evaluate, interval
from mainspring.models.gate import Gate
from mainspring.models.metrics import METRICS, Metric
from mainspring.models.signature import Output


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate said: the version's score, the other's, the difference with its interval, and whether it passed."""

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


def scores(output: Output, y: Floats, p: Floats, seed: int) -> dict[str, dict[str, float]]:
    """Every metric of an output kind on judge rows, each with its 95 % bootstrap interval."""
    found: dict[str, dict[str, float]] = {}
    for metric in METRICS.values():
        if metric.for_ == output:
            low, high = interval(metric, y, p, seed=seed)
            found[metric.name] = {"value": evaluate(metric, y, p), "low": low, "high": high}
    if output == "probability":
        error = calibration_error(y, p)
        found["calibration_error"] = {"value": error, "low": error, "high": error}
    return found


def judge(
    gates: Sequence[Gate],
    y: Floats,
    p: Floats,
    others: Mapping[str, Floats],
    ladder: Mapping[str, Floats],
    seed: int,
) -> list[Verdict]:
    """The verdict of each gate on a version's predictions.

    Args:
        y, p: outcomes and the version's predictions on the judge rows.
        others: what else was predicted there: `champion` if there is one, and rules by name.
        ladder: what the simple models predicted there; the best of them is the baseline.
    """
    return [_verdict(gate, y, p, *_opponent(gate, y, others, ladder), seed) for gate in gates]


def _opponent(
    gate: Gate, y: Floats, others: Mapping[str, Floats], ladder: Mapping[str, Floats]
) -> tuple[str, Floats | None]:
    if gate.other == "baseline":
        rung = best_rung(gate.metric, y, ladder)
        return f"the {rung} model", ladder[rung]
    name = gate.other if isinstance(gate.other, str) else gate.other.name
    return f"the {name}" if isinstance(gate.other, str) else f"rule {name}", others.get(name)


def best_rung(metric: Metric, y: Floats, ladder: Mapping[str, Floats]) -> str:
    """The rung of the ladder that a version has to justify itself against."""
    best, *others = ladder
    for rung in others:
        if metric.is_better(
            evaluate(metric, y, ladder[rung]), than=evaluate(metric, y, ladder[best])
        ):
            best = rung
    return best


def _verdict(
    gate: Gate, y: Floats, p: Floats, opponent: str, other: Floats | None, seed: int
) -> Verdict:
    metric, score = gate.metric, evaluate(gate.metric, y, p)
    if other is None:
        return Verdict(
            gate.name, metric.name, score, None, None, None, True, f"there is no {gate.other} yet"
        )
    found = compare(metric, y, p, other, seed=seed)
    gain = -found.difference if metric.better == "lower" else found.difference
    passed = gain >= gate.by and gain > 0
    reason = f"{metric.name} {score:.4f} against {score - found.difference:.4f} of {opponent}"
    return Verdict(
        gate.name,
        metric.name,
        score,
        score - found.difference,
        found.low,
        found.high,
        passed,
        reason,
    )
