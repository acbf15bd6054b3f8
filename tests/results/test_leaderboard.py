"""Rows to tables: what is averaged, what is marked, and what is never done with a missing cell."""

from dataclasses import replace

import pytest

from prunebench.parts.registry import load
from prunebench.results import rank_tables, tables
from prunebench.results.board import Page, boards
from prunebench.results.document import conflicts, document, evidence, remarks, stale_lines
from prunebench.results.rank_tables import SHOWN
from prunebench.results.render.formats import FORMATS
from prunebench.results.render.markdown import MARKS
from prunebench.results.rows import Failure, Record
from prunebench.results.spelling import marked, spelled
from prunebench.results.standing import standing
from prunebench.results.statistics import summarize
from prunebench.results.tables import accuracy_table, equal_labels_table


@pytest.fixture
def page(row):
    """page((method, ratio, seed, accuracy, {...}), ...) is a page with these rows and seeds 0 and 1."""

    def made(*cells, **fields):
        rows = [
            row(method=method, ratio=ratio, seed=seed, accuracy=accuracy, **dict(*more))
            for method, ratio, seed, accuracy, *more in cells
        ]
        ordinary = {"suite": "toys", "title": "Toys", "note": "", "ratios": [30, 50], "seeds": [0, 1]}
        return Page(**ordinary | {"rows": rows} | fields)

    return made


def body(page, maker=accuracy_table):
    """Return the cells of a table as a page in markdown has them, without the smallest difference."""
    (board,) = boards(page)
    return [line for line in words(maker(board)) if SHOWN not in line[0]]


def words(table):
    return [marked(row, spelled, MARKS) for row in table.rows]


def markdown(page):
    return FORMATS["markdown"]([document(page)])


def text(page, **options):
    return FORMATS["text"]([document(page, **options)])


BOTH = [("near", 50, 0, 90.0), ("near", 50, 1, 91.0), ("random", 50, 0, 80.2), ("random", 50, 1, 80.8)]
FULL = {"label_fraction": 1.0, "labels_selection": 64, "labels_total": 64}
FEW = {"label_fraction": 0.1, "labels_selection": 6, "labels_total": 35}


def test_a_board_counts_its_certified_and_verified_cells(page, row):
    once = row(method="near", ratio=50, seed=0, accuracy=90.0)
    again = once.model_copy(update={"certified": True})
    found = page(*BOTH)
    (board,) = boards(
        replace(found, rows=[*found.rows, again], verified=frozenset({once.id, again.id, "other"}))
    )
    assert evidence(standing(board)) == "Of 4 cells, 1 have a certified row and 1 a verified one."


def test_a_board_names_the_methods_of_its_suite_that_were_not_run(page):
    """At most twelve of them."""

    def said(*methods):
        return document(page(*BOTH, methods=["random", "near", *methods])).sections[0].facts

    assert "no row" not in said()
    assert said("far").endswith("Of 3 methods of the suite, 1 have no row: far.")
    many = [f"m{number}" for number in range(14)]
    assert said(*many).endswith(
        f"Of 16 methods of the suite, 14 have no row: {', '.join(many[:12])}, 2 others."
    )


# Numbers


def failure(row, **values):
    known = row(**values).model_dump()
    return Failure(**{name: known[name] for name in Record.model_fields}, failed="diverged at step 3")


def test_a_method_that_failed_is_a_hole_and_never_absent(page, row):
    few, full = ({"method": name, "label_fraction": share} for name, share in (("semi", 0.1), ("dual", 1.0)))
    failures = [failure(row, **full, seed=0), failure(row, **full, seed=1), failure(row, **few)]
    found = page(*BOTH, ("semi", 50, 0, 70.0, FEW), failures=failures)
    assert body(found)[2:] == [
        ["Semi", "few labels", "·", "70.0 (1 of 2 seeds)"],  # what it has speaks for itself
        ["Dual", "all labels", "·", "·"],
    ]
    assert remarks(found) == [
        "failed: 2 cell(s) of dual on toy: diverged at step 3",
        "failed: 1 cell(s) of semi on toy: diverged at step 3",
    ]


