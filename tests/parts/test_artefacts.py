"""Artefacts hold what they say, or are refused in one line."""

import re

import numpy as np
import pytest

from prunebench import Labels, PrunebenchError, PseudoLabels


def pseudo_labels(values, **more):
    return PseudoLabels(values=values, **more)


def labels(values, **more):
    return Labels(values=values, annotated=[False] * len(values), **more)


both = pytest.mark.parametrize("make", [pseudo_labels, labels])


@both
@pytest.mark.parametrize("values", [[0.9, 1.7, -0.5], [0.0, 1.0], [True, False], ["0", "1"], [None]])
def test_labels_that_are_no_whole_numbers_are_refused(make, values):
    message = r"(Pseudo)?Labels\.values are (float64|bool|<U1|object), expected int: a class .*; make them so"
    with pytest.raises(PrunebenchError, match=f"^{message}$"):
        make(values)


@both
@pytest.mark.parametrize("count", [2, 4])
def test_confidences_of_another_number_than_labels_are_refused(make, count):
    message = f"Labels has 3 values but {count} confidences; give each label one, or None"
    with pytest.raises(PrunebenchError, match=f"{re.escape(message)}$"):
        make([0, 1, -1], confidences=np.ones(count))


@both
@pytest.mark.parametrize("values", [[], [0, -1], np.array([2, 1], np.uint8), np.array([], np.int32)])
def test_whole_numbers_are_taken_with_a_confidence_each(make, values):
    made = make(values, confidences=np.ones(len(values)))
    assert (made.values.dtype, made.values.tolist()) == (np.int64, list(values))
    assert made.confidences.tolist() == [1.0] * len(values)
