"""Exported subsets: what is in the files, for which cells there are some, and what is never overwritten."""

from __future__ import annotations

import csv
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from prunebench.cli.options import listed
from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Scores, Subset
from prunebench.parts.dataset import Dataset
from prunebench.parts.images import Images
from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench.pipeline.store import Store
from prunebench.results.rows import read
from prunebench.runs import export as exporting
from prunebench.runs.export import Kept
from prunebench.system import files
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.selectors.file import File
from prunebench_plugins.selectors.include import Include
from prunebench_plugins.selectors.random import Random


@pytest.fixture
def finished(cli, toy, suite_file):
    """The toy suite, run: the beginning of a command that exports one of its cells."""
    path = suite_file()
    assert cli(f"run --suite {path} --workers 0").code == 0
    return f"export --suite {path} --dataset toy --ratio 50"


@pytest.fixture
def stored(tmp_path):
    """stored(method, seed=0): the row of a finished toy cell, and what it keeps."""

    def found(method, seed=0):
        rows, _ = read(tmp_path / "leaderboard", "toys")
        (row,) = [row for row in rows if (row.method, row.seed) == (method, seed)]
        return row, Store(tmp_path / "store").read(row.subset_key, Subset).index

    return found


def rows_of(path):
    """Return the rows of a .csv as dicts."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# What is in the files


def test_a_table_runs_in_no_spreadsheet(tmp_path):
    dataset = SimpleNamespace(classes=("=cat", "-dog"))
    kept = SimpleNamespace(
        index=np.array([0, 2]),
        names=("@a.png", "b.png", "c,\r.png"),
        labels=np.array([0, 1, 1]),
        scores=np.array([-0.5, 0.0, 1e-07]),
        cell=SimpleNamespace(dataset=dataset),
    )
    assert exporting.table(kept).decode() == (
        "index,file,label,class,score\n0,'@a.png,0,'=cat,-0.5\n2,\"c,\r.png\",1,'-dog,1e-07\n"
    )


def test_npy_holds_the_indices_in_order(finished, cli, stored, tmp_path):
    told = cli(f"{finished} --method random --output kept.npy")
    assert told.out == "wrote kept.npy: 32 of 64 images of toy, 32 labels in all\n"
    found = np.load(tmp_path / "kept.npy")
    assert found.dtype == np.int64
    assert found.tolist() == stored("random")[1].tolist() == sorted(set(found.tolist()))


def test_seed_chooses_the_cell(finished, cli, stored, tmp_path):
    cli(f"{finished} --method random --seed 1 --output kept.npy")
    found = np.load(tmp_path / "kept.npy").tolist()
    assert found == stored("random", 1)[1].tolist() != stored("random", 0)[1].tolist()


def scores_key(store, row):
    """Return the key of the scores by which a row's images were chosen."""
    return next(key for name, _of, key in store.manifest(row.subset_key)["inputs"] if name == "scores")


def test_csv_says_label_class_and_score(finished, cli, stored, tmp_path, store):
    cli(f"{finished} --method el2n_supervised --output kept.csv")
    row, index = stored("el2n_supervised")
    rows = rows_of(tmp_path / "kept.csv")
    assert list(rows[0]) == ["index", "label", "class", "score"]
    assert [int(row["index"]) for row in rows] == index.tolist()
    assert [int(row["label"]) for row in rows] == (index % 4).tolist()  # as the toy dataset is made
    assert [row["class"] for row in rows] == ["abcd"[place % 4] for place in index]
    scores = scores_key(store, row)
    assert [float(row["score"]) for row in rows] == store.read(scores, Scores).values[index].tolist()
    # The easiest of what is kept is harder than all that is pruned: these are scores of the right images.
    pruned = np.delete(store.read(scores, Scores).values, index)
    assert min(float(row["score"]) for row in rows) >= pruned.max()


def test_csv_of_a_method_without_scores_has_no_such_column(finished, cli, tmp_path):
    cli(f"{finished} --method random --output kept.csv")
    assert (tmp_path / "kept.csv").read_bytes().startswith(b"index,label,class\n")


