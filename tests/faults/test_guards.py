"""Who sees labels that were not annotated, and who sees the test split: 15, 16."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from prunebench import Labeler, Labels, Method, Scorer, Selector
from prunebench.errors import PrunebenchError
from prunebench.parts import registry
from prunebench.parts.sampling import share
from prunebench.pipeline import context, schedule
from prunebench.pipeline.context import Context
from prunebench.pipeline.executors.inline import InlineExecutor
from prunebench.pipeline.part_stage import Call
from prunebench.pipeline.stages import STAGES
from prunebench_plugins.selectors.random import Random
from tests.conftest import Toy
from tests.miniatures import PARTS

fault = pytest.mark.fault
FREE = ("pixels", "swav", "proxy")  # backbones that need no download
TESTED = {"accuracy", "labeler_accuracy", "test_embeddings"}  # the stages that open the test split
TRUTH = {"known_labels", "given", "quality", *TESTED}  # the stages that read true labels


@dataclass(frozen=True, kw_only=True)
class Watched(Toy):
    """The toy dataset, which tells who opens which split."""

    name: str = "watched"
    recipes: ClassVar = {
        "tiny": {
            **Toy.recipes["tiny"],
            **PARTS,
            "score_extrapolation": {**PARTS["score_extrapolation"], "neighbors": 3},
            "tdds": {"window": 3, "epochs": 4},
        }
    }

    def load(self, root, split):
        SEEN.append((AT_WORK[-1], split))
        return super().load(root, split)


SEEN: list[tuple[str, str]] = []  # stage, split
AT_WORK = ["the fingerprint"]


def free(part):
    """Whether a part needs no download."""
    from prunebench.parts.identity import map_parts

    lacking = []

    def visit(one):
        backbone = getattr(one, "backbone", ())
        names = backbone if isinstance(backbone, tuple) else (backbone,)
        lacking.extend(n for n in names if getattr(n, "name", n) not in FREE)
        return one

    map_parts(part, visit)
    return not lacking


@cache
def methods():
    """Return the names of all registered methods that need no download."""
    found = registry.load().found["methods"]
    return [name for name, method in found.items() if all(map(free, method.parts.values()))]


@pytest.fixture
def watched(toy, offer, monkeypatch):
    """The watched dataset, which each stage loads anew; which stages read the truth, and how many labels."""
    offer(Watched(), owner="watchers")
    told = {"truth": set(), "handed": []}

    def watching(kind, compute):
        def made(stage, given):
            AT_WORK.append(kind)
            context.load_split.cache_clear()
            try:
                return compute(stage, given)
            finally:
                AT_WORK.pop()

        return made

    for stage in STAGES:
        monkeypatch.setattr(stage, "compute", watching(stage.kind, stage.compute))
    truth, arguments = Context.truth.fget, Call.arguments

    def read_truth(given):
        told["truth"].add(AT_WORK[-1])
        return truth(given)

    def hand_out(call, **more):
        given = arguments(call, **more)
        told["handed"].append(int((np.asarray(given.get("known_labels", [-1])) >= 0).sum()))
        return given

    monkeypatch.setattr(Context, "truth", property(read_truth))
    monkeypatch.setattr(Call, "arguments", hand_out)
    SEEN.clear()
    return told


@pytest.mark.parametrize("name", methods())
@fault(16, "a method whose every look at the data is noted")
def test_nothing_but_the_accuracy_opens_the_test_split(watched, matrix, make, count, name):
    ran = make(matrix(name, datasets=["watched"]))
    assert ran.failures == {} and len(ran.rows) == 1
    count.times += 1
    opened = {stage for stage, split in SEEN if split == "test"} - {"the fingerprint"}
    assert opened and opened <= TESTED
    assert watched["truth"] <= TRUTH
    assert max(watched["handed"], default=0) == ran.rows[0].labels_selection


# 15. Labels


@dataclass(frozen=True, kw_only=True)
class Looks(Labeler):
    """Looks at labels here and there."""

    name = "looks"
    label_fraction: float = 0.1
    sampling: str = "uniform"
    places: tuple[int, ...] = ()

    def label(self, known_labels):
        FOUND.append((known_labels.copy(), [int(known_labels[place]) for place in self.places]))
        return np.zeros(len(known_labels), int)


FOUND = []


@fault(15, "a labeler that looks at labels in places of its choice")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    label_fraction=st.floats(0, 1),
    sampling=st.sampled_from(["uniform", "class_balanced", "stratified"]),
    places=st.lists(st.integers(0, 63), max_size=8),
    seed=st.integers(0, 3),
)
def test_a_labeler_sees_the_labels_that_were_annotated(
    matrix, offer, tmp_path_factory, count, label_fraction, sampling, places, seed
):
    assume(
        sampling != "class_balanced" or label_fraction == 0 or share(64, label_fraction) >= 4
    )  # else refused
    if not count.times:
        offer(Looks)
    labeler = Looks(label_fraction=label_fraction, sampling=sampling, places=tuple(places))
    found = matrix(Method("m", title="M", labeler=labeler, selector=Random()), seeds=[seed])
    (labels,) = [stage for stage in found.graph.stages.values() if stage.kind == "labels"]
    found.store.remove(labels.key)
    FOUND.clear()
    needed = schedule.missing([labels], found.store)
    engine = InlineExecutor(lambda *_: None)
    outcome = schedule.walk(needed, found.store, engine, found.job, lambda _: None)
    assert outcome.failures == {}
    count.times += 1
    ((known_labels, looked),) = FOUND
    annotated = np.flatnonzero(known_labels >= 0)
    truth = np.arange(64) % 4
    np.testing.assert_array_equal(known_labels[annotated], truth[annotated])
    assert len(annotated) <= share(64, label_fraction)
    assert looked == [int(truth[place]) if place in annotated else -1 for place in places]
    ledger = found.store.read(labels.source("known_labels").key, Labels)
    np.testing.assert_array_equal(np.flatnonzero(ledger.annotated), annotated)


@dataclass(frozen=True, kw_only=True)
class Greedy(Scorer):
    name = "greedy"

    def score(self, known_labels):
        return known_labels


@fault(15, "a part that asks for labels that its method does not have")
def test_who_pays_for_no_labels_is_given_none(offer, count):
    count.times += 2
    with pytest.raises(PrunebenchError, match="asks for known_labels, but the method has no labeler"):
        Method("g", title="G", scorer=Greedy(), selector=Random())
    with pytest.raises((TypeError, PrunebenchError), match="truth"):

        @dataclass(frozen=True, kw_only=True)
        class Curious(Selector):
            name = "curious"

            def select(self, truth, keep):
                return truth

        offer(Curious)
        Method("c", title="C", selector=Curious())
