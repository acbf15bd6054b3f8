"""CIFAR-10 and CIFAR-100 on miniatures in the published formats, and their views at full size."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import tarfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from prunebench.errors import DataAbsentError
from prunebench.parts.sampling import draw_labels
from prunebench.parts.seeds import stream
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench_plugins.datasets import register_datasets
from prunebench_plugins.datasets.cifar import Cifar10, Cifar100
from prunebench_plugins.datasets.io.pickles import PickledArray, unpickle
from prunebench_plugins.datasets.views.corrupted import CORRUPTIONS, corruption_of
from tests.messages import line

VIEWS = {d.name: d for d in register_datasets() if not isinstance(d, type)}
TEN = Cifar10(train_per_class=2, test_per_class=1, verify=False)
HUNDRED = Cifar100(train_per_class=2, test_per_class=1, verify=False)


class Miniature:
    """A small CIFAR. parts: by file of the Python edition, pixels [n, 3072], fine and coarse labels."""

    def __init__(self, dataset):
        self.dataset, self.count = dataset, len(dataset.classes)
        rng = np.random.default_rng(0)
        fine = {
            "train": rng.permutation(np.repeat(np.arange(self.count), 2)),
            "test": rng.permutation(self.count),
        }
        if self.count == 10:
            cut = {f"data_batch_{i + 1}": fine["train"][4 * i : 4 * i + 4] for i in range(5)}
            fine = {**cut, "test_batch": fine["test"]}
        self.parts = {
            name: (rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8), labels, labels // 5)
            for name, labels in fine.items()
        }

    def split(self, split):
        """What torchvision makes of the files: images [n, 3, 32, 32] and labels."""
        names = [name for name in self.parts if ("test" in name) == (split == "test")]
        data = np.vstack([self.parts[name][0] for name in names])
        return data.reshape(-1, 3, 32, 32), np.concatenate([self.parts[name][1] for name in names])

    def python(self, dump=None, text=lambda key: key):
        """The files of the Python edition, by name."""
        dump = dump or python2
        ten, classes = self.count == 10, list(map(text, self.dataset.classes))
        files = {}
        for name, (data, fine, coarse) in self.parts.items():
            labels = {"labels": fine} if ten else {"fine_labels": fine, "coarse_labels": coarse}
            content = {"batch_label": text(f"{name} of 5"), "data": data}
            content |= {key: values.tolist() for key, values in labels.items()}
            content["filenames"] = [text(f"{name}_{i}.png") for i in range(len(fine))]
            files[name] = dump({text(key): value for key, value in content.items()})
        meta = {"num_cases_per_batch": 4, "label_names": classes} if ten else {"fine_label_names": classes}
        return files | {"batches.meta" if ten else "meta": dump({text(k): v for k, v in meta.items()})}

    def binary(self):
        """The files of the binary edition, by name."""
        ten = self.count == 10
        files = {
            f"{name}.bin": np.column_stack([fine, data] if ten else [coarse, fine, data]).astype(np.uint8)
            for name, (data, fine, coarse) in self.parts.items()
        }
        lines = "".join(f"{name}\n" for name in self.dataset.classes).encode()
        meta = {"batches.meta.txt": lines + b"\n"} if ten else {"fine_label_names.txt": lines}
        return {name: rows.tobytes() for name, rows in files.items()} | meta


def python2(value):
    """Pickle as cPickle of Python 2 with protocol 2 does, by which the published files were written."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value):
    if isinstance(value, dict):
        inner = b"".join(_python2(key) + _python2(inner) for key, inner in value.items())
        return b"}(" + inner + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, str):
        return b"U" + bytes([len(value)]) + value.encode("latin1")
    if isinstance(value, int):
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)
    columns = not value.flags.c_contiguous
    raw = value.tobytes(order="F" if columns else "C")
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    shape = b"".join(map(_python2, value.shape)) + b"\x86"
    head = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    text = b"T" + struct.pack("<I", len(raw)) + raw
    return head + shape + dtype + (b"\x88" if columns else b"\x89") + text + b"tb"


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def pack(path, files, prefix="", mode="w:gz"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def check(dataset, root, miniature):
    for split in ("train", "test"):
        images, labels = dataset.load(root, split)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        expected_images, expected_labels = miniature.split(split)
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


BOTH = pytest.mark.parametrize(
    "dataset, folder, binary",
    [
        (TEN, "cifar-10-batches-py", "cifar-10-batches-bin"),
        (HUNDRED, "cifar-100-python", "cifar-100-binary"),
    ],
    ids=["cifar10", "cifar100"],
)


# Reading


@BOTH
def test_published_files_are_read_as_torchvision_reads_them(tmp_path, dataset, folder, binary):
    miniature = Miniature(dataset)
    write(tmp_path / folder, miniature.python())
    check(dataset, tmp_path, miniature)


@BOTH
def test_the_binary_edition_says_the_same(tmp_path, dataset, folder, binary):
    miniature = Miniature(dataset)
    write(tmp_path / binary, miniature.binary())
    check(dataset, tmp_path, miniature)


def test_the_miniature_is_a_pickle_that_python_understands():
    """The opcodes written by hand above are checked by the standard library and NumPy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of NumPy call the old spelling of types deprecated
        found = pickle.loads(Miniature(TEN).python()["data_batch_2"], encoding="latin1")
    data, fine, _ = Miniature(TEN).parts["data_batch_2"]
    np.testing.assert_array_equal(found["data"], data)
    assert (found["labels"], found["batch_label"]) == (fine.tolist(), "data_batch_2 of 5")


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("text", [str, str.encode], ids=["text", "bytes"])
@pytest.mark.parametrize("dataset", [TEN, HUNDRED], ids=lambda d: d.name)
def test_pickles_of_python_3(tmp_path, dataset, protocol, text):
    miniature = Miniature(dataset)
    files = miniature.python(lambda value: pickle.dumps(value, protocol=protocol), text)
    write(tmp_path / dataset.name, files)
    check(dataset, tmp_path, miniature)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_may_be_stored_column_by_column(order):
    data = np.array(np.arange(12, dtype=np.uint8).reshape(3, 4), order=order)
    for content in (python2({"data": data}), pickle.dumps({"data": data}, protocol=2)):
        np.testing.assert_array_equal(unpickle(content)["data"].array(), np.arange(12).reshape(3, 4))


@pytest.mark.parametrize("prefix", ["cifar-10-batches-py/", "./cifar-10-batches-py/", "", "/tmp/../"])
@pytest.mark.parametrize("suffix, mode", [(".tar.gz", "w:gz"), (".tar", "w")])
def test_archives_are_read_in_place(tmp_path, prefix, suffix, mode):
    miniature = Miniature(TEN)
    files = {"readme.html": b"<html>", **miniature.python()}
    pack(tmp_path / f"cifar-10-python{suffix}", files, prefix, mode)
    check(TEN, tmp_path, miniature)
    assert [path.name for path in tmp_path.iterdir()] == [f"cifar-10-python{suffix}"]


@BOTH
def test_the_key_does_not_depend_on_how_the_files_came(tmp_path, store, dataset, folder, binary):
    miniature, keys = Miniature(dataset), set()
    write(tmp_path / "a" / folder, miniature.python())
    pack(
        tmp_path / "b" / f"{folder.replace('batches-py', 'python')}.tar.gz", miniature.python(), f"{folder}/"
    )
    write(tmp_path / "c" / binary, miniature.binary())
    pack(
        tmp_path / "d" / f"{binary.replace('batches-bin', 'binary')}.tar.gz", miniature.binary(), f"{binary}/"
    )
    for root in "abcd":
        keys.add(dataset_key(dataset, tmp_path / root, store))
    assert len(keys) == 1 and "absent" not in keys.pop()


def test_the_first_complete_folder_counts_and_archives_come_last(tmp_path):
    files = Miniature(TEN).python()
    places = ["cifar-10-batches-py", "cifar10/cifar-10-batches-py", "cifar10"]
    pack(tmp_path / "cifar10/cifar-10-python.tar.gz", files)
    assert TEN.files(tmp_path) == [tmp_path / "cifar10/cifar-10-python.tar.gz"]
    write(tmp_path / "cifar-10-batches-bin", Miniature(TEN).binary())
    assert {path.parent.name for path in TEN.files(tmp_path)} == {"cifar-10-batches-bin"}
    for place in places:
        write(tmp_path / place, files)
        assert {path.parent for path in TEN.files(tmp_path)} == {tmp_path / place}
    (tmp_path / "cifar10/data_batch_3").unlink()
    assert TEN.files(tmp_path)[0].parent == tmp_path / places[1]


# What is not there


def test_absent_says_where_to_put_what():
    remedy = (
        "put cifar-100-python.tar.gz, cifar-100-binary.tar.gz, or a folder cifar100 with train/CLASS/*.png "
        "and test/CLASS/*.png, packed or unpacked, into /nowhere; the archives are at "
        "https://www.cs.toronto.edu/~kriz/cifar.html"
    )
    with pytest.raises(DataAbsentError) as absent:
        Cifar100().files(Path("/nowhere"))
    assert str(absent.value) == f"cifar100 is not on this machine: {remedy}"


def test_a_folder_with_missing_files_is_absent(tmp_path):
    files = Miniature(TEN).python()
    del files["data_batch_3"], files["batches.meta"]
    write(tmp_path / "cifar-10-batches-py", files)
    with pytest.raises(DataAbsentError) as absent:
        TEN.load(tmp_path, "train")
    missing = f"({tmp_path}/cifar-10-batches-py has no data_batch_3, batches.meta)"
    assert str(absent.value).startswith(f"cifar10 is not on this machine {missing}: put cifar-10-python")


@pytest.fixture
def torchvision(monkeypatch):
    """torchvision(CIFAR10=...) stands in for the datasets of torchvision."""

    def put(**classes):
        datasets = SimpleNamespace(**classes)
        monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=datasets))
        monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)

    return put


def test_fetch_downloads_what_is_absent_only(tmp_path, torchvision):
    calls = []

    def download(root, download):
        calls.append((root, download))
        write(tmp_path / "cifar-100-python", Miniature(HUNDRED).python())

    torchvision(CIFAR100=download)
    HUNDRED.fetch(tmp_path)
    VIEWS["cifar100_lt"].fetch(tmp_path)
    assert calls == [(str(tmp_path), True)]


def test_fetch_without_a_network(tmp_path, torchvision):
    def offline(*_arguments, **_keywords):
        raise OSError("no route\nto host")

    torchvision(CIFAR10=offline)
    with pytest.raises(DataAbsentError) as failed:
        TEN.fetch(tmp_path)
    start = "cifar10 is not on this machine (download failed: no route to host): put cifar-10-python.tar.gz, "
    assert str(failed.value).startswith(start)


# What is damaged


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("protocol", range(5))
def test_a_malicious_pickle_runs_nothing(tmp_path, protocol):
    marker = tmp_path / "marker"
    content = pickle.dumps({"data": Evil(marker)}, protocol=protocol)
    assert not pickle.loads(content)["data"] and marker.exists()  # it would have
    marker.unlink()
    write(tmp_path / "cifar10", Miniature(TEN).python() | {"data_batch_2": content})
    message = line(lambda: TEN.load(tmp_path, "train"))
    assert not marker.exists()
    assert message.startswith(f"{tmp_path}/cifar10/data_batch_2 is not a whole file of CIFAR: it asks for ")
    assert message.endswith(", which is not run. Delete it and get it again.")


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"cos\nsystem\n(S'false'\ntR.", "it asks for os.system, which is not run"),
        (b"(S'false'\nios\nsystem\n.", "it asks for os.system, which is not run"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "it asks for os.system, which is not run"),
        (b"cbuiltins\neval\n.", "it asks for builtins.eval, which is not run"),
        (b"cnumpy\nload\n.", "it asks for numpy.load, which is not run"),
        (b"cnumpy\nndarray.tofile\n.", "it asks for numpy.ndarray.tofile, which is not run"),
        (b"c_codecs\nencode\n(S'a'\nS'zlib'\ntR.", "'zlib' is not a text encoding"),
        (b"Pa\n.", "A load persistent id instruction was encountered"),
        (b"<!DOCTYPE html>", "invalid load key, '<'."),
        (b"", "Ran out of input"),
        (b"].", "expected a dictionary, got list"),
        (pickle.dumps({"data": np.zeros(3)}, 2), "it holds an array that is not of bytes"),
        (pickle.dumps({"data": np.array([None])}, 2), "it holds an array that is not of bytes"),
        (
            python2({"data": np.zeros((2, 3), np.uint8)}).replace(b"K\x02K\x03\x86", b"K\x02K\x09\x86"),
            "6 bytes",
        ),
    ],
)
def test_pickles_that_are_refused(content, reason):
    with pytest.raises(ValueError) as error:
        unpickle(content)
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_a_pickle_cannot_change_what_stands_for_numpy():
    """BUILD on what a name stands for, rather than on an array made by it, sets nothing."""
    before = dict(vars(PickledArray))
    for name in (b"cnumpy\nndarray\n", b"c_codecs\nencode\n", b"cnumpy\ndtype\n"):
        for state in (b"}S'array'\nI1\ns", b"(N}S'array'\nI1\nst"):
            with pytest.raises(ValueError):
                unpickle(b"}S'data'\n" + name + state + b"bs.")
    assert dict(vars(PickledArray)) == before


def changed(name, **values):
    """Replace entries of one of the Python edition's files of CIFAR-10; None removes."""
    content = pickle.loads(Miniature(TEN).python(pickle.dumps)[name]) | values
    return {name: pickle.dumps({key: value for key, value in content.items() if value is not None})}


@pytest.mark.parametrize(
    "files, message",
    [
        (
            changed("data_batch_1", data=None),
            "it has no data and labels, but 'batch_label', 'labels', 'filenames'",
        ),
        (
            changed("data_batch_1", data=[1]),
            "it has no data and labels, but 'batch_label', 'data', 'labels', ",
        ),
        (changed("data_batch_1", labels=None, fine_labels=[1]), "it has no data and labels, but "),
        (changed("data_batch_1", labels=[1, 2, 3]), "its data has shape (4, 3072), expected (3, 3072)"),
        (changed("data_batch_1", labels=[1, 2, 3, 10]), "its labels are not in 0..9"),
        (changed("data_batch_1", labels=[1, 2, 3, -1]), "its labels are not numbers in 0..255"),
        (changed("data_batch_1", labels=[1, 2, 3, 2**80]), "its labels are not numbers in 0..255"),
        (changed("data_batch_1", labels=[1, 2, 3, "4"]), "its labels are not numbers in 0..255"),
        ({"data_batch_1": Miniature(TEN).python()["data_batch_1"][:-999]}, "pickle data was truncated"),
    ],
)
def test_damaged_batches(tmp_path, files, message):
    write(tmp_path / "cifar10", Miniature(TEN).python() | files)
    start = f"{tmp_path}/cifar10/data_batch_1 is not a whole file of CIFAR: {message}"
    assert line(lambda: TEN.load(tmp_path, "train")).startswith(start)
    np.testing.assert_array_equal(TEN.load(tmp_path, "test")[1], Miniature(TEN).split("test")[1])


def test_damaged_rows(tmp_path):
    files = Miniature(HUNDRED).binary()
    write(tmp_path, files | {"train.bin": files["train.bin"][:-5]})
    write(tmp_path / "cifar-100-binary", files | {"train.bin": files["train.bin"][:-5]})
    message = line(lambda: HUNDRED.load(tmp_path, "train"))
    assert message == (
        f"{tmp_path}/cifar-100-binary/train.bin is not a whole file of CIFAR: it has {200 * 3074 - 5} bytes, "
        "expected a multiple of 3074. Delete it and get it again."
    )


def test_other_classes(tmp_path):
    swapped = changed("batches.meta", label_names=[*TEN.classes[1:], TEN.classes[0]])
    write(tmp_path / "cifar10", Miniature(TEN).python() | swapped)
    message = line(lambda: TEN.load(tmp_path, "test"))
    assert message == f"{tmp_path}/cifar10/batches.meta does not name the classes of cifar10. Get it again."


def test_wrong_counts(tmp_path):
    files = Miniature(TEN).python()
    write(tmp_path / "cifar10", files | {"data_batch_2": files["data_batch_1"]})
    counts = np.bincount(
        np.concatenate([Miniature(TEN).parts[f"data_batch_{i}"][1] for i in (1, 1, 3, 4, 5)])
    )
    odd = np.flatnonzero(counts != 2)
    names = ", ".join(f"data_batch_{i}" for i in range(1, 6))
    assert line(lambda: TEN.load(tmp_path, "train")) == (
        f"{tmp_path}/cifar10 ({names}) has 20 images, expected 2 of each of 10 classes; {len(odd)} differ, "
        f"such as '{TEN.classes[odd[0]]}' with {counts[odd[0]]}. Get it again."
    )
    message = line(lambda: Cifar10(verify=False).load(tmp_path, "test"))
    assert "(test_batch) has 10 images, expected 1000 of each of 10 classes; 10 differ" in message


@pytest.mark.parametrize("edition", ["python", "binary"])
def test_a_file_that_is_not_the_published_one(tmp_path, edition):
    """Such as a corrupted or relabeled copy under the names of the original."""
    write(tmp_path / "cifar10", getattr(Miniature(TEN), edition)())
    real = Cifar10(train_per_class=2, test_per_class=1)
    name, algorithm = ("data_batch_1", "md5") if edition == "python" else ("data_batch_1.bin", "sha256")
    message = line(lambda: real.load(tmp_path, "train"))
    start = f"{tmp_path}/cifar10/{name} is not the published file: its {algorithm} is "
    assert message.startswith(start) and message.endswith(". Get it again.")


def test_digests_are_those_of_torchvision():
    places = find_spec("torchvision").submodule_search_locations
    source = (Path(places[0]) / "datasets" / "cifar.py").read_text()
    for dataset in (Cifar10, Cifar100):
        edition = dataset.editions[0]
        for name, digest in {**edition.train, **edition.test}.items():
            assert f'["{name}", "{digest}"]' in source
        assert f'"{edition.folder}"' in source and f'"{edition.archives[0]}"' in source
        assert dataset.editions[1].test.keys() == {f"{name}.bin" for name in edition.test}
        assert all(len(digest) == 64 for digest in dataset.editions[1].train.values())


def test_a_published_file_is_accepted(tmp_path, monkeypatch):
    import hashlib

    files = Miniature(TEN).python()
    edition = TEN.editions[0]
    for split in (edition.train, edition.test):
        for name in split:
            monkeypatch.setitem(split, name, hashlib.md5(files[name]).hexdigest())
    write(tmp_path / "cifar10", files)
    check(Cifar10(train_per_class=2, test_per_class=1), tmp_path, Miniature(TEN))


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"<!DOCTYPE html><html>404</html>", "it begins with b'<!DOCTYPE html><'"),
        (b"", "it begins with b''"),
    ],
)
def test_a_page_in_place_of_an_archive(tmp_path, content, reason):
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(content)
    message = line(lambda: TEN.load(tmp_path, "train"))
    assert message == f"{path} is not a whole archive: {reason}. Delete it and get it again."


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_archive(tmp_path, share):
    path = tmp_path / "cifar-10-python.tar.gz"
    pack(path, Miniature(TEN).python())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message = line(lambda: [TEN.load(tmp_path, split) for split in ("train", "test")])
    assert message.startswith(f"{path} is not a whole archive: ") and "it begins with" not in message


