"""One selection, many exams: other final networks, shifted test images, calibration."""

from __future__ import annotations

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.nn import corruptions
from prunebench.parts.artefacts import Accuracy, Exam
from prunebench.parts.images import Images
from prunebench.parts.method import Method
from prunebench.pipeline.calibration import measure
from prunebench.pipeline.forecast import Forecast
from prunebench.pipeline.stages.examining import examine
from prunebench.results.document import facts
from prunebench.runs.run import run_matrix
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.top import Top
from tests.pipeline.searched import Powered

RANDOM = Method("r", title="R", selector=Random())
SCORED = Method("m", title="M", labeler=GroundTruth(), scorer=Aum(), selector=Top())
OTHER = {"recipe.final_network": "resnet8"}
pytestmark = pytest.mark.filterwarnings("ignore")  # timm's own, on import


def keys(matrix):
    return {stage.kind: stage.key for stage in matrix.graph.stages.values()}


# Another final network


@pytest.mark.parametrize("tuning", ["default", "search", "oracle_test"])
def test_a_selection_knows_nothing_of_the_final_network(matrix, offer, tuning):
    offer(Powered)
    method = Method("p", title="P", labeler=GroundTruth(), scorer=Powered(), selector=Top())
    same, other = (keys(matrix(method, tuning=tuning, changes=changes)) for changes in ({}, OTHER))
    assert {kind for kind in same if same[kind] != other[kind]} == {"accuracy"}


def test_the_final_network_alone_is_another_one(matrix, make):
    made = make(matrix(SCORED, changes=OTHER))
    assert made.failures == {}
    titles = {stage.kind: stage.title for stage in made.stages}
    assert (titles["dynamics"], titles["accuracy"]) == ("cnn, 4 epochs", "resnet8, 4 epochs")
    assert made.rows[0].final_network == "resnet8, where proxy networks are cnn"
    assert "Final networks: resnet8, where proxy networks are cnn. " in facts(made.rows)


def test_a_head_is_no_other_network(matrix):
    message = r"recipe\.final_network is 'resnet8', expected None beside recipe\.final_backbone"
    with pytest.raises(PrunebenchError, match=message):
        matrix(RANDOM, changes=OTHER | {"recipe.final_backbone": "pixels"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"exams": ["shfit"]}, "exam 'shfit' is none of shift, calibration, and as a network: no network "),
        ({"exams": ["timm:test_vit"]}, "timm's test_vit cannot see images of 8 pixels"),
        (
            {"changes": {"recipe.final_network": "resnet9"}},
            "recipe.final_network: no network named",
        ),
    ],
)
def test_a_network_that_cannot_be_is_told_before_all_selections(matrix, store, values, message):
    with pytest.raises(PrunebenchError, match=message):
        run_matrix(matrix(SCORED, **values), Forecast(), None)
    assert not [*store.root.glob("??/*")]


# Exams


def test_without_exams_all_keys_are_as_before_there_were_any(matrix):
    plain, examined = matrix(SCORED), matrix(SCORED, exams=["calibration"])
    assert "tests" not in plain.graph.targets[plain.cells[0]].identity
    different = {kind for kind in keys(plain) if keys(plain)[kind] != keys(examined)[kind]}
    assert different == {"accuracy"}
    assert plain.cells[0].method_key != examined.cells[0].method_key


def test_other_networks_train_on_the_same_subset(matrix, make, store):
    chosen = matrix(RANDOM, exams=["resnet8", "timm:test_byobnet"])
    made = make(chosen)
    assert made.failures == {}
    (row,) = made.rows
    assert set(row.accuracy_transferred) == {"resnet8", "timm:test_byobnet"}
    transfers = chosen.graph.transfers[chosen.cells[0]]
    accuracies = {name: store.read(stage.key, Accuracy).accuracy for name, stage in transfers.items()}
    assert row.accuracy_transferred == accuracies
    assert {stage.source("subset").key for stage in transfers.values()} == {row.subset_key}
    assert row.accuracy_key not in {stage.key for stage in transfers.values()}


