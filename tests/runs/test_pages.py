"""From rows on disk to pages: what is beside them, whatever state it is in."""

import json
import re
import shutil
from pathlib import Path

import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts.registry import load
from prunebench.results import verifications
from prunebench.results.journal import Journal
from prunebench.runs.page_files import index_path
from prunebench.runs.pages import page_of, remember, root_of, suite_of
from prunebench.suites import schema
from prunebench.suites.resources import shipped
from prunebench_plugins.datasets.views.long_tailed import LongTailed

FILE = '{"title": "Toys", "datasets": ["digits"], "methods": ["random"], "recipe": "tiny"}'


@pytest.fixture
def results(row, tmp_path):
    """A folder with a row of the suite `toys`, and the suite beside it."""
    folder = tmp_path / "leaderboard"
    Journal(folder).append(row(dataset="digits"))
    (folder / "results" / "toys" / "suite.json").write_text(FILE)
    return folder


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", FILE.encode()[:40]])
def test_a_damaged_suite_is_one_line_that_names_the_file(cli, results, content):
    path = results / "results" / "toys" / "suite.json"
    path.write_bytes(content)
    found = cli("leaderboard")
    assert (found.code, found.err) == (
        1,
        "no page of toys: leaderboard/results/toys/suite.json, which says what suite 'toys' is, is damaged; "
        "delete it and run the suite again\n",
    )


def test_a_page_knows_the_settings_of_the_labelers_of_its_suite(results, row):
    labeler = {"part": "probe", "backbone": "pixels", "label_fraction": 0.1, "C": 0.5}
    table = {"labeler": labeler, "scorer": "aum", "selector": "top"}
    content = json.loads(FILE) | {"method": {"mine": table}}
    (results / "results" / "toys" / "suite.json").write_text(json.dumps(content))
    Journal(results).append(row(dataset="digits", method="mine"))
    where = ("mine", "digits", "tiny", "default", "pipeline")
    assert page_of("toys", results).labelers == {where: "probe(backbone=pixels, C=0.5)"}


def test_a_row_that_was_verified_and_then_certified_is_both(results, row):
    first = row(dataset="digits")
    verifications.append(results, verifications.verification(first, row(device_name="mine")))
    Journal(results).append(row(dataset="digits", certified=True))
    page = page_of("toys", results)
    assert [(found.certified, found.id in page.verified) for found in page.rows] == [(True, True)]


def test_running_the_suite_mends_it(results, suite_file):
    (results / "results" / "toys" / "suite.json").write_text("{")
    remember(schema.read(suite_file()), results)
    assert suite_of("toys", results).file.title == "Toys"


def test_what_is_no_suite_keeps_no_page_from_being_made(cli, results, row):
    (results / "results" / "stray.txt").write_text("a file")
    (results / "results" / "empty" / "digits").mkdir(parents=True)
    (results / "results" / "toys" / "digits" / "notes.txt").write_text("a file")
    (results / "results" / "toys" / "folder.jsonl").mkdir()
    assert cli("leaderboard").out == "wrote leaderboard/toys.md\nwrote leaderboard/README.md\n"
    assert cli("leaderboard --check").code == 0


def test_rows_of_a_suite_that_nobody_knows_are_told_after_all_other_pages(cli, results, row):
    Journal(results).append(row(suite="another", dataset="digits"))
    found = cli("leaderboard")
    assert (found.code, found.out) == (1, "wrote leaderboard/toys.md\nwrote leaderboard/README.md\n")
    assert found.err.startswith("no page of another: no suite named 'another'.")


def test_the_index_comes_back_byte_for_byte(cli, results):
    cli("leaderboard")
    path = index_path(results)
    before = path.read_bytes()
    path.unlink()
    assert cli("leaderboard --check").code == 2
    cli("leaderboard")
    assert path.read_bytes() == before
    path.write_bytes(before.replace(b"Toys", b"Boys"))
    assert "not up to date: leaderboard/README.md;" in cli("leaderboard --check").err


