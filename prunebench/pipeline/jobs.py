"""Doing one job: make its artefact under the lease of its key, and store it with what it cost."""

from __future__ import annotations

import platform
import re
import subprocess
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from prunebench.errors import BusyError, MissingArtefactError, PrunebenchError
from prunebench.parts import registry
from prunebench.parts.artefacts import Artefact
from prunebench.parts.base import Progress
from prunebench.pipeline.context import Context
from prunebench.pipeline.job import Job
from prunebench.pipeline.stages import STAGES
from prunebench.pipeline.store import Store, versions
from prunebench.system.isolation import isolated
from prunebench.system.leases import Lease

GIT_SECONDS = 5  # after which a git that does not answer counts as none


def who(job: Job) -> str:
    """Name whose code a job runs: a part with its distribution, or the stage itself."""
    part = job.identity.get("part")
    if part is None:
        return f"the stage {job.kind} of {job.title}"
    return registry.load().described(part["kind"], part["part"])


def run(job: Job, progress: Progress, begun: Callable[[], None] = lambda: None) -> None:
    """Make the stage of `job` and store it, unless somebody else just did.

    `begun` is called once nobody else makes it. Raise whatever the stage raises, after recording the failure;
    MissingArtefactError for an input that has to be made again; BusyError where another process makes it
    or took over its making.
    """
    store = Store(Path(job.store).absolute())  # wherever a part goes
    with store.lease(job.key, f"{job.kind} {job.title}") as lease:
        if job.key in store:
            return
        begun()
        started = time.perf_counter()
        memory = _PeakMemory(job.device)
        context = Context(job, store, _while_held(lease, job.key, progress))
        artefacts = _made(job, context, lease)
        manifest = {
            "kind": job.kind,
            "title": job.title,
            "identity": job.identity,
            "inputs": job.inputs,
            "seconds": round(time.perf_counter() - started, 4),
            "peak_bytes": memory.peak(),
            "micro_batch": context.micro_batch,
            "device": job.device,
            "device_name": device_name(job.device),
            "versions": versions(),
            "commit": commit(),
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        store.write(job.key, artefacts, manifest)


def _while_held(lease: Lease, key: str, progress: Progress) -> Progress:
    """Return a `progress` that raises BusyError once the lease is lost: no need to go on."""

    def progressed(done: int, total: int) -> None:
        if lease.lost:
            raise BusyError(key)
        progress(done, total)

    return progressed


def _made(job: Job, context: Context, lease: Lease) -> tuple[Artefact, ...]:
    """Make what a stage makes, and drop it where the lease is lost meanwhile: raise BusyError."""
    kind = next(kind for kind in STAGES if kind.kind == job.kind)
    try:
        with isolated(who(job)):
            artefacts = kind.of_job(job, context.dataset).compute(context)
    except (BusyError, MissingArtefactError):
        raise
    except Exception as error:
        if not lease.held():
            raise BusyError(job.key) from error
        context.store.fail(job.key, {"title": job.title, "kind": job.kind, **failure(error)})
        raise
    if not lease.held():
        raise BusyError(job.key)
    return artefacts


def failure(error: BaseException) -> dict[str, Any]:
    """Describe an error as JSON: its message, its traceback, and which artefact it waits for, and why.

    memory: whether the machine had too little of it.
    """
    message = str(error) if isinstance(error, PrunebenchError) else f"{type(error).__name__}: {error}"
    if type(error).__name__ == "OutOfMemoryError":  # of torch, in many sentences
        message = f"{message.splitlines()[0]}; free the GPU, lower the part's batch, or use --device cpu"
    return {
        "message": message,
        "missing": error.key if isinstance(error, MissingArtefactError) else None,
        "busy": error.key if isinstance(error, BusyError) else None,
        "traceback": "".join(traceback.format_exception(error)),
        # What torch raises for lack of memory on a CPU is known by its words alone.
        "memory": isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate" in str(error),
    }


class _PeakMemory:
    """Peak memory of the process, or on CUDA of the device since this was made, in bytes."""

    def __init__(self, device: str) -> None:
        self.device = device
        if device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int | None:
        """Return the peak; None where the system does not tell, as Windows."""
        if self.device == "cuda":
            import torch

            return int(torch.cuda.max_memory_allocated())
        try:
            import resource
        except ImportError:
            return None
        scale = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


@cache
def device_name(device: str) -> str:
    """Return the model of the GPU, or the architecture of the CPU."""
    if device == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    return platform.machine()


@cache
def commit() -> str | None:
    """Return the commit of the source tree prunebench runs from; None for an installed package, or no git."""
    here = Path(__file__).parents[2]
    if not (here / ".git").exists():
        return None
    # The folder is named, so that neither a variable of git's nor another owner makes it look elsewhere.
    asked = ["git", f"--git-dir={here / '.git'}", "rev-parse", "--verify", "HEAD"]
    try:
        told = subprocess.run(
            asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=GIT_SECONDS
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    found = told.stdout.strip()
    return found if re.fullmatch(r"[0-9a-f]{40,64}", found) else None
