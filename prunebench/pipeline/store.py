"""The artefact store: key(stage, identity, inputs) -> artefact on disk. Atomic, leased, verified.

STORE/ab/cdef.../payload.safetensors     what a stage made: one artefact or several
STORE/ab/cdef.../manifest.json           identity, input keys, sha256 of the payload, cost, versions
STORE/making/KEY.TOKEN                   an entry being written; renamed into place when complete
STORE/checkpoints/KEY                    where a long stage resumes: a sha256, then safetensors
STORE/failures/KEY.json                  the last failure of a stage; never reused, gone on success
STORE/quarantine/                        entries whose payload or manifest did not match its sha256
STORE/leases/KEY.TOKEN                   who makes an artefact at the moment: see `prunebench.system.leases`
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from prunebench.errors import BusyError, MissingArtefactError
from prunebench.parts.artefacts import Array, Artefact
from prunebench.system import leases
from prunebench.system.files import replace_file, writing
from prunebench.system.leases import Lease
from prunebench.system.sealed_json import canonical, sealed, unsealed

SCHEMA = 3
MAPPED = 2**20  # bytes from which on a payload is mapped into memory rather than read
DIGEST = hashlib.sha256().digest_size
# What safetensors calls the types of NumPy.
DTYPES = {"BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64}
DTYPES |= {"U16": np.uint16, "U32": np.uint32, "U64": np.uint64}
DTYPES |= {"F16": np.float16, "F32": np.float32, "F64": np.float64}
_HASHED: set[tuple[object, ...]] = set()  # files that this process found to match their sha256
A = TypeVar("A", bound=Artefact)


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
        """Whether an entry has all its files; whether they are whole is seen when they are read."""
        # Asked of every stage of a plan, where making a Path takes five times as long as looking.
        folder = f"{self.root}/{key[:2]}/{key[2:]}"
        return os.path.isfile(f"{folder}/manifest.json") and os.path.isfile(f"{folder}/payload.safetensors")  # noqa: PTH113

    @contextmanager
    def lease(self, key: str, making: str) -> Iterator[Lease]:
        """Hold the lease of a key while its artefact is made; raise BusyError where another has it."""
        lease = leases.take(self.claimed(key), making)
        if lease is None:
            raise BusyError(key)
        with lease:
            yield lease

    def claimed(self, key: str) -> Path:
        """Return the path whose lease is that of a key."""
        return self.root / "leases" / key

    def being_made(self) -> set[str]:
        """Return the keys whose lease some process holds at the moment."""
        return {claim.name for claim in leases.claims(self.root / "leases") if not claim.dead()}

    def manifest(self, key: str) -> dict[str, Any]:
        """Return the manifest of an entry; raise MissingArtefactError where it is gone or damaged.

        So it is where it is of another schema, and where its payload is gone or has another size. The
        content of a payload is read by `read`.
        """
        entry = unsealed(self.path(key) / "manifest.json")
        with suppress(OSError):
            size = (self.path(key) / "payload.safetensors").stat().st_size
            if entry and (entry["schema"], entry["bytes"]) == (SCHEMA, size):
                return entry
        self.quarantine(key)
        raise MissingArtefactError(key)

    def verify(self, key: str) -> bool:
        """Whether the entry is there and matches its sha256; a bad entry is set aside."""
        if key not in self:
            return False
        try:
            self._payload(key)
        except MissingArtefactError:
            return False
        return True

    def has(self, key: str, artefact: type[Artefact]) -> bool:
        """Whether an entry holds an artefact of this class; raise as `manifest`."""
        return _name(artefact) in unpack(self._payload(key))[1]

    def read(self, key: str, artefact: type[A]) -> A:
        """Return a stored artefact, verified; raise MissingArtefactError where it is gone or damaged.

        A large payload is mapped into memory: what is not touched is not read.
        """
        arrays, values = unpack(self._payload(key))
        prefix = f"{_name(artefact)}/"
        own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        return artefact.from_arrays(own, values[_name(artefact)])

    def _payload(self, key: str) -> Array:
        """Return a payload, verified: uint8 [bytes]. A process hashes it once, while it stays the same."""
        sha256, path = self.manifest(key)["sha256"], self.path(key) / "payload.safetensors"
        try:
            facts = path.stat()
            content = (
                np.memmap(path, np.uint8, "r") if facts.st_size >= MAPPED else np.fromfile(path, np.uint8)
            )
            seen = (str(path), facts.st_ino, facts.st_size, facts.st_mtime_ns, sha256)
            if seen in _HASHED or hashlib.sha256(content.data).hexdigest() == sha256:
                _HASHED.add(seen)
                return content
        except (OSError, ValueError):  # gone, or empty
            pass
        self.quarantine(key)
        raise MissingArtefactError(key)

    def quarantine(self, key: str) -> None:
        """Move an entry out of the way, for a person to look at; the next run makes it again."""
        if self.path(key).exists():
            aside = self.root / "quarantine" / f"{key[:16]}-{uuid.uuid4().hex[:16]}"
            with writing(aside), suppress(FileNotFoundError):  # another process was first
                aside.parent.mkdir(parents=True, exist_ok=True)
                self.path(key).replace(aside)

    def write(self, key: str, artefacts: Sequence[Artefact], manifest: Mapping[str, Any]) -> None:
        """Store artefacts, each of another class, whole or not at all. The caller holds the lease of the key.

        manifest: what is worth knowing of how they were made; the payload's sha256, and the manifest's own
        (`check`), are added here. An entry that another process stored meanwhile stays.
        """
        payload = packed(artefacts)
        entry = {**manifest, "schema": SCHEMA, "sha256": _sha256(payload), "bytes": len(payload)}
        self._clear(key)
        making = self.root / "making" / f"{key}.{uuid.uuid4().hex}"
        with writing(making):
            making.mkdir(parents=True)
            (making / "payload.safetensors").write_bytes(payload)
            (making / "manifest.json").write_bytes(sealed(entry))
            self.path(key).parent.mkdir(parents=True, exist_ok=True)
            self._place(key, making)
        self.checkpoint(key).discard()
        (self.root / "failures" / f"{key}.json").unlink(missing_ok=True)

    def _place(self, key: str, made: Path) -> None:
        """Rename a complete entry into place. A folder never replaces one with files, so the first stays."""
        while key not in self:
            self.quarantine(key)  # what is there has lost a file
            try:
                made.replace(self.path(key))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            else:
                return
        shutil.rmtree(made, ignore_errors=True)

    def remove(self, key: str) -> None:
        """Forget an entry and what a half-made one left."""
        shutil.rmtree(self.path(key), ignore_errors=True)
        self.sweep({key})
        self.checkpoint(key).discard()

    def sweep(self, keys: Collection[str]) -> None:
        """Clear away what killed processes left half-written for these keys. Checkpoints stay."""
        for claim in leases.claims(self.root / "leases"):
            if claim.name in keys and claim.dead():
                claim.clear()
        left = {path.name[:64] for path in (self.root / "making").glob("*")}
        left |= {path.name[1:65] for path in (self.root / "checkpoints").glob(".*")}
        for key in left.intersection(keys) - self.being_made():
            self._clear(key)

    def _clear(self, key: str) -> None:
        for stray in (self.root / "making").glob("*"):
            if stray.name.startswith(key):
                shutil.rmtree(stray, ignore_errors=True)
        for stray in (self.root / "checkpoints").glob(".*"):
            if stray.name.startswith(f".{key}"):
                stray.unlink(missing_ok=True)

    def fail(self, key: str, failure: Mapping[str, Any]) -> None:
        """Record why a stage failed, for `status`. A failure is never taken for a result."""
        replace_file(self.root / "failures" / f"{key}.json", sealed(failure))

    def failure(self, key: str) -> dict[str, Any] | None:
        """Return the last failure of a stage that has not succeeded since, or None."""
        return unsealed(self.root / "failures" / f"{key}.json")

    def begun(self) -> set[str]:
        """Return the keys whose making left a checkpoint."""
        with suppress(FileNotFoundError):
            return set(os.listdir(self.root / "checkpoints"))  # noqa: PTH208 - names are all that is needed
        return set()

    def checkpoint(self, key: str) -> FileCheckpoint:
        """Return the checkpoint of the stage that makes `key`."""
        return FileCheckpoint(self.root / "checkpoints" / key, canonical([SCHEMA, key, versions()]))


class FileCheckpoint:
    """A checkpoint in one file: arrays and tensors as tensors, the rest as JSON in the header.

    owner: what wrote it, down to the versions of the libraries. It goes into the checksum, so that a
    checkpoint of anything else is as good as damaged.
    """

    def __init__(self, path: Path, owner: str) -> None:
        self.path, self.owner = path, owner

    def load(self) -> dict[str, Any] | None:
        """Return the saved state with its arrays as NumPy arrays; None where there is none to trust.

        One that is damaged or of another owner is deleted.
        """
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        check, body = content[:DIGEST], content[DIGEST:]
        if check != self._check(body):
            self.discard()
            return None
        arrays, values = unpack(np.frombuffer(body, np.uint8))
        return {name: array.copy() for name, array in arrays.items()} | values

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state, atomically."""
        # A torch tensor is known by its `detach`, so that the store never imports torch.
        plain = {n: v.detach().cpu().numpy() if hasattr(v, "detach") else v for n, v in state.items()}
        arrays = {name: value for name, value in plain.items() if isinstance(value, np.ndarray)}
        body = pack(arrays, {n: v for n, v in plain.items() if n not in arrays})
        replace_file(self.path, self._check(body) + body)

    def discard(self) -> None:
        """Delete the saved state."""
        self.path.unlink(missing_ok=True)

    def _check(self, body: bytes) -> bytes:
        digest = hashlib.sha256(self.owner.encode())
        digest.update(body)
        return digest.digest()


