"""The service: what answers requests and takes events, whatever protocol brought them.

A request is checked by the contract of its source, gets its features from the online store at the
time that the store knows, is scored by the roster, and stands in the log before it is answered.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from mainspring.clock import Clock
from mainspring.errors import DeadlineExceeded, NoAnswer, RequestRefused, UnknownName
from mainspring.features.online import OnlineFeatures
from mainspring.features.stream import Stream
from mainspring.features.view import FeatureView
from mainspring.graph import Graph
from mainspring.models.model import Model
from mainspring.models.registry import Registry
from mainspring.serving.answer import Scored, logged, told
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.request import MANY, Asked, Form, unknown_column
from mainspring.serving.roster import Roster
from mainspring.sources import contract
from mainspring.sources.home import Home
from mainspring.sources.log import Log
from mainspring.sources.record import Record, values_in_order
from mainspring.sources.source import Source
from mainspring.vectors import Vector, from_values


@dataclass(frozen=True, slots=True)
class _Judged:
    """An event: its row as sent, its typed values, and the reasons against it."""

    row: Mapping[str, Any]
    values: Mapping[str, Any]
    reasons: Sequence[str]


class Service:
    """What answers requests and takes events: the one writer of a system's log and online store.

    Args:
        system: what is declared.
        home: where its state is.
        clock: the system's clock.

    Raises:
        LogLocked: another process serves this home.
        NotMaterialised: the online store holds other features than the system declares.
    """

    def __init__(self, system: Graph, home: Home, clock: Clock) -> None:
        self.system, self.home, self.clock = system, home, clock
        self.endpoints: dict[str, Endpoint] = {e.name: e for e in system.of_kind(Endpoint)}
        self.sources: dict[str, type[Source]] = {s.__schema__.id: s for s in system.of_kind(Source)}
        self.forms = {name: Form.of(endpoint) for name, endpoint in self.endpoints.items()}
        self.registry = Registry(home.metadata, home.path("versions"))
        self.rosters = {name: Roster.load(e, self.registry) for name, e in self.endpoints.items()}
        self._swapping = threading.Lock()
        self._life, self._numbers = uuid.uuid4().hex, count(1)  # together they name an answer
        self._log = Log(home.path("log"))
        try:
            self._online = OnlineFeatures.of(home.online(), system.of_kind(FeatureView))
            self.stream = Stream(self._log, self._online, self.sources, clock)
        except BaseException:
            self._log.close()
            raise

    def accept(self, name: str, body: object) -> list[Asked]:
        """The requests in a body, typed: one object or a list. All are good, or none is taken.

        Raises:
            UnknownName: there is no such endpoint.
            RequestRefused: the body is not what the endpoint asks for; the path says where.
        """
        form = self.forms.get(name)
        if form is None:
            raise UnknownName.among("endpoint", name, self.endpoints)
        if not isinstance(body, list):
            return [form.accept(body)]
        if not 0 < len(body) <= MANY:
            problem, remedy = f"has {len(body):,} requests", f"send from 1 to {MANY:,} of them"
            raise RequestRefused(path="$", problem=problem, remedy=remedy)
        return [form.accept(row, f"$[{number}]") for number, row in enumerate(body)]

    def score(self, asked: Sequence[Asked]) -> Scored:
        """The answers to requests from the features as they are now.

        Raises:
            NoAnswer: there is neither a champion nor a fallback.
        """
        endpoint = asked[0].endpoint
        form, known_at = self.forms[endpoint.name], self.stream.known_at()
        read = [
            self._online.read(endpoint.feature_set, _vectors(form, a.row), known_at) for a in asked
        ]
        features = _stacked([values for _, values in read])
        ids = from_values([a.id for a in asked], "text")
        answers = self.rosters[endpoint.name].answer_all(ids, features)
        if endpoint.fallback is None and answers.role[0] == "fallback":
            raise NoAnswer(endpoint=endpoint.name)
        return Scored(asked, [at for at, _ in read], features, answers)

    def fall_back(self, asked: Sequence[Asked]) -> Scored:
        """The declared fallback, for requests whose deadline has passed; their features are NULL.

        Raises:
            DeadlineExceeded: the endpoint declares none.
        """
        endpoint, rows = asked[0].endpoint, len(asked)
        if endpoint.fallback is None:
            milliseconds = endpoint.timeout.total_seconds() * 1e3
            raise DeadlineExceeded(endpoint=endpoint.name, timeout_ms=milliseconds)
        unknown = _unknown(endpoint, rows)
        at = [self.stream.known_at()] * rows
        return Scored(asked, at, unknown, self.rosters[endpoint.name].fall_back(rows))

    def answer(self, scored: Scored) -> list[dict[str, Any]]:
        """Writes answers to the log, all or none, and gives them as the caller gets them.

        Raises:
            DiskFull: they could not be written, so they are not given.
        """
        said = [{"request_id": f"{self._life}-{next(self._numbers)}", **a} for a in logged(scored)]
        source = scored.asked[0].endpoint.feature_set.request
        name, event = source.__schema__.id, source.__schema__.event.name
        rows = [
            values_in_order(source, {**asked.row, event: at})
            for asked, at in zip(scored.asked, scored.at, strict=True)
        ]
        pairs = list(zip(rows, said, strict=True))
        self.stream.append(lambda at: [Record(name, at, row, answer) for row, answer in pairs])
        return [told(answer) for answer in said]

    def take(self, name: str, rows: Sequence[object]) -> dict[str, Any]:
        """Takes events of a source; they are on the disk when this returns.

        Bad rows go to quarantine and are counted. After an error the same rows may be sent again:
        a source with a unique column takes each row once.

        Raises:
            UnknownName: there is no such source.
            RequestRefused: a row is not an object, or has an unknown column: nothing is taken.
            DiskFull: there was no room: nothing is taken.
        """
        source = self.sources.get(name)
        if source is None:
            raise UnknownName.among("source", name, self.sources)
        judged = [_judged(source, row, f"$[{number}]") for number, row in enumerate(rows)]
        held = [j for j in judged if j.reasons]
        made = [values_in_order(source, j.values) for j in judged if not j.reasons]
        # Before the good ones: if this fails nothing is taken, and to hold a row twice is no harm.
        self.home.table(source).hold_live([(j.row, j.reasons) for j in held], self.clock.now())
        if made:
            self.stream.append(lambda at: [Record(name, at, values) for values in made], sync=True)
        reasons = sorted({reason for j in held for reason in j.reasons})
        return {"taken": len(made), "held": len(held), "reasons": reasons}

    def refresh(self) -> bool:
        """Loads the roster of each endpoint whose versions changed; says whether any did."""
        with self._swapping:
            changed = [
                name
                for name, endpoint in self.endpoints.items()
                if isinstance(endpoint.model, Model)
                and self.registry.aliases(name) != self.rosters[name].aliases
            ]
            for name in changed:
                self.rosters[name] = Roster.load(self.endpoints[name], self.registry)
        return bool(changed)

    @property
    def unready(self) -> str | None:
        """Why no requests should be sent here now; None if they should."""
        if not self.stream.alive:
            return "events are not being applied to the features"
        for name, roster in self.rosters.items():
            if "champion" not in roster.loaded and self.endpoints[name].fallback is None:
                return str(NoAnswer(endpoint=name).subject)
        return None

    def start(self) -> None:
        """Begins to apply events; every model answers once, as its first answer is its slowest."""
        self.stream.start()
        for name, endpoint in self.endpoints.items():
            self.rosters[name].answer_all(from_values([""], "text"), _unknown(endpoint, 1))

    def close(self) -> None:
        """Applies what waits, and lets another process write."""
        self.stream.close()
        self._online.store.close()
        self._log.close()


def _vectors(form: Form, row: Mapping[str, Any]) -> dict[str, Vector]:
    """What features are made from, as vectors of length 1."""
    return {name: from_values([row[name]], kind) for name, kind in form.read}


def _unknown(endpoint: Endpoint, rows: int) -> dict[str, Vector]:
    """Features that are all NULL."""
    kinds = zip(endpoint.feature_set.names, endpoint.feature_set.kinds, strict=True)
    return {name: from_values([None] * rows, kind) for name, kind in kinds}


def _stacked(read: Sequence[Mapping[str, Vector]]) -> Mapping[str, Vector]:
    if len(read) == 1:
        return read[0]
    return {name: np.concatenate([values[name] for values in read]) for name in read[0]}


def _judged(source: type[Source], row: object, path: str) -> _Judged:
    if not isinstance(row, dict):
        raise RequestRefused(path=path, problem="is not an object", remedy="send JSON objects")
    columns = source.__schema__.columns
    unknown = next((name for name in row if name not in columns), None)
    if unknown is not None:
        raise unknown_column(source, unknown, path)
    return _Judged(row, *contract.judge(source.__schema__, row))
