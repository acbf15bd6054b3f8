"""Published numbers: every line is read and leads to a cell of ours, and chance is told from difference."""

from __future__ import annotations

import csv
import math
from collections import Counter

import pytest
from scipy import stats

from prunebench.errors import PrunebenchError
from prunebench.paper import comparison, published
from prunebench.parts.registry import load
from prunebench.results import statistics
from prunebench.results.board import Page, boards
from prunebench.results.cells import Table
from prunebench.results.spelling import heading, spelled
from prunebench.results.statistics import summarize
from prunebench.suites import schema
from prunebench.suites.resources import shipped

FOLDER = shipped() / "published"
KEYS = {line: published.key(line) for line in published.lines()}


def body(table):
    """Return the words of a table's cells."""
    return [[spelled(cell) for cell in row.cells] for row in table.rows]


def the(lines, **fields):
    """Return the one line with these fields."""
    (found,) = (line for line in lines if all(getattr(line, name) == v for name, v in fields.items()))
    return found


# Reading


@pytest.mark.parametrize(
    ("file", "read", "column"),
    [
        ("accuracy.csv", published.accuracies, "test_accuracy_percent"),
        ("scorer_ablation.csv", published.ablations, "test_accuracy_percent"),
        ("same_budget.csv", published.budgets, "test_accuracy_percent"),
        ("pseudo_label_quality.csv", published.qualities, "percent"),
        ("aum_cutoff.csv", published.cutoffs, "cutoff_fraction"),
        ("labeler_cost_a6000.csv", published.costs, "gpu_hours"),
    ],
)
def test_every_line_of_every_file_is_read(file, read, column):
    with (FOLDER / file).open() as lines:
        raw = [(line["dataset"], float(line[column])) for line in csv.DictReader(lines)]
    field = {"cutoff_fraction": "cutoff", "gpu_hours": "gpu_hours"}.get(column, "percent")
    assert [(line.dataset, getattr(line, field)) for line in read()] == raw
    assert raw


def test_no_file_is_forgotten():
    """640 lines; whoever adds a file adds a reader. Files of the field have one of their own."""
    files = set(FOLDER.glob("*.csv")) - set(FOLDER.glob("field*.csv"))
    counts = [len(path.read_text().splitlines()) - 1 for path in files]
    assert sum(counts) == len(published.lines()) == 640


def test_cells_of_the_paper_as_printed():
    found = the(published.accuracies(), dataset="cifar100_lt", method="semi_aum", ratio=30)
    assert (found.percent, found.label_usage, found.table) == (50.4, "few", "long_tailed")
    assert the(published.budgets(), method="elfs_dino", budget=20).percent == 42.2
    cost = the(published.costs(), dataset="imagenet1k", labeler="swav")
    assert (cost.wall_hours, cost.gpus, cost.gpu_hours) == (39.84, 64, 2549.76)


def test_sun397_has_both_readings_of_its_cutoffs():
    readings = {}
    for line in published.cutoffs():
        if line.dataset == "sun397":
            readings.setdefault(line.reading, []).append(line.cutoff)
    assert readings == {
        "as_printed_probably_from_the_easy_end": [0.1, 0.1, 0.1, 0.2, 0.2],
        "read_from_the_hard_end": [0.2, 0.4, 0.6, 0.6, 0.7],
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dual,F,full,30,180", "line 2: test_accuracy_percent: Input should be less than or equal to 100"),
        ("dual,F,full,0.3,80", "line 2: pruning_ratio_percent: Input should be a valid integer"),
        ("dual,F,all,30,80", "line 2: label_usage: Input should be 'none', 'few' or 'full'"),
        ("dual,F,full,30", "line 2: test_accuracy_percent: "),
        ("dual,F,full,30,80,1", "line 2: None: "),
        ("dual,F,full,30,80\ndomain,food101,dual,F,full,30,81", "line 3: an earlier line is about the same"),
    ],
)
def test_a_line_that_is_wrong_is_named(line, message, tmp_path, monkeypatch):
    header = (FOLDER / "accuracy.csv").read_text().splitlines()[0]
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "accuracy.csv").write_text(f"{header}\ndomain,food101,{line}\n")
    monkeypatch.setattr(published, "shipped", lambda: tmp_path)
    with pytest.raises(PrunebenchError) as error:
        published._read.__wrapped__("accuracy.csv", published.PublishedAccuracy)
    assert f"published/accuracy.csv, {message}" in str(error.value)
    assert "\n" not in str(error.value)


