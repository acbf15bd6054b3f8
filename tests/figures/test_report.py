"""The report: one file, whose numbers are those of rows and artefacts, and whose words are never code."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from scipy.stats import spearmanr

from prunebench.figures.report import content, lineage, measured, page, pictures, selections, words
from prunebench.figures.report.lineage import Picked
from prunebench.parts.images import Images
from prunebench.pipeline.store import Store
from prunebench.results.board import Page, boards
from prunebench.results.cells import Gap, Number, PerRatio
from prunebench.results.journal import Journal
from prunebench.results.tables import tables
from prunebench.runs.pages import PROVIDERS, remember, suite_of
from prunebench.suites import schema
from tests.figures.conftest import SUITE

FEW = {"label_fraction": 0.1, "labels_selection": 6, "labels_total": 35, "kept_per_class": [5, 6, 8, 3]}
FULL = {"label_fraction": 1.0, "labels_selection": 64, "labels_total": 64}
ALL_IMAGES = {"reference": True, "kept": 64, "kept_per_class": [20, 24, 16, 4], "title": "All images"}
MATCHED = {"reference": True, "matched_to": "semi"}
CELLS = [
    *(("random", 50, seed, 80.0 + seed) for seed in (0, 1)),
    *(("near", 50, seed, 83.0 + seed) for seed in (0, 1)),
    *(("semi", 50, seed, 90.0 - seed, FEW) for seed in (0, 1)),
    *(("dual", 50, seed, 95.0, FULL) for seed in (0, 1)),
    *(("random_matched{semi}", 50, seed, 92.0 - seed, MATCHED) for seed in (0, 1)),
    *(("full", 0, seed, 99.0, ALL_IMAGES) for seed in (0, 1)),
]


@pytest.fixture
def board(row):
    """board((method, ratio, seed, accuracy, {...}), ...) is the one board of a page with these rows."""

    def made(*cells, ratios=(50,), seeds=(0, 1)):
        rows = [
            row(method=method, ratio=ratio, seed=seed, accuracy=accuracy, **dict(*more))
            for method, ratio, seed, accuracy, *more in cells
        ]
        (found,) = boards(Page("toys", "Toys", "", list(ratios), list(seeds), rows))
        return found

    return made


# Words


def test_the_summary_says_who_is_best_and_who_beats_random(board):
    assert words.summary(board(*CELLS)) == [
        "Best without all labels: Semi at 50 % pruned (89.5 %). "
        "Others that other seeds may put first: none at 50 %.",
        # Near is 3 points better in both runs. Semi is 10 and 8 better, and two runs allow for chance.
        "Clearly better than Random on as many images, of 2 methods without all labels: 1 at 50 %.",
    ]


def test_ratios_with_the_same_answer_are_named_together(board):
    cells = [
        (name, r, s, a) for name, a in (("random", 80.0), ("near", 70.0)) for r in (30, 50) for s in (0, 1)
    ]
    best, better = words.summary(board(*cells, ratios=(30, 50)))
    assert best.startswith("Best without all labels: Random at 30 and 50 % pruned (80.0 and 80.0 %).")
    assert better.endswith("of 1 method without all labels: none at 30 and 50 %.")


def test_values_chosen_on_the_test_split_have_no_winner(board):
    cells = [(*cell[:4], {**dict(*cell[4:]), "tuning": "oracle_test"}) for cell in CELLS]
    (sentence,) = words.summary(board(*cells))
    assert sentence.endswith("nothing here is a result.")


# Ranks


def test_bars_span_the_ranks_of_the_pages_table(board):
    """Near differs from Random by half a point, Semi from both by ten."""
    values = {"random": (80.0, 81.0, 80.5), "near": (80.5, 80.9, 81.0), "semi": (90.0, 91.0, 90.4)}
    cells = [(name, 50, seed, value) for name, of in values.items() for seed, value in enumerate(of)]
    of = board(*cells, seeds=(0, 1, 2))
    found = of.ranks(50)
    assert found == {"semi": (1, 1, 1), "near": (2, 2, 3), "random": (3, 2, 3)}
    places = {method: of.rankings[50].place(method) for method in found}
    assert {method: [place.low, place.high] for method, place in places.items()} == {
        method: ends for method, (_, *ends) in found.items()
    }
    assert words.summary(of)[1].endswith("of 2 methods without all labels: 1 at 50 %.")


def test_a_single_seed_allows_every_rank_and_equals_share_the_better(board):
    cells = [("random", 50, 0, 80.0), ("near", 50, 0, 80.0), ("semi", 50, 0, 70.0)]
    found = board(*cells, seeds=(0,)).ranks(50)
    assert found == {"random": (1, 1, 3), "near": (1, 1, 3), "semi": (3, 1, 3)}


def test_only_complete_methods_without_all_labels_are_ranked(board):
    cells = [*CELLS, ("late", 50, 0, 99.0)]
    assert list(board(*cells).ranks(50)) == ["semi", "near", "random"]
    assert board(*CELLS[:2]).ranks(50) == {}


# What rows say


def test_figures_show_the_numbers_of_the_rows(board, tmp_path):
    of = board(*CELLS)
    classes = measured.classes_of(of, None, tmp_path)
    assert (classes.sizes.tolist(), classes.names) == ([24, 20, 16, 4], ["1", "0", "2", "3"])
    found = {one.title: one for one in measured.measured(of, classes)}
    assert list(found) == ["Random", "Near", "Semi", "Dual", "All images"]  # not the Random matched to Semi
    semi = found["Semi"]
    assert semi.accuracy == [(89.5, 0.707, 2)]
    assert (semi.labels, semi.ranks) == (6, [(1, 1, 1)])
    assert semi.shares == [[25.0, 25.0, 50.0, 75.0]]
    assert [one.group for one in found.values()] == ["none", "none", "few", "full", "reference"]
    assert [one.always for one in found.values()] == [True, False, False, False, True]
    assert [one.chosen for one in found.values()] == [False, True, True, True, False]
    assert found["All images"].level and found["All images"].accuracy == [(99.0, 0.0, 2)]


def test_a_gap_stays_a_gap(board):
    found = measured.measured(board(*CELLS, ("late", 30, 0, 70.0), ratios=(30, 50)), None)
    late = next(one for one in found if one.title == "Late")
    assert late.accuracy == [(70.0, None, 1), None]
    assert (late.ranks, late.shares) == ([None, None], [None, None])
    assert late.costs == {"seconds": [0.5, None]}


def work(seed):
    """The work of a row whose selection trained a network and compared images, and of its final training."""
    return {
        "scores": {"multiply_adds": (2 + seed) * 1e9, "cpu_seconds": 3.0},
        "subset": {"cpu_seconds": 1.0},
        "accuracy": {"multiply_adds": 9e9, "cpu_seconds": 9.0},
    }


def test_a_selection_costs_its_work_and_not_the_time_that_a_loaded_machine_took(board):
    cells = [("near", 50, seed, 80.0, {"work": work(seed)}) for seed in (0, 1)]
    (near,) = measured.measured(board(*cells), None)
    assert near.costs == {"gmac": [2.5], "cpu_seconds": [4.0]}


def test_a_row_without_work_puts_all_methods_to_the_clock(board):
    cells = [("near", 50, 0, 80.0, {"work": work(0)}), ("random", 50, 0, 80.0)]
    found = measured.measured(board(*cells, seeds=(0,)), None)
    assert [one.costs for one in found] == [{"seconds": [0.5]}, {"seconds": [0.5]}]


# What artefacts say


def picked(*index, scores=None):
    return Picked(np.array(index), None if scores is None else np.array(scores, float), None)


def test_a_histogram_counts_all_and_kept_images():
    found = selections.histogram(picked(1, 3, scores=[0, 10, 0, 5]))
    assert (found.low, found.high, found.kept_low, found.kept_high) == (0, 10, 5, 10)
    assert (len(found.all), found.all[0], found.all[20], found.all[-1]) == (40, 2, 1, 1)
    assert (sum(found.kept), found.kept[20], found.kept[-1]) == (2, 1, 1)
    assert selections.histogram(picked(1, 3)) is None


def test_the_overlap_is_what_both_keep_over_what_either_keeps():
    found = selections.jaccard([picked(0, 1, 2), None, picked(2, 3)], 5)
    assert (found.methods, found.values) == ([0, 2], [[1, 0.25], [0.25, 1]])


def test_the_rank_correlation_is_spearmans():
    one, other = [3.0, 1.0, 2.0, 2.0], [1.0, 9.0, 3.0, 4.0]
    found = selections.spearman(
        [picked(0, scores=one), picked(0), picked(0, scores=other), picked(0, scores=[1] * 4)]
    )
    expected = round(float(spearmanr(one, other).statistic), 2)
    assert (found.methods, found.values) == ([0, 2], [[1, expected], [expected, 1]])


def test_a_montage_shows_the_images_of_the_sample_that_are_kept_easy_ones_first():
    from PIL import Image

    pixels = np.repeat(np.arange(30, dtype=np.uint8), 64).reshape(30, 1, 8, 8)
    images = Images(pixels, mean=(0.5,), std=(0.25,))
    found = pictures.montage(images, [[picked(3, 4, 5, scores=-np.arange(30)), picked(7), None]])
    encoded = found.sheet.picture.removeprefix("data:image/png;base64,")
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    assert sheet.shape == (2 * 8, 20 * 8) and (found.sheet.wide, found.sheet.high) == (20, 2)

    def shown(places):
        return [int(sheet[8 * (place // 20), 8 * (place % 20)]) for place in places]

    scored, plain, none = found.strips[0]
    assert shown(scored.kept) == [5, 4, 3] and scored.ordered
    assert shown(plain.kept) == [7] and not plain.ordered and none is None
    assert 3 not in shown(scored.pruned) and len(scored.pruned) == 20


def test_photos_are_made_smaller(tmp_path):
    images = Images(np.zeros((3, 3, 80, 80), np.uint8), mean=(0.5,) * 3, std=(0.25,) * 3)
    found = pictures.montage(images, [])
    assert found.sheet.side == 64 and found.sheet.picture.startswith("data:image/jpeg;base64,")


# Rows and a store


def test_scores_labels_and_embeddings_are_found_behind_a_row(filled, store):
    found = {row.method.partition("{")[0]: row for row in filled}
    assert lineage.picked(found["random"], store).scores is None
    el2n = lineage.picked(found["el2n_supervised"], store)
    assert el2n.labels is None  # they are true labels
    kept = np.zeros(64, bool)
    kept[el2n.index] = True
    assert len(el2n.scores) == 64 and el2n.scores[kept].min() >= el2n.scores[~kept].max()
    clusters = lineage.picked(found["elfs_pixels"], store).labels
    assert clusters.space == "cluster" and not clusters.annotated.any()
    assert lineage.picked(found["labeled_only_aum"], store).labels.annotated.sum() == 6
    assert list(lineage.embeddings(filled, store).values()) == ["pixels"]


def test_a_subset_that_the_suite_would_make_today_stands_in_for_one_that_is_gone(filled, places):
    suite = suite_of("toys", places.results)
    old = [row.model_copy(update={"subset_key": "0" * 64}) for row in filled]
    found = lineage.with_subset(old, suite, places.store)
    assert [row.subset_key for row in found] == [row.subset_key for row in filled]
    strangers = [row.model_copy(update={"method": "nobodys", "changes": {}}) for row in old]
    assert lineage.with_subset(strangers, suite, places.store) == []


@pytest.mark.parametrize("rung", ["pipeline", "training"])
def test_the_subset_that_stands_in_is_of_the_same_rung(matrix, make, store, row, suite_file, rung):
    made = matrix("el2n_supervised", seeds=(1,), repeats=["pipeline", "training"])
    rows = [one for one in make(made).rows if one.repeats == rung]
    old = [one.model_copy(update={"subset_key": "0" * 64}) for one in rows]
    suite = schema.read(suite_file(more='repeats = ["pipeline", "training"]\n'))
    (found,) = lineage.with_subset(old, suite, store)
    assert found.subset_key == rows[0].subset_key


def test_all_artefacts_of_a_board_are_shown(filled, places):
    (found,) = content.contents("toys", places).boards
    shown = found.values.stored
    assert found.missing == {} and (shown.seed, shown.methods, shown.again) == (0, 4, False)
    titles = [one.title.partition("{")[0] for one in found.values.methods]
    assert titles == ["Random", "EL2N (all labels)", "ELFS (pixels)", "Labeled-only-AUM+Cutoff"]
    for of_ratio, keep in zip(shown.histograms, (44, 32), strict=True):
        assert [one and (sum(one.all), sum(one.kept)) for one in of_ratio] == [None, *[(64, keep)] * 3]
    assert [len(one.values) for one in (*shown.jaccard, *shown.spearman)] == [4, 4, 3, 3]
    assert [len(strip.kept) for strip in shown.montage.strips[1]] == [20] * 4
    (map_of_pixels,) = shown.maps.maps
    points = np.array(map_of_pixels.points)
    assert points.shape == (64, 2) and (points.min(), points.max()) == (0, 999)
    random, el2n, elfs, semi = shown.maps.methods
    assert [digits.count("1") for digits in random.kept] == [44, 32]
    assert (random.labels, el2n.labels, elfs.clusters, semi.clusters) == (None, None, True, False)
    assert len(semi.labels) == 64


@pytest.mark.parametrize(
    ("gone", "names", "why"),
    [
        ("store", ("scores", "overlap", "montage", "maps"), "No subset of toy is in the store."),
        ("data", ("montage", "maps"), "toy is not here as these rows saw it."),
    ],
)
def test_what_is_missing_is_one_line_with_a_command(filled, places, tmp_path, gone, names, why):
    nothing = tmp_path / "nothing"
    places = replace(places, **{gone: Store(nothing) if gone == "store" else nothing})
    (found,) = content.contents("toys", places).boards
    assert {name for name, one in found.missing.items() if one.why.startswith(why)} == {*names}
    run = "prunebench run --suite toys --datasets toy"
    assert found.missing["maps"].command == (run if gone == "store" else "prunebench doctor")


# The file


def test_a_report_says_where_methods_lose_as_its_page_does(filled, places):
    written = page.render([content.contents("toys", places)])
    assert "<li>Random with as many labels was not run.</li>" in written


@pytest.fixture
def crowded(places, row, suite_file):
    """Rows of a suite on five datasets, under a recipe that is no demonstration."""
    remember(schema.read(suite_file(SUITE)), places.results)
    for number in range(5):
        for method, accuracy in (("random", 70.0), ("near", 71.0)):
            for ratio in (30, 50):
                values = {"dataset": f"set{number}", "dataset_hash": f"{number}", "recipe": "paper"}
                values |= {"method": method, "accuracy": accuracy, "ratio": ratio}
                Journal(places.results).append(row(**values))
    return places


def test_the_datasets_of_a_suite_are_compared_once_below_all_of_them(crowded):
    found = content.contents("toys", crowded)
    assert [one.values.methods[0].accuracy[0] for one in found.boards] == [(70.0, None, 1)] * 5
    (overview,) = found.overviews
    assert (overview.suite, overview.heading) == ("Toys", "All datasets, recipe paper")
    written = page.render([found])
    assert written.count("<h2>All datasets, recipe paper</h2>") == 1
    assert written.count("<summary>Ranks and differences<") == 1
    assert written.index("<h2>All datasets") > written.rindex("</article>")
    assert written.count('<a href="#overviews">') == 5 and written.count('id="overviews"') == 1


def test_a_report_of_few_datasets_has_no_section_about_all(filled, places):
    assert "overviews" not in page.render([content.contents("toys", places)])


STAGES = ("labels", "accuracy")
# Of rows that have whatever tables are made from, and of rows beside them.
FIELDS = {
    "dataset": "cifar100",
    "tuning": "search",
    "balanced_accuracy": 61.0,
    "history": [[1, 60.0], [2, 99.0]],
    "accuracy_transferred": {"mlp": 60.0},
    "accuracy_shifted": {"blur_3": 50.0},
    "calibration": {"ece": 3.0},
    "seconds": {"labels": 9.0, "accuracy": 2.0},
    "work": {
        stage: dict.fromkeys(("steps", "images", "multiply_adds", "cpu_seconds"), 9) for stage in STAGES
    },
}
GUESSED = {
    "labeler": "fixmatch",
    "quality": {"accuracy": 80.0, "balanced": 80.0, "nmi": 70.0, "ari": 70.0},
    "tuned": {"cutoff": 0.1},
    "tuned_on": "labels",
}
SORTED = {
    "accuracy": [
        "Accuracy",
        "Reference points",
        "Difference to Random",
        "Where the spread comes from",
        "Worst tenth of classes",
        "Balanced accuracy",
        "Tuned values",
        "Regret of the search",
    ],
    "price": ["Equal labels", "Equal compute", "Work", "Trainings until it pays", "Cost"],
    "ranks": ["Ranks", "Intervals"],
    "labels": ["Pseudo-labels"],
    "exams": [
        "Accuracy of other networks",
        "Accuracy under shift",
        "Accuracy by corruption",
        "Calibration",
        "Images seen to reach",
        "Agreement of exams",
    ],
    "claims": [
        "Claims",
        "Published beside ours",
        "Published pseudo-labels beside ours",
        "Published cutoffs beside ours",
        "Published cost beside ours",
    ],
    "origin": ["Rows"],
}


@pytest.fixture
def every_table(places, row, suite_file, monkeypatch):
    """The content of a board that has every table there is."""
    remember(schema.read(suite_file(SUITE)), places.results)
    methods = [
        {"method": "random"},
        {"method": "near", "accuracy": 60.0},
        {"method": "semi_aum", **FEW, **GUESSED},
        {"method": "semi_aum", **FEW, "tuning": "oracle_test"},
        {"method": "semi_aum", **FEW, **GUESSED, "repeats": "training"},
        {
            "method": "random_timed{semi_aum}",
            "reference": True,
            "matched_to": "semi_aum",
            "matched_in": "work",
        },
    ]
    cells = [fields | {"ratio": ratio} for fields in methods for ratio in (30, 50)]
    cells.append({"method": "full", "ratio": 0, **ALL_IMAGES})
    rows = [row(**FIELDS | {"seed": seed, "accuracy": 70.0 + seed} | one) for one in cells for seed in (0, 1)]
    made = Page("toys", "Toys", "", [30, 50], [0, 1], rows, providers=PROVIDERS)
    monkeypatch.setattr(content, "page_of", lambda suite, folder: made)
    found = content.contents("toys", places)
    return replace(found, boards=found.boards[:1])


def test_every_table_stands_once_in_the_section_of_its_subject(every_table):
    sections = re.split(r'<section id="(\w+)-0">', page.render([every_table]))
    shown = {
        name: re.findall(r"<summary>([^<]+)<span", text)
        for name, text in zip(sections[1::2], sections[2::2], strict=True)
    }
    assert {name: titles for name, titles in shown.items() if titles} == SORTED
    assert sorted(chain(*SORTED.values())) == sorted(every_table.boards[0].tables)


def test_rows_without_an_exam_are_said_to_have_none(filled, places):
    written = page.render([content.contents("toys", places)])
    assert "No exam is put to these rows." in written


def test_words_of_strangers_are_text(hostile):
    written = page.render([content.contents("toys", hostile)])
    assert re.findall(r"<script[^>]*>", written) == [
        '<script type="application/json" id="values">',
        '<script type="module">',
    ]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in written and "{{7*7}}" in written
    assert "\u202e" not in written and "alert(1)</script>" not in written


def test_a_file_asks_for_no_address(filled, places):
    written = page.render([content.contents("toys", places)])
    assert set(re.findall(r"""(?:src|href|action)\s*=\s*["']?([^#"'\s>]+)""", written)) == set()
    assert set(re.findall(r"https?://[^\s\"'`]+", written)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in written


def test_no_script_turns_text_into_code():
    source = "".join((page.FOLDER / name).read_text() for name in page.SCRIPTS)
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(", source)
    assert {path.name for path in page.FOLDER.glob("*.js")} == set(page.SCRIPTS)


def test_the_same_input_gives_the_same_bytes(filled, places):
    assert page.render([content.contents("toys", places)]) == page.render([content.contents("toys", places)])


def test_tables_are_sorted_by_their_numbers(board):
    table = next(one for one in tables(board(*CELLS)) if one.title == "Accuracy")
    amounts = [[page.amount(cell) for cell in row.cells] for row in table.rows]
    assert amounts[0] == [None, None, 80.5] and amounts[2] == [None, None, 89.5]
    assert page.amount(PerRatio(((30, Number(3, "seconds")), (50, Gap())))) == 3
    assert page.amount(Gap()) is None


# The command


def test_the_command_writes_a_file_and_says_so(cli, filled, tmp_path):
    told = cli("report --suite toys --output out/toys.html")
    assert re.fullmatch(r"wrote out/toys.html, \d+ kB\n", told.out), told.err
    assert (tmp_path / "out" / "toys.html").read_text().startswith("<!doctype html>")
    assert cli("report").out.startswith("wrote report.html")


def test_an_older_report_is_replaced_and_no_other_file(cli, filled, tmp_path):
    for _ in range(2):
        assert cli("report").out.startswith("wrote report.html")
    (tmp_path / "report.html").write_text("my notes\n")
    told = cli("report")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("Error: report.html exists and holds something else, which may be your work;")
    assert (tmp_path / "report.html").read_text() == "my notes\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("report --output a.pdf", "--output a.pdf: a report is a file that ends in .html"),
        (
            "report --suite nonesuch",
            "no rows of suite 'nonesuch' under leaderboard/results (there are: toys); choose with --suite "
            "and --results, or run it first",
        ),
        (
            "report --results void",
            "no results under void/results; run something first, or name --results DIR",
        ),
    ],
)
def test_bad_input_is_one_line(cli, filled, line, message):
    told = cli(line)
    assert (told.code, told.out, told.err) == (2, "", f"Error: {message}\n")


def test_rows_of_other_settings_are_left_out_and_said_so(cli, filled, row, places):
    old = row(suite="olds", method_key="of yesterday")
    Journal(places.results).append(old)
    suite = places.results / "results" / "toys" / "suite.json"
    (places.results / "results" / "olds" / "suite.json").write_bytes(suite.read_bytes())
    why = "all rows of suite 'olds' were made with other settings than it has now; run it\n"
    told = cli("report")
    assert told.out.startswith("wrote report.html") and told.err == f"left out: {why}"
    alone = cli("report --suite olds --output olds.html")
    assert (alone.code, alone.out, alone.err) == (2, "", f"Error: {why}")
