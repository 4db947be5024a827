"""What the graph says of each declaration: a second line, where it leads, how it is now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from mainspring.console.drifting import open_incidents
from mainspring.console.words import every, percent, span
from mainspring.graph import Graph, Node
from mainspring.models.registry import aliases
from mainspring.retraining.trigger import Drifted, Every, NewLabels, Trigger
from mainspring.stores.base import Snapshot
from mainspring.windows import microseconds


@dataclass(frozen=True, slots=True)
class Caption:
    """A second line, a page, and a state: `good`, `moving`, `bad`, or none."""

    text: str
    page: str
    state: str = ""


class Captions:
    """The captions of a graph's nodes as they are in one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._alarmed = {i["monitor"] for i in open_incidents(snapshot)}
        self._snapshot = snapshot

    def of_all(self, graph: Graph) -> dict[str, Caption]:
        """The captions of every node by its key."""
        return {key: self.of(node) for key, node in graph.nodes.items()}

    def of(self, node: Node) -> Caption:
        """The caption of one node."""
        told: dict[str, Callable[[Any], Caption]] = {
            "source": _source,
            "view": _view,
            "label": _label,
            "training_set": _training_set,
            "model": _model,
            "endpoint": self._endpoint,
            "monitor": self._monitor,
            "retraining": _retraining,
        }
        return told.get(node.kind, _other)(node.declared)

    def _endpoint(self, endpoint: Any) -> Caption:
        roles, page = aliases(self._snapshot, endpoint.name), f"#{quote(endpoint.name)}"
        moving = roles.get("canary") or roles.get("shadow")
        if "champion" not in roles:
            return Caption("no champion yet", page)
        text = f"v{roles['champion'].number} answers"
        if moving is None:
            return Caption(text, page, "good")
        share = percent(moving.share) if moving.role == "canary" else moving.role
        return Caption(f"{text}, v{moving.number} {share}", page, "moving")

    def _monitor(self, monitor: Any) -> Caption:
        page = f"/monitors#{quote(monitor.name)}"
        if monitor.name in self._alarmed:
            return Caption("incident open", page, "bad")
        return Caption(every(microseconds(monitor.every)), page, "good")


def _source(source: Any) -> Caption:
    schema = source.__schema__
    return Caption(f"{len(schema.columns)} columns", f"/sources#{quote(schema.id)}")


def _view(view: Any) -> Caption:
    about = view.__view__
    features = "1 feature" if len(about.features) == 1 else f"{len(about.features)} features"
    return Caption(f"{features} by {about.key}", f"/features#{quote(about.id)}")


def _label(label: Any) -> Caption:
    said = "" if label.value is None else f"{label.value!r}".split(".", 1)[-1]
    return Caption(said or "whether it came", f"/features#{quote(label.name)}")


def _training_set(rows: Any) -> Caption:
    lookback = span(microseconds(rows.lookback))
    text = f"{len(rows.feature_set.names)} values, {lookback}"
    return Caption(text, f"/features#{quote(rows.name)}")


def _model(model: Any) -> Caption:
    return Caption(type(model.estimator).__name__, f"/versions/{quote(model.name)}")


def _retraining(retraining: Any) -> Caption:
    return Caption(", ".join(map(trigger_in_words, retraining.when)), "/decisions?kind=trained")


def trigger_in_words(trigger: Trigger) -> str:
    """A reason to train in a few words.

    Example:
        >>> from mainspring import days, every
        >>> trigger_in_words(every(days(7)))
        '7 days'
    """
    match trigger:
        case Every(period):
            return span(microseconds(period))
        case Drifted():
            return "drift"
        case NewLabels(rows):
            return f"{rows:,} labels"
        case _:
            return "worse"


def _other(declared: Any) -> Caption:
    return Caption(f"{getattr(declared, 'flag', '')!r}", "")
