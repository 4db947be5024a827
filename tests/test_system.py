"""The plan of a system, and how it changes.

`UPDATE_GOLDEN=1 pytest tests/test_system.py` writes the golden plan anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mainspring.errors import DuplicateName, InvalidDeclaration, NoSystem, SystemFileMissing
from mainspring.graph import difference
from mainspring.system import load

FILE = Path(__file__).parent / "golden" / "deliveries.py"
GOLDEN = FILE.with_suffix(".json")


def edited(folder: Path, *edits: tuple[str, str]) -> Path:
    """The system file with some text replaced."""
    text = FILE.read_text()
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / FILE.name
    path.write_text(text)
    return path


def test_the_plan_is_the_golden_one() -> None:
    plan = load(FILE).plan()
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(plan, indent=2) + "\n")
    assert plan == json.loads(GOLDEN.read_text())


def test_a_plan_is_the_same_in_every_process(repository: Path) -> None:
    program = f"""
from pathlib import Path
from mainspring.system import load
print(load(Path({str(FILE)!r})).plan()["hash"])
"""
    command = [sys.executable, "-c", program]
    again = subprocess.check_output(command, cwd=repository, env={"PYTHONHASHSEED": "7"}, text=True)
    assert again.strip() == load(FILE).plan()["hash"]


def test_moving_a_declaration_changes_nothing(tmp_path: Path) -> None:
    moved = load(edited(tmp_path, ("class Order(", "\n\nclass Order("))).plan()
    assert difference(load(FILE).plan(), moved) == {}
    assert moved["hash"] == load(FILE).plan()["hash"]


def test_a_first_plan_adds_everything() -> None:
    plan = load(FILE).plan()
    assert difference(None, plan) == dict.fromkeys(plan["nodes"], "added")


EVERYTHING_BUT_SOURCES = {
    "view:Shop": "rebuilt",
    "label:late": "rebuilt",
    "training_set:rows": "rebuilt",
    "rule:busy": "rebuilt",
    "model:lateness": "rebuilt",
    "endpoint:lateness": "rebuilt",
    "monitor:shops": "rebuilt",
    "retraining:lateness": "rebuilt",
}
NOT_LABEL = {k: v for k, v in EVERYTHING_BUT_SOURCES.items() if k != "label:late"}
MODEL_ON = {k: "rebuilt" for k in ("model:lateness", "endpoint:lateness", "retraining:lateness")}


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("minutes(2)", "minutes(3)", {"source:Delivery": "changed"} | EVERYTHING_BUT_SOURCES),
        ("took_1h = ms.mean", "took_1h = ms.max", NOT_LABEL | {"view:Shop": "changed"}),
        ("Shop.slow > 20", "Shop.slow > 21", {"rule:busy": "changed"} | MODEL_ON),
        ("Shop.slow / 24", "Shop.slow / 25", {"training_set:rows": "changed"} | MODEL_ON),
        ("took > 45", "took > 50",
         {"label:late": "changed", "training_set:rows": "rebuilt"} | MODEL_ON),
        (", ms.drift(), every=hours(1)", ", ms.drift(), every=hours(2)",
         {"monitor:shops": "changed", "retraining:lateness": "rebuilt"}),
        ("[0.5, 1.0]", "[0.1, 1.0]", {"endpoint:lateness": "changed"}),
        ("[ms.beats(busy, ms.log_loss)]", "()",
         {"rule:busy": "removed"} | MODEL_ON | {"model:lateness": "changed"}),
        ('"shops"', '"stores"', {"monitor:shops": "removed", "monitor:stores": "added",
                                 "retraining:lateness": "changed"}),
    ],
)  # fmt: skip
def test_a_change_reaches_what_is_made_from_it(
    old: str, new: str, changes: dict[str, str], tmp_path: Path
) -> None:
    stored = json.loads(json.dumps(load(FILE).plan()))
    assert difference(stored, load(edited(tmp_path, (old, new))).plan()) == changes


TWIN = """
class Twin(ms.FeatureView, key=Delivery.shop, name="Shop"):
    n = ms.count(window=hours(1))


drift = ms.Monitor("shops", Twin,"""


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ('drift = ms.Monitor("shops", Shop,', TWIN, "two views are named 'Shop'"),
        (
            "monitors=[drift]",
            'monitors=[drift, ms.Monitor("shops", predict, ms.drift(), every=hours(1))]',
            "two monitors are named 'shops'",
        ),
        (
            "endpoints=[predict]",
            'endpoints=[predict, ms.Endpoint("lateness", model)]',
            "two endpoints are named 'lateness'",
        ),
    ],
)
def test_two_declarations_of_one_kind_and_name_are_refused(
    old: str, new: str, name: str, tmp_path: Path
) -> None:
    with pytest.raises(DuplicateName, match=rf"{name}\n.*deliveries.py:\d+, and before it .*:\d+"):
        load(edited(tmp_path, (old, new)))


def test_one_name_may_serve_declarations_of_two_kinds() -> None:
    nodes = load(FILE).plan()["nodes"]
    assert {"model:lateness", "endpoint:lateness", "retraining:lateness"} <= nodes.keys()


def test_nodes_come_after_what_they_need() -> None:
    nodes = load(FILE).plan()["nodes"]
    order = list(nodes)
    assert all(order.index(n) < order.index(key) for key in order for n in nodes[key]["needs"])


def test_two_systems_live_in_one_process(tmp_path: Path) -> None:
    one, two = load(FILE), load(edited(tmp_path, ("took > 45", "took > 50")))
    assert one.plan() == json.loads(GOLDEN.read_text())
    assert one.plan()["hash"] != two.plan()["hash"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemFileMissing, match=r"no system file .*flights\.py"):
        load(tmp_path / "flights.py")


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (("system = ms.System", "[].append\nms.System"), 0),
        (("system = ms.System", 'other = ms.System("other", [])\nsystem = ms.System'), 2),
    ],
)
def test_a_file_declares_one_system(edit: tuple[str, str], found: int, tmp_path: Path) -> None:
    with pytest.raises(NoSystem, match=f"declares {found} systems, not one"):
        load(edited(tmp_path, edit))


def test_a_system_under_two_names_is_one(tmp_path: Path) -> None:
    text = "alias = system = ms.System"
    assert load(edited(tmp_path, ("system = ms.System", text))).name == "deliveries"


def test_the_roots_are_of_their_kinds(tmp_path: Path) -> None:
    with pytest.raises(InvalidDeclaration, match=r"endpoints= cannot take Model 'lateness'"):
        load(edited(tmp_path, ("endpoints=[predict]", "endpoints=[model]")))


@pytest.mark.parametrize("key", ["source:Order", "view:Shop", "rule:busy", "model:lateness"])
def test_a_node_says_where_it_stands(key: str) -> None:
    file, line = load(FILE).plan()["nodes"][key]["at"].split(":")
    assert file == FILE.name
    assert key.partition(":")[2] in FILE.read_text().splitlines()[int(line) - 1]
