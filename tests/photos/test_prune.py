"""Which photos are worth a label: exact numbers, what was annotated is kept, and nothing is made twice."""

import csv
import os
import re
import shutil
import time
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.nn import training
from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench.photos import cost
from prunebench.photos import prune as pruning
from prunebench.photos.drawing import DrawRequest, DrawWork
from prunebench.photos.estimate import free, preview
from prunebench.photos.prune import DROP, KEPT, TO_LABEL
from prunebench.photos.recommend import default_methods
from prunebench.photos.request import Work, Workspace, construct_request, including_annotated
from prunebench.pipeline import context, jobs
from prunebench.pipeline.dataset_keys import roots_of
from prunebench.pipeline.graph import Graph
from prunebench.pipeline.stages import STAGES
from prunebench.pipeline.stages.proxy import Proxy
from prunebench_plugins import kept
from prunebench_plugins.backbones import efficientnet, pixels
from prunebench_plugins.datasets.io import decoding
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.labelers.probe import Probe
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.selectors.cutoff import Cutoff
from prunebench_plugins.selectors.include import Include
from prunebench_plugins.selectors.k_center import KCenter
from prunebench_plugins.selectors.random import Random
from tests.photo_folders import listing, write_labels, write_photos

QUICK = {"method": "probe_aum", "backbone": "pixels", "side": 8, "changes": {"recipe.epochs": 3}}


@pytest.fixture
def photos(tmp_path):
    """60 photos, the labels of 12 of them, and `prune(budget=20)` with a small recipe."""
    yield workshop(tmp_path, 60)
    context.load_split.cache_clear()


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """300 photos, the labels of 60 of them, and `prune` with a small recipe. All tests share its store."""
    yield workshop(tmp_path_factory.mktemp("many"), 300)
    context.load_split.cache_clear()


def workshop(root, images):
    """Return a folder of photos, the labels of every fifth, and `prune` with a small recipe."""
    folder = root / "photos"
    truth = write_photos(folder, images)
    known = dict(list(truth.items())[::5])
    table = write_labels(root / "labels.csv", known)
    made = {"store": root / "store", "data": root / "data", "device": "cpu", "workers": 0}

    def prune(**options):
        return pruning.prune(folder, table, **(QUICK | made | options))

    return SimpleNamespace(folder=folder, truth=truth, known=known, table=table, prune=prune)


def counts(pruned):
    return [len(pruned.chosen(status)) for status in (KEPT, TO_LABEL, DROP)]


def request(photos, **options):
    return construct_request(
        **({"folder": photos.folder, "known": photos.table, "budget": 20} | QUICK | options)
    )


# What comes out


@pytest.mark.parametrize("budget", [13, 20, 29, 47, 60])
def test_the_budget_counts_all_labels_and_is_kept_exactly(photos, budget):
    pruned = photos.prune(budget=budget)
    assert counts(pruned) == [12, budget - 12, 60 - budget]
    assert set(pruned.chosen(KEPT)) == set(photos.known)
    assert list(pruned.files) == sorted(photos.truth)


def test_a_ratio_keeps_what_it_does_everywhere(photos):
    assert counts(photos.prune(ratio=50)) == [12, 18, 30]
    assert counts(photos.prune(ratio=33)) == [12, 28, 20]  # 60 * 67 // 100 = 40


# Fields of parts for a proxy network of three epochs.
DUAL = {"dual.window": 2, "dual.epochs": 3}
BETA = DUAL | {"beta.epochs": 3}
DYN_UNC = {"dyn_unc.start": 0, "dyn_unc.window": 2}
FIXMATCH = {"fixmatch.iterations": 4}
SHORT = {
    "semi_aum": FIXMATCH,
    "semi_aum+annotated": FIXMATCH,
    "semi_dual": FIXMATCH | BETA,
    "semi_dual+annotated": FIXMATCH | BETA,
    "probe_dual": BETA,
    "propagate_aum": {"propagate.neighbors": 5},
    "score_extrapolation": DYN_UNC,
    "score_extrapolation_knn": DYN_UNC,
    "score_extrapolation_dual": DUAL,
}


