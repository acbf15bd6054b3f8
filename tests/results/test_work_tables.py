"""Rows to the tables of work: what counts, what is left out, and that Randoms stand beside their methods."""

import pytest

from prunebench.results.board import Page, boards
from prunebench.results.class_tables import balanced_table, worst_classes_table
from prunebench.results.spelling import heading, spelled
from prunebench.results.tables import equal_labels_table
from prunebench.results.work_tables import break_even_table, equal_work_table, work_table


def units(multiply_adds, images=0, cpu_seconds=0.0):
    return {"steps": 1, "images": images, "multiply_adds": multiply_adds, "cpu_seconds": cpu_seconds}


WORK = {
    "scores": units(6e9, images=200, cpu_seconds=3.0),
    "search": units(4e9, images=100, cpu_seconds=1.0),
    "accuracy": units(2e9, images=50, cpu_seconds=9.0),
    "final_embeddings": units(50e9),
    "transfer": units(70e9, images=999),
}
ALL_IMAGES = {"accuracy": units(5e9, images=100, cpu_seconds=14.0)}
FULL = {"method": "full", "reference": True, "ratio": 0, "work": ALL_IMAGES}
TWIN = {
    "method": "random_timed{a}",
    "reference": True,
    "matched_to": "a",
    "matched_in": "work",
    "accuracy": 75.0,
    "work": {"subset": units(0), "accuracy": units(14e9, images=350)},
}


@pytest.fixture
def board(row):
    """board(row values, ...) is the board of these rows, at ratio 50 and seed 0."""

    def made(*rows):
        page = Page("toys", "Toys", "", [50], [0], [row(**values) for values in rows])
        return boards(page)[0]

    return made


def words(table):
    return [[spelled(cell) for cell in row.cells] for row in table.rows]


def test_searches_are_work_of_the_selection_and_what_comes_after_it_is_not(board):
    table = work_table(board({"method": "a", "work": WORK}))
    assert words(table) == [["A", "300", "2", "10", "4.0", "2"]]


def test_a_selection_pays_once_trainings_have_saved_what_it_took(board):
    """It takes 10 and each training saves 5 - 2: three save 9, four 12. In CPU seconds 4 and 14 - 9."""
    quick = {"method": "b", "work": {"scores": units(1e9, cpu_seconds=11.0), "accuracy": WORK["accuracy"]}}
    table = break_even_table(board({"method": "a", "work": WORK}, quick, FULL))
    assert [*map(heading, table.header)] == ["method", "by multiply-adds at 50", "by CPU seconds at 50"]
    assert words(table) == [["B", "1", "3"], ["A", "4", "1"]]
    assert "each of 5 GMAC and 14 CPU seconds." in table.notes[0]
    assert break_even_table(board({"method": "a", "work": WORK})) is None  # what all images take is unknown


def test_a_selection_without_networks_pays_by_cpu_seconds_alone(board):
    """ZCore once paid after one training, by no multiply-adds, after a minute of computing."""
    zcore = {"method": "zcore", "work": {"scores": units(0, cpu_seconds=62.8), "accuracy": WORK["accuracy"]}}
    assert words(break_even_table(board(zcore, FULL))) == [["Zcore", "·", "13"]]


def test_a_training_that_saves_nothing_never_pays(board):
    slow = {"scores": units(1e9, cpu_seconds=1.0), "accuracy": units(5e9, cpu_seconds=15.0)}
    table = break_even_table(board({"method": "a", "work": slow}, FULL))
    assert words(table) == [["A", "never", "never"]]


def test_trainings_of_a_ratio_are_alike_so_that_chance_in_one_decides_nothing(board):
    loaded = WORK | {"accuracy": units(2e9, cpu_seconds=99.0)}
    rows = [{"method": name, "work": work} for name, work in zip("abc", (WORK, WORK, loaded), strict=True)]
    assert [line[-1] for line in words(break_even_table(board(*rows, FULL)))] == ["1", "1", "1"]