def test_json_holds_indices_and_where_they_come_from(finished, cli, stored, tmp_path):
    cli(f"{finished} --method el2n_supervised --output kept.json")
    file = json.loads((tmp_path / "kept.json").read_text())
    row, index = stored("el2n_supervised")
    assert file["index"] == index.tolist()
    assert file["manifest"].pop("fingerprint") == row.dataset_hash
    assert file["manifest"] == {name: row.model_dump()[name] for name in file["manifest"]}
    assert {
        *("method", "method_key", "dataset", "ratio", "seed", "recipe", "labels_selection", "labels_total"),
        *("versions", "commit"),
    } <= set(file["manifest"])
    assert file["manifest"]["labels_total"] == 64  # all labels were read to select
    assert "prunebench" in file["manifest"]["versions"]


def test_json_and_npy_are_read_back(finished, cli, stored, tmp_path):
    for name in ("kept.json", "kept.npy"):
        cli(f"{finished} --method random --output {name}")
    row, index = stored("random")
    found, manifest = exporting.read(tmp_path / "kept.json")
    assert (found.dtype, found.tolist(), manifest.method_key) == (np.int64, index.tolist(), row.method_key)
    found, manifest = exporting.read(tmp_path / "kept.npy")
    assert (found.tolist(), manifest) == (index.tolist(), None)


def test_what_was_not_annotated_is_not_told(cli, toy, suite_file, offer, tmp_path):
    offer(Method("own", title="Own", labeler=GroundTruth(), selector=Random(), final="labels"))
    path = suite_file()
    cli(f"run --suite {path} --workers 0 --methods own --seeds 1")
    told = cli(f"export --suite {path} --dataset toy --ratio 50 --method own --output kept.csv")
    assert told.code == 0
    assert (tmp_path / "kept.csv").read_text().startswith("index\n")
    told = cli(f"export --suite {path} --dataset toy --ratio 50 --method own --output kept/")
    assert told.err == (
        "Error: a folder of toy: not all images that own keeps have an annotated label, so there is "
        "no class to put them into; write .npy, .csv or .json\n"
    )


# Which cells


def test_the_command_for_an_unfinished_cell_finishes_that_cell(cli, toy, suite_file, tmp_path):
    path = suite_file()
    export = (
        f"export --suite {path} --dataset toy --ratio 70 --seed 3 --set el2n.stop=2 --set recipe.padding=zero"
    )
    told = cli(f"{export} --method el2n_supervised --output kept.npy")
    assert told.code == 2 and told.err.count("\n") == 1 and not (tmp_path / "kept.npy").exists()
    name = "el2n_supervised{el2n.stop=2,recipe.padding=zero} toy 70% seed 3"
    assert told.err.startswith(f"Error: {name} is not finished; run: prunebench run --suite {path} ")
    command = shlex.split(told.err.partition("prunebench ")[2])
    ran = cli(" ".join([*command, "--workers", "0"]))
    assert [line.split(None, 1)[0] for line in ran.out.splitlines() if " %  seed " in line] == ["1/1"]
    assert cli(f"{export} --method el2n_supervised --output kept.npy").code == 0


def test_of_several_rungs_one_is_chosen(cli, toy, suite_file, tmp_path):
    path = suite_file(more='repeats = ["pipeline", "training"]\n')
    export = f"export --suite {path} --dataset toy --ratio 50 --method random --seed 1 --output kept.json"
    assert cli(export).err == (
        "Error: random has a cell for each rung that the suite repeats, pipeline, training; choose one with "
        "--repeats\n"
    )
    told = cli(f"{export} --repeats training").err
    assert told.startswith("Error: random toy 50% seed 1 of training is not finished; run: prunebench run ")
    assert cli(f"{told.partition('prunebench ')[2]} --workers 0").code == 0
    assert cli(f"{export} --repeats training").code == 0
    assert json.loads((tmp_path / "kept.json").read_text())["manifest"]["repeats"] == "training"


