"""Keys hold all that changes a result and nothing else, and the same cell is the same everywhere: 21, 22."""

import os
import re
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import prunebench.pipeline.stage
from prunebench import Method
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.stages import STAGES
from prunebench_plugins.labelers.propagate import Propagate
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.selectors.beta import Beta
from tests.faults.toys import SMALL, differing, finished

fault = pytest.mark.fault
pytestmark = pytest.mark.timeout(1200)
METHOD = Method(
    "m",
    title="M",
    labeler=Propagate(backbone="pixels"),
    scorer=Dual(window=2, epochs=4),
    selector=Beta(epochs=4, c_d=4.0),
)
CHAIN = ("known_labels", "embeddings", "labels", "dynamics", "scores", "subset", "accuracy")
WHOLE = st.integers(1, 1000)
RECIPE = {
    **dict.fromkeys(("epochs", "iterations", "batch", "evaluate_every", "crop", "final_iterations"), WHOLE),
    **{name: st.floats(0.001, 0.9) for name in ("lr", "final_lr", "warmup", "momentum", "weight_decay")},
    **{name: st.booleans() for name in ("shrink_batch", "nesterov", "flip")},
    **dict.fromkeys(("network", "final_network"), st.sampled_from(["resnet8", "resnet18_cifar", "wrn_28_2"])),
    "padding": st.sampled_from(["reflect", "zero"]),
    "side": st.integers(4, 8),
    "evaluate_steps": WHOLE,
}
FIELDS = {
    "propagate.label_fraction": st.floats(0.05, 0.9),
    "propagate.neighbors": WHOLE,
    "propagate.alpha": st.floats(0.01, 0.98),
    "dual.window": st.integers(2, 4),
    "dual.epochs": st.integers(2, 1000),
    "beta.epochs": WHOLE,
    "beta.c_d": st.floats(1, 20),
    **{f"recipe.{name}": values for name, values in RECIPE.items()},
}
MATTERS = st.one_of(
    *[st.tuples(st.just(path), values) for path, values in FIELDS.items()],
    st.tuples(st.just("ratio"), st.integers(1, 99)),
    st.tuples(st.just("seed"), WHOLE),
    st.tuples(st.just("torch"), st.integers(3, 9)),
    st.tuples(st.just("byte"), st.integers(0, 96 * 64 - 1)),
    st.tuples(st.sampled_from([f"stage {kind}" for kind in CHAIN]), st.integers(100, 200)),
    st.tuples(st.sampled_from(["version Propagate", "version Dual", "version Beta"]), st.integers(100, 200)),
)
CLASSES = {cls.__name__: cls for cls in (Propagate, Dual, Beta)}


@pytest.fixture
def key(matrix, toy, tmp_path, monkeypatch):
    """key(name=value) is the key of the final training, with one thing changed; key() as it is."""
    file = tmp_path / "data" / "toy.npy"
    content = file.read_bytes()

    def found(name="", value=None, *others, **more):
        changes, given = {}, {}
        with monkeypatch.context() as patch:
            if "." in name:
                changes[name] = value
            elif name in ("ratio", "seed"):
                given[f"{name}s"] = [value]
            elif name == "torch":
                patch.setattr(prunebench.pipeline.stage, "torch_major", lambda: str(value))
            elif name == "byte":
                pixels = np.load(file)
                pixels.reshape(-1)[value] ^= 1
                np.save(file, pixels)
                os.utime(file, ns=(value, value))
            elif name.startswith("stage "):
                stage = next(stage for stage in STAGES if stage.kind == name.removeprefix("stage "))
                patch.setattr(stage, "version", value)
            elif name.startswith("version "):
                patch.setattr(CLASSES[name.removeprefix("version ")], "version", value)
            chosen = matrix(METHOD, *others, changes=changes, **given | more)
            for attribute in ("store", "data"):
                if attribute in more:
                    setattr(chosen, attribute, more[attribute])
            ours = [stage.key for cell, stage in chosen.graph.targets.items() if cell.method.name[0] == "m"]
        if name == "byte":
            file.write_bytes(content)
        return ours[0]

    return found


