"""What a part is: named inputs, fields that are hyper-parameters, and an identity that decides its keys."""

import importlib
import json
from dataclasses import dataclass, fields

import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts.base import Backbone, Labeler, Scorer, Selector
from prunebench.parts.identity import at_defaults, construct, identity, map_parts
from prunebench.parts.method import Method
from prunebench.parts.recipe import Recipe
from prunebench_plugins.backbones.pixels import Pixels
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.top import Top


@dataclass(frozen=True, kw_only=True)
class Near(Scorer):
    name = "near"
    backbone: str | Backbone | tuple[str | Backbone, ...] = "pixels"
    neighbors: int = 5
    weights: tuple[float, ...] = (1.0,)

    def score(self, embeddings, labels=None):
        return embeddings[:, 0]


# Classes


def test_a_part_asking_for_something_else_is_refused_when_its_class_is_made():
    with pytest.raises(TypeError) as error:

        class Peeking(Scorer):
            name = "peeking"

            def score(self, dynamics, truth): ...

    assert str(error.value) == (
        "Peeking.score() asks for ['truth']; a scorer may ask for ['checkpoint', 'classes', 'device', "
        "'dynamics', 'embeddings', 'fingerprint', 'images', 'known_labels', 'labels', 'names', 'progress', "
        "'recipe', 'rng', 'side', 'weights']"
    )


@pytest.mark.parametrize(
    ("kind", "method", "withheld"),
    [(Backbone, "embed", "known_labels"), (Labeler, "label", "labels"), (Scorer, "score", "keep")],
)
def test_an_input_reaches_only_the_kinds_that_may_have_it(kind, method, withheld):
    namespace = {}
    exec(f"def {method}(self, {withheld}): ...", namespace)
    with pytest.raises(TypeError, match=rf"asks for \['{withheld}'\]"):
        type("Peeking", (kind,), {"name": "peeking", method: namespace[method]})


def test_an_overridden_field_needs_its_type():
    with pytest.raises(
        TypeError, match=r"Nearer sets the field 'neighbors' without a type.*neighbors: TYPE = 1"
    ):

        class Nearer(Near):
            neighbors = 1


def test_a_subclass_needs_its_own_dataclass_line():
    class Bare(Near):
        """Fields declared here would silently not exist."""

    with pytest.raises(TypeError, match=r"Bare needs its own @dataclass\(frozen=True, kw_only=True\)"):
        Bare()


def test_a_part_needs_a_name_and_its_method():
    @dataclass(frozen=True, kw_only=True)
    class Nameless(Scorer):
        def score(self, labels): ...

    @dataclass(frozen=True, kw_only=True)
    class Idle(Scorer):
        name = "idle"

    with pytest.raises(TypeError, match="Nameless needs a name"):
        Nameless()
    with pytest.raises(TypeError, match=r"Idle needs a method score\(self, ...\)"):
        Idle()


def test_embeddings_need_a_backbone_field():
    @dataclass(frozen=True, kw_only=True)
    class Rootless(Scorer):
        name = "rootless"

        def score(self, embeddings): ...

    with pytest.raises(TypeError, match="Rootless asks for embeddings, so it needs a field `backbone`"):
        Rootless()


def test_an_argument_with_a_default_is_optional():
    assert Near().needs() == {"embeddings": True, "labels": False}


# Methods


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"scorer": Aum(), "selector": Top()}, "aum asks for dynamics, but the method has no labeler"),
        ({"selector": Top()}, "top asks for scores, but the method has no scorer"),
        ({"selector": Random(per_class=True)}, "per_class needs labels, but the method has no labeler"),
        (
            {"scorer": Near(backbone="proxy"), "selector": Top()},
            "near asks for the embeddings of the proxy network, but the method has no labeler",
        ),
        (
            {"scorer": Near(backbone=("pixels", "proxy")), "selector": Top()},
            "near asks for the embeddings of the proxy network, but the method has no labeler",
        ),
    ],
)
def test_a_method_that_cannot_supply_an_input_is_refused(parts, message):
    with pytest.raises(PrunebenchError) as error:
        Method("m", title="M", **parts)
    assert str(error.value) == f"method 'm': {message}"


def test_a_labeler_cannot_have_the_network_that_trains_on_its_own_labels():
    @dataclass(frozen=True, kw_only=True)
    class Circular(Labeler):
        name = "circular"
        backbone: str = "proxy"

        def label(self, embeddings): ...

    with pytest.raises(PrunebenchError, match="'m': circular asks for the embeddings of the proxy network"):
        Method("m", title="M", labeler=Circular(), selector=Random())


