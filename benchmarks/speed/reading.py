"""Random batches of images in a file: read through a memory map, and read row by row.

    python benchmarks/speed/reading.py [--gigabytes 4] [--sides 64 224] [--rounds 3] [--folder FOLDER]

Contestants:
map    `array[index]` of a memory map, in eight threads
rows   `MappedRows`, with `preadv`, in the same eight threads: what trainings do on a GPU
floor  the file from begin to end, 8 MiB at a time, in one thread

Each batch has 128 images, an eighth for each thread. From "disk" the system has none of the file in memory,
from "memory" all of it. Contestants take turns. A figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from tabulate import tabulate

from prunebench.nn.ahead import READERS
from prunebench.system.mapped import MappedRows

BATCH = 128
BLOCK = 2**23  # bytes
SOME = 2**29  # bytes of images in a round of a contestant
RNG = np.random.default_rng(0)


def make(path: Path, images: int, size: int) -> None:
    """Write a file of noise.

    size: bytes of an image.
    """
    left = images * size
    with path.open("wb") as file:
        while left:
            left -= file.write(RNG.bytes(min(BLOCK, left)))
        file.flush()
        os.fsync(file.fileno())


def forget(path: Path) -> None:
    """Let the system drop what it has of a file in memory."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_order(path: Path, limit: int) -> int:
    """Read a file from its begin. Returns the number of bytes read, at least `limit` if it has them."""
    done = 0
    with path.open("rb", buffering=0) as file:
        while done < limit and (block := file.read(BLOCK)):
            done += len(block)
    return done


def by_map(array: np.ndarray, index: np.ndarray, out: np.ndarray) -> None:
    """Copy rows through the memory map."""
    out[:] = array[index]


def at_random(read: Callable[[np.ndarray, np.ndarray], None], shape: tuple[int, ...]) -> int:
    """Read random images without repeats, batch by batch. Returns the number of bytes read.

    read: copies the images of an index to an array.
    shape: of all images, [n, ...].
    """
    size = int(np.prod(shape[1:]))
    batches = min(SOME // size, shape[0]) // BATCH
    order = RNG.permutation(shape[0])[: batches * BATCH].reshape(batches, BATCH)
    out = np.empty((BATCH, *shape[1:]), np.uint8)
    parts = np.array_split(np.arange(BATCH), READERS)
    with ThreadPoolExecutor(READERS) as pool:
        for index in order:
            futures = [pool.submit(read, index[part], out[part[0] : part[-1] + 1]) for part in parts]
            for future in futures:
                future.result()
    return order.size * size


def table(path: Path, side: int, gigabytes: float, rounds: int) -> None:
    """Print the speed of all contestants at one image size.

    path: of the file, which is made here.
    side: of the images, in pixels.
    """
    size = 3 * side**2
    shape = (int(gigabytes * 1e9) // size, 3, side, side)
    make(path, shape[0], size)
    rows = MappedRows(np.memmap(path, np.uint8, "r", shape=shape))

    def mapped() -> int:
        # A map of its own: pages that a process has touched stay in its map.
        return at_random(partial(by_map, np.memmap(path, np.uint8, "r", shape=shape)), shape)

    contestants: dict[str, Callable[[], int]] = {
        "map": mapped,
        "rows": partial(at_random, rows.read, shape),
        "floor": partial(in_order, path, SOME),
    }
    speeds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for place in ("disk", "memory"):
        for _ in range(rounds):
            for name, read in contestants.items():
                if place == "disk":
                    forget(path)
                else:
                    in_order(path, shape[0] * size)
                cpu_begin = time.process_time()
                begin = time.perf_counter()
                read_bytes = read()
                seconds = time.perf_counter() - begin
                cpu = time.process_time() - cpu_begin
                found = (read_bytes / size / seconds, 1e6 * cpu * size / read_bytes)
                speeds.setdefault((place, name), []).append(found)
    lines = []
    for (place, name), found in speeds.items():
        per_second, cpu = (statistics.median(values) for values in zip(*found, strict=True))
        by_the_map = statistics.median(speed for speed, _ in speeds[place, "map"])
        lines.append([side, place, name, per_second, per_second * size / 1e6, cpu, per_second / by_the_map])
    header = ("pixels", "from", "contestant", "images/s", "MB/s", "CPU us/image", "times the map")
    print(tabulate(lines, header, tablefmt="github", floatfmt=("", "", "", ",.0f", ",.0f", ".0f", ".1f")))
    print()


def main() -> None:
    """Print a table for each image size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4, help="size of the file")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 224], help="in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="parent of the temporary folder; the system's by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for side in arguments.sides:
            table(Path(folder) / "pixels", side, arguments.gigabytes, arguments.rounds)


if __name__ == "__main__":
    main()
