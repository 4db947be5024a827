"""What a person does with a system: the functions that the commands are twins of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from mainspring.clock import Clock
from mainspring.errors import NoEarlierChampion, NothingToAudit, UnknownName
from mainspring.features.audit import Parity, audited
from mainspring.features.backfill import Backfill, Told
from mainspring.features.describe import Describing, of_view
from mainspring.features.description import Description
from mainspring.features.feature_set import FeatureSet
from mainspring.features.key_rows import Evidence
from mainspring.features.materialise import history_of, materialise
from mainspring.features.online import OnlineFeatures
from mainspring.features.view import FeatureView
from mainspring.graph import Graph, Plan, difference
from mainspring.models.model import Model
from mainspring.models.registry import Registry
from mainspring.retraining.loop import Happened, Loop
from mainspring.retraining.past import FOLDED
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.request import identity_of
from mainspring.serving.rollout import CHAMPION, crown_by_hand
from mainspring.sources.home import Home
from mainspring.sources.ingest import Ingested, ingest
from mainspring.sources.source import Source
from mainspring.training.training_set import TrainingSet


def changes(system: Graph, home: Home) -> tuple[Plan, dict[str, str]]:
    """The plan of a system, and what it changes against the one applied last in its home."""
    plan = system.plan()
    with home.metadata.read() as snapshot:
        applied = snapshot.select("plan", order="-number", limit=1)
    return plan, difference(applied[0]["plan"] if applied else None, plan)


def apply_plan(system: Graph, home: Home, now: int) -> dict[str, str]:
    """Records the plan as applied, if it changes anything, and gives the changes."""
    plan, found = changes(system, home)
    if found:
        with home.metadata.begin() as transaction:
            transaction.insert(
                "plan",
                number=transaction.next_number("plan"),
                system=system.name,
                hash=plan["hash"],
                plan=plan,
                at=now,
            )
    return found


def ingest_all(
    system: Graph, home: Home, clock: Clock, told: Callable[[Ingested], None] = lambda done: None
) -> list[Ingested]:
    """Takes the new files of every source."""
    found: list[Ingested] = []
    for source in system.of_kind(Source):
        done = ingest(source, home.data, home.tables, home.engine, clock)
        told(done)
        found.append(done)
    return found


def materialise_all(
    system: Graph, home: Home, now: int, told: Callable[[int], None] = lambda rows: None
) -> bool:
    """Builds the online store from history, unless it is built already; says whether it did.

    Args:
        told: is told how many rows were taken in so far.
    """
    views = system.of_kind(FeatureView)
    online = OnlineFeatures.of(home.online(), views)
    if online.materialised:
        known = online.applied().history
        if known == history_of(online, home.table, home.engine):
            return False
    folded = _folded(home)
    materialise(online, home.table, home.engine, now, folded, system.of_kind(Source), told=told)
    return True


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What a backfill did for one feature set.

    Attributes:
        name: the endpoint or the training set that it belongs to.
        requests: how many requests of the stretch there are.
        hash: the content hash of the requests with their features.
        features: the names of the features.
        computed: of those that were not there, for how many requests each was computed.
    """

    name: str
    requests: int
    hash: str
    features: Sequence[str]
    computed: Mapping[str, int]


def backfill(
    system: Graph,
    home: Home,
    name: str | None = None,
    *,
    start: int,
    end: int,
    told: Callable[[str, float, int], None] = lambda name, done, of: None,
) -> list[Backfilled]:
    """Computes the features of past requests that are not there yet, and keeps them.

    Args:
        name: an endpoint or a training set; without it, all that there are.
        start, end: the stretch of requests, in microseconds.
        told: is told of which feature set how many stretches are done, of how many.

    Raises:
        UnknownName: there is no such endpoint or training set.
    """
    known = _feature_sets(system)
    if name is not None and name not in known:
        raise UnknownName.among("endpoint or training set", name, known)
    one_each = {id(features): each for each, (features, _) in reversed(known.items())}
    found: list[Backfilled] = []
    for each in [name] if name else reversed(one_each.values()):
        features, identity = known[each]
        past = Backfill(home.path("features"), features, identity, home.table, home.engine)
        found.append(_backfilled(each, past, features, start, end, partial(told, each)))
    return found


def _feature_sets(system: Graph) -> dict[str, tuple[FeatureSet, str]]:
    """Features and the column that names a request, by the training set or endpoint they are of."""
    sets: list[TrainingSet] = system.of_kind(TrainingSet)
    endpoints: list[Endpoint] = system.of_kind(Endpoint)
    of_sets = {s.name: (s.feature_set, s.label.of.name) for s in sets}
    return of_sets | {e.name: (e.feature_set, identity_of(e).name) for e in endpoints}


def describe(
    system: Graph,
    home: Home,
    view: str | None = None,
    *,
    told: Callable[[str], None] = lambda name: None,
) -> Description:
    """What features are made of, how fresh they are, how often NULL, and what they cost.

    It changes nothing, and takes what is there: in an empty home that is what is declared.

    Args:
        view: a view by name; without it, all views, and the training sets that list them.
        told: is told the name of what is looked at.

    Raises:
        UnknownName: there is no such view.
    """
    views: dict[str, type[FeatureView]] = {v.__view__.id: v for v in system.of_kind(FeatureView)}
    if view is not None and view not in views:
        raise UnknownName.among("view", view, views)
    sets = {id(f): (name, f) for name, (f, _) in reversed(_feature_sets(system).items())}
    named = dict(reversed(sets.values()))
    with ExitStack() as opened:
        online = _built(system, home, opened)
        describing = Describing(home.table, home.engine, online, home.clock().now())
        if view is None:
            return describing.all(views.values(), named, told)
        chosen = views[view]
        request = next((f.request for f in named.values() if chosen in f.views), None)
        alone = {} if request is None else {chosen.__name__: of_view(chosen, request)}
        return replace(describing.all([chosen], alone, told), sets=[])


