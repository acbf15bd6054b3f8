"""Slurm, through submitit: an array of tasks, each of which makes one stage after the other.

STORE/runs/RUN     the jobs of a run. Its tasks end once this file is gone
STORE/slurm/RUN/   what submitit writes: a pickle and a log of each task
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.pipeline import jobs
from prunebench.pipeline.executors import drain
from prunebench.pipeline.executors.engine import Engine, OnProgress, WorkerDied, as_error
from prunebench.pipeline.job import Job
from prunebench.pipeline.store import Store

LOOK = 0.5  # seconds between two looks at the store
REST = 20  # how much longer the store is left alone than looked at
ASK = 10.0  # seconds between two questions to Slurm, which others need, too
PATIENCE = 60.0  # seconds for Slurm to answer
GRACE = 10.0  # seconds for tasks to end by themselves
TRIES = 2  # arrays that a job is given to, if all tasks of one end without it
SUBMITTED = "_submitted.pkl"  # how the name of the file ends that submitit writes for a task
MINUTES = 24 * 60  # the time limit of a task, unless the user names another


@dataclass(frozen=True)
class Task:
    """What a task of an array does. submitit pickles it.

    run: the file of the run.
    stage_timeout: seconds after which a stage is stopped, or None for no limit.
    """

    run: Path
    stage_timeout: float | None

    def __call__(self, begin: float) -> None:
        """Make stages until none is left that can be made. begin: where among them, in 0..1."""
        drain.drain(self.run, begin, self.stage_timeout)

    def checkpoint(self, begin: float) -> Any:
        """Return what the task does once it is queued again: the same. submitit asks before it has to end."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, begin)


class Array:
    """An array that was submitted.

    run: the file of the run.
    folder: where submitit writes.
    left: whether another command submitted it. It goes on when this one ends.
    """

    def __init__(self, run: Path, folder: Path, left: bool = False) -> None:
        self.run = run
        self.folder = folder
        self.left = left
        self._asked = time.monotonic()
        self._ended = False

    def ended(self, pause: float) -> bool:
        """Whether all tasks have ended, as known at most `pause` seconds ago."""
        if not self._ended and time.monotonic() - self._asked >= pause:
            self._ended = self._all_ended()
            self._asked = time.monotonic()
        return self._ended

    def wanted(self) -> set[str]:
        """Return the keys of all that is to be made. The empty set if the run is over."""
        return {node.key for node in drain.read(self.run)}

    def end(self) -> None:
        """End all tasks: those that wait at once, those that run by themselves, or after a while by force."""
        self.run.unlink(missing_ok=True)
        self._cancel_waiting()
        late = time.monotonic() + GRACE
        while not self.ended(LOOK):
            if time.monotonic() > late:
                return self._cancel()
            time.sleep(LOOK)

    def clear(self) -> None:
        """Delete what submitit wrote."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def numbers(self) -> list[str]:
        """Return the numbers of its tasks, as submitit names its files after them."""
        return sorted(path.name.removesuffix(SUBMITTED) for path in self.folder.glob(f"*{SUBMITTED}"))

    def __str__(self) -> str:
        numbers = self.numbers()
        return f"Slurm job {numbers[0].partition('_')[0]}" if numbers else "Slurm job"

    # submitit would ask for the accounts of jobs, which not every Slurm keeps.

    def _all_ended(self) -> bool:
        known = queue()
        return known is not None and known.keys().isdisjoint(self.numbers())

    def _cancel_waiting(self) -> None:
        """Cancel the tasks that have not begun."""
        _ask("scancel", "--quiet", "--state=PENDING", *self.numbers())

    def _cancel(self) -> None:
        _ask("scancel", "--quiet", *self.numbers())


class LocalArray(Array):
    """An array of processes of this machine: submitit's jobs `tasks`. All of them have begun."""

    def __init__(self, run: Path, folder: Path, tasks: Sequence[Any]) -> None:
        super().__init__(run, folder)
        self._tasks = tasks

    def _all_ended(self) -> bool:
        return all(task.done() for task in self._tasks)

    def _cancel_waiting(self) -> None:
        pass

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel(check=False)


def arrays(store: Path) -> list[Array]:
    """Return the arrays of Slurm whose runs go on, or were never collected."""
    found = [Array(run, store / "slurm" / run.name, left=True) for run in (store / "runs").glob("*")]
    return [array for array in found if array.folder.is_dir()]


def tidy(store: Store) -> None:
    """End the arrays that have made all they were to make, and delete their files."""
    for array in arrays(store.root):
        if all(key in store for key in array.wanted()):
            array.end()
            array.clear()


def standing(store: Path) -> list[str]:
    """Return a line on each array that is at work, such as: Slurm job 12: tasks running 3, waiting 5."""
    lines = []
    found = arrays(store)
    known = (queue() if found else None) or {}
    for array in found:
        states = [known[number] for number in array.numbers() if number in known]
        if states:
            waiting = states.count("PENDING")
            lines.append(f"{array}: tasks running {len(states) - waiting}, waiting {waiting}")
    return lines


def queue() -> dict[str, str] | None:
    """Return the states of this user's tasks that wait or run, by number. None if Slurm does not answer."""
    answer = _ask("squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i %T")
    return None if answer is None else dict(line.split() for line in answer.splitlines())


