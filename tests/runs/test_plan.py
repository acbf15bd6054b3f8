"""What a matrix would do before it does it, and what became of it afterwards."""

import json
import os
from dataclasses import dataclass

import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts.base import Selector
from prunebench.parts.method import Method
from prunebench.pipeline import forecast
from prunebench.runs import plan, status
from prunebench.runs.format import duration, size
from prunebench_plugins.selectors.random import Random


def planned(matrix, each=False):
    return [(line.kind, line.stored, line.to_make, line.methods) for line in plan.lines(matrix, each)]


def test_stages_that_differ_in_ratio_and_seed_are_one_line(matrix):
    assert planned(matrix("random", "el2n_supervised", ratios=[30, 50], seeds=[0, 1])) == [
        ("known_labels", 0, 1, ["el2n_supervised"]),
        ("labels", 0, 1, ["el2n_supervised"]),
        ("dynamics", 0, 2, ["el2n_supervised"]),
        ("scores", 0, 2, ["el2n_supervised"]),
        ("subset", 0, 4, ["random"]),
        ("subset", 0, 4, ["el2n_supervised"]),
        ("accuracy", 0, 8, ["random", "el2n_supervised"]),
    ]


def test_each_stage_may_have_its_line(matrix):
    lines = plan.lines(matrix("random", ratios=[30], seeds=[0, 1]), each=True)
    assert [line.columns(each=True)[3:5] for line in lines] == [[30, 0], [30, 1]] * 2


def test_a_plan_tells_what_is_stored(matrix, make):
    make(matrix("el2n_supervised"))
    assert planned(matrix("el2n_supervised", ratios=[50, 70])) == [
        ("known_labels", 1, 0, ["el2n_supervised"]),
        ("labels", 1, 0, ["el2n_supervised"]),
        ("dynamics", 1, 0, ["el2n_supervised"]),
        ("scores", 1, 0, ["el2n_supervised"]),
        ("subset", 1, 1, ["el2n_supervised"]),
        ("accuracy", 1, 1, ["el2n_supervised"]),
    ]


def test_the_time_of_a_training_is_learnt_from_those_before(matrix, make):
    make(matrix("random"))
    more = matrix("random", seeds=[0, 1])
    known = forecast.forecast_from_store(more)
    (stage,) = [stage for stage in more.missing().values() if stage.kind == "accuracy"]
    spent = more.store.manifest(next(iter(more.graph.targets.values())).key)["seconds"]
    assert known.estimate([stage]) == (pytest.approx(spent), 0)


def test_memory_and_disk_of_stages_are_those_of_the_largest_before(matrix, make):
    before = plan.lines(matrix("random"), each=False)
    assert [line.columns(each=False)[6:8] for line in before] == [["?", "?"]] * 2
    make(matrix("random", ratios=[30, 50]))
    more = matrix("random", ratios=[30, 50], seeds=[0, 1, 2])
    found = {line.kind: line for line in plan.lines(more, each=False)}
    for kind, line in found.items():
        made = [
            stage for stage in more.graph.stages.values() if stage.kind == kind and stage.key in more.store
        ]
        manifests = [more.store.manifest(stage.key) for stage in made]
        assert (len(made), line.to_make) == (2, 4)
        assert line.memory == max(manifest["peak_bytes"] for manifest in manifests)
        assert line.disk == 4 * max(manifest["bytes"] for manifest in manifests)
        assert line.columns(each=False)[6:8] == [size(line.memory), size(line.disk)]
    make(more)
    assert [line.columns(each=False)[5:8] for line in plan.lines(more, each=False)] == [["", "", ""]] * 2


def test_what_another_device_took_says_nothing(matrix, make):
    make(matrix("random"))
    on_gpu = matrix("random", device="cuda")
    known = forecast.forecast_from_store(on_gpu)
    for stage in on_gpu.graph.stages.values():
        assert (known.memory(stage) is None) == (known.disk(stage) is None) == stage.on_device
    assert {stage.on_device for stage in on_gpu.graph.stages.values()} == {True, False}


def test_what_nothing_is_known_about_is_counted(matrix):
    stages = matrix("el2n_supervised").graph.stages.values()
    assert forecast.Forecast().estimate(stages) == (0.0, 4)  # labels, dynamics, scores, accuracy


def test_an_unknown_training_is_probed(matrix):
    lines = {line.kind: line for line in plan.lines(matrix("random"), each=False)}
    assert 0 < lines["accuracy"].seconds < 60