def test_a_failure_of_other_settings_leaves_no_hole(page, row):
    current = {("dual", "toy", "tiny", "default", "pipeline"): "other"}
    found = page(*BOTH, failures=[failure(row, method="dual")], current=current)
    assert len(body(found)) == 2 and remarks(found) == []


@pytest.mark.parametrize(
    ("values", "text"), [([80.0], "80.0"), ([80.0, 82.0], "81.0 ± 1.4"), ([80.0] * 5, "80.0 ± 0.0")]
)
def test_mean_and_sample_standard_deviation(values, text):
    assert str(summarize(values)) == text


def test_a_missing_cell_is_a_gap_and_never_averaged(page):
    """MTEB once averaged what there was: a method that skipped the hard cells led the board."""
    assert body(page(*BOTH)) == [
        ["Near", "no labels", "·", "**90.5 ± 0.7**"],
        ["Random", "no labels", "·", "<u>80.5 ± 0.4</u>"],
    ]


def test_a_partly_seeded_cell_shows_its_number_and_has_no_mark(page):
    assert body(page(*BOTH[1:])) == [
        ["Near", "no labels", "·", "91.0 (1 of 2 seeds)"],
        ["Random", "no labels", "·", "80.5 ± 0.4"],  # and nothing complete to be compared with
    ]


def reasons(page):
    """Return the notes that say why nothing is ranked."""
    (board,) = boards(page)
    return [note for note in accuracy_table(board).notes if "is ranked" in note]


def test_a_board_without_ranks_says_why(page):
    """Boards once showed "2 of 3 seeds" in every cell, and no ranks, without a word."""
    assert reasons(page(BOTH[0], BOTH[2])) == [
        "Nothing is ranked, because no method without all labels has all 2 seeds."
    ]
    assert reasons(page(*BOTH, ("near", 30, 0, 90.0))) == [
        "At 30 % pruned nothing is ranked, because no method without all labels has all 2 seeds."
    ]
    assert reasons(page(*BOTH)) == []  # nothing was run at 30, which is no reason
    assert reasons(page(*(("dual", 50, seed, 99.0, FULL) for seed in (0, 1)))) == []
    assert reasons(page(BOTH[1], seeds=[0])) == [
        "Nothing is ranked, because no method without all labels has its seed."
    ]


def test_the_index_counts_the_seeds_that_are_there(page):
    (half,) = boards(page(BOTH[0], BOTH[2]))
    (whole,) = boards(page(*BOTH, ("near", 30, 0, 90.0)))
    assert (standing(half).seeds, standing(whole).seeds) == (1, 2)


def test_best_and_second_are_among_methods_without_all_labels(page):
    full = [("dual", 50, seed, 99.0, FULL) for seed in (0, 1)]
    assert body(page(*full, *BOTH)) == [
        ["Near", "no labels", "·", "**90.5 ± 0.7**"],
        ["Random", "no labels", "·", "<u>80.5 ± 0.4</u>"],
        ["Dual", "all labels", "·", "99.0 ± 0.0"],
    ]


def test_a_draw_that_reads_every_label_is_told_below_the_table(page):
    draws = {"even": "class_balanced", "spread": "stratified", "plain": "uniform", "other": "given"}
    rows = [(name, 50, 0, 70.0, FEW | {"label_draw": draw}) for name, draw in draws.items()]
    (board,) = boards(page(*rows))
    assert [note for note in accuracy_table(board).notes if "draw" in note] == [
        "Even uses some labels, but their draw (class_balanced) reads every label.",
        "Spread uses some labels, but their draw (stratified) reads every label.",
    ]


def test_methods_are_grouped_by_the_labels_they_buy(page):
    few = [("semi", 50, seed, 70.0, FEW) for seed in (0, 1)]
    full = [("dual", 50, seed, 99.0, FULL) for seed in (0, 1)]
    assert [line[:2] for line in body(page(*full, *few, *BOTH))] == [
        ["Near", "no labels"],
        ["Random", "no labels"],
        ["Semi", "few labels"],
        ["Dual", "all labels"],
    ]


