"""The service: what answers a request, whatever protocol brought it.

A request is checked by the contract of its source, gets its features from the online store at the time that the store knows, is scored by
the roster, and stands in the log before it is answered.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.clock import Clock, as_datetime
from mainspring.errors import NoAnswer, RequestRefused, UnknownName, closest
from mainspring.features.online import OnlineFeatures
from mainspring.features.stream import Stream
from mainspring.features.view import FeatureView
from mainspring.graph import Graph
from mainspring.models.model import Model
from mainspring.models.registry import Registry
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.roster import Answers, Roster
from mainspring.sources import contract
from mainspring.sources.home import Home
from mainspring.sources.log import Log
from mainspring.sources.record import Record, as_vectors, values_in_order
from mainspring.sources.source import Column, Source
from mainspring.vectors import Vector, from_values, to_value


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was accepted: its key and its row, typed."""

    endpoint: Endpoint
    id: Any
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scored:
    """A request with its features, the time at which they hold, and the answers."""

    asked: Asked
    at: int
    features: Mapping[str, Vector]
    answers: Answers


class Service:
    """What answers requests and takes events: the one writer of a system's log and online store.

    Args:
        system: what is declared.
        home: where its state is.
        clock: the system's clock.
    """

    def __init__(self, system: Graph, home: Home, clock: Clock) -> None:
        self.system, self.home, self.clock = system, home, clock
        self.endpoints: dict[str, Endpoint] = {e.name: e for e in system.of_kind(Endpoint)}
        self.sources: dict[str, type[Source]] = {s.__schema__.id: s for s in system.of_kind(Source)}
        self.registry = Registry(home.metadata, home.path("versions"))
        self._log = Log(home.path("log"))
        self._online = OnlineFeatures.of(home.online(), system.of_kind(FeatureView))
        self.stream = Stream(self._log, self._online, self.sources, clock)
        self.rosters = {name: Roster.load(e, self.registry) for name, e in self.endpoints.items()}
        self._swapping = threading.Lock()

    def accept(self, name: str, body: object) -> Asked:
        """A request's body as a typed row.

        Raises:
            UnknownName: there is no such endpoint.
            RequestRefused: the body is not what the endpoint asks for; the path says where.
        """
        endpoint = self.endpoints.get(name)
        if endpoint is None:
            raise UnknownName.among("endpoint", name, self.endpoints)
        if not isinstance(body, dict):
            raise RequestRefused(
                path="$", problem="is not an object", remedy="send one JSON object"
            )
        identity, required = identity_of(endpoint), required_columns(endpoint)
        _refuse_unknown(endpoint, body)
        for column in required:
            if column.name not in body and not column.nullable:
                remedy = f"send {column.name!r} ({column.type.__name__})"
                raise RequestRefused(path=f"$.{column.name}", problem="is missing", remedy=remedy)
        row = _typed(endpoint, required, body)
        return Asked(endpoint, row[identity.name], row)

    def score(self, asked: Asked) -> Scored:
        """The answer to a request from the features as they are now.

        Raises:
            NoAnswer: there is neither a champion nor a fallback.
        """
        endpoint, roster = asked.endpoint, self.rosters[asked.endpoint.name]
        request = as_vectors(endpoint.feature_set.request, asked.row)
        at, features = self._online.read(endpoint.feature_set, request, self.stream.known_at())
        answers = roster.answer_all(from_values([asked.id], "text"), features)
        if answers.score[0] != answers.score[0] and answers.role[0] == "fallback":
            raise NoAnswer(endpoint=endpoint.name)
        return Scored(asked, at, features, answers)

    def fall_back(self, asked: Asked) -> Scored:
        """The declared fallback, for a request whose deadline has passed; its features are not known."""
        endpoint = asked.endpoint
        answers = self.rosters[endpoint.name].fall_back(1)
        kinds = zip(endpoint.feature_set.names, endpoint.feature_set.kinds, strict=True)
        unknown = {name: from_values([None], kind) for name, kind in kinds}
        return Scored(asked, self.stream.known_at(), unknown, answers)

    def answer(self, scored: Scored) -> dict[str, Any]:
        """Writes an answer to the log, and gives it as the caller gets it.

        Raises:
            DiskFull: it could not be written, so it is not given.
        """
        asked, answers = scored.asked, scored.answers
        score, role, version = (
            float(answers.score[0]),
            str(answers.role[0]),
            int(answers.version[0]),
        )
        logged = {
            "endpoint": asked.endpoint.name,
            "request_id": uuid.uuid4().hex,
            "id": str(asked.id),
            "at": scored.at,
            "score": score,
            "role": role,
            "version": version,
            "silent": {r: [v, float(s[0])] for r, (v, s) in answers.silent.items()},
            "features": _plain(asked.endpoint, scored.features),
        }
        source = asked.endpoint.feature_set.request
        row = {**asked.row, source.__schema__.event.name: scored.at}
        values = values_in_order(source, row)
        self.stream.append(lambda arrival: [Record(source.__schema__.id, arrival, values, logged)])
        return {
            "request_id": logged["request_id"],
            "prediction": score,
            "version": version,
            "role": role,
            "fallback": role == "fallback",
            "at": as_datetime(scored.at).isoformat(),
        }

    def take(self, name: str, rows: Sequence[object]) -> dict[str, Any]:
        """Takes events of a source; they are durable when this returns. Bad rows go to quarantine and are counted.

        Raises:
            UnknownName: there is no such source.
            RequestRefused: a row is not an object, or has an unknown column: nothing is taken.
            DiskFull: there was no room: nothing is taken.
        """
        source = self.sources.get(name)
        if source is None:
            raise UnknownName.among("source", name, self.sources)
        judged = [_judged(source, row, number) for number, row in enumerate(rows)]
        good = [values for values, reasons, _ in judged if not reasons]
        held = [(raw, reasons) for _, reasons, raw in judged if reasons]
        made = [values_in_order(source, values) for values in good]
        if made:
            self.stream.append(lambda at: [Record(name, at, values) for values in made], sync=True)
        self._hold(source, held)
        return {
            "taken": len(good),
            "held": len(held),
            "reasons": sorted({r for _, rs in held for r in rs}),
        }

    def _hold(
        self, source: type[Source], held: Sequence[tuple[Mapping[str, Any], Sequence[str]]]
    ) -> None:
        self.home.table(source).hold_live(held, self.clock.now())

    def refresh(self) -> bool:
        """Loads the roster of each endpoint whose versions changed, and swaps it in; says whether any did."""
        swapped = False
        with self._swapping:
            for name, endpoint in self.endpoints.items():
                if (
                    isinstance(endpoint.model, Model)
                    and self.registry.aliases(name) != self.rosters[name].aliases
                ):
                    self.rosters[name] = Roster.load(endpoint, self.registry)
                    swapped = True
        return swapped

    @property
    def ready(self) -> bool:
        """Whether events are being applied."""
        return self.stream.alive

    def start(self) -> None:
        """Begins to apply events."""
        self.stream.start()

    def close(self) -> None:
        """Applies what waits, and lets another process write."""
        self.stream.close()
        self._log.close()


