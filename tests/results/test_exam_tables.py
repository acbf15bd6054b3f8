"""Rows to the tables of exams: what is counted, and what is never made up."""

import pytest
from scipy.stats import spearmanr

from prunebench.results import exams
from prunebench.results.board import Page, boards
from prunebench.results.spelling import heading, spelled
from prunebench.results.tables import cost_table

NAMES = ("a", "b", "c", "d")
FULL = {"method": "full", "reference": True, "ratio": 0, "kept": 64, "images": 64}


@pytest.fixture
def board(row):
    """board(row values, ...) is the board of these rows, at ratio 50 and seeds 0 and 1."""

    def made(*rows):
        ordinary = {"ratio": 50, "seed": 0}
        page = Page("toys", "Toys", "", [50], [0, 1], [row(**ordinary | values) for values in rows])
        return boards(page)[0]

    return made


def words(table):
    return [[spelled(cell) for cell in row.cells] for row in table.rows]


def test_rows_without_exams_have_no_tables(board):
    assert exams.tables(board({"method": "a"}, FULL)) == []


def test_other_networks_stand_below_their_method(board):
    networks = [{"x": 70.0, "y": 50.0}, {"x": 72.0, "y": 50.0}]
    rows = [{"method": "a", "seed": seed, "accuracy_transferred": networks[seed]} for seed in (0, 1)]
    full = FULL | {"accuracy_transferred": {"x": 90.0, "y": 80.0}}
    table = exams.transfer_table(board(*rows, full))
    assert words(table) == [["A", "x", "71.0 ± 1.4"], ["", "y", "50.0 ± 0.0"]]
    assert table.notes[1:] == ["All images with x: 90.0.", "All images with y: 80.0."]


def test_other_networks_are_no_cost_of_a_selection(board):
    seconds = {"scores": 2.0, "accuracy": 8.0, "transfer": 50.0}
    table = cost_table(board({"method": "a", "seconds": seconds}))
    assert words(table)[0][2:4] == ["2.0", "8.0"]


def test_a_seed_that_sat_no_exam_is_told_and_not_averaged(board):
    rows = [{"method": "a", "accuracy_transferred": {"x": 70.0}}, {"method": "a", "seed": 1}]
    assert words(exams.transfer_table(board(*rows))) == [["A", "x", "70.0 (1 of 2 seeds)"]]
    assert words(exams.transfer_table(board(rows[0], {"method": "b"}))) == [
        ["A", "x", "70.0 (1 of 2 seeds)"],
        ["B", "x", "·"],
    ]


def test_shift_is_the_mean_over_corruptions(board):
    shifted = {"fog": 40.0, "motion_blur": 60.0}
    rows = [{"method": "a", "seed": seed, "accuracy_shifted": shifted} for seed in (0, 1)]
    found = board(*rows, FULL | {"accuracy_shifted": {"fog": 70.0, "motion_blur": 80.0}})
    assert words(exams.shift_table(found)) == [["A", "50.0 ± 0.0"]]
    assert exams.shift_table(found).notes[1] == "All images: 75.0."
    by_corruption = exams.corruption_table(found)
    assert [heading(column) for column in by_corruption.header[1:]] == ["fog at 50", "motion blur at 50"]
    assert words(by_corruption) == [["A", "40.0", "60.0"]]


def test_calibration_has_a_column_for_each_measure(board):
    rows = [
        {"method": "a", "seed": seed, "calibration": {"ece": 10.0 + seed, "nll": 0.5, "brier": 0.25}}
        for seed in (0, 1)
    ]
    assert words(exams.calibration_table(board(*rows))) == [["A", "10.5", "0.500", "0.250"]]