def test_references_are_shown_and_never_ranked(page):
    twin = [("random_twin", r, s, 99.0, {"reference": True}) for r in (30, 50) for s in (0, 1)]
    assert body(page(*BOTH, *twin))[-1] == ["*Random_Twin*", "reference", "99.0 ± 0.0", "99.0 ± 0.0"]
    assert body(page(*BOTH, *twin))[0][-1] == "**90.5 ± 0.7**"


def test_the_difference_to_random_is_paired_by_seed(page):
    cells = [("near", 50, 0, 90.0), ("near", 50, 1, 93.0), ("random", 50, 0, 80.0), ("random", 50, 1, 84.0)]
    assert body(page(*cells), tables.difference_table) == [["Near", "·", "+9.5 ± 0.7, better"]]
    assert body(page(*cells[:3]), tables.difference_table) == [["Near", "·", "+10.0 (1 of 2 seeds)"]]


def test_a_method_whose_scores_order_nothing_says_so(page):
    """With `top` such a method is Random under another name."""
    (board,) = boards(page(("near", 50, 0, 90.0, {"constant_scores": True}), *BOTH[1:]))
    assert accuracy_table(board).notes[1:2] == [
        "Near: in 1 of 2 cells every image had the same score, which orders none."
    ]


@pytest.mark.parametrize("reference", [False, True])
def test_a_method_whose_trainings_lacked_memory_says_so(page, reference):
    few = [("near", 50, seed, 90.0, {"reference": reference, "micro_batch": 8 << seed}) for seed in (0, 1)]
    (board,) = boards(page(*few, ("near", 30, 0, 90.0, {"reference": reference}), *BOTH[2:]))
    told = (
        "Near: in 2 of 3 cells memory lacked for a batch, and BatchNorm saw 8 images or more of it at once."
    )
    assert [note for note in accuracy_table(board).notes if "memory" in note] == [told]
    (board,) = boards(page(*BOTH))
    assert not any("memory" in note for note in accuracy_table(board).notes)


# Labels


def test_a_method_that_pays_stands_beside_random_with_as_many_labels(page):
    matched = {"reference": True, "matched_to": "semi", "kept": 35}
    cells = [
        *(("semi", 50, seed, 82.0, FEW) for seed in (0, 1)),
        *(("random_matched{semi}", 50, seed, 85.0, matched) for seed in (0, 1)),
        *BOTH,
    ]
    assert body(page(*cells), equal_labels_table) == [
        ["Semi", "labels in all", "·", "35"],
        ["", "accuracy", "·", "82.0 ± 0.0"],
        ["", "Random, as many labels", "·", "85.0 ± 0.0"],
    ]
    assert "Random_Matched{Semi}" not in str(body(page(*cells)))  # nowhere but there


def test_who_annotated_every_label_stands_beside_all_images(page):
    full = {"reference": True, "kept": 64}
    cells = [("dual", 50, 0, 90.0, FULL), ("full", 0, 0, 97.0, full), ("full", 0, 1, 97.0, full)]
    last = body(page(*cells), equal_labels_table)[-1]
    assert last == ["", "Random, as many labels", "97.0 ± 0.0", "97.0 ± 0.0"]


# What may share a table


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": "paper"},
        {"repeats": "training"},
        {"tuning": "search"},
        {"protocol_version": 2},
        {"dataset_hash": "e" * 64},
        {"dataset": "toy_lt"},
    ],
)
def test_protocols_never_share_a_table(page, other):
    found = boards(page(*BOTH, ("near", 50, 0, 10.0, other), ("near", 50, 1, 10.0, other)))
    assert [len(board.rows) for board in found] == [4, 2] or [len(board.rows) for board in found] == [2, 4]


def test_final_networks_that_train_otherwise_never_share_a_table(page):
    """A change of the recipe is in the name of a method, and was once ranked beside the base."""
    longer = {"changes": {"recipe.final_iterations": 50}}
    base, changed = boards(page(*BOTH, ("near{}", 50, 0, 99.0, longer), ("near{}", 50, 1, 99.5, longer)))
    assert (base.heading, changed.heading) == (
        "toy, recipe tiny",
        "toy, recipe tiny with final_iterations=50",
    )
    assert body(page(*BOTH))[0][-1] == words(accuracy_table(base))[0][-1] == "**90.5 ± 0.7**"
    settings = [section.setting["recipe_changes"] for section in document(changed.page).sections]
    assert settings == ["", "final_iterations=50"]


