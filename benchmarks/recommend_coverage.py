"""How often is the accuracy that is measured in the interval that `prunebench recommend` predicted?

    python benchmarks/recommend_coverage.py --data FOLDER --keep FOLDER

Takes random labels of sets whose labels are all known, predicts the accuracy with up to eight times as many,
and trains on as many. Writes the table of docs/photos.md. FOLDER of --data holds the archive of CIFAR-10 as
JPEG. FOLDER of --keep holds what was computed, so that an interrupted run goes on.

The heads are those of `recommend`, but many are trained at once, on the first principal components of the
embeddings. A last study repeats a part with all features. All of it takes about 14 CPU minutes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tabulate import tabulate
from torch.nn import functional

from prunebench.nn import training
from prunebench.parts.artefacts import Array
from prunebench.parts.images import Images, Vectors
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.parts.registry import load
from prunebench.pipeline.stages.learning_curve import FOLDS, even_batch, sizes, split
from prunebench.results.learning_curve import Curve
from prunebench.results.statistics import mean_interval
from prunebench.suites.recipes import recipe_for

PAGE = Path(__file__).parent.parent / "docs" / "photos.md"
MARKERS = ("<!-- made by: python benchmarks/recommend_coverage.py -->\n", "<!-- end -->")
HEADER = ["images", "labels", "predicted for", "accuracy, %", "half width", "coverage, %"]
FACTORS = (2, 4, 8)
IMAGES = 6000
WORLDS = 20  # divisions into images to label and images to test on; each start is in one of them
SIDE = 96
RECIPE = recipe_for("quick", load().dataset({"family": "photo_pool", "path": ".", "side": SIDE}))[
    0
].on_vectors()


class Study(NamedTuple):
    """One set of images.

    pool: images that may get a label. The others are tested on.
    features: principal components of the embeddings that heads see. None: all features.
    tuned: whether the constants of `prunebench.results.learning_curve` were chosen on it.
    """

    title: str
    dataset: str
    pool: int
    tuned: bool
    features: int | None = 64
    repeats: int = 100
    starts: tuple[int, ...] = (200, 500)


STUDIES = (
    Study("digits", "digits", 1200, True),
    Study("Fashion-MNIST", "fashion_mnist", 4000, True),
    Study("CIFAR-10", "cifar10_jpeg", 4000, False),
    Study("CIFAR-10, all features", "cifar10_jpeg", 4000, False, None, 20, (200,)),
)


def embedded(name: str, data: Path, keep: Path) -> tuple[Array, Array]:
    """Return embeddings, float32 [n, d], and labels, int64 [n], of at most IMAGES images of a dataset."""
    path = keep / f"{name}.npz"
    if not path.exists():
        dataset = load().dataset(name)
        splits = ["train", "test"] if name == "digits" else ["test"]
        arrays, labels = zip(*(dataset.load(data, each) for each in splits), strict=True)
        array, truth = np.concatenate([*map(np.asarray, arrays)]), np.concatenate(labels)
        chosen = np.sort(np.random.default_rng(0).permutation(len(array))[:IMAGES])
        images = Images(array[chosen], mean=dataset.mean, std=dataset.std)
        if name == "digits":
            vectors = load().part("backbone", "pixels").embed(images)  # type: ignore[attr-defined]
        else:
            backbone = load().part("backbone", {"part": "efficientnet_lite0", "side": SIDE})
            vectors = backbone.embed(  # type: ignore[attr-defined]
                images, "cpu", lambda *_: None, MemoryCheckpoint()
            )
        np.savez(path, x=vectors, y=truth[chosen])
    stored = np.load(path)
    return stored["x"], stored["y"]


def standardized(vectors: Array, features: int | None) -> Array:
    """Return the first principal components of embeddings, or all features, as heads see them: [n, d]."""
    values = Vectors(vectors).array[:, :, 0, 0].copy()
    if features is None or features >= values.shape[1]:
        return values
    left, spread, _ = np.linalg.svd(values.astype(np.float64), full_matrices=False)
    return Vectors((left[:, :features] * spread[:features]).astype(np.float32)).array[:, :, 0, 0].copy()


class Heads:
    """Many heads, each an MLP as `prunebench.nn.networks.mlp`, that train side by side as RECIPE says."""

    def __init__(self, count: int, width: int, classes: int, generator: torch.Generator) -> None:
        def uniform(inputs: int, *shape: int) -> torch.Tensor:
            values = torch.rand(count, *shape, generator=generator) * 2 - 1
            return (values / inputs**0.5).requires_grad_()

        hidden = 256
        self.first = uniform(width, width, hidden)
        self.second, self.bias = uniform(hidden, hidden, classes), uniform(hidden, 1, classes)
        units = count * hidden
        self.scale, self.shift = (value.requires_grad_() for value in (torch.ones(units), torch.zeros(units)))
        self.mean, self.variance = torch.zeros(units), torch.ones(units)

    def parameters(self) -> list[torch.Tensor]:
        """Return all that is trained."""
        return [self.first, self.second, self.bias, self.scale, self.shift]

    def __call__(self, vectors: torch.Tensor, learning: bool = False) -> torch.Tensor:
        """Return logits, float [count, b, classes], of vectors, float [count, b, width]."""
        hidden = (vectors @ self.first).transpose(0, 1)
        normalized = functional.batch_norm(
            hidden.flatten(1), self.mean, self.variance, self.scale, self.shift, training=learning
        )
        features = functional.relu(normalized).view(hidden.shape).transpose(0, 1)
        logits: torch.Tensor = features @ self.second + self.bias
        return logits


def wrong(vectors: Array, labels: Array, trained: Array, tested: Array, rng: np.random.Generator) -> Array:
    """Train a head for each row of `trained`, and return what it is wrong on: bool as `tested`.

    trained: images to train on, int [heads, n]. tested: images to test on, int [heads, m].
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    images, truth = torch.from_numpy(vectors), torch.from_numpy(labels)
    index, (count, size) = torch.from_numpy(trained), trained.shape
    heads = Heads(count, images.shape[1], int(labels.max()) + 1, generator)
    bounds = training.batch_bounds(size, even_batch(size, RECIPE.batch))
    rates = iter(training.learning_rates(RECIPE, RECIPE.epochs * (len(bounds) - 1)))
    optimizer = torch.optim.SGD(
        heads.parameters(), momentum=RECIPE.momentum, nesterov=True, weight_decay=RECIPE.weight_decay
    )
    for _ in range(RECIPE.epochs):
        order = index.gather(1, torch.rand(count, size, generator=generator).argsort(1))
        for start, stop in pairwise(bounds):
            batch = order[:, start:stop]
            logits = heads(images[batch], learning=True)
            loss = functional.cross_entropy(logits.flatten(0, 1), truth[batch].flatten(), reduction="sum")
            optimizer.param_groups[0]["lr"] = float(next(rates))
            optimizer.zero_grad()
            (loss / (stop - start)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        some = torch.split(torch.from_numpy(tested), 500, 1)
        parts = [heads(images[part]).argmax(2) != truth[part] for part in some]
    return torch.cat(parts, 1).numpy()


def measured_curve(vectors: Array, labels: Array, drawn: Array, rng: np.random.Generator) -> Array:
    """Return whether heads are wrong on each labeled image held out, float [labeled, k].

    drawn: the labeled images.
    """
    splits = [split(labels[drawn], repeat, rng) for repeat in range(FOLDS)]
    most = max(len(tested) for _, tested in splits)
    tests = np.stack([drawn[np.resize(tested, most)] for _, tested in splits])
    counts = sizes(len(splits[0][0]))
    shares = np.empty((len(drawn), len(counts)), np.float32)
    for place, count in enumerate(counts):
        trained = np.stack([drawn[order[:count]] for order, _ in splits])
        found = wrong(vectors, labels, trained, tests, rng)
        for (_, tested), row in zip(splits, found, strict=True):
            shares[tested, place] = row[: len(tested)]
    return shares


def measure(study: Study, data: Path, keep: Path) -> dict[str, Array]:
    """Return the curves of all starts, and the errors that heads make with more labels, by their names."""
    path = keep / f"{study.dataset}_{study.features}.npz"
    found = dict(np.load(path)) if path.exists() else {}
    vectors, labels = embedded(study.dataset, data, keep)
    vectors = standardized(vectors, study.features)
    worlds = [np.random.default_rng([1, world]).permutation(len(labels)) for world in range(WORLDS)]
    pools, tests = [each[: study.pool] for each in worlds], np.stack([each[study.pool :] for each in worlds])
    for start in study.starts:
        begin = time.process_time()
        if f"curves {start}" not in found:
            curves = []
            for repeat in range(study.repeats):
                rng = np.random.default_rng([start, repeat])
                curves.append(
                    measured_curve(vectors, labels, rng.permutation(pools[repeat % WORLDS])[:start], rng)
                )
            found[f"curves {start}"] = np.stack(curves)
            np.savez(path, **found)
        for count in (start * factor for factor in FACTORS if start * factor <= study.pool):
            if f"errors {count}" not in found:
                rng = np.random.default_rng([2, count])
                trained = np.stack([rng.permutation(pool)[:count] for pool in pools])
                rows = range(0, WORLDS, 5)
                errors = [wrong(vectors, labels, trained[i : i + 5], tests[i : i + 5], rng) for i in rows]
                found[f"errors {count}"] = np.concatenate(errors).mean(axis=1)
                np.savez(path, **found)
        print(f"{study.title}, {start}: {time.process_time() - begin:.0f} CPU s", flush=True)
    return found


def lines(study: Study, found: dict[str, Array]) -> Iterator[list[str]]:
    """Yield a row of the table for each start and factor."""
    for start in study.starts:
        counts = np.array(sizes(start - -(-start // FOLDS)))
        curves = [Curve(sizes=counts, wrong=each.astype(float)) for each in found[f"curves {start}"]]
        for factor in FACTORS:
            if f"errors {start * factor}" not in found:
                continue
            truth = 100 - 100 * found[f"errors {start * factor}"]
            told = [curve.predicted(start * factor) for curve in curves]
            hits = [each.low <= truth[i % WORLDS] <= each.high for i, each in enumerate(told)]
            width = np.median([(each.high - each.low) / 2 for each in told])
            shown = [f"{truth.mean():.1f}", f"{width:.1f}", f"{100 * np.mean(hits):.0f}"]
            title = study.title + (" *" if study.tuned else "")
            yield [title, f"{start:,}", f"{start * factor:,}", *shown]


def closeness(data: Path, keep: Path, heads: int = 30, size: int = 200) -> str:
    """Return a sentence on how far heads trained side by side are from those of `training.train`."""
    study = STUDIES[0]
    vectors, labels = embedded(study.dataset, data, keep)
    vectors = standardized(vectors, study.features)
    rng = np.random.default_rng(3)
    trained = np.stack([rng.permutation(study.pool)[:size] for _ in range(heads)])
    tested = np.arange(study.pool, len(labels))
    together = 100 - 100 * wrong(vectors, labels, trained, np.tile(tested, (heads, 1)), rng).mean(axis=1)
    alone = np.array([accuracy_alone(vectors, labels, index, tested, rng) for index in trained])
    low, high = mean_interval((together - alone).tolist()) or (0.0, 0.0)
    return (
        f"{heads} heads on {size} labels of {study.title} reach {together.mean():.1f} % side by side, and\n"
        f"{alone.mean():.1f} % as `recommend` trains them. The difference is {low:+.1f} to {high:+.1f}\n"
        "points (95 %)."
    )


def accuracy_alone(
    vectors: Array, labels: Array, trained: Array, tested: Array, rng: np.random.Generator
) -> float:
    """Return the accuracy of a head of `training.train` on the images `tested`, in percent."""
    images = Vectors(vectors)
    head = training.train(
        images,
        labels,
        replace(RECIPE, batch=even_batch(len(trained), RECIPE.batch)),
        classes=int(labels.max()) + 1,
        rng=rng,
        device="cpu",
        index=trained,
        test=(images.take(tested), labels[tested]),
    )
    return head.history[-1][1]


def main() -> None:
    """Measure all, print the table and write it to the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--keep", type=Path, required=True)
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows = [row for study in STUDIES for row in lines(study, measure(study, options.data, options.keep))]
    table = tabulate(rows, HEADER, tablefmt="github", disable_numparse=True)
    text = f"{table}\n\n{closeness(options.data, options.keep)}"
    print(text)
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKERS[0])
    after = rest[rest.index(MARKERS[1]) :]
    PAGE.write_text(f"{before}{MARKERS[0]}\n{text}\n\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
