"""The artefact store: key(stage, identity, inputs) -> artefact on disk. Atomic, leased, verified.

STORE/ab/cdef.../payload.safetensors     one or several artefacts of a stage
STORE/ab/cdef.../manifest.json           identity, input keys, sha256 of the payload, cost, versions
STORE/making/KEY.TOKEN                   an entry being written, renamed into place when complete
STORE/checkpoints/KEY                    state from which a long stage resumes: a sha256, then safetensors
STORE/failures/KEY.json                  the last failure of a stage, deleted on success
STORE/quarantine/                        entries whose payload or manifest did not match its sha256
STORE/leases/KEY.TOKEN                   the process that makes the artefact (see `prunebench.system.leases`)
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
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from prunebench.errors import BusyError, MissingArtefactError
from prunebench.parts.artefacts import Array, Artefact
from prunebench.system import leases
from prunebench.system.files import replace_file, settled, writing
from prunebench.system.leases import Claim, Lease
from prunebench.system.sealed_json import canonical, sealed, unsealed

SCHEMA = 3
MAPPED = 2**20  # bytes; payloads of this size or larger are mapped into memory, not read
PAYLOAD, MANIFEST = "payload.safetensors", "manifest.json"  # the files of an entry
DIGEST = hashlib.sha256().digest_size
# NumPy types by their safetensors names.
DTYPES = {"BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64}
DTYPES |= {"U16": np.uint16, "U32": np.uint32, "U64": np.uint64}
DTYPES |= {"F16": np.float16, "F32": np.float32, "F64": np.float64}
_HASHED: set[tuple[object, ...]] = set()  # files that this process has verified against their sha256
A = TypeVar("A", bound=Artefact)


def key(stage: str, version: int, identity: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return the sha256 key of a stage's output. It is known before anything runs.

    stage: the kind of stage.
    version: the version of that kind.
    identity: all that decides the output, except the inputs.
    inputs: the keys of the inputs, by name.
    """
    return key_of(stage, version, canonical(identity), canonical(inputs))


def key_of(stage: str, version: int, identity: str, inputs: str) -> str:
    """Return the same as `key`, from identity and inputs that are canonical JSON already."""
    return _sha256(f'["{stage}",{version},{identity},{inputs}]'.encode())


