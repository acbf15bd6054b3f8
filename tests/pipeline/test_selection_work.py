"""A Random trained as long as a method: the same images, and as many steps more as the selection took."""

import re

import pytest

from prunebench.parts.method import Method
from prunebench.pipeline.store import Store
from prunebench.results.work_tables import images_in_all
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.top import Top
from tests.pipeline.searched import Powered

RANDOM = Method("random", title="R", selector=Random())


def scored(name="m", scorer=None):
    return Method(name, title="M", labeler=GroundTruth(), scorer=scorer or Aum(), selector=Top())


@pytest.mark.parametrize("tuning", ["default", "search"])
@pytest.mark.parametrize("changes", [{}, {"recipe.iterations": 37}, {"recipe.final_iterations": 5}])
def test_both_train_on_as_many_images(matrix, make, offer, tuning, changes):
    offer(Powered)
    methods = RANDOM, scored(scorer=Powered())
    made = make(
        matrix(*methods, references=["random_timed"], ratios=(30, 90), tuning=tuning, changes=changes)
    )
    assert made.failures == {}
    rows = {(re.split("{(?:m|recipe)", row.method)[0], row.ratio): row for row in made.rows}
    for ratio in (30, 90):  # they differ by less than a batch of 16
        twin, method = rows["random_timed", ratio], rows["m", ratio]
        assert images_in_all(twin) == pytest.approx(images_in_all(method), rel=0.01, abs=16)
        assert images_in_all(method) > 2 * images_in_all(rows["random", ratio])
        assert twin.subset_key == rows["random", ratio].subset_key
        assert (twin.labels_selection, twin.labels_total) == (0, twin.kept)
        assert {*twin.seconds} == {"subset", "accuracy"}


@pytest.mark.parametrize(
    ("ratio", "message"),
    [
        (98, "cannot train on 1 image(s) in batches of 4: BatchNorm needs two; prune less, "),
        (99, "cannot train on no image; prune less, or give more images a label"),
    ],
)
def test_too_few_images_are_said_as_without_more_steps(matrix, make, ratio, message):
    made = make(matrix(RANDOM, scored(), references=["random_timed"], ratios=(ratio,)))
    assert {name.partition(" ")[0] for name in made.failures} == {"random", "m", "random_timed{m}"}
    assert all(found.startswith(message) for found in made.failures.values())


def test_the_twin_of_a_method_without_trainings_is_random_itself(matrix, make):
    plain = Method("plain", title="P", selector=Random(per_class=False, stream=1))
    rows = {row.method: row for row in make(matrix(RANDOM, plain, references=["random_timed"])).rows}
    assert rows["random_timed{plain}"].accuracy == rows["random"].accuracy
    assert "random_timed{random}" not in rows


def test_its_key_is_not_that_of_a_random_with_as_many_labels(matrix):
    cells = matrix(scored(), references=["random_timed"]).cells
    twin = next(cell for cell in cells if cell.method.timed_to)
    labels = Method("x", title="X", selector=Random(), reference=True, matched_to=scored())
    timed = Method("x", title="X", selector=Random(), reference=True, matched_to=scored(), matched_in="work")
    keys = {method: matrix(method).cells[0].method_key for method in (labels, timed)}
    assert keys[labels] != keys[timed] == twin.method_key


def test_a_stage_stored_before_work_was_counted_is_named(matrix, make, monkeypatch):
    uncounted = Store.manifest

    def manifest(store, key):
        values = uncounted(store, key)
        return {name: value for name, value in values.items() if name != "work" or values["kind"] != "labels"}

    monkeypatch.setattr(Store, "manifest", manifest)
    made = make(matrix(RANDOM, scored(), references=["random_timed"]))
    assert made.failures == {
        "random_timed{m} toy 50% seed 0": "labels ground_truth is stored without a count of its work, by an "
        "older prunebench; choose another --store"
    }
