"""Built-in datasets keep the contract, and a toy with a fault fails the check that fault breaks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from prunebench.parts.dataset import Dataset, DatasetInfo
from prunebench.parts.dataset_conformance import check, conform
from prunebench.parts.registry import load
from tests.photo_folders import write_photos

LABELS = {"train": [0, 1, -1], "test": [1, 0]}


@dataclass(frozen=True, kw_only=True)
class Faulty(Dataset):
    """Three training and two test images of one pixel, with a fault."""

    name: str = "faulty"
    fault: object = None
    info: ClassVar = DatasetInfo(resolution=1, mean=(0.5,), std=(0.25,))

    @property
    def classes(self):
        return ("a", "a") if self.fault == "two classes of one name" else ("a", "b")

    def files(self, root):
        match self.fault:
            case "no files":
                return []
            case "absent file":
                return [root / "absent"]
        return [Path(__file__)]

    def load(self, root, split):
        labels = np.array(LABELS[split])
        images = np.full((len(labels), 1, 1, 1), 7, np.uint8)
        match self.fault:
            case "raises":
                raise ValueError("no")
            case "float images":
                images = images / 255
            case "large images":
                images = images.repeat(2, axis=2).repeat(2, axis=3)
            case "one image too few":
                images = images[1:]
            case "float labels":
                labels = labels / 1
            case "labels beyond the classes":
                labels = labels + 1
            case "unknown test label":
                labels = labels - 1 if split == "test" else labels
            case "unseeded":
                images = np.random.default_rng().integers(256, size=images.shape).astype(np.uint8)
        return images, labels

    def names(self, root):
        match self.fault:
            case "too few names":
                return ("1.png",)
            case "twice the same name":
                return ("1.png", "1.png", "2.png")
        return ("1.png", "2.png", "3.png")

    def paths(self, root):
        return (Path("1.png"),) if self.fault == "too few paths" else ()


def failed(dataset):
    return {result.name: result.error for result in check(dataset, Path("/nowhere")) if result.error}


def test_all_that_is_checked():
    assert [(result.name, result.error) for result in check(Faulty(), Path("/nowhere"))] == [
        ("loads", None),
        ("fields are JSON", None),
        ("files exist", None),
        ("classes are unique", None),
        ("images", None),
        ("labels", None),
        ("one name per image", None),
        ("one path per image", None),
        ("same images on every load", None),
    ]


@pytest.mark.parametrize(
    ("fault", "name", "error"),
    [
        ("raises", "loads", "ValueError: no"),
        ({"a", "b"}, "fields are JSON", "TypeError: Object of type set is not JSON serializable"),
        ("no files", "files exist", "the number of files is 0, expected one or more"),
        ("absent file", "files exist", "files is ['/nowhere/absent'], expected paths that exist"),
        (
            "two classes of one name",
            "classes are unique",
            "the number of unique class names is 1, expected 2",
        ),
        (
            "float images",
            "images",
            "images are float64 (3, 1, 1, 1), expected uint8 [n, channels, side, side]",
        ),
        ("large images", "images", "train: side is 2, expected 1"),
        ("one image too few", "images", "train: images is 2, expected 3, as labels"),
        ("float labels", "labels", "train: dtype is 'float64', expected an integer one"),
        ("labels beyond the classes", "labels", "train: label is [2], expected -1..1"),
        ("unknown test label", "labels", "test: label is [-1], expected 0..1"),
        (
            "too few names",
            "one name per image",
            "the number of names is 1, expected 3, one per training image",
        ),
        (
            "twice the same name",
            "one name per image",
            "the number of unique image names is 2, expected 3",
        ),
        (
            "too few paths",
            "one path per image",
            "the number of paths is 1, expected 3, one per training image",
        ),
        (
            "unseeded",
            "same images on every load",
            "train: two loads differ; draw from a generator with a fixed seed",
        ),
    ],
)
def test_each_fault_fails_its_check_alone(fault, name, error):
    assert failed(Faulty(fault=fault)) == {name: error}


def test_conform_names_every_failed_check():
    with pytest.raises(
        AssertionError, match=r"(?s)dataset 'faulty' breaks the contract\n  files exist: the num"
    ):
        conform(Faulty(fault="no files"), Path("/nowhere"))


@pytest.mark.parametrize("name", ["digits", "digits_lt", "digits_c", "digits_c_fixed", "digits_by_class"])
def test_digits_and_their_views_conform(name):
    conform(load().dataset(name), Path("/nowhere"))


def test_a_folder_of_photos_conforms(tmp_path):
    for split in ("train", "test"):
        write_photos(tmp_path / "photos" / split / "cat", 2)
    conform(load().dataset(f"folder:{tmp_path}/photos@8"), tmp_path / "data")
