"""Quality of pseudo-labels, against cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from prunebench import Labels
from prunebench.pipeline.label_quality import confusion, matched, measure

TRUTH = np.array([0, 0, 0, 1, 1, 2])


def labels(values: list[int], annotated: list[int] | None = None, **more) -> Labels:
    flags = np.zeros(len(values), bool) if annotated is None else np.array(annotated, bool)
    return Labels(values=np.array(values), annotated=flags, **more)


def metrics(given: Labels) -> dict[str, float]:
    return measure(given, TRUTH, 3).metrics


def test_true_labels_are_perfect() -> None:
    found = metrics(labels(TRUTH.tolist()))
    assert [found[name] for name in ("accuracy", "hungarian", "balanced", "nmi", "ari")] == pytest.approx(
        [100] * 5
    )
    assert (found["empty"], found["prior_distance"]) == (0, 0)


def test_renamed_clusters_are_perfect_after_matching_and_have_no_accuracy_as_they_stand() -> None:
    found = metrics(labels([2, 2, 2, 0, 0, 1], space="cluster"))
    assert [found[name] for name in ("hungarian", "balanced", "nmi", "ari")] == pytest.approx([100] * 4)
    assert "accuracy" not in found
    assert found["prior_distance"] == 0


def test_class_labels_in_the_wrong_order_are_wrong_whatever_a_renaming_would_make_of_them() -> None:
    found = metrics(labels([2, 2, 2, 0, 0, 1]))
    assert (found["accuracy"], found["hungarian"], found["balanced"]) == (0, 100, 0)


def test_one_label_for_all_images() -> None:
    found = metrics(labels([0] * 6))
    assert found["accuracy"] == pytest.approx(50)
    assert found["balanced"] == pytest.approx(100 / 3)
    assert (found["nmi"], found["ari"], found["empty"]) == (0, 0, 2)
    assert found["prior_distance"] == pytest.approx(0.5)


def test_annotated_labels_flatter_so_the_others_are_measured_apart() -> None:
    found = metrics(labels([0, 0, 0, 2, 2, 1], annotated=[1, 1, 1, 0, 0, 0]))
    assert found["accuracy"] == pytest.approx(50)
    assert found["unlabeled_accuracy"] == 0


def test_an_unknown_label_is_wrong() -> None:
    assert metrics(labels([0, -1, -1, 1, 1, 2]))["accuracy"] == pytest.approx(100 * 4 / 6)


def test_a_class_without_labels_is_no_cluster() -> None:
    found = metrics(labels([0, 0, 0, -1, -1, -1]))
    assert found["nmi"] == pytest.approx(50)  # the labeled half has one class, and one label
    assert found["ari"] == pytest.approx(100 * (3 - 0.8) / (3.5 - 0.8))  # of pairs


def test_labels_that_all_lack_agree_with_nothing() -> None:
    found = metrics(labels([-1] * 6))
    assert (found["nmi"], found["ari"]) == (0, 0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_share_of_right_labels_is_worth_less_than_all(share: float) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(10, size=2000)
    values = np.where(rng.random(2000) < share, truth, -1)
    found = measure(labels(values.tolist()), truth, 10).metrics
    assert found["nmi"] == pytest.approx(100 * (values >= 0).mean())
    assert 0 < found["ari"] <= found["nmi"]


def test_matching_renames_one_to_one() -> None:
    values = np.array([1, 1, 1, 1, 1, 0])
    assert matched(values, TRUTH, 3).tolist() == [0, 0, 0, 0, 0, 2]
    assert confusion(values, TRUTH, 3).tolist() == [[0, 0, 1], [3, 2, 0], [0, 0, 0]]


def test_confidence_is_reported_where_there_is_one() -> None:
    assert metrics(labels([0] * 6, confidences=np.full(6, 0.25)))["confidence"] == 0.25


def test_images_are_counted_by_label_clusters_by_the_classes_they_match() -> None:
    found = measure(labels([2, 2, 2, 2, 0, -1], space="cluster"), TRUTH, 3)
    assert (found.labels_per_class, found.truth_per_class) == ([4, 1, 0], [3, 2, 1])
