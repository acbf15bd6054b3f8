"""Rows to the tables of work: what counts, what is left out, and that Randoms stand beside their methods."""

import pytest

from prunebench.results.board import Page, boards
from prunebench.results.class_tables import balanced_table, worst_classes_table
from prunebench.results.spelling import heading, spelled
from prunebench.results.tables import equal_labels_table
from prunebench.results.work_tables import equal_work_table, work_table


def units(multiply_adds, images=0, cpu_seconds=0.0):
    return {"steps": 1, "images": images, "multiply_adds": multiply_adds, "cpu_seconds": cpu_seconds}


WORK = {
    "scores": units(6e9, images=200, cpu_seconds=3.0),
    "search": units(4e9, images=100, cpu_seconds=1.0),
    "accuracy": units(2e9, images=50, cpu_seconds=9.0),
    "final_embeddings": units(50e9),
    "transfer": units(70e9, images=999),
}
FULL = {"method": "full", "reference": True, "ratio": 0, "work": {"accuracy": units(5e9, images=100)}}
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
    assert words(table) == [["A", "300", "10", "4.0", "2"]]


def test_a_selection_pays_once_trainings_have_saved_what_it_took(board):
    """It takes 10 and each training saves 5 - 2: three save 9, four 12."""
    costly = {"method": "b", "work": {"scores": units(1e9), "accuracy": units(5e9)}}
    free = {"method": "c", "work": {"subset": units(0), "accuracy": units(1e9)}}
    table = work_table(board({"method": "a", "work": WORK}, costly, free, FULL))
    assert heading(table.header[-1]) == "trainings until it pays at 50"
    assert [line[::5] for line in words(table)] == [["C", "1"], ["B", "never"], ["A", "4"]]


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
    assert heading(table.header[4]) == "GPU kJ to select"
    assert [(line[0], line[4]) for line in words(table)] == [("A", "0.9"), ("B", "·")]


def test_a_random_that_trained_as_long_stands_below_its_method(board):
    found = board({"method": "a", "work": WORK}, {"method": "b", "work": WORK}, TWIN)
    assert words(equal_work_table(found)) == [
        ["A", "images trained on in all", "350"],
        ["", "accuracy", "80.0"],
        ["", "Random, trained as long", "75.0"],
    ]
    assert equal_work_table(board({"method": "b", "work": WORK})) is None


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
