"""Refusals: what an error is in HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from mainspring import errors
from mainspring.errors import MainspringError, RequestRefused

STATUS: Mapping[type[MainspringError], int] = {
    errors.RequestRefused: 400,
    errors.UnknownName: 404,
    errors.MethodNotAllowed: 405,
    errors.BodyTooSlow: 408,
    errors.BodyTooLarge: 413,
    errors.WrongContentType: 415,
    errors.Broken: 500,
    errors.LogClosed: 503,
    errors.NoAnswer: 503,
    errors.NotMaterialised: 503,
    errors.Overloaded: 503,
    errors.StoreBusy: 503,
    errors.DeadlineExceeded: 504,
    errors.DiskFull: 507,
}
"""The status of each error that a request may meet; any other one is `Broken`."""

_AGAIN = {"retry-after": "1"}
_CLOSE = {"connection": "close"}  # the rest of the body would be read as the next request

_HEADERS: Mapping[int, Mapping[str, str]] = {
    408: _CLOSE,
    413: _CLOSE,
    503: _AGAIN,
    507: _AGAIN,
}


def refused(error: MainspringError) -> Response:
    """The response that tells of an error: code, message, path into the body, and what to do."""
    status = STATUS[type(error)]
    headers = dict(_HEADERS.get(status, {}))
    if isinstance(error, errors.MethodNotAllowed):
        headers["allow"] = error.allowed
    return json(body_of(error), status, headers)


def body_of(error: MainspringError) -> dict[str, Any]:
    """An error as JSON; where files or lines are stays here.

    Example:
        >>> body_of(RequestRefused(path="$.miles", problem="is missing", remedy="send a number"))
        {'error': {'code': 'RequestRefused', 'message': '$.miles: is missing', 'path': '$.miles', \
'fix': 'send a number'}}
    """
    told = {
        "code": error.code,
        "message": error.subject,
        "path": error.path if isinstance(error, RequestRefused) else None,
        "fix": error.fix.format(**error.fields),
    }
    return {"error": told}


_encode = msgspec.json.Encoder().encode


def json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with a JSON body."""
    return Response(_encode(value), status, headers, "application/json")
