"""What a stage may reach for while it computes: its inputs, the images, the truth, a device."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts import registry, seeds
from prunebench.parts.artefacts import Array, Artefact
from prunebench.parts.base import Progress
from prunebench.parts.dataset import Dataset
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.job import Input, Job, Seed
from prunebench.pipeline.store import FileCheckpoint, Store

if TYPE_CHECKING:
    from prunebench.nn.networks import Network
    from prunebench.nn.training import Trained

A = TypeVar("A", bound=Artefact)


@cache
def load_split(dataset: Dataset, data: Path, split: str) -> tuple[Images, Array]:
    """Load one split, once per process: the images, and the true labels, int64 [n]."""
    array, labels = dataset.load(data, split)
    labels = np.ascontiguousarray(labels, dtype=np.int64)
    if len(array) != len(labels):
        raise PrunebenchError(f"dataset {dataset.name} {split}: {len(array)} images but {len(labels)} labels")
    labels.setflags(write=False)
    return Images(array, mean=dataset.mean, std=dataset.std), labels


class Context:
    """Everything that one stage may reach for.

    device: "cpu" or "cuda". micro_batch: how many images its training saw at once, where memory lacked.
    """

    def __init__(self, job: Job, store: Store, progress: Progress) -> None:
        self.key, self.root, self.device = job.key, job.root, job.device
        self.store, self.progress = store, progress
        self.data = Path(job.data).absolute()  # wherever a part goes
        self.micro_batch: int | None = None
        self._dataset = job.dataset

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset of the stage."""
        return registry.load().dataset(self._dataset)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.dataset.classes

    @property
    def images(self) -> Images:
        """The training images."""
        return load_split(self.dataset, self.data, "train")[0]

    @property
    def truth(self) -> Array:
        """The true training labels, for the label draw, the quality and the final training alone."""
        return load_split(self.dataset, self.data, "train")[1]

    @property
    def test(self) -> tuple[Images, Array]:
        """The test split, for the accuracy and the oracle alone."""
        return load_split(self.dataset, self.data, "test")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the training images, or () where they have none."""
        names = self.dataset.names(self.data)
        if names and len(names) != len(self.images):
            raise PrunebenchError(
                f"dataset {self.dataset.name}: {len(self.images)} images but {len(names)} names"
            )
        return names

    @property
    def checkpoint(self) -> FileCheckpoint:
        """Where the stage resumes."""
        return self.store.checkpoint(self.key)

    def read(self, given: Input, artefact: type[A]) -> A:
        """Return an input of the stage, as the kind of artefact that it is."""
        return self.store.read(given.source.key, artefact)

    def optional(self, given: Input, artefact: type[A]) -> A | None:
        """Return what a stage may make beside its first artefact; None where it did not."""
        return (
            self.store.read(given.source.key, artefact)
            if self.store.has(given.source.key, artefact)
            else None
        )

    def joined(self, given: Iterable[Input], artefact: type[Any]) -> Array:
        """Return inputs with `values` side by side: float32 [n, all widths]."""
        values: Array = np.concatenate([self.read(one, artefact).values for one in given], axis=1)
        values.setflags(write=False)
        return values

    def train(self, images: Images, labels: Array, recipe: Recipe, seed: Seed, **more: Any) -> Trained:
        """Train a network as every stage does: by its stream, on its device, from its checkpoint."""
        from prunebench.nn import training

        trained = training.train(
            images,
            labels,
            recipe,
            classes=len(self.classes),
            rng=stream(seed),
            device=self.device,
            progress=self.progress,
            checkpoint=self.checkpoint,
            **more,
        )
        self.micro_batch = trained.micro_batch
        return trained

    def network(self, name: str, weights: dict[str, Array], images: Images, side: int | None) -> Network:
        """Return a network that sees `side` pixels (None: all) of images like these, with these weights."""
        from prunebench.nn import networks

        network = networks.build(
            name,
            channels=images.channels,
            classes=len(self.classes),
            resolution=images.resolution if side is None else side,
            generator_seed=0,
        )
        networks.restore(network, weights)
        return network.to(self.device)


def stream(seed: Seed) -> np.random.Generator:
    """Return the random stream of a seed."""
    _root, name, repeat = seed
    return seeds.stream(name, repeat)
