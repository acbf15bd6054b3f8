"""Stages in this very process, one after the other."""

from __future__ import annotations

from concurrent.futures import Future

from prunebench.pipeline import jobs
from prunebench.pipeline.executors.engine import Tell, as_error
from prunebench.pipeline.job import Job


class InlineExecutor:
    """Makes each job in this process, on one thread, when it is submitted."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def submit(self, job: Job) -> Future[None]:
        """Make a job now and return a finished future."""
        import torch  # noqa: F401 - so that its settings are the user's again afterwards

        future: Future[None] = Future()
        try:
            jobs.run(job, lambda done, total: self._tell(job.key, done, total))
        except Exception as error:
            future.set_exception(as_error(jobs.failure(error)))
        else:
            future.set_result(None)
        return future

    def shutdown(self) -> None:
        """Nothing to end."""