@pytest.mark.parametrize("method", load().found["methods"])
def test_every_method_keeps_what_was_annotated_to_an_exact_budget_or_is_refused(many, method):
    """There are 300 photos, of which 60 are annotated."""
    try:
        pruned = many.prune(budget=90, method=method, changes=QUICK["changes"] | SHORT.get(method, {}))
    except PrunebenchError as error:
        said = f"method '{re.escape(method)}' (needs|is a|has no use for)"
        assert re.fullmatch(rf"{said} [^\n]*; choose one [^\n]*", str(error))
        return
    assert counts(pruned) == [60, 30, 210]
    assert set(pruned.chosen(KEPT)) == set(many.known)


def test_embeddings_are_those_of_the_selector_that_is_held(photos):
    wanted = request(photos, method="k_center_efficientnet", backbone=None, changes={})
    ends = Work(wanted, Workspace.at(device="cpu"), look=False).ends
    (embeddings,) = (stage for stage in ends["subset"].ancestors() if stage.kind == "embeddings")
    assert embeddings.identity["part"]["part"] == "efficientnet_lite0"


def test_every_image_has_a_line_with_what_is_known_and_guessed(photos, tmp_path):
    pruned = photos.prune(budget=20)
    assert pruned.to_csv(tmp_path / "kept.csv") and not pruned.to_csv(tmp_path / "kept.csv")
    with (tmp_path / "kept.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("file", "status", "pseudo_label", "confidence", "score", "duplicate_of"),
    ]
    assert [row["file"] for row in rows] == sorted(photos.truth)
    for row in rows:
        if row["status"] == KEPT:
            assert (row["pseudo_label"], row["confidence"]) == (photos.known[row["file"]], "1")
        assert 0 < float(row["confidence"]) <= 1 and np.isfinite(float(row["score"]))
    right = sum(row["pseudo_label"] == photos.truth[row["file"]] for row in rows)
    assert right == 60  # one bright channel a class: easy


def test_a_method_without_a_labeler_has_guesses_and_chooses_without_them(photos):
    """Here the choice is random, and the guesses are right: see above."""
    pruned = photos.prune(budget=20, method="random")
    assert pruned.pseudo_labels == tuple(photos.truth[name] for name in pruned.files)
    assert np.isnan(pruned.scores).all() and np.isfinite(pruned.confidences).all()
    subset = Work(request(photos, method="random"), Workspace.at(device="cpu"), look=True).ends["subset"]
    assert not {"labels", "embeddings"} & {stage.kind for stage in subset.ancestors()}


def test_equal_seeds_equal_lists(photos, tmp_path):
    once = photos.prune(budget=20, method="random").text
    assert photos.prune(budget=20, method="random", store=tmp_path / "other").text == once
    assert photos.prune(budget=20, method="random", seed=1).text != once
    first = photos.prune(budget=20)
    again = photos.prune(budget=20, store=tmp_path / "other")
    assert first.text == again.text


def test_the_folder_is_left_as_it_was(photos):
    before = listing(photos.folder)
    pruning_request = request(photos)
    preview(pruning_request, Workspace.at(device="cpu"))
    photos.prune(budget=20)
    assert listing(photos.folder) == before


# What it rests on


def test_what_is_unknown_is_minus_one_and_reaches_no_training(photos, offer, monkeypatch):
    annotated_only = Method("annotated_only", title="P", labeler=NoLabeler(), scorer=Aum(), selector=Cutoff())
    offer(annotated_only, owner="tests")
    seen = []
    train = training.train

    def spied(images, labels, recipe, *, index, **more):
        seen.append(labels[index].min())
        return train(images, labels, recipe, index=index, **more)

    monkeypatch.setattr(training, "train", spied)
    dataset = load().dataset(request(photos).spec)
    images, labels = dataset.load(photos.folder.parent / "data", "train")
    assert images.shape == (60, 3, 8, 8) and (labels == -1).sum() == 48
    assert [len(array) for array in dataset.load(photos.folder.parent, "test")] == [0, 0]
    photos.prune(budget=20)  # the proxy trains on what the probe guessed
    photos.prune(budget=20, method="annotated_only")  # and here on the annotated images alone
    assert seen == [0, 0]


