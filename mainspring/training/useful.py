"""Useful: which features of a training are of no use, and which are costly for what they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from mainspring.engines.base import Engine
from mainspring.features.cost import at_most, kept_by_part
from mainspring.features.entity import Entity
from mainspring.features.feature_set import FeatureSet
from mainspring.features.kernel import is_known
from mainspring.features.view import FeatureView
from mainspring.sources.source import Source
from mainspring.sources.table import Table
from mainspring.vectors import Vector

COSTLY = 4096
"""Bytes of an entity online from which on a feature may be costly."""

NAMED = 3
"""Features of a kind that are named in a sentence."""

Problem = Literal["no use", "costly"]


@dataclass(frozen=True, slots=True)
class Warned:
    """A feature that is worth a look.

    Attributes:
        problem: "no use", or "costly".
        reason: what is said of it after its name.
    """

    feature: str
    problem: Problem
    reason: str

    def to_json(self) -> dict[str, str]:
        """The warning as a decision has it."""
        return {name: getattr(self, name) for name in self.__slots__}


def useless(columns: Mapping[str, Vector], unused: Collection[str] = ()) -> Iterator[Warned]:
    """The inputs that tell a model nothing: always NULL, always the same, or not used by it.

    Args:
        columns: the inputs as they were fitted on.
        unused: those that the fitted model makes nothing of.

    Example:
        >>> import numpy as np
        >>> columns = {"a": np.array([1.0, 1.0]), "b": np.array([np.nan, 1.0]), "c": np.zeros(2)}
        >>> [(w.feature, w.reason) for w in useless(columns, {"b", "c"})]
        [('a', 'is always 1'), ('b', 'is not used by the model'), ('c', 'is always 0')]
    """
    for name, values in columns.items():
        reason = _sameness(values) or ("is not used by the model" if name in unused else "")
        if reason:
            yield Warned(name, "no use", reason)


def _sameness(values: Vector) -> str:
    """That a column has one value only, if so: most columns differ within the first rows."""
    if len(values) and _is_same(values[:100]) and _is_same(values):
        return f"is always {_said(values[0])}" if is_known(values[:1])[0] else "is always NULL"
    return ""


def _is_same(values: Vector) -> bool:
    known = is_known(values)
    return not known.any() or bool(known.all() and (values == values[0]).all())


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def costly(
    features: FeatureSet, tables: Callable[[type[Source]], Table], engine: Engine, now: int
) -> Iterator[Warned]:
    """The stored features that keep over half of what their view keeps, and over `COSTLY` bytes of
    each entity, on average.

    Rows are looked at only for a view in which a feature could keep so much: what a window of whole
    hops keeps is bounded.
    """
    for view in features.views:
        yield from _costly(view, tables(view.__view__.source), engine, now)


def _costly(view: type[FeatureView], table: Table, engine: Engine, now: int) -> Iterator[Warned]:
    about, entity = view.__view__, Entity.of(view)
    suspects = [name for name in about.features if at_most(entity.layout, name) > COSTLY]
    if not suspects:
        return
    keeps = kept_by_part(entity, table, engine, now)
    for name in suspects:
        mine = keeps.of[name]
        if mine > COSTLY and mine > keeps.bytes / 2:
            reason = f"keeps {mine:,.0f} bytes of each {' and '.join(k.name for k in about.keys)}"
            yield Warned(f"{about.id}.{name}", "costly", reason)


def told(warnings: Sequence[Warned]) -> str:
    """Warnings as a sentence goes on with them.

    Example:
        >>> told([Warned("a", "no use", "is always 1"), Warned("b", "no use", "is always NULL")])
        'of no use: a is always 1, b is always NULL'
    """
    kinds = groupby(sorted(warnings, key=lambda w: w.problem), key=lambda w: w.problem)
    words = {"no use": "of no use", "costly": "costly"}
    return "; ".join(f"{words[kind]}: {_named(list(some))}" for kind, some in kinds)


def _named(some: Sequence[Warned]) -> str:
    more = f" and {len(some) - NAMED} more" if len(some) > NAMED else ""
    return ", ".join(f"{w.feature} {w.reason}" for w in some[:NAMED]) + more