# Our names


@pytest.mark.parametrize("name", sorted({key.dataset for key in KEYS.values()}))
def test_every_published_dataset_is_one_of_ours(name):
    assert name in load().found["datasets"]


@pytest.mark.parametrize(("name", "method"), sorted({(key.suite, key.method) for key in KEYS.values()}))
def test_every_published_method_is_one_of_ours_or_of_its_suite(name, method):
    assert method in {*load().found["methods"], *schema.read(name).file.method}


def test_a_line_leads_to_one_cell():
    """Both readings of a cutoff, and both tables of labels, are about one thing each."""
    cells = Counter(
        (type(line), key) for line, key in KEYS.items() if isinstance(line, comparison.ACCURACIES)
    )
    assert set(cells.values()) == {1}
    line = the(published.budgets(), method="semi_aum", budget=60)
    assert published.key(line) == ("same_budget", "caltech101", "semi_aum+annotated", 40)
    line = the(published.ablations(), scorer="el2n", labeler="temi_dino", dataset="food101", ratio=90)
    assert published.key(line) == ("scorer_ablation", "food101", "elfs_el2n", 90)
    line = the(published.ablations(), scorer="aum", labeler="fixmatch", dataset="food101", ratio=90)
    assert published.key(line).method == "semi_aum"
    line = the(published.cutoffs(), dataset="imagenet1k", ratio=80)
    assert published.key(line) == ("paper_standard", "imagenet1k", "semi_aum", 80)
    line = the(published.costs(), dataset="sun397", labeler="swav")
    assert published.key(line) == ("cost", "sun397", "elfs_swav", None)


# Footnotes


@pytest.mark.parametrize("note", published.notes(), ids=lambda note: note.text[:40])
def test_every_remark_is_on_some_line(note):
    assert any(note.concerns(line) for line in published.lines())


def test_the_contradictions_are_footnoted():
    def remarks(lines, **fields):
        line = the(lines, **fields)
        return " ".join(note.text for note in published.notes() if note.concerns(line))

    accuracies = published.accuracies()
    random = {"method": "random", "ratio": 90}
    assert "implausibly low" in remarks(accuracies, dataset="cifar100_lt", **random)
    assert "implausibly low" not in remarks(accuracies, dataset="cifar100", **random)
    assert "42.20" in remarks(published.budgets(), method="elfs_dino", budget=20)
    assert "42.20" not in remarks(published.budgets(), method="elfs_dino", budget=60)
    labels = {"dataset": "caltech101", "labeler": "fixmatch", "table": "table1"}
    assert "61.7" in remarks(published.qualities(), metric="ACC", **labels)
    assert "61.7" not in remarks(published.qualities(), metric="ACC_parenthesised", **labels)
    assert "easy end" in remarks(
        published.cutoffs(), dataset="sun397", ratio=30, reading="read_from_the_hard_end"
    )
    assert "50 in table 7" in remarks(published.costs(), dataset="tiny_imagenet", labeler="fixmatch")


# Chance


def test_the_prediction_interval_is_that_of_the_formula():
    """By hand: n = 3, s = 1, t(2, 97.5 %) = 4.3027; sqrt(1/3 + 1) and sqrt(1/3 + 1/5)."""
    assert statistics.prediction_interval([79, 80, 81], 1) == pytest.approx((75.0318, 84.9682), abs=1e-3)
    assert statistics.prediction_interval([79, 80, 81], 5) == pytest.approx((76.8577, 83.1423), abs=1e-3)
    assert statistics.prediction_interval([80], 1) is None
    assert statistics.prediction_interval([80, 80, 80], 1) is None  # equal values show no spread
    assert statistics.mean_interval([95.2 - 90.2, 93.1 - 88.1]) is None  # equal but for rounding


@pytest.mark.parametrize("runs", [1, 5, 40])
def test_the_intervals_agree_with_scipys_distribution(runs):
    values = [61.2, 60.4, 63.0, 61.9, 60.0]
    spread = stats.tstd(values) * math.sqrt(1 / 5 + 1 / runs)
    expected = stats.t.interval(0.95, 4, loc=summarize(values).mean, scale=spread)
    assert statistics.prediction_interval(values, runs) == pytest.approx(expected)
    expected = stats.t.interval(0.99, 4, loc=summarize(values).mean, scale=stats.sem(values))
    assert statistics.mean_interval(values, 0.99) == pytest.approx(expected)


