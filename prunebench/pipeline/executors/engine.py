"""The protocol of executors, the options that choose one, and the errors of jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from prunebench.errors import BusyError, MissingArtefactError, PrunebenchError, unknown
from prunebench.pipeline.job import Job

# Arguments: key of a job, steps done, steps in all, images that networks have seen so far. A job that begins
# has done 0 of 0 steps. Without images nothing counts them.
OnProgress = Callable[[str, int, int, int], None]


class Executor(Protocol):
    """Runs jobs, in this process or elsewhere."""

    @property
    def workers(self) -> int:
        """How many jobs it runs at once, as far as it knows. The time left is divided by it."""

    def submit(self, job: Job) -> Future[None]:
        """Run a job, now or later.

        The future raises StageError if the stage fails.
        The future raises MissingArtefactError if an input has to be made again.
        The future raises BusyError if another runner makes the stage.

        job: `job.device` is what it needs: "cpu" for one core, "cuda" for one GPU.
        """

    def shutdown(self) -> None:
        """Stop all work at once. The store stays intact."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The options that choose an executor.

    name: the name of the executor.
    workers: the number of worker processes. 0 runs in this process. None is one per core, or one for a GPU.
    workers_per_gpu: the same for a GPU alone, in place of `workers`. "auto" is as many as its memory holds.
    cpu_workers: the number of further processes for jobs that need no GPU. 0: the workers run these, too.
        None is one for each core to spare with a GPU, and none without.
    stage_timeout: seconds after which a stage is stopped, or None for no limit.
    processes: how many processes train a network together. On CUDA each has a GPU for itself.
    options: what the user told the executor, by name: the values of --executor-option.
    device: the device of the run, "cpu" or "cuda".
    gpus: the GPUs of this machine that it may use, as CUDA_VISIBLE_DEVICES names them. (): the first one.
    store: the folder of artefacts. All machines of an executor have to see it under this path.
    jobs: returns all jobs of the run, those of stored stages, too, inputs first. Nothing else is submitted.
    """

    name: str = "local"
    workers: int | None = None
    workers_per_gpu: int | Literal["auto"] | None = None
    cpu_workers: int | None = None
    stage_timeout: float | None = None
    processes: int = 1
    options: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    gpus: tuple[str, ...] = ()
    store: Path = Path()
    jobs: Callable[[], Iterable[Job]] = tuple

    def check_options(self, *known: str) -> None:
        """Raise PrunebenchError if the user told the executor an option that is none of the known ones."""
        for name in self.options:
            if name not in known:
                raise unknown(f"option of --executor {self.name}", name, known, "docs/scale.md")

    def check_whole_gpus(self) -> None:
        """Raise PrunebenchError if workers are to share a GPU."""
        if self.workers_per_gpu is not None:
            raise PrunebenchError(
                f"--executor {self.name} gives each stage a whole GPU; leave out --workers-per-gpu"
            )

    def package(self, module: str, extra: str) -> Any:
        """Return a module of a package that an extra of ours installs. Raise PrunebenchError without it."""
        try:
            return import_module(module)
        except ImportError as error:
            raise PrunebenchError(
                f"--executor {self.name} needs {module} ({error}); run: pip install 'prunebench[{extra}]'"
            ) from None


class StageError(Exception):
    """A stage failed in a worker. The message is for the user.

    trace: the traceback, for an author of parts.
    memory: whether the machine ran out of memory.
    device_lost: whether the worker can no longer use its GPU.
    """

    def __init__(
        self, message: str, trace: str = "", memory: bool = False, device_lost: bool = False
    ) -> None:
        super().__init__(message)
        self.trace = trace
        self.memory = memory
        self.device_lost = device_lost


class WorkerDied(Exception):  # noqa: N818 - the name is a sentence
    """A worker process ended without an answer.

    memory: whether the system may have killed it because memory ran out.
    """

    def __init__(self, message: str, memory: bool = False) -> None:
        super().__init__(message)
        self.memory = memory


def message(error: BaseException) -> str:
    """Return what an error of an executor says. One that was not written for users has its class."""
    for_users = isinstance(error, PrunebenchError | StageError | WorkerDied)
    return str(error) if for_users else with_class(error)


def with_class(error: BaseException) -> str:
    """Return the class of an error and what it says, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def as_failure(error: BaseException) -> dict[str, Any]:
    """Return an error of an executor as JSON, in the form of `jobs.failure`."""
    return {
        "message": message(error),
        "missing": error.key if isinstance(error, MissingArtefactError) else None,
        "busy": error.key if isinstance(error, BusyError) else None,
        "traceback": getattr(error, "trace", ""),
        "memory": getattr(error, "memory", False),
    }


def as_error(failure: dict[str, Any]) -> Exception:
    """Return the error that `jobs.failure` or `as_failure` turned into JSON."""
    if failure["missing"]:
        return MissingArtefactError(failure["missing"])
    if failure["busy"]:
        return BusyError(failure["busy"])
    return StageError(
        failure["message"], failure["traceback"], failure["memory"], failure.get("device_lost", False)
    )
