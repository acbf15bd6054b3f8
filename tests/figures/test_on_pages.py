"""Figures on the pages of the leaderboard: chosen by a rule, drawn where they are outdated."""

import itertools
import xml.etree.ElementTree as ElementTree

import pytest

from prunebench.figures import dots
from prunebench.results.board import Page, boards
from prunebench.results.journal import Journal
from prunebench.results.picture import MOST, Point, choice, drawn, frontier, pictures, points

FILE = '{"title": "Toys", "datasets": ["mine"], "methods": ["random"], "recipe": "tiny", "ratios": [30, 50]}'
FEW = {"label_fraction": 0.1, "labels_selection": 6, "labels_total": 35}
FULL = {"method": "full", "title": "All images", "reference": True, "kept": 64, "ratio": 0}


@pytest.fixture
def board(row):
    """board(count) is a board with Random, all images, and so many methods without and with labels."""

    def made(count, **fields):
        cells = [("random", 70.0, {})]
        cells += [
            (f"{usage}{number}", 50.0 + number, more) for usage, more in USES for number in range(count)
        ]
        rows = [
            row(method=method, ratio=ratio, accuracy=accuracy, **more, **fields)
            for method, accuracy, more in cells
            for ratio in (30, 50)
        ]
        page = Page("toys", "Toys", "", [30, 50], [0], [*rows, row(accuracy=90.0, **FULL, **fields)])
        return boards(page)[0]

    return made


USES = (("none", {}), ("few", FEW))


def names(board):
    return [rows[0].method for rows in drawn(board)]


def test_a_figure_of_few_methods_holds_all(board):
    of = board(5)
    assert len(names(of)) == 1 + 5 + 5 + 1 <= MOST and choice(of) == ""


def test_of_many_methods_those_with_the_highest_mean_are_drawn(board, row):
    of = board(9)
    gone = row(method="none_best", ratio=30, accuracy=99.0)  # without a cell at the other ratio
    of.rows.append(gone)
    best = [f"{usage}{number}" for usage, _ in USES for number in range(4, 9)]
    assert names(of) == ["random", *best, "full"]
    assert choice(of) == (
        "Of 20 methods: Random, and of each use of labels the 5 with the highest mean accuracy over the "
        "ratios."
    )


def test_values_chosen_on_the_test_split_have_no_figure(board):
    assert pictures(board(2), "toy")
    assert pictures(board(2, tuning="oracle_test"), "toy") == []


def test_a_figure_of_one_ratio_holds_all_methods(row):
    rows = [row(), *(row(method=f"m{number:02}", accuracy=50.0 + number) for number in range(MOST + 2))]
    (single,) = boards(Page("toys", "Toys", "", [50], [0], rows))
    assert len(names(single)) == MOST + 3 and choice(single) == ""
    (found,) = pictures(single, "toy")
    assert found.caption == "Test accuracy at 50 % pruned, a dot for each seed."


def test_a_digest_follows_what_is_drawn_alone(board):
    def digest(of):
        return pictures(of, "toy")[0].digest

    of, same, other = board(9), board(9), board(9)
    same.rows[:] = [one.model_copy(update={"seconds": {}}) for one in same.rows]
    last = next(place for place, one in enumerate(other.rows) if one.method == "none8")
    other.rows[last] = other.rows[last].model_copy(update={"accuracy": 58.1})
    assert digest(of) == digest(same) != digest(other)


# Ranks and work


@pytest.fixture
def measured(row):
    """measured(values, **more) is a board at ratios 30 and 50, of three seeds around a mean for each method.

    At 50 they scatter by 0.2 points, at 30 by 9.

    values: accuracy and GMAC of the selection, by method; GMAC None: not counted. more: fields of all rows.
    """

    def made(values, **more):
        rows = []
        for place, (method, (accuracy, gmac)) in enumerate(values.items()):
            stages = {"scores": gmac, "accuracy": 2.0}
            work = {
                stage: {"images": 9, "multiply_adds": 1e9 * one, "cpu_seconds": 2.0 * one + 1}
                for stage, one in stages.items()
                if gmac is not None
            }
            own = {"method": method, "work": work} | more
            rows += [
                row(ratio=ratio, seed=seed, accuracy=accuracy + spread * ((seed + place) % 3 - 1), **own)
                for ratio, spread in ((30, 9.0), (50, 0.2))
                for seed in range(3)
            ]
        return boards(Page("toys", "Toys", "", [30, 50], [0, 1, 2], rows))[0]

    return made