class Store:
    """Artefacts on disk, under `root`, by key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Return the folder of an entry. It need not exist."""
        return self.root / key[:2] / key[2:]

    def _folder(self, key: str) -> str:
        """Return the same as `path`, as a text: building a Path takes longer than looking at the disk."""
        return f"{self.root}/{key[:2]}/{key[2:]}"

    def __contains__(self, key: str) -> bool:
        """Whether an entry has all its files. Their content is verified on reading."""
        folder = self._folder(key)
        return os.path.isfile(f"{folder}/manifest.json") and os.path.isfile(f"{folder}/payload.safetensors")  # noqa: PTH113

    @contextmanager
    def lease(self, key: str, making: str) -> Iterator[Lease]:
        """Hold the lease of a key while its artefact is made. Raise BusyError if another process holds it."""
        lease = leases.take(self.claimed(key), making)
        if lease is None:
            raise BusyError(key)
        with lease:
            yield lease

    def claimed(self, key: str) -> Path:
        """Return the path that names the lease of a key."""
        return self.root / "leases" / key

    def being_made(self) -> dict[str, Claim]:
        """Return the leases that live processes hold, by key."""
        return {claim.name: claim for claim in leases.claims(self.root / "leases") if not claim.dead()}

    def manifest(self, key: str) -> dict[str, Any]:
        """Return the manifest of an entry.

        Raise MissingArtefactError if the manifest is gone, damaged or of another schema, or if the payload is
        gone or has another size. The content of the payload is not verified here, but in `read`.
        """
        entry = self.whole_manifest(key)
        if entry is None:
            self.quarantine(key)
            raise MissingArtefactError(key)
        return entry

    def whole_manifest(self, key: str) -> dict[str, Any] | None:
        """Return the manifest of an entry, or None where `manifest` raises an error. This changes nothing."""
        return _whole_manifest(self._folder(key))

    def sound(self, key: str) -> bool:
        """Whether an entry has a whole manifest and a payload of its size. A damaged entry is quarantined."""
        try:
            self.manifest(key)
        except MissingArtefactError:
            return False
        return True

    def verify(self, key: str) -> bool:
        """Whether the entry exists and matches its sha256. A damaged entry is quarantined."""
        if key not in self:
            return False
        try:
            self._payload(key)
        except MissingArtefactError:
            return False
        return True

    def has(self, key: str, artefact: type[Artefact]) -> bool:
        """Whether an entry holds an artefact of this class. Raise MissingArtefactError as `manifest` does."""
        return _name(artefact) in unpack(self._payload(key))[1]

    def read(self, key: str, artefact: type[A]) -> A:
        """Return a stored artefact, verified against its sha256.

        A large payload is mapped into memory, so that untouched arrays are not loaded.
        Raise MissingArtefactError if the entry is gone or damaged.
        """
        arrays, values = unpack(self._payload(key))
        prefix = f"{_name(artefact)}/"
        fields = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        return artefact.from_arrays(fields, values[_name(artefact)])

    def _payload(self, key: str) -> Array:
        """Return a verified payload: uint8 [bytes]. Each process hashes an unchanged file only once."""
        sha256 = self.manifest(key)["sha256"]
        path = f"{self._folder(key)}/{PAYLOAD}"
        try:
            with open(path, "rb", 0) as payload:  # noqa: PTH123
                status = os.fstat(payload.fileno())
                content: Array
                if status.st_size >= MAPPED:
                    content = np.memmap(payload, np.uint8, "r")
                else:  # of bytes, which cannot be written, so that artefacts need no copy of their own
                    content = np.frombuffer(payload.read(), np.uint8)
            file = (path, status.st_ino, status.st_size, status.st_mtime_ns, sha256)
            if file in _HASHED or hashlib.sha256(content.data).hexdigest() == sha256:
                _HASHED.add(file)
                return content
        except (OSError, ValueError):  # gone, or empty
            pass
        self.quarantine(key)
        raise MissingArtefactError(key)

    def quarantine(self, key: str) -> None:
        """Move an entry to the quarantine folder, for a person to look at. The next run makes it again."""
        if self.path(key).exists():
            aside = self.root / "quarantine" / f"{key[:16]}-{uuid.uuid4().hex[:16]}"
            with writing(aside), suppress(FileNotFoundError):  # another process was first
                aside.parent.mkdir(parents=True, exist_ok=True)
                self.path(key).replace(aside)

    def write(self, key: str, artefacts: Sequence[Artefact], manifest: Mapping[str, Any]) -> None:
        """Store the artefacts of an entry, completely or not at all.

        artefacts: at most one of each class.
        manifest: facts on how they were made. The sha256 of the payload and of the manifest are added here.

        The caller holds the lease of the key. If another process stored the entry meanwhile, that one stays.
        Raise BusyError if another process took over the lease, and stores the entry itself.
        """
        payload = packed(artefacts)
        entry = {**manifest, "schema": SCHEMA, "sha256": _sha256(payload), "bytes": len(payload)}
        self._clear(key)
        with self._making(key) as making:
            with writing(making), _unless_cleared(key):
                making.mkdir(parents=True)
                (making / PAYLOAD).write_bytes(payload)
                (making / MANIFEST).write_bytes(sealed(entry))
            self._settle(key, making)

    def take(self, key: str, source: Store) -> None:
        """Copy an entry of another store, completely or not at all. The other store is not changed.

        The copy is verified against its sha256 before it counts as stored.
        The caller holds the lease of the key. If another process stored the entry meanwhile, that one stays.
        Raise MissingArtefactError if the entry of the other store is gone, damaged or of another schema.
        Raise BusyError as `write` does.
        """
        self._clear(key)
        with self._making(key) as making:
            with writing(making), _unless_cleared(key):
                making.mkdir(parents=True)
                whole = _copied(source.path(key), making)
            if not whole:
                raise MissingArtefactError(key)
            self._settle(key, making)

    @contextmanager
    def _making(self, key: str) -> Iterator[Path]:
        """Yield a new path for an entry that is being written. Delete what is left there in the end.

        On a full disk that would take the space of the next attempt.
        """
        making = self.root / "making" / f"{key}.{uuid.uuid4().hex}"
        try:
            yield making
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _settle(self, key: str, entry: Path) -> None:
        """Rename a complete entry into place, and forget earlier attempts at it."""
        with writing(entry), _unless_cleared(key):
            self.path(key).parent.mkdir(parents=True, exist_ok=True)
            self._move_into_place(key, entry)
        self.checkpoint(key).discard()
        (self.root / "failures" / f"{key}.json").unlink(missing_ok=True)

    def _move_into_place(self, key: str, entry: Path) -> None:
        """Rename a complete entry into place. A folder cannot replace a filled one, so the first stays."""
        while key not in self:
            self.quarantine(key)  # an entry that has lost a file
            try:
                entry.replace(self.path(key))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            else:
                return

    def remove(self, key: str) -> None:
        """Delete an entry, and all that an unfinished attempt left of it."""
        shutil.rmtree(self.path(key), ignore_errors=True)
        self.discard_partial({key})
        self.checkpoint(key).discard()

    def discard_partial(self, keys: Collection[str]) -> None:
        """Delete partial files that killed processes left for these keys. Checkpoints stay."""
        for claim in leases.claims(self.root / "leases"):
            if claim.name in keys and claim.dead():
                claim.clear()
        partial = {path.name[:64] for path in (self.root / "making").glob("*")}
        partial |= {path.name[1:65] for path in (self.root / "checkpoints").glob(".*")}
        for key in partial.intersection(keys) - self.being_made().keys():
            self._clear(key)

    def _clear(self, key: str) -> None:
        for stray in (self.root / "making").glob("*"):
            if stray.name.startswith(key):
                shutil.rmtree(stray, ignore_errors=True)
        for stray in (self.root / "checkpoints").glob(".*"):
            if stray.name.startswith(f".{key}"):
                stray.unlink(missing_ok=True)

    def fail(self, key: str, failure: Mapping[str, Any]) -> None:
        """Record why a stage failed, for `status`. A failure never counts as a result."""
        replace_file(self.root / "failures" / f"{key}.json", sealed(failure))

    def failure(self, key: str) -> dict[str, Any] | None:
        """Return the last failure of a stage, or None if it has not failed since its last success."""
        return unsealed(self.root / "failures" / f"{key}.json")

    def forget_failures(self, keys: Collection[str]) -> None:
        """Forget the last failures of these stages, as they are tried again."""
        for path in (self.root / "failures").glob("*.json"):
            if path.stem in keys:
                path.unlink(missing_ok=True)

    def begun(self) -> set[str]:
        """Return the keys that have a checkpoint."""
        with suppress(FileNotFoundError):
            return set(os.listdir(self.root / "checkpoints"))  # noqa: PTH208 - only names are needed
        return set()

    def checkpoint(self, key: str, writable: bool = True) -> FileCheckpoint:
        """Return the checkpoint of the stage that makes `key`."""
        owner = canonical([SCHEMA, key, versions()])
        return FileCheckpoint(self.root / "checkpoints" / key, owner, writable)


