"""The command line on a tiny shop, and what it says of each mistake that a newcomer makes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from mainspring import terminal

SHOP = """
from datetime import datetime
from sklearn.linear_model import LogisticRegression
import mainspring as ms
from mainspring import Column, days, hours

class Fragile(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        raise ValueError("singular matrix")

class Order(ms.Source, url="orders.parquet"):
    order_id: Column[str] = ms.column(unique=True)
    shop: Column[str]
    price: Column[float] = ms.column(ge=0)
    ordered_at: Column[datetime] = ms.event_time()

class Return(ms.Source, url="returns.parquet"):
    order_id: Column[str]
    returned_at: Column[datetime] = ms.event_time()

class Shop(ms.FeatureView, key=Order.shop):
    orders_1d = ms.count(window=days(1))

back = ms.Label("back", of=Order.order_id, when=Return.order_id, within=days(2))
rows = ms.TrainingSet("rows", back, [Shop, Order.price], days(30), judge=days(3), at_least=50)
model = ms.Model("returns", LogisticRegression(), rows)
predict = ms.Endpoint("returns", model, fallback=0.1)
refit = ms.Retraining(model, when=[ms.every(days(7))])
system = ms.System("shop", endpoints=[predict], retraining=[refit])
"""
DAY = 86_400_000_000
START = 19_700 * DAY  # 2023-12-09


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A system file with twenty days of orders, one in ten of which comes back."""
    n = 2_000
    at = [START + i * 20 * DAY // n for i in range(n)]
    ids, shops = [f"o{i}" for i in range(n)], [f"s{i % 5}" for i in range(n)]
    prices = [float(i % 90 + (i % 10 == 0) * 50) for i in range(n)]
    write(tmp_path / "orders.parquet", order_id=ids, shop=shops, price=prices, ordered_at=times(at))
    came_back = [i for i in range(n) if i % 10 == 0]
    write(
        tmp_path / "returns.parquet",
        order_id=[ids[i] for i in came_back],
        returned_at=times([at[i] + DAY // 2 for i in came_back]),
    )
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    return file


def times(at: list[int]) -> pa.Array:
    return pa.array(at, pa.timestamp("us", "UTC"))


def write(path: Path, **columns: object) -> None:
    pq.write_table(pa.table(columns), path)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mainspring", *map(str, arguments)]
    wide = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=wide, timeout=120)


def refused(*arguments: object) -> str:
    """What a command that must fail says; never a traceback."""
    done = run(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_plan_lists_every_node_as_added(shop: Path) -> None:
    shown = run("plan", shop).stdout
    assert shown.count("added") == 8
    assert "endpoint:returns" in shown


def test_a_rerun_of_ingest_takes_nothing(shop: Path) -> None:
    assert "Order: 2,000 rows read" in run("ingest", shop).stdout
    assert "Order: nothing new" in run("ingest", shop).stdout


def test_backfill_computes_what_is_not_there_and_a_new_feature_alone(shop: Path) -> None:
    first = run("backfill", shop).stdout
    assert "rows: 2,000 requests; 2 of 2 features computed, 4,000 values" in first
    again = run("backfill", shop, "returns").stdout
    assert "returns: 2,000 requests; all 2 features were there" in again
    assert first.splitlines()[-1] == again.splitlines()[-1]  # the content hash
    shop.write_text(SHOP.replace("days(1))", "days(1))\n    spent = ms.sum(Order.price)"))
    only = run("backfill", shop, "rows", "--from", "2023-12-10", "--to", "2023-12-20")
    assert "rows: 1,000 requests; 1 of 3 features computed, 2,000 values" in only.stdout


def test_backfill_of_an_unknown_name_gets_the_nearest(shop: Path) -> None:
    said = refused("backfill", shop, "row")
    assert "UnknownName: there is no endpoint or training set named 'row'" in said
    assert "did you mean 'rows'?" in said


def test_a_bar_says_how_far_a_backfill_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    terminal_of = Console(file=shown, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(terminal, "screen", terminal_of)
    with terminal.counting("computing the features of", "stretches") as told:
        told("rows", 1.5, 4)
    assert "computing the features of rows" in shown.getvalue()
    assert "1 of 4 stretches" in shown.getvalue()


def test_describe_says_what_is_declared_and_then_what_it_costs(shop: Path) -> None:
    nothing = run("features", "describe", shop)
    assert nothing.returncode == 0, nothing.stderr
    assert "nothing is there yet" in nothing.stdout
    assert "orders_1d" in nothing.stdout
    run("ingest", shop)
    found = run("features", "describe", shop).stdout
    assert "5 entities" in found
    assert "as computed from rows" in found
    assert "2,000 requests looked at" in found
    run("materialise", shop)
    assert "the online store has all that arrived until" in run("features", "describe", shop).stdout


def test_a_description_is_json_and_may_be_of_one_view(shop: Path) -> None:
    run("ingest", shop)
    found = json.loads(run("features", "describe", shop, "Shop", "--json").stdout)
    (view,) = found["views"]
    (feature,) = view["features"]
    assert (feature["name"], feature["lineage"]) == ("orders_1d", ["Order"])
    assert feature["bytes"] == view["bytes"] > 0
    assert found["sets"] == []
    assert "did you mean 'Shop'?" in refused("features", "describe", shop, "Shopp")


def test_replay_trains_and_reports(shop: Path) -> None:
    done = run("replay", shop, "--from", "2023-12-09", "--to", "2023-12-29")
    assert done.returncode == 0, done.stderr
    assert "promoted" in done.stdout
    (report,) = shop.parent.rglob("replay.html")
    assert "<svg" in report.read_text()


def test_a_misspelt_column_gets_the_nearest(shop: Path) -> None:
    shop.write_text(SHOP.replace("    price:", "    prise:").replace("Order.price", "Order.prise"))
    said = refused("ingest", shop)
    assert "UnknownColumn: orders.parquet has no column 'prise' that Order declares" in said
    assert "did you mean 'price'?" in said
    assert "shop.py:" in said


def test_a_wrong_type_in_the_file_is_named(shop: Path) -> None:
    write(
        shop.parent / "orders.parquet",
        order_id=["a"],
        shop=["s"],
        price=[True],
        ordered_at=times([1]),
    )
    said = refused("ingest", shop)
    assert "WrongType" in said
    assert "'price'" in said
    assert "bool" in said


def test_bad_rows_are_held_shown_mended_and_entered(shop: Path) -> None:
    columns = {"order_id": ["a", "b"], "shop": ["s", "s"], "price": [-3.0, 2.0]}
    write(shop.parent / "orders.parquet", **columns, ordered_at=times([START, START]))
    assert "1 in quarantine: price < 0" in run("ingest", shop).stdout
    assert "price < 0" in run("quarantine", "show", shop, "Order").stdout
    still = run("quarantine", "replay", shop, "Order").stdout
    assert "0 rows entered, 1 still held" in still
    mended = run("quarantine", "replay", shop, "Order", "--fix", "price=3").stdout
    assert "1 rows entered, 0 still held" in mended


def test_a_missing_data_file_is_named(shop: Path) -> None:
    (shop.parent / "returns.parquet").unlink()
    said = refused("ingest", shop)
    assert "DataFileMissing: there is no data file" in said
    assert "returns.parquet" in said


def test_a_system_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "SystemFileMissing" in refused("plan", tmp_path / "none.py")


def test_an_unknown_endpoint_gets_the_nearest(shop: Path) -> None:
    assert "did you mean 'returns'?" in refused("rollback", shop, "return")


def test_a_model_that_fails_to_fit_is_told_and_the_loop_goes_on(shop: Path) -> None:
    shop.write_text(SHOP.replace('"returns", LogisticRegression()', '"returns", Fragile()'))
    done = run("replay", shop, "--from", "2023-12-09", "--to", "2023-12-29")
    assert done.returncode == 0, done.stderr
    assert "training_failed" in done.stdout
    assert "ValueError: singular matrix" in done.stdout


def test_a_label_that_never_matures_is_told(shop: Path) -> None:
    shop.write_text(SHOP.replace("within=days(2)", "within=days(400)"))
    done = run("replay", shop, "--from", "2023-12-09", "--to", "2023-12-29")
    assert "waiting" in done.stdout
    assert "has 0 rows to fit on" in done.stdout


def test_a_port_in_use_is_named(shop: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused("serve", shop, "--port", port)
    assert f"PortInUse: another program listens on 127.0.0.1:{port}" in said
    assert "--port" in said
