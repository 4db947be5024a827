"""From a URL's scheme to the engine's module: the one place that names them."""

from __future__ import annotations

from importlib import import_module
from urllib.parse import urlsplit

from mainspring.engines.base import Engine
from mainspring.errors import UnknownScheme

ENGINES = {"duckdb": "mainspring.engines.duckdb"}


def connect_engine(url: str = "duckdb://") -> Engine:
    """The engine that a URL names.

    Raises:
        UnknownScheme: no engine has this scheme.
    """
    scheme = urlsplit(url).scheme
    if scheme not in ENGINES:
        raise UnknownScheme.among(url, ENGINES)
    engine: Engine = import_module(ENGINES[scheme]).connect(url)
    return engine
