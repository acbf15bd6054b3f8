"""Executors run jobs. `submit(job)` returns a future, and the result of the job is in the store."""