def test_what_other_networks_cost_is_no_cost_of_the_cell_itself(matrix, make, store):
    chosen = matrix(RANDOM, exams=["resnet8"])
    row = make(chosen).rows[0]
    (transfer,) = chosen.graph.transfers[chosen.cells[0]].values()
    assert set(row.seconds) == {"subset", "accuracy", "transfer"}
    assert row.seconds["accuracy"] == store.manifest(row.accuracy_key)["seconds"]
    assert row.seconds["transfer"] == store.manifest(transfer.key)["seconds"]


def test_tests_change_no_accuracy_and_are_those_of_the_stored_network(matrix, make, store):
    plain = make(matrix(RANDOM)).rows[0]
    made = make(matrix(RANDOM, exams=["calibration", "shift"]))
    row = made.rows[0]
    assert [stage.kind for stage in made.stages] == ["accuracy"]
    assert (row.accuracy, row.history) == (plain.accuracy, plain.history)
    assert (plain.accuracy_shifted, plain.calibration) == ({}, {})
    assert set(row.accuracy_shifted) == set(corruptions.NAMES)
    exam, accuracy = store.read(row.accuracy_key, Exam), store.read(row.accuracy_key, Accuracy)
    assert exam.probabilities.dtype == np.float16 and exam.probabilities.shape == (32, 4)
    assert (exam.probabilities.argmax(1) == accuracy.predictions).all()
    stored = measure(np.log(exam.probabilities.astype(np.float64)), np.arange(64, 96) % 4)
    assert row.calibration == pytest.approx(stored, abs=0.5)


def test_history_is_on_the_row(matrix, make):
    row = make(matrix(RANDOM, changes={"recipe.evaluate_every": 2})).rows[0]
    assert [epoch for epoch, _ in row.history] == [2, 4]
    assert row.history[-1][1] == row.accuracy


def test_a_network_of_a_labeler_sits_no_exam(matrix, make):
    chosen = matrix("ssl_model", exams=["resnet8", "shift", "calibration"])
    (cell,) = chosen.cells
    assert chosen.graph.transfers[cell] == {}
    assert "tests" not in chosen.graph.targets[cell].identity


def test_what_a_network_trains_anyway_is_no_exam(matrix):
    with pytest.raises(PrunebenchError, match="exam 'cnn' is the network that the recipe trains anyway"):
        matrix(RANDOM, exams=["cnn"])


@pytest.mark.parametrize("exam", ["shift", "resnet8"])
def test_heads_on_embeddings_sit_calibration_alone(matrix, make, exam):
    frozen = {"recipe.final_backbone": "pixels"}
    with pytest.raises(PrunebenchError, match=f"exam '{exam}' needs final networks that see images"):
        matrix(RANDOM, exams=[exam], changes=frozen)
    made = make(matrix(RANDOM, exams=["calibration"], changes=frozen))
    assert set(made.rows[0].calibration) == {"ece", "nll", "brier"}


# Shift


def brightness(images):
    """A network of two classes: whether the mean pixel is above half."""
    mean = images[:].float().mean((1, 2, 3)).numpy()
    return np.stack([128 - mean, mean - 128], axis=1)


def test_each_corruption_is_applied_to_all_test_images_whatever_the_chunks(monkeypatch):
    array = np.random.default_rng(1).integers(256, size=(7, 1, 8, 8), dtype=np.uint8)
    images, truth = Images(array, mean=(0.5,), std=(0.5,)), np.ones(7, np.int64)
    found = examine(["shift"], brightness, images, truth).shifted
    for name, corrupt in corruptions.corruptions(np.random.default_rng(0), fixed=True).items():
        corrupted = Images(corrupt(array), mean=(0.5,), std=(0.5,))
        assert found[name] == 100 * (brightness(corrupted).argmax(1) == 1).mean(), name
    monkeypatch.setattr("prunebench.pipeline.stages.examining.CHUNK_SIZE", 2)
    assert examine(["shift"], brightness, images, truth).shifted == found
