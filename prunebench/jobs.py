"""Doing one job: make its artefact under the lock of its key, and store it with what it cost."""

from __future__ import annotations

import platform
import subprocess
import time
import traceback
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prunebench import registry
from prunebench.errors import MissingArtefactError, PrunebenchError
from prunebench.isolation import isolated
from prunebench.making import MAKERS, Bench
from prunebench.parts import Progress
from prunebench.stages import Job
from prunebench.store import Store


def who(job: Job) -> str:
    """Name whose code a job runs: a part with its distribution, or the stage itself."""
    part = job.identity.get("part")
    if part is None:
        return f"the stage {job.kind} of {job.title}"
    return registry.load().described(part["kind"], part["part"])


def run(job: Job, progress: Progress, begun: Callable[[], None] = lambda: None) -> None:
    """Make the stage of `job` and store it, unless somebody else just did.

    `begun` is called once nobody else makes it. Raise whatever the stage raises, after recording the failure;
    MissingArtefactError for an input that has to be made again.
    """
    store = Store(Path(job.store).absolute())  # wherever a part goes
    author = who(job)
    with store.lock(job.key):
        if job.key in store:
            return
        begun()
        started = time.perf_counter()
        memory = _PeakMemory(job.device)
        try:
            bench = Bench(job, store, progress)
            with isolated(author):
                artefact = MAKERS[job.kind](bench)
        except MissingArtefactError:
            raise
        except Exception as error:
            store.fail(job.key, {"title": job.title, "kind": job.kind, **failure(error)})
            raise
        manifest = {
            "kind": job.kind,
            "title": job.title,
            "identity": job.identity,
            "inputs": job.inputs,
            "seconds": round(time.perf_counter() - started, 4),
            "peak_bytes": memory.peak(),
            "micro_batch": bench.micro_batch,
            "device": job.device,
            "device_name": device_name(job.device),
            "versions": versions(),
            "commit": commit(),
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        store.write(job.key, artefact, manifest)


def failure(error: BaseException) -> dict[str, Any]:
    """Describe an error as JSON: its message, its traceback, and which input has to be made again.

    memory: whether the machine had too little of it.
    """
    message = str(error) if isinstance(error, PrunebenchError) else f"{type(error).__name__}: {error}"
    if type(error).__name__ == "OutOfMemoryError":  # of torch, in many sentences
        message = f"{message.splitlines()[0]}; free the GPU, lower the part's batch, or use --device cpu"
    return {
        "message": message,
        "missing": error.key if isinstance(error, MissingArtefactError) else None,
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

    def peak(self) -> int:
        if self.device == "cuda":
            import torch

            return int(torch.cuda.max_memory_allocated())
        import resource

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
def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    return {"python": platform.python_version()} | {p: version(p) for p in ("prunebench", "torch", "numpy")}


@cache
def commit() -> str | None:
    """Return the commit of the source tree prunebench runs from; None for an installed package."""
    here = Path(__file__).parent.parent
    if not (here / ".git").exists():
        return None
    asked = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True)
    return asked.stdout.strip() or None
