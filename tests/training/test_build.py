"""Training sets: matured labels alone, split in time, the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mainspring as ms
from mainspring import days
from mainspring.errors import NoTrainingRows
from mainspring.features.backfill import Backfill
from mainspring.sources.home import Home
from mainspring.sources.source import Source
from mainspring.sources.table import arrow_schema
from mainspring.training.build import Built, build
from mainspring.training.outcomes import outcomes
from mainspring.training.training_set import TrainingSet
from tests import small
from tests.small import BEGIN, DAY, HOUR, Card, Chargeback, Decline, Payment

NOW = BEGIN + 14 * DAY
SETTLED = DAY + 2 * HOUR


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    small.write_history(folder, until=14)
    return folder


@pytest.fixture
def home(data: Path, tmp_path: Path) -> Generator[Home]:
    with small.home(tmp_path, data) as home:
        yield home


def built(home: Home, training_set: TrainingSet, now: int = NOW) -> Built:
    features, of = training_set.feature_set, training_set.label.of.name
    backfill = Backfill(home.path("features"), features, of, home.table, home.engine)
    return build(training_set, now, backfill, home.table, home.engine)


def add(home: Home, source: type[Source], arrival: int, **values: Any) -> None:
    """One row that arrives at a time of its own."""
    schema, table = arrow_schema(source.__schema__), home.table(source)
    number = table.store.committed(table.name, "late") + 1
    row = [*values.values(), 1_000_000 + number, arrival]
    columns = [pa.array([v], f.type) for v, f in zip(row, schema, strict=True)]
    table.append(pa.table(columns, schema=schema).to_batches(), ("late", number))


def add_one_of_each(home: Home, arrival: int) -> None:
    """A request, an outcome that corrects one, and events that move features, all in the past."""
    at = NOW - 6 * DAY
    asked = {"card": "c1", "shop": "s1", "amount": 9e6, "abroad": True, "asked_at": at}
    add(home, Payment, arrival, payment_id="late", **asked)
    add(home, Chargeback, arrival, payment_id=first_of(home), loss=1.0, reported_at=at)
    add(home, Decline, arrival, shop="s1", declined_at=at)


def first_of(home: Home) -> str:
    """A request without an outcome, six days before `NOW`."""
    rows = outcomes(small.fraud, NOW - 6 * DAY - HOUR, NOW, NOW, home.table, home.engine)
    return str(rows.ids[rows.value == 0][0])


def test_fit_and_judge_rows_are_matured_and_a_maturity_apart(home: Home) -> None:
    training_set = small.training_set()
    made, judge_from = built(home, training_set), NOW - SETTLED - 3 * DAY
    fit, judge = made.rows.at[: made.fit], made.rows.at[made.fit :]
    assert fit.max() < judge_from - SETTLED
    assert judge_from <= judge.min() < judge.max() < NOW - SETTLED
    assert made.counts == {"labelled": sum(made.counts.values()), "pending": 0, "censored": 0}
    known = outcomes(small.fraud, NOW - 16 * DAY, NOW, NOW, home.table, home.engine)
    taken = (known.at < judge_from - SETTLED) | (
        (known.at >= judge_from) & (known.at < NOW - SETTLED)
    )
    assert made.rows.ids.tolist() == known.ids[taken].tolist()
    assert made.labels.tolist() == known.value[taken].tolist()


def test_equal_rows_have_equal_bytes_and_an_equal_hash(home: Home, data: Path) -> None:
    first = built(home, small.training_set())
    with small.home(home.folder / "other", data) as other:
        again = built(other, small.training_set())
    assert again.content_hash == first.content_hash
    assert again.labels.tobytes() == first.labels.tobytes()
    for name, values in first.rows.columns.items():
        assert again.rows.columns[name].tobytes() == values.tobytes(), name


def test_anything_that_differs_gives_another_hash(home: Home) -> None:
    amount = [Payment.amount]
    longer = ms.TrainingSet("rows", small.fraud, amount, lookback=days(9), judge=days(2))
    shorter = ms.TrainingSet("rows", small.fraud, amount, lookback=days(9), judge=days(3))
    other = ms.Label("fraud", of=Payment.payment_id, when=Chargeback.payment_id, within=days(2))
    hashes = [
        built(home, small.training_set()).content_hash,
        built(home, small.training_set(), NOW - DAY).content_hash,
        built(home, small.training_set(features=amount)).content_hash,
        built(home, small.training_set(other)).content_hash,
        built(home, longer).content_hash,
        built(home, shorter).content_hash,
    ]
    add(home, Chargeback, NOW - 1, payment_id=first_of(home), loss=1.0, reported_at=NOW - 6 * DAY)
    hashes.append(built(home, small.training_set()).content_hash)
    assert len(set(hashes)) == len(hashes)


def test_what_arrives_at_the_time_of_training_or_later_changes_nothing(home: Home) -> None:
    before = built(home, small.training_set())
    add_one_of_each(home, arrival=NOW)
    after = built(home, small.training_set())
    assert after.content_hash == before.content_hash
    assert after.rows.ids.tolist() == before.rows.ids.tolist()
    assert after.counts == before.counts


def test_what_arrived_before_it_counts(home: Home) -> None:
    before = built(home, small.training_set())
    add_one_of_each(home, arrival=NOW - 1)
    after = built(home, small.training_set())
    assert after.content_hash != before.content_hash
    assert "late" in after.rows.ids
    assert after.labels.sum() == before.labels.sum() + 1


def test_without_enough_rows_there_is_no_training_set(home: Home) -> None:
    with pytest.raises(NoTrainingRows, match=r"has 0 rows to fit on and \d+ to judge on, 100 and"):
        built(home, small.training_set(), BEGIN + 4 * DAY)
    few = ms.TrainingSet("rows", small.fraud, [Card], lookback=days(14), at_least=10**6)
    with pytest.raises(NoTrainingRows, match="1000000 and 1 are needed"):
        built(home, few)


def test_a_number_label_is_as_its_outcomes_say(home: Home) -> None:
    made = built(home, small.training_set(small.loss))
    assert made.labels.min() == 0.0
    assert len(np.unique(made.labels)) > 50
