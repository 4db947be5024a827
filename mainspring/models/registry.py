"""The registry: the append-only list of fitted versions, and which of them answers where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from mainspring.errors import SignatureMismatch, UnknownName
from mainspring.models.model import Model
from mainspring.models.runtime import Predictor, load
from mainspring.models.signature import Signature, difference, lacking
from mainspring.stores.base import Metadata, Row, Snapshot, Transaction

Role = Literal["champion", "canary", "shadow", "frozen"]
"""What a version is to an endpoint: it answers, has a share, is silent, or is kept to compare."""


@dataclass(frozen=True, slots=True)
class Version:
    """A fitted version as the registry has it."""

    model: str
    number: int
    sha256: str
    rows_hash: str
    folder: str
    metrics: Mapping[str, Any]
    gates: list[Mapping[str, Any]]
    ladder: Mapping[str, Any]
    reason: str
    at: int
    state: str

    @classmethod
    def of(cls, row: Row) -> Version:
        """The version of a row of the metadata store."""
        return cls(**{name: row[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Alias:
    """A version's role at an endpoint, since when, and its share of the traffic."""

    role: Role
    number: int
    share: float
    at: int


class Registry:
    """The versions of a system's models."""

    def __init__(self, metadata: Metadata, folder: Path) -> None:
        self._metadata, self._folder = metadata, folder

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, the oldest first."""
        with self._metadata.read() as snapshot:
            return [Version.of(r) for r in snapshot.select("version", order="number", model=model)]

    def version(self, model: str, number: int) -> Version:
        """One version.

        Raises:
            UnknownName: the model has no such version.
        """
        with self._metadata.read() as snapshot:
            row = snapshot.one("version", model=model, number=number)
        if row is None:
            known = [str(v.number) for v in self.versions(model)]
            raise UnknownName.among(f"version of model {model!r}", str(number), known)
        return Version.of(row)

    def aliases(self, endpoint: str) -> dict[Role, Alias]:
        """The versions that have a role at an endpoint."""
        with self._metadata.read() as snapshot:
            return aliases(snapshot, endpoint)

    def predictor(self, model: str, number: int) -> Predictor:
        """A version, loaded and verified; kept in memory, as it never changes."""
        version = self.version(model, number)
        return _loaded(self._folder / version.folder, version.sha256)


@lru_cache(maxsize=16)
def _loaded(folder: Path, sha256: str) -> Predictor:
    return load(folder, sha256)


def check_signature(model: Model, number: int, found: Signature, owner: str, at: str) -> None:
    """Refuses a version that needs more than its model's declaration gives now.

    Args:
        found: the signature of the version.
        owner, at: what should give its inputs, and where that is declared.

    Raises:
        SignatureMismatch: an input is not there, or is of another kind.
    """
    if missing := lacking(found, model.signature):
        raise SignatureMismatch(
            model=model.name,
            number=number,
            missing=missing,
            owner=owner,
            difference=difference(found, model.signature),
            at=at,
        )


def aliases(snapshot: Snapshot, endpoint: str) -> dict[Role, Alias]:
    """The versions that have a role at an endpoint, in one snapshot."""
    rows = snapshot.select("alias", subject=endpoint)
    return {r["role"]: Alias(r["role"], r["number"], r["share"], r["at"]) for r in rows}


def assign(
    transaction: Transaction, endpoint: str, role: Role, number: int, at: int, share: float = 0.0
) -> None:
    """Gives a version a role at an endpoint."""
    transaction.upsert(
        "alias", {"subject": endpoint, "role": role}, number=number, share=share, at=at
    )


def decide(
    transaction: Transaction,
    at: int,
    subject: str,
    kind: str,
    reason: str,
    evidence: Mapping[str, Any],
) -> None:
    """Writes a decision with its reason and evidence."""
    number = transaction.next_number("decision")
    transaction.insert(
        "decision",
        number=number,
        at=at,
        subject=subject,
        kind=kind,
        reason=reason,
        evidence=dict(evidence),
    )
