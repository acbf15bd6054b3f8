"""Numbers of the field: every one has a source, and the page shows what several papers print."""

from __future__ import annotations

import csv
from collections import Counter
from decimal import Decimal

import pytest

from benchmarks import same_cell
from prunebench.errors import PrunebenchError
from prunebench.paper import field, published
from prunebench.parts.registry import load
from prunebench.results.board import Page
from prunebench.suites.resources import shipped

FOLDER = shipped() / "published"
NUMBERS = [one for one in field.printed() if one.number.paper != field.SEMIPRUNE]
# The README lists both.
OTHER_DATASETS = {
    "oxford_pet",
    "cub200_2011",
    "eurosat10",
    "cifar100_corrupted_20",
    "tiny_imagenet_corrupted_20",
}
OTHER_METHODS = {
    "influence",
    "gm_matching",
    "k_center_supervised",
    "contextual_diversity",
    "margin",
    "cal",
    "glister",
    "graph_cut",
    "nearest_to_center",
    "ram_apl",
    "probabilistic",
    "lbcs",
    "moso",
}
README = (FOLDER / "README.md").read_text(encoding="utf-8")
TABLE = "A,2401.00001,1,cifar10,paper,top-1,ResNet-18,200,,128,last,3,text,https://a.org/b,"
NUMBER = "A,1,cifar10,random,Random,30 % kept,70,90.2,0.4,,"


def prints(*accuracies, paper="A"):
    """Return numbers of one table with these accuracies, written as in the file."""
    (source, *_) = field.sources().values()
    number = NUMBERS[0].number
    return [
        field.Printed(number.model_copy(update={"accuracy": Decimal(text), "paper": paper}), source)
        for text in accuracies
    ]


# Reading


def test_every_line_is_read():
    with (FOLDER / "field.csv").open(encoding="utf-8") as file:
        raw = [(line["paper"], line["dataset"], line["accuracy_percent"]) for line in csv.DictReader(file)]
    assert [(one.number.paper, one.number.dataset, f"{one.number.accuracy}") for one in NUMBERS] == raw
    assert len(raw) == 492


def test_the_numbers_of_semiprune_are_there_once():
    its = [one for one in field.printed() if one.number.paper == field.SEMIPRUNE]
    assert [one.number.accuracy for one in its] == [
        Decimal(f"{line.percent:.1f}") for line in published.accuracies()
    ]
    assert [float(one.number.accuracy) for one in its] == [line.percent for line in published.accuracies()]


def test_every_source_has_numbers():
    """A table that nothing was taken from is a slip."""
    used = {(one.number.paper, one.number.table, one.number.dataset) for one in field.printed()}
    assert used == field.sources().keys()


def test_every_number_has_a_source_and_is_likely():
    for one in NUMBERS:
        number, source = one.number, one.source
        assert source.url.startswith("https://"), number
        assert source.read_in == "thread" or source.printed_by == "paper", number
        assert 0 <= number.ratio < 100, number
        assert 1 < number.accuracy < 100, number
        assert number.spread is None or number.spread < number.accuracy, number


@pytest.mark.parametrize(
    ("paper", "dataset", "method", "ratio", "words"),
    [
        ("RAM-APL", "food101", "random", 70, ["69.5 ± 0.2"]),
        ("GM Matching", "cifar100", "moderate_supervised", 70, ["57.79 ± 1.61"]),
        ("LBCS", "imagenet1k", "lbcs", "31.47", ["89.98"]),
        ("ZCore", "cifar10", "random", 70, ["90.61 ± 0.44"]),
        ("CCS", "cifar10", "forgetting_supervised", 90, ["34.03"]),
        ("TDDS", "cifar100", "tdds_supervised", 90, ["54.51 ± 0.22", "54.03", "53.19", "54.22"]),
        ("DUAL", "imagenet1k", "dual", 90, ["60"]),
    ],
)
def test_numbers_as_printed(paper, dataset, method, ratio, words):
    asked = (paper, dataset, method, Decimal(ratio))
    found = []
    for one in NUMBERS:
        number = one.number
        if (number.paper, number.dataset, number.method, number.ratio) == asked:
            found.append(same_cell._accuracy(one))
    assert found == words


