from __future__ import annotations

import inspect
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import mainspring as ms
from mainspring import Column
from mainspring.errors import InvalidDeclaration
from mainspring.system import load

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Click(ms.Source, url="clicks.parquet"):
    ad: Column[str] = ms.column(unique=True)
    price: Column[float] = ms.column(ge=0, bad_at_most=0.01)
    site: Column[str | None] = ms.column(field="web-site")
    clicked_at: Column[datetime] = ms.event_time(late_by=ms.minutes(5))


def test_a_row_is_a_value() -> None:
    click = Click(ad="a", price=0.5, site=None, clicked_at=NOON)
    assert (click.ad, click.price, click.site, click.clicked_at) == ("a", 0.5, None, NOON)
    assert click == Click(ad="a", price=0.5, site=None, clicked_at=NOON)
    assert click != Click(ad="b", price=0.5, site=None, clicked_at=NOON)
    assert repr(click).startswith("Click(ad='a', price=0.5, site=None, clicked_at=datetime")


def test_a_row_needs_every_column_but_those_that_may_be_null() -> None:
    made: Any = Click
    assert made(ad="a", price=0.5, clicked_at=NOON).site is None
    with pytest.raises(TypeError, match=r"Click\(\) needs price="):
        made(ad="a", clicked_at=NOON)
    with pytest.raises(TypeError, match="Click has no column 'prize'; did you mean 'price'"):
        made(ad="a", price=0.5, prize=1, clicked_at=NOON)


def test_the_schema_says_what_the_class_body_says() -> None:
    schema = Click.__schema__
    assert (schema.id, schema.url, schema.late_by) == ("Click", "clicks.parquet", 300_000_000)
    assert (repr(schema.event), repr(schema.unique)) == ("Click.clicked_at", "Click.ad")
    assert schema.at == f"{__file__}:{inspect.getsourcelines(Click)[1]}"
    assert schema.definition()["columns"] == {
        "ad": {"type": "str", "null": False, "unique": True},
        "price": {"type": "float", "null": False, "ge": 0, "bad_at_most": 0.01},
        "site": {"type": "str", "null": True, "field": "web-site"},
        "clicked_at": {"type": "datetime", "null": False},
    }


def test_a_name_keeps_state_across_a_rename() -> None:
    class Renamed(ms.Source, url="clicks.parquet", name="Click"):
        at: Column[datetime] = ms.event_time()

    assert Renamed.__schema__.id == "Click"
    assert Renamed.at.definition() == {"column": "Click.at"}
    assert repr(Renamed.at) == "Renamed.at"


class Odd(ms.Source, url="odd.parquet"):
    id: Column[str]
    url: Column[str]
    key: Column[str]
    name: Column[str]
    event: Column[float]
    columns: Column[int]
    source: Column[str]
    field: Column[bool]
    checks: Column[float | None]
    label: Column[str]
    at: Column[datetime] = ms.event_time()


def test_a_column_may_be_named_like_anything() -> None:
    named = "id url key name event columns source field checks label at".split()
    assert list(Odd.__schema__.columns) == named
    assert [repr(getattr(Odd, n)) for n in named] == [f"Odd.{n}" for n in named]
    values: dict[str, Any] = {n: n for n in named}
    row = Odd(**values)
    assert [getattr(row, n) for n in named] == named

    class View(ms.FeatureView, key=Odd.key):
        id = ms.count(window=ms.hours(1))
        url = ms.last(Odd.url)
        key = ms.mean(Odd.event, where=Odd.field)
        source = key / id

    assert list(View.__view__.features) == ["id", "url", "key", "source"]
    assert repr(View.__view__.keys[0]) == "Odd.key"


def test_a_column_may_hide_the_name_of_its_type() -> None:
    class Meeting(ms.Source, url="meetings.parquet"):
        str: Column[str]
        datetime: Column[datetime] = ms.event_time()

    assert [c.type.__name__ for c in Meeting.__schema__.columns.values()] == ["str", "datetime"]


def test_annotations_may_use_names_of_the_function_around() -> None:
    from datetime import datetime as moment

    import mainspring as local

    class Local(local.Source, url="local.parquet"):
        number: local.Column[int | None]
        at: local.Column[moment] = local.event_time()

    assert (Local.number.definition(), Local.__schema__.event.type) == (
        {"column": "Local.number"},
        datetime,
    )


@pytest.mark.parametrize("future", ["from __future__ import annotations", ""])
def test_a_system_file_may_postpone_its_annotations(future: str, tmp_path: Path) -> None:
    (tmp_path / "system.py").write_text(
        f"{future}\n"
        + textwrap.dedent("""\
        def declare():
            from datetime import datetime
            import mainspring as ms

            class Flight(ms.Source, url="flights.parquet"):
                distance: ms.Column[float]
                asked_at: ms.Column[datetime] = ms.event_time()

            far = ms.Rule("far", Flight.distance > 1000)
            return ms.System("flights", endpoints=[ms.Endpoint("far", far, request=Flight)])

        system = declare()
        """)
    )
    assert "source:Flight" in load(tmp_path / "system.py").plan()["nodes"]


def declare(annotation: Any, default: Any = None) -> None:
    body = {"__annotations__": {"x": annotation, "at": Column[datetime]}, "at": ms.event_time()}
    type("Bad", (ms.Source,), body | ({} if default is None else {"x": default}), url="bad.parquet")


@pytest.mark.parametrize(
    ("annotation", "default", "message"),
    [
        (list[str], None, r"column 'x' has the type list\[str\]"),
        (Column[list[str]], None, r"column 'x' has the type .*list\[str\]"),
        (Column[str | int], None, "column 'x' has the type"),
        ("Column[Strr]", None, "an annotation cannot be read: name 'Strr' is not defined"),
        (Column[datetime], ms.event_time(), "exactly one event time, this one has x, at"),
    ],
)
def test_a_source_that_means_nothing_is_refused(
    annotation: Any, default: Any, message: str
) -> None:
    with pytest.raises(InvalidDeclaration, match=f"Bad: .*{message}"):
        declare(annotation, default)


def test_a_source_without_event_time_is_refused() -> None:
    with pytest.raises(InvalidDeclaration, match=r"this one has none\n(.*\n)*.*ms\.event_time"):

        class Timeless(ms.Source, url="timeless.parquet"):
            x: Column[int]


def test_late_by_needs_a_unit() -> None:
    late_by: Any = 5
    with pytest.raises(InvalidDeclaration, match=r"late_by: 5 is not a duration"):
        ms.event_time(late_by=late_by)
