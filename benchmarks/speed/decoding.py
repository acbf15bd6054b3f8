"""Images per second of an epoch over decoded photos on disk, compared with decoding the files in each epoch.

    python benchmarks/speed/decoding.py [--images 2000] [--sides 64 224] [--epochs 3] [--folder FOLDER]

Photos: JPEG files of 500 x 375 pixels, made here. They show smooth noise under a piece of clothing of
Fashion-MNIST, if this machine has it. All files are in the page cache of the system.

Contestants:
JPEG    most training scripts: torch's DataLoader with two workers, which decode with Pillow, and torchvision
ours    shuffled batches from the file of decoded photos, augmented as a whole, on two threads
floor   copies of the same bytes in memory, rows at random or in order

Tasks:
read     uint8 squares
crop     random squares of padded images, half of them mirrored, as normalized floats
resized  random boxes of random size, half of them mirrored, as normalized floats

All contestants take turns. A figure is the median over the epochs without the first, in which workers start
and pages are mapped. CPU time includes the workers.
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
from prunebench.nn.augment import augment, normalize
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe
from prunebench_plugins.datasets.fashion_mnist import FashionMnist
from prunebench_plugins.datasets.io import decoding
from prunebench_plugins.datasets.io.copies import folder_tree

WIDTH, HEIGHT, BATCH, CORES = 500, 375, 128, 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AREA = (0.08, 1.0)
PAD = 8  # the padding is an eighth of the side, as 4 pixels of 32
TASKS = ("read", "crop", "resized")
TICK = os.sysconf("SC_CLK_TCK")  # ticks of CPU time per second


def make_photos(folder: Path, images: int) -> None:
    """Write JPEG files with as much detail to decode as in photos: about 60 KB each."""
    rng = np.random.default_rng(0)
    try:
        clothes = FashionMnist().load(folder, "test")[0][:, 0]
    except PrunebenchError:
        clothes = np.zeros((1, 28, 28), np.uint8)
    folder.mkdir(parents=True)
    for number in range(images):
        layers = []
        for k in (1, 4, 16):  # from coarse to fine noise
            noise = rng.normal(0, 60 / k, (3 * k, 4 * k, 3))
            layers.append(_enlarge(noise, Image.Resampling.BICUBIC))
        piece = _enlarge(clothes[number % len(clothes)][..., None].repeat(3, 2), Image.Resampling.BILINEAR)
        grain = rng.normal(0, 6, (HEIGHT, WIDTH, 3))
        photo = np.clip(127 + sum(layers) + piece / 2 + grain, 0, 255).astype(np.uint8)
        Image.fromarray(photo).save(folder / f"{number:06}.jpg", quality=90)


def _enlarge(pixels: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
    channels = []
    for number in range(3):
        channel = Image.fromarray(pixels[..., number].astype(np.float32))
        channels.append(channel.resize((WIDTH, HEIGHT), resampling))
    return np.stack(channels, axis=2)


class Files(Dataset):
    """Image files, decoded and transformed one at a time, as in most training scripts."""

    def __init__(self, paths: list[Path], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with self.paths[index].open("rb") as file:
            return self.transform(Image.open(file).convert("RGB"))


def theirs(paths: list[Path], side: int, task: str) -> DataLoader:
    """Return the DataLoader for a task. Its workers stay alive from epoch to epoch, in its favor."""
    square = [v2.Resize(side, antialias=True), v2.CenterCrop(side)]
    to_floats = [
        v2.RandomHorizontalFlip(),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]
    steps = {
        "read": [*square, v2.PILToTensor()],
        "crop": [*square, v2.RandomCrop(side, padding=side // PAD, padding_mode="reflect"), *to_floats],
        "resized": [v2.RandomResizedCrop(side, scale=AREA, antialias=True), *to_floats],
    }
    files = Files(paths, v2.Compose(steps[task]))
    return DataLoader(files, BATCH, shuffle=True, num_workers=CORES, persistent_workers=True)


def ours(images: Images, recipe: Recipe | None) -> Iterator[torch.Tensor]:
    """Yield shuffled batches. If there is a recipe, they are augmented and normalized."""
    order = torch.randperm(len(images))
    generator = torch.Generator()
    for start in range(0, len(images), BATCH):
        batch = images[order[start : start + BATCH]]
        if recipe is not None:
            batch = normalize(augment(batch, recipe, generator), MEAN, STD)
        yield batch


def rows(pixels: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield shuffled batches of images in memory."""
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
    """Return the CPU seconds of this process and of its workers so far."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = int(fields[11]), int(fields[12])
        total += (user + system) / TICK
    return total


def measured(batches: Callable[[], Iterator[torch.Tensor]], images: int) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of one epoch.

    images: number of images that the epoch must yield.
    """
    begin = time.perf_counter()
    cpu_begin = cpu_seconds()
    assert sum(len(batch) for batch in batches()) == images
    return time.perf_counter() - begin, cpu_seconds() - cpu_begin


