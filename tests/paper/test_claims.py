"""Claims: what is supported, refuted and left open, by printed numbers and by rows with a spread."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError
from scipy import stats

from prunebench.errors import PrunebenchError
from prunebench.paper import claims, published
from prunebench.paper.claims import Claim, examine, judged
from prunebench.paper.points import Point, groups, measured, printed
from prunebench.parts.registry import load
from prunebench.results.board import Page
from prunebench.results.journal import Journal
from prunebench.runs.claim_report import examined
from prunebench.suites.schema import read
from tests.paper_blocks import PAGE, filled

FILE = claims.claims()
THEIRS = {name: examine(claim, printed()) for name, claim in FILE.claim.items()}


def claim(**fields):
    """Return a claim: near beats random on the toy dataset at 50 and 90 %, in every cell."""
    ordinary = {"sentence": "S", "section": "1", "better": ["near"], "than": ["random"], "tables": ["domain"]}
    return Claim(**ordinary | {"datasets": ["toy"], "ratios": [50, 90]} | fields)


def points(*cells, table="", label_fraction=0.0):
    """Return the points of (dataset, method, ratio, values): with a seed each, or printed in a table."""
    return [
        Point(table, dataset, method, ratio, label_fraction, None if table else seed, "accuracy", value)
        for dataset, method, ratio, values in cells
        for seed, value in enumerate(values)
    ]


def toys(near, random, ratio=50, dataset="toy"):
    return points((dataset, "near", ratio, near), (dataset, "random", ratio, random))


CLEAR, CLEARLY_NOT, UNSURE = ([5.0, 5.1, 4.9], [-5.0, -5.1, -4.9], [5.0, -4.0, 1.0])


def cells(*gains):
    return [claims.Cell(str(number), dict(enumerate(values))) for number, values in enumerate(gains)]


# The verdict on rows


@pytest.mark.parametrize(
    ("where", "gains", "outcome"),
    [
        ("every", [CLEAR, CLEAR], "supported"),
        ("every", [CLEAR, UNSURE], "undecided"),
        ("every", [CLEAR, CLEARLY_NOT], "refuted"),
        ("some", [CLEAR, CLEARLY_NOT], "supported"),
        ("some", [UNSURE, CLEARLY_NOT], "undecided"),
        ("some", [CLEARLY_NOT, CLEARLY_NOT], "refuted"),
        ("average", [CLEAR, CLEAR], "supported"),
        ("average", [CLEAR, CLEARLY_NOT], "undecided"),
        ("average", [CLEARLY_NOT, CLEARLY_NOT], "refuted"),
        ("every", [[5.0], [5.0]], "undecided"),  # a single seed has no interval
        ("average", [[5.0], [5.0]], "undecided"),
        ("every", [], "undecided"),
    ],
)
def test_a_claim_needs_clear_differences(where, gains, outcome):
    assert judged(cells(*gains), where) == outcome


def test_one_cell_among_many_has_to_be_clearer_to_decide():
    """-2.6 ± 1 over three seeds is clear at 95 % (t = 4.5 > 4.3), not at 99.75 %: 95 % over twenty cells."""
    below = [-1.6, -2.6, -3.6]
    assert stats.ttest_1samp(below, 0).pvalue == pytest.approx(0.046, abs=1e-3)
    assert judged(cells(below), "every") == "refuted"
    assert judged(cells(below, *[CLEAR] * 19), "every") == "undecided"
    above = [1.6, 2.6, 3.6]
    assert judged(cells(above), "some") == "supported"
    assert judged(cells(above, *[UNSURE] * 19), "some") == "undecided"


def test_differences_are_paired_by_seed():
    """Seeds that move both methods alike hide nothing: 80, 70, 60 against 79.1, 69, 58.9."""
    found = examine(claim(ratios=[50]), toys([80.0, 70.0, 60.0], [79.1, 69.0, 58.9]))
    assert (found.outcome, found.mean) == ("supported", pytest.approx(1.0))
    expected = stats.t.interval(0.95, 2, loc=1.0, scale=stats.sem([0.9, 1.0, 1.1]))
    assert found.interval == pytest.approx(expected)
    assert found.scale == "better in 1 of 1, clearly in 1; mean +1.0 [+0.8, +1.2]"


def test_only_seeds_that_both_have_are_compared():
    found = examine(claim(ratios=[50]), toys([80.0, 81.0, 82.0], [79.0, 80.0]))
    assert dict(found.cells[0].gains) == {0: 1.0, 1: 1.0}


def test_the_interval_of_the_mean_is_over_all_cells_by_seed():
    """The gains of seed 0 are 1 and 3, those of seed 1 are 2 and 6: means 2 and 4."""
    numbers = toys([1.0, 2.0], [0.0, 0.0], 50) + toys([3.0, 6.0], [0.0, 0.0], 90)
    found = examine(claim(), numbers)
    assert found.mean == 3.0
    assert found.interval == pytest.approx(stats.t.interval(0.95, 1, loc=3.0, scale=1.0))


# The verdict on printed numbers


@pytest.mark.parametrize(
    ("where", "gains", "outcome"),
    [
        ("every", [1.0, 0.1], "supported"),
        ("every", [1.0, 0.0], "undecided"),
        ("every", [1.0, -0.1], "refuted"),
        ("some", [-1.0, 0.1], "supported"),
        ("some", [-1.0, 0.0], "undecided"),
        ("some", [-1.0, -0.1], "refuted"),
        ("average", [1.0, -0.9], "supported"),
        ("average", [1.0, -1.1], "refuted"),
        ("average", [1.0, -1.0], "undecided"),
    ],
)
def test_printed_numbers_are_compared_as_they_are(where, gains, outcome):
    cells = [
        cell
        for ratio, gain in zip((50, 90), gains, strict=True)
        for cell in (("food101", "near", ratio, [70.1 + gain]), ("food101", "random", ratio, [70.1]))
    ]
    found = examine(claim(where=where, datasets=["food101"]), points(*cells, table="domain"))
    assert found.outcome == outcome
    assert found.interval is None


def test_only_the_tables_of_a_claim_count():
    cells = [("food101", "near", 50, [71.0]), ("food101", "random", 50, [70.0])]
    about = claim(datasets=["food101"])
    assert examine(about, points(*cells, table="standard")).scale == "no numbers"
    assert examine(about, points(*cells, table="domain")).cells
    split = points(cells[0], table="domain") + points(cells[1], table="long_tailed")
    assert not examine(claim(datasets=["food101"], tables=["domain", "long_tailed"]), split).cells


# Sides


def test_the_best_of_several_methods_counts_on_both_sides():
    numbers = points(
        ("toy", "near", 50, [80.0, 82.0]),
        ("toy", "far", 50, [84.0, 82.0]),
        ("toy", "random", 50, [70.0, 71.0]),
        ("toy", "worse", 50, [60.0, 90.0]),
    )
    several = {"better": ["near", "far"], "than": ["random", "worse", "absent"], "ratios": [50]}
    found = examine(claim(**several), numbers)
    assert dict(found.cells[0].gains) == {0: 24.0, 1: -8.0}
    assert found.cells[0].place == "toy 50 % (far, worse)"
    assert found.remarks == ["without absent"]


def test_pairs_set_one_against_one():
    values = {"a": 3.0, "b": 9.0, "c": 1.0, "d": 8.5}
    numbers = points(*(("toy", name, 50, [value]) for name, value in values.items()))
    found = examine(claim(better=["a", "b"], than=["c", "d"], pairs=True, ratios=[50]), numbers)
    assert [cell.mean for cell in found.cells] == [2.0, 0.5]
    with pytest.raises(ValidationError, match="as many methods"):
        claim(better=["a", "b"], than=["c"], pairs=True)


def test_of_hours_fewer_are_better():
    numbers = [
        Point("cost", "food101", method, None, 0.0, None, "hours", hours)
        for method, hours in (("near", 10.0), ("random", 30.0))
    ]
    found = examine(claim(kind="cost", tables=["cost"], datasets=["food101"]), numbers)
    assert (found.outcome, found.scale) == ("supported", "better in 1 of 1; mean +20 hours")


def test_a_share_of_labels_chooses_among_variants():
    """A method without labels stands at every share. One with some labels stands at its own share.

    A variant has a number after its name: another word is another method.
    """
    numbers = [
        *points(("toy", "near", 50, [70.0, 71.0]), label_fraction=0.1),
        *points(("toy", "near_5", 50, [60.0, 61.0]), label_fraction=0.05),
        *points(("toy", "nearer_5", 50, [99.0, 99.0]), label_fraction=0.05),
        *points(("toy", "near_by", 50, [99.0, 99.0]), label_fraction=0.2),
        *points(("toy", "random", 50, [50.0, 50.0])),
    ]
    found = examine(claim(label_fraction=[0.05, 0.1, 0.2], ratios=[50]), numbers)
    assert [(cell.place, cell.mean) for cell in found.cells] == [
        ("toy 50 % with 5% labels", 10.5),
        ("toy 50 % with 10% labels", 20.5),
    ]
    assert found.missing == 1


def test_a_variant_by_flag_has_its_share_too():
    numbers = [
        *points(("toy", "near{fixmatch.label_fraction=0.05}", 50, [60.0, 61.0]), label_fraction=0.05),
        *points(("toy", "random", 50, [50.0, 50.0])),
    ]
    assert examine(claim(label_fraction=[0.05], ratios=[50]), numbers).cells[0].mean == 10.5
    assert not examine(claim(ratios=[50]), numbers).cells


def test_equal_labels_are_those_of_the_row_made_for_it():
    numbers = points(
        ("toy", "near", 50, [70.0, 71.0]),
        ("toy", "random_matched{near}", 50, [72.0, 73.0]),
        ("toy", "random", 40, [99.0, 99.0]),
    )
    found = examine(claim(kind="equal_labels"), numbers)
    assert [cell.mean for cell in found.cells] == [-2.0]


def test_equal_labels_in_print_are_those_of_ten_points_less_pruned():
    values = {("near", 90): 51.0, ("random", 80): 55.0, ("random", 90): 38.0}
    cells = [("food101", method, ratio, [value]) for (method, ratio), value in values.items()]
    found = examine(claim(kind="equal_labels", datasets=["food101"]), points(*cells, table="domain"))
    assert [cell.mean for cell in found.cells] == [-4.0]


# Other datasets than the paper's


def test_other_datasets_are_marked_and_have_stand_ins():
    numbers = points(
        ("digits_c", "near", 50, [80.0, 81.0]),
        ("digits_c", "random_pixels", 50, [70.0, 71.0]),
        ("digits", "near", 50, [80.0, 81.0]),
        ("digits", "random_pixels", 50, [70.0, 71.0]),
    )
    about = claim(datasets=["cifar100_c"], view="_c")
    stand_in = {"random": ["random_dino", "random_pixels"]}
    found = examine(about, numbers, stand_in)
    assert [cell.place for cell in found.cells] == ["digits_c 50 %"]
    assert found.remarks == ["not the paper's datasets: digits_c", "random_pixels in place of random"]
    assert found.missing == 0
    assert not examine(about, numbers).cells


def test_nothing_stands_in_on_the_papers_datasets():
    numbers = points(("food101", "near", 50, [80.0, 81.0]), ("food101", "random_pixels", 50, [70.0, 71.0]))
    assert not examine(claim(datasets=["food101"]), numbers, {"random": ["random_pixels"]}).cells
    assert not examine(claim(datasets=["sun397"]), numbers, {"random": ["random_pixels"]}).cells


def test_what_is_missing_leaves_an_outcome_open():
    numbers = toys([80.0, 80.2], [70.0, 70.0])
    assert examine(claim(ratios=[50]), numbers).verdict == "supported"
    found = examine(claim(datasets=["toy", "other"]), numbers)
    assert (found.verdict, found.missing) == ("supported so far", 3)
    assert found.scale.startswith("better in 1 of 1, clearly in 1, 3 without numbers; mean +10.1 [")
    lost = toys([70.0, 70.1], [80.0, 80.0])
    assert examine(claim(), lost).verdict == "refuted"  # one cell is enough
    assert examine(claim(where="some"), lost).verdict == "refuted so far"
    assert examine(claim(where="some"), numbers).verdict == "supported"


# Rows


def test_rows_become_points(row):
    quality = {"hungarian": 60.0, "balanced": 50.0, "nmi": 1.0, "ari": 1.0}
    named = quality | {"accuracy": 55.0}
    seconds = {"labels": 7200.0, "accuracy": 1.0}
    rows = [
        row(method="semi_aum", ratio=ratio, seed=seed, quality=named, seconds=seconds, label_fraction=0.1)
        for ratio in (50, 90)
        for seed in (0, 1)
    ]
    rows += [row(method="elfs_dino", quality=quality, repeats="training", seed=seed) for seed in (0, 1)]
    found = measured(rows)
    assert [p.value for p in found if p.measure == "accuracy"] == [80.0] * 6  # last epoch, not the best
    labels = [(p.method, p.seed, p.value) for p in found if p.measure == "ACC"]
    assert labels == [("semi_aum", 0, 55.0), ("semi_aum", 1, 55.0), ("elfs_dino", 0, 60.0)]
    assert [(p.method, p.seed, p.value) for p in found if p.measure == "hours"] == [
        ("semi_aum", 0, 2.0),
        ("semi_aum", 1, 2.0),
    ]


def test_rows_that_may_not_share_a_table_are_kept_apart(row):
    rows = [row(), row(recipe="paper"), row(tuning="search"), row(dataset_hash="other"), row(seed=1)]
    assert [len(group) for group in groups(rows).values()] == [2, 1, 1]


# The paper


@pytest.mark.parametrize(("name", "about"), FILE.claim.items())
def test_a_claim_names_what_there_is(name, about):
    tables = {line.table for line in published.lines()}
    assert set(about.tables) <= tables
    assert set(about.datasets) <= set(load().found["datasets"])
    suites = {published.SUITES[table] for table in about.tables}
    own = {method for suite in suites for method in read(suite).file.method}
    assert {*about.better, *about.than} <= {*load().found["methods"], *own}
    assert len(set(about.datasets)) == len(about.datasets)


def test_only_what_figure_2_shows_has_no_printed_numbers():
    assert {name for name, found in THEIRS.items() if not found.cells} == {"one_percent", "five_percent"}
    missing = {name for name, found in THEIRS.items() if found.cells and found.missing}
    assert missing == {"any_budget"}


def test_the_paper_refutes_that_semi_aum_always_beats_score_extrapolation():
    """Cells of tables 3 and 4, and of the appendix: 40.9 < 41.3; 50.4 < 55.3, 46.5 < 48.5; 33.8 < 34.7."""
    found = THEIRS["semi_aum_extrapolation"]
    assert found.outcome == "refuted"
    assert {cell.place: cell.mean for cell in found.against} == {
        "cifar100_lt 30 %": -4.9,
        "cifar100_lt 50 %": -2.0,
        "cifar100_lt_001 30 %": -0.9,
        "tiny_imagenet_c 30 %": -0.4,
    }
    assert len(found.cells) == 50
    assert (THEIRS["semi_dual_extrapolation"].outcome, len(THEIRS["semi_dual_extrapolation"].against)) == (
        "supported",
        0,
    )


def test_a_tie_in_print_leaves_the_best_on_far_domains_open():
    """SUN397 at 50 %: ELFS (DINO) and Semi-DUAL both have 56.1."""
    found = THEIRS["domain"]
    assert (found.outcome, found.scale) == ("undecided", "better in 9 of 10, equal in 1; mean +1.0")
    assert [cell.place for cell in found.cells if cell.mean == 0] == ["sun397 50 % (semi_dual, elfs_dino)"]


def test_the_cells_where_the_paper_says_it_beats_all_labels():
    """4.2.3: CIFAR-100-LT at 30 and 90 %, Caltech-101 at 90 %; the tables have one more."""
    found = THEIRS["beyond_full_labels"]
    places = {cell.place.partition(" %")[0] for cell in found.cells if cell.mean > 0}
    assert places == {"cifar100_lt 30", "cifar100_lt 90", "caltech101 90", "cifar100_lt 70"}


def test_random_beats_both_methods_with_as_many_labels_on_six_of_eight_datasets():
    """At 90 %, against Random at 80 %; on corrupted images it does not."""
    at_90 = [cell for cell in THEIRS["equal_labels"].cells if " 90 %" in cell.place]
    won = {cell.place.split()[0] for cell in at_90 if cell.mean > 0}
    both = {cell.place.split()[0] for cell in at_90} - won
    assert both == {"food101", "sun397", "cifar10", "cifar100", "imagenet1k", "caltech101"}
    assert won == {"cifar100_c", "tiny_imagenet_c"}


def test_fixmatch_on_food_101_cost_more_than_swav():
    assert [(cell.place, cell.mean) for cell in THEIRS["cost"].against] == [("food101", -6.36)]


def test_the_page_is_up_to_date():
    text = PAGE.read_text(encoding="utf-8")
    assert "| `domain` " in text
    assert text == filled(text), "run: python tests/paper_blocks.py"


# The file and the command


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[claim.x]\nsection = '1'", "claims.toml: claim.x.sentence: Field required"),
        ("[stand_in]\na = 1\n[claim]", "claims.toml: stand_in.a: Input should be a valid list (it is 1)"),
        ("[claim.x", "claims.toml: "),
    ],
)
def test_a_file_that_is_wrong_is_one_line(text, message, tmp_path, monkeypatch):
    (tmp_path / "claims.toml").write_text(text)
    monkeypatch.setattr(claims, "shipped", lambda: tmp_path)
    with pytest.raises(PrunebenchError) as error:
        claims.claims.__wrapped__()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_command_shows_the_papers_numbers_without_rows(cli):
    told = cli("claims")
    assert told.code == 0
    assert "semi_aum_extrapolation: With as many labels" in told.out
    assert "refuted: better in 46 of 50; mean +5.9" in told.out
    assert "no rows under leaderboard/results" in told.out


@pytest.fixture
def toy_rows(row, tmp_path):
    """Rows of a suite `toys` of one dataset, that is the user's, and the suite beside them."""
    few = {"suite": "toys", "label_fraction": 0.1}
    for seed, near, far in ((0, 80.0, 70.0), (1, 81.0, 70.8)):
        for method, accuracy in (("semi_aum", near), ("score_extrapolation", far)):
            Journal(tmp_path / "leaderboard").append(row(method=method, accuracy=accuracy, seed=seed, **few))
    file = (
        '{"title": "T", "note": "Only toys.", "datasets": ["toy"], "methods": ["random"], "recipe": "tiny"}'
    )
    (tmp_path / "leaderboard/results/toys/suite.json").write_text(file)


