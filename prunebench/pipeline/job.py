"""Jobs: stages as plain JSON, with the keys of their inputs, as workers receive them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from prunebench.system.sealed_json import canonical

Seed = list[Any]  # [root seed, name of the stream, repeat]
Identity = dict[str, Any]  # the identity of a part or a recipe, as JSON


class Keyed(Protocol):
    """Anything with a key in the store."""

    @property
    def key(self) -> str:
        """64 hex digits."""


@dataclass(frozen=True)
class Stored:
    """A stage of which a worker knows only the key."""

    key: str


@dataclass(frozen=True, eq=False)
class Input:
    """An input of a stage.

    name: its name in the stage, such as labels.
    source: the stage that makes it.
    of: distinguishes inputs of the same name. JSON.
    """

    name: str
    source: Keyed
    of: Any = None

    @cached_property
    def spelled(self) -> str:
        """Name, distinction and key, as the canonical JSON of a list of these."""
        of = "null" if self.of is None else canonical(self.of)
        return f"[{canonical(self.name)},{of},{canonical(self.source.key)}]"


@dataclass(frozen=True)
class Job:
    """One stage to compute, as JSON that passes between processes.

    kind: the kind of stage.
    key: the key of its result.
    title: its name in messages.
    identity: the fields of the stage.
    inputs: [name, of, key] of each input.
    dataset: the specification from which the registry builds the dataset.
    data: the folder of datasets.
    store: the folder of artefacts.
    device: "cpu" or "cuda".
    root: the key of the dataset.
    shares_gpu: whether other workers may use the memory of the GPU meanwhile.
    memory: the most bytes that such stages took before, on the GPU if they run there, else in their process.
        None: unknown.
    processes: how many processes make it at once, and train its network together. On CUDA each has a GPU.
    rank: which of them this one is, counted from 0. The first stores the result.
    meeting: path of the file by which they meet, if there are several.
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
    shares_gpu: bool = False
    memory: int | None = None
    processes: int = 1
    rank: int = 0
    meeting: str = ""