APART = {"random": (70.0, 0.0), "near": (70.1, 3.0), "best": (90.0, 20.0)}


def tables(of):
    return [one.table for one in pictures(of, "toy")]


def test_ranks_have_a_figure_where_the_seeds_exclude_one(measured):
    assert "Ranks" in tables(measured(APART))
    assert "Ranks" not in tables(measured({"random": (70.0, 0.0), "near": (70.1, 3.0)}))


def test_work_has_a_figure_where_all_methods_counted_it_and_it_differs(measured):
    assert "Work" in tables(measured(APART))
    assert "Work" not in tables(measured(APART | {"near": (70.1, None)}))
    assert "Work" not in tables(measured({name: (accuracy, 3.0) for name, (accuracy, _) in APART.items()}))


def test_points_are_means_at_the_most_pruned_ratio(measured):
    by_name = {point.method: point for point in points(measured(APART))}
    assert by_name["best"].accuracy == pytest.approx(90.0)
    assert by_name["best"].costs == pytest.approx({"GMAC": 20.0, "CPU seconds": 41.0})
    on_gpu = points(measured(APART, gpu_seconds={"scores": 1.0}))
    assert {unit for point in on_gpu for unit in point.costs} == {"GMAC"}


def test_the_frontier_is_what_none_beats_at_its_cost_or_less():
    values = {"a": (70, 0), "b": (69, 1), "c": (80, 5), "d": (75, 5), "e": (80, 9)}
    some = [Point(name, name, accuracy, {"GMAC": cost}) for name, (accuracy, cost) in values.items()]
    assert [point.method for point in frontier(some, "GMAC")] == ["a", "c"]


def lines_of(ax):
    return [(tuple(line.get_xdata()), tuple(line.get_ydata())) for line in ax.lines]


def spans_of(ax):
    """Return the ends and the height of each bar. The last collection are lines across the panel."""
    bars = [segment for bars in ax.collections[:-1] for segment in bars.get_segments()]
    return {(start, stop, line) for (start, line), (stop, _) in bars}


def test_ranks_are_dots_on_the_ranks_that_the_seeds_allow(measured):
    """At 50 the best is apart from two that are not. At 30 nothing is."""
    figure = dots.ranks(measured(APART))
    wide, apart = figure.axes
    assert [ax.get_title("left") for ax in figure.axes] == ["30 % pruned", "50 % pruned"]
    assert [label.get_text() for label in wide.get_yticklabels()] == ["Best", "Near", "Random"]
    assert spans_of(apart) == {(1, 1, 0), (2, 3, 1), (2, 3, 2)}
    assert {((1,), (0,)), ((2,), (1,)), ((3,), (2,))} == {*lines_of(apart)}
    assert spans_of(wide) == {(1, 3, 0), (1, 3, 1), (1, 3, 2)}


def test_a_method_that_would_flatten_the_others_is_a_triangle_at_the_edge(measured):
    of = measured({"random": (80, 0), "near": (81, 3), "best": (82, 20), "far": (10, 1)})
    gmac, seconds = dots.work(of).axes
    marked = {line.get_marker(): line.get_ydata()[0] for line in gmac.lines if len(line.get_xdata()) == 1}
    assert marked["v"] == pytest.approx(80.5 - 4 * (82 - 80.5))
    assert (gmac.get_xlabel(), seconds.get_xlabel()) == ("GMAC to select", "CPU seconds to select")
    costs, means = next(found for found in lines_of(gmac) if len(found[0]) > 1)
    assert costs[:-1] == (0, 3, 20)
    assert means == pytest.approx((80, 81, 82, 82))


def test_of_many_methods_random_and_the_frontier_are_named(measured):
    many = {f"m{number:02}": (60.0 + number / 10, 50.0 + number) for number in range(MOST)}
    figure = dots.work(measured(APART | many))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Random", "Near", "Best"]
    assert "Gray: other methods." in figure.texts[1].get_text().replace("\n", " ")


