"""A blinded dataset: the same images, and nothing that tells their classes."""

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts.blinded import Lent, blinded
from prunebench.parts.registry import load
from prunebench.pipeline.dataset_keys import dataset_key
from prunebench_plugins.datasets.digits import Digits
from prunebench_plugins.datasets.io.copies import Tree
from prunebench_plugins.datasets.io.decoding import Undecoded
from tests.photo_folders import write_photos


def test_images_stay_and_labels_change(tmp_path):
    images, labels = Digits().load(tmp_path, "train")
    shown, drawn = blinded(Digits()).load(tmp_path, "train")
    assert np.array_equal(shown, images)
    assert (drawn == labels).mean() < 0.2
    assert set(drawn) <= set(range(10))
    assert sorted(np.bincount(drawn)) != sorted(np.bincount(labels))  # sizes of classes are truth, too


def test_images_without_a_label_stay_without_one(toy, tmp_path, monkeypatch):
    images, labels = toy.load(tmp_path / "data", "train")
    monkeypatch.setattr(type(toy), "load", lambda *_: (images, np.where(labels == 1, -1, labels)))
    assert np.array_equal(blinded(toy).load(tmp_path, "train")[1] < 0, labels == 1)


def test_the_test_split_is_closed(tmp_path):
    with pytest.raises(PrunebenchError, match="the test split of digits is closed"):
        blinded(Digits()).load(tmp_path, "test")


def test_names_of_images_and_classes_say_nothing(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            write_photos(tmp_path / "pets" / split / name, count=6)
    pets = load().dataset(f"folder:{tmp_path / 'pets'}@8")
    names = blinded(pets).names(tmp_path)
    assert len({*names}) == len(pets.names(tmp_path)) == 6
    assert not [name for name in names if "cat" in name or "dog" in name]
    assert names != tuple(sorted(names))
    assert blinded(pets).classes == ("class_0", "class_1")
    assert blinded(Digits()).names(tmp_path) == ()


def test_its_stages_have_keys_of_their_own(store, tmp_path):
    assert dataset_key(blinded(Digits()), tmp_path, store) != dataset_key(Digits(), tmp_path, store)


def test_the_registry_makes_it_from_any_other_spec():
    assert load().dataset({"blinded": "digits"}) == blinded(Digits())
    renamed = load().dataset({"blinded": {"of": "digits", "name": "mine"}})
    assert renamed == blinded(Digits(name="mine"))
    assert renamed.name == "mine"


def test_lazy_images_do_not_tell_their_files(tmp_path):
    names = tuple(write_photos(tmp_path / "sea", count=5))
    tree = Tree(tmp_path, names, lambda name: (tmp_path / "sea" / name).read_bytes())
    array = Undecoded(tree, names, 8)
    shown = Lent(array)
    assert np.array_equal(np.asarray(shown), np.asarray(array))
    assert np.array_equal(shown[np.array([3, 1])], array[np.array([3, 1])])
    assert (len(shown), shown.shape, shown.dtype, shown.ndim) == (5, (5, 3, 8, 8), np.uint8, 4)
    assert not hasattr(shown, "names") and not hasattr(shown, "tree")
