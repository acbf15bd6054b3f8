"""How a stage is told of to whoever makes it: as plain JSON, with the keys of what it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

Seed = list[Any]  # the root seed, the name of a stream, the repeat
Identity = dict[str, Any]  # of a part or a recipe, as JSON


class Keyed(Protocol):
    """What has a key in the store."""

    @property
    def key(self) -> str:
        """64 hex digits."""


@dataclass(frozen=True)
class Stored:
    """A stage of which a worker knows no more than the key."""

    key: str


@dataclass(frozen=True, eq=False)
class Input:
    """Something a stage reads.

    name: what the stage calls it.
    source: the stage that made it.
    of: tells inputs of one name apart, as JSON.
    """

    name: str
    source: Keyed
    of: Any = None


@dataclass(frozen=True)
class Job:
    """One stage to make, as JSON carries it between processes.

    inputs: name, `of` and key of each. dataset: what the registry makes it from. data, store: folders.
    """

    kind: str
    key: str
    title: str
    identity: dict[str, Any]
    inputs: list[list[Any]]
    dataset: Any
    data: str
    store: str
    device: str
    root: str