@pytest.mark.parametrize("line", ["claims", "claims --suite toys"])
def test_the_command_puts_rows_beside_the_papers_numbers(cli, toy_rows, line):
    told = cli(line)
    assert told.code == 0, told.err
    title = "suite toys, recipe tiny, repeats pipeline, tuning default, protocol 1: toy"
    assert f"{title}\n\nOnly toys.\n" in told.out
    (line,) = [line for line in told.out.splitlines() if line.startswith("semi_aum_extrapolation  ")]
    assert re.split(" {2,}", line) == [
        "semi_aum_extrapolation",
        "refuted",
        "supported",
        "better in 1 of 1, clearly in 1; mean +10.1 [+8.8, +11.4]",
        "not the paper's datasets: toy",
    ]


def test_rows_of_other_settings_than_the_suites_are_left_out(cli, toy_rows, toy):
    """Where the dataset is known, so is what the suite would run, and these rows are not of that."""
    told = cli("claims --suite toys")
    assert "suite toys: no rows of its current settings" in told.out
    assert "+10.1" not in told.out


def test_the_rows_that_tables_show_are_judged(row):
    """Of two machines the first, unless the other one is certified. Stale rows and oracles never count."""

    def verdict(*others):
        few = {"method": "semi_aum", "label_fraction": 0.1}
        rows = [row(**few, seed=seed, accuracy=80 + seed) for seed in (0, 1)]
        rows += [
            row(method="score_extrapolation", label_fraction=0.1, seed=seed, accuracy=70 + 0.8 * seed)
            for seed in (0, 1)
        ]
        rows += [row(**few, seed=seed, accuracy=60 + seed, **other) for other in others for seed in (0, 1)]
        page = Page(suite="toys", title="T", note="", ratios=[50], seeds=[0, 1], rows=rows)
        return examined(page)[0].findings["semi_aum_extrapolation"].verdict

    elsewhere = {"device_name": "another CPU"}
    assert verdict() == verdict(elsewhere) == verdict({"tuning": "oracle_test"}) == "supported"
    assert verdict(elsewhere | {"certified": True}) == "refuted"


def test_a_suite_without_rows_is_an_error(cli):
    told = cli("claims --suite nonesuch")
    assert told.code == 2
    assert told.err.startswith("Error: no results under leaderboard/results; run something first")
