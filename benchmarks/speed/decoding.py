"""Images a second that an epoch gets from decoded photos on disk, beside decoding the files in each epoch.

    python benchmarks/speed/decoding.py [--images 2000] [--sides 64 224] [--epochs 3] [--folder PLACE]

The photos are made here: JPEG files of 500 x 375 pixels, smooth noise under a piece of clothing of
Fashion-MNIST where this machine has it. Theirs is what most training scripts do: torch's DataLoader with
two workers, which decode with Pillow, and torchvision's transforms. Ours takes shuffled batches from the
file that the first look made, and augments them whole, on two threads. All files are in the page cache of
the system. "read" gives uint8 squares; "crop" cuts squares out of padded ones at random, "resized" boxes of
random size, both half of them mirrored, as normalised floats. The floors copy the same bytes in memory: rows
at random, and one after another.

All take turns, and the median over the epochs counts, without the first, in which workers start and pages
are mapped. CPU time includes that of the workers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

# Threads that wait for one another must not spin, or their CPU time says nothing.
os.environ |= {"OMP_WAIT_POLICY": "PASSIVE"}

import numpy as np
import torch
from PIL import Image
from tabulate import tabulate
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from prunebench.errors import PrunebenchError
from prunebench.nn.augment import augment, normalise
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe
from prunebench_plugins.datasets.fashion_mnist import FashionMnist
from prunebench_plugins.datasets.io import decoding
from prunebench_plugins.datasets.io.copies import folder_tree

WIDTH, HEIGHT, BATCH, CORES = 500, 375, 128, 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AREA = (0.08, 1.0)
PAD = 8  # an eighth of the side is padded, as 4 pixels of 32 are
HOWS = ("read", "crop", "resized")
TICK = os.sysconf("SC_CLK_TCK")


def make_photos(folder: Path, images: int) -> None:
    """Write JPEG files in which there is as much to decode as in photos: about 60 KB each."""
    rng = np.random.default_rng(0)
    try:
        clothes = FashionMnist().load(folder, "test")[0][:, 0]
    except PrunebenchError:
        clothes = np.zeros((1, 28, 28), np.uint8)
    folder.mkdir(parents=True)
    for number in range(images):
        layers = [
            _enlarged(rng.normal(0, 60 / k, (3 * k, 4 * k, 3)), Image.Resampling.BICUBIC) for k in (1, 4, 16)
        ]
        piece = _enlarged(clothes[number % len(clothes)][..., None].repeat(3, 2), Image.Resampling.BILINEAR)
        grain = rng.normal(0, 6, (HEIGHT, WIDTH, 3))
        photo = np.clip(127 + sum(layers) + piece / 2 + grain, 0, 255).astype(np.uint8)
        Image.fromarray(photo).save(folder / f"{number:06}.jpg", quality=90)


def _enlarged(pixels: np.ndarray, how: Image.Resampling) -> np.ndarray:
    channels = [
        Image.fromarray(pixels[..., c].astype(np.float32)).resize((WIDTH, HEIGHT), how) for c in range(3)
    ]
    return np.stack(channels, axis=2)


class Files(Dataset):
    """What scripts hand to a DataLoader: one file decoded and transformed at a time."""

    def __init__(self, paths: list[Path], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with self.paths[index].open("rb") as file:
            return self.transform(Image.open(file).convert("RGB"))


def theirs(paths: list[Path], side: int, how: str) -> DataLoader:
    """Return the loader, whose workers stay, as they may."""
    whole = [v2.Resize(side, antialias=True), v2.CenterCrop(side)]
    crops = {
        "read": [*whole, v2.PILToTensor()],
        "crop": [*whole, v2.RandomCrop(side, padding=side // PAD, padding_mode="reflect")],
        "resized": [v2.RandomResizedCrop(side, scale=AREA, antialias=True)],
    }
    end = [v2.RandomHorizontalFlip(), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    transform = v2.Compose([*crops[how], *([] if how == "read" else [*end, v2.Normalize(MEAN, STD)])])
    return DataLoader(
        Files(paths, transform), BATCH, shuffle=True, num_workers=CORES, persistent_workers=True
    )


def ours(images: Images, recipe: Recipe | None) -> Iterator[torch.Tensor]:
    """Yield shuffled batches, augmented if there is a recipe for that."""
    order, generator = torch.randperm(len(images)), torch.Generator()
    for start in range(0, len(images), BATCH):
        batch = images[order[start : start + BATCH]]
        yield batch if recipe is None else normalise(augment(batch, recipe, generator), MEAN, STD)


def rows(pixels: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield shuffled batches of what is in memory."""
    order = torch.randperm(len(pixels))
    for start in range(0, len(pixels), BATCH):
        yield pixels.index_select(0, order[start : start + BATCH])


