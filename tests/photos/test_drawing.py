"""Which photos to label first, by looking at them: exact numbers, embedded once, and mistakes in one line."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts import seeds
from prunebench.parts.artefacts import Embeddings
from prunebench.parts.base import Draw
from prunebench.photos.drawing import DrawRequest, DrawWork
from prunebench.photos.prune import draw, drawn, prune
from prunebench.photos.request import Work, Workspace, construct_request
from prunebench.pipeline import context
from prunebench.pipeline.stage import closure
from prunebench_plugins.backbones.pixels import Pixels
from prunebench_plugins.draws.typiclust import TypiClust
from tests.photo_folders import listing, write_labels, write_photos

WAYS = ("kcenter", "probcover", "typiclust", "usl")


@pytest.fixture
def photos(tmp_path):
    """60 photos, and `draw(labels)` by embeddings of their pixels."""
    folder = tmp_path / "photos"
    truth = write_photos(folder)
    made = {"store": tmp_path / "store", "data": tmp_path / "data", "device": "cpu", "workers": 0}
    looking = {"by": "typiclust", "backbone": "pixels", "side": 8}

    def draw_here(labels, **options):
        return draw(folder, labels, **(looking | made | options))

    def work(**options):
        request = DrawRequest(**({"folder": folder, "labels": 5} | looking | options))
        return DrawWork(request, Workspace.at(made["store"], made["data"], "cpu"))

    yield SimpleNamespace(folder=folder, truth=truth, made=made, draw=draw_here, work=work)
    context.load_split.cache_clear()


# What is drawn


@pytest.mark.parametrize("by", WAYS)
def test_a_draw_is_as_long_as_asked_and_writes_nothing_to_the_folder(photos, by):
    before = listing(photos.folder)
    chosen = photos.draw(23, by=by)
    assert len({*chosen}) == 23 and {*chosen} <= {*photos.truth}
    assert chosen == photos.draw(23, by=by)
    assert chosen != photos.draw(23, by=by, seed=1)
    assert listing(photos.folder) == before


def test_what_is_drawn_is_what_the_part_draws_of_the_embeddings(photos):
    work = photos.work()
    chosen = drawn(work, workers=0).files
    (embeddings,) = (source.source.key for source in work.stages[1].named("embeddings"))
    values = work.place.store.read(embeddings, Embeddings).values
    order = TypiClust().draw(values, 5, seeds.stream("order", 0), "cpu", lambda *_: None)
    assert chosen == [sorted(photos.truth)[position] for position in order]


def test_all_images_can_be_drawn(photos):
    assert sorted(photos.draw(60)) == sorted(photos.truth)


def test_three_classes_are_found_with_three_labels(photos):
    """Each class has one bright channel."""
    assert {photos.truth[name] for name in photos.draw(3, changes={"typiclust.starts": 10})} == {
        "bird",
        "cat",
        "dog",
    }


def test_a_change_of_a_field_reaches_the_draw(photos):
    assert photos.work(changes={"typiclust.clusters": 7}).part.clusters == 7
    assert photos.work(changes={"pixels.resize": 4}).part.backbone.resize == 4


def test_without_a_backbone_it_is_that_of_the_draw_as_the_recipe_sets_it(photos):
    backbone = photos.work(backbone=None).part.backbone
    assert (backbone.name, backbone.side) == ("efficientnet_lite0", 224)


def test_a_better_backbone_is_named_unless_one_was_asked_for(photos, offer, cli, tmp_path):
    better = "efficientnet_lite0. Better, but slower: --backbone dinov2_vitb14, "
    assert photos.work(backbone=None).advice.startswith(better)
    assert photos.work().advice == ""
    offer(Averages)
    assert photos.work(by="averages", backbone=None).advice == ""  # it reads no embeddings
    line = f"draw {photos.folder} --labels 5 --by typiclust --side 8 --device cpu --workers 0 --output"
    assert cli(f"{line} {tmp_path / 'a.csv'}").out.count(f"backbone: {better}") == 1
    assert "backbone: " not in cli(f"{line} {tmp_path / 'b.csv'} --backbone pixels").out


def test_uniform_is_the_default_and_embeds_nothing(photos, monkeypatch):
    def forbidden(self, images):
        raise AssertionError("uniform looks at no image")

    monkeypatch.setattr(Pixels, "embed", forbidden)
    names = sorted(photos.truth)
    expected = [names[position] for position in seeds.stream("photos", 3).permutation(60)[:9]]
    assert draw(photos.folder, 9, 3, data=photos.made["data"]) == expected
    assert not photos.made["store"].exists()


# Once


def test_the_photos_are_embedded_once_for_all_draws_and_for_prune(photos, tmp_path, monkeypatch):
    embedded = []
    embed = Pixels.embed

    def counting(self, images):
        embedded.append(len(images))
        return embed(self, images)

    monkeypatch.setattr(Pixels, "embed", counting)
    chosen = photos.draw(9)
    photos.draw(12)
    photos.draw(12, by="usl", seed=1)
    table = write_labels(tmp_path / "labels.csv", {name: photos.truth[name] for name in chosen})
    options = {"method": "k_center_pixels", "backbone": "pixels", "side": 8}
    assert len(prune(photos.folder, table, budget=20, **options, **photos.made).chosen("to_label")) == 11
    assert embedded == [60]


def test_the_embeddings_of_a_draw_are_those_of_a_prune_with_the_same_options(photos, tmp_path):
    table = write_labels(tmp_path / "labels.csv", dict(list(photos.truth.items())[::5]))
    place = Workspace.at(photos.made["store"], photos.made["data"], "cpu")
    pruning = Work(construct_request(folder=photos.folder, known=table, budget=20), place, look=True)
    made = closure(pruning.ends.values())
    (theirs,) = {stage.key for stage in made if stage.kind == "embeddings"}
    (ours,) = photos.work(backbone=None, side=None).stages[1].named("embeddings")
    assert ours.source.key == theirs


# Photos that cannot be read, or change


def test_an_unreadable_photo_is_an_error_or_is_never_drawn(photos):
    (photos.folder / min(photos.truth)).write_bytes(b"")
    with pytest.raises(PrunebenchError, match=r"^1 of the 60 images in "):
        photos.draw(5)
    assert sorted(photos.draw(59, on_bad="skip")) == sorted(photos.truth)[1:]
    said = (
        rf"^--labels is 60, but only 59 images .* the others are 1 that cannot be read: {min(photos.truth)}; "
    )
    with pytest.raises(PrunebenchError, match=said):
        photos.draw(60, on_bad="skip")


def test_photos_that_change_meanwhile_are_told_and_nothing_is_kept(photos, monkeypatch):
    def draw_late(self, embeddings, count):
        write_photos(photos.folder, 61)
        return np.arange(count)

    monkeypatch.setattr(TypiClust, "draw", draw_late)
    with pytest.raises(PrunebenchError, match=r"^the labels or the photos changed meanwhile; run it again$"):
        photos.draw(5)
    monkeypatch.undo()
    assert len(photos.draw(61)) == 61


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"by": "typiclst"},
            "no draw named 'typiclst'. Did you mean 'typiclust'? See: prunebench list draws",
        ),
        (
            {"by": "uniform"},
            "--backbone pixels: uniform looks at no image; choose another --by. See: prunebench list draws",
        ),
        (
            {"by": "uniform", "backbone": None},
            "--side 8: uniform looks at no image; choose another --by. See: prunebench list draws",
        ),
        ({"changes": {"usl.rounds": 2}}, "--set usl.rounds: typiclust has no such part"),
        (
            {"by": "uniform", "backbone": None, "side": None, "changes": {"usl.rounds": 2}},
            "--set usl.rounds: uniform has no such part",
        ),
        (
            {"changes": {"typiclust.cluster": 2}},
            "no field of typiclust named 'cluster'. Did you mean 'clusters'",
        ),
        ({"changes": {"typiclust.clusters": 0}}, "typiclust.clusters is 0, expected above 0"),
        ({"backbone": "pixel"}, "no backbone named 'pixel'. Did you mean 'pixels'?"),
        ({"backbone": "proxy"}, "--backbone proxy: no network is trained before the first labels; choose"),
        ({"changes": {"pixels.resize": 0}}, "pixels.resize is 0, expected above 0"),
        ({"on_bad": "ignore"}, "no way named 'ignore'. Known: fail, skip. See: --on-bad"),
        ({"side": 0}, "--side is 0, expected above 0 pixels"),
        ({"seed": -1}, "--seed is -1, expected 0 or more"),
        ({"labels": 61}, "--labels is 61, expected 1 to 60, the images there are"),
        ({"labels": 0}, "--labels is 0, expected 1 to 60, the images there are"),
        ({"labels": "5"}, "--labels is '5', expected a whole number"),
        ({"labels": 5.5}, "--labels is 5.5, expected a whole number"),
        ({"seed": 0.5}, "--seed is 0.5, expected a whole number"),
    ],
)
def test_a_mistake_is_one_line_before_all_work(photos, options, message):
    with pytest.raises(PrunebenchError) as error:
        photos.draw(**({"labels": 5} | options))
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
    assert not photos.made["store"].exists()


def test_a_store_in_the_folder_is_refused(photos):
    with pytest.raises(PrunebenchError, match=r"^--store .* lies in .*, where nothing is written"):
        photos.draw(5, store=photos.folder / "store")


def test_a_backbone_without_its_weights_is_told_before_the_photos_are_read(photos, monkeypatch):
    monkeypatch.setattr(DrawWork, "roots", None)
    with pytest.raises(PrunebenchError, match=r"^backbone 'clip_vitl14' needs .*; or choose another with"):
        photos.draw(5, backbone="clip_vitl14")


# Draws of plugins


@dataclass(frozen=True, kw_only=True)
class Brightest(Draw):
    """Draws the brightest images, or breaks the contract."""

    name: ClassVar[str] = "brightest"
    backbone: str = "pixels"
    fault: str = ""

    def draw(self, embeddings, count):
        order = np.argsort(-embeddings.mean(axis=1), kind="stable")[:count]
        match self.fault:
            case "twice":
                order[-1] = order[0]
            case "too few":
                order = order[1:]
            case "floating":
                order = order.astype(float)
            case "outside":
                order[0] = 60
        return order


@dataclass(frozen=True, kw_only=True)
class Averages(Draw):
    """Draws the brightest images by their pixels, and ties by name."""

    name: ClassVar[str] = "averages"

    def draw(self, images, names, count):
        assert len(names) == len(images)
        averages = [images[i : i + 1].float().mean().item() for i in range(len(images))]
        return np.lexsort((names, np.negative(averages)))[:count]


@dataclass(frozen=True, kw_only=True)
class Alphabet(Draw):
    """Draws by name, the last first, or draws the first image alone."""

    name: ClassVar[str] = "alphabet"
    fault: bool = False

    def draw(self, names, count):
        order = np.argsort(names)[::-1]
        return order * 0 if self.fault else order


def test_a_plugins_draw_is_found_by_its_hook(photos, offer):
    offer(Brightest, Alphabet)
    assert len({*photos.draw(5, by="brightest")}) == 5
    blind = {"backbone": None, "side": None}
    assert photos.draw(2, by="alphabet", **blind) == sorted(photos.truth)[::-1][:2]


def test_a_plugins_draw_that_sees_pixels_and_names_sees_no_copies(photos, offer):
    offer(Averages)
    first = photos.draw(1, by="averages", backbone=None)[0]
    (photos.folder / "zz").mkdir()
    for number in range(3):
        (photos.folder / "zz" / f"{number}.png").write_bytes((photos.folder / first).read_bytes())
    drawn = photos.draw(60, by="averages", backbone=None)
    assert drawn[0] == first and sorted(drawn) == sorted(photos.truth)


@pytest.mark.parametrize(
    ("fault", "got"),
    [
        ("twice", r"int64 \[5\] in \d+..\d+"),
        ("too few", r"int64 \[4\] in \d+..\d+"),
        ("floating", r"float64 \[5\] in \d+.0..\d+.0"),
        ("outside", r"int64 \[5\] in \d+..60"),
    ],
)
def test_a_draw_that_breaks_its_contract_fails_by_name(photos, offer, fault, got):
    offer(Brightest)
    problem = (
        rf"draw 'brightest' of stranger must return 5 distinct indices in 0..59, got {got} \(photo_pool\)"
    )
    with pytest.raises(PrunebenchError, match=problem):
        photos.draw(5, by="brightest", changes={"brightest.fault": fault})


def test_a_draw_that_does_not_look_is_held_to_its_contract_too(photos, offer):
    offer(Alphabet)
    blind = {"backbone": None, "side": None, "changes": {"alphabet.fault": True}}
    with pytest.raises(
        PrunebenchError, match=r"^draw 'alphabet' of stranger must return 60 distinct indices"
    ):
        photos.draw(5, by="alphabet", **blind)
