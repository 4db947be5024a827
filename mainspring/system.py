"""`System`: the roots of one production ML system, and the plan that follows from them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from mainspring.errors import DuplicateName, NoSystem, SystemFileMissing, declared_at, expect
from mainspring.expressions import Expr, Feature, leaves
from mainspring.graph import SYSTEM_MODULE, Graph, Node, Plan
from mainspring.models.model import Model
from mainspring.models.rule import Rule
from mainspring.monitoring.monitor import Monitor
from mainspring.retraining.trigger import Drifted, Retraining, Worse
from mainspring.serving.endpoint import Endpoint
from mainspring.sources import contract
from mainspring.sources.source import Column, Source
from mainspring.training.label import Label
from mainspring.training.training_set import TrainingSet


@dataclass(frozen=True, eq=False)
class System:
    """The roots of one system; everything reachable from them belongs to it.

    Args:
        name: its name: where its state is kept.
        endpoints: what is served.
        monitors: what is watched.
        retraining: when models are trained anew.

    Raises:
        DuplicateName: two different declarations of one kind have one name.
        InvalidDeclaration: a root of another type.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Flight(ms.Source, url="flights.parquet"):
        ...     distance: ms.Column[float]
        ...     asked_at: ms.Column[datetime] = ms.event_time()
        >>> far = ms.Rule("far", Flight.distance > 1000)
        >>> system = ms.System("flights", endpoints=[ms.Endpoint("far", far, request=Flight)])
        >>> sorted(system.plan()["nodes"])
        ['endpoint:far', 'rule:far', 'source:Flight']
    """

    name: str
    endpoints: Sequence[Endpoint]
    monitors: Sequence[Monitor] = ()
    retraining: Sequence[Retraining] = ()
    at: str = field(default_factory=declared_at, init=False, repr=False)

    def __post_init__(self) -> None:
        expect(self, endpoints=list[Endpoint], monitors=list[Monitor], retraining=list[Retraining])
        self.graph.plan()
        for source in self.graph.of_kind(Source):
            contract.checks(source.__schema__)

    @cached_property
    def graph(self) -> Graph:
        """Every declaration reachable from the roots, each after what it needs."""
        nodes: dict[str, Node] = {}
        for root in (*self.endpoints, *self.monitors, *self.retraining):
            for node in _with_needs(root):
                known = nodes.setdefault(node.key, node)
                if known.declared is not node.declared:
                    raise DuplicateName(kind=node.kind, name=node.name, first=known.at, at=node.at)
        return Graph(self.name, nodes)

    def plan(self) -> Plan:
        """The whole graph as JSON, with column-level lineage: see `mainspring.graph`."""
        return self.graph.plan()


def _node(declared: Any) -> Node:
    about = _about(declared)
    needs = tuple(dict.fromkeys(_key(needed) for needed in _needs(declared)))
    return Node(_kind(declared), _name(declared), declared, about.at, about.definition(), needs)


def _about(declared: Any) -> Any:
    """What holds a declaration's facts: a class keeps them apart from its columns or features."""
    return getattr(declared, "__schema__", None) or getattr(declared, "__view__", declared)


def _key(declared: Any) -> str:
    return f"{_kind(declared)}:{_name(declared)}"


def _kind(declared: Any) -> str:
    if isinstance(declared, type):
        return "source" if issubclass(declared, Source) else "view"
    return KIND_NAMES[type(declared)]


def _name(declared: Any) -> str:
    name: str = _about(declared).id if isinstance(declared, type) else declared.name
    return name


KIND_NAMES: dict[type, str] = {
    Label: "label",
    TrainingSet: "training_set",
    Model: "model",
    Rule: "rule",
    Endpoint: "endpoint",
    Monitor: "monitor",
    Retraining: "retraining",
}


def _needs(declared: Any) -> tuple[Any, ...]:
    """The declarations that one declaration is made from."""
    match declared:
        case Label():
            return (declared.request, declared.outcome)
        case TrainingSet():
            return (declared.label, *declared.feature_set.views)
        case Model():
            rules = (gate.other for gate in declared.gates)
            return (declared.rows, *(r for r in rules if isinstance(r, Rule)))
        case Rule():
            return tuple(_read_by(declared.flag))
        case Endpoint():
            return (declared.model, declared.feature_set.request, *declared.feature_set.views)
        case Monitor():
            return (declared.watch,)
        case Retraining():
            return (declared.model, *_trigger_needs(declared))
        case _:
            return () if issubclass(declared, Source) else tuple(_view_needs(declared))


def _read_by(expression: Expr[Any]) -> Iterator[Any]:
    """The sources and the views whose values an expression reads."""
    for leaf in leaves(expression):
        if isinstance(leaf, Column):
            yield leaf.source
        if isinstance(leaf, Feature) and leaf.view is not None:
            yield leaf.view


def _view_needs(view: Any) -> Iterator[Any]:
    yield view.__view__.source
    for feature in view.__view__.features.values():
        yield from (other for other in _read_by(feature) if other is not view)


def _trigger_needs(retraining: Retraining) -> Iterator[Any]:
    for trigger in retraining.when:
        if isinstance(trigger, Drifted):
            yield trigger.monitor
        if isinstance(trigger, Worse):
            yield trigger.endpoint


def _with_needs(declared: Any) -> Iterator[Node]:
    for needed in _needs(declared):
        yield from _with_needs(needed)
    yield _node(declared)


def load(path: Path) -> System:
    """The system that a system file declares.

    Raises:
        SystemFileMissing: there is no such file.
        NoSystem: the file declares none, or more than one.
    """
    if not path.is_file():
        raise SystemFileMissing(path=str(path))
    name = f"{SYSTEM_MODULE}{path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SystemFileMissing(path=str(path))
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    systems = {id(v): v for v in vars(module).values() if isinstance(v, System)}
    if len(systems) != 1:
        raise NoSystem(path=str(path), found=len(systems))
    return next(iter(systems.values()))
