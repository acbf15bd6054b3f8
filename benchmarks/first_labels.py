"""Is a draw by embeddings better than a uniform one? Writes the tables of docs/photos.md, section 1.

    python benchmarks/first_labels.py

Each draw of `prunebench list draws` draws 10, 50 and 200 training images of three datasets, with ten seeds.
A logistic regression on their embeddings is tested on the test split. Both splits have at most 1,500 images,
stratified. No draw sees a label. The embeddings are kept in a folder, so that a second run does not make them
again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from tabulate import tabulate

from prunebench.parts import seeds
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Draw
from prunebench.parts.dataset import Dataset
from prunebench.parts.images import Images
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.parts.registry import load
from prunebench.results.statistics import mean_interval, summarize
from prunebench.runs.places import folder
from prunebench_plugins.datasets.draws import draw_stratified

DATASETS = {
    "digits": "Digits of scikit-learn",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10_jpeg": "CIFAR-10 as JPEG",
}
BUDGETS = (10, 50, 200)
SEEDS = range(10)
MOST = 1500  # images of a split
SIDE = 96  # pixels that the backbone sees
PAGE = Path(__file__).parent.parent / "docs" / "photos.md"
BEGIN = "<!-- what follows is made by: python benchmarks/first_labels.py -->"
END = "<!-- end -->"
CHANGES = {"zcore": {"rounds": 100_000}}  # a tenth of the default
# A smaller draw of these is the beginning of a larger one, so they draw once a seed.
NESTED = ("uniform", "kcenter", "probcover", "zcore")


@dataclass(frozen=True, eq=False)
class Vectors:
    """The embeddings and labels of both splits, standardized by the training images."""

    train: Array
    train_labels: Array
    test: Array
    test_labels: Array
    raw: Array  # of the training images, as a draw gets them


def embedded(dataset: Dataset, data: Path, kept: Path) -> Vectors:
    """Return the embeddings of a dataset. They are made once."""
    values = {}
    for split in ("train", "test"):
        array, labels = dataset.load(data, split)
        index = draw_stratified(labels, min(MOST, len(labels)))
        values[f"{split}_labels"] = labels[index]
        path = kept / f"{dataset.name}-{split}-{len(index)}-{SIDE}.npy"
        if not path.exists():
            kept.mkdir(parents=True, exist_ok=True)
            begin = time.process_time()
            np.save(path, _embed(Images(array[index], mean=dataset.mean, std=dataset.std)))
            seconds = time.process_time() - begin
            print(
                f"embedded {len(index)} {split} images of {dataset.name}: {seconds:.0f} CPU seconds",
                flush=True,
            )
        values[split] = np.load(path)
    raw = values["train"]
    mean, deviation = raw.mean(axis=0), raw.std(axis=0)
    for split in ("train", "test"):
        values[split] = (values[split] - mean) / np.maximum(deviation, 1e-6)
    return Vectors(**values, raw=raw)


def _embed(images: Images) -> Array:
    backbone = load().part("backbone", {"part": "efficientnet_lite0", "side": SIDE})
    inputs = {"device": "cpu", "progress": lambda *_: None, "checkpoint": MemoryCheckpoint()}
    embeddings: Array = backbone.embed(images=images, **inputs)  # type: ignore[attr-defined]
    return embeddings


def drawn(draw: Draw, embeddings: Array, count: int, seed: int) -> Array:
    """Return the images that a draw draws, int [count], as the command would."""
    inputs = {
        "names": tuple(map(str, range(len(embeddings)))),
        "embeddings": embeddings,
        "count": count,
        "labeled": None,  # the first draw
        "rng": seeds.stream("order", seed),
        "device": "cpu",
        "progress": lambda *_: None,
        "checkpoint": MemoryCheckpoint(),
    }
    order: Array = draw.draw(**{name: inputs[name] for name in draw.needs()})  # type: ignore[attr-defined]
    return order


def accuracy(vectors: Vectors, index: Array) -> float:
    """Return the test accuracy of a logistic regression that trained on these images, in percent."""
    labels = vectors.train_labels[index]
    if len(np.unique(labels)) == 1:  # it would not train; its prediction is that class
        return 100 * float((vectors.test_labels == labels[0]).mean())
    model = LogisticRegression(max_iter=1000).fit(vectors.train[index], labels)
    return 100 * float(model.score(vectors.test, vectors.test_labels))


def measured(draw: Draw, vectors: Vectors) -> tuple[dict[int, list[float]], float]:
    """Return the accuracies of a draw by budget, one a seed, and the CPU seconds of its largest draw."""
    accuracies: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
    seconds = []
    for seed in SEEDS:
        begin = time.process_time()
        largest = drawn(draw, vectors.raw, BUDGETS[-1], seed)
        seconds.append(time.process_time() - begin)
        for budget in BUDGETS:
            nested = draw.name in NESTED or budget == BUDGETS[-1]
            index = largest[:budget] if nested else drawn(draw, vectors.raw, budget, seed)
            accuracies[budget].append(accuracy(vectors, index))
    return accuracies, float(np.mean(seconds))


def cell(values: Sequence[float], uniform: Sequence[float]) -> str:
    """Return the mean, and the difference to uniform with its 95 % interval, bold if that leaves out 0."""
    mean = f"{np.mean(values):.1f}"
    if values is uniform:
        return f"{mean} ± {summarize(values).spread:.1f}"
    gaps = [value - other for value, other in zip(values, uniform, strict=True)]
    interval = mean_interval(gaps)
    assert interval is not None
    low, high = interval
    gap = f"{np.mean(gaps):+.1f}"
    decided = low > 0 or high < 0
    return f"{mean}, {f'**{gap}**' if decided else gap} ({low:+.1f} to {high:+.1f})"


def table(title: str, vectors: Vectors, names: Sequence[str]) -> str:
    """Return the table of a dataset, in markdown."""
    found = {}
    for name in names:
        draw = load().part("draw", {"part": name, **CHANGES.get(name, {})})
        assert isinstance(draw, Draw)
        found[name] = measured(draw, vectors)
        print(f"{title}: {name}, {found[name][1]:.1f} CPU seconds a draw", flush=True)
    uniform = found["uniform"][0]
    rows = []
    for name, (accuracies, seconds) in found.items():
        cells = [cell(accuracies[budget], uniform[budget]) for budget in BUDGETS]
        rows.append([f"`{name}`", *cells, f"{seconds:.1f}"])
    header = [title, *(f"{budget} labels" for budget in BUDGETS), "CPU seconds"]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def filled(text: str, tables: Sequence[str]) -> str:
    """Return the text of the page with these tables between the markers."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return "\n\n".join([head + BEGIN, *tables, END]) + tail


def main() -> None:
    """Measure, print the tables and write them into their page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=folder("data"), help="folder of the datasets")
    parser.add_argument(
        "--embeddings", type=Path, default=folder("store") / "first_labels", help="folder of the embeddings"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = ["uniform", *sorted(set(load().found["draws"]) - {"uniform"})]
    tables = []
    for name, title in DATASETS.items():
        vectors = embedded(load().dataset(name), options.data, options.embeddings)
        tables.append(table(title, vectors, names))
        print(f"\n{tables[-1]}\n", flush=True)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    main()