def test_a_methods_annotation_is_its_labelers():
    assert Method("m", title="M", selector=Random()).label_fraction == 0
    assert (
        Method("m", title="M", labeler=NoLabeler(label_fraction=0.1), selector=Random()).label_fraction == 0.1
    )


@dataclass(frozen=True, kw_only=True)
class Heard(Scorer):
    name = "heard"
    label_fraction: float = 1.0

    def score(self, images): ...


@pytest.mark.parametrize(
    ("annotated", "heard", "counted"), [(None, 1, 1), (None, 0, 0), (0.1, 0, 0.1), (0.1, 1, 1), (1, 0, 1)]
)
def test_a_method_rests_on_the_labels_of_the_part_that_rests_on_most(annotated, heard, counted):
    labeler = None if annotated is None else NoLabeler(label_fraction=annotated)
    method = Method("m", title="M", labeler=labeler, scorer=Heard(label_fraction=heard), selector=Top())
    assert method.label_fraction == counted


def test_a_held_part_counts_as_well():
    @dataclass(frozen=True, kw_only=True)
    class Hearsay(Selector):
        name = "hearsay"
        inner: Scorer = Heard()

        def select(self, images, keep): ...

    assert Method("m", title="M", selector=Hearsay()).label_fraction == 1
    assert Method("m", title="M", selector=Hearsay(inner=Heard(label_fraction=0))).label_fraction == 0


def test_only_of_a_labeler_it_is_known_which_few_labels_were_annotated():
    with pytest.raises(PrunebenchError) as error:
        Method("m", title="M", scorer=Heard(label_fraction=0.1), selector=Top())
    assert str(error.value) == (
        "method 'm': heard.label_fraction is 0.1, expected 0 or 1; only a labeler may take part of the labels"
    )


# Construction from plain values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"neighbours": 3}, "no field of near named 'neighbours'. Did you mean 'neighbors'?"),
        ({"neighbors": "3"}, "near.neighbors is '3': input should be a valid integer"),
        ({"neighbors": 3.5}, "near.neighbors is 3.5: "),
        ({"neighbors": True}, "near.neighbors is True: input should be a valid integer"),
        ({"weights": 1.0}, "near.weights is 1.0: "),
    ],
)
def test_a_wrong_value_is_named(values, message):
    with pytest.raises(PrunebenchError) as error:
        construct(Near, values, "near")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_list_is_a_tuple_and_a_whole_number_a_float():
    assert construct(Near, {"weights": [1, 2]}, "near").weights == (1.0, 2.0)


def test_a_missing_value_is_named():
    with pytest.raises(PrunebenchError, match="recipe needs a value for 'epochs'"):
        construct(Recipe, {"network": "cnn"}, "recipe")


def test_fields_at_their_default():
    assert at_defaults(Near(neighbors=3)) == {"backbone", "weights"}


# Identity


def test_identity_is_json_and_nests():
    part = Near(backbone=(Pixels(), Pixels(components=2)), weights=(0.5,))
    found = json.loads(json.dumps(identity(part)))
    pixels = {"part": "pixels", "kind": "backbone", "version": 1}
    assert found["fields"] == {
        "backbone": [pixels | {"fields": {"resize": None, "components": c}} for c in (None, 2)],
        "neighbors": 5,
        "weights": [0.5],
    }


def test_only_parts_of_others_carry_their_code():
    assert "code" in identity(Near())
    assert "code" not in identity(Pixels())


SOURCE = '''
from dataclasses import dataclass, fields
from prunebench import Scorer

@dataclass(frozen=True, kw_only=True)
class Theirs(Scorer):
    """A docstring."""
    name = "theirs"

    def score(self, labels):
        return labels + 1
'''


@pytest.mark.parametrize(
    ("edit", "same"),
    [
        (("labels + 1", "labels + 2"), False),
        (("A docstring.", "Another."), True),
        (("return labels", "# why\n        return labels"), True),
    ],
)
def test_an_edit_changes_the_identity_but_a_comment_does_not(tmp_path, monkeypatch, edit, same):
    monkeypatch.syspath_prepend(tmp_path)
    codes = []
    for version, source in enumerate([SOURCE, SOURCE.replace(*edit)]):
        name = f"{tmp_path.name}_{version}"  # two names, for a process reads a module once
        (tmp_path / f"{name}.py").write_text(source)
        codes.append(identity(importlib.import_module(name).Theirs())["code"])
    assert (codes[0] == codes[1]) is same


