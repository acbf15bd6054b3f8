"""Every built-in part keeps the contract, and a toy with a fault fails the checks that fault breaks."""

import sys
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import PseudoLabels
from prunebench.parts.base import Backbone, Draw, Labeler, Scorer, Selector
from prunebench.parts.conformance import check, conform
from prunebench.parts.problem import MemoryCheckpoint, synthetic_problem
from prunebench_plugins.backbones.pixels import Pixels
from prunebench_plugins.selectors.cutoff import Cutoff
from prunebench_plugins.selectors.include import Include
from tests.plugins.brief import READY, brief

BUILT_IN = [
    *(brief(kind, name) for kind, name in READY),
    Pixels(components=5),
    Cutoff(cutoff=0.4),  # refuses every ratio below 40
    Include(selector=Cutoff()),
]


@pytest.mark.parametrize("part", BUILT_IN, ids=lambda part: part.name)
def test_every_built_in_part_conforms(part):
    conform(part)


def failed(part):
    return {found.name for found in check(part) if found.error}


# Scorers


@dataclass(frozen=True, kw_only=True)
class ToyScorer(Scorer):
    name = "toy"
    fault: object = None

    def score(self, labels):
        scores = labels.astype(float)
        match self.fault:
            case "raises":
                raise ValueError("two\nlines")
            case "short":
                scores = scores[:-1]
            case "integer":
                scores = labels
            case "not finite":
                scores[:2] = np.nan, np.inf
            case "unseeded":
                scores += np.random.default_rng().random(len(scores))
            case "writes":
                labels.setflags(write=True)
                labels[0] = 3 - labels[0]
            case "complete labels only":
                scores[labels < 0] = np.nan
            case "refuses":
                if (labels < 0).any():
                    raise PrunebenchError("toy needs every label; use a labeler that gives one to each image")
        return scores


def test_the_checks_of_a_scorer():
    assert [(found.name, found.error) for found in check(ToyScorer())] == [
        ("identity is JSON", None),
        ("runs", None),
        ("inputs untouched", None),
        ("settings untouched", None),
        ("dtype", None),
        ("one score per image", None),
        ("finite", None),
        ("tells images apart", None),
        ("same seed, same result", None),
        ("hidden labels say nothing", None),
        ("order of the images", None),
        ("incomplete labels", None),
    ]


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("raises", {"runs"}),
        ("short", {"one score per image", "order of the images", "incomplete labels"}),
        ("integer", {"dtype", "incomplete labels"}),
        ("not finite", {"finite", "order of the images", "incomplete labels"}),
        ("unseeded", {"same seed, same result", "order of the images"}),
        ("writes", {"inputs untouched", "same seed, same result"}),
        ("complete labels only", {"incomplete labels"}),
        ("refuses", set()),
        (frozenset(), {"identity is JSON"}),
    ],
)
def test_a_faulty_scorer(fault, checks):
    assert failed(ToyScorer(fault=fault)) == checks


def test_the_reason_is_one_line():
    def reason(fault, name):
        return next(found.error for found in check(ToyScorer(fault=fault)) if found.name == name)

    assert reason("raises", "runs") == "ValueError: two lines"
    assert reason("short", "one score per image") == "shape is (119,), expected (120,)"
    assert reason("not finite", "finite") == "the number of values that are not finite is 2, expected 0"


def test_conform_names_every_failed_check():
    conform(ToyScorer())
    with pytest.raises(AssertionError) as error:
        conform(ToyScorer(fault="unseeded"))
    assert str(error.value) == (
        "scorer 'toy' breaks the contract\n"
        "  same seed, same result: two runs with the same seed differ; draw from `rng` only\n"
        "  order of the images: the result depends on the position of an image in the dataset; "
        "treat all positions alike, and break ties by `rng`"
    )


@dataclass(frozen=True, kw_only=True)
class NameReader(Scorer):
    """Reads the class out of the names of images, or rests on the words of the classes."""

    name = "name_reader"
    reads: str = "names"

    def score(self, names, classes, labels):
        match self.reads:
            case "names":
                return np.array([classes.index(name.partition("/")[0]) for name in names], float)
            case "folders":
                return np.unique([name.partition("/")[0] for name in names], return_inverse=True)[1] + 0.0
            case "words":
                return np.argsort([sum(map(ord, name)) % 97 for name in classes])[labels] + 0.0
        return labels + len(names) / len(classes)


@dataclass(frozen=True, kw_only=True)
class WordReader(NameReader):
    name = "word_reader"
    reads_class_names = True


