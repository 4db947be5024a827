"""OpenAPI: what the endpoints and sources of a system take and give, from its declarations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from mainspring.serving.request import MANY, Form
from mainspring.sources.contract import forgives
from mainspring.sources.source import Column, Source

Json = dict[str, Any]

_TYPES: dict[type, Json] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
}

_PROBLEMS = {
    "400": "not what is asked for; the path says where",
    "404": "no such name; the nearest one is proposed",
    "408": "the body did not come in time",
    "413": "the body is too large",
    "415": "the body is not JSON",
    "500": "something broke; the incident is in the server's error output",
    "503": "not now: try again in a second",
    "507": "the disk is full: nothing was taken",
}

_ANSWER: Json = {
    "type": "object",
    "required": ["request_id", "id", "prediction", "version", "role", "fallback", "at"],
    "properties": {
        "request_id": {"type": "string", "description": "names this answer in the log"},
        "id": {"type": "string", "description": "the request's key"},
        "prediction": {"type": ["number", "null"]},
        "version": {"type": "integer", "description": "who answered; 0 for a rule or a fallback"},
        "role": {"enum": ["champion", "canary", "fallback"]},
        "fallback": {"type": "boolean", "description": "whether it is the declared fallback"},
        "at": {"type": "string", "format": "date-time", "description": "its features' time"},
    },
}

_TAKEN: Json = {
    "type": "object",
    "required": ["taken", "held", "reasons"],
    "properties": {
        "taken": {"type": "integer", "description": "rows that are on the disk"},
        "held": {"type": "integer", "description": "rows in quarantine"},
        "reasons": {"type": "array", "items": {"type": "string"}},
    },
}

_ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "path", "fix"],
            "properties": {
                "code": {"type": "string", "description": "the class of the error"},
                "message": {"type": "string"},
                "path": {"type": ["string", "null"], "description": "where in the body"},
                "fix": {"type": "string"},
            },
        }
    },
}


def document(
    name: str, version: str, forms: Iterable[Form], sources: Mapping[str, type[Source]]
) -> Json:
    """The OpenAPI 3.1 document of a system.

    Args:
        version: the hash of its plan.

    Example:
        >>> import mainspring as ms
        >>> class Trip(ms.Source, url="trips.parquet"):
        ...     trip: ms.Column[str] = ms.column(unique=True)
        ...     miles: ms.Column[float] = ms.column(ge=0)
        ...     asked_at: ms.Column[datetime] = ms.event_time()
        >>> far = ms.Endpoint("far", ms.Rule("far", Trip.miles > 9), request=Trip)
        >>> found = document("trips", "0", [Form.of(far)], {"Trip": Trip})
        >>> found["components"]["schemas"]["far"]["properties"]["miles"]
        {'type': 'number', 'minimum': 0}
    """
    forms = list(forms)
    schemas = {form.endpoint.name: request_schema(form) for form in forms}
    schemas |= {f"event.{name}": event_schema(source) for name, source in sources.items()}
    schemas |= {"answer": _ANSWER, "taken": _TAKEN, "error": _ERROR}
    paths = {f"/predict/{form.endpoint.name}": _predict(form) for form in forms}
    paths |= {f"/events/{name}": _events(name) for name in sources}
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def request_schema(form: Form) -> Json:
    """The JSON schema of one request to an endpoint."""
    event = form.schema.event.name
    columns = {name: c for name, c in form.schema.columns.items() if name != event}
    required = [c.name for c in form.required if not c.nullable]
    return _object(columns, required)


def event_schema(source: type[Source]) -> Json:
    """The JSON schema of one event of a source."""
    schema, columns = source.__schema__, source.__schema__.columns
    needed = [name for name, c in columns.items() if not c.nullable]
    if schema.is_feed:  # a deletion has no more
        needed = [name for name in needed if not forgives(schema, columns[name])]
    return _object(columns, needed)


def _object(columns: Mapping[str, Column[Any]], required: list[str]) -> Json:
    return {
        "type": "object",
        "required": required,
        "properties": {name: column_schema(c) for name, c in columns.items()},
        "additionalProperties": False,
    }


def column_schema(column: Column[Any]) -> Json:
    """The JSON schema of a column's values."""
    asked, found = column.checks, dict(_TYPES[column.type])
    optional = {
        "minimum": asked.ge,
        "maximum": asked.le,
        "enum": None if asked.one_of is None else [*asked.one_of],
        "pattern": None if asked.pattern is None else f"^(?:{asked.pattern})$",
    }
    found |= {name: value for name, value in optional.items() if value is not None}
    if column.nullable:
        found["type"] = [found["type"], "null"]
        found |= {"enum": [*found["enum"], None]} if "enum" in found else {}
    return found


def _predict(form: Form) -> Json:
    endpoint = form.endpoint
    about = f"The prediction of {endpoint.model.name!r}, or a list of them for a list of requests"
    late = {} if endpoint.fallback is not None else {"504": "the deadline has passed"}
    return _post(about, endpoint.name, _one_or_many("answer"), late)


def _events(name: str) -> Json:
    about = f"Takes events of {name!r}: they are on the disk when it answers"
    return _post(about, f"event.{name}", _reference("taken"), {})


def _post(about: str, body: str, answer: Json, problems: Mapping[str, str]) -> Json:
    lines = {"application/x-ndjson": {"schema": _reference(body)}}
    errors = {
        status: {"description": text, "content": _json(_reference("error"))}
        for status, text in sorted({**_PROBLEMS, **problems}.items())
    }
    return {
        "post": {
            "summary": about,
            "requestBody": {"required": True, "content": _json(_one_or_many(body)) | lines},
            "responses": {"200": {"description": "done", "content": _json(answer)}, **errors},
        }
    }


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _one_or_many(name: str) -> Json:
    one = _reference(name)
    return {"oneOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": MANY}]}