# Beside ours


@pytest.fixture
def board(row):
    """board((method, ratio, seed, best), ..., **fields) is the one board of rows on cifar100_lt."""

    def made(*cells, name="toys", **fields):
        ordinary = {"dataset": "cifar100_lt", "recipe": "paper", "accuracy": 20.0} | fields
        rows = [
            row(method=method, ratio=ratio, seed=seed, best_accuracy=best, **ordinary)
            for method, ratio, seed, best in cells
        ]
        (one,) = boards(Page(suite=name, title="T", note="", ratios=[30], seeds=[0, 1], rows=rows))
        return one

    return made


AUM = [("semi_aum", 30, 0, 50.0), ("semi_aum", 30, 1, 51.0), ("semi_aum", 90, 0, 29.0)]
RANDOM = [("random", 30, 0, 60.0), ("random", 30, 1, 60.2)]


def test_the_best_epoch_is_compared_and_the_last_shown(board):
    """50.4 published, 50 and 51 of ours: inside. One seed has no interval. Random's 32.9 is far off."""
    table = comparison.accuracy_table(board(*AUM, *RANDOM))
    assert [*map(heading, table.header)] == ["method", "", "30 % pruned", "90 % pruned"]
    assert body(table) == [
        ["Semi_Aum", "published", "50.4 [2]", "27.0"],
        ["", "ours, best epoch (oracle)", "50.5 ± 0.7", "29.0"],
        ["", "ours − published", "+0.1, inside", "+2.0, no interval"],
        ["", "ours, last epoch", "20.0 ± 0.0", "20.0"],
        ["Random", "published [1]", "32.9", "·"],
        ["", "ours, best epoch (oracle)", "60.1 ± 0.1", "·"],
        ["", "ours − published", "+27.2, outside", "·"],
        ["", "ours, last epoch", "20.0 ± 0.0", "·"],
    ]
    assert (
        "Here: 1 of 3 cells inside for m = 1, 1 of 3 cells inside for m = 5, 1 without an interval"
        in table.notes[1]
    )
    assert table.notes[-2].startswith("[1] Random is implausibly low")
    assert table.notes[-1].startswith("[2] Below Score Extrapolation")
    assert table.notes[-3].startswith("The released code prints the best")  # on every line: no number


def test_more_runs_make_a_narrower_interval(row):
    line = the(published.accuracies(), dataset="food101", method="random", ratio=30)  # 76.6
    rows = [
        row(dataset="food101", method="random", ratio=30, seed=seed, best_accuracy=best)
        for seed, best in enumerate([75.0, 75.5, 76.0])
    ]
    (found,) = comparison.compare(rows, [line])
    assert found.interval(1)[1] == pytest.approx(77.984, abs=1e-3)
    assert (found.inside(1), found.inside(5)) == (True, True)
    other = comparison.Compared(line, 77.5, found.ours)
    assert (other.inside(1), other.inside(5), other.verdict) == (True, False, "outside for m = 5")
    assert comparison.Compared(line, 73.0, found.ours).verdict == "outside"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"recipe": "tiny"}, "Recipe tiny is not the paper's training"),
        ({"repeats": "training"}, "Our seeds repeat selection and training only"),
    ],
)
def test_what_differs_from_the_papers_protocol_is_said(board, fields, words):
    assert any(note.startswith(words) for note in comparison.accuracy_table(board(*AUM, **fields)).notes)
    assert not any(note.startswith(words) for note in comparison.accuracy_table(board(*AUM)).notes)


def test_a_suite_of_one_of_the_tables_is_compared_with_that_table(board):
    """Random with 20 % of Caltech-101: 50.5 in table 4, 48.56 in C.2."""
    for name, shown in (("same_budget", "48.56"), ("paper_long_tailed", "50.5"), ("mine", "50.5")):
        table = comparison.accuracy_table(board(("random", 80, 0, 49.0), dataset="caltech101", name=name))
        assert body(table)[0] == ["Random", "published", shown]


def test_other_datasets_and_variants_have_no_published_number(board):
    assert comparison.tables(board(*AUM, dataset="toy")) == []