def _ask(*command: str) -> str | None:
    """Return what a command of Slurm prints, or None if it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


@dataclass
class _Awaited:
    """A job whose result is awaited.

    tries: how many arrays it was given to.
    """

    job: Job
    future: Future[None]
    tries: int = 1


class Draining:
    """An executor that has the tasks of an array make the jobs. It sees in the store what they made.

    engine: the options of the user.
    workers: the number of tasks.
    array: an array for all jobs of the run.
    submit: submits another one. Raises PrunebenchError if Slurm refuses.
    """

    def __init__(self, engine: Engine, workers: int, array: Array, submit: Callable[[], Array]) -> None:
        self.workers = workers
        self._store = Store(engine.store)
        self._submit = submit
        self._array = array
        self._awaited: dict[str, _Awaited] = {}
        self._lost = False
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()

    def submit(self, job: Job) -> Future[None]:
        """Wait for the result of a job. The future raises StageError or WorkerDied."""
        future: Future[None] = Future()
        self._awaited[job.key] = _Awaited(job, future)
        return future

    def shutdown(self) -> None:
        """End all tasks, but those of another command. The logs of lost ones stay."""
        self._over.set()
        self._looking.join()  # it may be about to submit
        if self._array.left:
            return
        self._array.end()
        if not self._lost:
            self._array.clear()

    def _look(self) -> None:
        """Look for results until the shutdown."""
        pause = LOOK
        while not self._over.wait(pause):
            ended = self._array.ended(ASK)  # asked first, so that all that its tasks made is seen
            began = time.monotonic()
            left = [awaited for awaited in list(self._awaited.values()) if not self._settled(awaited)]
            pause = max(LOOK, REST * (time.monotonic() - began))
            if ended and left and not self._over.is_set():
                self._submit_again(left)

    def _settled(self, awaited: _Awaited) -> bool:
        """Resolve the future of a job that a task made, or that failed. Return whether it is resolved."""
        key = awaited.job.key
        made = key in self._store
        failure = None if made else self._store.failure(key)
        if not made and failure is None:
            return False
        del self._awaited[key]
        if failure is None:
            awaited.future.set_result(None)
        else:
            awaited.future.set_exception(as_error(failure))
        return True

    def _submit_again(self, left: list[_Awaited]) -> None:
        """Submit another array for jobs that all tasks left unmade. Give up those that two arrays left."""
        self._array.end()
        self._lost = True
        again = [awaited for awaited in left if awaited.tries < TRIES]
        for awaited in left:
            if awaited not in again:
                self._lose(awaited, f"all tasks of Slurm ended without it; see {self._array.folder}")
        if not again:
            return
        try:
            self._array = self._submit()
        except PrunebenchError as error:
            for awaited in again:
                self._lose(awaited, str(error))
            return
        self._lost = False
        for awaited in again:
            awaited.tries += 1

    def _lose(self, awaited: _Awaited, why: str) -> None:
        """Resolve the future of a job that is lost, and record that."""
        job = awaited.job
        lost = WorkerDied(f"--executor slurm lost {job.kind} {job.title}: {why}")
        with suppress(PrunebenchError):
            jobs.record(job, lost)
        del self._awaited[job.key]
        awaited.future.set_exception(lost)


def slurm(engine: Engine, workers: int, _on_progress: OnProgress) -> Draining:
    """Return an executor that submits an array of tasks to Slurm, unless one is there that makes all.

    The options are parameters of submitit's AutoExecutor, such as slurm_partition and timeout_min. `cluster`
    may be `local`, which runs tasks as processes of this machine.

    Raise PrunebenchError if submitit is missing, there is no Slurm or it refuses, or a parameter is unknown.
    """
    count = max(1, workers)
    return Draining(engine, count, _at_work(engine, count), lambda: _submitted(engine, count))


def leave(engine: Engine, workers: int) -> str:
    """Have the tasks of an array make all jobs of a run, whatever becomes of this process. Return its name.

    Raise PrunebenchError as `slurm` does.
    """
    return str(_at_work(engine, max(1, workers)))


def _at_work(engine: Engine, count: int) -> Array:
    """Return the array of an earlier command that makes all jobs of a run that are missing, or a new one.

    Raise PrunebenchError if there may be such an array, but Slurm does not say whether it is at work.
    """
    engine.check_whole_gpus()
    engine.package("submitit", "slurm")
    store = Store(engine.store)
    missing = {job.key for job in engine.jobs() if job.key not in store}
    for array in arrays(engine.store):
        if not missing <= array.wanted():
            continue
        known = queue()
        if known is None:
            raise PrunebenchError(
                f"--executor slurm: squeue does not say whether {array} still makes these stages; try again"
            )
        if not known.keys().isdisjoint(array.numbers()):
            return array
    store.forget_failures({job.key for job in engine.jobs()})
    return _submitted(engine, count)


def _submitted(engine: Engine, count: int) -> Array:
    """Submit an array of tasks for all jobs of a run."""
    import submitit

    options = dict(engine.options)
    cluster = options.pop("cluster", "slurm")
    name = uuid.uuid4().hex
    run = engine.store / "runs" / name
    folder = engine.store / "slurm" / (name if cluster == "slurm" else f"local/{name}")
    drain.write(run, engine.jobs())
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**_parameters(engine.device, options))
        begins = [number / count for number in range(count)]
        tasks = executor.map_array(Task(run, engine.stage_timeout), begins)
    except Exception as error:  # also Slurm may refuse
        run.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise PrunebenchError(f"--executor slurm: {why} See docs/scale.md") from None
    return Array(run, folder) if cluster == "slurm" else LocalArray(run, folder, tasks)


def _parameters(device: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of submitit: ours, and those of the user. Whole numbers become numbers."""
    ours: dict[str, Any] = {
        "name": "prunebench",
        "timeout_min": MINUTES,
        "tasks_per_node": 1,
        "cpus_per_task": 1,
        "slurm_additional_parameters": {"requeue": True},
    }
    if device == "cuda":  # and a core for what needs none
        ours |= {"gpus_per_node": 1, "cpus_per_task": 2}
    return ours | {name: int(value) if value.isdecimal() else value for name, value in options.items()}