@pytest.fixture
def files(tmp_path, monkeypatch):
    """files(tables, numbers) makes these lines the shipped ones; SemiPrune's are left out."""

    def write(tables, numbers):
        (tmp_path / "published").mkdir()
        for name, lines in (("field_tables.csv", tables), ("field.csv", numbers)):
            header = (FOLDER / name).read_text(encoding="utf-8").splitlines()[0]
            (tmp_path / "published" / name).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        monkeypatch.setattr(published, "shipped", lambda: tmp_path)
        monkeypatch.setattr(field, "sources", field.sources.__wrapped__)
        monkeypatch.setattr(field, "printed", field.printed.__wrapped__)
        monkeypatch.setattr(field, "accuracies", list)

    return write


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (["A,1,cifar10,random,Random,30 % kept,70,190.2,0.4,,"], "field.csv, line 2: accuracy_percent: "),
        (
            ["A,1,cifar10,random,Random,30 % kept,100,90.2,0.4,,"],
            "field.csv, line 2: pruning_ratio_percent: ",
        ),
        (["A,1,cifar10,random,Random,30 % kept,70,90.2,-1,,"], "field.csv, line 2: spread: "),
        (["A,1,cifar10,,Random,30 % kept,70,90.2,,,"], "field.csv, line 2: method: "),
        (
            [NUMBER, "A,2,cifar10,random,Random,30 % kept,70,90.2,,,"],
            "field.csv, line 3: no line of field_tables.csv",
        ),
        (
            [NUMBER, "B,1,cifar10,random,Random,30 % kept,70,90.2,,,"],
            "says where 'B', table '1', on 'cifar10' was",
        ),
        ([NUMBER, NUMBER.replace("90.2", "90.3")], "line 3: an earlier line is about the same cell"),
        ([NUMBER, NUMBER.replace("90.2", "90.3") + "why"], "line 3: an earlier line is about the same cell"),
    ],
)
def test_a_number_that_is_wrong_is_named(numbers, message, files):
    files([TABLE], numbers)
    with pytest.raises(PrunebenchError) as error:
        field.printed()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([TABLE.replace("https://a.org/b", "")], "line 2: url: "),
        ([TABLE.replace("https://a.org/b", "a book")], "line 2: url: "),
        ([TABLE.replace("2401.00001", "")], "line 2: arxiv: "),
        ([TABLE.replace("200", "many")], "line 2: epochs: "),
        ([TABLE.replace("200", "0")], "line 2: epochs: "),
        ([TABLE.replace("last", "first")], "line 2: epoch: "),
        ([TABLE, TABLE.replace("200", "100")], "line 3: an earlier line is about the same table"),
    ],
)
def test_a_table_that_is_wrong_is_named(tables, message, files):
    files(tables, [NUMBER])
    with pytest.raises(PrunebenchError, match=f"field_tables.csv, {message}") as error:
        field.printed()
    assert "\n" not in str(error.value)


def test_notes_tell_two_numbers_of_a_cell_apart(files):
    files([TABLE], [NUMBER + "in the text", NUMBER.replace("90.2", "90.3") + "in the table"])
    assert [one.number.accuracy for one in field.printed()] == [Decimal("90.2"), Decimal("90.3")]


def test_an_empty_field_is_not_said(files):
    files([TABLE.replace("200,,128,last,3", ",,,,")], [NUMBER.replace("0.4", "")])
    (one,) = field.printed()
    source = one.source
    assert (source.epochs, source.iterations, source.batch_size, source.epoch, source.runs) == (
        None,
        None,
        "",
        "",
        None,
    )
    assert one.number.spread is None


# Names