def test_the_ledger_knows_what_was_annotated(photos):
    work = Work(request(photos, budget=24), Workspace.at(device="cpu"), look=True)
    assert work.cell.method.label_fraction == 12 / 60
    assert work.cell.keep == 24 and work.cell.ratio == 60
    (annotated,) = (s for s in work.ends["subset"].ancestors() if s.kind in ("known_labels", "given"))
    assert annotated.kind == "given"
    assert work.ends["subset"].identity["keep"] == 24 and "pruned" not in work.ends["subset"].identity


def test_a_cell_of_a_suite_has_the_key_it_had(matrix):
    """The exact number is in the identity of a subset only where it was asked for."""
    cells = matrix("random")
    (cell,) = cells.cells
    stage = Graph([cell], {"toy": "0" * 64}).subset(cell)
    assert stage.identity == {
        "part": {
            "part": "random",
            "kind": "selector",
            "version": 1,
            "fields": {"per_class": False, "stream": 0},
        },
        "pruned": 50,
        "seed": [0, "subset", 0],
    }


def test_a_method_is_wrapped_once():
    wrapped = including_annotated(load().get("methods", "probe_aum"), 0.25)
    assert wrapped.selector == Include(selector=Cutoff())
    assert wrapped.labeler == Probe(label_fraction=0.25, sampling="given")
    known = including_annotated(load().get("methods", "semi_aum+annotated"), 0.25)
    assert known.selector == Include(selector=Cutoff()) and known.title == "Semi-AUM+Cutoff, annotated kept"
    nothing = including_annotated(Method("r", title="R", selector=Random()), 0.25)
    assert nothing.labeler.name == "none" and nothing.label_fraction == 0.25
    moved = including_annotated(load().get("methods", "zcore"), 0.25, "pixels")
    assert moved.scorer.backbone == "pixels"


def test_classes_that_no_label_shows_are_counted(photos):
    work = Work(request(photos, classes=5), Workspace.at(device="cpu"), look=False)
    assert work.dataset.classes == ("bird", "cat", "dog", "unseen class 1", "unseen class 2")


# Nothing is made twice


def test_a_second_call_makes_nothing(photos, monkeypatch):
    text = photos.prune(budget=20).text
    monkeypatch.setattr(jobs, "run", None)
    assert photos.prune(budget=20).text == text


def test_another_budget_makes_the_selection_alone(photos, monkeypatch):
    photos.prune(budget=20)
    made, run = [], jobs.run
    monkeypatch.setattr(jobs, "run", lambda job, *more: (made.append(job.kind), run(job, *more)))
    photos.prune(budget=30)
    assert made == ["subset"]


def test_what_a_kill_left_is_gone_on_with(photos, monkeypatch):
    def killed(_stage, _context):
        raise KeyboardInterrupt

    monkeypatch.setattr(Proxy, "compute", killed)
    with pytest.raises(KeyboardInterrupt):
        photos.prune(budget=20)
    monkeypatch.undo()
    made, run = [], jobs.run
    monkeypatch.setattr(jobs, "run", lambda job, *more: (made.append(job.kind), run(job, *more)))
    assert counts(photos.prune(budget=20)) == [12, 8, 40]
    assert made == ["dynamics", "scores", "subset"]


@pytest.mark.parametrize("kind", ["labels", "scores", "subset"])
@pytest.mark.parametrize("file", ["payload.safetensors", "manifest.json"])
def test_what_is_damaged_before_it_is_read_is_made_again(photos, monkeypatch, kind, file):
    before, read, damaged = photos.prune(budget=20).text, pruning._pruned, []

    def late(work):
        if not damaged:
            damaged.append(work.place.store.path(work.ends[kind].key) / file)
            damaged[0].write_bytes(b"")
        return read(work)

    monkeypatch.setattr(pruning, "_pruned", late)
    assert photos.prune(budget=20).text == before
    assert damaged[0].stat().st_size > 0


@pytest.mark.parametrize("content", ["", "[]", "null", '{"folder": "/elsewhere"}'])
def test_a_damaged_note_of_a_list_is_no_note(photos, store, content):
    pruned = photos.prune(budget=20)
    rows = list(zip(pruned.files, pruned.status, strict=True))
    assert pruning.remembered(rows, store)["folder"] == str(photos.folder)
    (note,) = (store.root / "photos").iterdir()
    note.write_text(content)
    assert pruning.remembered(rows, store) == {}


