"""Formats: one document of typed cells, written in each; numbers stay numbers, words stay words."""

import csv
import io
import json
import re
from dataclasses import replace
from html import escape

import pytest

from prunebench.results.board import Page
from prunebench.results.cells import (
    Alternatives,
    Between,
    Column,
    Difference,
    Gap,
    Measured,
    Number,
    PerRatio,
    Row,
    Table,
    Text,
    columns,
)
from prunebench.results.document import Document, Section, document
from prunebench.results.render.formats import FORMATS
from prunebench.results.spelling import heading, spelled
from prunebench.results.statistics import summarize

SETTING = {"dataset": "toy", "recipe": "tiny", "repeats": "pipeline", "tuning": "default"}
SETTING |= {"recipe_changes": "", "protocol_version": 1, "dataset_hash": "d", "images": 64}
TABLE = Table(
    "Accuracy",
    [*columns("method", "what", ratios=[30, 50]), Column("seconds", ratios=(30, 50))],
    [
        Row(
            [
                *(Text("A_1"), Text("ours")),
                *(Measured(91.25, 1.5, 2, rank=1), Measured(90.0, None, 1, of=2, rank=2)),
                PerRatio(((30, Number(1.23, "seconds")), (50, Gap()))),
            ]
        ),
        Row(
            [
                *(Text("A_1", again=True), Text("theirs", footnotes=(1,))),
                *(Number(90.5, "percent", decimals=2, footnotes=(2,)), Gap()),
                Number(134.6, "seconds"),
            ]
        ),
        Row(
            [
                *(Text("B & co"), Text("apart")),
                *(Difference(-0.75, 0.5, 2, verdict="inside"), Measured(50.0, 0.0, 2, disputed=True)),
                Alternatives((Number(0.1, "value"), Number(3, "value"))),
            ],
            reference=True,
        ),
    ],
    ["A note, 10 %."],
    keys=2,
)
SMALL = Document("toys", "Toys", "", [Section("toy", SETTING, "Careful.", "Facts.", [TABLE])], ["A remark."])
HOSTILE = "=x<b>|`y`\n## Injected\x1b[31m\x9b31m \\input{x} % $ # _ & ~ ^ [ { \u202e"


@pytest.fixture
def page(row):
    cells = [("near", 30, 0, 90.1), ("near", 30, 1, 91.3), ("near", 50, 0, 80.7), ("semi", 30, 0, 70.9)]
    rows = [row(method=m, ratio=r, seed=s, accuracy=a, label_fraction=0.1) for m, r, s, a in cells]
    return Page(suite="toys", title="Toys", note="", ratios=[30, 50], seeds=[0, 1], rows=rows)


def lines(text):
    return list(csv.DictReader(io.StringIO(text)))


# Cells


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (Measured.over([80.0]), "80.0"),
        (Measured.over([80.0, 82.0], of=3, disputed=True), "81.0 ± 1.4 (rows disagree) (2 of 3 seeds)"),
        (Difference.over([-0.04]), "+0.0"),  # no negative zero
        (Difference.over([9.0, 10.0], of=3), "+9.5 ± 0.7 (2 of 3 seeds)"),
        (Measured.over([80.0, 82.0], of=1), "81.0 ± 1.4 (2 seeds)"),  # more than other cells
        (Between(86.25, 87.04, "percent"), "86.2 to 87.0"),
        (Between(2, 5, "rank", group=1), "2 to 5 (1)"),
        (Between(1, 1, "rank"), "1"),
        (Difference(0.1, None, 2, verdict="outside for m = 5"), "+0.1, outside for m = 5"),
        (Number(1281167, "images"), "1281167"),
        (Number(64, "images", of=640), "64 of 640"),
        (Number(99.94, "seconds"), "99.9"),
        (Number(100.4, "seconds"), "100"),
        (Number(0.01666, "hours"), "0.0167"),
        (Number(2549.76, "GPU-hours", footnotes=(1, 2)), "2549.76 [1] [2]"),
        (Number(0.1, "share"), "10%"),
        (Number(2 / 3, "classes"), "0.66"),
        (Number(100 + 1 / 3, "classes"), "100"),
        (Number(12345, "classes"), "12345"),
        (Number(2_000_000.5, "classes"), "2000000"),
        (Number(42.2, "percent", decimals=2), "42.20"),
        (Alternatives((Number(0.25, "value"), Number(4, "value"))), "0.25 or 4"),
        (PerRatio(((30, Number(0, "classes")), (50, Gap()))), "0 / ·"),
    ],
)
def test_how_people_read_a_cell(cell, words):
    assert spelled(cell) == words