@pytest.mark.parametrize("place", [30, 6000])
def test_a_damaged_archive(tmp_path, place):
    path = tmp_path / "cifar-10-python.tar.gz"
    rng = np.random.default_rng(0)
    words = " ".join(map(str, rng.integers(0, 10**6, 10_000))).encode()
    pack(path, Miniature(TEN).python() | {"data_batch_1": words})
    content = bytearray(path.read_bytes())
    content[place : place + 3000] = rng.bytes(3000)
    path.write_bytes(content)
    message = line(lambda: TEN.load(tmp_path, "train"))
    assert message.startswith(f"{path} is not a whole archive: ") and "it begins with" not in message
    assert "method" not in message  # tarfile's account of every format that it tried


def test_an_archive_without_a_member(tmp_path):
    path, files = tmp_path / "cifar-10-python.tar.gz", Miniature(TEN).python()
    with tarfile.open(path, "w:gz") as archive:
        for name in files:
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            if name == "data_batch_4":  # a link to something outside is no file
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            member.size = len(files[name]) if member.isfile() else 0
            archive.addfile(member, io.BytesIO(files[name]))
    assert line(lambda: TEN.load(tmp_path, "train")) == (
        f"{path} holds no data_batch_4. Delete it and get it again."
    )


# Views


@pytest.fixture(scope="module")
def full():
    """Training images of the number and classes of CIFAR-100, 8 pixels wide and gray to save memory."""
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.repeat(np.arange(100), 500))
    return rng.integers(0, 256, (50_000, 1, 8, 8), dtype=np.uint8), labels


