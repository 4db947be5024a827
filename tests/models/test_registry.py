"""The registry: versions are appended, roles and decisions written with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.errors import SignatureMismatch, UnknownName
from mainspring.models.registry import Alias, Registry, aliases, assign, check_signature, decide
from mainspring.models.signature import Input, Signature
from mainspring.stores.base import Metadata, Row
from mainspring.stores.urls import connect_metadata
from tests import small


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[Metadata]:
    with closing(connect_metadata(f"sqlite:///{tmp_path}/m.sqlite", sync=False)) as metadata:
        yield metadata


def test_versions_come_in_order_with_what_is_known_of_them(
    metadata: Metadata, tmp_path: Path
) -> None:
    registry = Registry(metadata, tmp_path)
    with metadata.begin() as transaction:
        for number in (2, 10, 1):
            given: Row = {
                "metrics": {"mae": {"value": number}},
                "gates": [],
                "ladder": {},
                "at": number,
            }
            transaction.insert("version", model="m", number=number, sha256=f"{number}", **given)
    assert [v.number for v in registry.versions("m")] == [1, 2, 10]
    assert registry.version("m", 10).metrics == {"mae": {"value": 10}}
    with pytest.raises(UnknownName, match=r"version of model 'm' named '3'\n.*one of: 1, 10, 2"):
        registry.version("m", 3)


def test_a_role_is_held_by_one_version(metadata: Metadata, tmp_path: Path) -> None:
    with metadata.begin() as transaction:
        assign(transaction, "pay", "champion", 1, at=5, share=1.0)
        assign(transaction, "pay", "champion", 2, at=6, share=1.0)
        assign(transaction, "other", "canary", 3, at=7, share=0.1)
        assert aliases(transaction, "pay") == {"champion": Alias("champion", 2, 1.0, 6)}
    assert Registry(metadata, tmp_path).aliases("other")["canary"].share == 0.1


def test_decisions_are_numbered_without_a_gap(metadata: Metadata) -> None:
    with pytest.raises(RuntimeError, match="undone"), metadata.begin() as transaction:
        decide(transaction, 1, "m", "trained", "because", {})
        raise RuntimeError("undone")
    with metadata.begin() as transaction:
        for at in (4, 5):
            decide(transaction, at, "m", "trained", "because", {"at": at})
        rows = transaction.select("decision", order="number")
    assert [(r["number"], r["evidence"]["at"]) for r in rows] == [(1, 4), (2, 5)]


def test_a_version_that_needs_more_than_is_declared_is_refused() -> None:
    declared = small.model()
    check_signature(declared, 1, declared.signature, "endpoint 'pay'", "here")
    fewer = Signature(declared.signature.inputs[1:], "probability")
    check_signature(declared, 1, fewer, "endpoint 'pay'", "here")
    changed = (Input("amount", "category"), Input("age", "number"))
    needed = Signature(changed, "probability")
    told = r"risk v7 needs amount \(category\), age \(number\), which endpoint 'pay' does not give"
    with pytest.raises(SignatureMismatch, match=told) as raised:
        check_signature(declared, 7, needed, "endpoint 'pay'", "pay.py:9")
    assert "~ amount category -> number" in str(raised.value)
