from __future__ import annotations

from typing import Any

import mainspring as ms
from mainspring.expressions import Expr
from mainspring.features.value import definition_of, sources_of, subset
from mainspring.graph import digest
from tests.features.histories import Ask, Event, features


def view(hours: int = 1, more: int = 2) -> Any:
    class Key(ms.FeatureView, key=Event.key):
        total = ms.sum(Event.value, window=ms.hours(hours))
        busy = ms.count(window=ms.minutes(5)) > more
        both = total * 2

    return Key


def same(a: Expr[Any], b: Expr[Any]) -> bool:
    return digest(definition_of(a)) == digest(definition_of(b))


def test_a_value_is_defined_by_what_it_is_computed_from_and_no_more() -> None:
    one, other = view(), view(more=3)
    assert same(one.total, other.total) and same(one.both, other.both)
    assert not same(one.busy, other.busy)


def test_a_part_that_changes_changes_what_is_made_of_it() -> None:
    one, other = view(), view(hours=2)
    assert not same(one.both, other.both)
    assert not same(one.both - Ask.base, other.both - Ask.base)
    assert same(one.busy, other.busy)


def test_a_subset_is_computed_from_nothing_else() -> None:
    key = view()
    whole = features(key, Ask.base, key.busy.fill_null(False))
    some = subset(whole, ["Key.busy", "base"])
    assert some.names == ("Key.busy", "base")
    assert [a.label for a in some.aggregates] == ["Key.busy.0"]
    assert [c.name for c in some.columns] == ["key", "base"]
    assert subset(whole, ["base"]).views == ()
    assert subset(whole, whole.names) == whole


def test_the_sources_of_a_value_are_those_of_its_views() -> None:
    assert sources_of(view().both - Ask.base) == {Event}
    assert sources_of(Ask.base) == set()
