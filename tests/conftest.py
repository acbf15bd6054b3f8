"""Fixtures of all tests: temporary folders, a toy dataset, functions that add plugins and run commands."""
# ruff: noqa: E402 - torch and BLAS read the environment when they are loaded

import os

# More threads change results.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # idle threads sleep, not spin
os.environ["PRUNEBENCH_PLUGINS"] = ""

import importlib
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from prunebench.cli import main as command_line
from prunebench.errors import DataAbsentError
from prunebench.parts import registry
from prunebench.parts.dataset import Dataset, DatasetInfo
from prunebench.parts.hookspecs import hookimpl
from prunebench.parts.method import Method
from prunebench.photos import cost
from prunebench.photos import formats as photo_formats
from prunebench.pipeline import context
from prunebench.pipeline.executors.inline import InlineExecutor
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.store import Store
from prunebench.results import record
from prunebench.results.rows import Result
from prunebench.suites import resolve, schema
from prunebench.suites.cells import Filters
from prunebench.system import cores
from prunebench_plugins import kept
from prunebench_plugins.datasets.io import blocks, decoding, pixel_cache
from tests.plugins.albums import Album

# Versions

NEW_TORCH = (2, 14)  # the oldest torch that makes the digits that tests compare, and has all that they use


def pytest_collection_modifyitems(config, items):
    """Skip what is marked `new_torch` with an older one. On a GPU leave out what does not take `device`."""
    if config.getoption("--device") != "cpu":
        config.hook.pytest_deselected(items=[item for item in items if "device" not in item.fixturenames])
        items[:] = [item for item in items if "device" in item.fixturenames]
    version = tuple(map(int, torch.__version__.split(".")[:2]))
    for item in items:
        if version < NEW_TORCH and item.get_closest_marker("new_torch"):
            item.add_marker(pytest.mark.skip(reason=f"needs torch {NEW_TORCH[0]}.{NEW_TORCH[1]}"))


# The device


def pytest_addoption(parser):
    """`pytest --device cuda tests/nn tests/plugins` runs the tests that take `device` on a GPU."""
    parser.addoption("--device", choices=("cpu", "cuda"), default="cpu", help="of tests of parts and nn")


@pytest.fixture
def device(request):
    """Where parts and networks compute: "cpu", or what --device says. Digits of a CPU do not hold there."""
    return request.config.getoption("--device")


# The environment


@pytest.fixture(autouse=True)
def hermetic(tmp_path, monkeypatch):
    """Keep the user's store, data and plugins out of the tests, and what other tests picked."""
    kept._picks.clear()
    kept._values.clear()
    monkeypatch.setenv("PRUNEBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PRUNEBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PRUNEBENCH_PLUGINS", "")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def heard():
    """Let children hear signals even where these tests run in the background or under nohup, deaf to some."""
    deaf = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in deaf.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


# A dataset


@dataclass(frozen=True, kw_only=True)
class Toy(Dataset):
    """64 training and 32 test images, gray, 8 x 8 pixels, four classes. Each class has one bright quarter."""

    name: str = "toy"
    classes: ClassVar = ("a", "b", "c", "d")
    info: ClassVar = DatasetInfo(resolution=8, mean=(0.5,), std=(0.25,))
    recipes: ClassVar = {
        "tiny": {
            "network": "cnn",
            "epochs": 4,
            "batch": 16,
            "warmup": 0.2,
            "dual": {"window": 2, "epochs": 4},
            "beta": {"epochs": 4},
            "el2n": {"stop": 4},
        }
    }

    def files(self, root):
        path = root / "toy.npy"
        if not path.is_file():
            raise DataAbsentError(f"toy is not in {root}: write toy.npy.")
        return [path]

    def load(self, root, split):
        part = slice(64) if split == "train" else slice(64, 96)
        images = np.load(self.files(root)[0])
        labels = np.arange(96) % 4
        return images[part], labels[part]


