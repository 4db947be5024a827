from __future__ import annotations

import pyarrow as pa

from mainspring.console.tables import Answered, Tables
from mainspring.serving.prediction_log import PredictionLog, schema
from mainspring.sources.home import Home
from tests.console.conftest import DAY, HOSTILE, START, Order, Refund, predict


def answer(home: Home, role: str, number: int) -> None:
    shape = schema(predict.feature_set)
    table = pa.Table.from_pylist([{"role": role, "__at": number}], shape)
    log = PredictionLog(predict, home.tables, home.engine)
    home.tables.append(log.table, shape, table.to_batches(), once=("test", number))


def test_answers_are_counted_as_they_come(empty: Home) -> None:
    tables = Tables(empty)
    assert tables.answered(predict) == Answered(0, 0, 0)
    answer(empty, "champion", 1)
    answer(empty, "fallback", 2)
    assert tables.answered(predict) == Answered(2, 1, 2)
    answer(empty, "canary", 3)
    assert tables.answered(predict) == Answered(3, 1, 3)


def test_answers_are_counted_once_after_compaction(empty: Home) -> None:
    tables = Tables(empty)
    for number in (1, 2, 3):
        answer(empty, "champion", number)
    assert tables.answered(predict).requests == 3
    empty.tables.compact(PredictionLog(predict, empty.tables, empty.engine).table)
    assert tables.answered(predict) == Answered(3, 0, 3)


def test_the_stock_of_a_source_tells_what_is_held_and_why(filled: Home) -> None:
    stock = Tables(filled).stock(Order)
    assert (stock.rows, stock.held) == (0, 1)
    assert stock.reasons == ((f"shop is {HOSTILE}", 1),)
    assert stock.newest[0].at == START


def test_the_stock_of_a_source_tells_when_its_rows_happened(empty: Home) -> None:
    assert Tables(empty).stock(Refund).first is None
    rows = {"order_id": ["a", "b"], "refunded_at": [START, START + DAY]}
    shape = pa.schema([("order_id", pa.string()), ("refunded_at", pa.timestamp("us", "UTC"))])
    empty.tables.append("Refund", shape, pa.table(rows, shape).to_batches(), once=("t", 1))
    stock = Tables(empty).stock(Refund)
    assert (stock.rows, stock.first, stock.last) == (2, START, START + DAY)
