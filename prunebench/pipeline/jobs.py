"""Running one job: compute its artefacts under the lease of its key, and store them with their cost."""

from __future__ import annotations

import platform
import re
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

from prunebench.errors import BusyError, MissingArtefactError, PartedError, PrunebenchError
from prunebench.parts import registry, work
from prunebench.parts.artefacts import Artefact
from prunebench.parts.base import Progress
from prunebench.parts.dataset import Dataset
from prunebench.pipeline.context import Context
from prunebench.pipeline.energy import Meter
from prunebench.pipeline.job import Job
from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages import STAGES
from prunebench.pipeline.store import Store, versions
from prunebench.system.heap import freed_memory_kept
from prunebench.system.isolation import isolated
from prunebench.system.leases import Lease

# What a plain RuntimeError says if torch ran out of memory: on the CPU, or in a library of the GPU.
LACKS = ("DefaultCPUAllocator: can't allocate", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
GIT_SECONDS = 5  # time-out of git; after it the commit counts as unknown


def who(job: Job) -> str:
    """Return the name of the code that a job runs: a part with its distribution, or the stage itself."""
    part = job.identity.get("part")
    if part is None:
        return f"the stage {job.kind} of {job.title}"
    return registry.load().described(part["kind"], part["part"])


def run(job: Job, progress: Progress, begun: Callable[[], None] = lambda: None) -> None:
    """Compute and store the stage of a job, unless another process just did.

    Of several processes that make it together only the first asks for the lease, reports and stores.

    progress: called with the steps done and the steps in all.
    begun: called once this process holds the lease and starts to compute.

    Record an exception of the stage as its failure, and raise it again.
    Raise MissingArtefactError if an input has to be made again.
    Raise BusyError if another process computes the stage, or took over its lease.
    Raise PartedError if another process of the job has ended.
    """
    store = Store(Path(job.store).absolute())  # a part may change the working folder
    if job.rank:
        _made(job, Context(job, store, lambda done, total: None))
        return
    with store.lease(job.key, f"{job.kind} {job.title}") as lease:
        if job.key in store:
            return
        begun()
        started = time.perf_counter()
        memory, meter = _PeakMemory(job.device), Meter(job.device)
        context = Context(job, store, _while_held(lease, job.key, progress))
        with work.counted() as done:
            artefacts, cpu_seconds = _computed(job, context, lease)
        manifest = {
            "kind": job.kind,
            "title": job.title,
            "identity": job.identity,
            "inputs": job.inputs,
            "seconds": round(time.perf_counter() - started + done.reused_seconds, 4),
            "work": {
                **done.values(),
                "cpu_seconds": round(cpu_seconds + done.reused_cpu_seconds, 4),
                **_energy(job, meter),
            },
            "peak_bytes": memory.peak(),
            "micro_batch": context.micro_batch,
            "device": job.device,
            "device_name": f"{job.processes} x " * (job.processes > 1) + device_name(job.device),
            "versions": versions(),
            "commit": commit(),
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        store.write(job.key, artefacts, manifest)


def stage_of(job: Job, dataset: Dataset) -> Stage:
    """Return the stage of a job."""
    kind = next(kind for kind in STAGES if kind.kind == job.kind)
    return kind.of_job(job, dataset)


def record(job: Job, error: Exception) -> None:
    """Record the failure of a job that no process could record while it ran."""
    what = {"title": job.title, "kind": job.kind, **failure(PrunebenchError(str(error)))}
    Store(Path(job.store)).fail(job.key, what)


def _energy(job: Job, meter: Meter) -> dict[str, float]:
    """Return the energy of a stage, or {} if nothing counts it, if others use the GPU, or it has several."""
    joules = None if job.shares_gpu or job.processes > 1 else meter.joules()
    return {} if joules is None else {"gpu_joules": joules}


def _while_held(lease: Lease, key: str, progress: Progress) -> Progress:
    """Return a `progress` that raises BusyError once the lease is lost, which ends a useless computation."""

    def checked(done: int, total: int) -> None:
        if lease.lost:
            raise BusyError(key)
        progress(done, total)

    return checked


def _computed(job: Job, context: Context, lease: Lease) -> tuple[tuple[Artefact, ...], float]:
    """Return what `_made` returns. Raise BusyError if the lease is lost meanwhile."""
    try:
        made = _made(job, context)
    except (BusyError, MissingArtefactError, PartedError):
        raise
    except Exception as error:
        if not lease.held():
            raise BusyError(job.key) from error
        context.store.fail(job.key, {"title": job.title, "kind": job.kind, **failure(error)})
        raise
    if not lease.held():
        raise BusyError(job.key)
    return made


def _made(job: Job, context: Context) -> tuple[tuple[Artefact, ...], float]:
    """Return the artefacts of a stage, and the CPU seconds of all processes that make it."""
    begun = time.process_time()
    with freed_memory_kept(), isolated(who(job)), _beside_others(job), _together(job) as total:
        artefacts = stage_of(job, context.dataset).compute(context)
        return artefacts, total(time.process_time() - begun)


@contextmanager
def _together(job: Job) -> Iterator[Callable[[float], float]]:
    """Have the processes of a job train together. Yield a function that adds up a number of each."""
    if job.processes == 1:
        yield lambda number: number
        return
    from prunebench.nn import processes

    with processes.joined(job.rank, job.processes, job.meeting, job.device):
        yield lambda number: processes.summed(number, job.device)


def _beside_others(job: Job) -> AbstractContextManager[None]:
    """Keep a training that shares its GPU from adapting to the memory that others leave."""
    if not job.shares_gpu:
        return nullcontext()
    from prunebench.nn.training import memory_shared

    return memory_shared()


def failure(error: BaseException) -> dict[str, Any]:
    """Return an error as JSON.

    message: for the user, see `registry.said`.
    missing: the key of an artefact that has to be made again, or None.
    busy: the key of an artefact that another process makes, or None.
    traceback: for an author of parts.
    memory: whether the machine or its GPU ran out of memory.
    """
    message = registry.said(error)
    out_of_gpu = type(error).__name__ == "OutOfMemoryError"
    if out_of_gpu:  # torch's own message goes on with what each process holds
        lack = message.partition(". GPU ")[0].removesuffix(".")
        message = f"{lack}; free the GPU, lower the part's batch, or use --device cpu"
    return {
        "message": message,
        "missing": error.key if isinstance(error, MissingArtefactError) else None,
        "busy": error.key if isinstance(error, BusyError) else None,
        "traceback": "".join(traceback.format_exception(error)),
        "memory": out_of_gpu or isinstance(error, MemoryError) or any(text in str(error) for text in LACKS),
    }


def device_lost(device: str) -> bool:
    """Whether this process can no longer use its GPU.

    After some errors of CUDA, such as a failed assertion on the device, every later call fails too.
    """
    if device != "cuda":
        return False
    import torch

    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def device_memory(device: str) -> dict[str, int] | None:
    """Return bytes of the GPU: the peak of the last stage, what is free now, and the total. None on a CPU.

    What torch keeps for later stages is given back first, so that others can have it.
    """
    if device != "cuda":
        return None
    import torch

    peak = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return {"peak": peak, "free": free, "total": total}


class _PeakMemory:
    """Peak memory in bytes: of the process, or on CUDA of the device since this object was created."""

    def __init__(self, device: str) -> None:
        self.device = device
        if device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int | None:
        """Return the peak, or None on systems that do not report it, such as Windows."""
        if self.device == "cuda":
            import torch

            return int(torch.cuda.max_memory_allocated())
        try:
            import resource
        except ImportError:
            return None
        scale = 1 if platform.system() == "Darwin" else 1024  # macOS reports bytes, Linux KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


@cache
def device_name(device: str) -> str:
    """Return the model of the GPU, or the model of the CPU and the vector instructions that torch uses on it.

    Both decide how sums are rounded, and so the last digits of all trainings.
    """
    import torch

    if device == "cuda":
        return str(torch.cuda.get_device_name())
    return f"{_cpu_model()}, {torch.backends.cpu.get_cpu_capability()}"


@cache
def _cpu_model() -> str:
    """Return the model of the CPU, or its architecture on systems that do not say."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


@cache
def commit() -> str | None:
    """Return the commit of the source tree, or None for an installed package or without git."""
    source = Path(__file__).parents[2]
    if not (source / ".git").exists():
        return None
    # With --git-dir, neither git's environment variables nor its owner check change the answer.
    command = ["git", f"--git-dir={source / '.git'}", "rev-parse", "--verify", "HEAD"]
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=GIT_SECONDS
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    commit_hash = answer.stdout.strip()
    return commit_hash if re.fullmatch(r"[0-9a-f]{40,64}", commit_hash) else None