def test_a_table_is_of_one_training_whatever_the_names_of_recipes(page):
    """The hash of the values of the final recipe decides, where it is known."""
    proxy = {"changes": {"recipe.proxy_backbone": "pixels"}}
    other = {"recipe": "other"}
    places = {
        (name, recipe): (name, "toy", recipe, "default", "pipeline")
        for name in "abc"
        for recipe in ("tiny", "other")
    }
    trainings = {
        places["a", "tiny"]: "x",
        places["b", "tiny"]: "x",
        places["a", "other"]: "x",
        places["c", "other"]: "y",
    }
    found = page(
        ("a", 50, 0, 90.0), ("b", 50, 0, 80.0, proxy), ("c", 50, 0, 70.0, other), trainings=trainings
    )
    assert [[row.method for row in board.rows] for board in boards(found)] == [["a", "b"], ["c"]]
    again = page(("b", 50, 0, 90.0), ("a", 50, 0, 80.0, other), trainings=trainings)
    assert len(boards(again)) == 1
    twice = page(("a", 50, 0, 90.0), ("a", 50, 0, 80.0, other | {"method_key": "k2"}), trainings=trainings)
    assert [board.rows[0].recipe for board in boards(twice)] == ["tiny", "other"], "two results of one cell"


def test_seeds_are_counted_cell_by_cell(page):
    """A page once said "over 3 seeds" of means over 5."""
    more = [("near", 50, 2, 90.5), ("random", 50, 2, 80.5), ("random", 50, 3, 80.4)]
    (board,) = boards(page(*BOTH, *more[:2]))
    assert [line[-1] for line in words(accuracy_table(board))[:2]] == ["**90.5 ± 0.5**", "<u>80.5 ± 0.3</u>"]
    assert "over 3 seeds." in accuracy_table(board).notes[0]
    far = [("far", 50, seed, 70.0 + seed / 10) for seed in range(3)]
    assert "<u>80.5 ± 0.2 (4 seeds)</u>" in [line[-1] for line in body(page(*BOTH, *more, *far))]
    (board,) = boards(page(*BOTH, *more, *far[:2]))
    assert "over 4 seeds unless a cell says otherwise." in accuracy_table(board).notes[0]
    cells = [line[-1] for line in words(accuracy_table(board))]
    assert cells[0] == "**90.5 ± 0.5 (3 of 4 seeds)**" and "70.0 ± 0.1 (2 of 4 seeds)" in cells


def test_stale_rows_are_left_out_and_said_so(page):
    old = ("near", 50, 0, 10.0, {"method_key": "old"})
    found = page(
        old,
        *BOTH[1:],
        current={(name, "toy", "tiny", "default", "pipeline"): "k" for name in ("near", "random")},
    )
    assert body(found)[0] == ["Near", "no labels", "·", "91.0 (1 of 2 seeds)"]
    assert stale_lines(found) == [
        "stale: 1 row(s) of near on toy were made with other settings and are left out"
    ]


def test_rows_that_disagree_are_flagged(page):
    found = page(*BOTH, ("near", 50, 0, 91.0))
    (line,) = conflicts(found)
    assert line.startswith("near on toy at 50, seed 0: rows disagree: 90.00 (2026-01-01T00:00:00Z, ")
    assert line in markdown(found)
    assert body(found)[0][3] == "**90.5 ± 0.7 (rows disagree)**"


def test_rows_of_another_machine_are_neither_shown_nor_flagged(page):
    """A training ends elsewhere on a processor that rounds otherwise."""
    found = page(*BOTH, ("near", 50, 0, 91.0, {"device_name": "another"}))
    assert conflicts(found) == []
    assert body(found)[0] == body(page(*BOTH))[0]
    assert (
        "1 row(s) are of another machine, which rounds otherwise: they differ by 1.0 points on average, "
        "1.0 at most. Of each cell the first certified row is shown, else the first row."
    ) in markdown(found)


