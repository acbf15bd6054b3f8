"""An executor that runs stages in this process, one after the other."""

from __future__ import annotations

from concurrent.futures import Future

from prunebench.parts import work
from prunebench.pipeline import jobs
from prunebench.pipeline.executors.engine import OnProgress, as_error
from prunebench.pipeline.job import Job


class InlineExecutor:
    """Runs each job in this process, on one thread, as soon as it is submitted."""

    workers = 1

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress

    def submit(self, job: Job) -> Future[None]:
        """Run a job now and return a finished future."""
        # Settings of torch are only restored after a stage if torch was imported before it.
        import torch  # noqa: F401

        future: Future[None] = Future()

        def progress(done: int, total: int) -> None:
            self._on_progress(job.key, done, total, work.seen())

        try:
            jobs.run(job, progress, lambda: progress(0, 0))
        except Exception as error:
            future.set_exception(as_error(jobs.failure(error)))
        else:
            future.set_result(None)
        return future

    def shutdown(self) -> None:
        """Do nothing: no job runs outside `submit`."""
