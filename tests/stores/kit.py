"""What every metadata store must do; each check takes a way to connect to one store."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager

import numpy as np
import pytest

from mainspring.errors import DuplicateRow, NestedTransaction, UnknownName, WrongValue
from mainspring.stores.base import Metadata, Transaction

Connect = Callable[[], Metadata]


@contextmanager
def transaction(connect: Connect) -> Generator[Transaction]:
    with closing(connect()) as metadata, metadata.begin() as opened:
        yield opened


def values_come_back_as_they_were_stored(connect: Connect) -> None:
    evidence = {"psi": 0.31, "names": ["a", "ü"], "none": None, "deep": {"n": [1, 2]}}
    with transaction(connect) as t:
        t.insert("decision", number=1, at=-(2**62), subject="é", evidence=evidence)
        t.insert("measurement", series="auc", at=2**62, variant="", value=0.1 + 0.2)
    with closing(connect()) as metadata, metadata.read() as snapshot:
        decision = snapshot.one("decision", number=1)
        assert decision and decision["evidence"] == evidence
        assert (decision["at"], decision["subject"], decision["kind"]) == (-(2**62), "é", None)
        measurement = snapshot.one("measurement", series="auc")
        assert measurement and (measurement["at"], measurement["value"]) == (2**62, 0.1 + 0.2)
        assert snapshot.one("decision", number=2) is None


def numbers_of_numpy_are_plain_and_nan_is_null(connect: Connect) -> None:
    parameters = {"rate": np.float32(0.5), "n": np.int64(3), "v": np.arange(2), "nan": np.nan}
    with transaction(connect) as t:
        t.insert("run", number=np.int64(7), seconds=np.float64("nan"), parameters=parameters)
        row = t.one("run", number=7)
    assert row and (type(row["number"]), row["seconds"]) == (int, None)
    assert row["parameters"] == {"rate": 0.5, "n": 3, "v": [0, 1], "nan": None}


def a_transaction_that_raises_leaves_nothing(connect: Connect) -> None:
    with closing(connect()) as metadata:
        with pytest.raises(RuntimeError, match="half-way"):
            with metadata.begin() as t:
                t.next_number("plan")
                t.insert("plan", number=1, system="flights")
                raise RuntimeError("half-way")
        with metadata.begin() as t:
            assert t.next_number("plan") == 1
            assert t.select("plan") == []


def a_taken_key_is_refused(connect: Connect) -> None:
    with transaction(connect) as t:
        t.insert("alias", subject="ctr", role="champion", number=1)
    with pytest.raises(DuplicateRow, match=re.escape("subject='ctr', role='champion'")):
        with transaction(connect) as t:
            t.insert("alias", subject="ctr", role="champion", number=2)
    with transaction(connect) as t:
        assert [row["number"] for row in t.select("alias")] == [1]


def upsert_adds_or_changes_only_what_is_given(connect: Connect) -> None:
    with transaction(connect) as t:
        t.upsert("cursor", {"name": "fold"}, value=1, note="first")
        t.upsert("cursor", {"name": "fold"}, value=2)
        t.upsert("cursor", {"name": "fold"})
        t.upsert("cursor", {"name": "other"})
        assert t.select("cursor") == [
            {"name": "fold", "value": 2, "note": "first"},
            {"name": "other", "value": None, "note": None},
        ]


def update_and_delete_say_how_many_rows(connect: Connect) -> None:
    with transaction(connect) as t:
        for n in range(4):
            t.insert("incident", number=n, level="page" if n % 2 else None)
        assert t.update("incident", {"level": "page"}, closed_at=9, level="notice") == 2
        assert t.update("incident", {"number": 99}, closed_at=9) == 0
        assert t.delete("incident", level=None) == 2
        assert [(row["number"], row["closed_at"]) for row in t.select("incident")] == [
            (1, 9),
            (3, 9),
        ]


def select_filters_orders_and_limits(connect: Connect) -> None:
    with transaction(connect) as t:
        for n, at in enumerate([30, 10, 20, 10]):
            t.insert("decision", number=n, at=at, kind="promote" if n else None)

        def numbers(**question: object) -> list[int]:
            return [row["number"] for row in t.select("decision", **question)]  # type: ignore[arg-type]

        assert numbers() == [0, 1, 2, 3]
        assert numbers(order="at") == [1, 3, 2, 0]
        assert numbers(order="-at") == [0, 2, 3, 1]
        assert numbers(order="-at", limit=2) == [0, 2]
        assert numbers(at_least={"at": 20}) == [0, 2]
        assert numbers(at_least={"at": 10}, below={"at": 20, "number": 3}) == [1]
        assert numbers(kind=None) == [0]
        assert numbers(kind="promote", at=10) == [1, 3]


def mistakes_are_named(connect: Connect) -> None:
    with transaction(connect) as t:
        with pytest.raises(UnknownName, match="no metadata table named 'plans'"):
            t.select("plans")
        with pytest.raises(UnknownName, match="no column of plan named 'hsh'"):
            t.insert("plan", number=1, hsh="x")
        with pytest.raises(UnknownName, match="no column of plan named 'when'"):
            t.select("plan", order="-when")
        with pytest.raises(UnknownName, match="no column of plan named 'hashes'"):
            t.select("plan", hashes=None)
        with pytest.raises(WrongValue, match=r"plan\.number holds int, got '1' \(str\)"):
            t.insert("plan", number="1")
        with pytest.raises(WrongValue, match=r"plan\.number holds int, got None"):
            t.insert("plan", system="flights")
        with pytest.raises(WrongValue, match=r"metric\.value holds float, got 'high'"):
            t.insert("metric", run=1, name="auc", step=0, value="high")
        with pytest.raises(WrongValue, match=r"cursor\.note holds text, got 3"):
            t.upsert("cursor", {"name": "a"}, note=3)
        with pytest.raises(WrongValue, match=r"plan\.plan holds json"):
            t.insert("plan", number=1, plan={"a": object()})


def a_transaction_inside_another_is_refused(connect: Connect) -> None:
    with closing(connect()) as metadata, metadata.begin() as t:
        with pytest.raises(NestedTransaction, match="already open in this thread"):
            with metadata.begin():
                pass
        assert t.next_number("plan") == 1


def a_snapshot_does_not_move_and_waits_for_nobody(connect: Connect) -> None:
    with closing(connect()) as metadata, closing(connect()) as other:
        with metadata.read() as snapshot:
            assert snapshot.select("cursor") == []
            with other.begin() as t:
                t.insert("cursor", name="a")
                assert snapshot.select("cursor") == []
            assert snapshot.select("cursor") == []
        with metadata.read() as snapshot:
            assert [row["name"] for row in snapshot.select("cursor")] == ["a"]


def numbers_have_no_gap_among_threads_and_connections(connect: Connect) -> None:
    taken: list[int] = []

    def take(metadata: Metadata) -> None:
        for _ in range(10):
            with metadata.begin(sync=False) as t:
                taken.append(t.next_number("version"))

    with closing(connect()) as one, closing(connect()) as two:
        threads = [threading.Thread(target=take, args=(m,)) for m in (one, one, two, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(taken) == list(range(1, 41))


METADATA_CHECKS = (
    values_come_back_as_they_were_stored,
    numbers_of_numpy_are_plain_and_nan_is_null,
    a_transaction_that_raises_leaves_nothing,
    a_taken_key_is_refused,
    upsert_adds_or_changes_only_what_is_given,
    update_and_delete_say_how_many_rows,
    select_filters_orders_and_limits,
    mistakes_are_named,
    a_transaction_inside_another_is_refused,
    a_snapshot_does_not_move_and_waits_for_nobody,
    numbers_have_no_gap_among_threads_and_connections,
)
