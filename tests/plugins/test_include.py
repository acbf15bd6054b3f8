"""Include: annotated images first, another selector for the rest."""

from __future__ import annotations

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench_plugins.selectors.beta import Beta
from prunebench_plugins.selectors.cutoff import Cutoff
from prunebench_plugins.selectors.d2 import D2
from prunebench_plugins.selectors.include import Include
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.stratified import Stratified
from prunebench_plugins.selectors.top import Top

KNOWN = np.array([-1, 3, -1, -1, 0, -1, -1, -1])
SCORES = np.array([7.0, 0, 6, 5, 0, 4, 3, 2])


def test_the_annotated_images_are_kept_and_the_rest_is_chosen_by_the_held_selector() -> None:
    rng = np.random.default_rng(0)
    chosen = Include(selector=Top()).select(known_labels=KNOWN, keep=4, scores=SCORES, rng=rng)
    assert chosen.tolist() == [1, 4, 0, 2]


def test_the_held_selector_sees_the_unlabeled_images_alone() -> None:
    """A cutoff of a third drops two of the six unlabeled images."""
    held = Include(selector=Cutoff(cutoff=1 / 3))
    chosen = held.select(known_labels=KNOWN, keep=4, scores=SCORES, rng=np.random.default_rng(0))
    assert chosen.tolist() == [1, 4, 3, 5]


def test_it_needs_what_the_held_selector_needs() -> None:
    assert Include(selector=Cutoff()).needs() == {
        "scores": True,
        "keep": True,
        "rng": True,
        "known_labels": True,
    }
    assert "dynamics" not in Include(selector=Random()).needs()


def test_the_held_selector_follows_the_ratio() -> None:
    assert Include(selector=Cutoff()).at(70).selector == Cutoff(cutoff=0.4)
    assert Include(selector=Beta()).at(70).selector == Beta().at(70)


def test_beta_follows_the_ratio_of_the_whole_not_of_the_rest() -> None:
    """2 of 8 images are annotated and 4 kept: half of the whole is pruned, two thirds of the rest."""
    assert Include(selector=Beta()).at(50).selector == Beta(pruned=0.5)


@pytest.mark.parametrize("held", [Cutoff(), Stratified(), D2(), Beta(), Include(selector=Beta())])
def test_what_follows_the_ratio_does_so_inside_include(held) -> None:
    assert Include(selector=held).at(90).selector == held.at(90) != held


def test_more_annotated_images_than_are_to_be_kept_is_one_line() -> None:
    with pytest.raises(
        PrunebenchError, match="include keeps all 2 annotated images, but only 1 are to be kept"
    ):
        Include().select(known_labels=KNOWN, keep=1, rng=np.random.default_rng(0))


@pytest.mark.parametrize("options", [{"per_class": True}, {"selector": Random(per_class=True)}])
def test_per_class_is_refused_rather_than_ignored(options: dict) -> None:
    with pytest.raises(PrunebenchError, match="per_class is True, expected false: include does not"):
        Include(**options)
