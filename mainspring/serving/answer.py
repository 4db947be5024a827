"""Answers: as the log has them, and as the caller gets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.clock import as_datetime
from mainspring.expressions import Kind
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.request import Asked
from mainspring.serving.roster import Answers
from mainspring.vectors import Vector, to_value


@dataclass(frozen=True, slots=True)
class Scored:
    """Requests to one endpoint, their features, the times at which these hold, and the answers."""

    asked: Sequence[Asked]
    at: Sequence[int]
    features: Mapping[str, Vector]
    answers: Answers


def logged(scored: Scored) -> list[dict[str, Any]]:
    """The answers as the log has them, but for their names."""
    endpoint, answers = scored.asked[0].endpoint, scored.answers
    features = _columns(endpoint, scored.features)
    silent = {role: (number, scores.tolist()) for role, (number, scores) in answers.silent.items()}
    score, version = answers.score.tolist(), answers.version.tolist()
    return [
        {
            "endpoint": endpoint.name,
            "id": str(asked.id),
            "at": scored.at[i],
            "score": score[i],
            "role": answers.role[i],
            "version": version[i],
            "silent": {role: [number, scores[i]] for role, (number, scores) in silent.items()},
            "features": {name: values[i] for name, values in features.items()},
        }
        for i, asked in enumerate(scored.asked)
    ]


def _columns(endpoint: Endpoint, features: Mapping[str, Vector]) -> dict[str, list[Any]]:
    """By name: the log outlives the feature set that an answer was made from."""
    pairs = zip(endpoint.feature_set.names, endpoint.feature_set.kinds, strict=True)
    return {name: [_bare(v, kind) for v in features[name].tolist()] for name, kind in pairs}


def _bare(value: Any, kind: Kind) -> Any:
    """A value as the log has it: times as they are, NULL as None."""
    return value if kind == "time" else to_value(value, kind)


def told(logged: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as the caller gets it."""
    return {
        "request_id": logged["request_id"],
        "id": logged["id"],
        "prediction": logged["score"],
        "version": logged["version"],
        "role": logged["role"],
        "fallback": logged["role"] == "fallback",
        "at": as_datetime(logged["at"]).isoformat(),
    }
