"""The paper's suites from the files of the datasets to the page: every method, on miniatures, on a CPU.

Small are the datasets, the networks and the lengths of training, and no pretrained network is run: see
`tests.miniatures`. One seed, and two ratios where a suite has more; grids of two values. Labels are drawn
uniformly, since miniatures have fewer than classes. All else is as `prunebench run --suite NAME` has it.
"""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from prunebench.paper import claims, comparison, published
from prunebench.paper.points import groups, measured
from prunebench.paper.published import (
    PublishedAblation,
    PublishedAccuracy,
    PublishedBudget,
    PublishedCost,
    PublishedCutoff,
    PublishedQuality,
)
from prunebench.parts import registry
from prunebench.pipeline import context
from prunebench.pipeline.executors.inline import InlineExecutor
from prunebench.pipeline.matrix import Matrix
from prunebench.pipeline.store import Store
from prunebench.results import record
from prunebench.results.document import document
from prunebench.results.journal import Journal
from prunebench.results.render.markdown import markdown
from prunebench.runs import page_files, pages
from prunebench.suites import resolve, schema
from prunebench.suites.cells import Filters
from tests import miniatures

QUICK = "same_budget"
SUITES = sorted({*published.SUITES.values(), "label_budget"})
EVERY = pytest.mark.parametrize(
    "name", [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SUITES]
)

GRIDS = """
[grids.dual.epochs]
values = [3, 4]
ratios = [30]
at_most = "epochs"
top = true

[grids.beta.epochs]
values = [3, 4]
ratios = [30]
at_most = "epochs"
top = true

[grids.beta.c_d]
values = [3.0, 4.0]
ratios = [30, 80]

[grids.cutoff.cutoff]
values = [0.0, 0.1]
at_most = "ratio"
each = true
"""
TUNED = {"cutoff": {0.0, 0.1}, "epochs": {3, 4}, "c_d": {3.0, 4.0}}
TRIALS = {"cutoff": 2, "epochs": 2, "c_d": 2 * 2}  # of each search: values times ratios

FORMS = ("svg", "png")

