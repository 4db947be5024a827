"""The roster of an endpoint: which version answers a request, and which are silent beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from mainspring.models.model import Model
from mainspring.models.registry import Alias, Registry, Role, check_signature
from mainspring.models.signature import lacking
from mainspring.serving.endpoint import Endpoint
from mainspring.vectors import Vector, Vectors

RULE = 0
"""The version number of a rule, and of a fallback."""


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
        silent: what others would have answered, version and scores: `shadow` is the version on its
            way to be champion, `frozen` the one that is kept to compare.
    """

    score: Vector
    role: Vector
    version: Vector
    silent: Mapping[Role, tuple[int, Vector]] = field(
        default_factory=dict[Role, tuple[int, Vector]]
    )


@dataclass(frozen=True, slots=True)
class Roster:
    """The versions of one endpoint, loaded; immutable: a swap is the swap of one reference."""

    endpoint: Endpoint
    aliases: Mapping[Role, Alias]
    loaded: Mapping[Role, Predicts]

    @classmethod
    def load(cls, endpoint: Endpoint, registry: Registry) -> Roster:
        """The roster as the registry has it now.

        Raises:
            SignatureMismatch: the champion needs what the endpoint does not have any more. Another
                version that does is left out.
        """
        model = endpoint.model
        if not isinstance(model, Model):
            return cls(endpoint, {}, {"champion": _Ruled(endpoint.feature_set.names[0])})
        found, loaded = registry.aliases(endpoint.name), dict[Role, Predicts]()
        for role, alias in found.items():
            predictor = registry.predictor(model.name, alias.number)
            if role == "champion":
                owner, needed = f"endpoint {endpoint.name!r}", predictor.signature
                check_signature(model, alias.number, needed, owner, endpoint.at)
            if not lacking(predictor.signature, model.signature):
                loaded[role] = predictor
        return cls(endpoint, found, loaded)

    def answer_all(self, ids: Vector, columns: Vectors) -> Answers:
        """The answers to requests, and the silent ones: the champion's, the canary's for its share,
        the fallback while there is no champion.

        What a challenger raises is its failure, a NaN in the silent answers, and the champion
        answers instead.

        Args:
            ids: the key of each request, which decides whether it is the canary's.
            columns: the features by name.
        """
        scores = self._scores(len(ids), columns)
        silent: dict[Role, tuple[int, Vector]] = {
            role: (self._number(role), scores[role]) for role in _QUIET if role in scores
        }
        if "canary" in scores:
            silent["shadow"] = self._number("canary"), scores["canary"]
        if "champion" not in scores:
            return replace(self.fall_back(len(ids)), silent=silent)
        score, number = scores["champion"], self._number("champion")
        mine = np.zeros(len(ids), bool)
        if "canary" in scores:
            mine = shares(self.endpoint.name, ids) < self.aliases["canary"].share
            mine &= ~np.isnan(scores["canary"])
            score = np.where(mine, scores["canary"], score)
        role = np.where(mine, "canary", "champion").astype(object)
        return Answers(score, role, np.where(mine, self._number("canary"), number), silent)

    def fall_back(self, rows: int) -> Answers:
        """The declared fallback, NaN where none is declared."""
        fallback = self.endpoint.fallback
        score = np.full(rows, np.nan if fallback is None else fallback)
        return Answers(score, np.full(rows, "fallback", object), np.full(rows, RULE))

    def _scores(self, rows: int, columns: Vectors) -> dict[Role, Vector]:
        """What each role's version says; a version of two roles is asked once."""
        known: dict[int, Vector] = {}
        for role, predictor in self.loaded.items():
            number = self._number(role)
            if role == "champion":
                known[number] = predictor.predict(columns)
            elif number not in known:
                known[number] = _tried(predictor, rows, columns)
        return {role: known[self._number(role)] for role in self.loaded}

    def _number(self, role: Role) -> int:
        return self.aliases[role].number if role in self.aliases else RULE


_QUIET: tuple[Role, ...] = ("shadow", "frozen")


def _tried(predictor: Predicts, rows: int, columns: Vectors) -> Vector:
    try:
        return predictor.predict(columns)
    except Exception:  # noqa: BLE001 - a challenger must not fail the answers; its NaN takes it back
        return np.full(rows, np.nan)


@dataclass(frozen=True, slots=True)
class _Ruled:
    """A rule as a predictor: its value is a feature already."""

    name: str

    def predict(self, columns: Vectors) -> Vector:
        return columns[self.name]


def shares(endpoint: str, ids: Vector) -> Vector:
    """Where each key stands between 0 and 1: the same in every process and for ever, and another
    at each endpoint.

    Example:
        >>> shares("ctr", np.array(["u1", "u2"], object)).round(3).tolist()
        [0.926, 0.048]
    """
    salted = hashlib.blake2b(endpoint.encode() + b"\0", digest_size=6)
    return np.array([_share(salted.copy(), str(key)) for key in ids], np.float64)


def _share(salted: hashlib.blake2b, key: str) -> float:
    salted.update(key.encode())
    return int.from_bytes(salted.digest()) / 2**48