@cache
def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    return {"python": platform.python_version()} | {p: version(p) for p in ("prunebench", "torch", "numpy")}


def pack(arrays: Mapping[str, Array], values: Mapping[str, Any]) -> bytes:
    """Return one safetensors file: the arrays as tensors, the JSON values in its header."""
    from safetensors.numpy import save

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return save(contiguous, metadata={"values": canonical(values)})


def unpack(content: Array) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and values that `pack` put into a file, given as uint8 [bytes]; nothing is copied."""
    length = int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8 : 8 + length].tobytes())
    values = json.loads(header.pop("__metadata__")["values"])
    body = content[8 + length :]
    return {name: _array(body, **facts) for name, facts in header.items()}, values


def _array(body: Array, dtype: str, shape: list[int], data_offsets: tuple[int, int]) -> Array:
    """Return one tensor of a safetensors file."""
    start, stop = data_offsets
    array: Array = body[start:stop].view(DTYPES[dtype]).reshape(shape)
    return array


def packed(artefacts: Iterable[Artefact]) -> bytes:
    """Return artefacts as one file, the arrays of each under its name."""
    arrays: dict[str, Array] = {}
    values: dict[str, Any] = {}
    for artefact in artefacts:
        name = _name(type(artefact))
        own, values[name] = artefact.arrays()
        arrays |= {f"{name}/{inner}": array for inner, array in own.items()}
    return pack(arrays, values)


def _name(artefact: type[Artefact]) -> str:
    return artefact.__name__.lower()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