# Formats


def test_markdown():
    assert (
        FORMATS["markdown"]([SMALL])
        == """\
# Toys

Made by `prunebench leaderboard` from the rows in `results/toys/`; do not edit.

## toy

> Careful.

Facts.

### Accuracy

| method   | what       | 30 % pruned        | 50 % pruned                | seconds at 30 / 50   |
|----------|------------|--------------------|----------------------------|----------------------|
| A_1      | ours       | **91.2 ± 1.5**     | <u>90.0 (1 of 2 seeds)</u> | 1.2 / ·              |
|          | theirs [1] | 90.50 [2]          | ·                          | 135                  |
| *B & co* | apart      | -0.8 ± 0.5, inside | 50.0 ± 0.0 (rows disagree) | 0.1 or 3             |

A note, 10 %.

## Remarks

- A remark.
"""
    )


def test_text():
    shown = FORMATS["text"]([SMALL])
    assert shown.startswith("toy\n\nAccuracy\nmethod    what        30 % pruned         50 % pruned   ")
    assert "\nB & co    apart       -0.8 ± 0.5, inside  50.0 ± 0.0 (rows disagree)  0.1 or 3\n" in shown
    assert shown.endswith("\n\nA note, 10 %.\n\nA remark.\n")


def test_csv_has_a_line_for_each_number():
    found = [
        [line[name] for name in ("row", "detail", "column", "ratio", "mean", "spread", "runs", "of", "rank")]
        for line in lines(FORMATS["csv"]([SMALL]))
    ]
    assert found == [
        ["A_1", "ours", "", "30", "91.25", "1.5", "2", "", "1"],
        ["A_1", "ours", "", "50", "90.0", "", "1", "2", "2"],
        ["A_1", "ours", "seconds", "30", "1.23", "", "", "", ""],
        ["A_1", "theirs", "", "30", "90.5", "", "", "", ""],
        ["A_1", "theirs", "seconds", "", "134.6", "", "", "", ""],
        ["B & co", "apart", "", "30", "-0.75", "0.5", "2", "", ""],
        ["B & co", "apart", "", "50", "50.0", "0.0", "2", "", ""],
        ["B & co", "apart", "seconds", "", "0.1", "", "", "", ""],
        ["B & co", "apart", "seconds", "", "3", "", "", "", ""],
    ]
    apart, disputed = lines(FORMATS["csv"]([SMALL]))[5:7]
    assert (apart["unit"], apart["verdict"]) == ("points", "inside")
    assert (disputed["unit"], disputed["disputed"]) == ("percent", "True")


def test_csv_of_several_suites_is_one_table():
    found = lines(FORMATS["csv"]([SMALL, document(Page("other", "O", "", [30], [0], []))]))
    assert {line["suite"] for line in found} == {"toys"}
    assert lines(FORMATS["csv"]([])) == []


def test_json():
    (found,) = json.loads(FORMATS["json"]([SMALL]))
    (section,) = found["sections"]
    (table,) = section["tables"]
    ours, theirs, apart = table["rows"]
    assert (found["suite"], section["setting"], found["remarks"]) == ("toys", SETTING, ["A remark."])
    assert [column["ratio"] for column in table["header"]] == [None, None, 30, 50, None]
    best = {"mean": 91.25, "spread": 1.5, "runs": 2, "of": None, "unit": "percent"}
    assert ours["cells"][:3] == ["A_1", "ours", best | {"rank": 1, "disputed": False}]
    assert ours["cells"][4]["30"]["value"] == 1.23 and ours["cells"][4]["50"] is None
    assert theirs["cells"][0] == "A_1" and theirs["cells"][3] is None
    assert apart["reference"] and [one["value"] for one in apart["cells"][4]] == [0.1, 3]