def identity_of(endpoint: Endpoint) -> Column[Any]:
    """The column that names a request of an endpoint."""
    if isinstance(endpoint.model, Model):
        column: Any = endpoint.model.rows.label.of
        return column
    schema = endpoint.feature_set.request.__schema__
    return schema.unique or endpoint.feature_set.columns[0]


def required_columns(endpoint: Endpoint) -> list[Column[Any]]:
    """What a request must bring: its key, the entity keys, and the raw columns; those that may be NULL may be left out."""
    columns = [identity_of(endpoint), *endpoint.feature_set.columns]
    return list({c.name: c for c in columns}.values())


def _refuse_unknown(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    schema = endpoint.feature_set.request.__schema__
    allowed = [name for name in schema.columns if name != schema.event.name]
    for name in body:
        if name == schema.event.name:
            remedy = "leave it out: the time of a request is when it is asked"
            raise RequestRefused(
                path=f"$.{name}", problem="is stamped by the server", remedy=remedy
            )
        if name not in allowed:
            raise RequestRefused(
                path=f"$.{name}",
                problem="is not a column of the request",
                remedy=closest(name, allowed),
            )


def _typed(
    endpoint: Endpoint, required: Sequence[Column[Any]], body: Mapping[str, Any]
) -> dict[str, Any]:
    schema = endpoint.feature_set.request.__schema__
    wanted = {c.name for c in required} | set(body)
    values, reasons = contract.judge(schema, body)
    for column in schema.columns.values():
        said = [r for r in reasons if r.split(" ")[0] == column.name]
        if said and column.name in wanted:
            problem = said[0].removeprefix(f"{column.name} ")
            raise RequestRefused(
                path=f"$.{column.name}",
                problem=f"{problem}, got {body.get(column.name)!r:.60}",
                remedy=f"{endpoint.feature_set.request.__name__}.{column.name} is declared as {column.type.__name__}",
            )
    return values


def _judged(
    source: type[Source], row: object, number: int
) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    if not isinstance(row, dict):
        raise RequestRefused(
            path=f"$[{number}]", problem="is not an object", remedy="send JSON objects"
        )
    columns = source.__schema__.columns
    unknown = next((name for name in row if name not in columns), None)
    if unknown is not None:
        problem = f"is not a column of {source.__name__}"
        raise RequestRefused(
            path=f"$[{number}].{unknown}", problem=problem, remedy=closest(unknown, columns)
        )
    values, reasons = contract.judge(source.__schema__, row)
    return values, reasons, row


def _plain(endpoint: Endpoint, features: Mapping[str, Vector]) -> list[Any]:
    names, kinds = endpoint.feature_set.names, endpoint.feature_set.kinds
    return [_bare(features[name][0], kind) for name, kind in zip(names, kinds, strict=True)]


def _bare(value: Any, kind: Any) -> Any:
    if kind == "time":
        return int(value)
    return to_value(value, kind)
