"""Where stages are computed: in this process, in worker processes of this machine, or on a cluster.

An executor takes jobs and returns futures (`engine.Executor`). A job says what it needs by `job.device`: one
core, or one GPU. Inputs and results are in the store, which all processes see under one path.

A factory makes an executor. It is called as `factory(engine, workers, on_progress)`:

engine: the options of the user (`engine.Engine`), such as `engine.options` and `engine.device`.
workers: how many workers the run asks for.
on_progress: is called with the progress of a job, as far as the executor knows it (`engine.OnProgress`).

It returns an executor, or a `concurrent.futures.Executor`, which `pool.Pool` turns into one. The user names a
factory by `--executor`: as NAME, which a plugin registers by the hook `register_executors`, or as
MODULE:FACTORY. A class of `concurrent.futures.Executor` may stand for a factory. It is called with `workers`.
"""
