"""Photos that are packed in Parquet or tar files, or on the hub, in the commands for photos."""

from __future__ import annotations

import gc
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from prunebench.photos.convert import convert
from prunebench.photos.folder import scan
from prunebench.photos.prune import draw, prune
from prunebench.photos.source import folder_of
from prunebench.pipeline import context
from prunebench_plugins.datasets.io import unpacked as module
from tests.messages import line
from tests.photo_folders import listing, write_labels


def photo(number, kind="PNG"):
    """Return a photo of three classes, each with one bright channel."""
    pixels = np.random.default_rng(number).integers(100, size=(12, 12, 3))
    pixels[:, :, number % 3] += 120
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.fixture
def parquet(tmp_path):
    """parquet(path="{}.png") writes two files of 20 photos without labels, and returns their folder."""
    pa, written = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

    def make(path="{}.png", kind="PNG", **more):
        folder = tmp_path / "shards/data"
        folder.mkdir(parents=True, exist_ok=True)
        for part in range(2):
            numbers = range(20 * part, 20 * part + 20)
            images = [{"bytes": photo(i, kind), "path": path and path.format(i)} for i in numbers]
            more = {name: column[:20] for name, column in more.items()}
            table = pa.table({"image": images, **more})
            written.write_table(table, folder / f"train-0000{part}-of-00002.parquet")
        return folder.parent

    return make


