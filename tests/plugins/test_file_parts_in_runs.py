"""The parts called `file` in runs: their contract, what they say they cost, and commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prunebench.parts.artefacts import Labels, Scores, Subset
from prunebench.parts.conformance import check, conform
from prunebench.parts.identity import identity
from prunebench.parts.method import Method
from prunebench.parts.problem import synthetic_problem
from prunebench.parts.registry import load
from prunebench.pipeline import context
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench_plugins.labelers import file as labelers
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.scorers import file as scorers
from prunebench_plugins.scorers.el2n import El2n
from prunebench_plugins.selectors import file as selectors
from prunebench_plugins.selectors.annotated import Annotated
from prunebench_plugins.selectors.include import Include
from prunebench_plugins.selectors.top import Top

# The contract


def test_scorer_and_labeler_keep_the_contract(write):
    rng = np.random.default_rng(0)
    names = synthetic_problem().names
    rows = "".join(f"{names[i]},{float(rng.random())!r},{'abcd'[i % 4]}\n" for i in rng.permutation(120))
    path = write("t.csv", f"image,score,class\n{rows}")
    conform(scorers.File(path=path, column="score", name_column="image"))
    conform(labelers.File(path=path, column="class", name_column="image", space="name"))
    conform(
        labelers.File(
            path=write("l.npy", np.arange(120) % 4), label_fraction=0.1, annotated=write("p.npy", range(12))
        )
    )


def test_of_the_selector_only_the_sizes_of_one_ratio_can_be_right(write):
    found = {outcome.name: outcome.error for outcome in check(selectors.File(path=write("k.npy", range(36))))}
    assert found["identity is JSON"] is None
    assert found["runs"].startswith("120 of 120 images are to be kept, but ")


def test_the_content_decides_the_identity_and_not_the_place(write, tmp_path):
    first, second = write("a.npy", [1, 2]), write("b.npy", [1, 2])
    shas = [identity(selectors.File(path=(path,)))["fields"]["path"][0]["sha256"] for path in (first, second)]
    assert shas[0] == shas[1]
    write("b.npy", [2, 1])
    assert identity(selectors.File(path=(second,)))["fields"]["path"][0]["sha256"] != shas[0]


@pytest.mark.parametrize("path", [None, "one.npy", ["one.npy", "two.npy"]])
def test_a_selector_is_rebuilt_from_its_identity(write, monkeypatch, tmp_path, path):
    monkeypatch.chdir(tmp_path)
    write("one.npy", [1])
    write("two.npy", [1, 2])
    part = load().part("selector", {"part": "file"} | ({} if path is None else {"path": path}))
    again = load().rebuild(json.loads(json.dumps(identity(part))))
    assert identity(again) == identity(part)
    assert [place.name for place in again.paths] == [
        Path(name).name for name in ([path] if isinstance(path, str) else path or [])
    ]


# The ledger: on 64 images of the toy dataset, at ratio 50


@pytest.fixture
def files(write):
    """Files for the toy dataset: scores that grow, the first 32 images, true labels, and 16 annotated."""
    return {
        "scores": write("scores.npy", np.arange(64.0)),
        "subset": write("subset.npy", np.arange(32)),
        "labels": write("labels.npy", np.arange(64) % 4),
        "annotated": write("annotated.npy", np.arange(24, 40)),
    }


def few(files):
    return labelers.File(path=files["labels"], label_fraction=0.25, annotated=files["annotated"])


def test_scores_count_as_made_with_all_labels_until_their_user_says_otherwise(matrix, make, files, store):
    methods = [
        Method(name, title=name, scorer=scorers.File(path=files["scores"], **said), selector=Top())
        for name, said in {"silent": {}, "said": {"label_fraction": 0.0}}.items()
    ]
    made = make(matrix(*methods))
    assert made.failures == {}
    silent, said = sorted(made.rows, key=lambda row: row.method, reverse=True)
    assert (silent.label_fraction, silent.labels_selection, silent.labels_total) == (1.0, 64, 64)
    assert (said.label_fraction, said.labels_selection, said.labels_total) == (0.0, 0, 32)
    keys = {stage.kind: stage.key for stage in made.stages}
    assert store.read(keys["scores"], Scores).values.tolist() == list(range(64))
    assert store.read(keys["subset"], Subset).index.tolist() == list(range(32, 64))


def test_a_subset_counts_as_chosen_with_all_labels_wherever_it_is_held(matrix, make, files):
    chosen = selectors.File(path=files["subset"])
    method = Method("m", title="M", selector=chosen)
    assert method.label_fraction == 1
    row = make(matrix(method)).rows[0]
    assert (row.kept, row.kept_per_class, row.labels_total) == (32, [8] * 4, 64)
    held = Method("m", title="M", labeler=NoLabeler(label_fraction=0.25), selector=Include(selector=chosen))
    assert held.label_fraction == 1


def test_few_labels_are_those_of_the_annotated_images(matrix, make, files, store):
    free = selectors.File(path=files["subset"], label_fraction=0.0)
    made = make(matrix(Method("m", title="M", labeler=few(files), selector=free)))
    assert made.failures == {}
    row = made.rows[0]
    assert (row.label_fraction, row.label_draw, row.labels_selection, row.labels_total) == (
        0.25,
        "given",
        16,
        40,
    )
    assert row.quality["accuracy"] == row.quality["unlabeled_accuracy"] == 100
    keys = {
        stage.kind: stage.key
        for stage in make(
            matrix(Method("m", title="M", labeler=few(files), selector=free), seeds=(1,))
        ).stages
    }
    assert set(keys) == {"accuracy"}  # neither draw nor labels follow the seed


def test_known_and_include_see_the_annotated_images_and_no_others(matrix, make, files, store):
    made = make(matrix(Method("m", title="M", labeler=few(files), selector=Annotated()), ratios=[75]))
    assert made.failures == {}
    keys = {stage.kind: stage.key for stage in made.stages}
    assert store.read(keys["subset"], Subset).index.tolist() == list(range(24, 40))
    known = store.read(keys["given"], Labels)
    assert np.flatnonzero(known.annotated).tolist() == list(range(24, 40))
    assert known.values[24:40].tolist() == [0, 1, 2, 3] * 4
    assert made.rows[0].labels_total == 16


def test_labels_count_as_all_annotated_until_their_user_says_otherwise(matrix, make, files):
    for said, counted in (({}, (1.0, 64, 64)), ({"label_fraction": 0.0}, (0.0, 0, 32))):
        labeler = labelers.File(path=files["labels"], **said)
        row = make(matrix(Method("m", title="M", labeler=labeler, scorer=El2n(), selector=Top()))).rows[0]
        assert (row.label_fraction, row.labels_selection, row.labels_total) == counted
        assert (row.labeler, row.quality["accuracy"]) == ("file on labels.npy", 100)


# The command line

SUITE = """
title = "Published"
datasets = ["digits"]
methods = ["random", "scores", "subset", "labels"]
ratios = [50, 90]
seeds = 1
recipe = "tiny"