@pytest.mark.parametrize(
    ("format_name", "best", "second"),
    [
        ("markdown", "Bold", "underlined"),
        ("text", "1st", "2nd"),
        ("latex", r"\textbf{Bold}", r"\underline{underlined}"),
    ],
)
def test_the_note_of_ranks_is_about_the_marks_of_the_format(page, format_name, best, second):
    written = FORMATS[format_name]([document(page)])
    plain = written.replace(r"$\pm$", "±").replace(r"$\cdot$", "·")
    assert (
        f"over 2 seeds unless a cell says otherwise. {best}: best, {second}: second, among complete cells of "
        "methods without all labels, where the seeds separate it from all others. · marks a cell without a "
        "result; references are never ranked.\n"
    ) in plain


@pytest.fixture
def separated(row):
    """A page on which two seeds separate the first two methods from all others."""
    accuracies = {"near": (90.0, 90.2), "far": (80.0, 80.3), "one": (70.0, 70.2), "two": (70.1, 70.2)}
    rows = [
        row(method=method, seed=seed, accuracy=accuracy)
        for method, pair in accuracies.items()
        for seed, accuracy in enumerate(pair)
    ]
    return document(Page(suite="toys", title="Toys", note="", ratios=[50], seeds=[0, 1], rows=rows))


MARKED = {
    "markdown": ("**90.1 ± 0.1**", "<u>80.2 ± 0.2</u>", "| One      | 3 to 4 (3)"),
    "text": ("90.1 ± 0.1 (1st)", "80.2 ± 0.2 (2nd)", "One       3 to 4 (3)"),
    "latex": (r"\textbf{90.1 $\pm$ 0.1}", r"\underline{80.2 $\pm$ 0.2}", "One & 3 to 4 (3)"),
}


@pytest.mark.parametrize("format_name", MARKED)
def test_every_format_marks_the_same_cells_and_says_the_same_ranks(separated, format_name):
    written = FORMATS[format_name]([separated])
    assert [words in written for words in MARKED[format_name]] == [True, True, True]
    assert written.count("(3)") == 2 and "(4)" not in written


def test_ranks_and_tie_groups_are_data_in_csv_and_json(separated):
    found = [line for line in lines(FORMATS["csv"]([separated])) if line["table"] in ("Accuracy", "Ranks")]
    marks = [line["rank"] for line in found if line["runs"]]
    ranks = [(line["low"], line["high"], line["group"]) for line in found if line["group"]]
    assert marks == ["1", "2", "", ""]
    assert ranks == [("1", "1", "1"), ("2", "2", "2"), ("3", "4", "3"), ("3", "4", "3")]
    (smallest,) = [line for line in found if line["row"] == "Smallest difference separated"]
    assert smallest["unit"] == "points" and 0 < float(smallest["mean"]) < 1
    table = json.loads(FORMATS["json"]([separated]))[0]["sections"][0]["tables"][1]
    assert table["rows"][2]["cells"][1] == {"low": 3, "high": 4, "unit": "rank", "group": 3}


def test_a_single_seed_marks_nothing_and_says_why(page):
    written = FORMATS["json"]([document(replace(page, seeds=[0], rows=[r for r in page.rows if not r.seed]))])
    table = json.loads(written)[0]["sections"][0]["tables"][0]
    assert table["ranked"] == "complete cells of methods without all labels"
    assert table["notes"] == [
        "Test accuracy in percent, last epoch, mean ± standard deviation over 1 seed.",
        "At 30 % pruned no method is separated from another: a single seed shows no spread.",
    ]
    assert {cell["rank"] for row in table["rows"] for cell in row["cells"][2:] if cell} == {None}


def test_latex():
    assert (
        FORMATS["latex"]([SMALL])
        == r"""\section*{Toys}

\subsection*{toy}

Careful.

Facts.

\begin{table}
\caption{Accuracy: toy}
\begin{tabular}{llccc}
\toprule
method & what & 30 \% pruned & 50 \% pruned & seconds at 30 / 50 \\
\midrule
A\_1 & ours & \textbf{91.2 $\pm$ 1.5} & \underline{90.0 (1 of 2 seeds)} & 1.2 / $\cdot$ \\
 & theirs {[}1] & 90.50 {[}2] & $\cdot$ & 135 \\
\emph{B \& co} & apart & $-$0.8 $\pm$ 0.5, inside & 50.0 $\pm$ 0.0 (rows disagree) & 0.1 or 3 \\
\bottomrule
\end{tabular}
\par A note, 10 \%.
\end{table}

A remark.
"""
    )