@pytest.fixture
def results(row, tmp_path):
    """A folder with rows of the suite `toys` at two ratios."""
    folder = tmp_path / "leaderboard"
    for ratio in (30, 50):
        Journal(folder).append(row(dataset="mine", ratio=ratio))
    (folder / "results" / "toys" / "suite.json").write_text(FILE)
    return folder


def shown(results):
    return "](figures/toys-mine.svg)" in (results / "toys.md").read_text()


FIGURE = "leaderboard/figures/toys-mine.svg"
DRAW = "prunebench leaderboard --figures --results leaderboard\n"


def test_figures_are_drawn_when_asked_for_and_again_when_they_are_outdated(cli, results, row):
    path = results / "figures" / "toys-mine.svg"
    cli("leaderboard")
    assert not path.exists() and not shown(results)
    assert f"wrote {FIGURE}\n" in cli("leaderboard --figures").out
    first = path.read_bytes()
    assert shown(results) and cli("leaderboard --check").code == 0
    assert "figures" not in cli("leaderboard --figures").out  # it is there already
    Journal(results).append(row(dataset="mine", seed=1, accuracy=70.0))
    assert cli("leaderboard --check").code == 2
    assert path.read_bytes() == first  # a check writes nothing
    found = cli("leaderboard")
    assert f"wrote {FIGURE}\n" in found.out and found.err == ""
    assert shown(results) and path.read_bytes() != first


def test_a_missing_figure_is_told_with_the_command_that_draws_it(cli, results):
    """Pages once lost deleted figures without a word, and their check passed."""
    cli("leaderboard --figures")
    (results / "figures" / "toys-mine.svg").unlink()
    found = cli("leaderboard --check")
    assert (found.code, found.err) == (
        2,
        f"Error: not up to date: {FIGURE}, leaderboard/toys.md; run: {DRAW}",
    )
    found = cli("leaderboard")
    assert (found.code, found.err) == (0, f"without {FIGURE}; to draw: {DRAW}")
    assert cli("leaderboard --check").err == f"Error: not up to date: {FIGURE}; run: {DRAW}"
    cli("leaderboard --figures")
    assert cli("leaderboard --check").code == 0


def test_an_outdated_figure_is_never_shown(cli, results):
    cli("leaderboard --figures")
    (results / "figures" / "toys-mine.svg").write_text("<svg/>")
    assert f"not up to date: {FIGURE}, leaderboard/toys.md" in cli("leaderboard --check").err


def test_a_figure_for_pages_has_words_and_equal_bytes(cli, results):
    path = results / "figures" / "toys-mine.svg"
    written = []
    for _ in range(2):
        cli("leaderboard --figures")
        written.append(path.read_bytes())
        path.unlink()
    assert written[0] == written[1] and len(written[0]) < 60_000
    words = "".join(ElementTree.fromstring(written[0]).itertext())
    assert "percent pruned" in words and "Random" in words
    assert b"Verdana" in written[0] and b"<dc:date>" not in written[0]


@pytest.mark.parametrize("more", ["--check", "--format text"])
def test_figures_are_drawn_for_pages_that_are_written(cli, results, more):
    found = cli(f"leaderboard --figures {more}")
    assert (found.code, found.out) == (2, "")
    assert "leave out --check and --format" in found.err


def test_each_figure_stands_below_the_title_of_its_table(cli, measured, tmp_path):
    folder = tmp_path / "leaderboard"
    for one in measured(APART, dataset="mine").rows:
        Journal(folder).append(one)
    suite = FILE.replace('"random"', '"random", "near", "best"').replace('"tiny"', '"tiny", "seeds": 3')
    (folder / "results" / "toys" / "suite.json").write_text(suite)
    cli("leaderboard --figures")
    blocks = (folder / "toys.md").read_text().split("\n\n")
    above = {block: title for title, block in itertools.pairwise(blocks) if block.startswith("![")}
    assert [(title, path.rpartition("/")[2]) for path, title in above.items()] == [
        ("### Accuracy", "toys-mine.svg)"),
        ("### Ranks", "toys-mine-ranks.svg)"),
        ("### Work", "toys-mine-work.svg)"),
    ]
    (folder / "figures" / "toys-mine-work.svg").unlink()
    assert "toys-mine-work.svg" in cli("leaderboard --check").err
