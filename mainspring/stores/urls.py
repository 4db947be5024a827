"""From a store's URL to its implementation: one flat table, and the only place that imports one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from mainspring.errors import UnknownScheme
from mainspring.stores.base import Metadata, OnlineStore, TableStore

METADATA = {"sqlite": "mainspring.stores.sqlalchemy"}
TABLES = {"file": "mainspring.stores.deltalake"}
ONLINE = {"lmdb": "mainspring.stores.lmdb"}


def connect_metadata(url: str, sync: bool = True) -> Metadata:
    """The metadata store at a URL, created when it is new.

    Args:
        sync: False lets no commit wait for the disk; power loss may take the last ones (replays).

    Raises:
        UnknownScheme: no metadata store answers to this URL.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     metadata = connect_metadata(f"sqlite:///{folder}/metadata.sqlite")
        ...     with metadata.begin() as transaction:
        ...         transaction.next_number("plan")
        ...     metadata.close()
        1
    """
    metadata: Metadata = _module(url, METADATA).connect(url, sync)
    return metadata


def connect_tables(url: str) -> TableStore:
    """The tables at a URL such as `file:///data/tables`.

    Raises:
        UnknownScheme: no table store answers to this URL.
    """
    tables: TableStore = _module(url, TABLES).connect(_folder(url))
    return tables


def connect_online(url: str) -> OnlineStore:
    """The online store at a URL such as `lmdb:///data/online`.

    Raises:
        UnknownScheme: no online store answers to this URL.
    """
    online: OnlineStore = _module(url, ONLINE).connect(_folder(url))
    return online


def _module(url: str, known: dict[str, str]) -> ModuleType:
    scheme = url.partition("://")[0]
    if scheme not in known:
        raise UnknownScheme.among(url, known)
    return import_module(known[scheme])


def _folder(url: str) -> Path:
    return Path(url.partition("://")[2])
