"""Writes folders of small photos for tests: nested, PNG and JPEG."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("bird", "cat", "dog")


def write_photos(folder: Path, count: int = 60, side: int = 12) -> dict[str, str]:
    """Write noisy photos of three classes, and return {file: label}. Each class has one bright channel."""
    rng = np.random.default_rng(0)
    labels = {}
    for number in range(count):
        pixels = rng.integers(100, size=(side, side, 3))
        pixels[:, :, number % 3] += 120
        # Folder, ending and class have different periods, so all combinations occur.
        subfolder = ("", "sea/", "sea/deep/")[number % 5 % 3]
        ending = "png" if number % 2 else "jpg"
        name = f"{subfolder}{number:03d}.{ending}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        labels[name] = LABELS[number % 3]
    return dict(sorted(labels.items()))


def write_labels(path: Path, labels: Mapping[str, str]) -> Path:
    """Write a .csv of labels."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "label"), *labels.items()])
    return path


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return {path: (size, time)} of a folder and everything in it, to prove that nothing was written."""
    stats = {str(path): path.stat() for path in (folder, *sorted(folder.rglob("*")))}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}
