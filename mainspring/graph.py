"""The graph of a system: its declarations, what each needs, and the plan that follows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SYSTEM_MODULE = "mainspring_system_"
"""What the module of a system file is called, before the file's stem."""

Plan = dict[str, Any]
"""The graph as JSON: `system`, `hash` and `nodes`, each `kind:name` with its `definition`, `needs`,
`at` and `hash`."""


@dataclass(frozen=True, slots=True)
class Node:
    """One declaration in the graph.

    Attributes:
        declared: the declaration itself.
        at: the file and line where it stands.
        definition: what it says, as JSON.
        needs: the keys of the nodes that it is made from.
    """

    kind: str
    name: str
    declared: Any
    at: str
    definition: Mapping[str, Any]
    needs: tuple[str, ...]

    @property
    def key(self) -> str:
        """What the plan calls it: `kind:name`."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Graph:
    """Every declaration of one system, each after what it needs.

    Example:
        >>> node = Node("source", "Flight", object(), "flights.py:9", {"url": "f.parquet"}, ())
        >>> Graph("flights", {"source:Flight": node}).plan()["nodes"]["source:Flight"]["at"]
        'flights.py:9'
    """

    name: str
    nodes: Mapping[str, Node]

    def plan(self) -> Plan:
        """The whole graph as JSON: each node's definition, what it needs, and a hash over both."""
        planned: dict[str, dict[str, Any]] = {}
        for key, node in self.nodes.items():
            body = {"definition": node.definition, "needs": sorted(node.needs)}
            hashed = digest([body, [planned[n]["hash"] for n in body["needs"]]])
            planned[key] = {**body, "at": Path(node.at).name, "hash": hashed}
        whole = digest({key: node["hash"] for key, node in planned.items()})
        return {"system": self.name, "hash": whole, "nodes": planned}

    def of_kind(self, kind: type[Any]) -> list[Any]:
        """The declarations of one kind, each after what it needs."""
        return [n.declared for n in self.nodes.values() if _is_a(n.declared, kind)]


def difference(old: Plan | None, new: Plan) -> dict[str, str]:
    """What changes between plans: node → `added`, `removed`, `changed`, or `rebuilt`.

    A node is rebuilt when its definition stands and something that it needs changed.

    Example:
        >>> a = {"nodes": {"source:A": {"definition": 1, "hash": "x"}}}
        >>> difference(a, {"nodes": {"source:A": {"definition": 2, "hash": "y"}}})
        {'source:A': 'changed'}
    """
    before, after = old["nodes"] if old else {}, new["nodes"]
    changes: dict[str, str] = {key: "removed" for key in before if key not in after}
    for key, node in after.items():
        if key not in before:
            changes[key] = "added"
        elif before[key]["definition"] != node["definition"]:
            changes[key] = "changed"
        elif before[key]["hash"] != node["hash"]:
            changes[key] = "rebuilt"
    return changes


def digest(value: Any) -> str:
    """A short name for a JSON value: equal values have equal ones."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_a(declared: Any, kind: type[Any]) -> bool:
    return issubclass(declared, kind) if isinstance(declared, type) else isinstance(declared, kind)
