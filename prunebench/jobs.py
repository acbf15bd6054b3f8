"""Doing one job: make its artefact under the lock of its key, and store it with what it cost."""

from __future__ import annotations

import platform
import re
import subprocess
import time
import traceback
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prunebench.errors import MissingArtefactError, PrunebenchError
from prunebench.making import MAKERS, Bench
from prunebench.parts import Progress
from prunebench.stages import Job
from prunebench.store import Store

GIT_SECONDS = 5  # after which a git that does not answer counts as none


def run(job: Job, progress: Progress) -> None:
    """Make the stage of `job` and store it, unless somebody else just did.

    Raise whatever the stage raises, after recording the failure; MissingArtefactError for an input
    that has to be made again.
    """
    store = Store(Path(job.store))
    with store.lock(job.key):
        if job.key in store:
            return
        started = time.perf_counter()
        memory = _PeakMemory(job.device)
        try:
            artefact = MAKERS[job.kind](Bench(job, store, progress))
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
            "device": job.device,
            "device_name": device_name(job.device),
            "versions": versions(),
            "commit": commit(),
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        store.write(job.key, artefact, manifest)


def failure(error: BaseException) -> dict[str, Any]:
    """Describe an error as JSON: its message, its traceback, and which input has to be made again."""
    expected = isinstance(error, PrunebenchError)
    return {
        "message": str(error) if expected else f"{type(error).__name__}: {error}",
        "missing": error.key if isinstance(error, MissingArtefactError) else None,
        "traceback": "".join(traceback.format_exception(error)),
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
def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    return {"python": platform.python_version()} | {p: version(p) for p in ("prunebench", "torch", "numpy")}


@cache
def commit() -> str | None:
    """Return the commit of the source tree prunebench runs from; None for an installed package, or no git."""
    here = Path(__file__).parent.parent
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