@pytest.fixture
def toy(tmp_path, offer):
    """The toy dataset, registered, with its file in the data folder."""
    labels = np.arange(96) % 4
    bright = np.kron(np.eye(4).reshape(4, 1, 2, 2)[labels], np.ones((4, 4)))
    noise = np.random.default_rng(0).integers(100, size=(96, 1, 8, 8))
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "toy.npy", (100 * bright + noise).astype(np.uint8))
    offer(Toy(), owner="toys")
    yield Toy()
    context.load_split.cache_clear()


# Plugins


@pytest.fixture
def offer(monkeypatch):
    """offer(*items, owner=...) registers parts, datasets and methods, as the hooks of a plugin would."""
    entries = []
    installed_entries = registry._entry_points

    def offered(*items, owner="stranger"):
        hooks = {}
        for kind, base in registry.KINDS.items():
            of_kind = []
            for item in items:
                item_class = item if isinstance(item, type) else type(item)
                if issubclass(item_class, base):
                    of_kind.append(item)
            hooks[f"register_{kind}"] = _hook(f"register_{kind}", of_kind)
        load = lambda: SimpleNamespace(**hooks)  # noqa: E731
        entry = SimpleNamespace(name="parts", value="no_module_of_its_own", load=load)
        entries.append((owner, "1.0", entry))
        registry.load.cache_clear()
        return registry.load()

    monkeypatch.setattr(registry, "_entry_points", lambda found: [*installed_entries(found), *entries])
    yield offered
    registry.load.cache_clear()


def _hook(name, items):
    def hook():
        return items

    hook.__name__ = name
    return hookimpl(hook)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install(name, source) puts a plugin with one entry point on the path, here and in child processes."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)

    def installed(name, source):
        (site / f"{name}.py").write_text(source)
        metadata = site / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[prunebench]\nparts = {name}\n")
        monkeypatch.delenv("PRUNEBENCH_PLUGINS", raising=False)
        importlib.invalidate_caches()
        registry.load.cache_clear()
        return site / f"{name}.py"

    yield installed
    registry.load.cache_clear()
    for name in set(sys.modules) - before:
        if (site / f"{name}.py").exists():
            del sys.modules[name]


# Cells and how to run them


@pytest.fixture
def matrix(toy, tmp_path, store):
    """matrix(*methods, ratios=, seeds=, ...) is the matrix of these methods or names on the toy dataset."""

    def build(*methods, ratios=(50,), seeds=(0,), changes=None, device="cpu", **keys):
        parts = registry.load()
        new = {method.name: method for method in methods if isinstance(method, Method)}
        parts.found["methods"] |= new
        names = [*new, *(method for method in methods if isinstance(method, str))]
        keys = {"datasets": ["toy"], "recipe": "tiny"} | keys
        file = schema.SuiteFile(title="T", methods=names, ratios=list(ratios), seeds=list(seeds), **keys)
        suite = schema.Suite("toys", file, tmp_path / "toys.toml")
        cells = resolve.cells(suite, Filters(changes=changes or {}), parts)
        return Matrix(cells, store, tmp_path / "data", device)

    return build


@pytest.fixture
def make():
    """make(matrix) runs the missing stages in this process. It returns stages, rows and failures."""

    def run(matrix):
        stages = []
        rows = []

        def on_cell(cell):
            rows.append(record.row(matrix, cell))

        executor = InlineExecutor(lambda *_progress: None)
        failures = matrix.run(executor, matrix.missing(), stages.append, on_cell)
        messages = {cell.name: str(error) for cell, error in failures.items()}
        return SimpleNamespace(stages=stages, rows=rows, failures=messages)

    return run


# The command line


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """cli("list scorers") runs a command in this process and a new folder. It returns code, out, err."""
    monkeypatch.chdir(tmp_path)

    def run(line):
        monkeypatch.setattr(sys, "argv", ["prunebench", *line.split()])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            command_line.main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=end.value.code or 0, out=out, err=err)

    return run