def test_more_labels_or_other_images_are_another_request(photos):
    first = photos.prune(budget=20)
    more = photos.known | dict([next(item for item in photos.truth.items() if item[0] not in photos.known)])
    write_labels(photos.table, more)
    assert counts(photos.prune(budget=20)) == [13, 7, 40]
    (photos.folder / photos.prune(budget=20).chosen(DROP)[0]).unlink()
    assert counts(photos.prune(budget=20)) == [13, 7, 39]
    assert counts(first) == [12, 8, 40]


# What changes while it works


def edited(photos, monkeypatch, kind, edit):
    """Do `edit` when the first stage of a kind is about to be made."""
    stage = next(stage for stage in STAGES if stage.kind == kind)
    compute = stage.compute

    def editing(self, given):
        monkeypatch.setattr(stage, "compute", compute)
        edit()
        return compute(self, given)

    monkeypatch.setattr(stage, "compute", editing)


def renamed(photos):
    """Call the cats axolotls, by which every class gets another number."""
    renamed = {name: label.replace("cat", "axolotl") for name, label in photos.known.items()}
    write_labels(photos.table, renamed)


@pytest.mark.parametrize("kind", ["given", "labels", "dynamics", "subset"])
def test_labels_that_are_edited_meanwhile_are_told_and_nothing_is_kept(photos, monkeypatch, kind):
    wanted = photos.prune(budget=20, store=photos.folder.parent / "other").text
    edited(photos, monkeypatch, kind, lambda: renamed(photos))
    with pytest.raises(PrunebenchError, match=r"^the labels or the photos changed meanwhile; run it again$"):
        photos.prune(budget=20)
    assert "axolotl" in photos.prune(budget=20).text
    write_labels(photos.table, photos.known)  # what was half made of the other labels is not taken for these
    assert photos.prune(budget=20).text == wanted


def test_photos_are_shrunk_to_their_own_size_unless_told(photos):
    work = Work(request(photos, side=None), Workspace.at(), look=False)
    assert work.side == work.dataset.resolution == 12
    assert counts(photos.prune(budget=20, side=None)) == [12, 8, 40]


def test_labels_that_are_edited_after_all_is_made_are_told(photos, monkeypatch):
    made = pruning.make_stages

    def then_edited(*arguments, **options):
        found = made(*arguments, **options)
        renamed(photos)
        return found

    monkeypatch.setattr(pruning, "make_stages", then_edited)
    with pytest.raises(PrunebenchError, match=r"changed meanwhile; run it again$"):
        photos.prune(budget=20)


def test_labels_that_are_edited_while_photos_are_read_are_those_that_count(photos, monkeypatch):
    """Reading may take hours; a label that was added meanwhile counts, and is never annotated again."""
    added = next(name for name in photos.truth if name not in photos.known)

    def editing(*arguments, **options):
        monkeypatch.setattr("prunebench.photos.request.roots_of", roots_of)
        write_labels(photos.table, photos.known | {added: photos.truth[added]})
        return roots_of(*arguments, **options)

    monkeypatch.setattr("prunebench.photos.request.roots_of", editing)
    pruned = photos.prune(budget=20)
    assert counts(pruned) == [13, 7, 40] and added in pruned.chosen(KEPT)


def test_labels_that_are_unreadable_in_the_end_are_told(photos, monkeypatch):
    edited(photos, monkeypatch, "subset", lambda: photos.table.write_text("file\n"))
    with pytest.raises(PrunebenchError, match=r"changed meanwhile; run it again$"):
        photos.prune(budget=20)


def test_photos_that_change_meanwhile_are_told(photos, monkeypatch):
    last = photos.folder / max(photos.truth)
    edited(photos, monkeypatch, "subset", lambda: shutil.copy(photos.folder / min(photos.truth), last))
    with pytest.raises(PrunebenchError, match=r"changed meanwhile; run it again$"):
        photos.prune(budget=20)


