"""The selector `draw`: what is annotated is kept, and a draw chooses the rest."""

from __future__ import annotations

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts.conformance import conform
from prunebench.parts.registry import load
from prunebench_plugins.draws.probcover import ProbCover
from prunebench_plugins.draws.typiclust import TypiClust
from prunebench_plugins.draws.uniform import Uniform
from prunebench_plugins.draws.usl import Usl
from prunebench_plugins.selectors.draw import Drawn

KNOWN = np.array([-1, 3, -1, -1, 0, -1, -1, -1])


def rng(seed=0):
    return np.random.default_rng(seed)


def given(part, embeddings):
    """Return the inputs of a selector but for keep and known_labels."""
    inputs = {
        "embeddings": np.asarray(embeddings, np.float32),
        "names": tuple(map(str, range(len(embeddings)))),
        "rng": rng(),
        "device": "cpu",
        "progress": lambda *_: None,
    }
    return {name: value for name, value in inputs.items() if name in part.needs()}


@pytest.mark.parametrize("draw", [TypiClust(), ProbCover(), Usl()])
def test_it_keeps_the_contract_of_selectors(draw):
    conform(Drawn(draw=draw))


@pytest.mark.parametrize("draw", [TypiClust(clusters=4), ProbCover(classes=3), Uniform()])
def test_without_annotated_images_it_keeps_what_is_drawn_first(draw):
    points = rng(1).normal(size=(40, 5))
    part = Drawn(draw=draw)
    wanted = draw.draw(**given(part, points), count=11)
    assert part.select(keep=11, **given(part, points)).tolist() == wanted.tolist()


def test_a_draw_of_labeled_images_sees_them_all():
    """Six places, of which two have a label: the other four are kept before any place twice."""
    points = np.repeat(np.eye(6), 7, axis=0)
    known = np.full(42, -1)
    known[[3, 38]] = 1  # of the places 0 and 5
    part = Drawn(draw=TypiClust(smallest=1, starts=20))
    chosen = part.select(keep=6, known_labels=known, **given(part, points))
    assert chosen[:2].tolist() == [3, 38] and {*(chosen // 7)} == {*range(6)}


def test_any_other_draw_sees_the_others_alone():
    part = Drawn(draw=Uniform())
    chosen = part.select(keep=5, known_labels=KNOWN, **given(part, np.eye(8)))
    others = np.flatnonzero(KNOWN < 0)
    assert chosen.tolist() == [1, 4, *others[rng().permutation(6)[:3]]]


def test_nothing_is_drawn_where_all_that_is_kept_is_annotated():
    part = Drawn(draw=TypiClust())
    assert part.select(keep=2, known_labels=KNOWN, **given(part, np.eye(8))).tolist() == [1, 4]
    with pytest.raises(PrunebenchError, match="draw keeps all 2 annotated images, but only 1 are to be kept"):
        part.select(keep=1, known_labels=KNOWN, **given(part, np.eye(8)))


def test_it_needs_what_the_draw_needs():
    assert Drawn(draw=Uniform()).needs() == {
        "names": True,
        "rng": True,
        "keep": True,
        "known_labels": False,
    }


def test_a_suite_writes_it_as_a_table():
    table = {"part": "draw", "draw": {"part": "typiclust", "clusters": 7}}
    assert load().part("selector", table) == Drawn(draw=TypiClust(clusters=7))
