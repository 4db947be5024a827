"""The system graph as boxes and curves: columns by kind, few crossings, as straight as can be.

The layout is the classic one of layered graphs (Sugiyama, Tagawa and Toda 1981): long edges pass
each column between them through a place of their own, columns are put in order by the mean place of
their neighbours, and heights are the least-squares ones that keep the gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from mainspring.graph import Graph

COLUMNS = (
    ("sources", ("source",)),
    ("views and labels", ("view", "label")),
    ("training sets", ("training_set",)),
    ("models", ("model", "rule")),
    ("endpoints", ("endpoint",)),
    ("monitors", ("monitor",)),
    ("retraining", ("retraining",)),
)
BOX_WIDTH, BOX_HEIGHT = 138, 44
GAP_X, GAP_Y, LANE = 36, 12, 6
TOP = 34
"""Where the first box may begin: below the headings."""

SWEEPS = 8


@dataclass(frozen=True, slots=True)
class Box:
    """A declaration at its place; `x` and `y` are its left upper corner."""

    key: str
    kind: str
    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A need: the path from what is needed to what needs it. A `loop` leads back to the model."""

    path: str
    loop: bool = False
    bottom: float = 0.0


@dataclass(frozen=True, slots=True)
class Heading:
    """What a column holds, and where it begins."""

    text: str
    x: float


@dataclass(frozen=True, slots=True)
class Diagram:
    """A graph laid out: boxes, curves and headings in one frame."""

    width: float
    height: float
    headings: tuple[Heading, ...]
    boxes: tuple[Box, ...]
    curves: tuple[Curve, ...]


@dataclass(slots=True)
class _Place:
    """A box, or the place where a long edge passes a column."""

    column: int
    height: float
    before: list[_Place] = field(default_factory=list)
    after: list[_Place] = field(default_factory=list)
    middle: float = 0.0

    @property
    def left(self) -> float:
        return self.column * (BOX_WIDTH + GAP_X)


def laid_out(graph: Graph) -> Diagram:
    """The diagram of a graph, the same for the same graph.

    Example:
        >>> from mainspring.graph import Node
        >>> source = Node("source", "Flight", object(), "", {}, ())
        >>> view = Node("view", "Airport", object(), "", {}, ("source:Flight",))
        >>> drawn = laid_out(Graph("flights", {n.key: n for n in (source, view)}))
        >>> [(box.name, box.x, box.y) for box in drawn.boxes]
        [('Flight', 0, 34.0), ('Airport', 174, 34.0)]
        >>> drawn.curves[0].path
        'M138 56.0C156.0 56.0 156.0 56.0 174.0 56.0'
    """
    used = [c for c in COLUMNS if any(n.kind in c[1] for n in graph.nodes.values())]
    column = {kind: i for i, (_, kinds) in enumerate(used) for kind in kinds}
    places = {
        key: _Place(column[node.kind], BOX_HEIGHT)
        for key, node in graph.nodes.items()
        if node.kind in column
    }
    needs = _reduced({key: [n for n in graph.nodes[key].needs if n in places] for key in places})
    chains = [_chain(places[need], places[key]) for key in needs for need in needs[key]]
    columns = _columns(places.values(), chains, len(used))
    _arrange(columns)
    boxes = tuple(
        Box(key, graph.nodes[key].kind, graph.nodes[key].name, p.left, p.middle - BOX_HEIGHT / 2)
        for key, p in places.items()
    )
    bottom = max((b.y + BOX_HEIGHT for b in boxes), default=TOP)
    loops = tuple(_loops(graph, places, [p for column in columns for p in column]))
    width = len(used) * (BOX_WIDTH + GAP_X) - GAP_X
    headings = tuple(Heading(text, i * (BOX_WIDTH + GAP_X)) for i, (text, _) in enumerate(used))
    curves = tuple(Curve(_path(chain)) for chain in chains)
    height = max([bottom, *(loop.bottom for loop in loops)]) + 4
    return Diagram(max(width, BOX_WIDTH), height, headings, boxes, curves + loops)


