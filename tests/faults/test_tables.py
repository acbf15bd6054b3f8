"""What tables say of chance, and of rows that are hostile; what twenty thousand cells take: 24, 25, 27."""

import json
import os
import re
import resource
import subprocess
import sys

import numpy as np
import pytest

from prunebench.paper.claims import Cell, judged
from prunebench.parts.artefacts import Accuracy, Subset
from prunebench.photos.evaluate import Comparison
from prunebench.results.rows import path_of, read
from tests.faults.toys import Place, add

fault = pytest.mark.fault
pytestmark = pytest.mark.timeout(1800)


# 24. Chance

TRIALS = 1000
WRONG = 0.05  # of the verdicts, at most
# Among so many trials chance alone makes it so many more, in one of a thousand suites.
CHANCE = 3.1 * (WRONG * (1 - WRONG) / TRIALS) ** 0.5


@pytest.mark.parametrize("seeds", [2, 5, 10])
@fault(24, "two trainings that differ by chance alone, compared by `evaluate`")
def test_evaluate_seldom_takes_chance_for_a_gain(count, seeds):
    rng, wrong = np.random.default_rng(seeds), 0
    for _ in range(TRIALS):
        ours, random = 80 + rng.normal(size=(2, seeds)) + rng.normal(size=seeds)
        ran = Comparison(
            folder=None,
            images=0,
            labeled=0,
            kept=0,
            trained=(),
            tested=0,
            in_common=0,
            ours=tuple(ours),
            random=tuple(random),
        )
        wrong += "did better" in ran.verdict
        count.times += 1
    count.measured[f"wrong with {seeds} seeds"] = f"{100 * wrong / TRIALS:.1f} %"
    assert wrong / TRIALS <= WRONG + CHANCE


@pytest.mark.parametrize("where", ["every", "some", "average"])
@fault(24, "a claim about eight cells that differ by chance alone")
def test_a_claim_is_seldom_supported_by_chance(count, where):
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(TRIALS):
        gains = rng.normal(size=(8, 5))
        cells = [Cell(str(n), dict(enumerate(one.tolist()))) for n, one in enumerate(gains)]
        wrong += judged(cells, where) == "supported"
        count.times += 1
    count.measured[f"{where!r} wrongly supported"] = f"{100 * wrong / TRIALS:.1f} %"
    assert wrong / TRIALS <= WRONG + CHANCE


@fault(24, "a claim about cells with a single seed")
def test_a_single_seed_decides_nothing(count):
    count.times += 3
    for where in ("every", "some", "average"):
        assert judged([Cell("a", {0: 5.0}), Cell("b", {0: 3.0})], where) == "undecided"


# 25. Pages

HOSTILE = "<script>alert(1)</script> | \x1b[2J\n## Forged [x](javascript:alert(1))"


@fault(25, "rows that are missing, torn, disputed, of strangers, stale or named to deceive")
def test_a_page_shows_the_worst_rows_for_what_they_are(cli, row, suite_file, tmp_path, toy, count):
    folder = tmp_path / "leaderboard"
    rows = [
        row(seed=0, accuracy=80.0),
        row(seed=0, accuracy=70.0, method_key="k"),  # disputed
        row(method="stranger", seed=1),
        row(method="hostile", title=HOSTILE, labeler=HOSTILE, pretraining=[HOSTILE]),
        row(dataset="elsewhere"),
        row(method_key="stale", ratio=50, seed=1),
    ]
    for one in rows:
        add(folder, one)
        count.times += 1
    torn = path_of(folder, rows[0])
    torn.write_bytes(torn.read_bytes() + b'{"suite": "to')
    (folder / "results" / "stray").mkdir()
    suite = {"title": HOSTILE, "note": HOSTILE, "datasets": ["toy"], "methods": ["random"], "recipe": "tiny"}
    (folder / "results" / "toys" / "suite.json").write_text(json.dumps(suite))
    before = {path: path.read_bytes() for path in folder.rglob("*.jsonl")}
    ran = cli("leaderboard --suite toys")
    assert (ran.code, "Traceback" in ran.err) == (0, False), ran.err
    page = (folder / "toys.md").read_text()
    assert "\x1b" not in page + ran.out + ran.err
    assert not re.search(r"(?<!\\)<script|^## Forged|(?<!\\)\]\(javascript:", page, flags=re.MULTILINE)
    assert "70.0" in page and "80.0" in page and "damaged" in page and "stale" in page
    assert {path: path.read_bytes() for path in folder.rglob("*.jsonl")} == before
    everything = cli("leaderboard")
    assert everything.code == 0 and "Traceback" not in everything.err, everything.err


# 27. Size

CELLS = 20_000
RATIOS = range(1, 51)
MANY = f"""
title = "Many"
datasets = ["digits"]
methods = ["random", "random_twin"]
ratios = {list(RATIOS)}
seeds = {CELLS // len(RATIOS) // 2}
recipe = "tiny"
"""
GENEROUS = 3  # a slow machine is none of our faults


@pytest.fixture
def many(tmp_path, monkeypatch):
    """Twenty thousand cells with all stages stored, of which nothing was computed."""
    from prunebench.parts.registry import load
    from prunebench.pipeline.matrix import Matrix
    from prunebench.suites import resolve, schema
    from prunebench.suites.cells import Filters

    path = tmp_path / "many.toml"
    path.write_text(MANY)
    place = Place(tmp_path / "many", path)
    cells = resolve.cells(schema.read(str(path)), Filters(changes={"recipe.epochs": 2}), load())
    assert len(cells) == CELLS
    found = Matrix(cells, place.store, tmp_path / "data", "cpu")
    subset = Subset(images=4, index=[0, 1])
    accuracy = Accuracy(
        predictions=[0],
        accuracy=50.0,
        best_accuracy=50.0,
        balanced_accuracy=50.0,
        worst_decile_recall=50.0,
        history=[[1, 50.0]],
        kept_per_class=[1, 1],
    )
    made = {
        "seconds": 0.1,
        "peak_bytes": 1,
        "device": "cpu",
        "device_name": "x",
        "versions": {},
        "commit": None,
        "made": "2026-01-01T00:00:00Z",
    }
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _file: None)  # a day of disk time otherwise
        for key, stage in found.graph.stages.items():
            artefact = {"subset": subset, "accuracy": accuracy}[stage.kind]
            manifest = {
                "kind": stage.kind,
                "title": stage.title,
                "identity": stage.identity,
                "inputs": [[given.name, given.of, given.source.key] for given in stage.inputs],
                **made,
            }
            place.store.write(key, [artefact], manifest)
    return place


def cpu_seconds(place, line):
    """Return the CPU seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "prunebench", *line.split()]
    subprocess.run(command, check=True, capture_output=True, cwd=place.folder, timeout=1500)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
@fault(27, "finished cells")
def test_twenty_thousand_cells_take_seconds(many, count):
    count.times += CELLS
    seconds = {name: cpu_seconds(many, many.line(name)) for name in ("status", "plan")}
    per_cell = cpu_seconds(many, many.line(workers=1)) / CELLS
    count.measured |= {name: f"{found:.1f} s of CPU" for name, found in seconds.items()}
    count.measured["run, all stored"] = f"{1000 * per_cell:.1f} ms a cell"
    assert seconds["status"] < 2 * GENEROUS
    assert seconds["plan"] < 5 * GENEROUS
    assert per_cell < 0.05
    rows, complaints = read(many.folder, "many")
    assert (len(rows), complaints) == (CELLS, [])