@pytest.mark.parametrize("method", ["few", "random_matched{few}"])
def test_a_matched_random_is_a_cell_too(cli, toy, suite_file, offer, tmp_path, method):
    offer(
        Method(
            "few", title="Few", labeler=NoLabeler(label_fraction=0.25), selector=Include(selector=Random())
        )
    )
    path = suite_file()
    export = f"export --suite {path} --dataset toy --ratio 50 --method {method} --output kept.json"
    command = cli(export).err.partition("prunebench ")[2]
    wanted = "few,random_matched" if method != "few" else "few"
    assert f" --methods {wanted} " in command
    cli(f"{command} --workers 0")
    assert cli(export).code == 0
    manifest = json.loads((tmp_path / "kept.json").read_text())["manifest"]
    assert (manifest["method"], manifest["labels_total"]) == (method, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--method all", "'all' chooses 2 cells, expected one: name one method, such as random or random_m"),
        ("--method random_matched{random}", "'random_matched{random}' chooses 0 cells, expected one: name"),
        ("--method full", "full has one ratio only, 0; ask for that one instead of 50"),
        ("--method duel", "no method named 'duel'. Did you mean 'dual'? See: prunebench list methods"),
        ("--method random --set el2n.stop=2", "--set el2n.stop: no chosen method has such a part."),
        (
            "--method random --output kept.txt",
            "--output kept.txt: end it in .npy, .csv, .json, or in / for a",
        ),
        (
            "--method random --output kept/",
            "a folder of toy: its images are no files of their own on this ma",
        ),
        ("--method random --recipe papre", "no recipe named 'papre'. Did you mean 'paper'? See: benchmarks/"),
    ],
)
def test_a_mistake_is_one_line(finished, cli, tmp_path, options, message):
    before = sorted(tmp_path.iterdir())
    told = cli(f"{finished} --output kept.npy {options}")
    assert told.code == 2 and told.out == ""
    assert told.err.startswith(f"Error: {message}") and told.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_absent_data_is_said(finished, cli, tmp_path):
    (tmp_path / "data" / "toy.npy").unlink()
    told = cli(f"{finished} --method random --output kept.npy")
    assert told.err == f"Error: toy is not in {tmp_path / 'data'}: write toy.npy.\n"


@pytest.mark.parametrize("what", ["subset", "scores"])
def test_a_damaged_artefact_is_told_with_what_makes_it_anew(finished, cli, stored, tmp_path, store, what):
    row, index = stored("el2n_supervised")
    key = row.subset_key if what == "subset" else scores_key(store, row)
    (store.path(key) / "payload.safetensors").write_bytes(b"rot")
    export = f"{finished} --method el2n_supervised --output kept.csv"
    told = cli(export)
    assert told.err.startswith("Error: el2n_supervised toy 50% seed 0 is not finished; run: prunebench run ")
    cli(f"{told.err.partition('prunebench ')[2]} --workers 0")
    assert cli(export).code == 0
    assert [int(row["index"]) for row in rows_of(tmp_path / "kept.csv")] == index.tolist()


def test_a_single_seed_with_a_comma_is_a_list():
    assert listed("--seeds", "3,") == [3]
    assert listed("--seeds", "3") == [0, 1, 2]
    assert listed("--seeds", "0,3") == [0, 3]
    assert listed("--seeds", None) is None


# Nothing is overwritten, nothing is half there


@pytest.mark.parametrize("name", ["kept.npy", "kept.csv", "kept.json"])
def test_the_same_is_left_and_something_else_is_refused(finished, cli, tmp_path, name):
    path = tmp_path / "deep" / name
    export = f"{finished} --output deep/{name} --method"
    assert cli(f"{export} random").out.startswith(f"wrote deep/{name}: ")
    before = path.stat().st_ino, path.stat().st_mtime_ns
    assert cli(f"{export} random").out.startswith(f"up to date: deep/{name}: ")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    content = path.read_bytes()
    told = cli(f"{export} el2n_supervised")
    assert told.err == (
        f"Error: deep/{name} exists and holds something else, which may be your work; "
        "remove it or choose another --output\n"
    )
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(finished, cli, tmp_path, monkeypatch):
    def full(path, _content):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_through", full)
    told = cli(f"{finished} --method random --output deep/kept.npy")
    assert told.err == (
        "Error: cannot write deep/kept.npy: No space left on device; free space or choose another --output\n"
    )
    assert not list((tmp_path / "deep").iterdir())


