"""Requests: what an endpoint asks for, and the verdict on one body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mainspring.errors import RequestRefused, closest
from mainspring.expressions import Kind, kind_of
from mainspring.models.model import Model
from mainspring.serving.endpoint import Endpoint
from mainspring.sources import contract
from mainspring.sources.source import Column, Schema, Source

MANY = 1_000
"""Requests in one body, at most."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was accepted: its key and its row, typed."""

    endpoint: Endpoint
    id: Any
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """What a request to an endpoint brings, derived from its declaration.

    Attributes:
        identity: the column that names a request.
        required: that column, the entity keys and the raw columns; those that may be NULL may be
            left out. The other columns of the source may be sent too, but for the event time.
        read: the names and kinds of the columns that features are made from.
    """

    endpoint: Endpoint
    identity: Column[Any]
    required: tuple[Column[Any], ...]
    read: tuple[tuple[str, Kind], ...]

    @classmethod
    def of(cls, endpoint: Endpoint) -> Form:
        """The form of an endpoint."""
        columns, asked = endpoint.feature_set.columns, tuple(required_columns(endpoint))
        read: list[tuple[str, Kind]] = [(c.name, kind_of(c)) for c in columns]
        return cls(endpoint, identity_of(endpoint), asked, tuple(read))

    @property
    def schema(self) -> Schema:
        """The schema of the source whose rows the requests are."""
        return self.endpoint.feature_set.request.__schema__

    def accept(self, body: object, path: str = "$") -> Asked:
        """One request as a typed row.

        Args:
            path: where it stands in what was sent.

        Raises:
            RequestRefused: it is not what the endpoint asks for; the path says where.

        Example:
            >>> import mainspring as ms
            >>> class Trip(ms.Source, url="trips.parquet"):
            ...     trip: ms.Column[str] = ms.column(unique=True)
            ...     miles: ms.Column[float] = ms.column(ge=0)
            ...     asked_at: ms.Column[datetime] = ms.event_time()
            >>> far = ms.Endpoint("far", ms.Rule("far", Trip.miles > 9), request=Trip)
            >>> Form.of(far).accept({"trip": "t1", "miles": 3}).id
            't1'
            >>> Form.of(far).accept({"trip": "t1", "miles": "3"})
            Traceback (most recent call last):
            mainspring.errors.RequestRefused: $.miles: is no float, got '3'
              fix    send a number, at least 0
        """
        if not isinstance(body, dict):
            raise RequestRefused(path=path, problem="is not an object", remedy="send a JSON object")
        self._refuse_unknown(body, path)
        values, reasons = contract.judge(self.schema, body)
        for reason in reasons:
            self._refuse_bad(reason, body, path)
        return Asked(self.endpoint, values[self.identity.name], values)

    def _refuse_unknown(self, body: Mapping[str, Any], path: str) -> None:
        columns, event = self.schema.columns, self.schema.event.name
        for name in body:
            if name == event:
                problem = "is stamped by the server"
                remedy = "leave it out: the time of a request is when it is asked"
                raise RequestRefused(path=f"{path}.{name}", problem=problem, remedy=remedy)
            if name not in columns:
                raise unknown_column(self.endpoint.feature_set.request, name, path, event)

    def _refuse_bad(self, reason: str, body: Mapping[str, Any], path: str) -> None:
        """Refuses for a reason, unless it is about a column that was neither sent nor asked for."""
        name, _, problem = reason.partition(" ")
        column = self.schema.columns[name]
        if name in body:
            told = "may not be null" if body[name] is None else f"{problem}, got {body[name]!r:.60}"
        elif column in self.required:
            told = problem
        else:
            return
        raise RequestRefused(path=f"{path}.{name}", problem=told, remedy=f"send {wanted(column)}")


def identity_of(endpoint: Endpoint) -> Column[Any]:
    """The column that names a request of an endpoint."""
    if isinstance(endpoint.model, Model):
        key: Column[Any] = endpoint.model.rows.label.key
        return key
    unique = endpoint.feature_set.request.__schema__.unique
    return endpoint.feature_set.columns[0] if unique is None else unique


def required_columns(endpoint: Endpoint) -> list[Column[Any]]:
    """What a request must bring: its key, the entity keys, and the raw columns."""
    columns = [identity_of(endpoint), *endpoint.feature_set.columns]
    return list({c.name: c for c in columns}.values())


def unknown_column(source: type[Source], name: str, path: str, *without: str) -> RequestRefused:
    """The error for a name that is no column of a source, with the nearest one proposed."""
    known = [column for column in source.__schema__.columns if column not in without]
    return RequestRefused(
        path=f"{path}.{name[:60]}",
        problem=f"is not a column of {source.__schema__.id}",
        remedy=closest(name[:60], known),
    )


_WORDS = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    datetime: "an ISO 8601 time",
}


def wanted(column: Column[Any]) -> str:
    """What a column takes, in words.

    Example:
        >>> from mainspring import Source, column, event_time
        >>> class Trip(Source, url="trips.parquet"):
        ...     miles: Column[float | None] = column(ge=0, le=99)
        ...     asked_at: Column[datetime] = event_time()
        >>> wanted(Trip.miles)
        'a number, at least 0, at most 99, or null'
    """
    asked = column.checks
    said = [
        "" if asked.ge is None else f", at least {asked.ge:g}",
        "" if asked.le is None else f", at most {asked.le:g}",
        "" if asked.pattern is None else f" that matches {asked.pattern}",
        ", or null" if column.nullable else "",
    ]
    kind = _WORDS[column.type] if asked.one_of is None else f"one of {', '.join(asked.one_of)}"
    return kind + "".join(said)