def table(photos: Path, side: int, epochs: int, root: Path) -> None:
    """Print the speed of an epoch at one image size.

    photos: folder of JPEG files.
    side: of the decoded images, in pixels.
    root: folder for the decoded images.
    """
    tree = folder_tree(photos.parent, [photos.name])
    paths = [tree.place / name for name in tree.names]
    begin = time.perf_counter()
    cpu_begin = cpu_seconds()
    cache = decoding.decoded(tree, tree.names, root=root, side=side)
    first = time.perf_counter() - begin
    first_cpu = cpu_seconds() - cpu_begin
    images = Images(cache.images, mean=MEAN, std=STD)
    memory = torch.tensor(np.array(cache.images))
    plain = Recipe(network="cnn", epochs=1, flip=True)
    recipes = {
        "read": None,
        "crop": replace(plain, crop=side // PAD),
        "resized": replace(plain, resized_crop=AREA),
    }
    contenders: dict[str, Callable[[], Iterator[torch.Tensor]]] = {}
    for task in TASKS:
        contenders[f"JPEG, {task}"] = partial(iter, theirs(paths, side, task))
        contenders[f"ours, {task}"] = partial(ours, images, recipes[task])
    contenders["floor, random, read"] = partial(rows, memory)
    contenders["floor, in order, read"] = partial(copies, memory)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for epoch in range(epochs + 1):
        for name, batches in contenders.items():
            seconds = measured(batches, len(paths))
            if epoch > 0:  # the first epoch starts workers and maps pages
                times[name].append(seconds)
    speeds: dict[str, tuple[float, float]] = {}  # name -> images per second, CPU ms per image
    for name, epoch_times in times.items():
        wall, cpu = (statistics.median(values) for values in zip(*epoch_times, strict=True))
        speeds[name] = (len(paths) / wall, 1000 * cpu / len(paths))
    lines = []
    for name, (per_second, cpu_ms) in speeds.items():
        task = name.rpartition(", ")[2]
        their_per_second, their_cpu_ms = speeds[f"JPEG, {task}"]
        lines.append([side, name, per_second, cpu_ms, per_second / their_per_second, their_cpu_ms / cpu_ms])
    header = ("pixels", "epoch", "images/s", "CPU ms/image", "times as fast", "fewer CPU s")
    print(tabulate(lines, header, tablefmt="github", floatfmt=("", "", ",.0f", ".3f", ".1f", ".1f")))
    print(
        f"decoded once: {len(paths) / first:,.0f} images/s, {1000 * first_cpu / len(paths):.2f} CPU ms each\n"
    )


def main() -> None:
    """Print a table for each image size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 224], help="in pixels")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="parent of the temporary folder; the system's by default")
    arguments = parser.parse_args()
    torch.set_num_threads(CORES)
    decoding.SMALL = 0  # write the decoded images to disk, as for a large folder
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        photos = Path(folder) / "photos" / "all"
        make_photos(photos, arguments.images)
        size = sum(path.stat().st_size for path in photos.iterdir()) / arguments.images
        print(f"{arguments.images} JPEG files of {WIDTH} x {HEIGHT} pixels, {size / 1000:.0f} KB each\n")
        for side in arguments.sides:
            table(photos, side, arguments.epochs, Path(folder) / "data")


if __name__ == "__main__":
    main()