@pytest.mark.parametrize("format_name", ["csv", "json"])
def test_numbers_are_those_of_the_rows_to_the_last_digit(page, format_name):
    expected = {
        ("Near", 30): summarize([90.1, 91.3]),
        ("Near", 50): summarize([80.7]),
        ("Semi", 30): summarize([70.9]),
    }
    written, found = FORMATS[format_name]([document(page)]), {}
    if format_name == "csv":
        for line in lines(written):
            if line["table"] == "Accuracy":
                spread = float(line["spread"]) if line["spread"] else None
                found[line["row"], int(line["ratio"])] = (float(line["mean"]), spread, int(line["runs"]))
    else:
        table = json.loads(written)[0]["sections"][0]["tables"][0]
        for row in table["rows"]:
            for column, cell in zip(table["header"], row["cells"], strict=True):
                if isinstance(cell, dict):
                    found[row["cells"][0], column["ratio"]] = (cell["mean"], cell["spread"], cell["runs"])
    assert found == {place: (one.mean, one.spread, one.count) for place, one in expected.items()}


# Words of strangers


@pytest.fixture
def hostile(row):
    odd = {"title": HOSTILE, "pretraining": [HOSTILE], "labeler": HOSTILE, "quality": {"nmi": 1.0}}
    rows = [row(ratio=ratio, seed=seed, **odd) for ratio in (30, 50) for seed in (0, 1)]
    words = {"title": HOSTILE, "note": HOSTILE, "complaints": [HOSTILE], "titles": {"toy": HOSTILE}}
    return document(Page(suite="toys", ratios=[30, 50], seeds=[0, 1], rows=rows, **words))


@pytest.mark.parametrize("format_name", FORMATS)
def test_no_format_steers_a_terminal(hostile, format_name):
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", FORMATS[format_name]([hostile]))


def test_no_cell_of_a_csv_is_a_formula(hostile):
    assert {line["row"][:3] for line in lines(FORMATS["csv"]([hostile]))} == {"'=x"}


def test_json_keeps_words_as_they_are(hostile):
    assert json.loads(FORMATS["json"]([hostile]))[0]["title"] == HOSTILE


def test_latex_is_no_command_of_a_stranger(hostile):
    """Braces in pairs, no comment, as many cells in every line of a table as it has columns."""
    written = FORMATS["latex"]([hostile])
    bare = re.sub(r"\\[\\{}%&$#_]", "", written)  # without what is escaped
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0 and bare.count("$") % 2 == 0 and not set("%#_~^") & set(bare)
    assert r"\input" not in written and r"\textbackslash{}input\{x\}" in written
    for table in written.split(r"\begin{tabular}{")[1:]:
        spec, body = table.split("}", 1)
        rows = [line for line in body.split(r"\end{tabular}")[0].splitlines() if line.endswith(r" \\")]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {len(spec) - 1}


# A new format


def html(documents):
    """A whole format, best in bold, from values: it un-parses nothing and touches no other module."""

    def cell(one):
        best = isinstance(one, Measured) and one.rank == 1
        return f"<td><b>{escape(spelled(one))}</b>" if best else f"<td>{escape(spelled(one))}"

    def table(one):
        head = "".join(f"<th>{escape(heading(column))}" for column in one.header)
        rows = ("".join(map(cell, row.cells)) for row in one.rows)
        return "\n<tr>".join([f"<table><caption>{escape(one.title)}</caption>", head, *rows]) + "\n</table>\n"

    sections = [section for document in documents for section in document.sections]
    return "".join(table(one) for section in sections for one in section.tables)


def test_a_new_format_is_one_function_and_an_entry(monkeypatch, page):
    monkeypatch.setitem(FORMATS, "html", html)
    assert FORMATS["html"]([SMALL]).splitlines()[:3] == [
        "<table><caption>Accuracy</caption>",
        "<tr><th>method<th>what<th>30 % pruned<th>50 % pruned<th>seconds at 30 / 50",
        "<tr><td>A_1<td>ours<td><b>91.2 ± 1.5</b><td>90.0 (1 of 2 seeds)<td>1.2 / ·",
    ]
    assert "<td>90.7 ± 0.8" in FORMATS["html"]([document(page)])
