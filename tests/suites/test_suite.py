"""From a suite file and the user's filters to cells in which every value is resolved."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from prunebench.cli.options import numbers, split
from prunebench.errors import PrunebenchError
from prunebench.parts import registry
from prunebench.parts.base import Scorer
from prunebench.parts.dataset import Dataset
from prunebench.parts.method import Method
from prunebench.parts.recipe import Recipe
from prunebench.runs import pages
from prunebench.suites import recipes, resolve, schema
from prunebench.suites.cells import Filters
from prunebench.suites.exams import Exams
from prunebench.suites.resolve import parse_change
from prunebench.suites.schema import Suite, SuiteFile
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.scorers.el2n import El2n
from prunebench_plugins.selectors.beta import Beta
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.top import Top

BASE = """
title = "Mine"
datasets = ["digits"]
methods = ["random", "dual"]
references = ["full"]
ratios = [30, 90]
seeds = 2
recipe = "tiny"
"""


SEEDS = "toys.toml: seeds: seeds are a count from 1, or a list of numbers from 0, all below 10000"


RUNGS = "toys.toml: repeats: a seed repeats one of pipeline, labeler, proxy, training, or a list of them"


@pytest.fixture
def cells(suite_file):
    """cells(text, methods=..., ...) reads a suite and returns its cells under these filters."""

    def found(text=BASE, **filters):
        return resolve.cells(schema.read(suite_file(text)), Filters(**filters), registry.load())

    return found


def test_cells_of_several_rungs_have_names_of_their_own(cells):
    found = cells(f'{BASE}repeats = ["pipeline", "training"]\n', methods=["random"], ratios=[30], seeds=[1])
    assert [cell.name for cell in found] == [
        "random digits 30% seed 1",
        "random digits 30% seed 1 of training",
    ]


def test_a_rung_may_be_chosen_and_is_a_known_one(cells):
    text = f'{BASE}repeats = ["pipeline", "training"]\n'
    assert {cell.repeats for cell in cells(text, repeats="proxy")} == {"proxy"}
    assert refusal(cells, text, repeats="trainin") == (
        "no rung named 'trainin'. Did you mean 'training'? See: docs/statistics.md"
    )


def refusal(function, *arguments, **options):
    with pytest.raises(PrunebenchError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# Files


def test_the_cells_of_a_suite_in_the_order_of_its_lists_seed_by_seed(cells):
    assert [cell.name for cell in cells()] == [
        "random digits 30% seed 0",
        "random digits 90% seed 0",
        "random digits 30% seed 1",
        "random digits 90% seed 1",
        "dual digits 30% seed 0",
        "dual digits 90% seed 0",
        "dual digits 30% seed 1",
        "dual digits 90% seed 1",
        "full digits 0% seed 0",  # pinned to its ratio
        "full digits 0% seed 1",
    ]


def test_several_rungs_each_have_all_seeds(cells):
    found = cells(f'{BASE}repeats = ["proxy", "training"]', methods=["dual"], ratios=[30])
    assert [(cell.repeats, cell.seed) for cell in found] == [
        *(("proxy", 0), ("proxy", 1), ("training", 0), ("training", 1)),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ratio = [30]", "no key in toys.toml named 'ratio'. Did you mean 'ratios'? See: docs/suites.md"),
        ("recipe = 1", "toys.toml: recipe.str: Input should be a valid string (it is 1)"),
        ('ratios = ["30"]', "toys.toml: ratios.0: Input should be a valid integer (it is '30')"),
        ("ratios = [100]", "toys.toml: ratios: 100 is no percentage pruned: 0 to 99 (it is [100])"),
        ("seeds = 0", f"{SEEDS} (it is 0)"),
        ("seeds = []", f"{SEEDS} (it is [])"),
        ("seeds = [0, -1]", f"{SEEDS} (it is [0, -1])"),
        ("seeds = 1000000", f"{SEEDS} (it is 1000000)"),
        ("seeds = [0, 10000]", f"{SEEDS} (it is [0, 10000])"),
        ("title = 3", "toys.toml: title: Input should be a valid string (it is 3)"),
        ('repeats = "all"', f"{RUNGS} (it is 'all')"),
        ('repeats = ["proxy", "all"]', f"{RUNGS} (it is ['proxy', 'all'])"),
        ("repeats = []", f"{RUNGS} (it is [])"),
        ('[method."a/b"]', "toys.toml: method: 'a/b' cannot be a name"),
        ('[dataset."../x"]', "toys.toml: dataset: '../x' cannot be a name"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_file(suite_file, line, message):
    key = line.partition(" ")[0]
    others = "\n".join(row for row in BASE.splitlines() if not row.startswith(f"{key} "))
    assert refusal(schema.read, suite_file(f"{others}\n{line}\n")).startswith(message)


def test_a_file_that_is_not_toml_is_named_with_the_line(suite_file):
    assert "toys.toml: Expected '=' after a key" in refusal(schema.read, suite_file("title\n"))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("9" * 5000, "a number has thousands of digits"),
        ("[" * 100_000, "too many nested brackets"),
    ],
    ids=["digits", "brackets"],
)
def test_what_is_too_much_to_hold_is_one_line(suite_file, value, reason):
    assert refusal(schema.read, suite_file(f"seeds = {value}\n")).endswith(f"toys.toml: {reason}")
    assert refusal(parse_change, f"recipe.epochs={value}") == f"--set recipe.epochs: {reason}"


def test_a_byte_order_mark_is_passed_over(suite_file):
    assert schema.read(suite_file(f"\ufeff{BASE}")).file.title == "Mine"


def test_an_unknown_suite_is_answered_with_what_exists():
    assert refusal(schema.read, "quickstat") == (
        "no suite named 'quickstat'. Did you mean 'quickstart'? See: prunebench list suites"
    )
    assert refusal(schema.read, "mine.toml") == (
        "suite file mine.toml does not exist. Shipped suites: cifar10_short, cifar10_small, cost, "
        "equal_compute, label_budget, order, paper_corruption, paper_domain, paper_long_tailed, "
        "paper_standard, pseudo_labels, quickstart, real, same_budget, scorer_ablation, shift, small, "
        "small_all, small_scorers, small_tuned, spread, standard, transfer"
    )


def test_extends_takes_what_it_does_not_say_from_another(suite_file):
    file = schema.read(suite_file('extends = "quickstart"\nratios = [50]\n')).file
    assert (file.datasets, file.ratios, file.seeds) == (["digits"], [50], 3)


def test_equal_compute_has_both_randoms_of_a_method_that_needs_some_labels():
    found = resolve.cells(schema.read("equal_compute"), Filters(), registry.load())
    twins = {
        (cell.method.matched_to.name, cell.method.matched_in) for cell in found if cell.method.matched_to
    }
    few = {"semi_aum", "semi_dual", "probe_aum", "score_extrapolation"}
    assert {name for name, unit in twins if unit == "labels"} == few
    assert few < {name for name, unit in twins if unit == "work"}


def test_extends_another_file_beside_it(suite_file):
    suite_file(BASE, "base.toml")
    assert schema.read(suite_file('extends = "base.toml"\nseeds = 7\n')).file.seeds == 7


def test_suites_that_extend_each_other_are_refused(suite_file):
    suite_file('extends = "toys.toml"\n', "other.toml")
    path = suite_file('extends = "other.toml"\n')
    assert refusal(schema.read, path) == "toys.toml extends itself: toys.toml -> other.toml -> toys.toml"
    assert refusal(schema.read, suite_file('extends = "toys.toml"\n')).startswith("toys.toml extends itself")


@pytest.mark.parametrize("name", schema.names())
def test_every_shipped_suite_makes_its_cells(name):
    assert resolve.cells(schema.read(name), Filters(), registry.load())


# Filters


def test_filters_replace_the_lists_of_the_suite(cells):
    found = cells(methods=["random"], datasets=["digits_lt"], ratios=[70], seeds=[3])
    assert [cell.name for cell in found] == ["random digits_lt 70% seed 3"]


def test_what_is_named_twice_is_one_cell(cells):
    assert len(cells(methods=["random", "random"], ratios=[30, 30], seeds=[0, 0])) == 1


def test_references_come_along_unless_methods_were_chosen(cells):
    assert {cell.method.name for cell in cells(methods=["all"])} == {"random", "dual", "full"}
    assert {cell.method.name for cell in cells(methods=["dual"])} == {"dual"}


@pytest.mark.parametrize(("text", "seeds"), [("3", [3]), ("0,3", [0, 3]), (" 1 , 2 ", [1, 2]), (None, None)])
def test_numbers_with_commas(text, seeds):
    assert numbers("--seeds", text, 10) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "10", "1.5", ",", "²", "9" * 5000])
def test_other_numbers_are_refused(text):
    assert refusal(numbers, "--seeds", text, 10) == (
        f"--seeds {text!r}: expected whole numbers from 0 to 9, with commas"
    )


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"methods": ["dul"]}, "no method named 'dul'. Did you mean 'dual'? See: prunebench list methods"),
        ({"datasets": ["digit"]}, "no dataset named 'digit'. Did you mean 'digits'?"),
        ({"recipe": "tinny"}, "no recipe named 'tinny'. Did you mean 'tiny'?"),
        ({"changes": {"dual.windw": 5}}, "no field of dual named 'windw'. Did you mean 'window'?"),
        ({"changes": {"dual.window": "5"}}, "dual.window is '5': input should be a valid integer"),
        ({"changes": {"recipe.lr": float("inf")}}, "recipe.lr is inf: out of range float values"),
        ({"changes": {"recipe.lr": float("nan")}}, "recipe.lr is nan: out of range float values"),
        ({"changes": {"dual.exponent": float("-inf")}}, "dual.exponent is -inf: out of range float values"),
        ({"changes": {"aum.x": 5}}, "--set aum.x: no chosen method has such a part."),
        ({"changes": {"recipe.epoch": 5}}, "no field of recipe named 'epoch'. Did you mean 'epochs'?"),
        ({"changes": {"recipe.epochs": 0}}, "recipe.epochs is 0, expected above 0"),
    ],
)
def test_a_filter_that_fits_nothing_is_named(cells, filters, message):
    assert refusal(cells, **filters).startswith(message)


# Variants


def test_set_makes_a_variant_with_its_own_name(cells):
    found = {cell.method.name: cell.method for cell in cells(changes={"dual.window": 5})}
    assert list(found) == ["random", "dual{dual.window=5}", "full"]  # touches what has the part alone
    assert found["dual{dual.window=5}"].scorer == Dual(window=5)
    assert found["dual{dual.window=5}"].title == "DUAL+Beta (all labels){dual.window=5}"


def test_a_variant_has_one_name_in_whatever_order_its_changes_are_given(cells):
    changes = {"dual.window": 5, "dual.epochs": 20}
    orders = (changes, dict(reversed(changes.items())))
    names = [{cell.method.name for cell in cells(changes=order)} for order in orders]
    assert names[0] == names[1]


def test_a_changed_recipe_is_a_variant_of_every_method(cells):
    found = cells(changes={"recipe.epochs": 7})
    assert {cell.recipe.epochs for cell in found} == {7}
    assert found[0].method.name == "random{recipe.epochs=7}"


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("dual.window=5", ("dual.window", 5)),
        ("recipe.lr=0.01", ("recipe.lr", 0.01)),
        ("el2n.mode=mean", ("el2n.mode", "mean")),
        ("temi.backbone=['a', 'b']", ("temi.backbone", ["a", "b"])),
    ],
)
def test_a_change_is_read_as_toml_or_else_as_text(text, change):
    assert parse_change(text) == change


@pytest.mark.parametrize("text", ["dual", "window=5", "=5", "dual.=5"])
def test_a_change_that_names_no_field_is_refused(text):
    assert refusal(parse_change, text) == (
        f"--set {text!r}: write it as PART.field=value or recipe.field=value"
    )


# Recipes


@dataclass(frozen=True, kw_only=True)
class Birds(Dataset):
    name: str = "birds"
    lineage = ("birds_lt", "birds")


def test_a_recipe_without_the_dataset_names_those_that_have_it():
    assert refusal(recipes.recipe_for, "tiny", Birds()) == (
        "recipe 'tiny' has no entry for dataset 'birds'. Recipes that have: none; see docs/suites.md"
    )


def test_a_recipe_is_that_of_the_nearest_ancestor(monkeypatch):
    entry = {"network": "cnn", "epochs": 3}
    monkeypatch.setattr(recipes, "recipe_table", lambda: {"tiny": {"birds": entry}, "paper": {}})
    assert recipes.recipe_for("tiny", Birds()) == (Recipe(network="cnn", epochs=3), {})
    assert refusal(recipes.recipe_for, "paper", Birds()) == (
        "recipe 'paper' has no entry for dataset 'birds'. Recipes that have: tiny"
    )


def test_a_recipe_fills_in_only_the_fields_at_their_default(monkeypatch):
    entry = {"network": "cnn", "epochs": 3, "dual": {"window": 2, "epochs": 3}}
    monkeypatch.setattr(recipes, "recipe_table", lambda: {"tiny": {"digits": entry}})
    file = SuiteFile(
        title="T",
        datasets=["digits"],
        recipe="tiny",
        methods=["plain", "short"],
        method={
            "plain": {"labeler": "ground_truth", "scorer": "dual", "selector": "beta"},
            "short": {"labeler": "ground_truth", "scorer": {"part": "dual", "window": 3}, "selector": "beta"},
        },
    )
    found = resolve.cells(Suite("s", file, None), Filters(changes={"dual.exponent": 2.0}), registry.load())
    scorers = {cell.method.name.partition("{")[0]: cell.method.scorer for cell in found}
    assert scorers == {
        "plain": Dual(window=2, epochs=3, exponent=2.0),
        "short": Dual(window=3, epochs=3, exponent=2.0),
    }


def test_a_suite_may_name_a_recipe_for_each_dataset(cells):
    text = BASE.replace('recipe = "tiny"', 'recipe = {digits = "tiny", default = "paper"}')
    assert {cell.recipe_name for cell in cells(text)} == {"tiny"}


# Tables of a suite


def test_a_method_may_be_written_in_the_suite(cells):
    text = BASE.replace('"random", "dual"', '"mine"') + (
        '[method.mine]\nlabeler = {part = "none", label_fraction = 0.1}\nscorer = "el2n"\nselector = "top"\n'
    )
    assert cells(text)[0].method == Method(
        "mine", title="mine", labeler=NoLabeler(label_fraction=0.1), scorer=El2n(), selector=Top()
    )


def test_a_suite_says_how_labels_are_drawn_that_are_drawn_at_all(cells):
    text = BASE.replace('"random", "dual"', '"none", "few", "all", "told"') + "".join(
        f'[method.{name}]\nlabeler = {labeler}\nscorer = "aum"\nselector = "top"\n'
        for name, labeler in {
            "none": '{part = "none"}',
            "few": '{part = "none", label_fraction = 0.1}',
            "all": '"ground_truth"',
            "told": '{part = "none", label_fraction = 0.1, sampling = "stratified"}',
        }.items()
    )
    drawn = {
        cell.method.name: cell.method.labeler.sampling
        for cell in cells(
            text.replace("recipe =", 'label_draw = "class_balanced"\nrecipe ='),
            methods=["none", "few", "all", "told"],
        )
    }
    assert drawn == {"none": "uniform", "few": "class_balanced", "all": "uniform", "told": "stratified"}
    changed = cells(
        text.replace("recipe =", 'label_draw = "class_balanced"\nrecipe ='),
        methods=["few"],
        changes={"none.sampling": "uniform"},
    )
    assert {cell.method.labeler.sampling for cell in changed} == {"uniform"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('selektor = "top"', "no key of method mine named 'selektor'. Did you mean 'selector'?"),
        ('scorer = "dual"\nlabeler = "none"', "method 'mine' in suite 'toys' needs a selector"),
        ('selector = "topp"', "no selector named 'topp'. Did you mean 'top'?"),
        ('selector = {part = "top", first = 1}', "no field of top named 'first'."),
        ("selector = 3", "a selector is written as a name or as {part = NAME, ...}, not 3"),
        ('selector = ["random"]', "a selector is written as a name or as {part = NAME, ...}, not ['random']"),
        (
            "selector = {part = 3}",
            "a selector is written as a name or as {part = NAME, ...}, not {'part': 3}",
        ),
        ('selector = "top"\ntitle = 3', "title of method 'mine' in suite 'toys' is 3, not text"),
        (
            'selector = {part = "random", stream = {part = "x"}}',
            "random.stream is {'part': 'x'}: input should",
        ),
    ],
)
def test_a_mistaken_method_is_named(cells, table, message):
    text = BASE.replace('"random", "dual"', '"mine"') + f"[method.mine]\n{table}\n"
    assert refusal(cells, text).startswith(message)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[method.random]", "[method.random] of toys.toml: 'random' is another of the methods already"),
        ("[dataset.digits]", "[dataset.digits] of toys.toml: 'digits' is another of the datasets already"),
        (
            "[method.random_matched]",
            "[method.random_matched] of toys.toml: 'random_matched' is another of the",
        ),
    ],
)
def test_a_table_has_no_name_that_something_else_has(cells, table, message):
    assert refusal(cells, f"{BASE}{table}\n").startswith(message)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_a_number_that_is_none_is_refused(cells, value):
    changes = dict([parse_change(f"recipe.lr={value}")])
    assert refusal(cells, changes=changes).startswith(f"recipe.lr is {value}: out of range")


def test_a_folder_of_images_may_be_written_in_the_suite(cells, tmp_path):
    for name in ("cat", "dog"):
        for part in ("train", "test"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
    text = BASE.replace('"digits"', '"pets"') + "[dataset.pets]\nside = 32\n"
    photos = str(tmp_path / "photos")
    dataset = cells(f'{text}folder = "{photos}"\n')[0].dataset
    assert (dataset.name, dataset.side, dataset.path) == ("pets", 32, photos)
    assert refusal(cells, text) == (
        "[dataset.pets] needs `folder = PATH` and `side = PIXELS`, or `of = NAME`"
    )


def test_a_dataset_may_be_another_one_with_fields_changed(cells):
    text = BASE.replace('"digits"', '"few"').replace('"tiny"', '"paper"')
    table = '[dataset.few]\nof = "cifar10"\ntrain_per_class = 5\n'
    cell = cells(text + table)[0]
    assert (cell.dataset.name, cell.dataset.train_per_class) == ("few", 5)
    assert cell.recipe.network == "resnet18_cifar"  # by the usual name of such a dataset
    assert refusal(cells, text + table.replace("train_per", "trian_per")).startswith(
        "no field of dataset cifar10 named 'trian_per_class'. Did you mean 'train_per_class'?"
    )


@pytest.mark.parametrize("table", ["of = 3", 'of = ["digits"]'])
def test_a_dataset_that_is_no_name_is_named(cells, table):
    text = BASE.replace('"digits"', '"few"') + f"[dataset.few]\n{table}\n"
    assert refusal(cells, text).endswith(" is neither a name nor FAMILY:PATH@PIXELS")


def test_what_becomes_of_bad_images_is_a_field_of_the_dataset(cells):
    text = BASE.replace('"tiny"', '"paper"')
    assert cells(text, datasets=["food101"], on_bad="skip")[0].dataset.on_bad == "skip"
    assert refusal(cells, text, datasets=["digits"], on_bad="skip").startswith("no field of dataset digits")


# What a row's method means


def method_key(cell, **changes):
    return replace(cell, **changes).method_key


def test_the_method_key_is_the_same_at_every_ratio_and_seed(cells):
    assert len({cell.method_key for cell in cells(methods=["dual"])}) == 1


def test_the_method_key_changes_with_part_recipe_and_repeats(cells):
    cell = cells(methods=["dual"])[0]
    method = cell.method
    assert method_key(cell) == cell.method_key
    assert method_key(cell, method=replace(method, title="Other")) == cell.method_key
    changed = {
        method_key(cell, method=replace(method, scorer=Dual(window=5))),
        method_key(cell, method=replace(method, labeler=GroundTruth(label_fraction=0.5))),
        method_key(cell, method=replace(method, selector=Beta(per_class=not method.selector.per_class))),
        method_key(cell, recipe=replace(cell.recipe, epochs=7)),
        method_key(cell, repeats="training"),
        method_key(cell, exams=Exams(tests=("shift",))),
        method_key(cell, exams=Exams(networks=("resnet8", "resnet20"))),
    }
    assert len(changed - {cell.method_key}) == 7
    other_order = method_key(cell, exams=Exams(networks=("resnet20", "resnet8")))
    assert other_order in changed


def test_random_matched_stands_beside_every_method_that_buys_some_labels(cells, offer):
    @dataclass(frozen=True, kw_only=True)
    class Near(Scorer):
        name = "near"

        def score(self, labels): ...

    few = Method("few", title="Few", labeler=NoLabeler(label_fraction=0.1), scorer=Near(), selector=Top())
    offer(Near, few)
    text = BASE.replace('"dual"', '"dual", "few"').replace('"full"', '"random_matched"')
    matched = [cell.method for cell in cells(text, ratios=[30], seeds=[0])][-1]
    assert (matched.name, matched.matched_to, matched.selector) == ("random_matched{few}", few, Random())


def test_commas_inside_a_variants_name_do_not_part_names():
    assert split("random, dual{dual.epochs=12,dual.window=5},") == [
        "random",
        "dual{dual.epochs=12,dual.window=5}",
    ]
    assert split(None) is None


# Variants: a row tells what concerns its own method


def current(suite_file, *methods, references=(), **changes):
    """Return for each method of a run whether its row still follows from the suite, and its changes."""
    chosen, known = schema.read(suite_file(BASE)), registry.load()
    filters = Filters(methods=[*methods, *references], ratios=[90], seeds=[0], changes=changes["changes"])
    found = resolve.cells(chosen, filters, known)
    rows = [
        SimpleNamespace(
            method=cell.method.name,
            matched_to=cell.method.matched_to and cell.method.matched_to.name,
            matched_in=cell.method.matched_in,
            dataset="digits",
            recipe="tiny",
            tuning="default",
            repeats=cell.repeats,
            ratio=cell.ratio,
            seed=cell.seed,
            changes=cell.changes,
        )
        for cell in found
    ]
    today = pages.cells_today(rows, chosen, known)
    stale = [
        row.method
        for row, cell in zip(rows, found, strict=True)
        if today[_place(row)].method_key != cell.method_key
    ]
    return {row.method: dict(row.changes) for row in rows}, stale


def _place(row):
    return row.method, row.dataset, row.recipe, row.tuning, row.repeats


def test_a_change_of_one_method_is_in_no_row_of_another(suite_file):
    changes, stale = current(suite_file, "random", "el2n_supervised", changes={"el2n.stop": 5})
    assert changes == {"random": {}, "el2n_supervised{el2n.stop=5}": {"el2n.stop": 5}}
    assert not stale


def test_changes_of_two_methods_are_each_in_their_own_row(suite_file):
    made = {"el2n.stop": 5, "dual.window": 2}
    changes, stale = current(suite_file, "el2n_supervised", "dual", changes=made)
    assert changes == {
        "el2n_supervised{el2n.stop=5}": {"el2n.stop": 5},
        "dual{dual.window=2}": {"dual.window": 2},
    }
    assert not stale


def test_a_change_of_the_recipe_is_in_every_row_references_too(suite_file):
    changes, stale = current(suite_file, "random", "full", changes={"recipe.epochs": 2})
    assert changes == {
        name: {"recipe.epochs": 2} for name in ("random{recipe.epochs=2}", "full{recipe.epochs=2}")
    }
    assert not stale


def test_a_matched_random_has_the_changes_of_the_method_it_stands_beside(suite_file):
    made = {"fixmatch.epochs": 2, "dual.window": 2}
    changes, stale = current(suite_file, "semi_aum", "dual", "random", "random_matched", changes=made)
    assert changes == {
        "semi_aum{fixmatch.epochs=2}": {"fixmatch.epochs": 2},
        "dual{dual.window=2}": {"dual.window": 2},
        "random": {},
        "random_matched{semi_aum{fixmatch.epochs=2}}": {"fixmatch.epochs": 2},
    }
    assert not stale


def test_a_change_of_the_proxys_backbone_concerns_whoever_trains_a_proxy(suite_file):
    made = {"recipe.proxy_backbone": "pixels", "pixels.components": 4}
    changes, stale = current(suite_file, "random", "el2n_supervised", changes=made)
    assert [sorted(found) for found in changes.values()] == [
        ["recipe.proxy_backbone"],
        ["pixels.components", "recipe.proxy_backbone"],
    ]
    assert not stale
