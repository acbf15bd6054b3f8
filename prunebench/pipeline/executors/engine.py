"""What runs stages: an executor makes the jobs that it is handed, and says what became of each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from prunebench.errors import BusyError, MissingArtefactError
from prunebench.pipeline.job import Job

Tell = Callable[[str, int, int], None]  # of a key: how much is done, of how much


class Executor(Protocol):
    """Makes jobs, somewhere."""

    def submit(self, job: Job) -> Future[None]:
        """Start making a job, now or later.

        The future raises StageError where the stage fails, MissingArtefactError for an input that has to be
        made again, and BusyError where another runner makes it.
        """

    def shutdown(self) -> None:
        """End all work at once; the store loses nothing by it."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What runs the stages: an executor by name, with how many workers, and for how long each stage may take.

    workers: 0 is this very process, None one a core or one a GPU. stage_timeout: seconds, None = for ever.
    """

    name: str = "local"
    workers: int | None = None
    stage_timeout: float | None = None


class StageError(Exception):
    """A stage failed in a worker; the message is for the user, the traceback for an author."""

    def __init__(self, message: str, trace: str = "", memory: bool = False) -> None:
        super().__init__(message)
        self.trace, self.memory = trace, memory


class WorkerDied(Exception):  # noqa: N818 - it says what happened
    """A worker process ended without an answer. memory: perhaps for lack of it."""

    def __init__(self, message: str, memory: bool = False) -> None:
        super().__init__(message)
        self.memory = memory


def as_error(told: dict[str, Any]) -> Exception:
    """Turn a failure, as `jobs.failure` described it, back into an error."""
    if told["missing"]:
        return MissingArtefactError(told["missing"])
    if told["busy"]:
        return BusyError(told["busy"])
    return StageError(told["message"], told["traceback"], told["memory"])
