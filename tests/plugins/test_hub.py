"""Datasets of the Hugging Face hub, in a cache of the hub's layout. No server is asked."""

from __future__ import annotations

import io

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from prunebench.errors import DataAbsentError
from prunebench.parts.dataset_conformance import conform
from prunebench.parts.registry import anchored, load
from prunebench.photos.folder import scan
from prunebench.photos.source import folder_of
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench_plugins.datasets.hub import Hub
from tests.messages import line

COMMITS = ("1" * 40, "2" * 40)


def image(shade):
    file = io.BytesIO()
    Image.new("RGB", (12, 12), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and nobody answers."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


@pytest.fixture
def publish(cache):
    """publish({path: content}, commit) puts a repository into the cache: blobs, and links in snapshots."""

    def published(files, commit=COMMITS[0], branch="main"):
        top = cache / "datasets--me--beans"
        for name, content in files.items():
            blob = top / "blobs" / f"{abs(hash(content)):040x}"
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(content)
            link = top / "snapshots" / commit / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
        (top / "refs").mkdir(exist_ok=True)
        (top / "refs" / branch).write_text(commit)
        return top / "snapshots" / commit

    return published


def parquet(first, count, **more):
    pa, written = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    numbers = range(first, first + count)
    columns = {
        "image": [{"bytes": image(i), "path": f"{i}.png"} for i in numbers],
        "label": [i % 2 for i in numbers],
    }
    file = io.BytesIO()
    written.write_table(pa.table(columns | more), file)
    return file.getvalue()


@pytest.fixture
def beans(publish):
    publish(
        {
            "README.md": b"",
            "data/train-00000-of-00001.parquet": parquet(0, 6),
            "data/test-00000-of-00001.parquet": parquet(6, 2),
        }
    )
    publish(
        {
            "plain/train-00000-of-00001.parquet": parquet(10, 4),
            "plain/test-00000-of-00001.parquet": parquet(14, 2),
        },
        COMMITS[1],
        "second",
    )


def shades(array):
    return np.asarray(array)[:, 0, 4, 4].tolist()


def test_a_repository_is_read_from_the_cache(beans, tmp_path):
    dataset = load().dataset("hf:me/beans@8")
    assert shades(dataset.load(tmp_path, "train")[0]) == [*range(6)]
    assert (dataset.classes, dataset.names(tmp_path)[:2]) == (("0", "1"), ("0.png", "1.png"))
    assert dataset.lineage[1:] == ("hf", "folder")
    conform(dataset, tmp_path)


@pytest.mark.parametrize("revision", ["second", COMMITS[1]])
def test_a_revision_is_a_branch_or_a_commit(beans, tmp_path, revision):
    dataset = load().dataset(f"hf:me/beans@{revision}@8")
    assert shades(dataset.load(tmp_path, "test")[0]) == [14, 15]


def test_a_folder_is_that_of_a_configuration(beans, tmp_path):
    values = {"path": "me/beans@second", "side": 8}
    assert len(Hub(**values, folder="plain").names(tmp_path)) == 4
    spec = {"family": "hf", "name": "mine", **values, "folder": "plain"}
    assert load().dataset(anchored(spec)).path == "me/beans@second"


def test_its_name_and_spec_do_not_depend_on_the_machine(beans, tmp_path, monkeypatch):
    name = load().dataset("hf:me/beans@8").name
    monkeypatch.chdir(tmp_path)
    assert load().dataset(anchored("hf:me/beans@8")).name == name
    assert name.startswith("hf-beans-8-") and name != load().dataset("hf:you/beans@8").name


def test_the_content_decides_the_key(beans, publish, tmp_path, store):
    keys = {dataset_key(load().dataset(f"hf:me/beans{at}@8"), tmp_path, store) for at in ("", "@second")}
    publish({"data/again.txt": b""}, COMMITS[0], "third")  # the same images on another branch
    assert len(keys) == 2
    assert dataset_key(load().dataset("hf:me/beans@third@8"), tmp_path, store) in keys


def test_other_layouts_are_read_too(publish, tmp_path):
    publish({"train/cat/a.png": image(1), "train/dog/b.png": image(2), "test/cat/c.png": image(3)})
    dataset = load().dataset("hf:me/beans@8")
    assert dataset.classes == ("cat", "dog") and shades(dataset.load(tmp_path, "train")[0]) == [1, 2]
    assert scan(folder_of("hf:me/beans", tmp_path / "data")) == ["cat/a.png", "dog/b.png"]
    table = b"file_name,label\na.png,cat\n"
    files = {"train/a.png": image(1), "train/metadata.csv": table, "test/a.png": image(4)}
    publish(files | {"test/metadata.csv": table}, COMMITS[1])
    assert dataset.names(tmp_path) == ("train/a.png",)
    assert [path.name for path in dataset.paths(tmp_path)] == ["a.png"]


def test_photos_of_a_repository_are_unpacked_for_the_photo_commands(beans, tmp_path):
    assert sorted(scan(folder_of("hf:me/beans", tmp_path / "data"))) == [f"{i}.png" for i in range(6)]


def test_what_is_not_there_is_downloaded(publish, cache, tmp_path, monkeypatch):
    asked = []
    download = huggingface_hub.snapshot_download

    def downloaded(name, *, local_files_only=False, **options):
        if local_files_only:
            return download(name, local_files_only=True, **options)
        asked.append((name, options))
        data = {"d/train-0.parquet": parquet(0, 2), "d/test-0.parquet": parquet(2, 2)}
        return str(publish(data))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", downloaded)
    dataset = load().dataset("hf:me/beans@8")
    dataset.fetch(tmp_path)
    dataset.fetch(tmp_path)
    assert asked == [("me/beans", {"repo_type": "dataset", "revision": None})]
    assert len(dataset.names(tmp_path)) == 2


def test_a_repository_that_cannot_be_had_is_one_line(cache, tmp_path):
    dataset = load().dataset("hf:me/beans@v1@8")
    remedy = "run `hf download --repo-type dataset me/beans --revision v1`"
    assert line(lambda: dataset.files(tmp_path), DataAbsentError) == (
        f"hf:me/beans@v1 is not on this machine: {remedy}"
    )
    said = line(lambda: dataset.fetch(tmp_path), DataAbsentError)
    assert said.startswith("hf:me/beans@v1 is not on this machine (") and said.endswith(remedy)
    assert line(lambda: folder_of("hf:me/beans@v1", tmp_path)) == said


def test_a_name_that_no_repository_has_is_one_line(cache, tmp_path):
    assert line(lambda: load().dataset("hf:a/b/c@8").files(tmp_path)).startswith("hf:a/b/c: Repo id must ")


def test_a_download_that_was_cut_short_is_one_line(publish, tmp_path):
    publish({"train-00000-of-00003.parquet": parquet(0, 2), "test-00000-of-00001.parquet": parquet(2, 2)})
    said = line(lambda: load().dataset("hf:me/beans@8").names(tmp_path))
    assert said.endswith(f"{COMMITS[0]} has 1 of the 3 shards train-*-of-00003.parquet; get the others")