@pytest.mark.parametrize("output", [".", "./", "..", "deep/..", "/"])
def test_an_output_without_a_name_is_one_line(finished, cli, tmp_path, output):
    before = sorted(tmp_path.rglob("*"))
    told = cli(f"{finished} --method random --output {output}")
    assert (told.code, told.out) == (2, "")
    assert told.err == f"Error: --output {output}: name a file or a folder to write\n"
    assert sorted(tmp_path.rglob("*")) == before


# Folders of links


@pytest.fixture
def photos(tmp_path):
    """Digits as PNG files, whose names the two splits share: photos/train/CLASS/*, photos/test/CLASS/*."""
    images, labels = load().dataset("digits").load(tmp_path, "train")
    for split, chosen in {"train": slice(60), "test": slice(60, 100)}.items():
        for place, (image, label) in enumerate(zip(images[chosen], labels[chosen] % 3, strict=True)):
            path = tmp_path / "photos" / split / "xyz"[label] / f"{place:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0]).save(path)
    return "folder:photos@8"


@pytest.fixture
def kept_photos(cli, photos):
    """The beginning of a command that exports a third of the photos."""
    options = "--recipe tiny --set recipe.epochs=1"
    cells = f"--methods k_center_pixels --datasets {photos} --ratios 70 --seeds 1"
    told = cli(f"run --suite small {cells} {options} --workers 0")
    assert told.code == 0, told.err
    return f"export --suite small --method k_center_pixels --dataset {photos} --ratio 70 {options}"


def test_a_folder_of_links_is_a_dataset_of_what_is_kept(kept_photos, cli, tmp_path):
    cli(f"{kept_photos} --output kept.npy")
    told = cli(f"{kept_photos} --output small/train/")
    pattern = r"wrote small/train/: 18 of 60 images of folder-photos-8-[0-9a-f]{8}, 18 labels in all"
    assert re.match(pattern, told.out)
    (tmp_path / "small" / "test").symlink_to(tmp_path / "photos" / "test")
    images, labels = load().dataset(f"folder:{tmp_path}/photos@8").load(tmp_path, "train")
    index = np.load(tmp_path / "kept.npy")
    found = load().dataset(f"folder:{tmp_path}/small@8").load(tmp_path, "train")
    np.testing.assert_array_equal(found[0], images[index])
    np.testing.assert_array_equal(found[1], labels[index])
    links = (tmp_path / "small" / "train").rglob("*.png")
    assert all(
        link.readlink() == tmp_path / "photos" / "train" / link.parent.name / link.name for link in links
    )


