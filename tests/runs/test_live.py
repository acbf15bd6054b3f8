"""The picture of a run on a terminal: what it says, and that it fits."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from prunebench.runs.live import Headline, Line, StageLine, picture

HEAD = Headline(41, 126, 2, "48 s", "about 3.2 min left")
STAGES = [
    StageLine("accuracy semi_dual digits 50 % seed 1", 0.45, 3100.4, 12.0),
    StageLine("scores dual digits seed 0"),
    StageLine("labels temi digits", elsewhere=True),
]
LINES = [
    Line("digits", "random", [(30, "done"), (30, "done"), (50, "done"), (50, "running")]),
    Line("digits", "full", [(0, "failed"), (0, "left")]),
]


def drawn(head, stages, lines, width=80, height=24):
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(picture(head, stages, lines, width, height))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_it_says_what_runs_and_fills_the_matrix():
    head, *others = drawn(HEAD, STAGES, LINES)
    assert head.startswith("stages 41/126, 2 running ━") and head.endswith(" 48 s, about 3.2 min left")
    assert others == [
        "  accuracy semi_dual digits 50 % … ━━━━━         45 % 3,100 images/s  12 s left",
        "  scores dual digits seed 0",
        "  labels temi digits                                  another run makes it",
        "cells 3/6 done, 1 running, 1 failed, 1 left",
        "                           0 % 30 % 50 %",
        "  digits random                ##   #>",
        "  digits full              x.",
    ]


def test_workers_that_start_are_told():
    [head] = drawn(Headline(0, 126, 0, "8 s", "time left unknown"), [], [])
    assert head.startswith("stages 0/126, workers start ")


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 6, 8, 12, 24, 50])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_fits_every_terminal_and_leaves_room(width, height):
    """45 methods on three datasets with nine ratios of five seeds, and sixteen workers."""
    cells = [(ratio, "left") for ratio in range(10, 100, 10) for _ in range(5)]
    lines = [Line(f"data_{d}", f"method_{m}", cells) for d in range(3) for m in range(45)]
    found = drawn(HEAD, [STAGES[0]] * 16, lines, width, height)
    assert len(found) <= max(1, height * 2 / 3)
    assert max(map(len, found)) <= width


def test_lines_that_do_not_fit_are_summed_and_what_runs_comes_first():
    lines = [Line("d", f"m{number}", [(50, "done"), (50, "left")]) for number in range(30)]
    lines[20] = Line("d", "busy", [(50, "done"), (50, "running")])
    lines[29] = Line("d", "broken", [(50, "failed"), (50, "failed")])
    found = drawn(HEAD, [], lines, height=15)
    assert found[3:] == [
        *(f"  d m{number}                     #." for number in range(4)),
        "  d busy                   #>",
        "  d broken                 xx",
        "  and 24 more: 24 done, 24 left",
    ]


def test_seeds_that_do_not_fit_are_counted():
    cells = [(ratio, "done" if seed < 13 else "left") for ratio in range(10, 100, 10) for seed in range(20)]
    found = drawn(HEAD, [], [Line("fashion_mnist_small", "method", cells)])
    assert found[-1] == "  fashion_mnist_small met…" + 9 * " 13/20"


def test_names_of_strangers_steer_no_terminal():
    found = drawn(
        HEAD, [StageLine("scores \x1b[2J[red]x[/red]")], [Line("a\x1b[2J", "[b]m[/b]", [(5, "left")])]
    )
    assert not any("\x1b" in line for line in found)
    assert found[1].startswith(r"  scores \x1b[2J[red]x[/red]")
    assert found[-1].startswith(r"  a\x1b[2J [b]m[/b]")
