"""The signature of a model: its inputs by name, kind and order, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["number", "category"]
Output = Literal["probability", "number"]


@dataclass(frozen=True, slots=True)
class Input:
    """One named value that a model reads.

    Example:
        >>> Input("distance", "number")
        Input(name='distance', kind='number')
    """

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Signature:
    """Ordered inputs and the output; two models with equal signatures can replace each other.

    Example:
        >>> signature = Signature((Input("carrier", "category"),), "probability")
        >>> Signature.from_json(signature.to_json()) == signature
        True
    """

    inputs: tuple[Input, ...]
    output: Output

    @property
    def names(self) -> tuple[str, ...]:
        """The input names, in order.

        Example:
            >>> Signature((Input("a", "number"), Input("b", "number")), "number").names
            ('a', 'b')
        """
        return tuple(i.name for i in self.inputs)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able form that `from_json` reads back.

        Example:
            >>> Signature((Input("carrier", "category"),), "number").to_json()
            {'inputs': [['carrier', 'category']], 'output': 'number'}
        """
        return {"inputs": [[i.name, i.kind] for i in self.inputs], "output": self.output}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Signature:
        """The signature that `to_json` described.

        Example:
            >>> Signature.from_json({"inputs": [["x", "number"]], "output": "number"}).names
            ('x',)
        """
        return cls(tuple(Input(name, kind) for name, kind in data["inputs"]), data["output"])


def lacking(needed: Signature, given: Signature) -> str:
    """The inputs that one signature needs and another does not have; empty when it has them all.

    Example:
        >>> needed = Signature((Input("bid", "number"), Input("age", "number")), "probability")
        >>> lacking(needed, Signature((Input("bid", "number"),), "probability"))
        'age (number)'
    """
    return ", ".join(f"{i.name} ({i.kind})" for i in needed.inputs if i not in given.inputs)


def difference(old: Signature, new: Signature) -> str:
    """What changes from `old` to `new`, on one line; empty when they are equal.

    Example:
        >>> old = Signature((Input("bid", "number"), Input("site", "category")), "probability")
        >>> new = Signature((Input("site", "number"), Input("age", "number")), "probability")
        >>> difference(old, new)
        '+ age number   - bid number   ~ site category -> number'
    """
    before, after = ({i.name: i.kind for i in s.inputs} for s in (old, new))
    parts = [f"+ {name} {kind}" for name, kind in after.items() if name not in before]
    parts += [f"- {name} {kind}" for name, kind in before.items() if name not in after]
    parts += [
        f"~ {name} {kind} -> {after[name]}"
        for name, kind in before.items()
        if name in after and after[name] != kind
    ]
    if old.output != new.output:
        parts.append(f"~ output {old.output} -> {new.output}")
    if not parts and old != new:
        parts.append("~ order of inputs")
    return "   ".join(parts)
