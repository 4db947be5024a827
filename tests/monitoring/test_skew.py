"""Skew: an incident opens with the first value that differs, and closes when audits are calm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.features.audit import Parity
from mainspring.features.parity import Compared
from mainspring.monitoring.skew import CALM, reason, settle_skew
from mainspring.stores.base import Metadata, Row
from mainspring.stores.urls import connect_metadata


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[Metadata]:
    with closing(connect_metadata(f"sqlite:///{tmp_path / 'metadata.sqlite'}")) as found:
        yield found


def parity(**differ: int) -> Parity:
    """An audit of 50 answers in which so many values of features differ."""
    found = [Compared(name, 50, True, n, float(n > 0), n - 1) for name, n in differ.items()]
    return Parity(50, 0, found, "r1" if any(differ.values()) else None, [])


def settled(metadata: Metadata, *audits: Parity, begin: int = 0) -> list[str]:
    outcomes: list[str] = []
    for now, found in enumerate(audits, begin):
        with metadata.begin() as transaction:
            outcomes.append(settle_skew("pay", found, now, transaction))
    return outcomes


def incidents(metadata: Metadata) -> list[Row]:
    with metadata.read() as snapshot:
        return snapshot.select("incident")


def test_nothing_differs_and_nothing_happens(metadata: Metadata) -> None:
    assert settled(metadata, parity(a=0), parity(a=0)) == ["quiet", "quiet"]
    assert incidents(metadata) == []


def test_one_incident_stays_open_while_values_differ(metadata: Metadata) -> None:
    audits = parity(a=0), parity(a=1), parity(a=0), parity(a=2, b=1)
    assert settled(metadata, *audits) == ["quiet", "opened", "open", "open"]
    (incident,) = incidents(metadata)
    assert (incident["opened_at"], incident["closed_at"]) == (1, None)
    assert (incident["monitor"], incident["subject"]) == ("skew/pay", "a")


def test_an_incident_closes_after_so_many_audits_without_a_difference(metadata: Metadata) -> None:
    assert settled(metadata, parity(a=1), *[parity(a=0)] * CALM) == [
        "opened",
        *["open"] * (CALM - 1),
        "closed",
    ]
    assert incidents(metadata)[0]["closed_at"] == CALM


def test_a_difference_meanwhile_keeps_it_open(metadata: Metadata) -> None:
    calm = [parity(a=0)] * (CALM - 1)
    assert settled(metadata, parity(a=1), *calm, parity(a=1), *calm)[-1] == "open"
    assert settled(metadata, parity(a=0), begin=100) == ["closed"]
    assert settled(metadata, parity(a=3), begin=101) == ["opened"]
    assert [i["number"] for i in incidents(metadata)] == [1, 2]


def test_the_reason_says_what_differs_in_how_many_answers() -> None:
    found = parity(a=1, b=0, c=2, d=3, e=4)
    told = "skew of a in 1 of 50 answers, c in 2 of 50 answers, d in 3 of 50 answers and 1 more"
    assert reason(found) == told