def test_names_are_ours_or_the_readmes():
    datasets = {one.number.dataset for one in NUMBERS}
    methods = {one.number.method for one in NUMBERS}
    assert datasets - load().found["datasets"].keys() == OTHER_DATASETS
    assert methods - load().found["methods"].keys() == OTHER_METHODS
    assert [name for name in OTHER_DATASETS | OTHER_METHODS if f"| `{name}` |" not in README] == []


def test_a_printed_name_is_one_method():
    """Two names of a paper may be ours once; one name is never two of ours."""
    pairs = {
        (one.number.paper, one.number.table, one.number.printed_name, one.number.method) for one in NUMBERS
    }
    assert set(Counter(pair[:3] for pair in pairs).values()) == {1}


# The same cell


B_TABLE = TABLE.replace("A,2401.00001", "B,2401.00002")
READER_TABLE = TABLE.replace("A,2401.00001,1", "A,2401.00001,thread").replace("paper,top-1", "reader,top-1")
B_NUMBER = "B,1,cifar10,random,Random,30 % kept,70.0,88.5,,,"


def test_a_cell_of_two_papers_is_shared(files):
    files([TABLE, B_TABLE], [NUMBER, B_NUMBER, B_NUMBER.replace("70.0", "60")])
    ((cell, prints),) = field.shared().items()
    assert (cell.dataset, cell.method, cell.ratio, cell.metric) == ("cifar10", "random", 70, "top-1")
    assert [one.number.accuracy for one in prints] == [Decimal("90.2"), Decimal("88.5")]


@pytest.mark.parametrize(
    ("tables", "numbers"),
    [
        ([TABLE, B_TABLE], [NUMBER, B_NUMBER.replace(",,,", ",,A,")]),  # B took it from A
        ([TABLE, READER_TABLE], [NUMBER, NUMBER.replace("A,1", "A,thread")]),
        ([TABLE, B_TABLE.replace("top-1", "top-5")], [NUMBER, B_NUMBER]),
    ],
)
def test_what_is_no_second_measurement_is_not_shared(tables, numbers, files):
    files(tables, numbers)
    assert len(field.printed()) == 2
    assert field.shared() == {}


def test_what_a_reader_ran_again_stands_beside_the_paper(files):
    again = NUMBER.replace("A,1", "A,thread").replace("90.2,0.4", "89.0,")
    files([TABLE, READER_TABLE, B_TABLE], [NUMBER, again, B_NUMBER])
    table = same_cell.readers(field.rerun()).splitlines()
    assert [word.strip() for word in table[2].split("|")][5:8] == ["90.2 ± 0.4", "89.0", "-1.2"]
    assert len(table) == 3


@pytest.mark.parametrize(
    ("accuracies", "gap", "agrees"),
    [
        (("95.51", "95.5"), "0.01", True),
        (("69.25", "69.3"), "0.05", True),
        (("69.24", "69.3"), "0.06", False),
        (("60", "60.0"), "0", True),
        (("60", "60.6"), "0.6", False),
        (("78.14", "78.21"), "0.07", False),
        (("64.9", "53.61", "69.7"), "16.09", False),
    ],
)
def test_numbers_agree_when_one_may_be_the_other_rounded(accuracies, gap, agrees):
    assert field.apart(prints(*accuracies)) == Decimal(gap)
    assert field.agree(prints(*accuracies)) == agrees


# The page


def test_the_page_shows_the_shipped_numbers():
    text = same_cell.PAGE.read_text(encoding="utf-8")
    assert text == same_cell.page(field.shared()), "run: python benchmarks/same_cell.py"


