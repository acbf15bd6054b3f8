"""Tuning: what is searched, what a search may see, and what it chooses."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts import registry
from prunebench.parts.artefacts import Choice, Labels, Subset, Validation
from prunebench.parts.base import Grid, Labeler, Selector
from prunebench.parts.method import Method
from prunebench.parts.recipe import Recipe
from prunebench.parts.sampling import kept
from prunebench.pipeline import context
from prunebench.pipeline.stage import CHOICE
from prunebench.pipeline.stages.candidate import held_out
from prunebench.pipeline.stages.validation import CandidateValidation
from prunebench.suites import resolve, schema, tuning
from prunebench.suites.cells import Filters
from prunebench.suites.resources import shipped
from prunebench.suites.schema import SuiteFile
from prunebench.suites.tuning import searches

RECIPE = Recipe(network="cnn", epochs=200)
RATIOS = (30, 50, 70, 80, 90)


def method(name):
    return registry.load().get("methods", name)


@dataclass(frozen=True, kw_only=True)
class Turned(Labeler):
    """Every label is wrong, and the next one: who learns from it is good at it, and bad at the truth."""

    name: ClassVar[str] = "turned"
    label_fraction: float = 0.5

    def label(self, known_labels):
        return (np.arange(len(known_labels)) + 1) % 4


@dataclass(frozen=True, kw_only=True)
class Shifted(Selector):
    """Keeps the images from `start` on, a share of all."""

    name: ClassVar[str] = "shifted"
    grids: ClassVar = (Grid(field="start", values=(0.0, 0.25, 0.5), at_most="ratio", each=True),)
    start: float = 0.0

    def select(self, labels, keep):
        return int(self.start * len(labels)) + np.arange(keep)


@pytest.fixture
def shifted(offer):
    offer(Turned, Shifted)
    return Method("shifted", title="Shifted", labeler=Turned(), selector=Shifted())


# What is searched


def test_each_aum_method_has_37_validations_and_each_dual_method_27():
    (cutoff,) = searches(method("semi_aum"), {})
    assert sum(len(cutoff.values(RECIPE, ratio)) for ratio in RATIOS) == 4 + 6 + 8 + 9 + 10
    epochs, c_d = searches(method("semi_dual"), {})
    assert len(epochs.values(RECIPE, 30)) * len(epochs.grid.ratios) == 7
    assert len(c_d.values(RECIPE, 30)) * len(c_d.grid.ratios) == 20


def test_epochs_are_set_in_scorer_and_selector_and_tried_on_the_hardest_at_ratio_30():
    epochs, c_d = searches(method("dual"), {})
    assert (epochs.grid.field, epochs.parts, epochs.grid.ratios, epochs.grid.top) == (
        "epochs",
        ("dual", "beta"),
        (30,),
        True,
    )
    assert (c_d.grid.field, c_d.parts) == ("c_d", ("beta",))


def test_no_more_epochs_are_tried_than_the_recipe_has():
    epochs, _ = searches(method("dual"), {})
    assert epochs.values(replace(RECIPE, epochs=60), 30) == [30, 40, 50, 60]
    with pytest.raises(PrunebenchError, match=r"tuning epochs: none of the values .* is at most 20"):
        epochs.values(replace(RECIPE, epochs=20), 30)


def test_a_part_that_another_holds_is_searched_too():
    (search,) = searches(method("semi_aum+annotated"), {})
    selector = tuning.with_values(method("semi_aum+annotated").selector, "cutoff", search.parts, 0.3)
    assert selector.selector.cutoff == 0.3


@pytest.mark.parametrize("name", ["random", "k_center_pixels", "prototypicality_pixels", "el2n_supervised"])
def test_a_method_without_grids_or_labels_is_not_searched(name):
    assert searches(method(name), {}) == ()


def test_a_suite_may_put_grids_on_other_fields():
    given = {
        "dual": {"exponent": {"values": [0.5, 1.0], "ratios": [30, 90]}},
        "beta": {"c_d": {"values": [11.0]}},
    }
    found = {search.grid.field: search for search in searches(method("semi_dual"), given)}
    assert found["exponent"].parts == ("dual",)
    assert found["exponent"].grid == Grid(field="exponent", values=(0.5, 1.0), ratios=(30, 90))
    assert found["c_d"].grid.values == (11.0,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"dual": {"exponnent": {"values": [1.0]}}},
            r"Did you mean 'exponent'\? See: prunebench list scorers",
        ),
        ({"dual": {"exponent": {"value": [1.0]}}}, "no field of grids.dual.exponent named 'value'"),
        ({"dual": {"exponent": {"values": []}}}, "values is \\(\\), expected one or more"),
        ({"dual": {"exponent": {}}}, "grids.dual.exponent needs a value for 'values'"),
        ({"dual": {"exponent": {"values": [1.0], "at_most": "sky"}}}, "'ratio', 'epochs' or ''"),
    ],
)
def test_a_wrong_grid_is_one_line(given, message):
    with pytest.raises(PrunebenchError, match=message):
        searches(method("dual"), given)


# The stages of a search


def test_every_ratio_has_its_own_choice_and_seeds_share_it(matrix, shifted):
    made = matrix(shifted, ratios=(30, 50), seeds=(0, 1), tuning="search", repeats="training")
    kinds = [stage.kind for stage in made.graph.stages.values()]
    assert kinds.count("choice") == 2
    assert kinds.count("validation") == kinds.count("candidate") == 2 + 3  # 0.5 is too much at ratio 30
    assert kinds.count("subset") == 2


def test_a_value_for_all_ratios_is_chosen_by_the_mean_over_them(matrix, make, offer, store):
    grid = Grid(field="start", values=(0.0, 0.25), ratios=(30, 50))
    shared = type("Shared", (Shifted,), {"grids": (grid,), "name": "shared", "__module__": __name__})
    shared = dataclass(frozen=True, kw_only=True)(shared)
    offer(Turned, shared)
    made = matrix(
        Method("shared", title="S", labeler=Turned(), selector=shared()), ratios=(70,), tuning="search"
    )
    make(made)
    (choice,) = (stage for stage in made.graph.stages.values() if stage.kind == "choice")
    assert [given.of for given in choice.inputs] == [[0.0, 30], [0.0, 50], [0.25, 30], [0.25, 50]]
    read = {tuple(given.of): store.read(given.source.key, Validation) for given in choice.inputs}
    tried = dict(store.read(choice.key, Choice).tried)
    assert tried[0.25] == pytest.approx((read[0.25, 30].accuracy + read[0.25, 50].accuracy) / 2)


def test_a_search_sees_no_true_label_and_no_test_image(matrix, make, shifted, store, monkeypatch):
    made = matrix(shifted, tuning="search", changes={"recipe.epochs": 30})
    opened = []
    load = type(made.cells[0].dataset).load
    monkeypatch.setattr(
        type(made.cells[0].dataset),
        "load",
        lambda self, root, split: opened.append(split) or load(self, root, split),
    )
    keys = {key: stage for key, stage in made.missing().items() if stage.kind != "accuracy"}
    from prunebench.pipeline import schedule
    from prunebench.pipeline.executors.inline import InlineExecutor

    made.graph  # noqa: B018 - the hash of the content reads both splits
    context.load_split.cache_clear()
    opened.clear()
    inline = InlineExecutor(lambda *_progress: None)
    outcome = schedule.walk(keys, store, inline, made.job, lambda _stage: None)
    assert not outcome.failures
    assert set(opened) == {"train"}
    # All labels are wrong, and the next one: a search with the truth anywhere in it would be near 0.
    found = [store.read(key, Validation).accuracy for key, s in keys.items() if s.kind == "validation"]
    assert len(found) == 3
    assert min(found) > 90


def test_a_candidate_leaves_a_tenth_of_each_label_out(matrix, make, shifted, store):
    made = matrix(shifted, ratios=(50,), tuning="search")
    make(made)
    held_out = set(range(64))
    for stage in made.graph.stages.values():
        if stage.kind == "candidate":
            subset = store.read(stage.key, Subset)
            assert len(subset) == (64 - 4 - 3) // 2  # a tenth of 32 annotated, rounded up, and of 32 guessed
            held_out -= set(subset.index.tolist())
    # Candidates start at 0, a quarter and a half of the 57 others, and keep 28: all but the last are seen.
    assert len(held_out) == 7 + 1


def test_the_subset_is_the_one_of_the_chosen_value(matrix, make, shifted, store):
    made = matrix(shifted, ratios=(50,), tuning="search")
    found = make(made)
    (row,) = found.rows
    (choice,) = (stage for stage in made.graph.stages.values() if stage.kind == "choice")
    chosen = store.read(choice.key, Choice)
    assert chosen.value == max(chosen.tried, key=lambda pair: pair[1])[0]
    assert row.tuned == {"start": chosen.value}
    assert (row.trials, row.tuned_on) == (3, "the labeler's labels of a tenth of the labeled images")
    start = int(chosen.value * 64)
    assert store.read(row.subset_key, Subset).index.tolist() == list(range(start, start + 32))
    assert {"search", "labels", "accuracy"} <= set(row.seconds)
    assert not {"candidate", "validation", "choice"} & set(row.seconds)


def test_of_equal_values_the_first_is_chosen(matrix, make, shifted, store, monkeypatch):
    monkeypatch.setattr(CandidateValidation, "compute", lambda *_given: (Validation(accuracy=50.0),))
    make(matrix(shifted, ratios=(50,), tuning="search"))
    assert [row.tuned for row in make(matrix(shifted, ratios=(50,), tuning="search")).rows] == [
        {"start": 0.0}
    ]


def test_an_oracle_is_judged_on_the_test_split_with_true_labels(matrix, make, shifted, store):
    made = matrix(shifted, ratios=(50,), tuning="oracle_test", changes={"recipe.epochs": 30})
    (row,) = make(made).rows
    (choice,) = (stage for stage in made.graph.stages.values() if stage.kind == "choice")
    assert [len(store.read(s.source("candidate").key, Subset)) for s in choice.sources] == [32] * 3
    assert min(accuracy for _, accuracy in store.read(choice.key, Choice).tried) > 90
    assert row.tuned_on == "the test split"


def test_tuned_selectors_that_go_by_class_go_by_the_labels_of_the_pool(matrix, make, offer, store):
    offer(Turned, Shifted)
    by_class = Method("by_class", title="B", labeler=Turned(), selector=Shifted(per_class=True))
    made = matrix(by_class, ratios=(50,), tuning="search")
    assert make(made).failures == {}
    for stage in made.graph.stages.values():
        if stage.kind == "candidate":
            labels = (store.read(stage.key, Subset).index + 1) % 4
            assert sorted(np.bincount(labels)) == [7, 7, 7, 7]


# Keys


def test_the_default_rule_keeps_its_keys_and_rules_have_their_own():
    def key(**changes):
        file = SuiteFile(title="T", datasets=["digits"], methods=["semi_aum"], recipe="tiny", **changes)
        chosen = schema.Suite("t", file, shipped())
        return resolve.cells(chosen, Filters(), registry.load())[0].method_key

    assert key() == key(tuning="default")
    assert len({key(), key(tuning="search"), key(tuning="oracle_test"), key(tuning="published")}) == 4
    coarse = {"cutoff": {"cutoff": {"values": [0.0, 0.2], "each": True}}}
    assert key(tuning="search", grids=coarse) != key(tuning="search")
    assert key(grids=coarse) == key()


def test_a_filter_names_the_rule_and_a_wrong_one_is_one_line():
    chosen = schema.read("quickstart")
    assert resolve.cells(chosen, Filters(tuning="search"), registry.load())[0].tuning == "search"
    with pytest.raises(PrunebenchError, match=r"no tuning rule named 'serch'. Did you mean 'search'"):
        resolve.cells(chosen, Filters(tuning="serch"), registry.load())


# What the paper printed


def printed(name, dataset="cifar100"):
    file = SuiteFile(
        title="T",
        datasets=[dataset],
        methods=[name],
        recipe="paper",
        tuning="published",
        ratios=list(RATIOS),
        seeds=1,
    )
    return resolve.cells(schema.Suite("t", file, shipped()), Filters(), registry.load())


def test_published_cutoffs_are_those_of_table_9():
    cells = printed("semi_aum")
    assert [cell.selector.cutoff for cell in cells] == [0.1, 0.2, 0.4, 0.6, 0.7]
    assert len({cell.method_key for cell in cells}) == 1


def test_nothing_is_printed_for_other_methods():
    assert [cell.published for cell in printed("semi_dual")] == [{}] * 5
    assert [cell.selector.cutoff for cell in printed("elfs_dino")] == [0.1, 0.2, 0.4, 0.5, 0.7]


def test_sun397_is_read_from_the_hard_end():
    assert [cell.selector.cutoff for cell in printed("semi_aum", "sun397")] == [0.2, 0.4, 0.6, 0.6, 0.7]


def test_a_variant_keeps_the_printed_cutoffs_unless_it_sets_its_own():
    def variant(**changes):
        file = SuiteFile(
            title="T", datasets=["cifar10"], methods=["semi_aum"], recipe="paper", tuning="published", seeds=1
        )
        chosen = schema.Suite("t", file, shipped())
        return [c.selector.cutoff for c in resolve.cells(chosen, Filters(changes=changes), registry.load())]

    assert variant(**{"recipe.epochs": 100}) == variant() == [0.0, 0.0, 0.1, 0.2, 0.4]
    assert variant(**{"cutoff.cutoff": 0.3}) == [0.3] * 5


def test_other_printed_cutoffs_are_another_method_key():
    cell = printed("semi_aum")[0]
    (one,) = cell.printed
    assert cell.method_key != replace(cell, printed=(replace(one, values=((30, 0.2),)),)).method_key


# What is set by hand, and what a recipe sets


def test_a_field_that_is_set_by_hand_is_not_searched():
    chosen = schema.read("small_tuned")

    def fields_of(**changes):
        filters = Filters(methods=["semi_dual"], changes=changes)
        return [search.grid.field for search in resolve.cells(chosen, filters, registry.load())[0].searches]

    assert fields_of() == ["epochs", "c_d"]
    assert fields_of(**{"beta.c_d": 5.0}) == ["epochs"]
    assert fields_of(**{"dual.epochs": 30}) == ["c_d"]
    assert fields_of(**{"recipe.epochs": 50}) == ["epochs", "c_d"]


def test_so_is_one_in_a_suites_own_method():
    file = SuiteFile(
        title="T",
        datasets=["digits"],
        methods=["mine"],
        recipe="tiny",
        tuning="search",
        method={
            "mine": {"labeler": "fixmatch", "scorer": "aum", "selector": {"part": "cutoff", "cutoff": 0.1}}
        },
    )
    cells = resolve.cells(schema.Suite("t", file, shipped()), Filters(), registry.load())
    assert cells[0].searches == ()


def test_what_a_recipe_sets_is_tried_too():
    chosen = schema.read("paper_standard")
    cells = resolve.cells(chosen, Filters(methods=["dual"], datasets=["imagenet1k"]), registry.load())
    assert cells[0].searches[1].grid.values == (3.0, 4.0, 5.0, 6.0, 11.0)


def test_a_suites_grid_replaces_that_of_every_part():
    given = {"beta": {"epochs": {"values": [10, 20]}}}
    epochs = searches(method("semi_dual"), given)[0]
    assert (epochs.grid.values, epochs.parts) == ((10, 20), ("dual", "beta"))
    both = given | {"dual": {"epochs": {"values": [10, 30]}}}
    with pytest.raises(PrunebenchError, match="two grids of 'epochs'"):
        searches(method("semi_dual"), both)


def test_grids_of_something_unknown_are_one_line():
    file = SuiteFile(
        title="T", datasets=["digits"], methods=["semi_aum"], recipe="tiny", grids={"cuttoff": {"cutoff": {}}}
    )
    with pytest.raises(PrunebenchError, match="Did you mean 'cutoff'"):
        resolve.cells(schema.Suite("t", file, shipped()), Filters(), registry.load())


# Few labels


def held_out_of(values, annotated):
    """Return what a search holds out of such labels."""
    labels = Labels(values=np.array(values), annotated=np.array(annotated))
    return held_out(labels, 0.1, [0, "split", 0])


@pytest.mark.parametrize("images", [190, 6941, 19_573, 75_750])
def test_who_keeps_all_annotated_images_still_can_among_those_not_held_out(images):
    """At ratio 90 all that is kept was annotated, to the last image."""
    annotated = np.arange(images) < images // 10
    apart = held_out_of(np.arange(images) % 7, annotated)
    pool = np.setdiff1d(np.arange(images), apart)
    assert annotated[pool].sum() <= kept(len(pool), 90)
    assert abs(len(apart) - images / 10) < 2


def test_a_search_never_becomes_an_oracle_for_lack_of_labels():
    """A tenth of three annotated labels is still one. Of none there is none."""
    assert len(held_out_of([0, 1, 2, -1, -1], [True, True, True, False, False])) == 1
    with pytest.raises(PrunebenchError, match="no image has a label, so none can be held out"):
        held_out_of([-1, -1], [False, False])


# Cost


def test_a_search_on_another_repeat_is_no_part_of_the_labelers_cost(matrix, make, shifted):
    """Each seed has a labeler of its own, and the one whose labels chose is booked as search."""
    made = matrix(shifted, ratios=(50,), seeds=(0, 1), tuning="search")
    make(made)
    for cell in made.graph.targets:
        target = made.graph.targets[cell]
        own = [stage.kind for stage in target.ancestors(without=(CHOICE,))]
        assert own.count("labels") == own.count("known_labels") == 1
        assert not {"candidate", "validation", "choice"} & set(own)
    for row in make(made).rows:
        (cell,) = (cell for cell in made.graph.targets if cell.seed == row.seed)
        (labels,) = (s for s in made.graph.targets[cell].ancestors(without=(CHOICE,)) if s.kind == "labels")
        assert row.seconds["labels"] == round(made.store.manifest(labels.key)["seconds"], 4)
        assert row.seconds["search"] > 0
