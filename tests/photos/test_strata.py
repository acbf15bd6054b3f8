"""Strata: every beginning of a draw holds each in proportion to its size."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts import seeds
from prunebench.photos.groups import in_proportion
from prunebench.photos.prune import draw
from prunebench.system import tables
from tests.photo_folders import write_photos

PLACES = ("lake", "lake", "lake", "wood", "wood", "road")  # of photos in turn: a half, a third, a sixth


@pytest.fixture
def strata(tmp_path):
    """60 photos, and a .csv with the place of each."""
    names = list(write_photos(tmp_path / "photos"))
    place_of = {name: PLACES[i % len(PLACES)] for i, name in enumerate(names)}
    table = tmp_path / "places.csv"
    table.write_text(tables.written(["file", "stratum"], place_of.items()))
    return place_of, table


@pytest.mark.parametrize("seed", range(5))
def test_each_beginning_has_the_share_of_each_stratum(seed):
    strata = np.repeat(["a", "b", "c"], [60, 30, 10])
    order = in_proportion(strata, seeds.stream("strata", seed))
    assert sorted(order) == list(range(100))
    counts = np.cumsum(strata[order][:, None] == ["a", "b", "c"], axis=0)
    expected = np.arange(1, 101)[:, None] * [0.6, 0.3, 0.1]
    assert np.abs(counts - expected).max() < 1.5
    for stratum in "abc":
        assert np.all(np.diff(order[strata[order] == stratum]) > 0)


def test_small_strata_do_not_come_all_at_once():
    strata = [*("large",) * 100, *map(str, range(100))]
    order = in_proportion(strata, seeds.stream("strata", 0))
    assert 15 < np.count_nonzero(order[:50] < 100) < 35


@pytest.mark.parametrize("labels", [6, 12, 30, 60])
def test_a_draw_takes_of_each_stratum_its_share(tmp_path, strata, labels):
    place_of, table = strata
    drawn = draw(tmp_path / "photos", labels, strata=table, data=tmp_path / "data")
    counts = Counter(place_of[name] for name in drawn)
    assert all(abs(counts[place] - labels * share / 6) < 1.5 for place, share in Counter(PLACES).items())
    assert drawn == draw(tmp_path / "photos", 60, strata=str(table), data=tmp_path / "data")[:labels]


def test_within_a_stratum_the_order_is_that_of_the_draw(tmp_path, strata):
    place_of, table = strata
    plain = draw(tmp_path / "photos", 60, data=tmp_path / "data")
    drawn = draw(tmp_path / "photos", 60, strata=table, data=tmp_path / "data")
    assert plain != drawn
    for place in PLACES:
        of_place = [[name for name in names if place_of[name] == place] for names in (plain, drawn)]
        assert of_place[0] == of_place[1]


def test_what_is_not_listed_is_a_stratum_together(tmp_path, strata):
    place_of, table = strata
    lakes = {name: place for name, place in place_of.items() if place == "lake"}
    table.write_text(tables.written(["file", "stratum"], lakes.items()))
    drawn = draw(tmp_path / "photos", 20, strata=table, data=tmp_path / "data")
    assert 9 <= sum(name in lakes for name in drawn) <= 11


@pytest.mark.parametrize(
    ("rows", "by", "message"),
    [
        (
            [("a.png", "x")],
            "typiclust",
            "--strata .*: typiclust spreads its choice by looking; use it with --by",
        ),
        ([("none.png", "x")], "uniform", "places.csv lists 1 file.s. that are no images in .*: none.png"),
        ([("000.jpg", "x"), ("000.jpg", "y")], "uniform", "places.csv puts 000.jpg into both 'x' and 'y'"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, strata, rows, by, message):
    table = strata[1]
    table.write_text(tables.written(["file", "stratum"], rows))
    with pytest.raises(PrunebenchError, match=message) as error:
        draw(tmp_path / "photos", 5, by=by, strata=table, data=tmp_path / "data")
    assert "\n" not in str(error.value)


def test_the_command_takes_the_table(cli, tmp_path, strata):
    told = cli(f"draw photos --labels 12 --strata {strata[1]} --output first.csv")
    assert (told.code, told.err) == (0, "")
    lines = Path("first.csv").read_text().splitlines()[1:]
    assert 5 <= sum(strata[0][line.partition(",")[0]] == "lake" for line in lines) <= 7