def test_the_paragraph_is_that_of_the_numbers(files):
    """By hand: gaps of 1.7, 3 and 0; one spread of 0.4."""
    more = ["60,80.0,0.6,,", "50,95.5,,,"], ["60,77.0,,,", "50,95.52,,,"]
    a, b = (
        [f"{paper},1,cifar10,random,R,some,{end}" for end in ends]
        for paper, ends in zip("AB", more, strict=True)
    )
    files([TABLE, B_TABLE], [NUMBER, B_NUMBER, *a, *b])
    assert same_cell.in_words(field.shared()) == (
        "At least two papers measured 3 cells. "
        "In 1 of them they print the same number, as far as it is rounded. "
        "That is no second measurement: one paper may have taken it from the other. "
        "In the other 2 they are a median of 2.35 points apart. "
        "Where the network is the same in all papers, 2 cells, the median is 2.35 points "
        "and the largest gap 3.0: "
        "`random` on cifar10 at 60 % pruned, with 80.0 in A, 77.0 in B. "
        "Of the 4 numbers in these cells 2 are printed with a spread over runs: "
        "a median of 0.5 points, at most 0.6.\n"
    )


@pytest.fixture
def leaderboard(tmp_path, monkeypatch, row):
    """leaderboard(accuracies, **fields) makes rows of random on food101 at 70 % the only ones there are."""

    def write(accuracies, **fields):
        ordinary = {"dataset": "food101", "ratio": 70, "recipe": "paper"} | fields
        rows = [row(accuracy=value, seed=seed, **ordinary) for seed, value in enumerate(accuracies)]
        path = tmp_path / "results" / "toys" / "food101" / "random.jsonl"
        path.parent.mkdir(parents=True)
        path.touch()
        page = Page(suite="toys", title="T", note="", ratios=[70], seeds=[0, 1], rows=rows)
        monkeypatch.setattr(same_cell, "LEADERBOARD", tmp_path)
        monkeypatch.setattr(same_cell, "page_of", lambda suite, folder: page)

    return write


CELL = field.Cell("food101", "random", Decimal(70), "top-1")


def test_our_rows_stand_beside(leaderboard):
    """The quantile of t with two degrees of freedom is 4.303; the standard error is 1 / sqrt(3)."""
    leaderboard([60.0, 61.0, 62.0])
    assert [*same_cell.ours(CELL)] == ["61.0 (58.5 to 63.5), 3 seeds, recipe paper (toys)"]
    assert [*same_cell.ours(CELL._replace(ratio=Decimal(60)))] == []
    assert [*same_cell.ours(CELL._replace(ratio=Decimal("70.5")))] == []
    assert [*same_cell.ours(CELL._replace(metric="top-5"))] == []


def test_one_seed_has_no_interval(leaderboard):
    leaderboard([60.0])
    assert [*same_cell.ours(CELL)] == ["60.0, one seed, recipe paper (toys)"]


@pytest.mark.parametrize(
    "fields", [{"final_network": "linear on frozen embeddings"}, {"tuning": "oracle_test"}]
)
def test_what_is_no_fair_comparison_does_not_stand_beside(fields, leaderboard):
    leaderboard([60.0, 61.0], **fields)
    assert [*same_cell.ours(CELL)] == []


def test_a_cell_without_rows_says_so(leaderboard):
    leaderboard([60.0, 62.0])
    here = {}
    for line in same_cell.summary(field.shared()).splitlines()[2:]:
        dataset, method, pruned, *_, ours = [word.strip() for word in line.strip("|").split("|")]
        here[dataset, method, pruned] = ours
    assert here.pop(("food101", "`random`", "70")) == "61.0 (48.3 to 73.7), 2 seeds, recipe paper (toys)"
    assert set(here.values()) == {same_cell.NONE}


def test_committed_rows_are_found():
    cell = field.Cell("cifar10_jpeg", "random", Decimal(90), "top-1")
    assert [line.split()[-1] for line in same_cell.ours(cell)] == ["(cifar10_short)"]


def test_notes_of_the_tables_are_shown_once(files):
    c_table = B_TABLE.replace("B,2401.00002", "C,2401.00003")
    files([TABLE + "One.", B_TABLE + "Two.", c_table], [NUMBER, B_NUMBER, B_NUMBER.replace("B,", "C,")])
    assert same_cell.notes(field.shared()) == "- **A**, table 1: One.\n- **B**, table 1: Two.\n"
