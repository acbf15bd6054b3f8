"""Worker processes on this machine. A worker that dies is replaced, and its job is tried once more.

On a CPU every worker computes on exactly one thread. The number of threads changes results, and one thread
more than there are cores can slow a run down a hundred times.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from prunebench.errors import PrunebenchError
from prunebench.pipeline import jobs
from prunebench.pipeline.executors import worker_process
from prunebench.pipeline.executors.engine import Engine, OnProgress, StageError, WorkerDied, as_error
from prunebench.pipeline.executors.packing import MOST, Packing
from prunebench.pipeline.executors.waiting import Item, Waiting
from prunebench.pipeline.executors.worker_process import Garbled, Helpers, Process, TimeLimit
from prunebench.pipeline.job import Job
from prunebench.pipeline.store import Store
from prunebench.system.cores import cores

STARTS = 5  # attempts to start a worker before the job fails


def default_workers(device: str) -> int:
    """Return the number of cores that this process may use, or 1 for a GPU."""
    return 1 if device == "cuda" else cores()


def most_workers(engine: Engine, device: str) -> int:
    """Return how many workers an engine may have on a device: on a CPU, or on all its GPUs together.

    Raise PrunebenchError if its options contradict one another, or the device.
    """
    gpus = max(1, len(engine.gpus))
    together = engine.processes
    here, what = (gpus, "GPUs") if device == "cuda" else (cores(), "cores")
    if together > max(1, here):
        raise PrunebenchError(
            f"--processes-per-training {together}: there are {here} {what}; give each process one of its own"
        )
    if together > 1 and engine.workers_per_gpu is not None:
        raise PrunebenchError(
            "a training with several GPUs has these for itself; leave out --workers-per-gpu"
        )
    if engine.workers_per_gpu is None:
        return here // together if engine.workers is None else engine.workers
    if engine.workers is not None:
        raise PrunebenchError("--workers and --workers-per-gpu mean the same on one GPU; leave one out")
    if device != "cuda":
        raise PrunebenchError("--workers-per-gpu: this run computes on the CPU; use --workers")
    if engine.workers_per_gpu == "auto":
        return gpus * min(MOST, max(1, cores() // gpus))
    return gpus * engine.workers_per_gpu


def default_cpu_workers(device: str, workers: int) -> int:
    """Return the number of processes for jobs on the CPU, beside those of GPUs: a core each that they leave.

    There is at least one. There are none if the device is the CPU, as all workers are alike then.

    workers: the number of processes on all GPUs together. Each keeps a core busy.
    """
    return max(1, cores() - workers) if device == "cuda" else 0


class _Room:
    """A lock that lets jobs run side by side, or one of them alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._reserved = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Enter beside others, once no job runs or waits to run alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._reserved)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Enter once all others are done, and keep others out."""
        with self._changed:
            self._changed.wait_for(lambda: not self._reserved)
            self._reserved = True
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._reserved = False
                self._changed.notify_all()


class LocalExecutor:
    """An executor with worker processes, each running one job at a time.

    workers: the number of processes.
    on_progress: called with the progress of each job.
    stage_timeout: seconds after which a stage is stopped, or None for no limit.
    cpu_workers: the number of further processes, for jobs on the CPU. The others then run none of these.
    packed: whether the memory of each GPU says how many of its workers may run. Else all of them may.
    gpus: the GPUs among which the workers are dealt out, as CUDA_VISIBLE_DEVICES names them. A worker sees
        one of them only. (): all workers see what this process sees, and use the first.
    processes: the most processes of a job. A worker then has as many GPUs, and computes on the first.
    """

    def __init__(
        self,
        workers: int,
        on_progress: OnProgress,
        stage_timeout: float | None = None,
        cpu_workers: int = 0,
        packed: bool = False,
        gpus: Sequence[str] = (),
        processes: int = 1,
    ) -> None:
        self._workers = workers  # numbered from 0; those on the CPU follow
        whole = len(gpus) // processes * processes
        self._gpus = [tuple(gpus[first : first + processes]) for first in range(0, whole, processes)]
        self._packings = [Packing(len(mates)) for mates in self._by_gpu()] if packed else []
        self._on_progress = on_progress
        self._stage_timeout = stage_timeout
        self._jobs = Waiting()
        self._cpu_jobs = Waiting() if cpu_workers else self._jobs
        self._processes: dict[int, Process] = {}
        self._closing = False
        self._lock = threading.Lock()  # keeps workers from starting during a shutdown
        self._room = _Room()
        queues = [self._jobs] * workers + [self._cpu_jobs] * cpu_workers
        self._threads = [
            threading.Thread(target=self._serve, args=(number, jobs_of), daemon=True)
            for number, jobs_of in enumerate(queues)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def workers(self) -> int:
        """How many jobs it runs at once. How many will share a GPU by its memory is not known yet."""
        return len(self._by_gpu()) if self._packings else self._workers

    def _by_gpu(self) -> list[range]:
        """Return the numbers of the workers on each GPU that has any: they are dealt out in turn."""
        count = max(1, len(self._gpus))
        return [range(gpu, self._workers, count) for gpu in range(min(count, self._workers))]

    def _mates(self, number: int) -> range:
        """Return the numbers of all workers on the GPU of one of them."""
        return self._by_gpu()[self._gpu(number)]

    def _gpu(self, number: int) -> int:
        """Return which of the GPUs is that of a worker."""
        return number % max(1, len(self._gpus))

    def submit(self, job: Job) -> Future[None]:
        """Queue a job. The future raises StageError, MissingArtefactError, BusyError or WorkerDied."""
        future: Future[None] = Future()
        (self._cpu_jobs if job.device == "cpu" else self._jobs).put((job, future))
        return future

    def shutdown(self) -> None:
        """Kill all workers at once. The store stays intact."""
        with self._lock:
            self._closing = True
        for packing in self._packings:
            packing.open_all()
        for process in self._processes.values():
            process.kill()
        for _ in self._threads:
            self._jobs.put(None)
            self._cpu_jobs.put(None)
        for thread in self._threads:
            thread.join(timeout=5)
        for process in self._processes.values():
            worker_process.reap(process)

    def _serve(self, number: int, jobs_of: Waiting) -> None:
        """Serve one worker: take a job, have it run, resolve its future. Repeat until the shutdown."""
        while (item := self._next(number, jobs_of)) is not None:
            job, future = item
            try:
                self._run(number, job)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)

    def _next(self, number: int, jobs_of: Waiting) -> Item | None:
        """Wait for a job. A worker for which the GPU has no room waits for that first."""
        if self._packings and number < self._workers:
            self._packings[self._gpu(number)].wait(self._mates(number).index(number))
        return jobs_of.get(number)

    def _run(self, number: int, job: Job) -> None:
        """Have a job run. If its worker dies or runs out of memory, try it once more.

        The second try is alone on this machine's workers if memory may have run out. Whoever says that the
        job shares its GPU has others there, too.
        """
        mates = job.device == "cuda" and len(self._mates(number)) > 1
        beside = replace(job, shares_gpu=job.shares_gpu or mates)
        try:
            with self._room.shared():
                return self._ask(number, beside)
        except (WorkerDied, StageError) as error:
            if not self._worth_a_retry(error):
                raise
            out_of_memory = error.memory
        try:
            if out_of_memory:
                with self._room.alone():
                    if beside.shares_gpu:
                        self._dismiss_others(number)
                    return self._ask(number, job)
            with self._room.shared():
                self._ask(number, beside)
        except (WorkerDied, StageError) as error:
            if not self._worth_a_retry(error):
                raise
            alone = out_of_memory and not job.shares_gpu
            message = f"{error}, twice, the second time alone" if alone else f"{error}, twice"
            if error.memory:
                message += "; it may need more memory than there is, so try a smaller batch"
            error.args = (message,)
            jobs.record(job, error)
            raise

    def _dismiss_others(self, number: int) -> None:
        """End the other workers on the GPU, which hold memory at rest. Each starts again with a job."""
        for other in self._mates(number):
            if other != number and other in self._processes:
                worker_process.kill(self._processes[other])

    def _worth_a_retry(self, error: WorkerDied | StageError) -> bool:
        """Whether another try may succeed: the worker died or ran out of memory, and no shutdown runs."""
        return not self._closing and (isinstance(error, WorkerDied) or error.memory)

    def _worker(self, number: int) -> Process:
        """Return the worker process of a thread. Start another if it is dead."""
        for _ in range(STARTS):
            with self._lock:
                if self._closing:
                    raise WorkerDied("the run is being ended")
                process = self._processes.get(number)
                if process is not None and process.poll() is None:
                    return process
                if process is not None:
                    worker_process.reap(process)
                process = self._processes[number] = worker_process.start(self._environment(number))
            if worker_process.ready(process):
                return process
            ending = worker_process.ending(worker_process.kill(process))
        raise StageError(f"a worker process {ending} while starting, {STARTS} times in a row")

    def _environment(self, number: int, rank: int = 0) -> dict[str, str]:
        """Return the variables that a process of a worker has beside those of this process: its GPUs.

        rank: of the process. Each computes on the first GPU that it sees, and sees those of the others too.
        """
        if not self._gpus:
            return {}
        gpus = self._gpus[self._gpu(number)] if number < self._workers else ()
        return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[rank:] + gpus[:rank])}

    def _ask(self, number: int, job: Job) -> None:
        """Have a worker run a job. Raise the error that it answers, or WorkerDied if it ends first."""
        process = self._worker(number)
        limit = TimeLimit(process, self._stage_timeout)
        environments = [self._environment(number, rank) for rank in range(1, job.processes)]
        helpers = Helpers(process, job, environments)
        try:
            if self._answered(number, process, helpers.first_job, limit):
                return
            helpers.explain()
        except StageError as error:
            # The worker may never give back the memory it holds, never use its GPU again, and never leave
            # the other processes of the job.
            together = job.processes > 1 and job.device == "cuda"
            if error.memory or error.device_lost or together:
                worker_process.kill(process)
            raise
        except (Garbled, KeyError, TypeError):  # also for JSON that only looks like an answer
            worker_process.kill(process)
            _fail(job, f"{jobs.who(job)} wrote into the channel on which its worker answers")
        finally:
            limit.end()
            helpers.end()
        code = process.wait()
        if limit.exceeded:
            _fail(
                job,
                f"{jobs.who(job)} ran for more than {self._stage_timeout:g} s and was stopped; "
                "raise --stage-timeout, or leave its methods out",
            )
        if isinstance(helpers.error, StageError):
            jobs.record(job, helpers.error)
        raise helpers.error or worker_process.died(code, job)

    def _answered(self, number: int, process: Process, job: Job, limit: TimeLimit) -> bool:
        """Send a job to a worker and wait for its answer. Return False if the worker ends first."""
        assert process.stdout is not None
        worker_process.send(process, job)
        for line in process.stdout:
            answer = worker_process.read(line)
            if "begun" in answer:
                limit.begin()
                self._on_progress(job.key, 0, 0, 0)
            elif "progress" in answer:
                self._on_progress(job.key, *answer["progress"])
            elif "failure" in answer:
                raise as_error(answer["failure"])
            elif "done" in answer and job.key in Store(Path(job.store)):
                if self._packings and answer["memory"]:
                    self._packings[self._gpu(number)].learn(**answer["memory"])
                return True
            else:
                raise Garbled
        return False


def _fail(job: Job, message: str) -> None:
    """Record a failure of a job and raise it as StageError."""
    error = StageError(message)
    jobs.record(job, error)
    raise error from None
