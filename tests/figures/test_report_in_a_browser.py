"""The report in Chromium: it draws, asks for nothing, and does what its reader clicks."""

from __future__ import annotations

import json

import pytest

from prunebench.figures.drawings import Places
from prunebench.figures.report.content import contents
from prunebench.figures.report.page import render
from prunebench.pipeline.store import Store
from tests.browser import CHROMIUM, Page
from tests.figures.conftest import HOSTILE
from tests.readme_blocks import ROOT

CHARTS = ["accuracy", "price", "ranks", "scores", "overlap", "montage", "maps", "classes"]
OF_ROWS = ["accuracy", "price", "ranks", "classes"]
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(21, 23, 26)"
SHOWN = "article:not([hidden])"
TABLE = f"{SHOWN} [id^=accuracy] details.table:first-of-type"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with Page(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def file(chromium, request, tmp_path_factory):
    """The report of the rows of `hostile`, made once."""
    path = tmp_path_factory.getbasetemp() / "report.html"
    if not path.exists():
        path.write_text(render([contents("toys", request.getfixturevalue("hostile"))]))
    return path


@pytest.fixture
def tab(chromium, file):
    """The report in a light window of 1280 pixels. It may not complain, nor ask for another address."""
    chromium.open(file)
    yield chromium
    assert (chromium.complaints, chromium.requests) == ([], [file.as_uri()])


def all_of(tab, selector, value):
    """Return a property of all elements, in the order of the page."""
    return tab.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.{value})")


def click(tab, selector, number=0):
    tab.run(f"document.querySelectorAll({json.dumps(selector)})[{number}].click()")


def paper(tab):
    return tab.run("getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_everything_is_drawn_without_a_complaint_or_a_request(tab, file, width, dark):
    tab.open(file, width=width, dark=dark)
    assert all_of(tab, f"{SHOWN} figure", "dataset.chart") == CHARTS
    assert min(all_of(tab, f"{SHOWN} figure", "childElementCount")) > 0
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert paper(tab) == (DARK if dark else LIGHT)


@pytest.fixture
def small(chromium, tmp_path, tmp_path_factory):
    """The report of the committed rows of the suite `small`, without a store and without data, made once."""
    path = tmp_path_factory.getbasetemp() / "small.html"
    if not path.exists():
        places = Places(ROOT / "leaderboard", tmp_path / "data", Store(tmp_path / "store"))
        path.write_text(render([contents("small", places)]))
    return path


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_committed_rows_are_drawn_on_every_board_without_a_complaint(chromium, small, width, dark):
    chromium.open(small, width=width, dark=dark)
    assert paper(chromium) == (DARK if dark else LIGHT)
    boards = chromium.run("board.options.length")
    assert boards == 3
    for number in range(boards):
        chromium.run(f"board.value = '{number}'; board.dispatchEvent(new Event('change'))")
        chromium.run(f"document.querySelectorAll('{SHOWN} details').forEach(one => one.open = true)")
        assert all_of(chromium, f"{SHOWN} figure", "dataset.chart") == OF_ROWS
        assert min(all_of(chromium, f"{SHOWN} figure svg:not(.legend svg)", "childElementCount")) > 0
        assert not all_of(chromium, f"{SHOWN} figure .missing", "textContent")
        assert chromium.run("document.documentElement.scrollWidth") <= width
    assert (chromium.complaints, chromium.requests) == ([], [small.as_uri()])


def test_a_click_on_a_heading_sorts_a_table(tab):
    def column(number):
        return all_of(tab, f"{TABLE} td:nth-child({number + 1})", "innerText")

    def accuracies():
        return [float(text.split()[0]) for text in column(2)]

    heading = f"{TABLE} th button"
    click(tab, heading, 2)
    falling = accuracies()
    assert len(falling) == 4 and falling == sorted(falling, reverse=True)
    click(tab, heading, 2)
    assert accuracies() == falling[::-1]
    click(tab, heading, 0)
    assert column(0) == sorted(column(0))
    assert all_of(tab, f"{TABLE} th", "ariaSort") == ["ascending", None, None, None]


def test_words_filter_a_table(tab):
    field = f"document.querySelector({json.dumps(f'{TABLE} .filter')})"
    tab.run(f"{field}.value = 'LABELS aum'; {field}.dispatchEvent(new Event('input'))")
    (left,) = all_of(tab, f"{TABLE} tbody tr:not([hidden])", "innerText")
    assert left.startswith("Labeled-only-AUM+Cutoff")
    assert all_of(tab, f"{TABLE} .count", "innerText") == ["1 of 4 rows"]


def test_one_row_is_called_so(tab):
    table = f"{SHOWN} [id^=origin] details.table"
    assert all_of(tab, f"{table} .count", "innerText") == ["1 row"]
    field = f"document.querySelector({json.dumps(f'{table} .filter')})"
    for words, count in (("nowhere", "0 of 1 row"), ("", "1 row")):
        tab.run(f"{field}.value = '{words}'; {field}.dispatchEvent(new Event('input'))")
        assert all_of(tab, f"{table} .count", "innerText") == [count]


def test_a_ratio_changes_the_figures(tab):
    assert all_of(tab, "#ratios input:checked + span", "textContent") == ["50 %"]
    remark = f"{SHOWN} [data-chart=overlap] small"
    assert all_of(tab, remark, "innerText")[0].strip() == "two random subsets: about 0.33"
    click(tab, "#ratios input", 0)
    assert all_of(tab, remark, "innerText")[0].strip() == "two random subsets: about 0.54"


def test_the_axis_of_a_cost_names_its_unit(tab):
    def axes():
        words = all_of(tab, f"{SHOWN} [data-chart=price] text.soft", "textContent")
        return [one for one in words if one[0].isalpha() and one != "test accuracy in percent"]

    labels = "labels annotated before the selection"
    assert axes() == [labels, "multiply-adds of the selection, in GMAC", "CPU seconds of the selection"]
    tab.run("board.value = '1'; board.dispatchEvent(new Event('change'))")
    assert axes() == [labels, "seconds of the selection, by the clock"]


def test_methods_are_chosen_by_their_boxes(tab):
    def named():
        names = all_of(tab, f"{SHOWN} [data-chart=accuracy] text", "textContent")
        return any(name.startswith("EL2N (all labels)") for name in names)

    assert named()
    boxes = all_of(tab, "#choices label", "textContent")
    click(tab, "#choices input", [box.startswith("EL2N") for box in boxes].index(True))
    assert not named()
    assert all_of(tab, "#shown", "textContent") == ["3 of 4"]


def test_another_dataset_shows_its_own_words_as_text(tab):
    click(tab, "#ratios input", 0)
    tab.run("board.value = '1'; board.dispatchEvent(new Event('change'))")
    (facts,) = all_of(tab, f"{SHOWN} .facts", "innerText")
    assert facts.startswith(HOSTILE.replace("\u202e", "\\u202e"))
    assert all_of(tab, "#ratios input:checked + span", "textContent") == ["30 %"]  # as before
    hints = all_of(tab, f"{SHOWN} [data-chart=accuracy] title", "textContent")
    assert any(hint.startswith("<script>alert(1)</script>") for hint in hints)
    assert tab.run("document.scripts.length") == 2


def test_a_button_switches_between_dark_and_light(tab):
    click(tab, "#theme")
    assert paper(tab) == DARK
    click(tab, "#theme")
    assert paper(tab) == LIGHT
