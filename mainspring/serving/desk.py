"""The desk: what each route of the server does."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from mainspring.errors import Broken, MainspringError, MethodNotAllowed, UnknownName
from mainspring.serving import body, openapi
from mainspring.serving.lane import Lane
from mainspring.serving.metrics import Metrics
from mainspring.serving.refusal import STATUS, json, refused
from mainspring.serving.request import Asked
from mainspring.serving.service import Service

logger = logging.getLogger(__name__)

REFRESH = 0.5
"""Seconds between looks at the registry for a version that was promoted or taken back."""

PAGES = ("/health", "/metrics", "/openapi.json", "/plan", "/ready", "/predict/", "/events/")

SCORING, TAKING, FALLING_BACK = 4, 8, 4
"""Threads per endpoint, per source (one fsync serves all that wait), and for late answers."""


class Desk:
    """What each route does, for one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._metrics = Metrics(service)
        self._seconds = {n: e.timeout.total_seconds() for n, e in service.endpoints.items()}
        self._scoring = {name: Lane(name, SCORING) for name in service.endpoints}
        self._taking = {name: Lane(name, TAKING) for name in service.sources}
        self._falling_back = {name: Lane(name, FALLING_BACK) for name in service.endpoints}
        self._plan = service.system.plan()
        self._openapi = openapi.document(
            service.system.name, self._plan["hash"], service.forms.values(), service.sources
        )

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        """Events are applied and versions swapped in between start and end."""
        self._service.start()
        follower = asyncio.create_task(self._follow())
        yield
        follower.cancel()
        await asyncio.to_thread(self._service.close)

    async def _follow(self) -> None:
        """Swaps versions in; one that cannot be loaded is told once, and those before go on."""
        told = ""
        while True:
            await asyncio.sleep(REFRESH)
            try:
                await asyncio.to_thread(self._service.refresh)
            except MainspringError as error:
                if str(error) != told:
                    logger.error("%s: %s", error.code, error)
                told = str(error)

    async def predict(self, request: Request) -> Response:
        """`POST /predict/<endpoint>`: one request, or a list of them."""
        name, began = request.path_params["name"], perf_counter()
        if name not in self._scoring:
            raise UnknownName.among("endpoint", name, self._scoring)
        sent = await body.read(request)
        answers = await self._answers(name, self._service.accept(name, sent))
        self._metrics.answered(name, (a["role"] for a in answers))
        self._metrics.ended(name, 200, perf_counter() - began)
        return json(answers if isinstance(sent, list) else answers[0])

    async def _answers(self, name: str, asked: Sequence[Asked]) -> list[dict[str, Any]]:
        """The answers, or the fallback from the deadline on: one of the two is logged and given."""
        service, first = self._service, threading.Lock()  # whoever comes first takes it, for good

        def answer() -> list[dict[str, Any]]:
            scored = service.score(asked)
            return service.answer(scored) if first.acquire(blocking=False) else []

        scoring, seconds = self._scoring[name].submit(answer), self._seconds[name]
        deadline = scoring.get_loop().call_later(seconds, _give_up, scoring, first)
        try:
            return await scoring
        except _Late:
            late = self._falling_back[name]
            return await late.submit(lambda: service.answer(service.fall_back(asked)))
        finally:
            deadline.cancel()

    async def take(self, request: Request) -> Response:
        """`POST /events/<source>`: one event, a list, or JSON lines; the disk has them then."""
        name, began = request.path_params["name"], perf_counter()
        if name not in self._taking:
            raise UnknownName.among("source", name, self._taking)
        sent = await body.read(request)
        rows = sent if isinstance(sent, list) else [sent]
        found = await self._taking[name].submit(lambda: self._service.take(name, rows))
        self._metrics.took(name, found["taken"], found["held"])
        self._metrics.ended(name, 200, perf_counter() - began)
        return json(found)

    async def health(self, _: Request) -> Response:
        """`GET /health`: the process is alive."""
        return json({"alive": True})

    async def ready(self, _: Request) -> Response:
        """`GET /ready`: whether requests should be sent here, and why not."""
        reason = self._service.unready
        return json({"ready": reason is None, "reason": reason}, 200 if reason is None else 503)

    async def metrics(self, _: Request) -> Response:
        """`GET /metrics`, for Prometheus."""
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    async def openapi(self, _: Request) -> Response:
        """`GET /openapi.json`: what can be sent here."""
        return json(self._openapi)

    async def plan(self, _: Request) -> Response:
        """`GET /plan`: the whole system as JSON."""
        return json(self._plan)

    async def refuse(self, request: Request, error: MainspringError) -> Response:
        """An error of ours, as far as a caller can have to do with it."""
        if type(error) not in STATUS:
            raise error
        self._count(request, STATUS[type(error)])
        return refused(error)

    async def break_off(self, request: Request, error: Exception) -> Response:
        """Any other error: the caller gets its number, the error output gets the traceback."""
        incident = uuid.uuid4().hex[:12]
        error.add_note(f"incident {incident}, at {request.url.path}")  # Starlette raises it again
        self._count(request, 500)
        return refused(Broken(incident=incident))

    def _count(self, request: Request, status: int) -> None:
        name = request.path_params.get("name", "")
        known = name in self._scoring or name in self._taking
        self._metrics.ended(name if known else "", status)


class _Late(Exception):
    """The deadline came first."""


def _give_up(scoring: asyncio.Future[Any], first: threading.Lock) -> None:
    """At the deadline: unless the answer is being written to the log, it is not waited for."""
    if not scoring.done() and first.acquire(blocking=False):
        scoring.set_exception(_Late())


async def not_routed(request: Request, error: HTTPException) -> Response:
    """A path or method that there is not."""
    path = request.url.path
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return refused(MethodNotAllowed(path=path, method=request.method, allowed=allowed))
    return refused(UnknownName.among("page", path, PAGES))


async def gone(request: Request, error: ClientDisconnect) -> Response:
    """The caller has hung up: nobody reads this."""
    return Response(status_code=400)


async def to_console(_: Request) -> Response:
    """`GET /`: the console, where there is one."""
    return RedirectResponse("/console")