def _built(system: Graph, home: Home, opened: ExitStack) -> OnlineFeatures | None:
    """The online features, if they are built."""
    if not home.path("online").exists():
        return None
    store = opened.enter_context(closing(home.online()))
    online = OnlineFeatures.of(store, system.of_kind(FeatureView))
    return online if online.materialised else None


def _backfilled(
    name: str, past: Backfill, features: FeatureSet, start: int, end: int, told: Told
) -> Backfilled:
    first, last = past.span()
    start, end = max(start, first), min(end, last)
    computed = past.extend(start, end, told)
    return Backfilled(name, *past.content(start, end), features.names, computed)


def audit(
    system: Graph, home: Home, endpoint: str, *, start: int, end: int, limit: int, seed: int = 0
) -> Parity:
    """Recomputes the features of logged answers offline, and compares them with what serving used.

    Args:
        start, end: the stretch of requests, in microseconds.
        limit: how many answers to take, drawn at random.

    Raises:
        UnknownName: there is no such endpoint.
        NothingToAudit: nothing was answered in that stretch.
    """
    declared = endpoint_named(system, endpoint)
    loop = Loop(system, home, home.clock())
    served = loop.answered(declared).features(start, end, limit, seed)
    if not len(served):
        raise NothingToAudit(endpoint=endpoint)
    features, identity = declared.feature_set, identity_of(declared).name
    with ExitStack() as opened:

        def evidence() -> Evidence:
            store = opened.enter_context(closing(home.online()))
            online = OnlineFeatures.of(store, system.of_kind(FeatureView))
            return Evidence(home.table, home.engine, online, home.path("log"), _folded(home))

        return audited(features, identity, served, loop.backfill(declared), evidence)


def _folded(home: Home) -> int:
    with home.metadata.read() as snapshot:
        row = snapshot.one("cursor", name=FOLDED)
    return 0 if row is None else int(row["value"])


def promote(
    system: Graph,
    home: Home,
    endpoint: str,
    number: int,
    *,
    kind: Literal["promoted", "rolled_back"] = "promoted",
) -> None:
    """Makes a version champion of an endpoint at once, whatever the rollout, by a decision.

    Args:
        kind: what the decision is called.

    Raises:
        UnknownName: there is no such endpoint or version.
    """
    declared = endpoint_named(system, endpoint)
    registry = Registry(home.metadata, home.path("versions"))
    registry.version(model_of(declared).name, number)
    with home.metadata.begin() as transaction:
        aliases = registry.aliases(endpoint)
        now = home.clock().now()
        crown_by_hand(declared, aliases, number, now, transaction, kind=kind)


def previous_champion(system: Graph, home: Home, endpoint: str) -> int:
    """The version that was champion before the one that is.

    Raises:
        UnknownName: there is no such endpoint.
        NoEarlierChampion: there was none.
    """
    endpoint_named(system, endpoint)
    with home.metadata.read() as snapshot:
        rows = snapshot.select("decision", order="-number", subject=endpoint)
    crowned = [r["evidence"][CHAMPION] for r in rows if CHAMPION in r["evidence"]]
    earlier = [n for n in crowned if n != crowned[0]]
    if not earlier:
        raise NoEarlierChampion(endpoint=endpoint)
    return int(earlier[0])


def edit(text: str) -> tuple[str, Any]:
    """A `column=value` edit; the value is JSON, or plain text where it is none.

    Example:
        >>> edit("amount=0.3"), edit("country=DE")
        (('amount', 0.3), ('country', 'DE'))
    """
    column, _, value = text.partition("=")
    try:
        return column, json.loads(value)
    except json.JSONDecodeError:
        return column, value


def has_files(system: Graph, home: Home) -> bool:
    """Whether any source has files; a system may also begin with nothing but live events."""
    return any(any(home.data.glob(s.__schema__.url)) for s in system.of_kind(Source))


def train_now(system: Graph, home: Home) -> list[Happened]:
    """Trains every model now, and gives what happened."""
    return Loop(system, home, home.clock()).train_now("asked for by hand")


def endpoint_names(system: Graph) -> list[str]:
    """The names of the endpoints."""
    return [e.name for e in system.of_kind(Endpoint)]


def model_names(system: Graph) -> list[str]:
    """The names of the models."""
    return [m.name for m in system.of_kind(Model)]


def endpoint_named(system: Graph, name: str) -> Endpoint:
    """The endpoint of a name.

    Raises:
        UnknownName: there is none.
    """
    known: dict[str, Endpoint] = {e.name: e for e in system.of_kind(Endpoint)}
    if name not in known:
        raise UnknownName.among("endpoint", name, known)
    return known[name]


def source_named(system: Graph, name: str) -> type[Source]:
    """The source of a name.

    Raises:
        UnknownName: there is none.
    """
    known: dict[str, type[Source]] = {s.__schema__.id: s for s in system.of_kind(Source)}
    if name not in known:
        raise UnknownName.among("source", name, known)
    return known[name]


def model_of(endpoint: Endpoint) -> Any:
    """The model of an endpoint.

    Raises:
        UnknownName: a rule answers there.
    """
    if not isinstance(endpoint.model, Model):
        raise UnknownName.among(f"model at endpoint {endpoint.name!r}", endpoint.model.name, [])
    return endpoint.model
