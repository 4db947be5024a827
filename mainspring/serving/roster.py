"""The roster of an endpoint: which version answers a request, and which answer silently beside it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from mainspring.models.registry import Alias, Registry, Role
from mainspring.models.rule import Rule
from mainspring.serving.endpoint import Endpoint
from mainspring.vectors import Vector, Vectors


class Predicts(Protocol):
    """What gives one number per row of feature columns."""

    def predict(self, columns: Vectors) -> Vector: ...


@dataclass(frozen=True, slots=True)
class Answers:
    """What an endpoint answered to requests, one element per request.

    Attributes:
        score: the answer.
        role: champion, canary, or fallback.
        version: the version that answered; 0 for a rule or a fallback.
        silent: what other roles would have answered: version and scores.
    """

    score: Vector
    role: Vector
    version: Vector
    silent: Mapping[Role, tuple[int, Vector]] = field(
        default_factory=dict[Role, tuple[int, Vector]]
    )


@dataclass(frozen=True, slots=True)
class Roster:
    """The versions of one endpoint, loaded; immutable, so that a swap is the swap of one reference."""

    endpoint: Endpoint
    aliases: Mapping[Role, Alias]
    loaded: Mapping[Role, Predicts]

    @classmethod
    def load(cls, endpoint: Endpoint, registry: Registry) -> Roster:
        """The roster as the registry has it now."""
        if isinstance(endpoint.model, Rule):
            return cls(endpoint, {}, {"champion": _Ruled(endpoint.feature_set.names[0])})
        found, model = registry.aliases(endpoint.name), endpoint.model.name
        return cls(
            endpoint,
            found,
            {role: registry.predictor(model, a.number) for role, a in found.items()},
        )

    def answer(self, ids: Vector, columns: Vectors) -> Answers:
        """The answers to requests: the champion's, the canary's for its share, the fallback while there is no champion.

        Args:
            ids: the key of each request, which decides whether it is the canary's.
            columns: the features by name.
        """
        if "champion" not in self.loaded:
            return self.fall_back(len(ids))
        score = self.loaded["champion"].predict(columns)
        version = np.full(len(ids), self._number("champion"))
        role = np.full(len(ids), "champion", object)
        canary = self.aliases.get("canary")
        if canary is not None:
            mine = shares(self.endpoint.name, ids) < canary.share
            challenger = self.loaded["canary"].predict(columns) if mine.any() else score
            score, version = (
                np.where(mine, challenger, score),
                np.where(mine, canary.number, version),
            )
            role[mine] = "canary"
        return Answers(score, role, version)

    def answer_all(self, ids: Vector, columns: Vectors) -> Answers:
        """The answers to requests together with the silent ones."""
        return replace(self.answer(ids, columns), silent=self.answer_silently(columns))

    def answer_silently(self, columns: Vectors) -> dict[Role, tuple[int, Vector]]:
        """What the versions that do not answer would have: shadow and frozen."""
        quiet: tuple[Role, ...] = ("shadow", "frozen")
        known = [role for role in quiet if role in self.loaded]
        return {role: (self._number(role), self.loaded[role].predict(columns)) for role in known}

    def fall_back(self, rows: int) -> Answers:
        """The declared fallback, NaN where none is declared."""
        fallback = self.endpoint.fallback
        score = np.full(rows, np.nan if fallback is None else fallback)
        return Answers(score, np.full(rows, "fallback", object), np.zeros(rows, np.int64))

    def _number(self, role: Role) -> int:
        return self.aliases[role].number if role in self.aliases else 0


@dataclass(frozen=True, slots=True)
class _Ruled:
    """A rule as a predictor: its value is a feature already."""

    name: str

    def predict(self, columns: Vectors) -> Vector:
        return columns[self.name]


def shares(endpoint: str, ids: Vector) -> Vector:
    """Where each key stands between 0 and 1: the same for an endpoint in every process and for ever.

    Example:
        >>> shares("ctr", np.array(["u1", "u2"], object)).round(3).tolist()
        [0.275, 0.683]
    """
    salt = zlib.crc32(endpoint.encode())
    return np.array([zlib.crc32(str(key).encode(), salt) for key in ids], np.float64) / 2**32