def test_registered():
    found = {name: type(d).__name__ for name, d in VIEWS.items() if name.startswith("cifar")}
    assert found == {
        "cifar10": "Cifar10",
        "cifar10_jpeg": "Cifar10Jpeg",
        "cifar10_small": "Reduced",
        "cifar100": "Cifar100",
        "cifar100_lt": "LongTailed",
        "cifar100_lt_001": "LongTailed",
        "cifar100_c": "Corrupted",
        "cifar100_c_fixed": "Corrupted",
    }
    assert VIEWS["cifar10_small"].lineage == ("cifar10_small", "cifar10_jpeg", "cifar10")
    for name in [name for name in found if name.startswith("cifar100_")]:
        assert VIEWS[name].lineage == (name, "cifar100")
        assert VIEWS[name].base == Cifar100()


@pytest.mark.parametrize("name, count", [("cifar10", 10), ("cifar100", 100)])
def test_sizes_of_the_real_datasets(name, count):
    dataset = VIEWS[name]
    assert (len(dataset.classes), len(set(dataset.classes)), dataset.resolution) == (count, count, 32)
    assert (dataset.train_per_class * count, dataset.test_per_class * count) == (50_000, 10_000)
    assert dataset.verify


def test_normalization_is_that_of_elfs():
    ten, hundred = VIEWS["cifar10"], VIEWS["cifar100_c"]
    assert (ten.mean, ten.std) == ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    assert (hundred.mean, hundred.std) == ((0.507, 0.487, 0.441), (0.267, 0.256, 0.276))