[method.scores]
scorer = {part = "file", path = "scores.npy", label_fraction = 0.0}
selector = "top"

[method.subset]
selector = {part = "file", path = ["half.npy", "tenth.csv"], index_column = "kept", label_fraction = 0}

[method.labels]
scorer = {part = "el2n", stop = 1}
selector = "top"

[method.labels.labeler]
part = "file"
path = "labels.csv"
column = "label"
index_column = "id"
label_fraction = 0.1
annotated = "annotated.npy"
"""


@pytest.fixture
def published(cli, write, suite_file):
    """published("--methods scores") runs the suite on digits, in this process, one epoch a training."""
    rng = np.random.default_rng(0)
    write("scores.npy", rng.random(1347))
    write("half.npy", rng.permutation(1347)[:673])
    write("tenth.csv", "kept\n" + "".join(f"{i}\n" for i in rng.permutation(1347)[:134]))
    write("labels.csv", "id,label\n" + "".join(f"{i},{i % 10}\n" for i in rng.permutation(1347)))
    write("annotated.npy", np.arange(1347) % 10 == 7)
    path = suite_file(SUITE, name="published.toml")
    yield lambda options="": cli(f"run --suite {path} --workers 0 --set recipe.epochs=1 {options}")
    context.load_split.cache_clear()


def test_published_files_make_rows(published, tmp_path, cli):
    told = published()
    assert (told.code, told.err) == (0, "")
    rows = {}
    for path in (tmp_path / "leaderboard" / "results" / "published" / "digits").iterdir():
        for row in map(json.loads, path.read_text().splitlines()):
            rows[row["method"].partition("{")[0], row["ratio"]] = row
    counted = {key: (row["kept"], row["labels_selection"]) for key, row in rows.items()}
    assert counted == {
        (method, ratio): (kept, 134 if method == "labels" else 0)
        for method in ("random", "scores", "subset", "labels")
        for ratio, kept in ((50, 673), (90, 134))
    }
    assert 5 < rows["labels", 50]["quality"]["accuracy"] < 20  # labels in no order at all
    page = (tmp_path / "leaderboard" / "published.md").read_text()
    assert "file on labels.csv" in page and "stale" not in page
    again = published()
    assert again.code == 0 and again.out.count(" stored\n") == 8
    planned = cli(f"plan --each --suite {tmp_path}/published.toml").out
    assert " file(label_fraction=0.0, path=scores.npy) " in planned
    assert "path=half.npy + tenth.csv" in planned


def test_a_changed_file_is_another_variant(published, tmp_path):
    options = "--methods scores,random --ratios 90"
    published(options)
    np.save(tmp_path / "scores.npy", np.arange(1347.0))
    told = published(options)
    assert told.code == 0
    stored = {
        line.split()[2].partition("{")[0]: line.endswith("stored")
        for line in told.out.splitlines()
        if " %  seed " in line
    }
    assert stored == {"random": True, "scores": False}


def test_an_absent_file_stops_the_run_before_it_begins(published, tmp_path):
    (tmp_path / "scores.npy").unlink()
    told = published()
    place = tmp_path / "scores.npy"
    assert (told.code, told.out) == (2, "")
    assert told.err == f"Error: file.path cannot be read: {place}: No such file or directory\n"
    assert not (tmp_path / "store").joinpath("locks").exists()


def test_a_file_that_is_not_named_stops_the_run_before_it_begins(published, tmp_path, suite_file):
    suite_file(SUITE.replace(', path = "scores.npy"', ""), name="published.toml")
    told = published()
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(
        "Error: file.path is not set: name a file *.npy, *.csv, *.parquet, *.pt, as in "
    )
    assert told.err.count("\n") == 1


def test_a_file_for_another_dataset_fails_its_cells_alone(published, write):
    write("scores.npy", np.zeros(60_000))
    told = published("--methods random,scores --ratios 90")
    assert told.code == 1
    assert told.err.count("\n") == 1
    assert told.err.startswith("failed: scores{recipe.epochs=1} digits 90% seed 0: ")
    assert "scores.npy holds 60000 values, but the dataset has 1347 training images; is it for " in told.err
    assert " random{recipe.epochs=1}  90 %  seed 0 " in told.out


def test_the_fingerprint_is_that_of_the_rows(published, tmp_path, store):
    key = dataset_key(load().dataset("digits"), tmp_path / "data", store)
    told = published("--methods scores --ratios 90 --set file.fingerprint=00000000ff")
    assert told.code == 1 and told.err.count("\n") == 1
    assert f"with fingerprint 00000000ff, but this one has {key[:12]}; choose that dataset" in told.err
    told = published(f"--methods scores --ratios 90 --set file.fingerprint={key[:20]}")
    assert told.code == 0
    results = tmp_path / "leaderboard" / "results" / "published" / "digits"
    (path,) = results.glob(f"*{key[:20]}*")
    assert json.loads(path.read_text())["dataset_hash"] == key


FOLDER = """
title = "Photos"
datasets = ["photos"]
methods = ["scores", "labels"]
ratios = [50]
seeds = 1
recipe = "tiny"

