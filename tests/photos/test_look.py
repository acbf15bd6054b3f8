"""A page of pictures: who is on it, and that no name on it is ever code or an address."""

import csv
import itertools
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from prunebench.errors import PrunebenchError
from prunebench.figures.look import content
from prunebench.figures.look.content import overview
from prunebench.photos import prune as pruning
from prunebench.pipeline import context
from prunebench.runs.kept import DROP, KEPT, TO_LABEL, Line, read
from tests.browser import CHROMIUM, Page
from tests.photo_folders import listing, write_labels, write_photos

HOSTILE = "<script>alert(1)</script>.jpg"  # of which the first half is a folder
WORDS = "<img src=x onerror=alert(2)>\"'`{{7*7}}"
PAPER = "getComputedStyle(document.body).backgroundColor"
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "div", "nav", "a", "button", "main"),
    *("h1", "h2", "h3", "dl", "dt", "dd", "section", "p", "ul", "li", "img", "span", "script"),
}


@pytest.fixture
def kept(tmp_path):
    """A pruned folder with hostile names and labels, three copies of a photo and a photo that is gone."""
    folder = tmp_path / "photos"
    truth = write_photos(folder)
    truth = {name: {"cat": WORDS}.get(label, label) for name, label in truth.items()}
    pixels = np.random.default_rng(9).integers(256, size=(12, 12, 3), dtype=np.uint8)
    for name in (HOSTILE, "copy.png", "copy2.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name, "png")
    table = write_labels(tmp_path / "labels.csv", dict([*truth.items()][::5]))
    made = {"store": tmp_path / "store", "data": tmp_path / "data", "device": "cpu", "workers": 0}
    quick = {"backbone": "pixels", "side": 8, "changes": {"recipe.epochs": 2}}
    pruned = pruning.prune(folder, table, budget=30, **quick, **made)
    pruned.to_csv(tmp_path / "kept.csv")
    yield SimpleNamespace(folder=folder, path=tmp_path / "kept.csv", pruned=pruned, root=tmp_path)
    context.load_split.cache_clear()


class Elements(HTMLParser):
    """The elements of a page: names, attributes and texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.texts.append(data.strip())


def line(file, status=DROP, **more):
    return Line(file=file, status=status, **{name: str(value) for name, value in more.items()})


def section(lines, name, **origin):
    (found,) = [
        one for one in overview(SimpleNamespace(name="x"), lines, origin).sections if one.name == name
    ]
    return found


def files(strip):
    return [tile.file for tile in strip.tiles]


# The page


def test_a_page_holds_no_code_of_names_and_asks_for_nothing(kept, cli):
    before = listing(kept.folder)
    said = cli(f"look {kept.path}")
    assert (said.code, said.err) == (0, "") and "wrote look.html" in said.out
    assert listing(kept.folder) == before
    text = (kept.root / "look.html").read_text(encoding="utf-8")
    found = Elements(text)
    assert {*found.tags} == TAGS and found.tags.count("script") == 1
    assert HOSTILE in found.texts and any(WORDS in words for words in found.texts)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    addresses = [value for name, value in found.attributes if name in ("href", "src")]
    assert all(value.startswith(("#", "data:image/jpeg;base64,")) for value in addresses)
    ids = {value for name, value in found.attributes if name == "id"}
    assert {value[1:] for value in addresses if value.startswith("#")} <= ids
    assert not re.search(r"https?:|@import|url\(", text)
    assert all(value for name, value in found.attributes if name == "alt")


def test_a_browser_draws_it_and_runs_nothing_of_it(kept, cli, tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    cli(f"look {kept.path}")
    page = kept.root / "look.html"
    with Page(tmp_path_factory.mktemp("profile")) as tab:
        for width, dark in itertools.product((1280, 390), (False, True)):
            tab.open(page, width=width, dark=dark)
            assert tab.run("[...document.images].every(one => one.naturalWidth === 96)")
            assert tab.run("document.images.length") > 40
            assert tab.run("document.documentElement.scrollWidth") <= width
            assert tab.run(PAPER) == ("rgb(21, 23, 26)" if dark else "rgb(255, 255, 255)")
            tab.run("document.getElementById('theme').click()")
            assert tab.run(PAPER) == ("rgb(255, 255, 255)" if dark else "rgb(21, 23, 26)")
            assert (tab.complaints, tab.requests) == ([], [page.as_uri()])


def test_photos_that_are_gone_since_leave_a_gap(kept, cli):
    gone = kept.pruned.chosen(TO_LABEL)[0]
    (kept.folder / gone).write_bytes(b"no photo")
    assert cli(f"look {kept.path}").code == 0
    text = (kept.root / "look.html").read_text(encoding="utf-8")
    assert "cannot be read" in text and f'alt="{gone}"' not in text


def test_a_table_of_an_older_prune_needs_the_folder_alone(kept, cli):
    rows = [row[:5] for row in csv.reader(kept.path.read_text(encoding="utf-8").splitlines())]
    for row in rows[1:]:
        row[1] = DROP if row[1] == TO_LABEL else row[1]
    with (kept.root / "old.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    said = cli(f"look {kept.root / 'old.csv'}")
    assert said.code and "say where the images are: --folder FOLDER" in said.err
    assert cli(f"look {kept.root / 'old.csv'} --folder {kept.folder}").code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--output page.txt", "a page is a file that ends in .html"),
        ("--output {folder}/look.html", "where nothing is written; choose another"),
        ("--folder {folder}/sea", "that are no images in"),
    ],
)
def test_a_wrong_request_is_one_line(kept, cli, options, said):
    told = cli(f"look {kept.path} {options.format(folder=kept.folder)}")
    assert told.code and said in told.err and len(told.err.splitlines()) == 1
    assert not [*kept.root.glob("*.html")]


def test_an_older_page_is_replaced_and_no_other_file(kept, cli):
    page = kept.root / "look.html"
    assert cli(f"look {kept.path}").code == 0
    assert cli(f"look {kept.path}").out.startswith("wrote look.html")
    page.write_text("my notes\n")
    said = cli(f"look {kept.path}")
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith("Error: look.html exists and holds something else, which may be your work;")
    assert page.read_text() == "my notes\n"


# What is on it


def test_what_to_label_comes_by_score_and_what_has_none_last():
    lines = [
        line("a", TO_LABEL, score=1),
        line("b", TO_LABEL, score=3),
        line("c", TO_LABEL),
        line("d", DROP, score=9),
    ]
    assert files(section(lines, "first").strips[0]) == ["b", "a", "c"]
    assert section(lines, "first").note == "The highest scores first. 3 of 3 images."


def test_what_has_no_score_is_in_the_random_order_of_next_csv(kept, cli):
    lines = [line(name, TO_LABEL) for name in kept.pruned.chosen(TO_LABEL)]
    found = section(lines, "first")
    assert found.note.startswith("In random order.")
    assert files(found.strips[0]) != sorted(files(found.strips[0]))
    table = "".join(f"{one.file},to_label\n" for one in lines)
    (kept.root / "random.csv").write_text(f"file,status\n{table}")
    cli(f"convert random.csv --to csv --output next.csv --folder {kept.folder}")
    rows = (kept.root / "next.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.removesuffix(",") for row in rows] == files(found.strips[0])


def test_what_is_unsure_has_no_label_and_no_twin():
    lines = [
        line("a", KEPT, confidence=0.1),
        line("b", TO_LABEL, confidence=0.9),
        line("c", DROP, confidence="0,4"),
        line("d", DROP, confidence=0.2, duplicate_of="c"),
    ]
    assert files(section(lines, "unsure").strips[0]) == ["c", "b"]


def test_a_class_is_spread_from_the_most_to_the_least_confident():
    lines = [line(f"{i}", DROP, pseudo_label="cat", confidence=i / 100) for i in range(1, 101)]
    (strip,) = section(lines, "classes").strips
    assert strip.title == "cat: 100" and len(strip.tiles) == content.PER_CLASS
    assert (strip.tiles[0].file, strip.tiles[-1].file) == ("100", "1")
    assert strip.tiles[0].label == "cat 100 %"


def test_a_group_shows_the_image_that_counts_first_and_the_largest_comes_first():
    lines = [line("a", TO_LABEL), *(line(f"z{i:02d}", duplicate_of="m") for i in range(20)), line("m", KEPT)]
    lines.append(line("b", duplicate_of="a"))
    large, small = section(lines, "duplicates").strips
    assert (large.title, files(large)[0], len(large.tiles), large.rest) == ("21 images", "m", 9, 12)
    assert files(small) == ["a", "b"]


def test_however_many_images_there_are_a_page_is_bounded():
    lines = [
        line(f"{i}", (TO_LABEL, DROP)[i % 2], pseudo_label=i % 50, confidence=0.5, score=i)
        for i in range(5000)
    ]
    lines += [line(f"x{i}", duplicate_of=f"{i % 40}") for i in range(2000)]
    page = overview(SimpleNamespace(name="x"), lines, {"method": "M", "seconds": 60.0})
    assert len(page.files) <= 405
    assert ("of these duplicates", "2,000") in page.facts and ("computed in", "60 s") in page.facts


def test_a_table_without_numbers_is_one_line(tmp_path):
    (tmp_path / "kept.csv").write_text("file,status,score\na,drop,high\n")
    with pytest.raises(PrunebenchError, match=r"confidence or score that is no number: .*'high'$"):
        overview(tmp_path / "kept.csv", read(tmp_path / "kept.csv"), {})