def test_the_index_says_who_may_be_first_and_that_a_title_is_text(cli, results, row):
    suite = results / "results" / "toys" / "suite.json"
    suite.write_text(
        FILE.replace("Toys", "[Toys](x)").replace('"tiny"', '"tiny", "seeds": 2, "ratios": [50]')
    )
    for seed, noise in enumerate((0.0, 0.2)):
        for method, accuracy in (("random", 80.0), ("near", 90.0), ("close", 90.1)):
            one = row(method=method, dataset="mine", seed=seed, accuracy=accuracy + noise * len(method) / 7)
            Journal(results).append(one.model_copy(update={"certified": method == "near"}))
    cli("leaderboard")
    (line,) = [line for line in index_path(results).read_text().splitlines() if "(toys.md)" in line]
    page, dataset, *numbers, first = [cell.strip() for cell in line.strip("|").split("|")]
    assert page == r"[[Toys\](x)](toys.md)"
    assert dataset == "mine, recipe tiny"
    assert numbers == ["3", "2", "6", "2", "0"]
    assert first == "at 50 %: 2 of 3 methods; highest mean: Close (90.2 %)"


def test_the_page_of_one_suite_leaves_the_index_as_it_is(cli, results):
    assert cli("leaderboard --suite toys").out == "wrote leaderboard/toys.md\n"
    assert not index_path(results).exists()


@pytest.fixture
def two(results, row):
    """The folder, with rows of two more datasets under other names."""
    for dataset in ("mine", "a:b"):
        Journal(results).append(row(dataset=dataset, seed=0))
    return results


def test_several_datasets_have_an_overview_and_a_page_each(cli, two):
    wrote = cli("leaderboard --figures").out
    assert wrote.splitlines()[2:5] == [
        "wrote leaderboard/toys.md",
        "wrote leaderboard/toys/a%3Ab.md",
        "wrote leaderboard/toys/mine.md",
    ]
    overview, own = (two / "toys.md").read_text(), (two / "toys" / "mine.md").read_text()
    assert "[All tables of this dataset](toys/a%253Ab.md)" in overview and "### Cost" not in overview
    assert "## mine, recipe tiny" in overview and "## a:b, recipe tiny" in overview
    assert own.startswith("# Toys: mine\n") and "### Cost" in own and "a:b" not in own
    assert "[mine, recipe tiny](toys/mine.md)" in index_path(two).read_text()
    assert cli("leaderboard --check").code == 0


def test_the_figure_of_a_dataset_is_found_from_its_page(cli, two, row):
    for dataset in ("mine", "a:b"):
        Journal(two).append(row(dataset=dataset, ratio=30))
    cli("leaderboard --figures")
    (link,) = re.findall(r"!\[.*\]\((.*)\)", (two / "toys" / "mine.md").read_text())
    assert (two / "toys" / link).is_file()
    (_, link) = re.findall(r"!\[.*\]\((.*)\)", (two / "toys.md").read_text())
    assert (two / link).is_file()


def test_pages_and_figures_without_rows_are_told_and_others_are_nobodys_business(cli, two, row):
    Journal(two).append(row(dataset="mine", ratio=30))
    cli("leaderboard --figures")
    (two / "notes.md").write_text("mine")
    (two / "figures" / "mine.svg").write_text("<svg/>")
    (two / "others").mkdir()  # pages of another folder of rows
    (two / "others" / "toys.md").write_bytes((two / "toys.md").read_bytes())
    shutil.rmtree(two / "results" / "toys" / "mine")
    gone = "made from rows that are gone: leaderboard/figures/toys-mine.svg, leaderboard/toys/a%3Ab.md, "
    gone += "leaderboard/toys/mine.md; delete them"  # of a single dataset the page is the suite's
    assert gone in cli("leaderboard --check").err
    found = cli("leaderboard")
    assert (found.code, found.err) == (0, gone + "\n")
    for path in gone.partition(": ")[2].partition(";")[0].split(", "):
        (two.parent / path).unlink()
    assert cli("leaderboard --check").code == 0