def test_saving_the_same_labels_again_is_no_change(photos, monkeypatch):
    wanted = photos.prune(budget=20, store=photos.folder.parent / "other").text
    edited(photos, monkeypatch, "subset", lambda: os.utime(photos.table, (1, 1)))
    assert photos.prune(budget=20).text == wanted


# What is wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"say how much to keep: either --budget LABELS or --ratio PERCENT"),
        ({"budget": 20, "ratio": 50}, r"say how much to keep: either"),
        ({"budget": 12}, r"12 images have a label .* none of the 12 to keep is left to choose; raise"),
        ({"ratio": 90}, r"12 images have a label .* none of the 6 to keep is left to choose"),
        ({"budget": 61}, r"--budget is 61, expected 1 to 60, the images there are"),
        ({"budget": 20.5}, r"--budget is 20.5, expected a whole number"),
        ({"ratio": "50"}, r"--ratio is '50', expected a whole number"),
        ({"ratio": 100}, r"--ratio is 100, expected the percent to drop, 0 to 99"),
        ({"budget": 20, "classes": 2}, r"--classes 2: but .*labels.csv has labels of 3: bird, cat, dog"),
        ({"budget": 20, "method": "probe_aumm"}, r"no method named 'probe_aumm'. Did you mean 'probe_aum'"),
        ({"budget": 20, "method": "dual"}, r"method 'dual' needs the labels of all images; choose one that"),
        ({"budget": 20, "method": "ssl_model"}, r"method 'ssl_model' is a reference for tables"),
        ({"budget": 20, "method": "elfs_pixels"}, r"'elfs_pixels' has no use for known labels: its"),
        ({"budget": 20, "recipe": "quik"}, r"no recipe named 'quik'. Did you mean 'quick'"),
        ({"budget": 20, "backbone": "pixel"}, r"no backbone named 'pixel'. Did you mean 'pixels'"),
        ({"budget": 20, "changes": {"dual.window": 3}}, r"--set dual.window: probe_aum has no such part"),
        ({"budget": 20, "on_bad": "ignore"}, r"no way named 'ignore'. Known: fail, skip."),
        ({"budget": 20, "color": 1}, r"no option of prune named 'color'"),
        ({"budget": 20, "side": 0}, r"--side is 0, expected above 0 pixels"),
    ],
)
def test_a_wrong_request_is_one_line(photos, options, message):
    with pytest.raises(PrunebenchError, match=message) as told:
        photos.prune(**options)
    assert "\n" not in str(told.value)


def test_labels_of_files_that_are_not_there_are_one_line(photos):
    write_labels(photos.table, photos.known | {"cat.png": "cat"})
    with pytest.raises(
        PrunebenchError, match=r"labels.csv lists 1 file\(s\) that are no images in .*: cat.png$"
    ):
        photos.prune(budget=20)


@pytest.mark.parametrize(
    "kind", ["a loop of links", "a link to nowhere", "a name that is no text", "a link to itself"]
)
def test_what_a_file_system_may_hold_is_named_or_left_out(photos, kind):
    """A scan asks nobody whether a file can be opened; a name that no .csv can hold is never opened."""
    place = photos.folder / "zz.png"
    if kind == "a name that is no text":
        place = photos.folder / os.fsdecode(b"caf\xe9.png")
        shutil.copy(photos.folder / min(photos.truth), place)
    else:
        place.symlink_to({"a link to nowhere": "gone.png", "a link to itself": "zz.png"}.get(kind, "yy.png"))
    if kind == "a loop of links":
        (photos.folder / "yy.png").symlink_to("zz.png")
    bad = 2 if kind == "a loop of links" else 1
    named = r"whose name is no UTF-8.*caf" if "text" in kind else r"cannot be read: (yy.png|zz.png) \("
    with pytest.raises(PrunebenchError, match=rf"{bad} (file|of the 6).*{named}") as told:
        photos.prune(budget=20)
    assert "\n" not in str(told.value)
    pruned = photos.prune(budget=20, on_bad="skip")
    assert (counts(pruned), len(pruned.left_out)) == ([12, 8, 40], bad)
    drawn = pruning.draw(photos.folder, 60, data=photos.folder.parent / "data", on_bad="skip")
    assert sorted(drawn) == sorted(photos.truth)


