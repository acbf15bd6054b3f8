"""The shipped recipes: their tables are those of parts that exist, and `paper` is as the paper has it."""

from __future__ import annotations

import csv
from dataclasses import asdict
from typing import Any

import pytest

from prunebench.nn.networks import names
from prunebench.parts.identity import construct
from prunebench.parts.recipe import Recipe
from prunebench.parts.registry import load
from prunebench.suites import recipes
from prunebench.suites.resources import shipped

TABLES = [(name, dataset) for name, tables in recipes.recipe_table().items() for dataset in tables]
PAPER = recipes.recipe_table()["paper"]
# Training images, the published splits; of caltech101 and sun397 the chosen ones.
IMAGES = {
    "food101": 75_750,
    "sun397": 76_128,
    "caltech101": 6_941,
    "tiny_imagenet": 100_000,
    "imagenet1k": 1_281_167,
}


def table(dataset: str, part: str, name: str = "paper") -> Any:
    """Return a part with the fields that a recipe gives it."""
    registry = load()
    kind = next(kind for kind, known in registry.owners if known == part and kind != "methods")
    given = {"part": part} | recipes.recipe_table()[name][dataset].get(part, {})
    return registry.part(kind.removesuffix("s"), given)


def recipe(dataset: str, name: str = "paper") -> Recipe:
    own = {k: v for k, v in recipes.recipe_table()[name][dataset].items() if not isinstance(v, dict)}
    return construct(Recipe, own, f"recipe {name} for {dataset}")


@pytest.mark.parametrize(("name", "dataset"), TABLES)
def test_every_table_makes_a_recipe_and_parts(name: str, dataset: str) -> None:
    assert recipe(dataset, name).network in names()
    for part, given in recipes.recipe_table()[name][dataset].items():
        if isinstance(given, dict):
            assert table(dataset, part, name).name == part
            assert given.get("network", "cnn") in names()


def test_the_seven_datasets_of_the_paper_have_a_recipe() -> None:
    assert set(PAPER) == {"cifar10", "cifar100", *IMAGES}


@pytest.mark.parametrize(
    ("datasets", "expected"),
    [
        (("cifar10", "cifar100"), ("resnet18_cifar", 200, 128, True, 5e-4, None, None, (64, 32))),
        (
            ("food101", "sun397", "caltech101"),
            ("resnet18", 200, 128, False, 1e-4, 224, (0.08, 1.0), (64, 32)),
        ),
        (("tiny_imagenet",), ("resnet34", 90, 256, False, 1e-4, None, (0.08, 1.0), (128, 64))),
        (("imagenet1k",), ("resnet34", 90, 256, False, 1e-4, 224, (0.08, 1.0), (256, 256))),
    ],
)
def test_networks_train_as_in_table_8(datasets: tuple[str, ...], expected: tuple) -> None:
    for dataset in datasets:
        own = recipe(dataset)
        batches = tuple(own.at(ratio).batch for ratio in (80, 90))
        assert expected == (
            *(own.network, own.epochs, own.batch, own.nesterov, own.weight_decay, own.side, own.resized_crop),
            batches,
        )
        assert (own.lr, own.final_lr, own.momentum, own.warmup, own.flip) == (0.1, 1e-4, 0.9, 0, True)
        assert own.evaluate_steps == (5_000 if dataset == "imagenet1k" else 800)
        steps = 300_000 if dataset == "imagenet1k" else None
        assert (own.proxy().iterations, own.final().iterations) == (None, steps)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_steps_trains_every_subset_as_long_and_is_else_as_the_paper(dataset: str) -> None:
    own, paper = recipe(dataset, "steps"), recipe(dataset)
    assert {(own.at(ratio).batch, own.final().at(ratio).iterations) for ratio in (0, 50, 90)} == {
        (256, 40_000)
    }
    assert (own.proxy().epochs, own.proxy().iterations) == (200, None)
    unlike = {"batch", "shrink_batch", "final_iterations"}
    assert {name for name, value in asdict(own).items() if value != asdict(paper)[name]} == unlike
    parts = ("beta", "dual", "fixmatch", "swav", "temi")
    assert all(table(dataset, part, "steps") == table(dataset, part) for part in parts)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("cifar10", ("wrn_28_2", 100, 64, 7, 5e-4)),
        ("cifar100", ("wrn_28_8", 100, 64, 7, 1e-3)),
        ("food101", ("resnet50", 50, 64, 1, 5e-4)),
        ("sun397", ("resnet50", 50, 64, 1, 5e-4)),
        ("caltech101", ("resnet50", 100, 64, 1, 5e-4)),
        ("tiny_imagenet", ("resnet50", 50, 128, 1, 5e-4)),
        ("imagenet1k", ("resnet50", 100, 128, 1, 3e-4)),
    ],
)
def test_fixmatch_trains_as_in_table_7(dataset: str, expected: tuple) -> None:
    part = table(dataset, "fixmatch")
    assert expected == (part.network, part.epochs, part.batch, part.mu, part.weight_decay)
    assert (part.threshold, part.lr, part.ema, part.ema_warmup) == (0.95, 0.03, 0.999, False)


def test_swav_trains_as_long_as_the_published_one() -> None:
    with (shipped() / "published" / "labeler_cost_a6000.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["labeler"] == "swav"]
    assert len(rows) == 5
    for row in rows:
        assert table(row["dataset"], "swav").epochs == int(row["epochs"])


@pytest.mark.parametrize("dataset", IMAGES)
def test_the_prototypes_of_swav_rest_for_one_epoch_and_its_crops_are_whole_pixels(dataset: str) -> None:
    part = table(dataset, "swav")
    assert part.freeze_steps == IMAGES[dataset] // part.batch
    seen = recipe(dataset).side or 64
    sides = [round(side * seen) for _, side, _, _ in part.crops]
    assert sides == ([64, 32] if seen == 64 else [224, 96])


@pytest.mark.parametrize("dataset", recipes.recipe_table()["finetune"])
def test_finetune_is_frozen_but_for_how_networks_train(dataset: str) -> None:
    frozen, tuned = (recipes.recipe_table()[name][dataset] for name in ("frozen", "finetune"))
    unlike = {"finetune", "lr", "batch", "weight_decay", "resized_crop", "flip"}
    assert {name for name in tuned if tuned[name] != frozen.get(name)} <= unlike
    assert recipe(dataset, "finetune").finetune and not recipe(dataset, "frozen").finetune
    assert table(dataset, "efficientnet_lite0", "finetune").side >= 128


@pytest.mark.parametrize("dataset", PAPER)
def test_dual_and_beta_look_at_the_same_epochs_and_these_are_recorded(dataset: str) -> None:
    dual, beta = table(dataset, "dual"), table(dataset, "beta")
    assert dual.epochs == beta.epochs <= recipe(dataset).epochs