def tar(path, **files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def made(tmp_path):
    yield {"store": tmp_path / "store", "data": tmp_path / "data", "device": "cpu", "workers": 0}
    context.load_split.cache_clear()


# Files


def test_each_image_of_a_parquet_is_a_file_with_its_bytes(parquet, tmp_path):
    top = parquet("album/{}.png")
    before = listing(top)
    folder = folder_of(f"parquet:{top}", tmp_path / "data")
    assert sorted(scan(folder)) == sorted(f"album/{i}.png" for i in range(40))
    assert (folder / "album/17.png").read_bytes() == photo(17)
    assert folder.is_relative_to(tmp_path / "data/unpacked") and listing(top) == before


@pytest.mark.parametrize("path", [None, "same.png", "../{}.png", "/{}.png", ".hidden/{}.png", "{}"])
def test_without_usable_names_a_file_is_called_by_its_row_and_format(parquet, tmp_path, path):
    folder = folder_of(f"parquet:{parquet(path, 'JPEG')}", tmp_path / "data")
    assert (folder / "data/train-00001-of-00002.parquet/3.jpg").read_bytes() == photo(23, "JPEG")
    assert len(scan(folder)) == 40


def test_each_image_of_a_tar_file_is_a_file(tmp_path):
    tar(tmp_path / "shards/0.tar", **{"a.jpg": photo(0), "a.txt": b"a cat", "b/c.png": photo(1)})
    folder = folder_of(f"webdataset:{tmp_path / 'shards'}", tmp_path / "data")
    assert scan(folder) == ["0.tar/a.jpg", "0.tar/b/c.png"]
    assert (folder / "0.tar/b/c.png").read_bytes() == photo(1)


def test_test_shards_stay_out(tmp_path):
    tar(tmp_path / "shards/train-0.tar", **{"a.jpg": photo(0)})
    tar(tmp_path / "shards/test-0.tar", **{"b.jpg": photo(1)})
    assert scan(folder_of(f"webdataset:{tmp_path / 'shards'}", tmp_path / "data")) == ["train-0.tar/a.jpg"]


def test_they_are_written_once_and_anew_if_a_shard_changes(tmp_path, monkeypatch):
    source = f"webdataset:{tmp_path / 'shards'}"
    tar(tmp_path / "shards/0.tar", **{"a.jpg": photo(0)})
    first = folder_of(source, tmp_path / "data")
    before = listing(first)
    assert folder_of(source, tmp_path / "data") == first and listing(first) == before
    tar(tmp_path / "shards/0.tar", **{"a.jpg": photo(1), "b.jpg": photo(2)})
    assert len(scan(folder_of(source, tmp_path / "data"))) == 2 and len(scan(first)) == 1


def test_a_killed_call_goes_on_where_it_was(parquet, tmp_path, monkeypatch):
    source = f"parquet:{parquet()}"
    write = module._write

    def killed(tree, packed, folder, file):
        if file == "30.png":
            raise KeyboardInterrupt
        write(tree, packed, folder, file)

    monkeypatch.setattr(module, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        folder_of(source, tmp_path / "data")
    (partial,) = (tmp_path / "data/unpacked").iterdir()
    before = listing(partial / "7.png")
    monkeypatch.setattr(module, "_write", write)
    folder = folder_of(source, tmp_path / "data")
    assert len(scan(folder)) == 40 and [*before.values()] == [*listing(folder / "7.png").values()]
    assert [*(tmp_path / "data/unpacked").iterdir()] == [folder]


def test_an_image_without_bytes_is_one_that_cannot_be_read(tmp_path):
    pa, written = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "shards").mkdir()
    images = [{"bytes": photo(0), "path": None}, {"bytes": None, "path": None}]
    written.write_table(pa.table({"image": images}), tmp_path / "shards/a.parquet")
    folder = folder_of(f"parquet:{tmp_path / 'shards'}", tmp_path / "data")
    assert (folder / "a.parquet/1.jpg").read_bytes() == b""
    assert draw(folder, 1, data=tmp_path / "other", on_bad="skip") == ["a.parquet/0.png"]


def test_a_full_disk_is_one_line(parquet, tmp_path, monkeypatch):
    top = parquet()
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    assert " GB as files, but " in line(lambda: folder_of(f"parquet:{top}", tmp_path / "data"))


def test_any_other_source_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parquet:here").mkdir()
    for source in ("photos", "parquet:here", "digits:x", "C:photos"):
        assert str(folder_of(source)) == source


def test_a_source_that_is_not_there_is_one_line(tmp_path):
    assert line(lambda: folder_of(f"parquet:{tmp_path / 'no'}")) == f"there is no folder {tmp_path / 'no'}"


# Commands


def test_draw_prune_and_convert_take_them(parquet, made, tmp_path):
    source = f"parquet:{parquet()}"
    looking = {"by": "typiclust", "backbone": "pixels", "side": 8}
    chosen = draw(source, 12, **looking, **made)
    truth = {f"{i}.png": "abc"[i % 3] for i in range(40)}
    known = write_labels(tmp_path / "known.csv", {name: truth[name] for name in chosen})
    pruned = prune(source, known, budget=20, backbone="pixels", side=8, **made)
    assert len(pruned.chosen("to_label")) == 8 and {*pruned.files} == {*truth}
    pruned.to_csv(tmp_path / "kept.csv")
    places = {"store": made["store"], "data": made["data"]}
    assert convert(tmp_path / "kept.csv", "links", tmp_path / "a", **places)[1].folder
    assert convert(known, "links", tmp_path / "b", folder=source, **places)[1].folder


def test_the_command_says_where_the_files_are(parquet, made, cli, tmp_path):
    told = cli(f"draw parquet:{parquet()} --labels 3 --data {made['data']} --output {tmp_path / 'a.csv'}")
    assert (told.code, told.err) == (0, "")
    assert "are files in" in told.out.splitlines()[0] and "unpacked/shards-" in told.out.replace("\n", "")


@pytest.mark.filterwarnings("ignore")  # it leaves files open
def test_what_prune_keeps_is_a_subset_in_the_library(parquet, made, tmp_path):
    datasets = pytest.importorskip("datasets")
    top = parquet(label=[0] * 20)
    known = write_labels(tmp_path / "known.csv", {f"{i}.png": "abc"[i % 3] for i in range(0, 40, 4)})
    pruned = prune(f"parquet:{top}", known, budget=20, backbone="pixels", side=8, **made)
    kept = {*pruned.chosen("keep_labeled", "to_label")}
    train = datasets.load_dataset("parquet", data_dir=str(top), split="train", cache_dir=str(tmp_path / "c"))
    paths = [image["path"] for image in train.cast_column("image", datasets.Image(decode=False))["image"]]
    scored = train.add_column(
        "duplicate_of", [dict(zip(pruned.files, pruned.duplicate_of, strict=True))[path] for path in paths]
    )
    subset = scored.cast_column("image", datasets.Image()).select(
        [row for row, path in enumerate(paths) if path in kept]
    )
    assert len(subset) == 20
    assert [np.asarray(image).tobytes() for image in subset["image"]] == [
        np.asarray(Image.open(io.BytesIO(photo(i)))).tobytes() for i in range(40) if f"{i}.png" in kept
    ]
    gc.collect()
