"""Engines: whatever carries a stage, the result is the same, and what is lost on the way is made again."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from prunebench.errors import PrunebenchError
from prunebench.pipeline.executors import factory, gpus, pool, ray, remote
from prunebench.pipeline.executors.engine import Engine, StageError, WorkerDied, as_error
from prunebench.pipeline.executors.factory import executor
from prunebench.pipeline.executors.inline import InlineExecutor
from prunebench.pipeline.executors.pool import Pool
from prunebench.pipeline.forecast import forecast_from_store
from prunebench.pipeline.job import Job
from prunebench.pipeline.store import Store
from prunebench.runs.run import run_matrix
from prunebench.runs.select import choose, shard
from prunebench.suites.cells import Filters

ROOT = Path(__file__).parents[2]
SUITE = """
title = "Digits"
datasets = ["digits"]
methods = ["random", "deadly"]
ratios = [80, 90]
seeds = 1
recipe = "tiny"
[method.deadly]
selector = "top"
scorer = {part = "deadly", note = "NOTE"}
"""

# The parent of the process that makes a stage is the one that a cluster gave us.
DEADLY = """
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from prunebench import Scorer, hookimpl

@dataclass(frozen=True, kw_only=True)
class Deadly(Scorer):
    name = "deadly"
    note: str

    def score(self, images):
        with Path(self.note).open("a") as note:
            note.write("x")
        while Path(self.note).with_name("hold").exists():
            time.sleep(0.05)
        kill = Path(self.note).with_name("kill")
        if kill.exists():
            kill.unlink()
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()
        return np.arange(float(len(images)))

@hookimpl
def register_scorers():
    return [Deadly]
