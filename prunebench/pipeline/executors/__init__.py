"""Engines that run jobs. An executor's `submit(job)` returns a future; all truth lives in the store."""
