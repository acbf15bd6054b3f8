"""Folders of small photos that tests write: nested, PNG and JPEG, and never to change."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("bird", "cat", "dog")


def write_photos(folder: Path, count: int = 60, side: int = 12) -> dict[str, str]:
    """Write noisy photos, one bright channel for each of three classes; return their labels by file."""
    rng = np.random.default_rng(0)
    found = {}
    for number in range(count):
        pixels = rng.integers(100, size=(side, side, 3))
        pixels[:, :, number % 3] += 120
        name = f"{('', 'sea/', 'sea/deep/')[number % 5 % 3]}{number:03d}.{'png' if number % 2 else 'jpg'}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        found[name] = LABELS[number % 3]
    return dict(sorted(found.items()))


def write_labels(path: Path, labels: Mapping[str, str]) -> Path:
    """Write a .csv of labels."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "label"), *labels.items()])
    return path


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of all that is in a folder, itself included."""
    found = {str(path): path.stat() for path in (folder, *sorted(folder.rglob("*")))}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}