class FileCheckpoint:
    """A checkpoint in one file: arrays and tensors as tensors, the rest as JSON in the header.

    owner: the stage and the library versions that wrote it. The checksum includes the owner, so that a
        checkpoint of another owner counts as damaged.
    writable: with False nothing is saved, as another process does that.
    """

    def __init__(self, path: Path, owner: str, writable: bool = True) -> None:
        self.path, self.owner, self.writable = path, owner, writable

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, its arrays as NumPy arrays, or None if there is no valid checkpoint.

        Deletes a checkpoint that is damaged or of another owner.
        """
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        body = content[DIGEST:]
        if content[:DIGEST] != self._check(body):
            self.discard()
            return None
        arrays, values = unpack(np.frombuffer(body, np.uint8))
        return {name: array.copy() for name, array in arrays.items()} | values

    def peek(self) -> dict[str, Any]:
        """Return the values of the saved state that are JSON, for those who watch; {} if there are none.

        The arrays are not read, and nothing is verified or deleted.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(DIGEST)
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            return dict(json.loads(header["__metadata__"]["values"]))
        except (OSError, ValueError, OverflowError, LookupError, TypeError):
            return {}

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state, atomically."""
        if not self.writable:
            return
        arrays: dict[str, Array] = {}
        values: dict[str, Any] = {}
        for name, value in state.items():
            if hasattr(value, "detach"):  # a torch tensor, recognized without importing torch
                arrays[name] = value.detach().cpu().numpy()
            elif isinstance(value, np.ndarray):
                arrays[name] = value
            else:
                values[name] = value
        body = pack(arrays, values)
        replace_file(self.path, self._check(body) + body)

    def discard(self) -> None:
        """Delete the saved state."""
        self.path.unlink(missing_ok=True)

    def _check(self, body: bytes) -> bytes:
        digest = hashlib.sha256(self.owner.encode())
        digest.update(body)
        return digest.digest()


@contextmanager
def _unless_cleared(key: str) -> Iterator[None]:
    """Raise BusyError if a file is gone: who took over the lease of a key clears what was being written."""
    try:
        yield
    except FileNotFoundError:
        raise BusyError(key) from None


def _whole_manifest(folder: str) -> dict[str, Any] | None:
    """Return the manifest in the folder of an entry, or None if it does not fit the size of the payload."""
    try:
        manifest = _manifest(f"{folder}/{MANIFEST}")
        size = os.stat(f"{folder}/{PAYLOAD}").st_size  # noqa: PTH116
    except OSError:
        return None
    if manifest and (manifest["schema"], manifest["bytes"]) == (SCHEMA, size):
        return manifest
    return None


def _manifest(path: str) -> dict[str, Any] | None:
    """Return the content of a manifest, or None if it is damaged. An unchanged file is verified once.

    Raise OSError if it is gone.
    """
    status = os.stat(path)  # noqa: PTH116
    if not settled(status.st_mtime_ns):
        return unsealed(path)
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    manifest = _settled_manifest(path, stamp)
    return None if manifest is None else dict(manifest)


@lru_cache(maxsize=2**14)  # rows of many cells say what the stages cost that these share
def _settled_manifest(path: str, _stamp: tuple[int, ...]) -> dict[str, Any] | None:
    return unsealed(path)


def _copied(entry: Path, copy: Path) -> bool:
    """Copy the files of an entry to a folder. Return whether the copy is whole."""
    for name in (PAYLOAD, MANIFEST):
        try:
            file = (entry / name).open("rb")
        except OSError:  # gone, or not for this user
            return False
        with file, (copy / name).open("wb") as target:
            shutil.copyfileobj(file, target)
    manifest = _whole_manifest(str(copy))
    with (copy / PAYLOAD).open("rb") as file:
        return manifest is not None and hashlib.file_digest(file, "sha256").hexdigest() == manifest["sha256"]


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a result may depend on."""
    libraries = {name: version(name) for name in ("prunebench", "torch", "numpy")}
    return {"python": platform.python_version(), **libraries}


