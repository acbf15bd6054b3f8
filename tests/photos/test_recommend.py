"""How many labels are enough: the learning curve, the answer in words, methods against Random."""

import csv
import re
from types import SimpleNamespace

import numpy as np
import pytest

import prunebench
from prunebench.errors import PrunebenchError
from prunebench.nn import training
from prunebench.photos.contests import Contest
from prunebench.photos.recommend import Recommendation, enough
from prunebench.pipeline import context
from prunebench.pipeline.stages.learning_curve import FOLDS, even_batch, sizes, split
from prunebench.results.learning_curve import Curve, Estimate
from tests.photo_folders import listing, write_labels, write_photos

PLAIN = "recommend photos --known known.csv --backbone pixels --side 8 --device cpu --workers 0"
QUICK = f"{PLAIN} --seeds 2 --methods none"


@pytest.fixture
def photos(tmp_path):
    """120 photos in photos/ and 48 labels in known.csv, where `cli` runs."""
    truth = write_photos(tmp_path / "photos", count=120)

    def label(labels):
        write_labels(tmp_path / "known.csv", labels)

    label(dict(list(truth.items())[:48]))
    yield SimpleNamespace(folder=tmp_path / "photos", truth=truth, label=label)
    context.load_split.cache_clear()


def noisy(truth, count):
    """Return labels that say nothing about the photos."""
    rng = np.random.default_rng(0)
    return {name: str(rng.choice(["a", "b"])) for name in list(truth)[:count]}


# The answer