def test_labels_that_may_not_mean_what_they_say_are_told_with_the_result(photos):
    names = [name for name in photos.truth if name not in photos.known]
    more = {names[0]: "NA", names[1]: "NA", names[2]: "Cat", names[3]: "Cat"}
    write_labels(photos.table, photos.known | more)
    pruned = photos.prune(budget=20)
    assert pruned.warnings == (
        "2 label(s) read 'NA': taken as a class; leave the cell empty where there is no label",
        "'Cat' (2) and 'cat' (5) differ in case or spaces alone: taken as different classes",
    )
    assert counts(pruned) == [16, 4, 40]


def test_files_are_found_as_other_systems_spell_them(photos):
    (photos.folder / "sea").rename(photos.folder / "me\u0301r")
    spelled = {name: name.replace("sea/", "M\xc9R\\").replace(".jpg", ".JPG") for name in photos.known}
    foreign = {spelled[name]: label for name, label in photos.known.items()}
    write_labels(photos.table, foreign)
    pruned = photos.prune(budget=20)
    assert counts(pruned) == [12, 8, 40]
    assert {*pruned.chosen(KEPT)} == {name.replace("sea/", "me\u0301r/") for name in photos.known}


def test_a_file_that_is_listed_in_two_spellings_has_one_label(photos):
    name = next(iter(photos.known))
    write_labels(photos.table, photos.known | {f"./{name}": photos.known[name]})
    assert counts(photos.prune(budget=20)) == [12, 8, 40]
    write_labels(photos.table, photos.known | {f"./{name}": "eel"})
    with pytest.raises(PrunebenchError, match=rf"says of {name} both '.*' and 'eel'; keep one of the two$"):
        photos.prune(budget=20)


def test_a_result_is_short_to_print_and_knows_its_statuses(photos):
    pruned = photos.prune(budget=20)
    assert repr(pruned) == "<Pruned: 12 keep_labeled, 8 to_label, 40 drop>"
    assert len(pruned.chosen(KEPT, TO_LABEL)) == 20
    with pytest.raises(
        PrunebenchError, match=r"^status is 'tolabel', expected 'keep_labeled', 'to_label' or "
    ):
        pruned.chosen("tolabel")


def test_images_that_cannot_be_read_stop_it_or_are_left_out(photos):
    broken = [name for name in photos.truth if name not in photos.known][:2]
    for name in broken:
        (photos.folder / name).write_bytes(b"no image")
    with pytest.raises(PrunebenchError, match=r"2 of the 60 images in .* cannot be read"):
        photos.prune(budget=20)
    pruned = photos.prune(budget=20, on_bad="skip")
    assert counts(pruned) == [12, 8, 38] and not {*broken} & {*pruned.files}
    assert [*pruned.left_out] == broken


def test_nothing_is_kept_in_the_folder(photos):
    for place in ("store", "data"):
        with pytest.raises(
            PrunebenchError, match=rf"--{place} .* lies in .*photos, where nothing is written"
        ):
            photos.prune(budget=20, **{place: photos.folder / place})


def test_a_part_that_fails_is_one_line(photos):
    with pytest.raises(PrunebenchError, match=r"^labels propagate\(.*: .*neighbors"):
        photos.prune(budget=20, method="propagate_aum", changes={"propagate.neighbors": 60})


def test_weights_that_are_absent_name_another_backbone(photos):
    wanted = request(photos, backbone="dino_vitb16")
    with pytest.raises(
        PrunebenchError, match=r"needs .*; or choose another with --backbone, such as pixels$"
    ):
        preview(wanted, Workspace.at(device="cpu"))


# What it will cost


def test_a_preview_tells_without_making_anything(photos, tmp_path):
    write_labels(photos.table, photos.known | {max(photos.known): "eel"})
    place = Workspace.at(device="cpu")
    found = preview(request(photos, budget=24, classes=5), place)
    assert (found.images, found.labeled, found.keep, found.stored) == (60, 12, 24, False)
    assert sum(found.classes.values()) == 12 and found.classes["eel"] == 1
    assert found.classes["unseen class 1"] == 0
    assert found.backbones == ("pixels",)
    assert re.fullmatch(r"[\d.]+ \w+ on cpu", found.time)
    # 60 images of 3 x 8 x 8 bytes, as float32, and three epochs of seven float32.
    assert found.disk == 60 * 192 + 60 * 192 * 4 + 60 * 3 * 7 * 4
    assert found.warnings == (
        "1 class(es) with a single label: eel",
        "1 class(es) without a label, which nothing can recognize",
    )
    assert not (tmp_path / "store").exists() and not (tmp_path / "data").exists()