@pytest.mark.parametrize("name, total, last", [("cifar100_lt", 19_573, 50), ("cifar100_lt_001", 10_847, 5)])
def test_long_tails_have_the_published_sizes(full, name, total, last):
    images, labels = VIEWS[name].alter(*full)
    sizes = np.bincount(labels)
    assert (len(images), sizes[0], sizes[-1]) == (total, 500, last)
    factor = {50: 0.1, 5: 0.01}[last]
    assert sizes.tolist()[:-1] == [int(500 * factor ** (c / 99)) for c in range(99)]
    again = VIEWS[name].alter(*full)
    np.testing.assert_array_equal(images, again[0])


@pytest.mark.parametrize("name", ["cifar100_c", "cifar100_c_fixed"])
def test_three_thousand_images_of_each_corruption(full, name):
    images, labels = full
    corrupted, same = VIEWS[name].alter(images, labels)
    kinds = corruption_of(50_000)
    assert np.bincount(kinds).tolist() == [35_000, *[3000] * 5]
    np.testing.assert_array_equal((corrupted != images).any(axis=(1, 2, 3)), kinds > 0)
    black = np.flatnonzero(~corrupted.any(axis=(1, 2, 3)))
    fog = np.flatnonzero(kinds == CORRUPTIONS.index("fog"))
    np.testing.assert_array_equal(black, fog if name == "cifar100_c" else [])
    np.testing.assert_array_equal(same, labels)


def test_the_test_split_of_a_view_stays_clean_and_whole(tmp_path):
    write(tmp_path / "cifar100", Miniature(HUNDRED).python())
    expected, _ = Miniature(HUNDRED).split("test")
    for name in ("cifar100_lt", "cifar100_lt_001", "cifar100_c", "cifar100_c_fixed"):
        view = VIEWS[name]
        small = type(view)(**{**vars(view), "base": HUNDRED})
        np.testing.assert_array_equal(small.load(tmp_path, "test")[0], expected)


@pytest.mark.parametrize("name, annotated", [("cifar100_c", 5000), ("cifar100_lt", 1957)])
def test_the_ten_percent_draw_is_reproducible(full, name, annotated):
    _, labels = VIEWS[name].alter(*full)
    draws = [draw_labels(labels, 0.1, "uniform", stream("known", repeat)) for repeat in (0, 0, 1)]
    assert len(draws[0]) == len(np.unique(draws[0])) == annotated
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
