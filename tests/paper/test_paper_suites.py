"""The paper's tables as suites: every printed number has its cell, and every cell its number or a reason."""

from collections import Counter

import numpy as np
import pytest

from prunebench.paper import published
from prunebench.paper.published import Key
from prunebench.parts import registry, seeds
from prunebench.parts.sampling import draw_labels
from prunebench.pipeline.graph import Graph
from prunebench.suites import resolve, schema
from prunebench.suites.cells import Filters
from prunebench_plugins.datasets.views.long_tailed import long_tail

SUITES = sorted({*published.SUITES.values(), "label_budget"})
UNPRINTED = {
    "label_budget": "figure 2 is drawn, not printed, and the table of C.1 is not in our copy of the text",
    ("cost", "elfs_dino"): "DINO was trained by others; its GPU-days stand in the text of C.3",
}


def planned(name):
    """Return the graph of a suite with no data present."""
    cells = resolve.cells(schema.read(name), Filters(), registry.load())
    return Graph(cells, {cell.dataset.name: f"absent:{cell.dataset.name}" for cell in cells})


@pytest.fixture(scope="module")
def graphs():
    return {name: planned(name) for name in SUITES}


def keys(name, graph):
    """Yield what can have a printed number: cells, labels, and what trained for them."""
    for cell in {(c.dataset.name, c.method.name, c.ratio) for c in graph.targets}:
        yield Key(name, *cell)
    for cell, quality in graph.qualities.items():
        if quality is not None:
            yield Key(name, cell.dataset.name, cell.method.name, None)


def test_every_printed_line_is_about_something_that_a_suite_plans(graphs):
    known = {key for name, graph in graphs.items() for key in keys(name, graph)}
    missing = [line for line in published.lines() if published.key(line) not in known]
    assert missing == []


def test_no_two_lines_are_about_the_same_cell():
    cells = Counter(
        published.key(line)
        for line in [*published.accuracies(), *published.budgets(), *published.ablations()]
    )
    assert set(cells.values()) == {1}
    assert len(cells) == 450 + 12 + 60


def test_every_printed_cutoff_is_a_value_that_a_suite_tunes(graphs):
    for line in published.cutoffs():
        key = published.key(line)
        cells = [c for c in graphs[key.suite].targets if (c.dataset.name, c.method.name, c.ratio) == key[1:]]
        (choice,) = {graphs[key.suite].choices(cell)["cutoff"].key for cell in cells}
        assert choice
        (search,) = cells[0].searches
        assert line.cutoff in search.values(cells[0].recipe, line.ratio)


@pytest.mark.parametrize("name", SUITES)
def test_every_cell_of_a_suite_has_a_printed_number_or_a_reason(name, graphs):
    printed = {published.key(line) for line in published.lines()}
    labels = {key[1:3] for key in printed if key.ratio is None and key.suite == name}
    for cell in graphs[name].targets:
        key = Key(name, cell.dataset.name, cell.method.name, cell.ratio)
        beside = (cell.dataset.name, cell.method.name)
        assert (
            key in printed or beside in labels or name in UNPRINTED or (name, cell.method.name) in UNPRINTED
        ), key


def test_a_reason_is_given_only_where_nothing_is_printed():
    printed = {published.key(line) for line in published.lines()}
    assert not [key for key in printed if key.suite in UNPRINTED or (key.suite, key.method) in UNPRINTED]


def test_the_standard_table_on_cifar100_shares_what_can_be_shared():
    chosen = schema.read("paper_standard")
    cells = resolve.cells(chosen, Filters(datasets=["cifar100"]), registry.load())
    graph = Graph(cells, {"cifar100": "absent:cifar100"})
    stages = list(graph.stages.values())
    kinds = Counter(stage.kind for stage in stages)
    labelers = Counter(stage.identity["part"]["part"] for stage in stages if stage.kind == "labels")
    backbones = Counter(
        stage.identity["part"]["part"]
        for stage in stages
        if stage.kind == "embeddings" and "part" in stage.identity
    )
    assert labelers == {"fixmatch": 1, "temi": 2, "ground_truth": 1, "none": 1}
    assert backbones["swav"] == 1
    assert kinds["dynamics"] == 5  # true labels, FixMatch, two of TEMI, the tenth
    assert kinds["accuracy"] == 225
    assert kinds["validation"] == 3 * 37 + 2 * 27


@pytest.mark.parametrize("name", SUITES)
def test_suites_of_the_paper_repeat_what_the_paper_repeats(name):
    file = schema.read(name).file
    assert (file.recipe, file.repeats, file.references) == ("paper", "training", [])


def labelers(name, **filters):
    """Return the labelers of a suite that annotate some of the labels and not all."""
    cells = resolve.cells(schema.read(name), Filters(**filters), registry.load())
    found = {cell.method.labeler for cell in cells if cell.method.labeler}
    return {labeler for labeler in found if 0 < labeler.label_fraction < 1}


@pytest.mark.parametrize("name", SUITES)
def test_suites_of_the_paper_draw_labels_as_its_code_base_does(name):
    assert {labeler.sampling for labeler in labelers(name)} <= {"class_balanced"}


def test_on_the_longest_tail_no_class_is_without_a_label_as_a_uniform_draw_leaves_some():
    """CIFAR-100 with a factor of 0.01: 500 images of the first class, 5 of the last."""
    truth = np.repeat(np.arange(100), long_tail(np.full(100, 500), 0.01))
    assert len(truth) == 10_847
    lost = {}
    for name, changes in {"own": {}, "uniform": {"fixmatch.sampling": "uniform"}}.items():
        chosen = {"datasets": ["cifar100_lt_001"], "methods": ["semi_aum"], "changes": changes}
        (labeler,) = labelers("paper_long_tailed", **chosen)
        drawn = [
            draw_labels(truth, labeler.label_fraction, labeler.sampling, seeds.stream("known", repeat))
            for repeat in range(5)
        ]
        lost[name] = [100 - len(np.unique(truth[index])) for index in drawn]
    assert lost == {"own": [0, 0, 0, 0, 0], "uniform": [16, 11, 12, 10, 9]}


def test_score_extrapolation_and_fixmatch_buy_the_same_labels():
    cells = resolve.cells(schema.read("paper_standard"), Filters(datasets=["cifar100"]), registry.load())
    graph = Graph(cells, {"cifar100": "absent:cifar100"})
    draws = [
        stage for stage in graph.stages.values() if stage.kind == "known_labels" and "seed" in stage.identity
    ]
    assert [stage.title for stage in draws] == ["10% of the labels, class_balanced, which reads every label"]


def test_another_draw_is_a_variant_with_a_row_of_its_own():
    wanted = Filters(datasets=["cifar100"], methods=["semi_aum"], changes={"fixmatch.sampling": "uniform"})
    (cell, *_) = resolve.cells(schema.read("paper_standard"), wanted, registry.load())
    (own, *_) = resolve.cells(
        schema.read("paper_standard"), Filters(datasets=["cifar100"], methods=["semi_aum"]), registry.load()
    )
    assert cell.method.name == "semi_aum{fixmatch.sampling=uniform}"
    assert cell.method_key != own.method_key
