"""One of each group of duplicates is bought: what counts as one, exact numbers, and tables of old and new."""

import csv
import io
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from prunebench import draw, evaluate, recommend
from prunebench.errors import PrunebenchError
from prunebench.parts.images import Images
from prunebench.photos import prune as pruning
from prunebench.photos.folder import scan
from prunebench.photos.groups import counting, joined, read_groups, stand_ins
from prunebench.photos.prune import DROP, KEPT, TO_LABEL
from prunebench.pipeline import context, jobs
from prunebench.pipeline.stages import learning_curve
from prunebench.pipeline.stages.duplicates import NEAR, Duplicates, equal, thumbnails
from prunebench_plugins.datasets.photos import Photos
from tests.photo_folders import LABELS, write_labels

QUICK = {"method": "probe_aum", "backbone": "pixels", "side": 24, "changes": {"recipe.epochs": 2}}


def picture(rng, label):
    """A smooth picture with a bright channel, which survives another quality."""
    coarse = rng.integers(160, size=(5, 5, 3))
    coarse[:, :, label] += 90
    return Image.fromarray(coarse.astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path):
    """60 photos of three classes in three copies each: as it is, the same file, and of a lower quality.

    `prune(budget=20)` knows the labels of 12 copies.
    """
    folder, rng, truth = tmp_path / "photos", np.random.default_rng(0), {}
    folder.mkdir()
    for number in range(60):
        image = picture(rng, number % 3)
        image.save(folder / f"a{number:02d}.jpg", quality=95)
        shutil.copy(folder / f"a{number:02d}.jpg", folder / f"m{number:02d}.jpg")
        image.save(folder / f"z{number:02d}.jpg", quality=60)
        truth |= {f"{copy}{number:02d}.jpg": LABELS[number % 3] for copy in "amz"}
    truth = dict(sorted(truth.items()))
    known = {f"m{number:02d}.jpg": LABELS[number % 3] for number in range(0, 60, 5)}
    table = write_labels(tmp_path / "known.csv", known)
    made = {"store": tmp_path / "store", "data": tmp_path / "data", "device": "cpu", "workers": 0}

    def prune(**options):
        return pruning.prune(folder, table, **(QUICK | made | options))

    yield SimpleNamespace(
        folder=folder, truth=truth, known=known, table=table, prune=prune, made=made, root=tmp_path
    )
    context.load_split.cache_clear()


@pytest.fixture
def sides(monkeypatch):
    """The names in the training and in the test split, whenever photos are split."""
    seen, split = [], Photos._split

    def spied(self, names, labels):
        found = split(self, names, labels)
        seen.append([[names[i] for i in found[side]] for side in ("train", "test")])
        return found

    monkeypatch.setattr(Photos, "_split", spied)
    return seen


def subject(name):
    """What a photo shows: its number."""
    return name[1:3]


def counts(pruned):
    return [len(pruned.chosen(status)) for status in (KEPT, TO_LABEL, DROP)]