def test_a_certified_row_of_another_machine_is_shown(page):
    certified = {"device_name": "another", "certified": True}
    found = page(*BOTH, ("near", 50, 0, 91.0, certified))
    assert body(found)[0][3] == body(page(("near", 50, 0, 91.0), *BOTH[1:]))[0][3]
    assert [row.method for row in found.fresh] == ["near", "near", "near", *["random"] * (len(BOTH) - 2)]


# Pages


def test_a_page(page):
    full = [
        ("full", 0, seed, 97.0, {"reference": True, "kept": 64, "title": "All images"}) for seed in (0, 1)
    ]
    assert (
        markdown(page(*BOTH, *full, ratios=[50], note="Demonstration.", complaints=["a complaint"]))
        == """\
# Toys

> Demonstration.

Made by `prunebench leaderboard` from the rows in `results/toys/`; do not edit.

## toy, recipe tiny

64 training images. Repeats: each seed repeats everything: label draw, labeler, proxy, scores, selection, \
training. Tuning: default. Protocol 1, dataset dddddddddddd. Of 6 cells, 0 have a certified row and 0 a \
verified one.

### Accuracy

![Test accuracy at 50 % pruned, a dot for each seed.](figures/toys-toy.svg)

| method                          | labels to select   | 50 % pruned       |
|---------------------------------|--------------------|-------------------|
| Near                            | no labels          | **90.5 ± 0.7**    |
| Random                          | no labels          | <u>80.5 ± 0.4</u> |
| *Smallest difference separated* | points             | 2.5               |

Test accuracy in percent, last epoch, mean ± standard deviation over 2 seeds. Bold: best, underlined: \
second, among complete cells of methods without all labels, where the seeds separate it from all others. \
· marks a cell without a result; references are never ranked.

Smallest difference separated: in points, between two ranked methods, if all pairs are compared.

### In words

- Random trained as long was not run.

Worse: the seeds separate the two, if all methods of that ratio are compared with what the sentence names. \
Random with as many labels spends on images to train on what a method spends on labels to select by. \
Random trained as long trains on as many images as a method's selection and final training together. \
FixMatch's own network trained with the labels to select by alone, and needs no kept image.

### Ranks

![The ranks that the seeds allow each method, by ratio.](figures/toys-toy-ranks.svg)

| method   | 50 % pruned   |
|----------|---------------|
| Near     | 1 (1)         |
| Random   | 2 (2)         |

Ranks that the seeds allow, 1 the highest accuracy, among the cells that are ranked above. With 95 % \
confidence all ranks of a column hold at once. In parentheses the tie group, where there are several: each \
of its methods is separated from each method of the next group.

### Intervals

| method   | 50 % pruned   |
|----------|---------------|
| Near     | 84.1 to 96.9  |
| Random   | 76.7 to 84.3  |

95 % t interval of the mean accuracy, for each cell alone. It speaks of other seeds on these images, not \
of other images. A cell whose seeds show no spread has none.

### Reference points

| reference   | images kept   | accuracy   | balanced   | worst tenth of classes   |
|-------------|---------------|------------|------------|--------------------------|
| All images  | 64 of 64      | 97.0 ± 0.0 | 79.0 ± 0.0 | 70.0 ± 0.0               |

### Difference to Random

| method   | 50 % pruned         |
|----------|---------------------|
| Near     | +10.0 ± 0.3, better |

Percentage points, mean ± standard deviation of the differences of runs with the same seed. A method is \
called better or worse where the seeds separate it from Random, if all methods of the column are compared \
with it.

### Worst tenth of classes

| method   | 50 % pruned   |
|----------|---------------|
| Near     | 70.0 ± 0.0    |
| Random   | 70.0 ± 0.0    |

Recall in percent of the worst tenth of the classes of each run, one class at least; mean ± \
standard deviation over seeds. Which classes these are differs between runs.

### Balanced accuracy

| method   | 50 % pruned   |
|----------|---------------|
| Near     | 79.0 ± 0.0    |
| Random   | 79.0 ± 0.0    |

Recall in percent, mean over all classes of the test split; mean ± standard deviation over seeds.

### Cost

| method   | labels to select   | seconds to select   | seconds to train at 50   | classes lost   |
|----------|--------------------|---------------------|--------------------------|----------------|
| Near     | 0                  | 0.5                 | 2.0                      | 0              |
| Random   | 0                  | 0.5                 | 2.0                      | 0              |

Mean seconds of computation on x86_64 (cpu). Classes lost: those with no image kept, mean over seeds.

## Remarks

- a complaint
"""
    )


