"""Fitted estimators as files, without pickle: verified, and written all or nothing.

An artefact is a folder named by its sha256: the estimator in its library's own format (LightGBM
text, else `skops`) and `manifest.json` with the preprocessing, the signature, the digest of each
file and the library versions. The sha256 covers everything but those versions, and the files are
brought to one normal form, so that the same fit has the same name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from mainspring.errors import DamagedArtefact, UnsavableEstimator
from mainspring.models.preprocess import Preprocessing
from mainspring.models.skops_file import normal_skops

FORMAT = 1
MANIFEST = "manifest.json"
SKOPS_FAILS = (ImportError, AttributeError, TypeError, ValueError, KeyError)
_LIBRARIES = ("numpy", "scikit-learn", "lightgbm", "skops")
# The number of threads does not change a deterministic fit, but LightGBM writes it into the text.
_THREADS = re.compile(r"^\[num_threads: .*\]\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Artefact:
    """A verified artefact in memory: what to build the predictor from."""

    folder: Path
    sha256: str
    kind: str
    payload: bytes
    trusted: tuple[str, ...]
    preprocessing: Preprocessing
    estimator: str
    libraries: Mapping[str, str]


def save(estimator: Any, preprocessing: Preprocessing, root: Path) -> Path:
    """Write a fitted estimator under `root` and return its folder, whose name is the sha256.

    The folder appears whole or not at all; saving the same fit again changes nothing.

    Raises: UnsavableEstimator when skops cannot describe the estimator.
    """
    kind, file, payload, trusted = _encode(estimator)
    content = {
        "format": FORMAT,
        "kind": kind,
        "estimator": _qualified(type(estimator)),
        "trusted": trusted,
        "preprocessing": preprocessing.to_json(),
        "files": {file: hashlib.sha256(payload).hexdigest()},
    }
    sha256 = _digest(content)
    manifest = content | {"sha256": sha256, "libraries": _libraries()}
    folder = root / sha256
    if not folder.exists():
        _write(folder, {file: payload, MANIFEST: json.dumps(manifest, indent=1).encode()})
    return folder


def read(folder: Path, sha256: str | None = None) -> Artefact:
    """The artefact in a folder, every digest checked, and against `sha256` where it is known.

    Raises: DamagedArtefact when a file is missing, changed or of an unknown format.
    """
    manifest = _manifest(folder)
    sealed = manifest["sha256"]
    content = {k: v for k, v in manifest.items() if k not in ("sha256", "libraries")}
    if _digest(content) != sealed or (sha256 or sealed) != sealed:
        raise DamagedArtefact(folder=str(folder), problem=f"{MANIFEST} does not have its sha256")
    if content["format"] != FORMAT:
        raise DamagedArtefact(folder=str(folder), problem=f"format {content['format']} is unknown")
    [payload] = [_payload(folder, *item) for item in content["files"].items()]
    return Artefact(
        folder=folder,
        sha256=sealed,
        kind=content["kind"],
        payload=payload,
        trusted=tuple(content["trusted"]),
        preprocessing=Preprocessing.from_json(content["preprocessing"]),
        estimator=content["estimator"],
        libraries=manifest["libraries"],
    )


def _encode(estimator: Any) -> tuple[str, str, bytes, list[str]]:
    booster = getattr(estimator, "booster_", None)
    if booster is not None and type(booster).__module__ == "lightgbm.basic":
        text: str = booster.model_to_string()
        return "lightgbm", "model.txt", _THREADS.sub("", text).encode(), []
    import skops.io

    try:
        payload = normal_skops(skops.io.dumps(estimator))
        trusted: list[str] = skops.io.get_untrusted_types(data=payload)
        skops.io.loads(payload, trusted=trusted)  # some types are written but cannot be read
    except SKOPS_FAILS as error:
        name = _qualified(type(estimator))
        raise UnsavableEstimator(estimator=name, problem=str(error)) from error
    return "skops", "model.skops", payload, trusted


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        for name, data in files.items():
            with (draft / name).open("wb") as out:
                out.write(data)
                os.fsync(out.fileno())
        _sync(draft)
        draft.rename(folder)
        _sync(folder.parent)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not folder.exists():  # else another process wrote the same content first
            raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise DamagedArtefact(folder=str(folder), problem=f"there is no {MANIFEST}") from None
    except ValueError as error:
        raise DamagedArtefact(folder=str(folder), problem=f"{MANIFEST}: {error}") from error
    if not isinstance(manifest, dict) or not {"sha256", "libraries"} <= manifest.keys():
        raise DamagedArtefact(folder=str(folder), problem=f"{MANIFEST} is not a manifest")
    return manifest


def _payload(folder: Path, name: str, digest: str) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError:
        raise DamagedArtefact(folder=str(folder), problem=f"there is no {name}") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise DamagedArtefact(folder=str(folder), problem=f"{name} does not have its sha256")
    return data


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _libraries() -> dict[str, str]:
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python} | {name: metadata.version(name) for name in _LIBRARIES}


def _qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
