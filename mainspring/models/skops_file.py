"""The normal form of a skops file: the same estimator gives the same bytes.

skops names objects and members by memory address or at random, and stamps the time. Here they are
numbered by first appearance, and stamped with the oldest date that a zip can hold.
"""

from __future__ import annotations

import io
import json
from typing import Any
from zipfile import ZipFile, ZipInfo

_SCHEMA = "schema.json"


def normal_skops(data: bytes) -> bytes:
    """The same archive with reproducible names, order and dates; skops reads it as before.

    Example:
        >>> import skops.io
        >>> a, b = (normal_skops(skops.io.dumps({"weights": [1.5, 2.5]})) for _ in range(2))
        >>> a == b, skops.io.loads(a)
        (True, {'weights': [1.5, 2.5]})
    """
    with ZipFile(io.BytesIO(data)) as archive:
        names = _Names({name: archive.read(name) for name in archive.namelist() if name != _SCHEMA})
        schema = names.renumbered(json.loads(archive.read(_SCHEMA)))
    out = io.BytesIO()
    with ZipFile(out, "w") as archive:
        for name in names.files:
            archive.writestr(ZipInfo(name), names.files[name])
        archive.writestr(ZipInfo(_SCHEMA), json.dumps(schema))
    return out.getvalue()


class _Names:
    """Numbers for objects and members, in the order in which the schema mentions them."""

    def __init__(self, members: dict[str, bytes]) -> None:
        self.members = members
        self.files: dict[str, bytes] = {}
        self._ids: dict[int, int] = {}
        self._files: dict[str, str] = {}

    def renumbered(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.renumbered(item) for item in node]
        if not isinstance(node, dict):
            return node
        return {key: self._value(key, value) for key, value in node.items()}

    def _value(self, key: str, value: Any) -> Any:
        if key == "__id__" and isinstance(value, int):
            return self._ids.setdefault(value, len(self._ids))
        if key == "file" and isinstance(value, str) and value in self.members:
            return self._file(value)
        return self.renumbered(value)

    def _file(self, old: str) -> str:
        if old not in self._files:
            new = f"{len(self._files)}.{old.rpartition('.')[2]}"
            self._files[old] = new
            self.files[new] = self.members[old]
        return self._files[old]
