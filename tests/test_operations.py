"""What a person does with a system: see its plan, promote, roll back, audit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring import operations
from mainspring.errors import NoEarlierChampion, NothingToAudit, UnknownName
from mainspring.graph import Graph
from mainspring.models.registry import Registry
from mainspring.serving.rollout import crown_by_hand
from mainspring.sources.home import Home
from tests.golden import deliveries

ENDPOINT = "lateness"


@pytest.fixture
def system() -> Graph:
    return deliveries.system.graph


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home.open(tmp_path / "home", tmp_path)
    with home.metadata.begin() as transaction:
        for number in (1, 2, 3):
            transaction.insert("version", model="lateness", number=number, state="eligible")
    yield home
    home.close()


def champion(home: Home) -> int:
    return Registry(home.metadata, home.folder).aliases(ENDPOINT)["champion"].number


def test_a_plan_is_new_once(system: Graph, home: Home) -> None:
    assert set(operations.apply_plan(system, home, 1).values()) == {"added"}
    assert operations.apply_plan(system, home, 2) == {}


def test_promote_makes_a_version_champion(system: Graph, home: Home) -> None:
    operations.promote(system, home, ENDPOINT, 2)
    assert champion(home) == 2
    with home.metadata.read() as snapshot:
        (decision,) = snapshot.select("decision")
    assert decision["kind"] == "promoted"
    assert decision["reason"] == "v2 is champion: promoted by hand"


def test_a_rollback_by_hand_is_told_as_one(system: Graph, home: Home) -> None:
    operations.promote(system, home, ENDPOINT, 1, kind="rolled_back")
    with home.metadata.read() as snapshot:
        (decision,) = snapshot.select("decision")
    assert decision["kind"] == "rolled_back"
    assert decision["reason"] == "v1 is champion: rolled back by hand"


def test_a_version_that_is_not_there_cannot_be_promoted(system: Graph, home: Home) -> None:
    with pytest.raises(UnknownName, match="no version of model 'lateness' named '9'"):
        operations.promote(system, home, ENDPOINT, 9)


def test_the_previous_champion_is_the_one_before_this(system: Graph, home: Home) -> None:
    for number in (1, 3, 2):
        operations.promote(system, home, ENDPOINT, number)
    assert operations.previous_champion(system, home, ENDPOINT) == 3


def test_without_an_earlier_champion_there_is_nothing_to_roll_back_to(
    system: Graph, home: Home
) -> None:
    operations.promote(system, home, ENDPOINT, 1)
    with pytest.raises(NoEarlierChampion, match="no champion before"):
        operations.previous_champion(system, home, ENDPOINT)


def test_a_manual_rollback_stops_a_rollout(system: Graph, home: Home) -> None:
    endpoint = operations.endpoint_named(system, ENDPOINT)
    with home.metadata.begin() as transaction:
        for role, number in (("champion", 1), ("canary", 2)):
            key = {"subject": ENDPOINT, "role": role}
            transaction.upsert("alias", key, number=number, share=0.5, at=1)
    roles = Registry(home.metadata, home.folder).aliases(ENDPOINT)
    with home.metadata.begin() as transaction:
        crown_by_hand(endpoint, roles, 1, 2, transaction, kind="rolled_back")
    assert set(Registry(home.metadata, home.folder).aliases(ENDPOINT)) == {"champion"}


def test_unknown_names_get_the_nearest(system: Graph) -> None:
    with pytest.raises(UnknownName, match="did you mean 'lateness'"):
        operations.endpoint_named(system, "latenes")
    with pytest.raises(UnknownName, match="did you mean 'Order'"):
        operations.source_named(system, "Orders")


def test_an_audit_needs_answers(system: Graph, home: Home) -> None:
    with pytest.raises(NothingToAudit, match="answered no request"):
        operations.audit(system, home, ENDPOINT, start=0, end=10, limit=5)