@pytest.mark.parametrize(
    ("part", "checks"),
    [
        (NameReader(reads="names"), {"names say nothing"}),
        (NameReader(reads="folders"), {"names say nothing"}),
        (NameReader(reads="words"), {"names say nothing"}),
        (NameReader(reads="their number"), set()),
        (WordReader(reads="words"), set()),
        (WordReader(reads="folders"), {"names say nothing"}),
    ],
)
def test_a_part_that_reads_the_class_from_a_name_fails(part, checks):
    assert failed(part) == checks


def truth_of_a_caller():
    """Return the true labels from the next frame that has them."""
    frame = sys._getframe(1)
    while not hasattr(frame.f_locals.get("problem"), "truth"):
        frame = frame.f_back
    return frame.f_locals["problem"].truth


@dataclass(frozen=True, kw_only=True)
class PeekingScorer(Scorer):
    name = "peeking_scorer"

    def score(self, labels):
        return (labels != truth_of_a_caller()) + labels / 10


@dataclass(frozen=True, kw_only=True)
class PeekingSelector(Selector):
    name = "peeking_selector"

    def select(self, scores, keep, rng):
        return np.lexsort((rng.random(len(scores)), truth_of_a_caller()))[:keep]


@dataclass(frozen=True, kw_only=True)
class PeekingLabeler(Labeler):
    name = "peeking_labeler"
    label_fraction: float = 0.1

    def label(self, known_labels):
        return np.where(known_labels < 0, truth_of_a_caller(), known_labels)


@dataclass(frozen=True, kw_only=True)
class PeekingBackbone(Backbone):
    name = "peeking_backbone"

    def embed(self, images):
        return np.eye(4)[truth_of_a_caller()]


@dataclass(frozen=True, kw_only=True)
class PeekingDraw(Draw):
    name = "peeking_draw"
    backbone: str = "pixels"

    def draw(self, embeddings, count, rng):
        return np.lexsort((rng.random(len(embeddings)), truth_of_a_caller()))[:count]


PEEKING = [PeekingScorer(), PeekingSelector(), PeekingLabeler(), PeekingBackbone(), PeekingDraw()]


@pytest.mark.parametrize("part", PEEKING, ids=lambda part: part.kind)
def test_a_part_that_takes_the_truth_from_its_caller_fails(part):
    assert "hidden labels say nothing" in failed(part)


def test_the_reason_names_the_remedy():
    (found,) = [check for check in check(PeekingLabeler()) if check.error]
    assert (found.name, found.error) == (
        "hidden labels say nothing",
        "the result depends on true labels that nobody annotated; ask for known_labels",
    )


@pytest.mark.parametrize("fraction", [0.0, 0.1, 1.0])
def test_a_blinded_problem_has_other_labels_but_the_known_ones(fraction):
    problem, part = synthetic_problem(), ToyLabeler(label_fraction=fraction)
    blinded = problem.blinded(part)
    known = problem.inputs(part)["known_labels"]
    assert blinded.inputs(part)["known_labels"].tolist() == known.tolist()
    hidden = known < 0
    assert (blinded.truth[hidden] == problem.truth[hidden]).sum() <= 0.5 * hidden.sum()


@pytest.mark.parametrize("wanted", ["truth", "problem"])
def test_no_part_is_handed_the_truth(wanted):
    """Not even one that asks for it past the names of its arguments."""

    @dataclass(frozen=True, kw_only=True)
    class Asking(Scorer):
        name = "asking"

        def score(self, labels, **inputs):
            return labels + inputs[wanted] / 10

        def needs(self):
            return {**super().needs(), wanted: True}

    (found,) = [found for found in check(Asking()) if found.error]
    assert found.name == "runs"
    assert found.error.startswith(
        f"needs() names ['{wanted}']; a scorer may ask for ['checkpoint', 'classes',"
    )


# Selectors


@dataclass(frozen=True, kw_only=True)
class ToySelector(Selector):
    name = "toy"
    fault: str = ""

    def at(self, ratio):
        if self.fault == "never" or (self.fault == "some ratios" and ratio < 50):
            raise PrunebenchError(f"toy cannot prune {ratio} percent")
        return self

    def select(self, scores, keep, rng):
        order = np.lexsort((rng.permutation(len(scores)), -scores))
        match self.fault:
            case "negative zero":
                return order[len(order) - keep :] if keep < len(order) else order[:-0]
            case "twice":
                order[1:] = order[:-1].copy()
            case "past the end":
                order += 1
            case "floating":
                order = order.astype(float)
            case "needs two":
                order[1]
        return order[:keep]


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("", set()),
        ("some ratios", set()),
        ("never", {"runs"}),
        ("negative zero", {"exact size", "one class at a time"}),
        ("twice", {"unique", "one class at a time"}),
        ("past the end", {"indices in range", "one class at a time", "order of the images"}),
        ("floating", {"dtype", "one class at a time", "order of the images"}),
        ("needs two", {"one class at a time"}),
    ],
)
def test_a_faulty_selector(fault, checks):
    assert failed(ToySelector(fault=fault)) == checks