def copies(pixels: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield copies of the batches in order."""
    target = torch.empty_like(pixels[:BATCH])
    for start in range(0, len(pixels), BATCH):
        batch = pixels[start : start + BATCH]
        yield target[: len(batch)].copy_(batch)


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its workers so far."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def measured(batches: Callable[[], Iterator[torch.Tensor]], images: int) -> tuple[float, float]:
    """Return seconds and CPU seconds of one epoch."""
    begin, used = time.perf_counter(), cpu_seconds()
    assert sum(len(batch) for batch in batches()) == images
    return time.perf_counter() - begin, cpu_seconds() - used


def table(photos: Path, side: int, epochs: int, root: Path) -> None:
    """Print what an epoch takes at one side."""
    tree = folder_tree(photos.parent, [photos.name])
    paths = [tree.place / name for name in tree.names]
    begin, used = time.perf_counter(), cpu_seconds()
    found = decoding.decoded(tree, tree.names, root=root, side=side)
    first, first_cpu = time.perf_counter() - begin, cpu_seconds() - used
    images = Images(found.images, mean=MEAN, std=STD)
    memory = torch.tensor(np.array(found.images))
    plain = Recipe(network="cnn", epochs=1, flip=True)
    recipes = {
        "read": None,
        "crop": replace(plain, crop=side // PAD),
        "resized": replace(plain, resized_crop=AREA),
    }
    contenders: dict[str, Callable[[], Iterator[torch.Tensor]]] = {}
    for how in HOWS:
        contenders[f"JPEG, {how}"] = partial(iter, theirs(paths, side, how))
        contenders[f"ours, {how}"] = partial(ours, images, recipes[how])
    contenders |= {
        "floor, random, read": partial(rows, memory),
        "floor, in order, read": partial(copies, memory),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for epoch in range(epochs + 1):
        for name, batches in contenders.items():
            taken = measured(batches, len(paths))
            times[name] += [taken] if epoch else []  # the first starts workers and touches memory
    lines = []
    for name, taken in times.items():
        wall, cpu = (statistics.median(values) for values in zip(*taken, strict=True))
        lines.append([side, name, len(paths) / wall, 1000 * cpu / len(paths)])
    by_name = {line[1]: line for line in lines}
    for line in lines:
        base = by_name[f"JPEG, {str(line[1]).rpartition(', ')[2]}"]
        line += [line[2] / base[2], base[3] / line[3]]
    header = ("pixels", "epoch", "images/s", "CPU ms/image", "times as fast", "fewer CPU s")
    print(tabulate(lines, header, tablefmt="github", floatfmt=("", "", ",.0f", ".3f", ".1f", ".1f")))
    print(
        f"decoded once: {len(paths) / first:,.0f} images/s, {1000 * first_cpu / len(paths):.2f} CPU ms each\n"
    )


def main() -> None:
    """Print a table for each side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    arguments = parser.parse_args()
    torch.set_num_threads(CORES)
    decoding.SMALL = 0  # few photos stand for many
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        photos = Path(place) / "photos" / "all"
        make_photos(photos, arguments.images)
        size = sum(path.stat().st_size for path in photos.iterdir()) / arguments.images
        print(f"{arguments.images} JPEG files of {WIDTH} x {HEIGHT} pixels, {size / 1000:.0f} KB each\n")
        for side in arguments.sides:
            table(photos, side, arguments.epochs, Path(place) / "data")


if __name__ == "__main__":
    main()