def write_csv(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


# What is bought


@pytest.mark.parametrize("budget", [13, 20, 45, 60])
def test_no_two_copies_are_bought_and_the_budget_is_met(photos, budget):
    pruned = photos.prune(budget=budget)
    assert counts(pruned) == [12, budget - 12, 180 - budget]
    bought = [*map(subject, pruned.chosen(KEPT, TO_LABEL))]
    assert len({*bought}) == budget


def test_copies_say_which_image_counts_and_have_its_label_and_score(photos):
    pruned = photos.prune(budget=20)
    of = {name: i for i, name in enumerate(pruned.files)}
    others = {name: stands for name, stands in zip(pruned.files, pruned.duplicate_of, strict=True) if stands}
    assert len(others) == 120 and {*map(subject, others)} == {*map(subject, pruned.files)}
    for name, stands in others.items():
        assert subject(name) == subject(stands) and stands not in others
        assert stands == (f"m{subject(name)}.jpg" if f"m{subject(name)}.jpg" in photos.known else stands)
        assert pruned.status[of[name]] == DROP
        for column in (pruned.scores, pruned.confidences, pruned.pseudo_labels):
            assert column[of[name]] == column[of[stands]]
    assert np.isfinite(pruned.scores).all()


def test_copies_are_bought_if_duplicates_are_ignored(photos):
    pruned = photos.prune(budget=120, method="random", duplicates="ignore")
    assert counts(pruned) == [12, 108, 60]
    assert len({*map(subject, pruned.chosen(KEPT, TO_LABEL))}) < 61 and {*pruned.duplicate_of} == {""}


def test_a_budget_above_the_distinct_images_is_one_line(photos):
    said = r"^61 images are to be kept, but only 60 are left .* or give --duplicates ignore$"
    with pytest.raises(PrunebenchError, match=said):
        photos.prune(budget=61)


def test_labeled_copies_are_all_kept_and_count(photos):
    write_labels(photos.table, photos.known | {"a00.jpg": LABELS[0]})
    pruned = photos.prune(budget=20)
    assert counts(pruned) == [13, 7, 160]
    assert len({*map(subject, pruned.chosen(KEPT, TO_LABEL))}) == 19


def test_copies_with_different_labels_are_told(photos):
    assert not photos.prune(budget=20).warnings
    write_labels(photos.table, photos.known | {"z00.jpg": LABELS[1]})
    assert photos.prune(budget=20).warnings == ("1 duplicate(s) with another label: z00.jpg",)


def tables(photos):
    """Return the number of tables that stages read."""
    return len([*(photos.root / "store" / "photos").glob("*.csv")])


def test_another_budget_searches_nothing_again(photos, monkeypatch):
    photos.prune(budget=20)
    made, run = [], jobs.run
    monkeypatch.setattr(jobs, "run", lambda job, *more: (made.append(job.kind), run(job, *more)))
    photos.prune(budget=30)
    assert made == ["subset"]
    assert tables(photos) == 1  # of the groups


def test_without_duplicates_the_stages_are_those_of_ignoring_them(photos):
    for path in photos.folder.glob("[mz]*.jpg"):
        path.unlink()
    known = {f"a{name[1:]}": label for name, label in photos.known.items()}
    write_labels(photos.table, known)
    pruned = photos.prune(budget=20)
    assert pruned.text == photos.prune(budget=20, duplicates="ignore").text
    assert tables(photos) == 0


def test_a_damaged_search_is_made_again(photos):
    text = photos.prune(budget=20).text
    (found,) = [
        path.parent
        for path in (photos.root / "store").rglob("manifest.json")
        if '"duplicates"' in path.read_text()
    ]
    (found / "payload.safetensors").write_bytes(b"")
    assert photos.prune(budget=20).text == text


def test_a_wrong_word_is_one_line(photos):
    with pytest.raises(PrunebenchError, match=r"no way named 'both'\. Known: ignore, keep-one|no way named"):
        photos.prune(budget=20, duplicates="both")


# The draw


def test_a_draw_has_no_file_twice(photos):
    drawn = draw(photos.folder, 100, data=photos.root / "data")
    contents = {(photos.folder / name).read_bytes() for name in drawn}
    assert len(contents) == 100  # of 120 that differ
    assert draw(photos.folder, 30, data=photos.root / "data") == drawn[:30]
    said = r"^--labels is 121, but only 120 images in .* differ; the others are 60 copies; lower it$"
    with pytest.raises(PrunebenchError, match=said):
        draw(photos.folder, 121, data=photos.root / "data")


LOOKING = ("kcenter", "probcover", "typiclust", "usl", "zcore")


@pytest.mark.parametrize("by", LOOKING)
@pytest.mark.parametrize("labels", [4, 60])
def test_a_draw_that_looks_has_no_image_twice(photos, by, labels):
    """Even if it wants several images of each of few clusters, and copies are in one cluster."""
    changes = {"typiclust": {"typiclust.clusters": 4}, "usl": {"usl.clusters": 4}}.get(by)
    looking = {"by": by, "backbone": "pixels", "side": 24, "changes": changes}
    drawn = draw(photos.folder, labels, **looking, **photos.made)
    assert len({*map(subject, drawn)}) == len(drawn) == labels
    assert all(name[0] == "a" for name in drawn)  # the first of each group


@pytest.mark.parametrize("by", LOOKING)
def test_more_labels_than_images_that_differ_are_one_line(photos, by):
    said = (
        r"^--labels is 61, but only 60 images in .* differ; the others are 120 copies; lower it, or draw "
        r"with --by uniform$"
    )
    with pytest.raises(PrunebenchError, match=said):
        draw(photos.folder, 61, by=by, backbone="pixels", side=24, **photos.made)


def test_a_draw_and_a_prune_search_once(photos, monkeypatch):
    made, run = [], jobs.run
    monkeypatch.setattr(jobs, "run", lambda job, *more: (made.append(job.kind), run(job, *more)))
    draw(photos.folder, 20, by="typiclust", backbone="pixels", side=24, **photos.made)
    assert made == ["duplicates", "embeddings", "order"]
    photos.prune(budget=20)
    assert made.count("duplicates") == made.count("embeddings") == 1


def test_a_draw_sees_what_it_would_without_the_copies(photos):
    looking = {"by": "usl", "backbone": "pixels", "side": 24} | photos.made
    drawn = draw(photos.folder, 20, **looking)
    for path in photos.folder.glob("[mz]*.jpg"):
        path.unlink()
    assert draw(photos.folder, 20, **looking) == drawn


def test_the_commands_say_how_many_there_were(photos, cli):
    table = photos.root / "draw.csv"
    assert "\n37 copies passed over\n" in cli(f"draw {photos.folder} --labels 100 --output {table}").out
    looking = "--by kcenter --backbone pixels --side 24 --workers 0 --device cpu"
    drawn = cli(f"draw {photos.folder} --labels 40 --output {photos.root / 'looked.csv'} {looking}").out
    assert drawn.endswith("40 images to label; fill in the column label\n120 copies passed over\n")
    options = "--budget 20 --method random --side 24 --workers 0 --yes --device cpu"
    told = cli(
        f"prune {photos.folder} --known {photos.table} --output {photos.root / 'kept.csv'} {options}"
    ).out
    assert "duplicates     120 images that others stand for" in told  # as the draw found them
    assert "60 group(s) of duplicates found, 120 image(s) beside one of each" in told
    again = cli(
        f"prune {photos.folder} --known {photos.table} --output {photos.root / 'kept.csv'} {options}"
    ).out
    assert (
        "duplicates     120 images that others stand for" in again
        and "time           none, all is stored" in again
    )


# How many labels are enough


@pytest.fixture
def curves(monkeypatch):
    """The positions of the images that learning curves train and test on."""
    seen, split = [], learning_curve.split

    def spied(*given):
        seen.append(split(*given))
        return seen[-1]

    monkeypatch.setattr(learning_curve, "split", spied)
    return seen


def recommended(photos, saved=None, **options):
    """Ask with the labels of all photos, copies among them. saved: another file of labels."""
    every = saved or write_labels(photos.root / "all.csv", photos.truth)
    asked = {"backbone": "pixels", "side": 24, "seeds": 2, "methods": ["k_center_pixels"]} | photos.made
    return recommend(photos.folder, every, **(asked | options))


def test_a_recommendation_never_tests_on_a_copy_of_what_it_trained_on(photos, curves, sides):
    names = scan(photos.folder)
    found = recommended(photos)
    assert (found.images, found.labeled, found.passed) == (60, 60, 120)
    assert found.points[-1].labels == 60
    assert found.warnings[-1] == "120 label(s) of images that others stand for do not count"
    for trained, tested in curves:
        assert len({subject(names[i]) for i in (*trained, *tested)}) == len(trained) + len(tested) == 60
    assert found.contests and sides
    for train, test in sides:
        assert len({*map(subject, train + test)}) == 60 == len(train + test)


def test_a_new_file_of_labels_is_no_change_once_duplicates_are_known(photos):
    kept, told = photos.root / "kept.csv", []

    def tell(time, advice):
        told.append(time)

    photos.prune(budget=20).to_csv(kept)
    asked = {"methods": [], "tell": tell}
    found = recommended(photos, **asked)
    assert (found.images, found.passed) == (60, 120)
    every = photos.root / "all.csv"
    os.utime(every, (0, 0))  # saved again
    assert recommended(photos, saved=every, **asked) == found
    copied = shutil.copy(every, photos.root / "copied.csv")
    assert recommended(photos, saved=copied, **asked) == found
    fewer = write_labels(photos.root / "fewer.csv", dict([*photos.truth.items()][:40]))
    assert recommended(photos, saved=fewer, **asked).labeled == 40
    assert len(told) == 4
    drawn = draw(photos.folder, 20, by="kcenter", backbone="pixels", side=24, **photos.made)
    draw_of = write_labels(photos.root / "draw.csv", {name: photos.truth[name] for name in drawn})
    pruning.prune(photos.folder, draw_of, budget=30, **(QUICK | photos.made)).to_csv(photos.root / "next.csv")
    for table in (kept, photos.root / "next.csv"):
        newest = write_labels(photos.root / f"of_{table.name}", photos.truth)
        evaluate(table, newest, backbone="pixels", seeds=1, tell=tell, **photos.made)
    assert len(told) == 6


def test_a_recommendation_that_ignores_duplicates_counts_all(photos, curves, cli):
    found = recommended(photos, duplicates="ignore", methods=[])
    assert (found.images, found.labeled, found.passed) == (180, 180, 0)
    trained, tested = ({i % 60 for i in side} for side in curves[0])  # three copies, sorted by letter
    assert trained & tested
    options = f"--known {photos.root / 'all.csv'} --backbone pixels --side 24 --seeds 2 --methods none"
    places = f"--store {photos.made['store']} --data {photos.made['data']} --device cpu --workers 0"
    told = cli(f"recommend {photos.folder} {options} {places}")
    assert "\n60 of 60 images in " in told.out and " beside 120 that others stand for; " in told.out
    told = cli(f"recommend {photos.folder} {options} {places} --duplicates ignore")
    assert "\n180 of 180 images in " in told.out and "stand for" not in told.out + told.err


def test_too_few_labels_without_their_copies_are_one_line(photos):
    known = {name: label for name, label in photos.truth.items() if int(subject(name)) < 10}
    table = write_labels(photos.root / "few.csv", known)
    said = r"^.*few.csv has labels of 10 images that are no copies of others, but .* needs 20; label 10 more"
    with pytest.raises(PrunebenchError, match=said):
        recommend(photos.folder, table, backbone="pixels", side=24, methods=[], **photos.made)


# What counts as a duplicate


def test_brightness_and_contrast_do_not_change_a_thumbnail():
    rng = np.random.default_rng(0)
    image = rng.integers(100, size=(1, 3, 32, 32), dtype=np.uint8)
    both = np.concatenate([image, 2 * image + 20])
    vectors = thumbnails(Images(both, mean=(0.5,) * 3, std=(0.5,) * 3), 16)
    assert vectors.shape == (2, 3 * 16 * 16)
    assert np.corrcoef(vectors)[0, 1] > NEAR > np.corrcoef(vectors[0], rng.normal(size=768))[0, 1]


def test_flat_images_are_duplicates_only_if_they_are_equal():
    flat = np.full((3, 3, 8, 8), [[[[7]]]], np.uint8)
    flat[1] += 1
    images = Images(flat, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert equal(images).tolist() in ([0, 1, 0], [1, 0, 1])
    given = SimpleNamespace(images=images, device="cpu")
    groups = Duplicates.compute(SimpleNamespace(side=16, correlation=NEAR), given)[0].values
    assert groups[0] == groups[2] != groups[1]


def test_groups_that_share_an_image_become_one():
    assert joined(np.array([0, 0, 1, 2]), np.array([3, 2, 2, 0])).tolist() == [0, 0, 0, 1]


def test_the_first_labeled_image_stands_for_its_group():
    groups = np.array([4, 7, 4, 4, 9, 7])
    labeled = np.array([0, 0, 1, 1, 0, 0], bool)
    standing = stand_ins(groups, labeled)
    assert standing.tolist() == [2, 1, 2, 3, 4, 1]
    assert counting(standing).tolist() == [1, 2, 3, 4]


# Groups


@pytest.fixture
def grouped(photos):
    """The photos without copies, ten products with six photos each, two of them labeled."""
    for path in photos.folder.glob("[mz]*.jpg"):
        path.unlink()
    names = scan(photos.folder)
    photos.truth = {name: photos.truth[name] for name in names}
    photos.group = {name: f"product {i // 6}" for i, name in enumerate(names)}
    photos.groups = write_csv(photos.root / "groups.csv", ["file", "group"], photos.group.items())
    write_labels(photos.table, {"a00.jpg": LABELS[0], "a07.jpg": LABELS[1]})
    return photos


def test_one_image_of_a_group_is_bought_and_none_of_a_labeled_one(grouped):
    pruned = grouped.prune(budget=7, method="random", groups=grouped.groups)
    bought = [grouped.group[name] for name in pruned.chosen(KEPT, TO_LABEL)]
    assert counts(pruned) == [2, 5, 53] and len({*bought}) == 7
    assert {"product 0", "product 1"} < {*bought}
    with pytest.raises(PrunebenchError, match=r"^11 images are to be kept, but only 10 are left"):
        grouped.prune(budget=11, method="random", groups=grouped.groups)


def test_one_image_of_a_group_counts_for_a_recommendation(grouped, curves):
    pairs = {name: f"pair {i // 2}" for i, name in enumerate(grouped.truth)}
    groups = write_csv(grouped.root / "pairs.csv", ["file", "group"], pairs.items())
    found = recommended(grouped, groups=groups, methods=[])
    assert (found.images, found.labeled, found.passed) == (30, 30, 30)
    for trained, tested in curves:
        assert all(i % 2 == 0 for i in (*trained, *tested))  # the first of each pair
    wrong = write_csv(grouped.root / "wrong.csv", ["file", "group"], [["b.jpg", "x"]])
    with pytest.raises(PrunebenchError, match=r"lists 1 file\(s\) that are no images in .*: b.jpg$"):
        recommended(grouped, groups=wrong, data=grouped.root / "other")
    assert not (grouped.root / "other").exists()  # told before an image was read


def test_a_group_is_never_on_both_sides_of_a_split(grouped, sides):
    pruned = grouped.prune(budget=7, method="random", groups=grouped.groups)
    pruned.to_csv(grouped.root / "kept.csv")
    sides.clear()
    every = write_labels(grouped.root / "all.csv", grouped.truth)
    options = {"holdout": 0.2, "seeds": 2, "recipe": "scratch"} | grouped.made
    found = evaluate(grouped.root / "kept.csv", every, groups=grouped.groups, **options)
    assert found.tested == (12, 12)  # two products of six
    for split in sides:
        train, test = ({grouped.group[name] for name in names} for names in split)
        assert len(train) == 8 and len(test) == 2 and not train & test


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        (["file", "product"], [], r"needs one column 'group' and has none"),
        (["file", "group"], [["b.jpg", "x"]], r"lists 1 file\(s\) that are no images in .*: b.jpg$"),
        (
            ["file", "group"],
            [["a00.jpg", "x"], ["a00.jpg", "y"]],
            r"puts a00.jpg into both 'x' and 'y'; keep one of the two",
        ),
        (
            ["file", "group"],
            [["a00.jpg", "x"], ["./a00.jpg", "y"]],
            r"puts a00.jpg into both 'x' and 'y'; keep one of the two",
        ),
    ],
)
def test_a_wrong_table_of_groups_is_one_line(grouped, header, rows, said):
    path = write_csv(grouped.root / "wrong.csv", header, rows)
    with pytest.raises(PrunebenchError, match=said) as told:
        grouped.prune(budget=7, groups=path)
    assert "\n" not in str(told.value)