"""

# The name of an engine, its options, and the package that it needs.
ENGINES = {
    "threads": ("concurrent.futures:ThreadPoolExecutor", {}, None),
    "dask": ("dask", {}, "distributed"),
    "processes": ("concurrent.futures:ProcessPoolExecutor", {}, None),
    "loky": ("loky:ProcessPoolExecutor", {}, "loky"),
    "ray": ("ray", {}, "ray"),
    "slurm": ("slurm", {"cluster": "local"}, "submitit"),
    "slurm itself": ("slurm", {}, "submitit"),
}
CLUSTERS = ("dask", "ray", "slurm", "slurm itself")
# Packages warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("default")


def engine(name, **more):
    """Return an engine with two workers. Skip the test if its package is not there."""
    executor_name, options, package = ENGINES[name]
    if package is not None:
        pytest.importorskip(package)
    if name == "slurm itself" and not slurm_answers():
        pytest.skip("no node of a Slurm answers; .ci/slurm starts one")
    return Engine(name=executor_name, options=options, workers=2, **more)


@cache
def slurm_answers():
    """Whether a Slurm is here, and a node of it takes jobs."""
    if shutil.which("sbatch") is None:
        return False
    nodes = subprocess.run(
        ["sinfo", "--noheader", "--states=idle,mixed", "--format=%N"], capture_output=True, timeout=60
    )
    return bool(nodes.stdout.strip())


@pytest.fixture
def digits(install, suite_file, tmp_path, monkeypatch):
    """digits("here") is a matrix of four cells with the store `here`."""
    install("deadly", DEADLY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # an engine may be anywhere on it
    path = suite_file(SUITE.replace("NOTE", str(tmp_path / "note")))
    filters = Filters(changes={"recipe.epochs": 1})

    def chosen(store, **more):
        return choose(path, replace(filters, **more), device="cpu", store=tmp_path / store)

    return chosen


def run(matrix, engine):
    """Run a matrix and return how many stages were made."""
    before = set(payloads(matrix.store))
    assert run_matrix(matrix, forecast_from_store(matrix), None, engine) == {}
    return len(set(payloads(matrix.store)) - before)


def payloads(store):
    """Return the digest of every stored payload, by its path in the store."""
    found = store.root.glob("??/*/payload.safetensors")
    return {str(path.relative_to(store.root)): hashlib.sha256(path.read_bytes()).digest() for path in found}


def all_is_well(store):
    assert [*store.root.glob("runs/*"), *store.root.glob("leases/*"), *store.root.glob("making/*")] == []


@pytest.mark.parametrize("name", ENGINES)
def test_results_are_the_same_whatever_carries_the_stages(digits, name):
    """And none is made again where another engine made it."""
    chosen = engine(name)
    one, other = digits("one"), digits("other")
    made = run(one, Engine(workers=0))
    assert run(shard(other, 1, 2), chosen) + run(other, Engine(workers=0)) == made
    assert payloads(other.store) == payloads(one.store)
    assert run(one, chosen) == 0
    all_is_well(other.store)


@pytest.mark.slow
def test_one_store_serves_all_engines_that_are_here(digits):
    """Each makes a share of the cells, and nothing that another has made."""
    here = [name for name, (_, _, package) in ENGINES.items() if package is None or find_spec(package)]
    engines = [Engine(workers=1), Engine(workers=2), *map(engine, here)]
    ratios = [*range(10, 10 + len(engines))]  # two cells of each, so each share has two
    alone, shared = digits("alone", ratios=ratios), digits("shared", ratios=ratios)
    made = run(alone, Engine(workers=0))
    count = len(engines)
    shares = [run(shard(shared, number + 1, count), engines[number]) for number in range(count)]
    assert min(shares) > 0 and sum(shares) == made
    assert payloads(shared.store) == payloads(alone.store)
    assert [run(shared, each) for each in engines] == [0] * count
    all_is_well(shared.store)


@pytest.mark.slow
def test_a_machine_that_ray_loses_costs_the_stage_under_way_alone(digits, spawn, tmp_path):
    """Machines are pretended by raylets. One is killed in the middle of a stage, with all its workers."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    matrix, hold, note = digits("store"), tmp_path / "hold", tmp_path / "note"
    hold.touch()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        line = f"run --suite {tmp_path}/toys.toml --set recipe.epochs=1 --device cpu --executor ray"
        process = spawn(f"{line} --executor-option address={cluster.address}")
        # Only then a second machine comes, so that the run belongs to the first, which stays.
        until(lambda: [*matrix.store.root.glob("runs/*")] or process.poll() is not None)
        machine = cluster.add_node(num_cpus=1)
        until(lambda: note.exists() or process.poll() is not None)
        before = whole(matrix.store)
        cluster.remove_node(machine, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        hold.unlink()
        _, err = process.communicate(timeout=300)
    finally:
        cluster.shutdown()
    assert process.returncode == 0, err
    assert matrix.missing() == {}
    assert note.read_text() == "xx"
    assert before and before.items() <= whole(matrix.store).items()
    all_is_well(matrix.store)


def whole(store):
    """Return when each entry was made, by its manifest."""
    return {path: path.stat().st_mtime_ns for path in store.root.glob("??/*/manifest.json")}


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_stage_whose_process_the_cluster_loses_is_made_again(digits, name, tmp_path):
    (tmp_path / "kill").touch()
    matrix = shard(digits("here"), 1, 4)
    assert run(matrix, engine(name)) == len(matrix.graph.stages)
    assert (tmp_path / "note").read_text() == "xx"
    all_is_well(matrix.store)


# A process that makes stages can lose a GPU that is not there.
LOSABLE = """
import sys
if any("executors.worker" in word for word in sys.orig_argv):
    from prunebench.pipeline import jobs
    jobs.device_lost = lambda device: hasattr(sys, "lost_gpu")
"""
LOSING = """
import sys
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from prunebench import Scorer, hookimpl

@dataclass(frozen=True, kw_only=True)
class Losing(Scorer):
    name = "losing"
    once: str
    cell: int

    def score(self, images):
        if Path(self.once).exists():
            Path(self.once).unlink()
            sys.lost_gpu = True
        if hasattr(sys, "lost_gpu"):
            raise RuntimeError("CUDA error: device-side assert triggered")
        return np.arange(float(len(images)))

@hookimpl
def register_scorers():
    return [Losing]
"""


@pytest.mark.parametrize("name", ["threads", *CLUSTERS])
def test_a_process_that_lost_its_gpu_makes_no_further_stage(install, suite_file, tmp_path, monkeypatch, name):
    """Every later call of CUDA would fail there, whatever stage made it."""
    monkeypatch.setattr(remote, "_WORKERS", remote._Workers())  # those at rest know of no such plugin
    chosen = replace(engine(name), workers=1)
    install("losing", LOSING).with_name("sitecustomize.py").write_text(LOSABLE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    head = SUITE.partition("[method.deadly]")[0].replace('"random", "deadly"', '"m1", "m2", "m3"')
    table = f"selector = 'top'\nscorer = {{part = 'losing', once = '{tmp_path}/once', cell = "
    path = suite_file(head, more="".join(f"[method.m{n}]\n{table}{n}}}\n" for n in (1, 2, 3)))
    matrix = choose(
        path, Filters(ratios=[80], changes={"recipe.epochs": 1}), device="cpu", store=tmp_path / "here"
    )
    (tmp_path / "once").touch()
    failures = run_matrix(matrix, forecast_from_store(matrix), None, chosen)
    (message,) = map(str, failures.values())
    assert "CUDA error: device-side assert triggered" in message
    assert len(matrix.missing()) == 3  # scores, subset and accuracy of one cell


def until(holds, seconds=120):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


def alive(path):
    """Return the processes whose command line names a path."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(path).encode() in command.read_bytes():
                found.append(command.parent.name)
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes there")
@pytest.mark.parametrize("name", ENGINES)
def test_a_signal_ends_all_processes_of_a_run(digits, spawn, name, tmp_path):
    chosen = engine(name)
    (tmp_path / "hold").touch()
    options = "".join(f" --executor-option {option}={value}" for option, value in chosen.options.items())
    line = f"run --suite {tmp_path}/toys.toml --methods deadly --set recipe.epochs=1 --device cpu --workers 2"
    process = spawn(f"{line} --executor {chosen.name}{options}")
    until(lambda: (tmp_path / "note").exists() or process.poll() is not None)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Interrupted. The same command goes on from here.\n" in err
    until(lambda: not alive(tmp_path))
    assert [*(tmp_path / "store" / "runs").iterdir()] == []


# Slurm

SAVING = """
import time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from prunebench import Scorer, hookimpl

@dataclass(frozen=True, kw_only=True)
class Saving(Scorer):
    name = "saving"
    note: str

    def score(self, images, checkpoint):
        step = (checkpoint.load() or {"step": 0})["step"]
        with Path(self.note).open("a") as note:
            note.write(f"{step} ")
        hold = Path(self.note).with_name("hold")
        while step < 5 or hold.exists():
            step += 1
            checkpoint.save({"step": step})
            time.sleep(0.1)
        return np.arange(float(len(images)))

@hookimpl
def register_scorers():
    return [Saving]
"""


@pytest.fixture
def saving(install, suite_file, tmp_path, monkeypatch):
    """A matrix of four cells. The scores of two of them are made step by step."""
    install("saving", SAVING)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    path = suite_file(SUITE.replace("NOTE", str(tmp_path / "note")).replace("deadly", "saving"))
    (tmp_path / "hold").touch()
    return choose(path, Filters(changes={"recipe.epochs": 1}), device="cpu", store=tmp_path / "store")


def task_of(pid):
    """Return the number of the task of Slurm to which a process of this machine belongs."""
    given = Path(f"/proc/{pid}/environ").read_text().split("\0")
    words = dict(word.split("=", 1) for word in given if word.startswith("SLURM_"))
    if "SLURM_ARRAY_JOB_ID" not in words:  # an array of one
        return words["SLURM_JOB_ID"]
    return f"{words['SLURM_ARRAY_JOB_ID']}_{words['SLURM_ARRAY_TASK_ID']}"


@pytest.mark.slow  # Slurm lets a task wait for two minutes before it begins again
@pytest.mark.parametrize(
    ("how", "workers"),
    [
        ("scontrol requeue TASK", 1),
        ("scancel --signal=USR2 TASK", 1),  # as Slurm does before the time limit
        ("sbatch --partition=urgent --exclusive --output=/dev/null --wrap=true", 1),  # preempts it
        ("scontrol requeue TASK", 2),
        ("scancel TASK", 2),
    ],
)
def test_a_stage_whose_task_slurm_takes_away_goes_on_from_its_checkpoint(saving, tmp_path, how, workers):
    chosen, note = replace(engine("slurm itself"), workers=workers), tmp_path / "note"
    scores = next(stage for stage in saving.graph.stages.values() if "saving" in stage.title)
    resting = {key for key, stage in saving.graph.stages.items() if scores in stage.ancestors()}
    with ThreadPoolExecutor(1) as beside:
        made = beside.submit(run, saving, chosen)
        until(lambda: scores.key in saving.store.begun() or made.done())
        if workers == 2:  # the other task makes all the rest
            until(lambda: saving.missing().keys() == resting)
        before = payloads(saving.store)
        task = task_of(saving.store.being_made()[scores.key].facts["pid"])
        subprocess.run(how.replace("TASK", task).split(), check=True)
        until(lambda: len(note.read_text().split()) == 2, 200)
        (tmp_path / "hold").unlink()
        assert made.result(100) == len(saving.graph.stages)
    begun, resumed = map(int, note.read_text().split())
    assert begun == 0 and resumed > 0
    assert payloads(saving.store).items() >= before.items()
    all_is_well(saving.store)


def line_of(tmp_path, chosen, *more):
    """Return a command on the matrix of `saving` by an engine."""
    options = [f"--executor-option {option}={value}" for option, value in chosen.options.items()]
    words = [
        "run",
        f"--suite {tmp_path}/toys.toml --set recipe.epochs=1 --device cpu --results {tmp_path}/rows",
    ]
    return " ".join([*words, f"--executor {chosen.name}", f"--workers {chosen.workers}", *options, *more])


def test_what_a_command_leaves_to_tasks_another_collects(saving, process, tmp_path):
    chosen = engine("slurm")
    (tmp_path / "hold").unlink()
    left = process(line_of(tmp_path, chosen, "--leave"))
    assert left.code == 0, left.err
    said = rf"Slurm job \d+ makes {len(saving.graph.stages)} stages\. See prunebench status; .* collects the"
    assert re.match(said, left.out)
    assert not [*tmp_path.rglob("rows/results/*/*/*.jsonl")]
    until(lambda: not saving.missing())
    until(lambda: not alive(tmp_path / "store"))
    made = payloads(saving.store)
    again = process(line_of(tmp_path, chosen, "--leave"))
    assert again.out.startswith("All stages are stored: the same command without --leave collects the rows")
    collected = process(line_of(tmp_path, chosen))
    assert collected.code == 0 and collected.out.count("stored") == len(saving.cells)
    assert [*tmp_path.rglob("rows/results/*/*/*.jsonl")]
    assert payloads(saving.store) == made


def test_commands_join_the_tasks_that_slurm_has_already(saving, process, spawn, tmp_path):
    chosen = engine("slurm itself")
    job = re.match(r"Slurm job \d+", process(line_of(tmp_path, chosen, "--leave")).out)[0]
    scores = next(stage for stage in saving.graph.stages.values() if "saving" in stage.title)
    until(lambda: scores.key in saving.store.begun())
    suite = f"--suite {tmp_path}/toys.toml --set recipe.epochs=1 --device cpu"
    assert f"{job}: tasks running " in process(f"status {suite}").out
    assert process(line_of(tmp_path, chosen, "--leave")).out.startswith(job)
    interrupted = spawn(line_of(tmp_path, chosen))
    until(lambda: "random" in interrupted.stdout.readline())
    interrupted.terminate()
    assert interrupted.wait(60) == 130
    (tmp_path / "hold").unlink()
    collected = process(line_of(tmp_path, chosen))
    assert collected.code == 0, collected.err
    assert (tmp_path / "note").read_text() == "0 "  # one task made it, once
    assert not saving.missing() and not alive(tmp_path / "store")
    assert [*(tmp_path / "store" / "slurm").iterdir()] == []
    all_is_well(saving.store)


def test_only_slurm_goes_on_without_the_command(saving, cli, tmp_path):
    (tmp_path / "hold").unlink()
    told = cli(line_of(tmp_path, Engine(name="dask", workers=1), "--leave"))
    assert told.err == "Error: --leave: --executor dask ends with the command; use slurm\n"
    for option in ("--certify", "--until-separated", "--budget 5h"):
        told = cli(line_of(tmp_path, Engine(name="slurm", workers=1), "--leave", option))
        assert "leave out --leave" in told.err


# What a factory may make


class Carrier(ThreadPoolExecutor):
    """Loses the first jobs that it is given."""

    losses = 0

    def submit(self, function, /, *arguments):
        if Carrier.losses:
            Carrier.losses -= 1
            return super().submit(sys.exit, 3)
        return super().submit(function, *arguments)


def carrier(engine, workers, on_progress):
    """Make a pool of threads, as a plugin might."""
    return Carrier(workers)


def test_a_job_that_is_lost_once_is_carried_again_and_named_if_it_is_lost_twice(digits, monkeypatch):
    monkeypatch.setitem(factory.EXECUTORS, "carrier", carrier)
    chosen, matrix = Engine(name="carrier", workers=1), digits("here")
    Carrier.losses = 1
    run(shard(matrix, 1, 4), chosen)
    Carrier.losses = 2
    failures = run_matrix(shard(matrix, 4, 4), forecast_from_store(matrix), None, chosen)
    (message,) = failures.values()
    (lost,) = (matrix.store.failure(key) for key in matrix.graph.stages if matrix.store.failure(key))
    assert message == lost["message"]
    assert message.startswith("--executor carrier lost ") and message.endswith(": SystemExit: 3")


def test_the_example_of_the_documents_is_a_plugin_and_a_factory(digits, install, tmp_path, monkeypatch):
    (text,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "scale.md").read_text(), re.DOTALL)
    install("my_pool", text)
    one, other = digits("here"), digits("there")
    asked = {"options": {"most": "1"}, "workers": 2}
    assert run(shard(one, 4, 4), Engine(name="threads", **asked)) > 0
    assert run(shard(other, 4, 4), Engine(name="my_pool:threads", **asked)) > 0
    assert payloads(one.store) == payloads(other.store)


def test_a_plugin_registers_executors(install):
    source = "from prunebench import hookimpl\n@hookimpl\ndef register_executors(): return {'mine': MAKE}\n"
    install("mine", source.replace("MAKE", "lambda engine, workers, on_progress: NotImplemented"))
    with pytest.raises(PrunebenchError, match="mine made NotImplementedType, expected submit, shutdown and"):
        executor(Engine(name="mine"), 1, print)
    with pytest.raises(PrunebenchError, match=r"no executor named 'mime'\. Did you mean 'mine'\?"):
        executor(Engine(name="mime"), 1, print)
    install("greedy", source.replace("'mine': MAKE", "'dask': print"))
    with pytest.raises(PrunebenchError, match="executor 'dask' is offered by prunebench and by greedy"):
        executor(Engine(name="dask"), 1, print)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:make", "there is no such factory .ModuleNotFoundError"),
        ("concurrent.futures:Nobody", "there is no such factory .AttributeError"),
        ("a b:c", "expected NAME or MODULE:FACTORY"),
        ("math:sqrt", "cannot be started: TypeError"),
    ],
)
def test_a_factory_that_is_none_is_named(name, message):
    with pytest.raises(PrunebenchError, match=message):
        executor(Engine(name=name), 1, print)


@pytest.mark.parametrize("name", ["local", "concurrent.futures:ThreadPoolExecutor", "dask", "ray"])
def test_options_that_no_executor_takes_are_named(name):
    with pytest.raises(PrunebenchError, match=f"no option of --executor {name} named 'adress'"):
        executor(Engine(name=name, options={"adress": "x"}), 1, print)


@pytest.mark.parametrize(("name", "module"), [("dask", "distributed"), ("ray", "ray"), ("slurm", "submitit")])
def test_a_package_that_is_missing_is_named_with_its_remedy(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PrunebenchError, match=rf"needs {module} .*; run: pip install 'prunebench\[{name}\]'"):
        executor(Engine(name=name), 1, print)


@pytest.mark.parametrize(
    ("name", "address"), [("dask", "tcp://127.0.0.1:9"), ("ray", "127.0.0.1:9"), ("ray", "ray://127.0.0.1:9")]
)
def test_a_cluster_that_does_not_answer_is_named(name, address, monkeypatch):
    chosen = replace(engine(name), options={"address": address})
    monkeypatch.setattr(sys.modules.get("prunebench.pipeline.executors.dask"), "SECONDS", 1)
    with pytest.raises(PrunebenchError, match=f"--executor {name}: no .* at {address}"):
        executor(chosen, 1, print)


@pytest.mark.parametrize("name", ["concurrent.futures:ThreadPoolExecutor", "dask", "slurm"])
def test_engines_that_give_whole_gpus_say_so(name):
    with pytest.raises(PrunebenchError, match="gives each stage a whole GPU; leave out --workers-per-gpu"):
        executor(Engine(name=name, workers_per_gpu=2), 1, print)


def test_ray_needs_a_number_of_workers_per_gpu():
    with pytest.raises(PrunebenchError, match="name a number for --executor ray"):
        executor(Engine(name="ray", workers_per_gpu="auto"), 1, print)


GONE = {"Alive": False, "Resources": {"memory": 9e9}}


class PretendedRay:
    """A cluster of one machine, beside one that is gone. It keeps the options of tasks, and runs none."""

    def __init__(self, **memory):
        self.asked = []
        self._nodes = [{"Alive": True, "Resources": {"CPU": 2.0, **memory}}, GONE]

    def nodes(self):
        return self._nodes

    def remote(self, _function):
        return self

    def options(self, **options):
        self.asked.append(options)
        return SimpleNamespace(remote=lambda *_arguments: SimpleNamespace(future=Future))


@pytest.mark.parametrize(
    ("machine", "gpus", "memory", "asked"),
    [
        ({"memory": 5e9}, 0, 3 * 10**9, 3 * 10**9),
        ({"memory": 5e9}, 0, 8 * 10**9, 5 * 10**9),  # else it would wait for ever
        ({"memory": 5e9}, 0, None, None),
        ({"memory": 5e9}, 0.5, 3 * 10**9, None),  # of the GPU
        ({}, 0, 3 * 10**9, None),
    ],
)
def test_a_task_of_ray_has_the_name_of_its_stage_and_asks_for_the_memory_of_such_stages(
    machine, gpus, memory, asked
):
    cluster = PretendedRay(**machine)
    device = "cuda" if gpus else "cpu"
    job = Job("scores", "0" * 64, "aum", {}, [], "digits", "", "", device, "root", memory=memory)
    carriers = {device: ray._Tasks(cluster, gpus)}
    carriers[device].submit(print, vars(job))
    (options,) = cluster.asked
    assert (options["name"], options.get("memory")) == ("scores aum", asked)
    assert (options["num_cpus"], options["num_gpus"]) == ((0, 0.5) if gpus else (1, 0))


def test_a_job_says_what_memory_such_stages_took(digits, monkeypatch):
    """Before this run, or in it."""
    told = {}

    class Noting(InlineExecutor):
        def submit(self, job):
            told.setdefault(job.title, []).append(job.memory)
            return super().submit(job)

    monkeypatch.setitem(factory.EXECUTORS, "noting", lambda *_: Noting(print_nothing))
    matrix = digits("here")
    run(shard(matrix, 1, 4), Engine(name="noting"))
    run(matrix, Engine(name="noting"))
    peaks = [matrix.store.manifest(key)["peak_bytes"] for key in matrix.graph.stages]
    trainings = next(memory for title, memory in told.items() if "epoch" in title)
    assert (len(trainings), trainings[0]) == (4, None)
    assert all(memory in peaks for memory in trainings[1:])


def print_nothing(*_progress):
    """Be told of progress."""


def test_a_dask_cluster_without_gpus_is_named():
    chosen = replace(engine("dask"), device="cuda")
    with pytest.raises(PrunebenchError, match="use --executor local for its GPUs"):
        executor(chosen, 1, print)
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        address = {"address": cluster.scheduler_address}
        with pytest.raises(PrunebenchError, match="no worker of the Dask cluster offers a GPU"):
            executor(replace(chosen, options=address), 1, print)


def test_a_job_goes_where_dask_has_a_gpu(digits):
    chosen = replace(engine("dask"), device="cuda")
    from distributed import LocalCluster

    gpu = {"resources": {"GPU": 1}, "processes": False, "dashboard_address": None}
    with LocalCluster(n_workers=1, threads_per_worker=3, **gpu) as cluster:
        matrix = digits("here")
        options = {"address": cluster.scheduler_address}
        joined = executor(replace(chosen, options=options, store=matrix.store.root), 1, print)
        assert joined.workers == 1
        error = joined.submit(replace(first_job(matrix), device="cuda")).exception(timeout=60)
        assert "the job needs a GPU, and this process sees none" in str(error)  # it got there
        joined.shutdown()


# The other end


def first_job(matrix):
    return next(matrix.job(stage) for stage in matrix.graph.stages.values() if not stage.inputs)


def test_a_machine_with_other_code_or_another_store_makes_nothing(digits, tmp_path):
    matrix = digits("here")
    job = vars(first_job(matrix))
    here = str(tmp_path / "run")
    (tmp_path / "run").touch()
    other = job | {"key": "0" * 64}
    told = [remote.run_job(*given, None)["message"] for given in ((other, here), (job, f"{here}2"))]
    assert "install the same prunebench" in told[0]
    assert "does not see the same --store" in told[1]
    assert not list(matrix.store.root.glob("??/*"))


def test_a_stage_is_given_up_once_the_run_is_over(digits, tmp_path, monkeypatch):
    note, ended = tmp_path / "run", []

    def submit(_job):
        note.unlink()
        return Future()  # that nobody ever resolves

    worker = SimpleNamespace(submit=submit, shutdown=lambda: ended.append("worker"))
    monkeypatch.setattr(remote, "LOOK", 0.01)
    monkeypatch.setattr(remote, "_WORKERS", remote._Workers())
    monkeypatch.setattr(remote, "LocalExecutor", lambda *_, **__: worker)
    note.touch()
    answer = remote.run_job(vars(first_job(digits("here"))), str(note), None)
    assert "the run is over" in answer["message"]
    assert ended == ["worker"]


def test_a_stage_that_fails_says_where_and_leaves_its_worker_at_rest(digits, tmp_path, monkeypatch):
    failed, ended = Future(), []
    failed.set_exception(StageError("not today", "a trace", memory=True))
    worker = SimpleNamespace(submit=lambda _job: failed, shutdown=lambda: ended.append("worker"))
    monkeypatch.setattr(remote, "_WORKERS", remote._Workers())
    monkeypatch.setattr(remote, "LocalExecutor", lambda *_, **__: worker)
    (tmp_path / "run").touch()
    answer = remote.run_job(vars(first_job(digits("here"))), str(tmp_path / "run"), None)
    error = as_error(answer)
    assert (str(error), error.trace, error.memory) == (f"not today (on {platform.node()})", "a trace", True)
    assert ended == []


def test_a_process_with_several_gpus_deals_them_out(monkeypatch):
    monkeypatch.setattr(gpus, "visible", lambda: ("2", "5"))
    workers = remote._Workers()
    with workers._gpu("cuda") as one, workers._gpu("cuda") as other:
        assert (one, other) == ("2", "5")
    with workers._gpu("cuda") as again, workers._gpu("cpu") as none:
        assert (again, none) == ("2", None)
    monkeypatch.setattr(gpus, "visible", lambda: ())
    with (
        pytest.raises(PrunebenchError, match="needs a GPU, and this process sees none"),
        workers._gpu("cuda"),
    ):
        raise AssertionError


def test_workers_at_rest_serve_again_and_end_after_a_while(monkeypatch):
    made, ended = [], []

    def worker(*_given, **_more):
        made.append(SimpleNamespace(shutdown=partial(ended.append, len(made))))
        return made[-1]

    monkeypatch.setattr(remote, "LocalExecutor", worker)
    monkeypatch.setattr(remote, "REST", 1000)
    workers = remote._Workers()
    with workers.borrowed("cpu", None) as one, workers.borrowed("cpu", None) as other:
        assert one is not other
    with workers.borrowed("cpu", None) as again:
        assert again in made[:2]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with workers.borrowed("cpu", None) as third:
        assert third is made[2]
        assert sorted(ended) == [0, 1]  # they see other GPUs
    monkeypatch.setattr(remote, "REST", 0.01)
    with workers.borrowed("cpu", None) as third:
        pass
    until(lambda: 2 in ended)
    assert sorted(ended) == [0, 1, 2]


def test_a_result_that_the_disk_shows_late_is_waited_for(store, monkeypatch):
    """And one that it never shows is a failure."""
    answered = Future()
    answered.set_result(None)
    carrier = SimpleNamespace(submit=lambda *_given: answered, shutdown=lambda wait: None)
    waiting = Pool(Engine(name="far", store=store.root), 1, {"cpu": carrier})
    job = Job("scores", "0" * 64, "late", {}, [], "digits", "", str(store.root), "cpu", "root")
    shown = iter([False, False, False, True])
    monkeypatch.setattr(Store, "__contains__", lambda *_given: next(shown))
    assert waiting.submit(job).result(timeout=10) is None

    monkeypatch.setattr(Store, "__contains__", lambda *_given: False)
    monkeypatch.setattr(pool.leases, "seconds", lambda: 0.1)
    error = waiting.submit(job).exception(timeout=10)
    assert isinstance(error, WorkerDied)
    assert str(error).startswith("--executor far lost scores late: PrunebenchError: its result is not in ")
    waiting.shutdown()
    all_is_well(store)


# Shares


def test_shares_are_disjoint_and_complete_and_neighbors_stay_together(digits):
    matrix = digits("here")
    for count in (1, 2, 3, 4, 7):
        shares = [shard(matrix, number, count).cells for number in range(1, count + 1)]
        assert sorted(cell.name for share in shares for cell in share) == sorted(
            cell.name for cell in matrix.cells
        )
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1
    halves = [{cell.method.name for cell in shard(matrix, number, 2).cells} for number in (1, 2)]
    assert [len(methods) for methods in halves] == [1, 1]


def test_the_same_cells_are_in_a_share_whatever_the_order(digits):
    matrix = digits("here")
    turned = replace(matrix, cells=matrix.cells[::-1])
    assert {*shard(matrix, 2, 3).cells} == {*shard(turned, 2, 3).cells}


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_a_share_that_is_none_is_named(cli, text):
    told = cli(f"run --suite quickstart --shard {text}")
    assert told.code == 2
    assert told.err == f"Error: --shard {text!r}: expected I/N, as 2/8 for the second of eight shares\n"


def test_shares_of_a_board_cannot_be_separated(cli):
    told = cli("run --suite quickstart --shard 1/2 --until-separated")
    assert "leave out --shard" in told.err