def test_it_shows_a_curve_and_says_how_many(cli, photos, tmp_path):
    before = listing(photos.folder)
    told = cli(f"{QUICK} --output curve.csv")
    assert (told.code, told.err) == (0, "")
    before_it, after_it, *lines = told.out.splitlines()
    assert re.fullmatch(r"time  \S+ \S+ on cpu", before_it)
    assert re.fullmatch(rf"took \S+ \S+; told before: {before_it.removeprefix('time  ')}", after_it)
    assert lines[0] == "48 of 120 images in photos have a label; trained: mlp on pixels, 40 epochs"
    rows = [line.split() for line in lines[3:9]]
    assert [(row[0], row[-1]) for row in rows] == [
        *[(count, "measured") for count in ("4", "9", "19", "38")],
        *[(count, "predicted") for count in ("48", "96")],
    ]
    assert all(float(row[2]) <= float(row[1]) <= float(row[4]) for row in rows)
    assert told.out.endswith("wrote curve.csv: the learning curve\n")
    assert listing(photos.folder) == before
    with (tmp_path / "curve.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["labels"] for row in written] == ["4", "9", "19", "38", "48", "96", "120"]
    assert [f"{float(row['accuracy']):.1f}" for row in written[:6]] == [row[1] for row in rows]


def test_a_curve_that_is_there_is_told_before_the_work_and_kept(cli, photos, tmp_path):
    (tmp_path / "curve.csv").write_text("labels,kind,accuracy,low,high\n")
    warning = "warning: curve.csv exists; it is not overwritten if the result differs\n"
    refusal = "Error: curve.csv exists and holds something else, which may be your work; "
    told = cli(f"{QUICK} --output curve.csv")
    assert told.code == 2 and told.err.startswith(f"{warning}{refusal}")
    told = cli(f"{QUICK} --output curve.csv")  # all is stored now, and so it says at once what it will do
    assert told.code == 2 and told.err.startswith(refusal)
    assert (tmp_path / "curve.csv").read_text() == "labels,kind,accuracy,low,high\n"


def test_a_better_backbone_is_named_where_heads_are_trained(cli, photos):
    by_default = cli(QUICK.replace("--backbone pixels ", ""))
    first, second, *_ = by_default.out.splitlines()  # while there is a choice
    assert first.startswith("backbone: efficientnet_lite0. Better, but slower: --backbone dinov2_vitb14, ")
    assert second.startswith("time  ")
    again = cli(QUICK.replace("--backbone pixels ", ""))
    assert again.out.startswith("time  none, all is stored") and "backbone: " not in again.out
    assert "backbone: " not in cli(QUICK).out
    assert "backbone: " not in cli(f"{QUICK} --recipe scratch".replace("--backbone pixels ", "")).out


def test_a_second_call_trains_nothing_and_says_the_same(cli, photos, monkeypatch):
    first = cli(QUICK)
    monkeypatch.setattr(training, "train", None)
    told, _, answer = cli(QUICK).out.partition("\n")
    assert (told, answer) == ("time  none, all is stored", first.out.split("\n", 2)[2])
    assert "is not reached within the folder" in cli(f"{QUICK} --target 99.99").out


def test_the_python_function_says_what_the_command_says(cli, photos, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    told = cli(QUICK)
    options = {"backbone": "pixels", "side": 8, "seeds": 2, "methods": [], "device": "cpu", "workers": 0}
    found = prunebench.recommend("photos", "known.csv", **options)
    assert found.answer in told.out
    assert found.contests == ()


def test_labels_that_say_nothing_do_not_help_measurably(cli, photos):
    photos.label(noisy(photos.truth, 60))
    told = cli(QUICK)
    assert "More labels do not help measurably: from 6 to 48 labels the accuracy changes by" in told.out


@pytest.mark.parametrize(
    ("labels", "labeled", "answer"),
    [
        (
            50,
            40,
            "Label about 50 images, 10 more than have a label: expect 90.0 ± 2.0 %. Twice as many labels "
            "would bring 1.0 ± 0.5 points.",
        ),
        (
            100,
            40,
            "Label all 100 images, as labels help up to the last: expect 90.0 ± 2.0 %. Twice as many photos "
            "would bring 1.0 ± 0.5 points.",
        ),
        (
            100,
            100,
            "All 100 images have a label: expect 90.0 ± 2.0 %. Twice as many photos would bring 1.0 ± 0.5 "
            "points.",
        ),
        (
            40,
            40,
            "Your 40 labels are enough: expect 90.0 ± 2.0 %. Twice as many labels would bring 1.0 ± "
            "0.5 points.",
        ),
    ],
)
def test_the_answer_says_how_many_and_why(tmp_path, labels, labeled, answer):
    found = Recommendation(
        **{"folder": tmp_path, "images": 100, "labeled": labeled, "passed": 0, "networks": "mlp"},
        **{"points": (), "labels": labels, "target": None, "contests": ()},
        expected=Estimate(90, 88, 92),
        doubled=Estimate(1, 0.5, 1.5),
        climb=Estimate(20, 10, 30),
    )
    assert found.answer == answer


def test_a_target_has_a_number_of_labels(cli, photos):
    easy = cli(f"{QUICK} --target 40").out
    assert "4 of your 48 labels reach 40 %: expect " in easy
    rows = [line.split() for line in easy.splitlines() if line.endswith(("measured", "predicted"))]
    assert [row[0] for row in rows] == ["4", "4", "9", "19", "38", "48", "96", "120"]
    assert [row[-1] for row in rows[:3]] == ["measured", "predicted", "measured"]
    hard = cli(f"{QUICK} --target 99.99").out
    assert "99.99 % is not reached within the folder: at most " in hard
    assert hard.rstrip().endswith("% with all 120 images.")


def test_all_images_may_have_a_label(cli, photos):
    photos.label(noisy(photos.truth, 120))
    told = cli(f"{QUICK} --target 99")
    assert told.code == 0
    assert "\n120 of 120 images in photos have a label" in told.out
    assert "99 % is not reached within the folder: at most " in told.out


def test_a_class_with_one_label_is_told(cli, photos):
    labels = dict(list(photos.truth.items())[:48])
    photos.label(labels | {list(photos.truth)[60]: "eel"})
    told = cli(QUICK)
    assert told.code == 0
    assert "warning: 1 class(es) with a single label: eel\n" in told.err
    assert "warning: 1 class(es) with fewer than 5 labels, so some splits hold out none: eel\n" in told.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--target 100", "--target is 100.0, expected percent, above 1 and below 100"),
        ("--target 0.9", "--target is 0.9, expected percent, above 1 and below 100"),
        ("--gain 0", "--gain is 0.0, expected above 0"),
        ("--recipe quik", "no recipe named 'quik'. Did you mean 'quick'? See: "),
        ("--methods probe_amu", "no method named 'probe_amu'. Did you mean 'probe_aum'? See: "),
        ("--methods random,probe_aum", "--methods random: the others are compared with it; leave it out"),
        ("--methods dual", "method 'dual' needs the labels of all images; choose one that needs few labels"),
        ("--output photos/curve.csv", "--output photos/curve.csv lies in photos, where nothing is written"),
        ("--store photos/store", "--store photos/store lies in photos, where nothing is written"),
    ],
)
def test_a_wrong_request_is_one_line(cli, photos, options, message):
    before = listing(photos.folder)
    told = cli(f"{PLAIN} {options}")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(f"Error: {message}") and told.err.count("\n") == 1
    assert listing(photos.folder) == before


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (19, "known.csv has labels of 19 images, but a learning curve needs 20; label 1 more, drawn at ran"),
        (1, "known.csv has labels of one class alone, bird; label images of another, too"),
        (0, "known.csv has no label; fill in the column label"),
    ],
)
def test_too_few_labels_are_told_before_an_image_is_read(cli, photos, tmp_path, count, message):
    photos.label(dict(list(photos.truth.items())[:count]))
    told = cli(QUICK)
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)
    assert message in told.err
    assert not (tmp_path / "data").exists()