def test_the_reason_names_the_ratio():
    found = {c.name: c.error for c in check(ToySelector(fault="negative zero"))}
    assert found["exact size"] == "ratio 0: shape is (0,), expected (120,)"


# Draws


@dataclass(frozen=True, kw_only=True)
class ToyDraw(Draw):
    name = "toy"
    backbone: str = "pixels"
    fault: str = ""

    def draw(self, embeddings, count, rng):
        order = rng.permutation(len(embeddings))
        match self.fault:
            case "half":
                order = order[: len(order) // 2]
            case "twice":
                order[1:] = order[:-1].copy()
            case "past the end":
                order += 1
            case "floating":
                order = order.astype(float)
            case "by place":
                order.sort()
            case "by another clock":
                order = np.random.default_rng().permutation(order)
        return order[:count]


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("", set()),
        ("half", {"exact size"}),
        ("twice", {"unique"}),
        ("past the end", {"indices in range", "order of the images"}),
        ("floating", {"dtype", "order of the images"}),
        ("by place", {"order of the images"}),
        ("by another clock", {"same seed, same result"}),
    ],
)
def test_a_faulty_draw(fault, checks):
    assert failed(ToyDraw(fault=fault)) == checks


def test_the_reason_names_the_count():
    found = {c.name: c.error for c in check(ToyDraw(fault="half"))}
    assert found["exact size"] == "count 119: shape is (60,), expected (119,)"


# The order of the images


@dataclass(frozen=True, kw_only=True)
class ByPlace(Scorer):
    """Scores that grow with the place, or are one for the first image alone, or come from noise beside it."""

    name = "by_place"
    fault: str = ""

    def score(self, labels, rng):
        places = np.arange(len(labels), dtype=float)
        match self.fault:
            case "grows":
                return places
            case "first":
                return (places == 0).astype(float)
            case "noisy":
                return places + rng.normal(0, 20, len(places))
            case "shuffled":
                return np.random.default_rng(5).permutation(places)
        return rng.normal(size=len(places))


@pytest.mark.parametrize("fault", ["grows", "first", "noisy", "shuffled"])
def test_a_scorer_of_places_is_found_out(fault):
    assert failed(ByPlace()) == set()
    assert failed(ByPlace(fault=fault)) == {"order of the images"}


def test_a_scorer_of_places_that_draws_nothing_is_found_out():
    @dataclass(frozen=True, kw_only=True)
    class Place(Scorer):
        name = "place"

        def score(self, labels):
            return np.arange(len(labels), dtype=float)

    assert failed(Place()) == {"order of the images"}


@dataclass(frozen=True, kw_only=True)
class FirstOfEquals(Scorer):
    """How often an image is the nearest to a point, the first or a random one of equally near ones."""

    name = "first_of_equals"
    backbone: str = "pixels"
    fair: bool = False

    def score(self, embeddings, rng):
        order = rng.permutation(len(embeddings)) if self.fair else np.arange(len(embeddings))
        points = rng.normal(size=(500, embeddings.shape[1]))
        nearest = [int(np.abs(embeddings[order] - point).sum(axis=1).argmin()) for point in points]
        return np.bincount(order[nearest], minlength=len(order)).astype(float)


def test_ties_by_place_are_found_out():
    assert failed(FirstOfEquals()) == {"order of the images"}
    assert failed(FirstOfEquals(fair=True)) == set()


@dataclass(frozen=True, kw_only=True)
class StableTop(Selector):
    """The highest scores, of equal ones the first, whether or not anything is drawn."""

    name = "stable_top"

    def select(self, scores, keep):
        return np.argsort(-scores, kind="stable")[:keep]


def test_a_stable_sort_prefers_the_first_of_equals():
    found = {check.name: check.error for check in check(StableTop())}
    assert found.pop("order of the images") == (
        "the result depends on the position of an image in the dataset; treat all positions alike, and "
        "break ties by `rng`"
    )
    assert set(found.values()) == {None}