def test_heads_on_frozen_features_are_not_put_beside_networks_from_scratch(board):
    assert comparison.tables(board(*AUM)) != []
    assert comparison.tables(board(*AUM, final_network="linear on frozen embeddings of a backbone")) == []
    assert comparison.accuracy_table(board(("semi_aum{aum.margin=logit}", 30, 0, 50.0))) is None


def test_labels_that_all_seeds_share_are_one_value(board):
    quality = {"hungarian": 22.0, "balanced": 19.0, "nmi": 35.0, "ari": 12.0}
    cells = [("elfs_dino", 30, 0, 50.0), ("elfs_dino", 30, 1, 50.0), ("elfs_dino", 50, 0, 50.0)]
    shared = comparison.quality_table(board(*cells, quality=quality, repeats="training"))
    both = "table 1, appendix B.1"
    assert body(shared)[0] == ["temi_dino", "labeled right", "21.9", "22.0", "+0.1, no interval", both]
    anew = comparison.quality_table(board(*cells, quality=quality))
    assert body(anew)[0][3:5] == ["22.0 ± 0.0", "+0.1, no interval"]
    assert [line[1] for line in body(anew)] == ["labeled right", "balanced (in parentheses)", "ARI", "NMI"]


def test_labels_with_names_need_no_matching(board):
    quality = {"accuracy": 65.0, "hungarian": 66.0, "balanced": 60.0, "nmi": 67.0, "ari": 48.0}
    table = comparison.quality_table(board(*AUM, quality=quality))
    assert body(table)[0][:4] == ["fixmatch", "labeled right", "65.4 [1]", "65.0 ± 0.0"]
    assert table.notes[-1].startswith("[1] 65.4, exactly as for CIFAR-100-C")


def test_cutoffs_that_a_search_chose_stand_beside_the_printed_ones(board):
    tuned = {"tuned": {"cutoff": 0.2}, "tuned_on": "the labels", "tuning": "search"}
    table = comparison.cutoff_table(board(*AUM, dataset="sun397", **tuned))
    assert [line[0] for line in body(table)][1] == "read from the hard end"
    assert [line[1:] for line in body(table)] == [
        ["0.1", "0.1", "0.1", "0.2", "0.2"],
        ["0.2", "0.4", "0.6", "0.6", "0.7"],
        ["0.2", "·", "·", "·", "0.2"],
    ]
    assert table.notes[0] == "Ours were chosen on the labels."
    assert comparison.cutoff_table(board(*AUM, dataset="sun397", **tuned | {"tuning": "published"})) is None


def test_the_cost_of_a_labeler_is_that_of_training_it(board):
    seconds = {"embeddings": 7200.0, "labels": 60.0}
    table = comparison.cost_table(board(("elfs_swav", 30, 0, 50.0), dataset="cifar100", seconds=seconds))
    assert body(table) == [["swav", "ResNet-50", "500", "11.8", "2"]]
    table = comparison.cost_table(board(("semi_aum", 30, 0, 50.0), dataset="cifar100", seconds=seconds))
    assert body(table) == [["fixmatch", "WRN-28-8", "100", "2.05", "0.0167"]]


def test_the_cost_of_swav_is_unknown_beside_the_embeddings_of_a_frozen_backbone(board):
    for fields in (
        {"final_network": "linear on frozen embeddings of dino_vitb16"},
        {"changes": {"recipe.proxy_backbone": "dino_vitb16"}},
    ):
        swav = board(("elfs_swav", 30, 0, 50.0), dataset="cifar100", seconds={"embeddings": 7200.0}, **fields)
        assert comparison.cost_table(swav) is None
        fixmatch = board(("semi_aum", 30, 0, 50.0), dataset="cifar100", seconds={"labels": 60.0}, **fields)
        assert body(comparison.cost_table(fixmatch))[0][-1] == "0.0167"


def test_a_board_gets_all_its_tables(board):
    quality = {"accuracy": 65.0, "balanced": 60.0, "nmi": 67.0, "ari": 48.0}
    tables = comparison.tables(board(*AUM, quality=quality))
    assert [table.title for table in tables] == [
        "Published beside ours",
        "Published pseudo-labels beside ours",
    ]
    assert all(isinstance(table, Table) for table in tables)