def test_absent_data_is_planned_without_a_time(matrix, tmp_path):
    (tmp_path / "data" / "toy.npy").unlink()
    absent = matrix("random")
    lines = plan.lines(absent, each=False)
    assert [(line.kind, line.to_make) for line in lines] == [("subset", 1), ("accuracy", 1)]
    assert plan.total(lines) == "?"
    assert plan.absent(absent) == [
        f"absent: toy is not in {tmp_path / 'data'}: write toy.npy. All its stages count as missing."
    ]


def test_status_counts_cells(matrix, make, offer):
    @dataclass(frozen=True, kw_only=True)
    class Moody(Selector):
        name = "moody"

        def select(self, images, keep):
            raise ValueError("not today")

    offer(Moody)
    both = ("random", Method("moody", title="M", selector=Moody()))
    make(matrix("random"))
    make(matrix(both[1]))
    found = status.status(matrix(*both, seeds=[0, 1]))
    assert sorted(found.cells) == [["toy", "moody", 0, 0, 0, 2, 0], ["toy", "random", 1, 0, 0, 0, 1]]
    assert found.failures == ["failed: toy subset moody: ValueError: not today"]


def test_status_gives_a_failure_one_line_whatever_a_part_says(matrix, make, offer):
    @dataclass(frozen=True, kw_only=True)
    class Verbose(Selector):
        name = "verbose"
        known: bool

        def select(self, images, keep):
            raise (PrunebenchError if self.known else ValueError)("not today:\n\n  nor in  my own\r\ntime\n")

    offer(Verbose)
    for known, of in ((True, ""), (False, "ValueError: ")):
        one = matrix(Method("verbose", title="V", selector=Verbose(known=known)))
        told = f"{of}not today: nor in  my own time"
        assert make(one).failures == {"verbose toy 50% seed 0": told}
        assert status.status(one).failures == [f"failed: toy subset verbose(known={known}): {told}"]


def test_status_sees_what_is_running(matrix):
    one = matrix("random")
    (target,) = one.graph.targets.values()
    for stage in (target, target.source("subset")):
        with one.store.lease(stage.key, stage.kind):
            one.store.fail(stage.key, {"message": "an hour ago"})
            assert status.status(one).cells == [["toy", "random", 0, 1, 0, 0, 0]]
            assert status.status(one).failures == []
        one.store.forget_failures({stage.key})
    assert status.status(one).cells == [["toy", "random", 0, 0, 0, 0, 1]]


def test_status_names_what_runs_how_long_it_took_before_and_how_far_its_checkpoint_is(matrix, make):
    make(matrix("random", seeds=[0]))
    two = matrix("random", seeds=[0, 1])
    target = next(stage for cell, stage in two.graph.targets.items() if cell.seed == 1)
    one_took = two.store.manifest(two.graph.targets[two.cells[0]].key)["seconds"]
    assert status.status(two).running == []
    with two.store.lease(target.key, "accuracy") as lease:
        facts = json.loads(lease.claim.read_text())
        lease.claim.write_text(json.dumps(facts | {"since": "2020-01-01 00:00:00 UTC", "host": "far"}))
        two.store.checkpoint(target.key).save({"step": 3, "steps": 12})
        [[name, passed, usual, saved, by]] = status.status(two).running
    assert (name, saved, by) == ("accuracy random toy 50 % seed 1", "25%", f"process {os.getpid()} on far")
    assert int(passed.removesuffix(" d")) > 2000
    assert usual == duration(one_took)
    assert status.status(two).total.startswith("1 of 2 cells done; 2 of 4 stages to make, about ")
    make(two)
    assert status.status(two).total == "2 of 2 cells done"


def test_status_sees_what_was_interrupted_in_the_middle_of_a_stage(matrix):
    one = matrix("random")
    (target,) = one.graph.targets.values()
    one.store.checkpoint(target.key).save({"step": 3})
    assert status.status(one).cells == [["toy", "random", 0, 0, 1, 0, 0]]
    with one.store.lease(target.key, "accuracy"):
        assert status.status(one).cells == [["toy", "random", 0, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "?"), (8, "8.0 s"), (98, "98 s"), (180, "3.0 min"), (9000, "2.5 h"), (400000, "5 d")],
)
def test_a_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0.0 kB"), (8000, "8.0 kB"), (32e6, "32 MB"), (2.5e9, "2.5 GB"), (75.6e9, "76 GB")],
)
def test_a_size(count, text):
    assert size(count) == text


def test_a_recipe_a_cpu_cannot_run_is_refused(matrix):
    with pytest.raises(PrunebenchError, match="trains toy in bf16, which a CPU cannot do faithfully"):
        matrix("random", changes={"recipe.precision": "bf16"}).check_device()
    matrix(Method("m", title="M", selector=Random())).check_device()
