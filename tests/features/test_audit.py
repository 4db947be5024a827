"""Audits: right answers do not differ, whatever they are made of; wrong ones are explained."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mainspring.engines.urls import connect_engine
from mainspring.features.audit import Parity, audited
from mainspring.features.backfill import Backfill, Rows
from mainspring.features.key_rows import Evidence
from mainspring.features.materialise import materialise
from mainspring.features.online import Applied, OnlineFeatures
from mainspring.features.section import VALUES, Section
from mainspring.features.tile_check import Held
from mainspring.features.tiles import States
from mainspring.sources.source import Source
from mainspring.sources.table import LIVE, Table, arrow_schema
from mainspring.stores.urls import connect_online, connect_tables
from mainspring.vectors import from_values
from tests.features.histories import Row
from tests.features.worlds import (
    FEATURES,
    VIEWS,
    Change,
    Fact,
    Question,
    World,
    questions,
    table_of,
    world,
)

KEYS, BATCHES = 6, 6


@dataclass(frozen=True)
class Place:
    """A world, the tables that have all of it, and a store that takes it in batch by batch."""

    made: World
    folder: Path
    online: OnlineFeatures

    def table(self, source: type[Source]) -> Table:
        return Table.of(connect_tables(f"file://{self.folder}"), source)

    def keep(self, source: type[Source], rows: pa.Table) -> None:
        self.table(source).append(rows.to_batches(), ("test", 0))

    def apply(self, batch: int, without: Sequence[Row] = ()) -> None:
        facts = [row for row in self.made.facts[batch] if row not in without]
        changes = self.made.changes[batch]
        events = [(Fact, table_of(Fact, facts)), (Change, table_of(Change, changes))]
        self.online.apply(events, Applied(self.upto(batch), self.made.arrivals[batch]))

    def upto(self, batch: int) -> int:
        """The offset of the log after a batch."""
        rows = *self.made.facts[batch], *self.made.changes[batch]
        return max(row.offset for row in rows) - LIVE + 1

    def answer(self, at: int) -> Rows:
        """What each key is answered at a time."""
        request = questions([f"k{n}" for n in range(KEYS)], [n % 2 for n in range(KEYS)])
        when, values = self.online.read(FEATURES, request, at)
        self.ask(when)
        return Rows(from_values(NAMES, "text"), np.full(KEYS, when), values)

    def ask(self, at: int) -> None:
        when = np.full(KEYS, at)
        keys = [f"k{n}" for n in range(KEYS)]
        columns = [NAMES, keys, np.arange(KEYS) % 2, when, np.arange(KEYS) + LIVE, when]
        schema = arrow_schema(Question.__schema__)
        arrays = [pa.array(c).cast(f.type) for c, f in zip(columns, schema, strict=True)]
        self.keep(Question, pa.table(arrays, schema=schema))

    def past(self, tables: Callable[[type[Source]], Table] | None = None) -> Backfill:
        folder = self.folder / "features"
        return Backfill(folder, FEATURES, "question", tables or self.table, connect_engine())

    def audit(self, served: Rows) -> Parity:
        evidence = Evidence(self.table, connect_engine(), self.online)
        return audited(FEATURES, "question", served, self.past(), lambda: evidence)

    def edit(self, view: str, key: bytes, change: Callable[[States], None]) -> None:
        """Changes what is held of a key, and the values that reads take."""
        entity, store = self.online.entities[view], self.online.store
        states = entity.packing.unpack(store.read([key]))
        change(states)
        store.write({key: entity.packed(states, self.online.applied().arrival + 1)[0]})


NAMES = [f"q{number}" for number in range(KEYS)]


def live(batches: Sequence[Sequence[Row]]) -> list[list[Row]]:
    return [[replace(row, offset=LIVE + row.offset) for row in batch] for batch in batches]


@pytest.fixture
def place(tmp_path: Path) -> Generator[Place]:
    made = world(3, KEYS, BATCHES, each=20.0)
    made = World(KEYS, made.arrivals, live(made.facts), live(made.changes))
    store = connect_online(f"lmdb://{tmp_path / 'online'}")
    found = Place(made, tmp_path / "tables", OnlineFeatures.of(store, VIEWS))
    for source, rows in zip((Fact, Change), made.rows(BATCHES), strict=True):
        found.keep(source, table_of(source, rows))
    yield found
    store.close()


def causes(found: Parity) -> set[str]:
    return {e.cause for e in found.explanations}


def test_right_answers_do_not_differ(place: Place) -> None:
    for batch in range(BATCHES):
        place.apply(batch)
    found = place.audit(place.answer(place.made.arrivals[-1] + 10**6))
    assert (found.requests, found.missing, found.first) == (KEYS, 0, None)
    assert {c.name.partition(".")[0] for c in found.features} == {v.__view__.id for v in VIEWS}
    assert [c for c in found.features if c.differ] == []


@pytest.mark.parametrize("built", [0, 1, 4])
def test_what_is_held_of_a_key_is_what_its_rows_say(place: Place, built: int) -> None:
    if built:
        now, upto = place.made.arrivals[built - 1] + 1, place.upto(built - 1)
        materialise(place.online, place.table, connect_engine(), now, upto)
    evidence = Evidence(place.table, connect_engine(), place.online)
    for batch in range(built, BATCHES):
        place.apply(batch)
        for n, view in product(range(KEYS), VIEWS):
            held = Held.of(view, questions([f"k{n}"], [n % 2]), evidence)
            assert held is not None
            checked = [held.compared(a, place.made.arrivals[-1]) for a in view.__view__.aggregates]
            assert [differ for _, differ in checked if differ] == []
            assert held.behind == 0


def test_rows_that_serving_had_not_applied_are_named(place: Place) -> None:
    for batch in range(BATCHES - 1):
        place.apply(batch)
    found = place.audit(place.answer(place.made.arrivals[-1] + 1))
    assert found.first is not None
    assert {e.feature.partition(".")[0] for e in found.explanations} == {
        view.__view__.id for view in VIEWS
    }
    assert all(cause.startswith("serving had not applied log row") for cause in causes(found))
    assert all(e.served != e.history for e in found.explanations)


def test_rows_that_serving_saw_too_early_are_named(place: Place) -> None:
    at = place.made.arrivals[-2] + 1
    facts = [replace(row, arrival=min(row.arrival, at - 1)) for row in place.made.rows(BATCHES)[0]]
    changes = place.made.rows(BATCHES)[1]
    leaky = replace(place, folder=place.folder.with_name("leaky"))
    for source, rows in ((Fact, facts), (Change, changes)):
        leaky.keep(source, table_of(source, rows))
    for one in (place, leaky):
        one.ask(at)
    served = leaky.past().compute(from_values(NAMES, "text"), np.full(KEYS, at))
    found = place.audit(served)
    assert {e.feature.partition(".")[0] for e in found.explanations} == {"OfFacts", "OfPairs"}
    assert all("arrived only after the request's time" in cause for cause in causes(found))


def test_a_row_that_was_lost_is_named(place: Place) -> None:
    lost = next(row for row in place.made.facts[2] if row.key == "k1" and row.value == 1.0)
    for batch in range(BATCHES):
        place.apply(batch, [lost])
    found = place.audit(place.answer(place.made.arrivals[-1] + 1))
    of_ever = [e for e in found.explanations if e.feature == "OfFacts.count_value_ever"]
    assert [e.request for e in of_ever] == ["q1"]
    told = f"serving did not have log row {lost.offset - LIVE}, which arrived"
    assert all(cause.startswith(told) for cause in causes(found))


def test_a_broken_tile_of_a_pair_is_named_with_its_rows(place: Place) -> None:
    for batch in range(BATCHES):
        place.apply(batch)
    entity = place.online.entities["OfPairs"]
    measure = entity.layout.measures.index("(Fact.value,) where None")
    counts = (s for s in entity.layout.slots[0] if (s.name, s.measure) == ("count", measure))
    count = next(counts)

    def broken(states: States) -> None:
        words = states.tiles[0].words.copy()
        words[0, count.at : count.at + 1].view(np.float64)[:] += 3
        states.tiles[0] = Section(states.tiles[0].owner, words)

    place.edit("OfPairs", entity.key("k2", 0.0), broken)
    found = place.audit(place.answer(place.made.arrivals[-1] + 1))
    assert found.first == "q2"
    assert causes(found) == {
        "the tile of 1970-01-01 00:00:00 is broken: no change of its rows gives what it holds"
    }
    (part,) = found.explanations[0].parts
    assert part.what.endswith("of key = 'k2', second = 0.0")
    (tile,) = part.differ
    assert tile.held != tile.rows_say
    assert set(tile.offsets) >= {row.offset for row in part.rows}


def test_a_broken_row_of_a_change_feed_is_named(place: Place) -> None:
    for batch in range(BATCHES):
        place.apply(batch)
    entity = place.online.entities["OfChanges"]

    def broken(states: States) -> None:
        words = states.rows.words.copy()
        words[:, VALUES] = np.array([77.0]).view(np.int64)
        states.rows = Section(states.rows.owner, words)

    place.edit("OfChanges", entity.key("k3"), broken)
    found = place.audit(place.answer(place.made.arrivals[-1] + 1))
    assert found.first == "q3"
    assert all("what is kept of the key is broken" in cause for cause in causes(found))
    held = found.explanations[0].parts[0].differ[0]
    assert (held.start, held.held.startswith("77 of")) == (None, True)