def test_a_page_on_a_terminal_has_marks_in_words(page):
    shown = text(page(*BOTH, ratios=[50]), only=lambda table: table.title == "Accuracy")
    assert "90.5 ± 0.7 (1st)" in shown and "80.5 ± 0.4 (2nd)" in shown
    assert "1st: best, 2nd: second, among" in shown and "**" not in shown and "<u>" not in shown


def test_a_page_does_not_depend_on_the_order_of_its_rows(page):
    near, near_again, *random = BOTH
    assert markdown(page(*BOTH)) == markdown(page(near_again, near, *random))


# Where the spread comes from


def test_the_spread_is_split_where_runs_repeat_all_stages_or_the_last_alone(page):
    """Two rungs: all stages anew have the variance 18, selection and training alone 2."""
    training = {"repeats": "training", "method_key": "t"}
    cells = [("near", 50, 0, 80.0), ("near", 50, 1, 86.0), ("random", 50, 0, 70.0), ("random", 50, 1, 71.0)]
    again = [("near", 50, 0, 80.0, training), ("near", 50, 1, 82.0, training)]
    found, trained = boards(page(*cells, *again))
    assert words(rank_tables.components_table(found)) == [
        ["Near", "label draw, labeler, proxy, scores", "·", "4.0"],
        ["", "selection, training", "·", "1.4"],
    ]
    assert rank_tables.components_table(trained) is None
    other = {"recipe": "paper"} | training
    apart = page(*cells, ("near", 50, 0, 80.0, other), ("near", 50, 1, 82.0, other))
    assert rank_tables.components_table(boards(apart)[0]) is None, "another training"


def test_the_spread_of_each_stage_where_runs_repeat_each_rung(page):
    """The variances by hand: 50, 32, 18 and 2, and so 18, 14, 16 and 2 of each stage."""
    found = {"pipeline": (80.0, 90.0), "labeler": (80.0, 88.0), "proxy": (80.0, 86.0), "training": (80, 82.0)}
    cells = [
        ("near", 50, seed, accuracy, {"repeats": rung, "method_key": rung})
        for rung, accuracies in found.items()
        for seed, accuracy in enumerate(accuracies)
    ]
    assert words(rank_tables.components_table(boards(page(*cells, ratios=[50]))[0])) == [
        ["Near", "label draw", "4.2"],
        ["", "labeler", "3.7"],
        ["", "proxy, scores", "4.0"],
        ["", "selection, training", "1.4"],
    ]


# Tuning


def test_tuned_values_and_the_regret_of_the_search(page):
    """Two rules are two boards; the search's shows what the oracle's choice gains, by seed."""
    common = {"label_fraction": 0.1, "trials": 10, "tuned": {"cutoff": 0.2}}
    search, oracle = common | {"tuning": "search"}, common | {"tuning": "oracle_test"}
    both = page(
        ("near", 50, 0, 80.0, search),
        ("near", 50, 1, 80.0, search),
        ("near", 50, 0, 81.0, oracle),
        ("near", 50, 1, 84.0, oracle),
    )
    searched, judged = boards(both)
    assert searched.heading == "toy, recipe tiny, tuning search"
    assert words(tables.tuned_table(searched)) == [["Near", "cutoff", "10", "·", "0.2"]]
    assert words(tables.regret_table(searched)) == [["Near", "·", "+2.5 ± 2.1"]]
    assert tables.regret_table(judged) is None


def test_rows_of_another_rule_are_not_stale(page):
    """Each rule has a key of its own."""
    search, default = ({"tuning": rule, "method_key": rule[0]} for rule in ("search", "default"))
    current = {("near", "toy", "tiny", rule, "pipeline"): rule[0] for rule in ("default", "search")}
    both = page(("near", 50, 0, 80.0, default), ("near", 50, 1, 80.0, search), current=current)
    assert [row.tuning for board in boards(both) for row in board.rows] == ["default", "search"]