def test_images_without_a_group_are_alone(tmp_path):
    path = write_csv(tmp_path / "groups.csv", ["file", "group"], [["b", "x"], ["d", " x "], ["a", ""]])
    groups = read_groups(path, ["a", "b", "c", "d"], tmp_path)
    assert groups[1] == groups[3] and len({*groups}) == 3


def test_groups_are_numbered_by_their_first_images(tmp_path):
    """Not by the order of hashes: a split follows from the numbers, and many processes make its stages."""
    names = [f"{i:02}.jpg" for i in range(40)]
    rows = [[name, f"product {i % 10}"] for i, name in enumerate(names)]
    for order in (1, -1):
        path = write_csv(tmp_path / f"groups{order}.csv", ["file", "group"], rows[::order])
        assert read_groups(path, names, tmp_path).tolist() == [i % 10 for i in range(40)]


# Tables of old and new


def test_the_table_of_an_older_prune_is_still_evaluated(photos, sides):
    pruned = photos.prune(budget=20, method="random")
    pruned.to_csv(photos.root / "kept.csv")
    every = write_labels(photos.root / "all.csv", photos.truth)
    rows = [*csv.reader(io.StringIO((photos.root / "kept.csv").read_text()))]
    old = write_csv(photos.root / "old.csv", rows[0][:5], [row[:5] for row in rows[1:]])
    options = {"holdout": 0.2, "seeds": 1, "recipe": "scratch"} | photos.made
    shared = []
    for path in (old, photos.root / "kept.csv"):
        sides.clear()
        found = evaluate(path, every, **options)
        assert (found.kept, found.tested) == (20, (36,))
        train, test = ({*map(subject, names)} for names in sides[-1])
        shared.append(len(train & test))
    assert shared[0] > 0 == shared[1]  # the copies that a new table names stay together