def test_where_a_gpu_worked_its_seconds_are_shown_and_cpu_seconds_decide_nothing(board):
    gpu = {"method": "a", "work": WORK, "gpu_seconds": {"scores": 2.0, "accuracy": 3.0}}
    of = board(gpu, {"method": "b", "work": WORK}, FULL)
    table = work_table(of)
    assert heading(table.header[5]) == "GPU seconds to select"
    assert [(line[0], line[5]) for line in words(table)] == [("A", "2.0"), ("B", "0.0")]
    assert words(break_even_table(of)) == [["A", "4"], ["B", "4"]]


def test_the_order_follows_multiply_adds_and_not_seconds(board):
    slow = {
        "method": "slow",
        "seconds": {"scores": 99.0},
        "work": WORK | {"search": units(1e9, cpu_seconds=99)},
    }
    quick = {"method": "quick", "seconds": {"scores": 1.0}, "work": WORK}
    assert [line[0] for line in words(work_table(board(quick, slow)))] == ["Slow", "Quick"]


def test_rows_that_counted_no_work_stand_in_no_table(board):
    assert work_table(board({"method": "a"})) is None
    table = work_table(board({"method": "a"}, {"method": "b", "work": WORK}))
    assert [line[0] for line in words(table)] == ["B"]


def test_the_energy_of_a_selection_where_a_driver_counted_it(board):
    work = {"dynamics": units(6e9) | {"gpu_joules": 900}, "accuracy": units(2e9) | {"gpu_joules": 300}}
    table = work_table(board({"method": "a", "work": work}, {"method": "b", "work": WORK}))
    assert heading(table.header[5]) == "GPU kJ to select"
    assert [(line[0], line[5]) for line in words(table)] == [("A", "0.9"), ("B", "·")]


def test_the_images_that_a_selection_only_looked_at_where_they_were_counted(board):
    work = {
        "embeddings": units(6e9) | {"images_forward": 700},
        "scores": units(1e9, images=200) | {"images_forward": 50},
        "accuracy": units(2e9, images=50) | {"images_forward": 90},
    }
    table = work_table(board({"method": "a", "work": work}, {"method": "b", "work": WORK}))
    assert heading(table.header[2]) == "images only looked at to select"
    assert [(line[0], line[1], line[2]) for line in words(table)] == [("A", "200", "750"), ("B", "300", "·")]


def test_a_random_that_trained_as_long_stands_below_its_method(board):
    found = board({"method": "a", "work": WORK}, {"method": "b", "work": WORK}, TWIN)
    assert words(equal_work_table(found)) == [
        ["A", "images trained on in all", "350"],
        ["", "accuracy", "80.0"],
        ["", "Random, trained as long", "75.0"],
    ]
    assert equal_work_table(board({"method": "b", "work": WORK})) is None
    assert equal_work_table(board({"method": "a"}, TWIN)) is None  # a row from before work was counted


def test_randoms_of_one_kind_do_not_stand_in_the_table_of_the_other(board):
    few = {"method": "a", "label_fraction": 0.1, "work": WORK}
    labels = {"method": "random_matched{a}", "reference": True, "matched_to": "a", "accuracy": 60.0}
    found = board(few, labels, TWIN)
    assert words(equal_labels_table(found))[-1][-1] == "60.0"
    assert words(equal_work_table(found))[-1][-1] == "75.0"


def test_the_worst_classes_of_methods_and_references(board):
    twin = {"method": "random_twin", "reference": True}
    rows = [{"method": "a", "worst_decile_recall": 40.5}, twin, twin | {"ratio": 30}, FULL, TWIN]
    table = worst_classes_table(board(*rows))
    assert [(line[0], line[-1]) for line in words(table)] == [("A", "40.5"), ("Random_Twin", "70.0")]


def test_a_balanced_accuracy_that_is_the_accuracy_has_no_table(board):
    assert balanced_table(board({"method": "a", "balanced_accuracy": 80.0})) is None
    table = balanced_table(board({"method": "a", "balanced_accuracy": 80.0}, {"method": "b"}))
    assert words(table) == [["A", "80.0"], ["B", "79.0"]]
