"""How many seeds the comparisons of a page need, from the rows that are there."""

import json
from types import SimpleNamespace

import pytest

from prunebench.errors import PrunebenchError
from prunebench.results.board import Page
from prunebench.results.journal import Journal
from prunebench.runs import detect

SPREAD = {"near": (80.0, 80.4, 80.2), "far": (70.2, 70.1, 70.3), "wild": (60.0, 69.0, 51.0)}


@pytest.fixture
def page(row):
    """page(**accuracies) has rows of these methods, with an accuracy for each seed."""

    def made(**accuracies):
        rows = [
            row(method=method, seed=seed, accuracy=accuracy)
            for method, values in accuracies.items()
            for seed, accuracy in enumerate(values)
        ]
        return Page(suite="toys", title="T", note="", ratios=[50], seeds=[0, 1, 2], rows=rows)

    return made


def cells(*methods, **fields):
    ordinary = {"recipe_name": "tiny", "tuning": "default", "repeats": "pipeline", "ratio": 50}
    named = {"dataset": SimpleNamespace(name="toy")} | ordinary | fields
    return [SimpleNamespace(method=SimpleNamespace(name=method), **named) for method in methods]


def test_the_wider_methods_scatter_the_more_seeds_a_pair_needs(page):
    (found,) = detect.detections(page(**SPREAD), cells(*SPREAD), 1.0)
    narrow, *wide = found.pairs.values()
    assert list(found.pairs) == [("near", "far"), ("near", "wild"), ("far", "wild")]
    assert narrow < 10 < 500 < min(wide)
    assert found.lines(each=False) == [["toy", "50 %", 3, 3, str(min(wide)), str(max(wide))]]
    assert next(line[4:] for line in found.lines(each=True)) == ["near", "far", str(narrow)]


def test_methods_that_scatter_alike_need_equally_many(page):
    alike = {"near": (80.0, 80.4, 80.2), "far": (70.2, 70.1, 70.4), "wild": (60.0, 60.3, 60.1)}
    (found,) = detect.detections(page(**alike), cells(*alike), 1.0)
    assert len(set(found.pairs.values())) == 1


def test_methods_that_are_not_asked_about_count_as_comparisons(page):
    """The page compares all pairs, so a pair needs as many seeds whoever asks."""
    (some,) = detect.detections(page(**SPREAD), cells("near", "far"), 1.0)
    (every,) = detect.detections(page(**SPREAD), cells(*SPREAD), 1.0)
    assert some.pairs == {("near", "far"): every.pairs["near", "far"]}


def test_a_difference_out_of_reach_and_an_unknown_spread_are_told(page):
    (found,) = detect.detections(page(**SPREAD), cells(*SPREAD), 0.01)
    assert found.lines(each=False)[0][4:] == ["more than 1000", "more than 1000"]
    steady = {"near": (80.0,) * 3, "far": (70.0,) * 3}
    (found,) = detect.detections(page(**steady), cells(*steady), 1.0)
    assert found.lines(each=False)[0][4:] == ["?", "?"]
    assert found.lines(each=True)[0][4:] == ["near", "far", "?"]
    (found,) = detect.detections(page(**steady, wild=SPREAD["wild"]), cells(*steady, "wild"), 1.0)
    seeds = [line[6] for line in found.lines(each=True)]
    assert seeds[0] == "?" and "?" not in seeds[1:]
    assert "?" not in found.lines(each=False)[0]


@pytest.mark.parametrize("fields", [{"ratio": 90}, {"recipe_name": "paper"}, {"tuning": "search"}])
def test_cells_without_rows_are_one_line(page, fields):
    with pytest.raises(PrunebenchError, match="no two methods of these cells of suite 'toys' have rows"):
        detect.detections(page(**SPREAD), cells(*SPREAD, **fields), 1.0)


def test_the_command(cli, toy, suite_file, tmp_path, row, monkeypatch):
    monkeypatch.setattr("prunebench.runs.pages.cells_today", lambda *_: {})
    for method, values in {
        "random": (80.0, 80.4),
        "el2n_supervised": (70.2, 70.1),
        "near": (60.0, 60.1),
    }.items():
        for seed, accuracy in enumerate(values):
            Journal(tmp_path / "leaderboard").append(row(method=method, seed=seed, accuracy=accuracy))
    file = {"title": "T", "datasets": ["toy"], "methods": ["random"], "seeds": 2, "recipe": "tiny"}
    (tmp_path / "leaderboard" / "results" / "toys" / "suite.json").write_text(json.dumps(file))
    found = cli(f"plan --suite {suite_file()} --detect 2")
    assert found.code == 0, found.err
    header, line, _, words = found.out.splitlines()
    assert header.split("  ")[0] == "dataset" and line.split()[:5] == ["toy", "50", "%", "3", "2"]
    assert words.startswith(
        "Seeds of all ranked methods with which 80% of boards separate two that differ by 2"
    )
    each = cli(f"plan --suite {suite_file()} --detect 2 --each").out.splitlines()
    assert each[1].split()[5:7] == ["random", "el2n_supervised"]
    refused = cli(f"plan --suite {suite_file()} --detect 0")
    assert (refused.code, refused.err) == (2, "Error: --detect is 0.0, expected points above 0\n")
