"""Uses a GPU for a few minutes: is it right, and how fast is it.

    python -m benchmarks.gpu --minutes 9 --out gpu_findings --data DATA
    python -m benchmarks.gpu --rehearse --out rehearsal   # tiny, on a pretended GPU, which no machine lacks

Phases run one after another, the most valuable first. A phase gets its share of the minutes that are left, so
what one does not use goes to the others. Each is a process of its own: one that hangs, or loses the GPU, ends
alone. Each finding is a line of JSON in OUT/findings.jsonl. The same command again skips the phases that are
complete there, and begins the others anew.

It needs the root of a checkout as working folder, prunebench and its dependencies, and pytest for the tests.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from signal import SIGKILL
from typing import Any

from benchmarks.gpu.session import GRACE, Findings, Session
from prunebench.errors import PrunebenchError, positive, unknown
from prunebench.runs.places import folder
from prunebench.system import signals
from prunebench.system.isolation import ONE_THREAD

SHARES = {  # of the minutes, by phase: a module of this folder with a generator `findings`
    "tests": 15,
    "steps": 40,
    "graph": 12,
    "labelers": 12,
    "packing": 8,
    "ahead": 6,
    "parts": 12,
    "rows": 20,
}
LEAST = 5.0  # seconds in which a phase may find anything


def main() -> None:
    """Run the phases that are asked for and not complete."""
    os.environ |= ONE_THREAD
    try:
        with signals.interruptible():
            run_all(parsed())
    except PrunebenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(signals.INTERRUPTED, file=sys.stderr)
        sys.exit(signals.STOPPED)


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__, formatter_class=form)
    parser.add_argument("--minutes", type=float, default=9.0, help="for all phases [default: %(default)s]")
    parser.add_argument("--out", type=Path, default=Path("gpu_findings"), help="folder of what is found")
    parser.add_argument("--data", type=Path, help="folder of datasets, as of prunebench run")
    parser.add_argument("--phases", default=",".join(SHARES), help="names, with commas [default: all]")
    parser.add_argument("--rehearse", action="store_true", help="on a pretended GPU, with tiny sizes")
    return parser.parse_args()


def run_all(options: argparse.Namespace) -> None:
    """Run phases until all are complete or the minutes are over. Say which are not complete.

    Raise PrunebenchError if there is no GPU, or another one than the findings are of.
    """
    positive("--minutes", options.minutes)
    phases = chosen(options.phases)
    end = time.monotonic() + 60 * options.minutes
    out, data = options.out.absolute(), folder("data", options.data)
    session = Session(out=out, data=data, rehearse=options.rehearse, deadline=end)
    context = get_context("forkserver")  # a server that imports once, and never touches the GPU itself
    context.set_forkserver_preload([f"benchmarks.gpu.{name}" for name in SHARES])
    with ProcessPoolExecutor(1, context) as pool:
        machine = pool.submit(described, session).result()
    findings = opened(out, machine["device"])
    left = [name for name in phases if name not in findings.complete()]
    for place, name in enumerate(left):
        now = time.monotonic()
        seconds = (end - now) * SHARES[name] / sum(SHARES[later] for later in left[place:])
        if seconds >= LEAST:
            findings.add(name, begun=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **machine)
            run_one(name, replace(session, deadline=now + seconds), context)
    missing = [name for name in left if name not in findings.complete()]
    if missing:
        print(f"not complete: {', '.join(missing)}. The same command begins them anew.", file=sys.stderr)


def chosen(text: str) -> list[str]:
    """Return the phases that are named, in the order of `SHARES`. Raise PrunebenchError for another name."""
    names = text.split(",")
    for name in names:
        if name not in SHARES:
            raise unknown("phase", name, SHARES, "python -m benchmarks.gpu --help")
    return [name for name in SHARES if name in names]


def described(session: Session) -> dict[str, Any]:
    """Return the GPU, the versions and the commit. Raise PrunebenchError if there is no GPU."""
    import torch

    from prunebench.pipeline.jobs import commit, device_name
    from prunebench.pipeline.store import versions

    session.prepare()
    if not torch.cuda.is_available():
        raise PrunebenchError(
            f"this machine has no GPU that torch {torch.__version__} can use; run this on one that has, "
            "or with --rehearse on a pretended one"
        )
    cores = len(os.sched_getaffinity(0))
    return {"device": device_name("cuda"), "cores": cores, **versions(), "commit": commit()}


def opened(out: Path, device: str) -> Findings:
    """Return the findings of a folder, which is made. Raise PrunebenchError if they are of another GPU."""
    out.mkdir(parents=True, exist_ok=True)
    findings = Findings(out)
    others = findings.devices() - {device}
    if others:
        raise PrunebenchError(
            f"{findings.path} has findings of {', '.join(sorted(others))}, but this machine has {device}; "
            "choose another --out"
        )
    return findings


def run_one(name: str, session: Session, context: ForkServerContext) -> None:
    """Run a phase in a process of its own, and end what it leaves behind."""
    process = context.Process(target=work, args=(name, session))
    process.start()
    try:
        process.join(session.left + 2 * GRACE)
    finally:
        process.kill()
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, SIGKILL)
        process.join()
    if process.exitcode:
        Findings(session.out).add(name, ended="failed", reason=f"its process ended with {process.exitcode}")


def work(name: str, session: Session) -> None:
    """Run a phase in this process, which leads a group from now on."""
    os.setpgrp()
    session.prepare()
    module = import_module(f"benchmarks.gpu.{name}")
    collect(name, module.findings(session), session)


def collect(name: str, found: Iterator[dict[str, Any]], session: Session) -> None:
    """Write what a phase finds, until its deadline, and how it ended."""
    findings, begin = Findings(session.out), time.monotonic()
    outcome = {"ended": "complete"}
    try:
        for finding in found:
            findings.add(name, **finding)
            if not session.left:
                outcome = {"ended": "cut off"}
                break
    except Exception as error:
        outcome = {"ended": "failed", "reason": f"{type(error).__name__}: {error}"}
    findings.add(name, **outcome, seconds=time.monotonic() - begin)
