"""`System`: the roots of one production ML system, and the plan that follows from them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from mainspring.errors import DuplicateName, NoSystem, SystemFileMissing, declared_at
from mainspring.features.view import FeatureView
from mainspring.models.model import Model
from mainspring.models.rule import Rule
from mainspring.monitoring.monitor import Monitor
from mainspring.retraining.trigger import Drifted, Retraining, Worse
from mainspring.serving.endpoint import Endpoint
from mainspring.sources.source import Source
from mainspring.training.label import Label
from mainspring.training.training_set import TrainingSet

Plan = dict[str, Any]
"""The whole graph as JSON: `{"system": …, "hash": …, "nodes": {"kind:name": {"definition", "needs", "hash"}}}`."""


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
    """

    name: str
    endpoints: Sequence[Endpoint]
    monitors: Sequence[Monitor] = ()
    retraining: Sequence[Retraining] = ()
    at: str = field(default_factory=declared_at, init=False, repr=False)
    nodes: Mapping[str, Node] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        nodes: dict[str, Node] = {}
        for root in (*self.endpoints, *self.monitors, *self.retraining):
            for node in _with_needs(_node(root)):
                known = nodes.setdefault(node.key, node)
                if known.declared is not node.declared:
                    raise DuplicateName(kind=node.kind, name=node.name, first=known.at, at=node.at)
        object.__setattr__(self, "nodes", nodes)

    def plan(self) -> Plan:
        """The whole graph as JSON: each node's definition, what it needs, and a hash over both."""
        hashes: dict[str, str] = {}
        nodes = {n.key: _planned(n, hashes) for n in self.nodes.values()}
        return {"system": self.name, "hash": _digest(nodes), "nodes": nodes}

    def of_kind(self, kind: type[Any]) -> list[Any]:
        """The declarations of one kind, in the order in which they are needed."""
        return [n.declared for n in self.nodes.values() if _is_a(n.declared, kind)]


@dataclass(frozen=True, slots=True)
class Node:
    """One declaration in the graph."""

    kind: str
    name: str
    declared: Any
    at: str
    definition: Mapping[str, Any]
    needs: tuple[Any, ...]

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.name}"


def _node(declared: Any) -> Node:
    if isinstance(declared, type):
        about = declared.__schema__ if issubclass(declared, Source) else declared.__view__
        kind = "source" if issubclass(declared, Source) else "view"
        return Node(kind, about.id, declared, about.at, about.definition(), _needs(declared))
    kind = KIND_NAMES[type(declared)]
    return Node(kind, declared.name, declared, declared.at, declared.definition(), _needs(declared))


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
        case Endpoint():
            return (declared.model, declared.feature_set.request, *declared.feature_set.views)
        case Monitor():
            return (declared.watch,)
        case Retraining():
            return (declared.model, *_trigger_needs(declared))
        case type() if issubclass(declared, FeatureView):
            return (declared.__view__.source,)
        case _:
            return ()


def _trigger_needs(retraining: Retraining) -> Iterator[Any]:
    for trigger in retraining.when:
        if isinstance(trigger, Drifted):
            yield trigger.monitor
        if isinstance(trigger, Worse):
            yield trigger.endpoint


def _with_needs(node: Node) -> Iterator[Node]:
    for needed in node.needs:
        yield from _with_needs(_node(needed))
    yield node


def _planned(node: Node, hashes: dict[str, str]) -> dict[str, Any]:
    needs = sorted({_node(n).key for n in node.needs})
    planned = {"definition": node.definition, "needs": needs}
    hashes[node.key] = _digest([planned, [hashes[key] for key in needs]])
    return {**planned, "at": Path(node.at).name, "hash": hashes[node.key]}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_a(declared: Any, kind: type[Any]) -> bool:
    return issubclass(declared, kind) if isinstance(declared, type) else isinstance(declared, kind)


def difference(old: Plan | None, new: Plan) -> dict[str, str]:
    """What changes from one plan to the next: node → `added`, `removed`, `changed` or `rebuilt` (something it needs changed).

    Example:
        >>> a = {"nodes": {"source:A": {"definition": 1, "hash": "x"}}}
        >>> difference(a, {"nodes": {"source:A": {"definition": 2, "hash": "y"}}})
        {'source:A': 'changed'}
    """
    before = old["nodes"] if old else {}
    after = new["nodes"]
    changes: dict[str, str] = {key: "removed" for key in before if key not in after}
    for key, node in after.items():
        if key not in before:
            changes[key] = "added"
        elif before[key]["definition"] != node["definition"]:
            changes[key] = "changed"
        elif before[key]["hash"] != node["hash"]:
            changes[key] = "rebuilt"
    return changes


def load(path: Path) -> System:
    """The system that a system file declares.

    Raises:
        SystemFileMissing: there is no such file.
        NoSystem: the file declares none, or more than one.
    """
    if not path.is_file():
        raise SystemFileMissing(path=str(path))
    name = f"mainspring_system_{path.stem}"
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