def pack(arrays: Mapping[str, Array], values: Mapping[str, Any]) -> bytes:
    """Return the content of a safetensors file: the arrays as tensors, the JSON values in its header."""
    from safetensors.numpy import save

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return save(contiguous, metadata={"values": canonical(values)})


def unpack(content: Array) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and values of a file that `pack` made, without copying.

    content: uint8 [bytes].
    """
    length = int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8 : 8 + length].tobytes())
    values = json.loads(header.pop("__metadata__")["values"])
    body = content[8 + length :]
    return {name: _array(body, **entry) for name, entry in header.items()}, values


def _array(body: Array, dtype: str, shape: list[int], data_offsets: tuple[int, int]) -> Array:
    """Return one tensor of a safetensors file."""
    start, stop = data_offsets
    array: Array = body[start:stop].view(DTYPES[dtype]).reshape(shape)
    return array


def packed(artefacts: Iterable[Artefact]) -> bytes:
    """Return artefacts as the content of one file. The name of each array starts with its artefact's name."""
    arrays: dict[str, Array] = {}
    values: dict[str, Any] = {}
    for artefact in artefacts:
        name = _name(type(artefact))
        fields, values[name] = artefact.arrays()
        arrays |= {f"{name}/{field}": array for field, array in fields.items()}
    return pack(arrays, values)


def _name(artefact: type[Artefact]) -> str:
    return artefact.__name__.lower()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
