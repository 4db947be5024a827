"""The versions of a change feed against a dictionary of what stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.clock import as_datetime
from mainspring.engines.urls import connect_engine
from mainspring.sources.table import arrow_schema
from mainspring.sources.versions import FOREVER, UNTIL, is_delete, versions
from tests.sources.places import NOON
from tests.sources.test_changes import Fact, Order

ENGINE = connect_engine()


@dataclass(frozen=True, slots=True)
class Version:
    """A version in a table, at the offset of its place in the list."""

    id: str
    op: str | None
    arrival: int
    is_among: bool


ONE = st.builds(
    Version,
    st.sampled_from("abc"),
    st.sampled_from(["insert", "upsert", "upsert", "delete", None]),
    st.integers(0, 6),  # few, so that there are ties
    st.booleans(),
)


def in_table(listed: Sequence[Version]) -> pa.Table:
    rows = [
        {"id": v.id, "amount": float(v.is_among), "op": v.op, "__offset": n, "__arrival": v.arrival}
        for n, v in enumerate(listed)
    ]
    return pa.Table.from_pylist(rows, arrow_schema(Order.__schema__))


def standing(listed: Sequence[Version], before: int) -> dict[str, int]:
    """Which version stands of each key, by what had arrived before a time."""
    known: dict[str, int] = {}
    for n, version in sorted(enumerate(listed), key=lambda v: (v[1].arrival, v[0])):
        if version.arrival < before:
            known.pop(version.id, None)
            if version.op != "delete":
                known[version.id] = n
    return known


@settings(max_examples=200)
@given(st.lists(ONE, max_size=12))
def test_at_every_time_the_versions_are_what_a_dictionary_has(listed: list[Version]) -> None:
    rows = in_table(listed)
    query = f"SELECT id, __offset AS n, __arrival AS came, {UNTIL} AS until FROM {versions(Order)}"
    found = ENGINE.select(query, events=rows).to_pylist()
    for before in range(9):
        seen = [r for r in found if r["came"] < before <= r["until"]]
        assert len({r["id"] for r in seen}) == len(seen)
        assert {r["id"]: r["n"] for r in seen} == standing(listed, before)
    deleted = [version.op == "delete" for version in listed]
    assert is_delete(Order, rows).tolist() == deleted


@settings(max_examples=100)
@given(st.lists(ONE, max_size=12))
def test_versions_that_are_not_among_end_none(listed: list[Version]) -> None:
    among = f"SELECT __offset AS n, {UNTIL} AS until FROM {versions(Order, 'amount = 1', 'rows')}"
    kept = [v for v in listed if v.is_among]
    numbers = [n for n, v in enumerate(listed) if v.is_among]
    alone = f"SELECT __offset AS n, {UNTIL} AS until FROM {versions(Order)}"
    found = ENGINE.select(among, rows=in_table(listed)).to_pylist()
    wanted = ENGINE.select(alone, events=in_table(kept)).to_pylist()
    assert {r["n"]: r["until"] for r in found} == {numbers[r["n"]]: r["until"] for r in wanted}


def test_rows_of_any_other_source_stand_for_ever() -> None:
    rows = arrow_schema(Fact.__schema__).empty_table()
    one = {"id": "a", "amount": 1.0, "at": as_datetime(NOON), "__offset": 0, "__arrival": NOON}
    both = pa.Table.from_pylist([one, one | {"__offset": 1}], rows.schema)
    found = ENGINE.select(f"SELECT {UNTIL} AS until FROM {versions(Fact)}", events=both)
    assert found["until"].to_pylist() == [FOREVER, FOREVER]
    assert is_delete(Fact, both).tolist() == [False, False]
