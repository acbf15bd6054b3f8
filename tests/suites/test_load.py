"""What the load of a machine does to costs, as docs/statistics.md tells it."""

import multiprocessing

from benchmarks.load import BEGIN, END, METHODS, PAGE, UNITS, beside, cost, filled, moved, table


def test_pairs_move_where_their_order_or_their_being_equal_does():
    assert moved([1, 2, 3], [10, 20, 30]) == 0
    assert moved([1, 2, 3], [10, 30, 20]) == 1
    assert moved([1, 1, 3], [1, 2, 3]) == 1
    assert moved([1, 2, 3], [3, 2, 1]) == 3


def test_the_table_compares_each_unit():
    same = {unit: [0, 2, 4] for unit in UNITS}
    lines = table(same, same | {"seconds": [1, 8, 6]}).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2] == ["steps of trainings", "1.00", "1.00", "1.00", "0 of 3"]
    assert cells[-1] == ["seconds of the clock", "1.50", "2.75", "4.00", "1 of 3"]
    assert len(cells) == 2 + len(UNITS)


def test_the_cost_is_that_of_the_selection(row):
    stages = {"scores": {"images": 7, "cpu_seconds": 2.0}, "accuracy": {"images": 9, "cpu_seconds": 5.0}}
    found = row(work=stages, seconds={"scores": 3.0, "subset": 0.5, "accuracy": 8.0})
    assert [cost(found, unit) for unit in ("images", "cpu_seconds", "seconds")] == [7, 2.0, 3.5]


def test_busy_processes_end_with_the_run():
    with beside(1):
        (busy,) = multiprocessing.active_children()
        assert busy.is_alive()
    assert not multiprocessing.active_children() and not busy.is_alive()


def test_the_page_has_a_line_for_each_unit_and_keeps_all_else():
    text = PAGE.read_text(encoding="utf-8")
    found = text.partition(BEGIN)[2].partition(END)[0]
    assert all(f"| {title} " in found for title in UNITS.values())
    assert f" of {len(METHODS) * (len(METHODS) - 1) // 2} " in found
    assert filled(text, found.strip()) == text