def test_map_parts_visits_held_parts_first():
    seen = []
    map_parts(Near(backbone=Pixels()), lambda part: seen.append(part.name) or part)
    assert seen == ["pixels", "near"]


# Recipes


@pytest.mark.parametrize(("ratio", "batch"), [(0, 128), (79, 128), (80, 64), (89, 64), (90, 32), (99, 32)])
def test_the_batch_shrinks_with_the_ratio(ratio, batch):
    assert Recipe(network="cnn", epochs=1, batch=128).at(ratio).batch == batch


@pytest.mark.parametrize("ratio", [0, 80, 90])
@pytest.mark.parametrize("batch", range(1, 9))
def test_a_small_batch_does_not_shrink_to_one_image(ratio, batch):
    shrunk = Recipe(network="cnn", epochs=1, batch=batch).at(ratio).batch
    assert min(2, batch) <= shrunk <= batch
    if batch == 8:
        assert shrunk == {0: 8, 80: 4, 90: 2}[ratio]


def test_every_field_of_a_recipe_is_in_its_identity_as_json():
    every = {field.name for field in fields(Recipe)}
    other = Recipe(network="cnn", epochs=1, final_network="resnet8").identity()
    tuned = Recipe(network="cnn", epochs=1, final_backbone="pixels", finetune=True).identity()
    looked = Recipe(network="cnn", epochs=1, evaluate_steps=800).identity()
    assert {*other, *tuned, *looked} == every
    recipe = Recipe(network="cnn", epochs=1, side=224, resized_crop=(0.08, 1.0))
    assert recipe.identity()["resized_crop"] == [0.08, 1.0]
    assert construct(Recipe, recipe.identity(), "recipe") == recipe


def test_fields_that_came_later_are_in_no_key_of_what_was_made_before_them():
    every = {field.name for field in fields(Recipe)}
    absent = every - set(Recipe(network="cnn", epochs=1).identity())
    assert absent == {"final_network", "finetune", "evaluate_steps"}


def test_proxy_and_final_networks_may_train_for_a_different_number_of_steps():
    recipe = Recipe(network="cnn", epochs=90, final_iterations=300, proxy_backbone="pixels")
    assert (recipe.proxy().iterations, recipe.proxy().final_iterations) == (None, None)
    assert recipe.proxy().proxy_backbone == "pixels"
    final = recipe.final()
    assert (final.iterations, final.final_iterations, final.proxy_backbone) == (300, None, None)
    plain = Recipe(network="cnn", epochs=90, iterations=7)
    assert plain.proxy() == plain.final() == plain


def test_what_is_seen_of_an_image_is_a_square_within_it():
    assert Recipe(network="cnn", epochs=1).seen(40) == 40
    assert Recipe(network="cnn", epochs=1, side=32).seen(40) == 32
    assert Recipe(network="cnn", epochs=1, side=64, resized_crop=(0.5, 1.0)).seen(40) == 64
    with pytest.raises(PrunebenchError, match=r"recipe\.side is 64, but the images have 40 pixels"):
        Recipe(network="cnn", epochs=1, side=64).seen(40)


def test_a_batch_that_is_not_to_shrink_stays():
    assert Recipe(network="cnn", epochs=1, batch=128, shrink_batch=False).at(90).batch == 128


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "recipe.epochs is 0, expected above 0"),
        ({"warmup": 1.0}, "recipe.warmup is 1.0, expected in 0..1"),
        ({"padding": "mirror"}, "recipe.padding is 'mirror', expected 'reflect' or 'zero'"),
        ({"iterations": 0}, "recipe.iterations is 0, expected above 0"),
        ({"side": 0}, "recipe.side is 0, expected above 0"),
        ({"final_iterations": -1}, "recipe.final_iterations is -1, expected above 0"),
        (
            {"resized_crop": (0.0, 1.0)},
            "recipe.resized_crop is (0.0, 1.0), expected (least, most) share of the area, in 0..1",
        ),
        (
            {"resized_crop": (0.5, 0.4)},
            "recipe.resized_crop is (0.5, 0.4), expected (least, most) share of the area, in 0..1",
        ),
        (
            {"resized_crop": (0.5, 1.0), "crop": 4},
            "recipe.crop is 4, expected 0 beside recipe.resized_crop, which crops too",
        ),
    ],
)
def test_an_impossible_recipe_is_refused(values, message):
    with pytest.raises(PrunebenchError) as error:
        Recipe(**{"network": "cnn", "epochs": 1} | values)
    assert str(error.value) == message