def _reduced(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Without the needs that follow from others: what a model needs, its endpoint need not say."""
    whole: dict[str, set[str]] = {}
    for key, direct in needs.items():  # each comes after what it needs
        whole[key] = set(direct).union(*(whole.get(n, set()) for n in direct))
    return {
        key: [n for n in direct if not any(n in whole[other] for other in direct if other != n)]
        for key, direct in needs.items()
    }


def _chain(start: _Place, end: _Place) -> list[_Place]:
    """The places that an edge leads through, linked."""
    between = [_Place(c, LANE) for c in range(start.column + 1, end.column)]
    chain = [start, *between, end]
    for left, right in pairwise(chain):
        left.after.append(right)
        right.before.append(left)
    return chain


def _columns(
    boxes: Iterable[_Place], chains: Iterable[Sequence[_Place]], count: int
) -> list[list[_Place]]:
    columns: list[list[_Place]] = [[] for _ in range(count)]
    for place in [*boxes, *(p for chain in chains for p in chain[1:-1])]:
        columns[place.column].append(place)
    return columns


def _arrange(columns: list[list[_Place]]) -> None:
    """Puts every place at its height: columns are swept right and left until they have settled."""
    for column in columns:
        _settle(column, [float(i) for i in range(len(column))])
    best, fewest = [list(column) for column in columns], _crossings(columns)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        for column in columns if forward else columns[::-1]:
            wanted = [_wanted(place, place.before if forward else place.after) for place in column]
            order = sorted(range(len(column)), key=lambda i: (wanted[i], i))
            column[:] = [column[i] for i in order]
            _settle(column, [wanted[i] for i in order])
        if (crossings := _crossings(columns)) < fewest:
            best, fewest = [list(column) for column in columns], crossings
    for _ in range(4 * SWEEPS):
        for column in best:
            _settle(column, [_wanted(p, [*p.before, *p.after]) for p in column])
    top = min((p.middle - p.height / 2 for c in columns for p in c), default=0.0)
    for place in (p for column in columns for p in column):
        place.middle += TOP - top


def _crossings(columns: Sequence[Sequence[_Place]]) -> int:
    """How often two edges between neighbouring columns cross."""
    found = 0
    for left, right in pairwise(columns):
        rank = {id(place): i for i, place in enumerate(right)}
        ends = [(i, rank[id(p)]) for i, place in enumerate(left) for p in place.after]
        found += sum(a[0] < b[0] and a[1] > b[1] for a in ends for b in ends)
    return found


def _wanted(place: _Place, neighbours: Sequence[_Place]) -> float:
    if not neighbours:
        return place.middle
    return sum(n.middle for n in neighbours) / len(neighbours)


def _settle(column: list[_Place], wanted: Sequence[float]) -> None:
    """The heights nearest to those wanted that keep order and gaps: pool adjacent violators."""
    offsets, at = [], 0.0
    for place in column:
        offsets.append(at + place.height / 2)
        at += place.height + GAP_Y
    blocks: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        mean, size = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, count = blocks.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        blocks.append((mean, size))
    starts = (mean for mean, size in blocks for _ in range(size))
    for place, start, offset in zip(column, starts, offsets, strict=True):
        place.middle = start + offset


def _path(chain: Sequence[_Place]) -> str:
    """From box to box: a curve between columns, straight past the boxes of a column between."""
    parts = [f"M{chain[0].left + BOX_WIDTH} {chain[0].middle:.1f}"]
    for left, right in pairwise(chain):
        x, y = left.left + BOX_WIDTH, left.middle
        half = x + GAP_X / 2
        parts.append(
            f"C{half} {y:.1f} {half} {right.middle:.1f} {float(right.left)} {right.middle:.1f}"
        )
        if right is not chain[-1]:
            parts.append(f"H{right.left + BOX_WIDTH}")
    return "".join(parts)


def _loops(
    graph: Graph, places: Mapping[str, _Place], everything: Sequence[_Place]
) -> Iterable[Curve]:
    """From each retraining back to its model, below what lies between: the loop is closed."""
    found = [key for key in places if graph.nodes[key].kind == "retraining"]
    for lane, key in enumerate(found):
        models = [n for n in graph.nodes[key].needs if n in places and n.startswith("model:")]
        for model in models:
            start, end = places[key], places[model]
            between = (p for p in everything if end.column <= p.column <= start.column)
            low = max(p.middle + p.height / 2 for p in between) + 18 + 10 * lane
            yield Curve(_around(start, end, low), loop=True, bottom=low)


def _around(start: _Place, end: _Place, low: float) -> str:
    x, to, half = start.left + BOX_WIDTH / 2, end.left + BOX_WIDTH / 2, BOX_HEIGHT / 2
    down = f"M{x} {start.middle + half:.1f}V{low - 8:.1f}Q{x} {low:.1f} {x - 8} {low:.1f}"
    return f"{down}H{to + 8}Q{to} {low:.1f} {to} {low - 8:.1f}V{end.middle + half:.1f}"