def test_a_folder_is_not_mixed_with_another(kept_photos, cli, tmp_path):
    (tmp_path / "kept").mkdir()  # an empty one will do
    assert cli(f"{kept_photos} --output kept").out.startswith("wrote kept: ")
    assert cli(f"{kept_photos} --output kept/").out.startswith("up to date: kept/: ")
    link = next((tmp_path / "kept").rglob("*.png"))
    target = link.readlink()
    link.unlink()
    link.symlink_to(tmp_path / "nothing")
    refused = "Error: kept exists and holds something else; remove it or choose another --output\n"
    assert cli(f"{kept_photos} --output kept/").err == refused
    link.unlink()
    link.symlink_to(target)
    (tmp_path / "kept" / "notes.txt").write_text("mine")
    assert cli(f"{kept_photos} --output kept/").err == refused
    assert (tmp_path / "kept" / "notes.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    assert cli(f"{kept_photos} --output file").err.startswith("Error: file exists and holds something else")


def test_a_folder_that_breaks_off_leaves_nothing(kept_photos, cli, tmp_path, monkeypatch):
    made, symlink = [], Path.symlink_to

    def fail(self, target):
        made.append(self)
        if len(made) == 5:
            raise OSError(1, "Operation not permitted")
        symlink(self, target)

    monkeypatch.setattr(Path, "symlink_to", fail)
    before = sorted(tmp_path.iterdir())
    told = cli(f"{kept_photos} --output links/")
    assert told.err == "Error: cannot write links: Operation not permitted; choose another --output\n"
    assert sorted(tmp_path.iterdir()) == before


def test_the_selector_file_reads_what_was_exported(kept_photos, cli, tmp_path):
    cli(f"{kept_photos} --output kept.csv")
    cli(f"{kept_photos} --output kept.npy")
    rows, index = rows_of(tmp_path / "kept.csv"), np.load(tmp_path / "kept.npy")
    assert list(rows[0]) == ["index", "file", "label", "class"]
    dataset = load().dataset(f"folder:{tmp_path}/photos@8")
    names = dataset.names(tmp_path)
    assert [row["file"] for row in rows] == [names[place] for place in index]
    assert all(row["file"].startswith(f"{row['class']}/") for row in rows)
    images = Images(dataset.load(tmp_path, "train")[0], mean=(0.5,) * 3, std=(0.5,) * 3)
    for fields in (
        {"path": tmp_path / "kept.npy"},
        {"path": tmp_path / "kept.csv", "index_column": "index"},
        {"path": tmp_path / "kept.csv", "name_column": "file"},
    ):
        found = File(**fields).select(images=images, names=names, fingerprint="0" * 64, keep=len(index))
        np.testing.assert_array_equal(np.sort(found), index)


@dataclass(frozen=True, kw_only=True)
class Listing(Dataset):
    """A dataset of nothing but names, labels and files."""

    name: str = "listing"
    classes: ClassVar = ("crane", "a/b", "crane", ".x")
    listed: tuple[str, ...]
    called: tuple[str, ...]
    labels: tuple[int, ...]

    def files(self, root):
        return [root / path for path in self.listed]

    def names(self, root):
        return self.called

    def load(self, root, split):
        return np.zeros((len(self.labels), 1, 1, 1), np.uint8), np.array(self.labels)


def links(paths, names, labels, index=None):
    """Return what is linked of such a dataset, by place."""
    method = SimpleNamespace(final="truth", name="m")
    dataset = Listing(listed=tuple(paths.split()), called=tuple(names.split()), labels=labels)
    chosen = np.arange(len(labels)) if index is None else np.array(index)
    kept = Kept(SimpleNamespace(dataset=dataset, method=method), None, chosen, None, Path("/data"))
    return {place: path.as_posix() for place, path in exporting.links(kept).items()}


@pytest.mark.parametrize(
    ("paths", "names", "labels", "wanted"),
    [
        # Folders between class and file, as Tiny-ImageNet has them; another split; no class in the name.
        ("train/n01/images/n01_0.JPEG val/images/v.JPEG", "n01/n01_0.JPEG", (0,), {"crane_0/n01_0.JPEG": 0}),
        ("test/n/1.png train/n/1.png", "n/1.png", (3,), {"_x/1.png": 1}),
        ("p/1.png p/2.png", "1.png 2.png", (1, 1), {"a_b/1.png": 0, "a_b/2.png": 1}),
        # Two classes of one name stay two.
        ("p/1.png p/2.png", "1.png 2.png", (0, 2), {"crane_0/1.png": 0, "crane_2/2.png": 1}),
        # Two images of a class that have one name.
        ("p/u/1.png p/v/1.png", "u/1.png v/1.png", (1, 1), {"a_b/u_1.png": 0, "a_b/v_1.png": 1}),
        # Three whose whole paths are alike, too, without their folders.
        (
            "u/v_1.png u_v/1.png w/1.png",
            "u/v_1.png u_v/1.png w/1.png",
            (1, 1, 1),
            {"a_b/0_u_v_1.png": 0, "a_b/1_u_v_1.png": 1, "a_b/2_w_1.png": 2},
        ),
    ],
)
def test_links_go_by_class_and_file(paths, names, labels, wanted):
    places = paths.split()
    assert links(paths, names, labels) == {place: f"/data/{places[at]}" for place, at in wanted.items()}


@pytest.mark.parametrize(
    ("classes", "folders"),
    [
        (["crane", "dog", "crane"], ["crane_0", "dog", "crane_2"]),
        (["crane", "crane", "crane_0"], ["crane_0_0", "crane_1", "crane_0_2"]),
        (["a/b", "a_b", "a_b_0", "a_b_0_0"], ["a_b_0_0_0", "a_b_1", "a_b_0_2", "a_b_0_0_3"]),
    ],
)
def test_each_class_has_a_folder_of_its_own(classes, folders):
    assert exporting.class_folders(classes) == folders


def test_links_are_named_alike_whatever_is_kept():
    assert links("p/u/1.png p/v/1.png", "u/1.png v/1.png", (1, 1), index=[1]) == {
        "a_b/v_1.png": "/data/p/v/1.png"
    }


@pytest.mark.parametrize(
    ("paths", "names", "labels"),
    [
        ("a/n/1.png b/n/1.png", "n/1.png", (1,)),  # which of the two?
        ("all.zip", "n/1.png", (1,)),
        ("p/m/1.png", "n/1.png", (1,)),
        ("p/1.png", "", (1,)),
        ("p/1.png", "1.png", (-1,)),
    ],
)
def test_no_link_is_guessed(paths, names, labels):
    with pytest.raises(PrunebenchError, match=r"write .npy, .csv or .json$"):
        links(paths, names, labels)


# Files that are not ours

MANIFEST = {
    **{"suite": "s", "method": "m", "method_key": "k", "dataset": "toy", "fingerprint": "f", "images": 4},
    **{"kept": 2, "ratio": 50, "seed": 0, "recipe": "tiny", "repeats": "pipeline", "tuning": "default"},
    **{"changes": {}, "label_fraction": 0.0, "labels_selection": 0, "labels_total": 2, "subset_key": "s"},
    **{"versions": {}, "commit": None},
}


def written(path, content):
    if path.suffix == ".npy" and not isinstance(content, bytes):
        np.save(path, content)
    elif path.suffix == ".json" and not isinstance(content, str):
        path.write_text(json.dumps(content))
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_whole_file_is_read(tmp_path):
    path = written(tmp_path / "k.json", {"manifest": MANIFEST, "index": [1, 3]})
    assert exporting.read(path)[0].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "k.csv",
            "index\n1\n",
            "is no subset that can be loaded: expected a .json or .npy of prunebench export",
        ),
        (
            "k.json",
            "{",
            "cannot be read (: Invalid JSON: EOF while parsing an object at line 1 column 1); export it",
        ),
        ("k.json", {"index": [1]}, "cannot be read (manifest: Field required); export it again"),
        (
            "k.json",
            {"manifest": MANIFEST, "index": [1, "x"]},
            "cannot be read (index.1: Input should be a valid int",
        ),
        ("k.json", {"manifest": MANIFEST, "index": [1]}, "lists 1 images, but 2 were kept; export it again"),
        (
            "k.json",
            {"manifest": MANIFEST, "index": [3, 1]},
            "does not list each image once, ascending from 0;",
        ),
        ("k.npy", np.array([1, 1]), "does not list each image once, ascending from 0; export it again"),
        ("k.npy", np.array([-1, 1]), "does not list each image once, ascending from 0; export it again"),
        ("k.npy", np.array([[0, 1]]), "does not list each image once, ascending from 0; export it again"),
        ("k.npy", np.array([0.0, 1.0]), "does not list each image once, ascending from 0; export it again"),
        (
            "k.npy",
            np.array([{}], object),
            "cannot be read (Object arrays cannot be loaded when allow_pickle=False)",
        ),
        ("k.npy", b"<html>", "cannot be read ("),
    ],
)
def test_a_strange_file_is_one_line(tmp_path, name, content, message):
    path = written(tmp_path / name, content)
    with pytest.raises(PrunebenchError, match=re.escape(f"{path} {message}")) as error:
        exporting.read(path)
    assert "\n" not in str(error.value)


def test_a_dataset_that_tells_its_paths_is_believed(monkeypatch):
    """ImageNet lists folders of classes rather than a million files, but knows each image's own."""
    monkeypatch.setattr(Listing, "paths", lambda self, root: (root / "x" / "9.png", root / "y" / "8.png"))
    assert links("x y", "n/1.png m/2.png", labels=(0, 1), index=[1]) == {"a_b/2.png": "/data/y/8.png"}