def test_twenty_labels_are_enough_for_a_curve(cli, photos):
    photos.label(dict(list(photos.truth.items())[:20]))
    told = cli(f"{QUICK} --methods probe_aum")
    assert told.code == 0
    assert "choosing was not compared with Random, which needs 50 labels\n" in told.err


def test_labels_that_are_edited_meanwhile_are_told(cli, photos, monkeypatch):
    train = training.train

    def edited(*arguments, **options):
        photos.label(dict(list(photos.truth.items())[:50]))
        return train(*arguments, **options)

    monkeypatch.setattr(training, "train", edited)
    told = cli(QUICK)
    assert told.code == 2
    assert told.err.endswith("Error: the labels or the photos changed meanwhile; run it again\n")


# What it rests on


def curve(errors):
    """Return a curve with these errors, measured on very many images."""
    images = 100_000
    wrong = np.arange(images)[:, None] < images * np.array(errors)
    return Curve(sizes=np.array([20, 40, 80, 160]), wrong=wrong.astype(float))


HALF_POWER = curve(2 * np.array([20, 40, 80, 160]) ** -0.5)  # 84 % with 160 labels, 90 with 400


@pytest.mark.parametrize("target", [80, 88, 90])
def test_the_number_for_a_target_is_the_smallest_that_is_predicted_to_reach_it(target):
    labels = enough(HALF_POWER, 100_000, 200, target, 1.0)
    assert HALF_POWER.accuracy(labels) >= target
    assert HALF_POWER.accuracy(int(labels * 0.89)) < target  # as it is rounded up to two digits
    assert enough(HALF_POWER, 150, 100, 95, 1.0) == 150


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_without_a_target_labels_are_enough_once_twice_as_many_bring_less(gain):
    labels = enough(HALF_POWER, 10**6, 200, None, gain)
    gained = HALF_POWER.accuracy(2 * labels) - HALF_POWER.accuracy(labels)
    before = int(labels * 0.89)
    assert gained < gain <= HALF_POWER.accuracy(2 * before) - HALF_POWER.accuracy(before)
    assert enough(HALF_POWER, 250, 200, None, gain) == 250
    assert enough(HALF_POWER, 10**6, 200, None, 99.0) == 200