@pytest.fixture
def spawn(tmp_path):
    """spawn("run ...") starts a command in a child process that leads a group. It returns a Popen.

    through: the words of a command that starts it, such as unshare.
    """
    processes = []

    def start(line, through=(), **environment):
        process = subprocess.Popen(
            [*through, sys.executable, "-m", "prunebench", *line.split()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers too: one would keep the pipes open
        process.communicate()


@pytest.fixture
def process(spawn):
    """process("list scorers") runs a command in a child process. It returns code, out, err."""

    def run(line, **environment):
        started = spawn(line, **environment)
        out, err = started.communicate(timeout=120)
        return SimpleNamespace(code=started.returncode, out=out, err=err)

    return run


SUITE = """
title = "Toys"
datasets = ["toy"]
methods = ["random", "el2n_supervised"]
ratios = [50]
seeds = 2
recipe = "tiny"
"""


@pytest.fixture
def suite_file(tmp_path):
    """suite_file(text) writes toys.toml into the folder of `cli`. By default it is a small toy suite."""

    def write(text=SUITE, name="toys.toml", more=""):
        path = tmp_path / name
        path.write_text(text + more)
        return str(path)

    return write


# Results


@pytest.fixture
def row():
    """row(accuracy=90.0, seed=1, ...) is a result with these values and defaults for the others."""

    def build(**values):
        defaults = {
            "suite": "toys",
            "method": "random",
            "title": values.get("method", "random").title(),
            "method_key": "k",
            "dataset": "toy",
            "dataset_hash": "d" * 64,
            "recipe": "tiny",
            "repeats": "pipeline",
            "tuning": "default",
            "ratio": 50,
            "seed": 0,
            "accuracy": 80.0,
            "best_accuracy": 81.0,
            "balanced_accuracy": 79.0,
            "worst_decile_recall": 70.0,
            "images": 64,
            "kept": 32,
            "kept_per_class": [8, 8, 8, 8],
            "lost_classes": 0,
            "label_fraction": 0.0,
            "label_draw": None,
            "labels_selection": 0,
            "labels_training": 32,
            "labels_total": 32,
            "seconds": {"subset": 0.5, "accuracy": 2.0},
            "gpu_seconds": {},
            "device": "cpu",
            "device_name": "x86_64",
            "subset_key": "s",
            "accuracy_key": "a",
            "protocol_version": 1,
            "versions": {"torch": "2"},
            "commit": None,
            "date": "2026-01-01T00:00:00Z",
        }
        return Result(**defaults | values)

    return build


# Files


@pytest.fixture
def without_heic(monkeypatch):
    """The package that reads photos of phones is not there."""
    monkeypatch.setattr(photo_formats, "reads_heic", lambda: False)
    for table in (photo_formats.formats, photo_formats.unread):
        table.cache_clear()
    yield
    for table in (photo_formats.formats, photo_formats.unread):
        table.cache_clear()


@pytest.fixture(autouse=True)
def short_probes(monkeypatch):
    """What photos would take is told from a few images: tests that ask how good it is take more."""
    few = {"ENOUGH": 0.0, "EMBEDDED": (1, 2), "SEEN": 5, "COMPARED": 50}
    for name, value in few.items():
        monkeypatch.setattr(cost, name, value)


@pytest.fixture
def album(tmp_path, monkeypatch):
    """Photos that are kept on disk however small they are, two to a thread and to a line of the journal."""
    monkeypatch.setattr(decoding, "SMALL", 0)
    monkeypatch.setattr(decoding, "_RECENT", {})
    monkeypatch.setattr(blocks, "CHUNK_SIZE", 2)
    monkeypatch.setattr(cores, "cores", lambda: 1)
    monkeypatch.setattr(pixel_cache, "JOURNAL_BYTES", 1)
    return Album(tmp_path / "photos", tmp_path / "data")


@pytest.fixture
def write(tmp_path):
    """write("s.npy", values), or write("s.csv", text): the path of the file."""

    def written(name, content):
        path = tmp_path / name
        if path.suffix == ".npy":
            np.save(path, np.asarray(content))
        elif path.suffix == ".pt":
            torch.save(content, path)
        else:
            path.write_text(content)
        return path

    return written
