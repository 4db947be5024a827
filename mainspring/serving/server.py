"""The server: the service over HTTP."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Mount, Route

from mainspring.errors import CannotListen, MainspringError, PortInUse
from mainspring.serving.desk import Desk, gone, not_routed, to_console
from mainspring.serving.service import Service

DRAIN = 10
"""Seconds that requests in flight may take to end after SIGTERM."""

KEEP_ALIVE = 30
"""Seconds that an idle connection is kept."""

BACKLOG = 2048
"""Connections that may wait to be accepted."""


def application(service: Service, extra_routes: Sequence[BaseRoute] = ()) -> Starlette:
    """The ASGI application of a service; it starts the service, and closes it at the end.

    Every answer is JSON, and every error is `{"error": {"code", "message", "path", "fix"}}`.

    Args:
        extra_routes: other pages of the same process, such as the console's.
    """
    desk = Desk(service)
    routes = [
        Route("/predict/{name}", desk.predict, methods=["POST"]),
        Route("/events/{name}", desk.take, methods=["POST"]),
        Route("/health", desk.health),
        Route("/ready", desk.ready),
        Route("/metrics", desk.metrics),
        Route("/openapi.json", desk.openapi),
        Route("/plan", desk.plan),
        *extra_routes,
    ]
    if any(isinstance(r, Route | Mount) and r.path == "/console" for r in extra_routes):
        routes.append(Route("/", to_console))
    handlers: dict[Any, Any] = {
        HTTPException: not_routed,
        ClientDisconnect: gone,
        MainspringError: desk.refuse,
        Exception: desk.break_off,
    }
    made = Starlette(routes=routes, exception_handlers=handlers, lifespan=desk.lifespan)
    made.router.redirect_slashes = False  # a redirect's body is no JSON, and a POST would be lost
    return made


def serve(
    service: Service,
    host: str = "127.0.0.1",
    port: int = 8000,
    extra_routes: Sequence[BaseRoute] = (),
) -> None:
    """Serves until SIGTERM or SIGINT; then requests in flight are answered and the service closed.

    Raises:
        PortInUse: another program listens there.
        CannotListen: the address or the port is not for us.
    """
    with listen(host, port) as listener:
        server(service, extra_routes).run(sockets=[listener])


def server(service: Service, extra_routes: Sequence[BaseRoute] = ()) -> uvicorn.Server:
    """The HTTP server of a service: loopback or not, it is told where to listen when it runs."""
    config = uvicorn.Config(
        application(service, extra_routes),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=DRAIN,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes a free one.

    Raises:
        PortInUse: another program listens there.
        CannotListen: the address or the port is not for us.

    Example:
        >>> with listen("127.0.0.1", 0) as taken:
        ...     listen(*taken.getsockname())
        Traceback (most recent call last):
        mainspring.errors.PortInUse: another program listens on 127.0.0.1:...
          fix    stop it, or serve on another port: --port ...
    """
    if not 0 <= port <= 65_535:
        raise CannotListen(host=host, port=port, reason="there is no such port")
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host=host, port=port, free=port + 1) from error
        raise CannotListen(host=host, port=port, reason=str(error)) from error
