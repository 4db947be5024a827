from __future__ import annotations

from itertools import combinations

from mainspring.console.diagram import BOX_HEIGHT, BOX_WIDTH, laid_out
from mainspring.graph import Graph, Node


def graph_of(*needs: tuple[str, tuple[str, ...]]) -> Graph:
    nodes = {}
    for key, needed in needs:
        kind, name = key.split(":")
        nodes[key] = Node(kind, name, object(), "", {}, needed)
    return Graph("system", nodes)


def test_boxes_do_not_overlap_and_stay_in_the_frame(graph: Graph) -> None:
    diagram = laid_out(graph)
    assert len(diagram.boxes) == len(graph.nodes)
    for a, b in combinations(diagram.boxes, 2):
        apart = abs(a.x - b.x) >= BOX_WIDTH or abs(a.y - b.y) >= BOX_HEIGHT
        assert apart, f"{a.key} and {b.key}"
    assert all(0 <= b.x <= diagram.width - BOX_WIDTH for b in diagram.boxes)
    assert all(0 <= b.y <= diagram.height - BOX_HEIGHT for b in diagram.boxes)


def test_a_need_that_follows_from_others_is_not_drawn() -> None:
    diagram = laid_out(
        graph_of(
            ("source:s", ()),
            ("view:v", ("source:s",)),
            ("training_set:t", ("view:v",)),
            ("model:m", ("training_set:t",)),
            ("endpoint:e", ("model:m", "view:v", "source:s")),
        )
    )
    assert len(diagram.curves) == 4


def test_the_loop_leads_from_the_retraining_back_to_its_model(graph: Graph) -> None:
    loops = [c for c in laid_out(graph).curves if c.loop]
    assert len(loops) == 1


def test_columns_are_ordered_so_that_needs_do_not_cross() -> None:
    diagram = laid_out(
        graph_of(
            ("source:a", ()),
            ("source:b", ()),
            ("view:x", ("source:b",)),
            ("view:y", ("source:a",)),
        )
    )
    y = {box.name: box.y for box in diagram.boxes}
    assert (y["a"] < y["b"]) == (y["y"] < y["x"])


def test_the_same_graph_has_the_same_diagram(graph: Graph) -> None:
    assert laid_out(graph) == laid_out(graph)
