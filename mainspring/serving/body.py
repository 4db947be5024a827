"""Bodies: read within bounds of size and time, and decoded strictly."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request

from mainspring.errors import BodyTooLarge, BodyTooSlow, RequestRefused, WrongContentType

LIMIT = 1 << 20
"""Bytes of a body, at most."""

SECONDS = 5.0
"""How long a body may take to come."""

JSON, LINES = "application/json", "application/x-ndjson"

_DECODER = msgspec.json.Decoder()


async def read(request: Request) -> object:
    """The JSON value of a request's body; the list of its lines' values for JSON lines.

    Raises:
        WrongContentType: the body is neither, by its header.
        BodyTooLarge: it has more bytes than `LIMIT`, by its header or by what came.
        BodyTooSlow: it did not come within `SECONDS`.
        RequestRefused: it is not valid JSON.
    """
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind not in (JSON, LINES):
        raise WrongContentType(found=kind)
    if int(request.headers.get("content-length", 0)) > LIMIT:
        raise BodyTooLarge(limit=LIMIT)
    try:
        async with asyncio.timeout(SECONDS):
            data = await _bytes(request)
    except TimeoutError as error:
        raise BodyTooSlow(seconds=SECONDS) from error
    return decode(data, kind)


async def _bytes(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > LIMIT:
            raise BodyTooLarge(limit=LIMIT)
    return bytes(data)


def decode(data: bytes, kind: str = JSON) -> object:
    """The value of JSON bytes.

    Raises:
        RequestRefused: they are not valid JSON; NaN and Infinity are not.

    Example:
        >>> decode(b'{"miles": 3}')
        {'miles': 3}
        >>> decode(b"[1]\\n[2]", LINES)
        [[1], [2]]
        >>> decode(b'{"miles": NaN}')
        Traceback (most recent call last):
        mainspring.errors.RequestRefused: $: is not valid JSON: invalid character (byte 10)
          fix    send one JSON object or a list of them, in UTF-8; a value that is not known is null
    """
    try:
        found: object = _DECODER.decode_lines(data) if kind == LINES else _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        remedy = (
            "send one JSON object or a list of them, in UTF-8; a value that is not known is null"
        )
        told = f"is not valid JSON: {problem.removeprefix('JSON is malformed: ')}"
        raise RequestRefused(path="$", problem=told, remedy=remedy) from error
    return found