def test_labels_of_one_pipeline_are_counted_once(page):
    """Where all seeds share a labeler there is no spread to show."""
    shared = {"repeats": "training", "labeler": "probe", "quality": {"unlabeled_nmi": 50.0}}
    found = page(("near", 50, 0, 80.0, shared), ("near", 50, 1, 80.0, shared))
    assert body(found, tables.labels_table)[0][5] == "50.0"


PROBED = {"labeler": "probe on pixels", "label_fraction": 0.1}


@pytest.mark.parametrize(
    ("near", "far", "names"),
    [
        (
            {"label_draw": "uniform"},
            {"label_draw": "stratified"},
            ["sampling=uniform", "sampling=stratified"],
        ),
        ({"changes": {"probe.C": 0.1}}, {"changes": {"probe.C": 0.2}}, ["probe.C=0.1", "probe.C=0.2"]),
    ],
)
def test_labelers_of_one_title_are_called_by_their_settings(page, near, far, names):
    cells = [
        ("near", 50, 0, 80.0, PROBED | near | {"quality": {"unlabeled_nmi": 50.0}}),
        ("far", 50, 0, 80.0, PROBED | far | {"quality": {"unlabeled_nmi": 60.0}}),
    ]
    found = body(page(*cells), tables.labels_table)
    assert [(row[0], row[5]) for row in found] == [
        (f"probe on pixels({name})", nmi) for name, nmi in zip(names, ("50.0", "60.0"), strict=True)
    ]


def test_the_settings_of_labelers_are_those_of_the_suite(page):
    guessed = PROBED | {"quality": {"unlabeled_nmi": 50.0}}
    cells = [(method, 50, 0, 80.0, guessed) for method in ("near", "far", "close")]
    settings = {"near": "probe(C=1.0)", "far": "probe(C=0.1)", "close": "probe(C=0.1)"}
    labelers = {(name, "toy", "tiny", "default", "pipeline"): text for name, text in settings.items()}
    found = body(page(*cells, labelers=labelers), tables.labels_table)
    assert [row[0] for row in found] == ["probe(C=1.0)", "probe(C=0.1)"]


def test_a_heading_says_what_a_dataset_is_where_its_name_does_not(page):
    """Names such as cifar100_c suggest a benchmark that they are not."""
    what = "30 % of training images corrupted (Moderate-DS)"
    titled = page(("near", 50, 0, 80.0, {}), titles={"toy": what})
    assert boards(titled)[0].heading == f"toy: {what}, recipe tiny"
    titles = load().titles()
    assert (titles["cifar100_c"], titles["tiny_imagenet_c_fixed"]) == (what, f"{what}, mended")
    assert not {"cifar100", "digits", "food101"} & {*titles}


def test_a_pretrained_backbone_is_named_once_with_all_methods_that_use_it(page):
    seen = {"pretraining": ["vit: 1000 images, labels none"]}
    found = page(("a", 50, 0, 90.0, seen), ("b", 50, 0, 80.0, seen), ("c", 50, 0, 70.0))
    assert markdown(found).count("Pretrained backbone vit: 1000 images, labels none. Used by A, B.") == 1


HOSTILE = "<script>|`x`\n## Injected\x1b[31m"


def test_words_of_strangers_are_text_on_a_page(page):
    odd = {"title": HOSTILE, "pretraining": [HOSTILE], "labeler": HOSTILE, "quality": {"nmi": 1.0}}
    found = page(
        ("near", 50, 0, 90.0, odd),
        ("near", 50, 1, 90.0, odd),
        *BOTH[2:],
        title=HOSTILE,
        note=HOSTILE,
        titles={"toy": HOSTILE},
        complaints=[HOSTILE],
    )
    made = markdown(found)
    assert "\x1b" not in made and "\x1b" not in text(found)
    assert not [line for line in made.splitlines() if line.startswith("## Injected")]
    assert made.count("<script>") == made.count(r"\<script>") == 14
    columns = [line.replace(r"\|", "").count("|") - 1 for line in made.splitlines() if line.startswith("|")]
    assert columns == [4] * 5 + [3] * 19 + [8] * 3 + [5] * 4
