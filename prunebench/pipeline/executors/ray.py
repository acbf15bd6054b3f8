"""Jobs on Ray: a cluster that runs already, or a Ray that is started on this machine."""

from __future__ import annotations

import os
import signal
import socket
import threading
from concurrent import futures
from concurrent.futures import Future
from functools import cache
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.pipeline.executors.engine import Engine, OnProgress
from prunebench.pipeline.executors.pool import Pool

SECONDS = 10  # for a cluster to answer
SIGNALS = (signal.SIGINT, signal.SIGTERM)  # that Ray answers in its own way
RETRIES = 3  # of a task whose worker, or whose machine, is lost


class _Tasks(futures.Executor):
    """An executor of Ray tasks, each with a core or a share of a GPU. A task has the name of its stage.

    On a core it asks for the memory that such stages took before. On a GPU it asks for none, as only the
    memory of the GPU was counted there.

    ray: the module.
    gpus: the share of a GPU that a task takes, 0..1.
    """

    def __init__(self, ray: Any, gpus: float) -> None:
        self._ray = ray
        # Ray schedules the tasks of one remote function together, however many there are.
        self._remote = cache(ray.remote)
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        # Ray would wait for ever for more than a machine has.
        self._memory = max((machine.get("memory", 0) for machine in machines), default=0)
        self._options = {"num_cpus": 0 if gpus else 1, "num_gpus": gpus, "max_retries": RETRIES}
        self._tasks: dict[Future[Any], Any] = {}

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        """Submit a task. Its first argument are the fields of a `Job`."""
        job = arguments[0]
        options = self._options | {"name": f"{job['kind']} {job['title']}"}
        if job["device"] == "cpu" and job["memory"] and self._memory:
            options["memory"] = min(job["memory"], self._memory)
        task = self._remote(function).options(**options).remote(*arguments, **named)
        future: Future[Any] = task.future()
        self._tasks[future] = task
        future.add_done_callback(lambda done: self._tasks.pop(done, None))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel all tasks. Those under way end by themselves."""
        for task in list(self._tasks.values()):
            self._ray.cancel(task)


def ray(engine: Engine, workers: int, _on_progress: OnProgress) -> Pool:
    """Return an executor on the Ray cluster that the user named, or on a Ray that is started here.

    The address is the option `address`, or else the variable RAY_ADDRESS.

    Raise PrunebenchError if Ray is missing, the cluster does not answer, or it has no GPU where stages need
    one.
    """
    engine.check_options("address")
    each = per_gpu(engine)
    ray = engine.package("ray", "ray")
    address = engine.options.get("address") or os.environ.get("RAY_ADDRESS")
    if address:
        _check_answers(address)
    workers = max(1, workers)
    own: dict[str, Any] = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        ray.init(**({"address": address} if address else own), log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        raise PrunebenchError(f"--executor ray: {str(error).splitlines()[0]}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():  # Ray would abort the process
                signal.signal(number, handler)
    carriers = {"cpu": _Tasks(ray, gpus=0)}
    found = ray.cluster_resources()
    if engine.device == "cuda":
        if not found.get("GPU"):
            ray.shutdown()
            raise PrunebenchError("--device cuda: the Ray cluster has no GPU; use --device cpu")
        carriers["cuda"] = _Tasks(ray, gpus=1 / each)
        workers = int(found["GPU"]) * each
    elif address:
        workers = int(found.get("CPU", 1))
    return Pool(engine, workers, carriers, ray.shutdown, shares_gpu=each > 1)


def _check_answers(address: str) -> None:
    """Raise PrunebenchError if nothing listens at HOST:PORT. Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), SECONDS).close()
        except (OSError, OverflowError) as error:
            raise PrunebenchError(f"--executor ray: no cluster at {address} ({error})") from None


def per_gpu(engine: Engine) -> int:
    """Return how many tasks share a GPU. Raise PrunebenchError for a number that a cluster cannot measure."""
    if engine.workers_per_gpu == "auto":
        raise PrunebenchError(
            "--workers-per-gpu auto measures GPUs of this machine; name a number for --executor ray"
        )
    return engine.workers_per_gpu or 1