def test_a_preview_names_a_better_backbone_than_the_default_and_what_it_needs(photos, monkeypatch):
    place = Workspace.at(device="cpu")
    by_default = request(photos, backbone=None)
    needs = preview(by_default, place).advice
    better = "efficientnet_lite0. Better, but slower: --backbone "
    here = "dinov2_vitb14, once it is here: backbone 'dinov2_vitb14' needs "
    assert needs.startswith(better + here) and "hf download" in needs
    monkeypatch.setattr("prunebench.photos.advice.BETTER", "pixels")
    assert preview(by_default, place).advice == better + "pixels"
    assert preview(request(photos, backbone="pixels"), place).advice == ""
    monkeypatch.setattr("prunebench.photos.estimate.schedule.missing", lambda *_: {})
    assert preview(by_default, place).advice == ""  # all is stored, and nothing is left to choose


def test_the_default_backbone_is_pixels_where_the_package_is_missing(photos, tmp_path, monkeypatch):
    """All stages are those of the default, so a person who asks for pixels later makes none again."""
    monkeypatch.setattr(efficientnet, "PACKAGE", "no-such-package")
    place = Workspace.at(device="cpu")
    found = preview(request(photos, backbone=None), place)
    assert found.backbones == ("pixels",)
    assert found.advice.startswith("pixels, which sees little; backbone 'efficientnet_lite0' needs ")
    assert "pip install no-such-package" in found.advice
    work, asked = (Work(request(photos, backbone=name), place, look=False) for name in (None, "pixels"))
    assert {kind: end.key for kind, end in work.ends.items()} == {
        kind: end.key for kind, end in asked.ends.items()
    }
    wanted = DrawRequest(folder=photos.folder, labels=5, by="typiclust", side=8)
    assert DrawWork(wanted, place).part.backbone.name == "pixels"
    assert default_methods() == ("probe_aum", "facility_location_pixels")
    named = request(photos, method="k_center_efficientnet", backbone=None, changes={})
    with pytest.raises(PrunebenchError, match=r"needs .* or choose another with --backbone"):
        preview(named, place)  # who names it does not get another


def test_the_time_told_is_about_the_time_taken(photos, monkeypatch):
    """In seconds of sleep, which no other process changes. Here 60 images are embedded and guessed."""
    monkeypatch.setattr(cost, "EMBEDDED", (1, 16))
    monkeypatch.setattr(cost, "threads", lambda: 1)
    slept = []

    def slow(embed):
        def embedded(self, images):
            time.sleep(0.01 * len(images))
            slept.append(0.01 * len(images))
            return embed(self, images)

        return embedded

    monkeypatch.setattr(pixels.Pixels, "embed", slow(pixels.Pixels.embed))
    place = Workspace.at(device="cpu")
    work = Work(request(photos), place, look=False)
    found = cost.Cost(work.dataset, work.names, 3, place)
    (embeddings,) = (stage for stage in work.ends["labels"].ancestors() if stage.kind == "embeddings")
    monkeypatch.setattr(cost, "_start_seconds", lambda: 0.0)
    found.add([embeddings], lambda _stage: cost.Sizes(images=60, labeled=12, kept=20))
    slept.clear()
    photos.prune(budget=20)
    assert slept == [pytest.approx(0.6)]
    assert found.seconds(1) == pytest.approx(0.6, rel=0.3)
    assert (found.untimed, found.disk) == ([], 60 * 192 * 4)


