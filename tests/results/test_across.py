"""Methods over several datasets: a dataset with its views counts once, and few datasets separate nothing."""

import pytest

from prunebench.results.board import Page
from prunebench.results.document import document
from prunebench.results.spelling import spelled

NAMES = [f"set{number}" for number in range(8)]


@pytest.fixture
def page(row):
    """page(datasets, gains, **fields) has rows of Random, a worse method, and one that gains so much."""

    def made(datasets, gains, **fields):
        rows = [
            row(
                method=method,
                dataset=name,
                dataset_hash=name,
                recipe="paper",
                seed=seed,
                accuracy=value + seed / 10,
            )
            for name, gain in zip(datasets, gains, strict=True)
            for method, value in (("random", 70.0), ("near", 70.0 + gain), ("far", 60.0))
            for seed in (0, 1)
        ]
        return Page(suite="toys", title="T", note="", ratios=[50], seeds=[0, 1], rows=rows, **fields)

    return made


def summary(page):
    *_, last = document(page).sections
    return last


def words(section):
    return [[spelled(cell) for cell in line.cells] for line in section.tables[0].rows]


def test_a_gain_on_every_dataset_is_no_chance(page):
    found = summary(page(NAMES, [1.0, 2.0, 1.5, 1.2, 0.8, 1.1, 0.9, 1.3]))
    assert found.heading == "All datasets, recipe paper"
    assert words(found) == [
        ["Random", "2.0", "·", "·"],
        ["Near", "1.0", "+1.2 ± 0.4", "0.016"],  # 2 / 2 ** 8, twice
        ["Far", "3.0", "-10.0 ± 0.0", "0.016"],
    ]


def test_a_gain_on_some_datasets_may_be_chance(page):
    found = summary(page(NAMES, [1.0, -1.0, 1.5, -1.2, 0.8, 1.1, -0.9, 1.3]))
    assert float(words(found)[1][3]) > 0.4


def test_few_datasets_separate_nothing_and_say_so(page):
    found = summary(page(NAMES[:5], [1.0, 2.0, 1.5, 1.2, 0.8]))
    assert found.tables[0].notes[-1] == (
        "5 datasets separate no method from Random: among 2 methods a sign-flip test needs 7, none of them a "
        "view of another."
    )
    assert [len(line) for line in words(found)] == [3, 3, 3]


def test_views_of_one_dataset_count_once(page):
    roots = dict.fromkeys(NAMES[4:], "set4")
    found = summary(page(NAMES, [1.0] * 4 + [2.0, 4.0, 2.0, 4.0], roots=roots))
    assert words(found)[1][2] == "+1.4 ± 0.9"  # of 1, 1, 1, 1 and 3
    assert "5 datasets" in found.tables[0].notes[-1]
    assert len(document(page(NAMES, [1.0] * 8, roots=dict.fromkeys(NAMES[3:], "set4"))).sections) == 8


def test_a_method_that_lacks_a_cell_has_no_mean_rank(page):
    found = page(NAMES, [1.0] * 8)
    rows = [row for row in found.rows if (row.method, row.dataset, row.seed) != ("far", "set3", 1)]
    section = summary(Page(**{**vars(found), "rows": rows}))
    assert [line[0] for line in words(section)] == ["Random", "Near"]
    alone = [row for row in rows if row.method == "random"]
    assert len(document(Page(**{**vars(found), "rows": alone})).sections) == 8
