"""Labelers that spread annotated labels over frozen embeddings: a linear probe and label propagation."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from prunebench.errors import PrunebenchError
from prunebench.parts.conformance import conform
from prunebench_plugins.labelers import probe
from prunebench_plugins.labelers.probe import Probe
from prunebench_plugins.labelers.propagate import Propagate, normalized, spread

GROUPS = np.array([[9.0, 0], [9, 1], [9, 2], [0, 9], [1, 9], [2, 9]])
ENDS = np.array([0, -1, -1, -1, -1, 1])


def digits(share=0.1):
    """Pixels, truth, and the true labels of a share of the images, -1 elsewhere."""
    data = load_digits()
    known_labels = np.where(np.random.default_rng(0).random(len(data.target)) < share, data.target, -1)
    return data.data.astype(np.float32), data.target, known_labels


@pytest.fixture
def propagate(device):
    def labeled(part, embeddings, known_labels, classes=("a", "b")):
        return part.label(embeddings, classes, known_labels, device)

    return labeled


# Probe


def test_probe_keeps_what_was_annotated_and_guesses_the_rest():
    labels = Probe().label(GROUPS, ENDS)
    assert labels.values.tolist() == [0, 0, 0, 1, 1, 1]
    assert labels.space == "class"
    assert (labels.confidences == 1).tolist() == [True, False, False, False, False, True]


def test_probe_keeps_a_annotated_label_it_would_not_guess():
    known_labels = np.array([0, 0, 1, 1, 1, 1, -1])
    labels = Probe(C=0.01).label(np.array([[0.0], [0], [0], [9], [9], [9], [9]]), known_labels)
    assert labels.values.tolist() == [0, 0, 1, 1, 1, 1, 1]


def test_probe_is_scikit_learns_regression_on_standardized_embeddings():
    embeddings, _truth, known_labels = digits()
    scaled = (embeddings - embeddings.mean(axis=0)) / np.maximum(embeddings.std(axis=0), 1e-6)
    annotated = known_labels >= 0
    model = LogisticRegression(max_iter=1000).fit(scaled[annotated], known_labels[annotated])
    labels = Probe().label(embeddings, known_labels)
    assert (labels.values == model.predict(scaled))[~annotated].mean() > 0.999
    np.testing.assert_allclose(
        labels.confidences[~annotated], model.predict_proba(scaled).max(1)[~annotated], atol=0.01
    )


def test_probe_asked_in_chunks_answers_the_same(monkeypatch):
    embeddings, _truth, known_labels = digits()
    whole = Probe().label(embeddings, known_labels)
    monkeypatch.setattr(probe, "CHUNK", 100)
    chunked = Probe().label(embeddings, known_labels)
    assert chunked.values.tolist() == whole.values.tolist()


def test_probe_never_guesses_a_class_nobody_annotated():
    embeddings, _truth, known_labels = digits()
    known_labels[known_labels == 3] = -1
    assert 3 not in Probe().label(embeddings, known_labels).values


@pytest.mark.parametrize(("known_labels", "annotated"), [([-1, -1, -1], 0), ([1, 1, -1], 1)])
def test_probe_needs_two_classes(known_labels, annotated):
    with pytest.raises(PrunebenchError) as error:
        Probe().label(np.eye(3), np.array(known_labels))
    assert str(error.value) == (
        f"probe needs annotated images of two classes or more, but has {annotated}; "
        "raise probe.label_fraction"
    )


# Propagate


def test_propagate_follows_the_neighbors(propagate):
    labels = propagate(Propagate(neighbors=2), GROUPS, ENDS)
    assert labels.values[[0, 5]].tolist() == [0, 1]
    assert labels.confidences[[0, 5]].tolist() == [1, 1]


def test_propagate_solves_the_equation_of_zhou_et_al():
    rng = np.random.default_rng(0)
    near = np.stack([rng.permutation(np.delete(np.arange(30), i))[:4] for i in range(30)])
    weights = rng.random((30, 4))
    dense = np.zeros((30, 30))
    np.put_along_axis(dense, near, weights, axis=1)
    dense = dense + dense.T
    degree = np.diag(dense.sum(axis=1) ** -0.5)
    seeds = np.eye(30, 3)
    affinity = normalized(near, weights)
    np.testing.assert_allclose(affinity.toarray(), degree @ dense @ degree, atol=1e-12)
    expected = np.linalg.solve(np.eye(30) - 0.99 * degree @ dense @ degree, seeds)
    np.testing.assert_allclose(spread(affinity, seeds, 0.99), expected, atol=1e-4)


def test_a_class_without_labels_is_no_trouble(propagate):
    """Its column of the equation is zero."""
    labels = propagate(Propagate(neighbors=2), GROUPS, ENDS, classes=("a", "b", "c"))
    assert set(labels.values) == {0, 1}


def test_an_image_no_label_reaches_stays_unknown(propagate):
    islands = np.array([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
    labels = propagate(Propagate(neighbors=1), islands, np.array([0, -1, -1, -1]))
    assert labels.values.tolist() == [0, 0, -1, -1]
    assert labels.confidences.tolist() == [1, 1, 0, 0]


def test_propagate_keeps_a_annotated_label_that_its_neighbors_contradict(propagate):
    same = np.array([[1.0, 0]] * 6)
    known_labels = np.array([0, 0, 0, 0, 1, -1])
    labels = propagate(Propagate(neighbors=5), same, known_labels)
    assert labels.values.tolist() == [0, 0, 0, 0, 1, 0]
    assert labels.confidences[5] == pytest.approx(0.8, abs=1e-5)


def test_propagate_needs_a_label(propagate):
    with pytest.raises(PrunebenchError, match="propagate needs annotated images, but has none; raise"):
        propagate(Propagate(), GROUPS, np.full(6, -1))


# Both


@pytest.mark.parametrize("part", [Probe(), Propagate(neighbors=10)])
def test_cheap_labelers_keep_the_contract(device, part):
    conform(part, device)
    assert part.label_fraction == 0.1


def test_they_beat_chance_by_far_on_digits(propagate):
    embeddings, truth, known_labels = digits()
    classes = tuple("0123456789")
    found = [
        Probe().label(embeddings, known_labels),
        propagate(Propagate(neighbors=10), embeddings, known_labels, classes),
    ]
    assert all((labels.values == truth)[known_labels < 0].mean() > 0.85 for labels in found)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Probe(C=0), r"probe\.C is 0, expected above 0"),
        (lambda: Propagate(alpha=1), r"propagate\.alpha is 1, expected between 0 and 1"),
        (lambda: Propagate(neighbors=0), r"propagate\.neighbors is 0, expected above 0"),
    ],
)
def test_bad_fields_are_one_line(make, message):
    with pytest.raises(PrunebenchError, match=message):
        make()