@pytest.mark.parametrize(("power", "seconds"), [(1, 8), (2, 64)])
def test_the_time_of_a_part_grows_as_its_calls_do(photos, monkeypatch, power, seconds):
    """A part takes a second of a pretended clock for 1,000 images, and there are 8,000."""
    clock = [0.0]
    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(cost, "ENOUGH", 0.9)

    @dataclass(frozen=True, kw_only=True)
    class Slow(KCenter):
        def select(self, embeddings, keep, rng, device, progress):
            clock[0] += (len(embeddings) / 1000) ** power

    part = Slow(backbone="pixels")
    found = cost.Cost(load().dataset(request(photos).spec), photos.truth, 3, Workspace.at(device="cpu"))
    told = found._part_seconds(part, cost.Sizes(images=8000, labeled=100, kept=900), width=4)
    assert told == pytest.approx(seconds)


def test_what_a_part_keeps_of_a_call_does_not_shorten_the_next(photos, monkeypatch):
    """The part is called twice for 30 images, as no more are there. The second call counts."""
    clock = [0.0]
    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock[0])

    def make(embeddings):
        clock[0] += len(embeddings)

    @dataclass(frozen=True, kw_only=True)
    class Keeping(KCenter):
        def select(self, embeddings, keep, rng, device, progress):
            kept.latest(make, embeddings)

    part = Keeping(backbone="pixels")
    found = cost.Cost(load().dataset(request(photos).spec), photos.truth, 3, Workspace.at(device="cpu"))
    assert found._part_seconds(part, cost.Sizes(images=30, labeled=10, kept=20), width=4) == 30


def test_a_part_that_takes_long_is_stopped_if_it_says_how_far_it_is(photos, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock[0])

    @dataclass(frozen=True, kw_only=True)
    class Slow(KCenter):
        def select(self, embeddings, keep, rng, device, progress):
            for done in range(100):
                clock[0] += 1
                progress(done + 1, 100)

    found = cost.Cost(load().dataset(request(photos).spec), photos.truth, 3, Workspace.at(device="cpu"))
    sizes = cost.Sizes(images=200, labeled=20, kept=50)
    assert found._part_seconds(Slow(backbone="pixels"), sizes, width=4) == 100
    assert clock[0] < 10


def test_a_preview_names_what_guesses_for_a_method_without_a_labeler(photos):
    place = Workspace.at(device="cpu")
    found = preview(request(photos, method="random"), place)
    assert (found.backbones, found.labeler) == ((), "probe on pixels")
    assert "unknown" not in found.time
    assert found.disk == 60 * 192 + 60 * 192 * 4
    assert preview(request(photos), place).labeler == ""


def test_a_preview_of_what_is_stored_says_so(photos):
    photos.prune(budget=20)
    place = Workspace.at(device="cpu")
    found = preview(request(photos), place)
    assert (found.stored, found.time, found.disk) == (True, cost.STORED, 0)
    other = preview(request(photos, method="semi_aum"), place)
    assert other.time.endswith(", and an unknown time for: labels of fixmatch on cpu") and not other.stored


def test_a_preview_of_photos_none_of_which_is_read_goes_on(photos, monkeypatch, capfd):
    """Those it looks at may all be bad, and others good."""
    monkeypatch.setattr(decoding, "SMALL", 0)  # so that a file in its data folder would list them
    names = sorted(photos.truth)
    monkeypatch.setattr(cost, "READ", (8, 40))
    looked_at = {*np.linspace(0, 59, 8, dtype=int), *np.linspace(0, 59, 40, dtype=int)}
    for place in looked_at:
        (photos.folder / names[place]).write_bytes(b"")
    place = Workspace.at(device="cpu")
    found = preview(request(photos, on_bad="skip"), place)
    assert found.time.endswith(", and an unknown time for: reading the images on cpu")
    assert capfd.readouterr().err == ""


def test_what_the_proxy_would_crop_of_images_does_not_concern_its_embeddings(photos):
    """The images that the final network sees may be cut; there is nothing to cut from embeddings."""
    cut = {"recipe.side": 6, "recipe.epochs": 3}
    place = Workspace.at(device="cpu")
    wanted = request(photos, changes=cut)
    assert wanted.backbone == "pixels" and preview(wanted, place).time.endswith(" on cpu")
    assert counts(photos.prune(budget=20, changes=cut)) == [12, 8, 40]


def test_free_space_is_that_of_the_nearest_folder_there_is(tmp_path):
    assert free(tmp_path / "not" / "there") > 0