[dataset.photos]
folder = "photos"
side = 16

[method.scores]
scorer = {part = "file", path = "t.csv", column = "aum", name_column = "image", harder = "low"}
selector = "top"

[method.labels]
labeler = {part = "file", path = "t.csv", column = "guess", name_column = "image", space = "name"}
selector = {part = "random", per_class = true}
"""


def test_a_table_about_a_folder_of_images_by_name(cli, write, suite_file, tmp_path):
    for place in [f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(8)] + ["test/cat/0.png"]:
        path = tmp_path / "photos" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (len(place), 0, int(path.stem))).save(path)
    names = [f"{c}/{i}.png" for i in range(8) for c in ("dog", "cat")]  # margins are low for dogs
    rows = [f"{name},{0.1 if 'dog' in name else 0.9},{'cat' if '7' in name else name[:3]}" for name in names]
    write("t.csv", "\n".join(["image,aum,guess", *rows]))
    line = f"run --suite {suite_file(FOLDER)} --workers 0 --set recipe.epochs=1"
    told = cli(line)
    assert (told.code, told.err) == (0, "")
    results = (tmp_path / "leaderboard" / "results" / "toys" / "photos").iterdir()
    rows = {row["method"][:6]: row for row in (json.loads(path.read_text()) for path in results)}
    assert rows["scores"]["kept_per_class"] == [0, 8]
    assert rows["labels"]["quality"]["accuracy"] == 100 * 15 / 16
    (tmp_path / "photos" / "train" / "dog" / "7.png").rename(tmp_path / "photos" / "train" / "dog" / "8.png")
    told = cli(f"{line} --methods scores")
    assert told.err.endswith(
        "t.csv names 'dog/7.png', which is no training image of this dataset (1 such); "
        "its images have names such as 'cat/0.png'\n"
    )
    context.load_split.cache_clear()
