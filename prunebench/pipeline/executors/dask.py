"""Jobs on a Dask cluster: one that runs already, or workers that are started on this machine."""

from __future__ import annotations

import os
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.pipeline.executors.engine import Engine, OnProgress
from prunebench.pipeline.executors.pool import Pool

SECONDS = 30  # for a scheduler to answer
GPU = "GPU"  # the resource that a Dask worker with a GPU offers


def dask(engine: Engine, workers: int, _on_progress: OnProgress) -> Pool:
    """Return an executor on the cluster of a scheduler, or on workers that are started here.

    The address of the scheduler is the option `address`, or else the variable DASK_SCHEDULER_ADDRESS.

    Raise PrunebenchError if distributed is missing, the scheduler does not answer, or no worker has a GPU
    where stages need one.
    """
    engine.check_options("address")
    engine.check_whole_gpus()
    distributed = engine.package("distributed", "dask")
    address = engine.options.get("address") or os.environ.get("DASK_SCHEDULER_ADDRESS")
    if address:
        try:
            client = distributed.Client(address, timeout=SECONDS)
        except (OSError, ValueError) as error:
            raise PrunebenchError(f"--executor dask: no scheduler at {address} ({error})") from None
        return _on(client, engine, sum(client.nthreads().values()))
    if engine.device == "cuda":
        raise PrunebenchError(
            "--executor dask starts workers without GPUs on this machine; use --executor local for its GPUs, "
            "or name a cluster: --executor-option address=tcp://HOST:8786"
        )
    workers = max(1, workers)
    cluster = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    return _on(distributed.Client(cluster), engine, workers, cluster)


def _on(client: Any, engine: Engine, workers: int, cluster: Any = None) -> Pool:
    """Return an executor on a cluster. At the end it leaves the cluster, and closes it if it is ours."""

    def end() -> None:
        client.close()
        if cluster is not None:
            cluster.close()

    carriers = {"cpu": client.get_executor()}
    if engine.device == "cuda":
        described = client.scheduler_info(n_workers=-1)["workers"].values()
        gpus = sum(int(worker["resources"].get(GPU, 0)) for worker in described)
        if not gpus:
            end()
            raise PrunebenchError(
                "--device cuda: no worker of the Dask cluster offers a GPU; start each with one GPU and "
                "--resources GPU=1"
            )
        carriers["cuda"] = client.get_executor(resources={GPU: 1})
        workers = gpus
    return Pool(engine, workers, carriers, end)
