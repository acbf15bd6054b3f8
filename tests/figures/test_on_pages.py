"""Figures on the pages of the leaderboard: chosen by a rule, drawn where they are outdated."""

import xml.etree.ElementTree as ElementTree

import pytest

from prunebench.results.board import Page, boards
from prunebench.results.picture import MOST, choice, drawn, picture
from prunebench.results.rows import Journal

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
    assert picture(board(2), "toy") is not None
    assert picture(board(2, tuning="oracle_test"), "toy") is None


def test_a_figure_of_one_ratio_holds_all_methods(row):
    rows = [row(), *(row(method=f"m{number:02}", accuracy=50.0 + number) for number in range(MOST + 2))]
    (single,) = boards(Page("toys", "Toys", "", [50], [0], rows))
    assert len(names(single)) == MOST + 3 and choice(single) == ""
    found = picture(single, "toy")
    assert found.caption == "Test accuracy at 50 % pruned, a dot for each seed."


def test_a_digest_follows_what_is_drawn_alone(board):
    def digest(of):
        return picture(of, "toy").digest

    of, same, other = board(9), board(9), board(9)
    same.rows[:] = [one.model_copy(update={"seconds": {}}) for one in same.rows]
    last = next(place for place, one in enumerate(other.rows) if one.method == "none8")
    other.rows[last] = other.rows[last].model_copy(update={"accuracy": 58.1})
    assert digest(of) == digest(same) != digest(other)


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
