"""What a type checker, or else the loading of the system file, says about common mistakes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mainspring.system import load

CORRECT = Path(__file__).with_name("correct.py")


@dataclass(frozen=True)
class Mistake:
    """One edit of the correct file: `right` becomes `wrong`."""

    name: str
    right: str
    wrong: str

    @property
    def file(self) -> str:
        return re.sub(r"\W+", "_", self.name) + ".py"

    def source(self) -> str:
        text = CORRECT.read_text()
        assert text.count(self.right) == 1, self.name
        return text.replace(self.right, self.wrong)


MEAN = "took_1h = ms.mean(Delivery.took, window=hours(1))"
SLOW = "where=Delivery.took > 30"
LATER = "Order.promised_at <="
LATE = '"late",\n    of=Order.order_id'
WITHIN = "value=Delivery.took > 45,\n    within=days(2),"
ROWS = "Mean(),\n    rows,"
KEY = "menu_id: Column[str]"
MODEL = '"lateness",\n    model,\n    rollout'

MISTAKES = [
    Mistake("misspelt column in an aggregate", MEAN, MEAN.replace("took,", "tok,")),
    Mistake("mean of a text column", MEAN, MEAN.replace("took,", "note,")),
    Mistake(
        "column of another source in a view", MEAN, MEAN.replace("Delivery.took", "Order.price")
    ),
    Mistake("unknown key", "key=Delivery.shop", "key=Delivery.store"),
    Mistake("view without a key", "FeatureView, key=Delivery.shop", "FeatureView"),
    Mistake("key that is a text", "key=Delivery.shop", 'key="shop"'),
    Mistake("window as a bare number", MEAN, MEAN.replace("hours(1)", "3600")),
    Mistake("hop as a bare number", "hop=hours(1)", "hop=60"),
    Mistake("where that is a number", SLOW, "where=Delivery.took"),
    Mistake("text compared with >", SLOW, "where=Delivery.shop > 30"),
    Mistake("number compared with a text", SLOW, 'where=Delivery.took > "30"'),
    Mistake("and between a condition and a number", "(Delivery.tip > 0) &", "Delivery.tip &"),
    Mistake("arithmetic on text", "slow / deliveries", "slow / ms.last(Delivery.note)"),
    Mistake("hour of a text column", "ms.hour(Order.promised_at)", "ms.hour(Order.shop)"),
    Mistake("text is a number", '.equals("nobody")', ".equals(0)"),
    Mistake("text among numbers", 'is_in(["ann", "bob"])', "is_in([1, 2])"),
    Mistake("text filled with a number", 'fill_null("nobody")', "fill_null(0)"),
    Mistake("time compared with a number", "Order.promised_at <= Order.ordered_at", f"{LATER} 5"),
    Mistake(
        "seconds between numbers", "(Order.ordered_at, Order.prom", "(Order.weight, Order.prom"
    ),
    Mistake("distance to a text", "59.91, 10.75", "59.91, Order.shop"),
    Mistake("bucket of a time", "hash_bucket(Order.shop", "hash_bucket(Order.ordered_at"),
    Mistake("buckets as a text", "Order.shop, 64", 'Order.shop, "64"'),
    Mistake("late_by as a bare number", "late_by=minutes(2)", "late_by=120"),
    Mistake("change of rows without a key", "menu_id: Column[str] = ms.column(unique=True)", KEY),
    Mistake("change that is a number", "change: Column[str]", "change: Column[int]"),
    Mistake("arrival time that is a text", "known_at: Column[datetime |", "known_at: Column[str |"),
    Mistake("requests that may be changed", "busy, request=Order", "busy, request=Menu"),
    Mistake("misspelt column of a feed", "latest(Menu.dishes)", "latest(Menu.dish)"),
    Mistake("training set asks for an unknown feature", "Courier.known_tips", "Courier.most_tips"),
    Mistake("training set lists a text", "Courier.known_tips", "'Courier.known_tips'"),
    Mistake("lookback as a bare number", "lookback=days(120)", "lookback=120"),
    Mistake("apply that returns a list", "returns=bool", "returns=list"),
    Mistake("label joins a text to a number", LATE, LATE.replace("order_id", "price")),
    Mistake("label without maturity", WITHIN, WITHIN.partition("within")[0]),
    Mistake("label that is a text", "value=Delivery.tip", "value=Delivery.note"),
    Mistake("misspelt rows of a model", ROWS, ROWS.replace("rows", "row")),
    Mistake("estimator that cannot predict", ROWS, ROWS.replace("Mean", "object")),
    Mistake("unknown metric in a gate", "ms.roc_auc", "ms.auc"),
    Mistake("gate against a misspelt champion", '"champion"', '"champoin"'),
    Mistake("rule whose flag is a number", "Shop.deliveries > 20", "Shop.deliveries"),
    Mistake("endpoint given the training set", MODEL, MODEL.replace("model", "rows")),
    Mistake("fallback that is a text", "fallback=0.25", 'fallback="no"'),
    Mistake("canary bake as a bare number", "bake=hours(6)", "bake=6"),
    Mistake("monitor watches a label", '"shops", Shop,', '"shops", late,'),
    Mistake("monitor watches a misspelt view", '"shops", Shop,', '"shops", Shops,'),
    Mistake("retraining trigger is a bare monitor", "ms.drifted(drift)", "drift"),
    Mistake("trigger of a label", "ms.drifted(drift)", "ms.drifted(late)"),
    Mistake("training period as a bare number", "ms.every(days(7))", "ms.every(7)"),
    Mistake("system given a model", "endpoints=[predict, warn]", "endpoints=[model]"),
    Mistake("row of a wrong type", "price=12.5", 'price="12.5"'),
    Mistake("row with an unknown column", "gift=False", "gift=False, present=True"),
    Mistake("row without a column", "    items=2,\n", ""),
]

NOT_SEEN_BY_CHECKERS = {
    "column of another source in a view",
    "change of rows without a key",
    "requests that may be changed",
}
NOT_SEEN_AT_LOAD = {"row of a wrong type"}  # a row is checked by the contract when it is ingested


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A folder with the correct file and one file per mistake, set up for both checkers."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / CORRECT.name).write_text(CORRECT.read_text())
    for mistake in MISTAKES:
        (folder / mistake.file).write_text(mistake.source())
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(repository)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    return folder


def run(command: list[str], cwd: Path) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    return ran.stdout


def mypy(files: Path, repository: Path) -> dict[str, str]:
    """The first error of mypy in each file."""
    names = sorted(str(path) for path in files.glob("*.py"))
    said = run(["mypy", "--no-explicit-package-bases", *names], repository)
    found = re.findall(r"(?m)^(.+\.py):\d+: error: (.+)", said)
    return {Path(file).name: error for file, error in reversed(found)}


def pyright(files: Path, _: Path) -> dict[str, str]:
    """The first error of pyright in each file; in a mistaken one, not what follows from it."""
    said = run(["pyright", "-p", ".", "--pythonpath", sys.executable, "--outputjson"], files)
    errors: dict[str, str] = {}
    for found in json.loads(said)["generalDiagnostics"]:
        name, follows = Path(found["file"]).name, re.match("report(Unknown|Unused)", found["rule"])
        if name == CORRECT.name or not follows:
            errors.setdefault(name, found["message"].partition("\n")[0])
    return errors


def at_load(files: Path, _: Path) -> dict[str, str]:
    """The error that loading each file raises."""
    return {path.name: error for path in files.glob("*.py") if (error := load_error(path))}


def load_error(path: Path) -> str:
    try:
        load(path)
    except Exception as error:  # noqa: BLE001 - whatever it is, it goes into the table
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


@pytest.mark.parametrize(
    ("check", "missed"),
    [(mypy, NOT_SEEN_BY_CHECKERS), (pyright, NOT_SEEN_BY_CHECKERS), (at_load, NOT_SEEN_AT_LOAD)],
)
def test_mistakes_are_seen_before_anything_runs(
    check: Callable[[Path, Path], dict[str, str]], missed: set[str], files: Path, repository: Path
) -> None:
    errors = check(files, repository)
    said = {m.name: errors.get(m.file, "") for m in MISTAKES}
    seen = sum(map(bool, said.values()))
    table = "".join(f"{name:<42} {error or '-'}\n" for name, error in said.items())
    sys.stdout.write(f"\n{check.__name__}: {seen} of {len(MISTAKES)}\n{table}")
    assert CORRECT.name not in errors, errors[CORRECT.name]
    assert {name for name, error in said.items() if not error} == missed
    assert seen >= 18