@fault(21, "a field, version, stage, seed, ratio, byte of the data or torch that changes")
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=MATTERS)
def test_what_changes_a_result_changes_its_key(key, count, change):
    name, value = change
    assume(at_present(name) != value)
    count.times += 1
    assert key(name, value) != key()


def at_present(name):
    """Return the value that something has before it is changed."""
    part, _, field = name.partition(".")
    if part == "recipe":
        tiny = {"network": "cnn", "epochs": 4, "batch": 16, "warmup": 0.2}
        return tiny.get(field, next(entry.default for entry in fields(Recipe) if entry.name == field))
    parts = {"propagate": METHOD.labeler, "dual": METHOD.scorer, "beta": METHOD.selector}
    return getattr(parts[part], field) if field else {"ratio": 50, "seed": 0}.get(name)


@fault(21, "a worker, device, title, other method or other order that changes")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    others=st.lists(st.sampled_from(["random", "el2n_supervised", "aum_supervised"]), unique=True),
    seeds=st.permutations([0, 1, 2]),
    device=st.sampled_from(["cpu", "cuda"]),
    environment=st.dictionaries(
        st.sampled_from(["OMP_NUM_THREADS", "TZ", "LC_ALL", "COLUMNS"]), st.just("7")
    ),
)
def test_what_changes_no_result_changes_no_key(key, monkeypatch, count, others, seeds, device, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    place = seeds.index(0)
    count.times += 1
    assert key("", None, *others, seeds=[0, *seeds[:place]], device=device) == key()


READER = """
from dataclasses import dataclass
from pathlib import Path
from prunebench import Scorer, hookimpl
from reader_helper import formula

@dataclass(frozen=True, kw_only=True)
class Reader(Scorer):
    name = "reader"

    def score(self, dynamics):
        return formula(dynamics)

@hookimpl
def register_scorers():
    return [Reader]
"""
HELPER = "def formula(dynamics):\n    return dynamics.margin.mean(axis=0)\n"
MINE = """
title = "Mine"
datasets = ["digits"]
methods = ["mine"]
ratios = [90]
seeds = 1
recipe = "tiny"
[method.mine]
labeler = "ground_truth"
scorer = "reader"
selector = "top"
"""


@fault(21, "the code of a plugin, or of a module that it imports, that changes")
def test_the_code_of_a_plugin_and_of_its_helpers_is_in_its_keys(
    install, process, suite_file, tmp_path, count
):
    path = install("reader", READER)
    helper = path.with_name("reader_helper.py")
    helper.write_text(HELPER)
    line = f"plan --each --suite {suite_file(MINE)}"

    def keys(**environment):
        planned = process(line, **environment).out
        return dict(re.findall(r"^digits +(\w+) .* ([0-9a-f]{12}) +\d+ +\d+ ", planned, flags=re.MULTILINE))

    before = keys()
    assert {"scores", "subset", "accuracy"} <= before.keys()
    assert keys(PYTHONHASHSEED="7", OMP_NUM_THREADS="3") == before
    edits = [
        (path, READER.replace("formula(dynamics)", "1 * formula(dynamics)")),
        (helper, HELPER + "\nX = 1"),
    ]
    for file, text in edits:
        file.write_text(text)
        count.times += 1
        after = keys()
        assert after["dynamics"] == before["dynamics"]
        assert all(after[kind] != before[kind] for kind in ("scores", "subset", "accuracy")), file.name
        before = after


# 22. The same everywhere

ELSEWHERE = {
    "in this process": (0, {}),
    "one worker": (1, {}),
    "three workers": (3, {}),
    "another order of hashes": (1, {"PYTHONHASHSEED": "7"}),
    "four threads": (1, {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}),
    "another zone and language": (1, {"TZ": "Asia/Tokyo", "LC_ALL": "C"}),
}


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=[pytest.mark.slow] if n else []) for n, how in enumerate(ELSEWHERE)]
)
@fault(22, "a run with other workers, threads, hashes, zone or language")
def test_a_matrix_is_the_same_to_the_byte(small, undisturbed, spawn, count, how):
    workers, environment = ELSEWHERE[how]
    run = spawn(small.line(workers=workers), **environment)
    errors = finished(run)
    assert run.returncode == 0, errors
    count.times += 1
    count.lost += len(differing(small, undisturbed(SMALL)))