def test_a_file_made_for_one_dataset_may_rest_on_its_order():
    @dataclass(frozen=True, kw_only=True)
    class ForOneDataset(Scorer):
        name = "for_one_dataset"

        def score(self, labels, fingerprint):
            return np.arange(len(labels), dtype=float)

    assert failed(ForOneDataset()) == set()


# Labelers


@dataclass(frozen=True, kw_only=True)
class ToyLabeler(Labeler):
    name = "toy"
    label_fraction: float = 0.1
    fault: str = ""

    def label(self, known_labels, classes):
        values = np.where(known_labels < 0, len(classes) - 1, known_labels)
        match self.fault:
            case "out of range":
                values[known_labels < 0] = len(classes)
            case "short":
                values = values[1:]
            case "floating":
                values = values / 1
        return values


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("", set()),
        ("out of range", {"labels in range"}),
        ("short", {"one label per image"}),
        ("floating", {"dtype"}),
    ],
)
def test_a_faulty_labeler(fault, checks):
    assert failed(ToyLabeler(fault=fault)) == checks


def test_a_labeler_may_return_labels():
    @dataclass(frozen=True, kw_only=True)
    class Clusters(Labeler):
        name = "clusters"

        def label(self, known_labels):
            return PseudoLabels(values=np.zeros(len(known_labels), int), space="cluster")

    conform(Clusters())


# Backbones


@dataclass(frozen=True, kw_only=True)
class ToyBackbone(Backbone):
    name = "toy"
    fault: str = ""

    def embed(self, images):
        means = images.array.mean(axis=(2, 3), dtype=np.float32)
        match self.fault:
            case "flat":
                means = means[:, 0]
            case "not finite":
                means[0] = np.inf
            case "integer":
                means = means.astype(int)
            case "writes through torch":
                with warnings.catch_warnings(action="ignore"):
                    torch.from_numpy(images.array)[:1].fill_(0)
        return means


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("", set()),
        ("flat", {"one row per image"}),
        ("not finite", {"finite"}),
        ("integer", {"dtype"}),
        ("writes through torch", {"inputs untouched", "same seed, same result"}),
    ],
)
def test_a_faulty_backbone(fault, checks):
    assert failed(ToyBackbone(fault=fault)) == checks


# The problem


def test_a_part_is_given_exactly_what_it_names():
    problem = synthetic_problem()
    assert list(problem.inputs(ToySelector(), keep=7)) == ["scores", "keep", "rng"]
    assert (problem.inputs(ToyLabeler(), seed=3)["known_labels"] >= 0).sum() == 12


def test_images_have_names_and_their_dataset_a_fingerprint():
    @dataclass(frozen=True, kw_only=True)
    class ByName(Scorer):
        name = "by_name"

        def score(self, names, fingerprint): ...

    given = synthetic_problem()[np.array([119, 7])].inputs(ByName())
    assert given == {"names": ("d/119.png", "a/007.png"), "fingerprint": "0" * 64}
    assert {type(name) for name in given["names"]} == {str}


def test_the_problem_can_be_sliced_and_stripped_of_labels():
    problem = synthetic_problem()
    part = problem[np.array([4, 2])]
    assert part.scores.tolist() == problem.scores[[4, 2]].tolist()
    assert part.images.array.shape == (2, 3, 8, 8)
    assert part.names.tolist() == ["b/004.png", "a/002.png"]
    stripped = problem.without_labels(np.arange(100))
    assert stripped.dynamics.index.tolist() == list(range(100, 120))
    assert stripped.dynamics.margin.tolist() == problem.dynamics.margin[:, 100:].tolist()


def test_the_dynamics_of_the_problem_are_consistent():
    dynamics = synthetic_problem().dynamics
    own, other = dynamics.label_probability, dynamics.other_probability
    assert dynamics.epochs == 40
    assert (own + other <= 1 + 1e-6).all()
    assert (dynamics.error_norm >= np.hypot(1 - own, other) - 1e-6).all()
    assert ((dynamics.logit_margin > 0) == (own > other)).all()
    assert (own[:, 0] == 1).all()
    assert (own[:, 1] == 0).all()
    assert (dynamics.divergence[0] == 0).all()


def test_a_checkpoint_hands_out_copies():
    checkpoint = MemoryCheckpoint()
    assert checkpoint.load() is None
    weights = np.zeros(2)
    checkpoint.save({"weights": weights, "epoch": 3})
    weights += 1
    state = checkpoint.load()
    assert state["epoch"] == 3
    assert state["weights"].tolist() == [0, 0]