def test_a_readme_of_ones_own_is_left_as_it_is(cli, results):
    index_path(results).write_text("mine")
    found = cli("leaderboard")
    assert (found.code, found.out) == (0, "wrote leaderboard/toys.md\n")
    assert index_path(results).read_text() == "mine"
    assert "leaderboard/README.md was not made by prunebench, and is left as it is" in found.err
    assert cli("leaderboard --check").code == 0


def test_no_suite_has_the_name_of_the_index(suite_file):
    with pytest.raises(PrunebenchError, match="README is the index of all pages; rename the file"):
        schema.read(suite_file(name="readme.toml"))


def test_the_links_of_the_index_lead_somewhere():
    folder = Path(__file__).parents[2] / "leaderboard"
    links = re.findall(r"\]\(([^)#]+)\)", index_path(folder).read_text())
    assert "../docs/protocol.md" in links and "small_all.md" in links
    assert [link for link in links if not (folder / link).exists()] == []


def test_a_page_that_is_a_folder_is_told_before_the_work(cli, toy, suite_file, tmp_path):
    (tmp_path / "leaderboard" / "toys.md").mkdir(parents=True)
    found = cli(f"run --suite {suite_file()} --workers 0")
    assert (found.code, found.out) == (2, "")
    assert found.err == (
        "Error: cannot write the page leaderboard/toys.md: it is a folder; choose another --results\n"
    )


def test_two_suites_of_one_name_are_told_that_they_share_a_page(cli, toy, suite_file, tmp_path):
    text = Path(suite_file()).read_text()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.toml").write_text(text.replace('"Toys"', f'"{folder.title()}"'))
    first, second, again = (
        cli(f"run --suite {path}/same.toml --methods random --seeds 1 --workers 0").err
        for path in ("one", "two", "two")
    )
    assert (first, again) == ("", "")
    assert second == (
        "leaderboard/results/same has rows of another suite 'same', titled 'One': they share a page with "
        "those of 'Two'; another name of the file or another --results keeps them apart\n"
    )


def test_another_final_training_has_a_table_of_its_own(cli, toy, suite_file, tmp_path):
    """Its content decides, not its name: a value that the recipe has anyhow changes nothing."""
    line = f"run --suite {suite_file()} --methods random --workers 0"
    for changes in (
        "",
        "--set recipe.final_iterations=2",
        "--set recipe.epochs=4",
        "--set recipe.proxy_backbone=pixels",
    ):
        assert cli(f"{line} {changes}").code == 0
    page = (tmp_path / "leaderboard" / "toys.md").read_text()
    first, second = page.split("## toy, recipe tiny")[1:]
    assert second.startswith(" with final_iterations=2\n") and "Random{recipe.final_iterations=2}" in second
    assert first.startswith("\n") and "Random{recipe.epochs=4}" in first and "final_iterations" not in first


def test_a_suite_of_ones_own_is_not_called_as_a_shipped_one(suite_file):
    with pytest.raises(PrunebenchError) as error:
        schema.read(suite_file(name="quickstart.toml"))
    assert str(error.value).endswith(
        "quickstart.toml: 'quickstart' is a shipped suite, and results are filed by name; rename the file"
    )


def test_a_family_is_a_dataset_its_views_and_what_has_other_fields_of_it():
    registry = load()
    birds = registry.dataset({"family": "folder", "path": "/birds", "side": 32, "name": "birds"})
    few_birds = LongTailed(name="few_birds", base=birds, factor=0.1)
    assert [root_of(dataset) for dataset in (birds, few_birds)] == ["birds", "birds"]
    small = registry.dataset({"of": "food101", "side": 32, "name": "small"})
    few = LongTailed(name="few", base=small, factor=0.1)
    assert [root_of(dataset) for dataset in (small, few)] == ["food101", "food101"]


def test_a_shipped_suite_may_be_named_by_its_path(tmp_path):
    path = shipped() / "quickstart.toml"
    assert schema.read(str(path)).file == schema.read("quickstart").file
    assert remember(schema.read(str(path)), tmp_path) is None
    assert not (tmp_path / "results").exists()