def test_each_label_is_held_out_once_in_five_splits_and_each_class_in_each_if_it_can():
    labels = np.repeat([0, 1, 2, -1], [50, 25, 5, 20])
    rng = np.random.default_rng(0)
    splits = [split(labels, repeat, rng) for repeat in range(2 * FOLDS)]
    for half in (splits[:FOLDS], splits[FOLDS:]):
        held = np.concatenate([tested for _, tested in half])
        assert sorted(held) == list(range(80))
    for trained, tested in splits:
        assert np.bincount(labels[tested]).tolist() == [10, 5, 1]
        assert sorted([*trained, *tested]) == list(range(80))
    assert not np.array_equal(splits[0][1], splits[FOLDS][1])


def test_splits_of_any_number_of_labels_train_on_equally_many():
    for count in range(20, 30):
        labels = np.arange(count) % 3
        splits = [split(labels, repeat, np.random.default_rng(0)) for repeat in range(FOLDS)]
        assert len({len(trained) for trained, _ in splits}) == 1
        assert {len(tested) for _, tested in splits} <= {count // FOLDS, -(-count // FOLDS)}
        assert not any(set(trained) & set(tested) for trained, tested in splits)


def test_sizes_double_up_to_the_most():
    assert sizes(160) == [10, 20, 40, 80, 160]
    assert sizes(16) == [4, 8, 16]
    assert sizes(4000) == [250, 500, 1000, 2000, 4000]


@pytest.mark.parametrize("images", [2, 127, 128, 129, 260, 400, 1000])
def test_batches_are_about_equal(images):
    bounds = training.batch_bounds(images, even_batch(images, 128))
    lengths = np.diff(bounds)
    assert lengths.max() <= 129 and lengths.min() > 0.9 * lengths.max() - 1
    assert len(lengths) == -(-images // 128)


# Methods against Random


def test_methods_are_compared_with_random_at_equal_labels(cli, photos, monkeypatch):
    photos.label(dict(list(photos.truth.items())[:60]))
    trained, train = [], training.train

    def spied(images, labels, recipe, *, index, **more):
        trained.append(len(index))
        return train(images, labels, recipe, index=index, **more)

    monkeypatch.setattr(training, "train", spied)
    told = cli(f"{PLAIN} --seeds 2 --methods facility_location,prototypicality")
    assert (told.code, told.err) == (0, "")
    verdicts = told.out.splitlines()[-2:]
    for name, line in zip(("facility_location", "prototypicality"), verdicts, strict=True):
        assert line.startswith(f"Choosing by {name} ") and "Random" in line
        assert "both with 24 labels." in line
    # Half of the 48 that are not held out, by two methods and Random, for two seeds.
    assert trained.count(24) >= 6


def contest(*differences):
    return Contest(method="m", labels=80, differences=differences)


def test_a_contest_is_decided_by_its_interval():
    assert contest(2.0, 2.1, 1.9, 2.0).verdict.startswith("Choosing by m beats Random by 2.0 ± 0.2 points")
    assert contest(-2.0, -2.1, -1.9).verdict.startswith("Choosing by m loses to Random by 2.0 ± ")
    undecided = "Choosing by m is not separated from Random: +0.5 ± "
    assert contest(-2.0, 3.0, 0.5).verdict.startswith(undecided)
    equal = "Choosing by m is not separated from Random: +5.0 points for every seed, which shows no spread"
    assert contest(5.0, 5.0).verdict == f"{equal}, both with 80 labels."
    nothing = contest(-2.0, 1.98, 0.0).verdict
    assert nothing.startswith("Choosing by m is not separated from Random: +0.0 ± ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "none"}, "no recipe named"),
        ({"target": "95"}, "--target is '95', expected a number"),
        ({"gain": "1"}, "--gain is '1', expected a number"),
        ({"seeds": 2.5}, "--seeds is 2.5, expected a whole number"),
    ],
)
def test_a_mistake_is_one_line_in_python_too(photos, tmp_path, options, message):
    with pytest.raises(PrunebenchError, match=message):
        prunebench.recommend(photos.folder, tmp_path / "known.csv", methods=[], **options)