def test_images_seen_to_reach_a_share_of_the_accuracy_of_all_images(board):
    """All images give 80 %, of which these are 72, 76 and 79.2 %. Each epoch has 32 images."""
    history = {0: [[10, 72.0], [20, 76.0], [30, 79.0]], 1: [[10, 50.0], [20, 76.0], [30, 80.0]]}
    rows = [{"method": "a", "seed": s, "kept": 32, "history": history[s]} for s in (0, 1)]
    full = [FULL | {"seed": s, "accuracy": 80.0, "history": [[10, 76.0], [20, 80.0]]} for s in (0, 1)]
    table = exams.images_table(board(*rows, *full, {"method": "old", "kept": 32}))
    assert words(table) == [
        ["A", "90", "480"],  # 320 and 640
        ["", "95", "640"],
        ["", "99", "1 of 2 seeds"],
        ["Old", "90", "·"],  # a row from before rows had histories
        ["", "95", "·"],
        ["", "99", "·"],
    ]
    assert "tested every 10 epochs. All images: 640 / 640 / 1280." in table.notes[0]


def test_a_training_that_ends_within_an_epoch_saw_no_whole_one(board):
    """The network of A trained on 20 of 32 images, that of Old is from before these were counted."""
    short = {"kept": 32, "history": [[1, 80.0]]}
    counted = {"accuracy": {"steps": 2, "images": 20, "multiply_adds": 1, "cpu_seconds": 1.0}}
    full = FULL | {"accuracy": 80.0, "history": [[1, 80.0]]}
    table = exams.images_table(
        board({"method": "a", "work": counted} | short, {"method": "old"} | short, full)
    )
    assert [line[-1] for line in words(table)] == ["20"] * 3 + ["32"] * 3


def test_without_all_images_there_is_nothing_to_reach(board):
    assert exams.images_table(board({"method": "a", "history": [[1, 90.0]]})) is None


def sitting(accuracies, shifted, **more):
    """Return a row for each method of NAMES and seed, with an accuracy and one under fog."""
    rows = []
    for place, name in enumerate(NAMES):
        found = {"accuracy": accuracies[place], "accuracy_shifted": {"fog": shifted[place]}}
        others = {key: value(place) for key, value in more.items()}
        rows += [{"method": name, "seed": seed} | found | others for seed in (0, 1)]
    return rows


def test_agreement_is_spearmans_correlation_over_methods(board):
    clean, fog = [90.0, 80.0, 70.0, 60.0], [50.0, 40.0, 10.0, 20.0]
    rows = sitting(clean, fog, calibration=lambda place: {"ece": 1.0 + place})
    table = exams.agreement_table(board(*rows, FULL | {"accuracy": 1.0}))
    assert words(table) == [
        ["accuracy", "itself, on other seeds", "1.00"],
        ["accuracy under shift", "itself, on other seeds", "1.00"],
        ["ECE", "itself, on other seeds", "1.00"],
        ["accuracy", "accuracy under shift", f"{spearmanr(clean, fog).statistic:.2f}"],
        ["accuracy", "ECE", "1.00"],  # the more accurate, the smaller the error
        ["accuracy under shift", "ECE", "0.80"],
    ]


def test_too_few_methods_and_equal_ones_have_no_correlation(board):
    three = [row for row in sitting([3.0, 2.0, 1.0, 0.0], [3.0, 2.0, 1.0, 0.0]) if row["method"] != "d"]
    equal = sitting([3.0, 2.0, 1.0, 0.0], [3.0] * 4)
    for rows in (three, equal):
        assert words(exams.agreement_table(board(*rows)))[-1][-1] == "·"


def test_a_method_that_lacks_a_seed_is_in_no_correlation(board):
    rows = sitting([4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0])
    assert words(exams.agreement_table(board(*rows)))[-1][-1] == "1.00"
    assert words(exams.agreement_table(board(*rows[:-1])))[-1][-1] == "·"


def test_a_method_that_sat_an_exam_with_some_seeds_is_in_no_correlation_of_it(board):
    rows = sitting([4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0])
    rows[-1]["accuracy_shifted"] = {}
    assert [line[-1] for line in words(exams.agreement_table(board(*rows)))] == ["1.00", "·", "·"]


def test_an_exam_is_put_to_itself_on_other_seeds(board):
    """The odd seeds rank the methods the other way round."""
    rows = sitting([4.0, 3.0, 2.0, 1.0], [0.0] * 4)
    for row in rows[1::2]:
        row["accuracy"] = 5 - row["accuracy"]
    assert words(exams.agreement_table(board(*rows)))[0] == ["accuracy", "itself, on other seeds", "-1.00"]
