"""The artefact store: key(stage, identity, inputs) -> artefact on disk. Atomic, locked, verified.

STORE/ab/cdef.../payload.safetensors     the arrays
STORE/ab/cdef.../manifest.json           identity, input keys, sha256 of the payload, cost, versions
STORE/making/KEY                         an entry being written; renamed into place when complete
STORE/checkpoints/KEY.safetensors        where a long stage resumes
STORE/failures/KEY.json                  the last failure of a stage; never reused, gone on success
STORE/quarantine/                        entries whose payload or manifest did not match its sha256
STORE/locks/KEY                          one lock file per key
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from prunebench.artefacts import Array, Artefact
from prunebench.errors import MissingArtefactError
from prunebench.files import replace_file, writing

SCHEMA = 1
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
A = TypeVar("A", bound=Artefact)


def canonical(value: Any) -> str:
    """Return the one JSON spelling of `value` that keys are made from."""
    return _ENCODER.encode(value)


def key(stage: str, version: int, identity: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return the sha256 key of a stage's output: known before anything runs.

    identity is all that decides the output beside its inputs; inputs maps their names to their keys.
    """
    return key_of(stage, version, canonical(identity), canonical(inputs))


def key_of(stage: str, version: int, identity: str, inputs: str) -> str:
    """Return what `key` does, from identity and inputs in their canonical spelling."""
    return _sha256(f'["{stage}",{version},{identity},{inputs}]'.encode())


class Store:
    """Artefacts on disk, under `root`, by key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Return the folder of an entry, whether it exists or not."""
        return self.root / key[:2] / key[2:]

    def __contains__(self, key: str) -> bool:
        # Asked of every stage of a plan, where making a Path takes five times as long as looking.
        return os.path.isfile(f"{self.root}/{key[:2]}/{key[2:]}/manifest.json")  # noqa: PTH113

    def lock(self, key: str) -> AbstractContextManager[Any]:
        """Return the lock of a key; whoever makes an artefact holds it. It dies with its process."""
        from filelock import FileLock

        path = self.root / "locks" / key
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def making(self, key: str) -> bool:
        """Whether some process holds the lock of this key at the moment."""
        from filelock import FileLock, Timeout

        path = self.root / "locks" / key
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True

    def manifest(self, key: str) -> dict[str, Any]:
        """Return the manifest of an entry; raise MissingArtefactError where it is gone or damaged."""
        try:
            entry: dict[str, Any] = json.loads((self.path(key) / "manifest.json").read_text())
            if entry.pop("check", None) == _sha256(canonical(entry).encode()):
                return entry
        except (OSError, ValueError):
            pass
        self.quarantine(key)
        raise MissingArtefactError(key)

    def verify(self, key: str) -> bool:
        """Whether the entry is there and matches its sha256; a bad entry is set aside."""
        if key not in self:
            return False
        try:
            self._verified_payload(key)
        except MissingArtefactError:
            return False
        return True

    def read(self, key: str, artefact: type[A]) -> A:
        """Return a stored artefact, verified; raise MissingArtefactError where it is gone or damaged."""
        return artefact.from_arrays(*unpack(self._verified_payload(key)))

    def _verified_payload(self, key: str) -> bytes:
        manifest = self.manifest(key)
        try:
            payload = (self.path(key) / "payload.safetensors").read_bytes()
        except OSError:
            payload = b""
        if _sha256(payload) != manifest["sha256"]:
            self.quarantine(key)
            raise MissingArtefactError(key)
        return payload

    def quarantine(self, key: str) -> None:
        """Move an entry out of the way, for a person to look at; the next run makes it again."""
        if self.path(key).exists():
            aside = self.root / "quarantine"
            aside.mkdir(parents=True, exist_ok=True)
            self.path(key).replace(aside / f"{key[:16]}-{time.time_ns()}")

    def write(self, key: str, artefact: Artefact, manifest: Mapping[str, Any]) -> None:
        """Store an artefact under `key`, whole or not at all. The caller holds the key's lock.

        manifest: what is worth knowing of how it was made; the payload's sha256, and the manifest's own
        (`check`), are added here.
        """
        payload = pack(*artefact.arrays())
        entry = {**manifest, "schema": SCHEMA, "sha256": _sha256(payload), "bytes": len(payload)}
        entry["check"] = _sha256(canonical(entry).encode())
        making = self.root / "making" / key
        shutil.rmtree(making, ignore_errors=True)  # what a killed process left; we hold the lock
        with writing(making):
            making.mkdir(parents=True)
            (making / "payload.safetensors").write_bytes(payload)
            (making / "manifest.json").write_bytes(json.dumps(entry, indent=1).encode())
            self.path(key).parent.mkdir(parents=True, exist_ok=True)
            self.quarantine(key)  # what is there has lost its manifest
            making.replace(self.path(key))
        self.checkpoint(key).discard()
        (self.root / "failures" / f"{key}.json").unlink(missing_ok=True)

    def remove(self, key: str) -> None:
        """Forget an entry and what a half-made one left."""
        shutil.rmtree(self.path(key), ignore_errors=True)
        self.sweep(key)
        self.checkpoint(key).discard()

    def sweep(self, key: str) -> None:
        """Clear away what a killed process left half-written for this key. Its checkpoint stays."""
        shutil.rmtree(self.root / "making" / key, ignore_errors=True)
        for stray in (self.root / "checkpoints").glob(f".{key}.*"):
            stray.unlink(missing_ok=True)

    def fail(self, key: str, failure: Mapping[str, Any]) -> None:
        """Record why a stage failed, for `status`. A failure is never taken for a result."""
        replace_file(self.root / "failures" / f"{key}.json", json.dumps(failure, indent=1).encode())

    def failure(self, key: str) -> dict[str, Any] | None:
        """Return the last failure of a stage that has not succeeded since, or None."""
        try:
            return json.loads((self.root / "failures" / f"{key}.json").read_text())  # type: ignore[no-any-return]
        except (OSError, ValueError):
            return None

    def checkpoint(self, key: str) -> FileCheckpoint:
        """Return the checkpoint of the stage that makes `key`."""
        return FileCheckpoint(self.root / "checkpoints" / f"{key}.safetensors")


class FileCheckpoint:
    """A checkpoint in one safetensors file: arrays and tensors as tensors, the rest as JSON in its header."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[str, Any] | None:
        """Return the saved state with its arrays as NumPy arrays; None where there is none to trust."""
        from safetensors import SafetensorError

        try:
            arrays, values = unpack(self.path.read_bytes())
        except (SafetensorError, OSError, ValueError, KeyError):
            return None
        return arrays | values

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state, atomically."""
        # A torch tensor is known by its `detach`, so that the store never imports torch.
        plain = {n: v.detach().cpu().numpy() if hasattr(v, "detach") else v for n, v in state.items()}
        arrays = {name: value for name, value in plain.items() if isinstance(value, np.ndarray)}
        replace_file(self.path, pack(arrays, {n: v for n, v in plain.items() if n not in arrays}))

    def discard(self) -> None:
        """Delete the saved state."""
        self.path.unlink(missing_ok=True)


def pack(arrays: Mapping[str, Array], values: Mapping[str, Any]) -> bytes:
    """Return one safetensors file: the arrays as tensors, the JSON values in its header."""
    from safetensors.numpy import save

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return save(contiguous, metadata={"values": canonical(values)})


def unpack(content: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and values that `pack` put into a file."""
    from safetensors.numpy import load

    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return load(content), json.loads(header["__metadata__"]["values"])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