# The table of a page in which a printed line is shown, and the number as it stands there.
SHOWN = {
    PublishedAccuracy: ("Published beside ours", lambda line: f"{line.percent:.1f}"),
    PublishedAblation: ("Published beside ours", lambda line: f"{line.percent:.1f}"),
    PublishedBudget: ("Published beside ours", lambda line: f"{line.percent:.2f}"),
    PublishedQuality: ("Published pseudo-labels beside ours", lambda line: f"{line.percent:.1f}"),
    PublishedCutoff: ("Published cutoffs beside ours", lambda line: f"{line.cutoff:g}"),
    PublishedCost: ("Published cost beside ours", lambda line: f"{line.gpu_hours:g}"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """finished("cost") is what became of a suite, run once: its file, rows, failures, page, places."""
    top = tmp_path_factory.mktemp("paper")
    miniatures.write(top / "data")
    store, done = Store(top / "store"), {}  # stages that suites share are made once, as by a user

    def once(name):
        if name not in done:
            done[name] = run(name, top, store)
        return done[name]

    with pytest.MonkeyPatch.context() as patch:
        miniatures.install(patch)
        patch.setattr(
            schema, "names", list
        )  # by the shipped names, that users must not take, numbers are found
        yield once
    context.load_split.cache_clear()


def run(name, top, store):
    """Run a suite of this name that extends the shipped one, as the command does."""
    own = schema.read(name).file.ratios
    ratios = sorted({own[0], 80} & {*own})
    path = top / f"{name}.toml"
    path.write_text(f'extends = "{name}"\nratios = {ratios}\nseeds = 1\nlabel_draw = "uniform"\n{GRIDS}')
    chosen = schema.read(str(path))
    matrix = Matrix(resolve.cells(chosen, Filters(), registry.load()), store, top / "data", "cpu")
    matrix.check_device()
    matrix.fetch()
    needed = matrix.missing()
    matrix.check_parts(needed)
    failures = matrix.run(
        InlineExecutor(lambda *_progress: None),
        needed,
        lambda _stage: None,
        lambda cell: Journal(top / "leaderboard").append(record.row(matrix, cell)),
    )
    pages.remember(chosen, top / "leaderboard")
    page = pages.page_of(name, top / "leaderboard")
    return SimpleNamespace(
        file=chosen.file,
        path=path,
        results=top / "leaderboard",
        options=f"--data {top / 'data'} --store {store.root} --device cpu",
        failures={cell.name: str(error) for cell, error in failures.items()},
        rows=page.rows,
        document=document(page),
        page=markdown([document(page)]),
    )


def percent_annotated(method):
    """The share of the labels that a method has annotated before it selects, by its name."""
    if method == "dual":
        return 100
    if method.startswith(("semi", "score_extrapolation")):
        number = method.rpartition("_")[2]
        return int(number) if number.isdigit() else 10
    return 0


def tuned_fields(method):
    """The fields that a suite with a search tunes for a method, by its name."""
    if method in ("dual", "semi_dual"):
        return {"epochs", "c_d"}
    return {"cutoff"} if method.startswith(("elfs", "semi")) else set()


def tables(page):
    """The tables of a page: text by dataset and title."""
    boards = [board.split("\n### ") for board in page.split("\n## ")[1:]]
    return {
        (re.match(r"\w+", heading)[0], table.partition("\n")[0]): table
        for heading, *own in boards
        for table in own
    }


@EVERY
def test_every_cell_has_a_row(name, finished):
    ran = finished(name)
    assert ran.failures == {}
    shipped = schema.read(name).file
    cells = {(d, m, r) for d in shipped.datasets for m in shipped.methods for r in ran.file.ratios}
    assert {(row.dataset, row.method, row.ratio) for row in ran.rows} == cells
    assert len(ran.rows) == len(cells)
    for row in ran.rows:
        assert row.kept == sum(row.kept_per_class) == pytest.approx(row.images * (1 - row.ratio / 100), abs=1)
        assert (row.recipe, row.repeats, row.tuning) == ("paper", "training", shipped.tuning)
        assert row.best_accuracy >= row.accuracy


@EVERY
def test_every_row_says_what_was_annotated(name, finished):
    for row in finished(name).rows:
        annotated = row.images * percent_annotated(row.method) // 100
        assert row.labels_selection == annotated, row.method
        assert row.labels_training == row.kept
        if row.method.endswith("+annotated") or not annotated:  # what was annotated is kept
            assert row.labels_total == row.kept
        else:
            assert max(annotated, row.kept) <= row.labels_total <= min(annotated + row.kept, row.images)


@EVERY
def test_every_row_says_what_was_tuned(name, finished):
    ran = finished(name)
    for row in ran.rows:
        fields = tuned_fields(row.method) if ran.file.tuning == "search" else set()
        assert {*row.tuned} == fields, row.method
        assert all(value in TUNED[field] for field, value in row.tuned.items())
        assert row.trials == sum(TRIALS[field] for field in fields)
        assert row.tuned_on.startswith("the labeler's labels" if fields else "nothing")


@EVERY
def test_labels_that_were_guessed_are_judged(name, finished):
    for row in finished(name).rows:
        clusters, network = row.method.startswith("elfs"), row.method.startswith("semi")
        assert ("hungarian" in row.quality) == (clusters or network), row.method
        assert ("accuracy" in row.quality) == network, row.method
        assert all(0 <= value <= 100 for key, value in row.quality.items() if key in ("accuracy", "nmi"))
        pretrained = row.method in ("prototypicality", "zcore") or (clusters and row.method != "elfs_swav")
        assert bool(row.pretraining) == pretrained, row.method


@EVERY
def test_the_page_shows_every_printed_number_beside_ours(name, finished):
    ran = finished(name)
    shown = tables(ran.page)
    assert list(dict.fromkeys(dataset for dataset, _ in shown)) == ran.file.datasets
    lines = [line for line in published.lines() if published.key(line).suite == name]
    lines = [line for line in lines if published.key(line).ratio in (None, *ran.file.ratios)]
    assert bool(lines) == (name != "label_budget")  # a drawn figure; its page has the lines of table 2
    for dataset in ran.file.datasets:
        assert any(of == dataset and title.startswith("Published") for of, title in shown)
    for line in lines:
        title, spelled = SHOWN[type(line)]
        assert spelled(line) in shown[line.dataset, title], line
    compared = comparison.compare(ran.rows, [line for line in lines if hasattr(line, "percent")])
    assert len(compared) == sum(hasattr(line, "percent") for line in lines)
    assert "stale" not in ran.page and "## Remarks" not in ran.page


@EVERY
def test_the_command_makes_the_same_page_from_what_is_stored(name, finished, cli, tmp_path):
    ran = finished(name)
    ended = cli(f"run --suite {ran.path} --results {tmp_path} {ran.options}")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("%   stored\n") == len(ran.rows)
    expected = page_files.contents({name: ran.document}, tmp_path)
    assert {path: path.read_text() for path in expected} == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "figure", "dataset"),
    [
        ("paper_domain", "accuracy", "sun397"),
        ("label_budget", "labels", "food101"),
        ("paper_corruption", "kept", "tiny_imagenet_c"),
        ("paper_long_tailed", "kept", "cifar100_lt_001"),
        ("pseudo_labels", "classes", "imagenet1k"),
        ("pseudo_labels", "embeddings", "cifar10"),
    ],
)
def test_figures_are_drawn_of_its_rows(name, figure, dataset, finished, cli, tmp_path):
    ran = finished(name)
    places = f"--results {ran.results} --output {tmp_path}"
    ended = cli(f"figures {figure} --suite {ran.path} --datasets {dataset} {places} {ran.options}")
    assert (ended.code, ended.err) == (0, "")
    assert {path.name for path in tmp_path.glob("*.*g")} == {f"{figure}-{dataset}.{form}" for form in FORMS}


@pytest.mark.slow
def test_every_claim_finds_its_numbers_in_some_suite(finished):
    of_groups = [measured(rows) for name in SUITES for rows in groups(finished(name).rows).values()]
    file = claims.claims()
    silent = {
        name
        for name, claim in file.claim.items()
        if all("no numbers" in claims.examine(claim, points, file.stand_in).scale for points in of_groups)
    }
    assert silent == {"equal_labels"}  # which needs the reference random_matched; no paper suite has one


@pytest.mark.slow
def test_the_cost_of_a_labeler_is_counted_by_stage(finished):
    for row in finished("cost").rows:
        own = "embeddings" if row.method.startswith("elfs") else "known_labels"
        assert {*row.seconds} == {own, "labels", "dynamics", "scores", "subset", "accuracy"}
        assert min(row.seconds[stage] for stage in ("labels", "dynamics", "accuracy")) > 0
        assert row.gpu_seconds == {}
