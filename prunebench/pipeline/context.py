"""The context of a stage that computes: its inputs, the images, the true labels, the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts import registry, seeds
from prunebench.parts.artefacts import Array, Artefact, Embeddings
from prunebench.parts.base import Part, Progress
from prunebench.parts.blinded import Blinded
from prunebench.parts.dataset import Dataset
from prunebench.parts.images import Images, Vectors
from prunebench.parts.recipe import Recipe
from prunebench.pipeline.job import Input, Job, Seed
from prunebench.pipeline.store import FileCheckpoint, Store
from prunebench.system.closed import real_folder

if TYPE_CHECKING:
    from prunebench.nn.networks import Network
    from prunebench.nn.training import Trained

A = TypeVar("A", bound=Artefact)
# Splits that a process keeps: train and test of two datasets. A split may take more than 1 GiB of memory.
CACHED_SPLITS = 4
CACHED_VECTORS = 2  # of the training and of the test split


@lru_cache(maxsize=CACHED_SPLITS)
def load_split(dataset: Dataset, data: Path, split: str) -> tuple[Images, Array]:
    """Load the images and the true labels, int64 [n], of one split.

    The last CACHED_SPLITS splits stay in memory.
    Raise PrunebenchError if the dataset has not one label per image.
    """
    array, labels = dataset.load(data, split)
    labels = np.ascontiguousarray(labels, dtype=np.int64)
    if len(array) != len(labels):
        raise PrunebenchError(f"dataset {dataset.name} {split}: {len(array)} images but {len(labels)} labels")
    labels.setflags(write=False)
    return Images(array, mean=dataset.mean, std=dataset.std), labels


@lru_cache(maxsize=CACHED_VECTORS)
def load_vectors(root: Path, keys: tuple[str, ...], like: tuple[str, ...]) -> Vectors:
    """Return the embeddings of several stages, concatenated and standardized, in the place of images.

    The last CACHED_VECTORS stay in memory, as many trainings in turn see the same.

    root: the folder of the store.
    keys: of the stages that made them.
    like: of those whose standardization is applied. (): their own.
    """
    values = _joined(Store(root), keys, Embeddings)
    return Vectors(values, like=load_vectors(root, like, ()) if like else None)


def _joined(store: Store, keys: Iterable[str], artefact: type[Any]) -> Array:
    """Return the `values` of several artefacts, concatenated: float32 [n, sum of widths]."""
    values: Array = np.concatenate([store.read(key, artefact).values for key in keys], axis=1)
    return values


class Context:
    """The context in which one stage computes.

    key: the key of the stage.
    root: the key of its dataset.
    device: "cpu" or "cuda".
    store: the store that holds its inputs.
    progress: called with the steps done and the steps in all.
    data: the folder of datasets.
    micro_batch: images per forward pass of its training, or None if the whole batch fitted into memory.
    """

    def __init__(self, job: Job, store: Store, progress: Progress) -> None:
        self.key = job.key
        self.root = job.root
        self.device = job.device
        self.store = store
        self.progress = progress
        self.data = Path(job.data).absolute()  # a part may change the working folder
        self.micro_batch: int | None = None
        self._dataset = job.dataset
        self._first = job.rank == 0

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset of the stage."""
        return registry.load().dataset(self._dataset)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.dataset.classes

    def classes_for(self, part: Part) -> tuple[str, ...]:
        """Return the names of the classes as a part gets them: the real ones if it reads their words."""
        return self._real.classes if part.reads_class_names else self.classes

    @property
    def _real(self) -> Dataset:
        """The dataset, before it was blinded."""
        return self.dataset.base if isinstance(self.dataset, Blinded) else self.dataset

    @cached_property
    def closed_folders(self) -> frozenset[str]:
        """The folders of the dataset's files, if it is blinded, as no part may then open one. Else none."""
        if not isinstance(self.dataset, Blinded):
            return frozenset()
        parents = {str(path.parent): str(path) for path in self.dataset.files(self.data)}
        return frozenset(map(real_folder, parents.values()))

    @property
    def images(self) -> Images:
        """The training images."""
        return load_split(self.dataset, self.data, "train")[0]

    @property
    def truth(self) -> Array:
        """The true training labels, for label quality, final training, learning curve and oracle alone."""
        return load_split(self.dataset, self.data, "train")[1]

    @property
    def annotations(self) -> Array:
        """The true training labels, for the label draw alone. Those of a blinded dataset are real, too."""
        return load_split(self._real, self.data, "train")[1]

    @property
    def test(self) -> tuple[Images, Array]:
        """The test split, for accuracies, the embeddings that these see, and the oracle alone."""
        return load_split(self.dataset, self.data, "test")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the training images, or () if the dataset has none.

        Raise PrunebenchError if there is not one name per image.
        """
        names = self.dataset.names(self.data)
        if names and len(names) != len(self.images):
            raise PrunebenchError(
                f"dataset {self.dataset.name}: {len(self.images)} images but {len(names)} names"
            )
        return names

    @property
    def checkpoint(self) -> FileCheckpoint:
        """The checkpoint from which the stage resumes. Of several processes the first writes it."""
        return self.store.checkpoint(self.key, self._first)

    def read(self, stage_input: Input, artefact: type[A]) -> A:
        """Return the artefact of an input. Raise MissingArtefactError if it is gone or damaged."""
        return self.store.read(stage_input.source.key, artefact)

    def images_trained_on(self, stage_input: Input) -> int:
        """Return how many images the trainings of an input trained on, each as often as it was seen.

        Raise PrunebenchError if it was made before this was counted.
        """
        manifest = self.store.manifest(stage_input.source.key)
        if "work" not in manifest:
            raise PrunebenchError(
                f"{manifest['kind']} {manifest['title']} is stored without a count of its work, by an "
                "older prunebench; choose another --store"
            )
        return int(manifest["work"]["images"])

    def optional(self, stage_input: Input, artefact: type[A]) -> A | None:
        """Return an artefact that the stage of an input may have made, or None if it did not."""
        key = stage_input.source.key
        return self.store.read(key, artefact) if self.store.has(key, artefact) else None

    def joined(self, inputs: Iterable[Input], artefact: type[Any]) -> Array:
        """Return the `values` of several inputs, concatenated: float32 [n, sum of widths], read-only."""
        values = _joined(self.store, (source.source.key for source in inputs), artefact)
        values.setflags(write=False)
        return values

    def vectors(self, inputs: Iterable[Input], like: Iterable[Input] = ()) -> Vectors:
        """Return the embeddings of several inputs, concatenated and standardized, in the place of images.

        like: the inputs whose standardization is applied. (): their own.
        """
        keys, others = (tuple(source.source.key for source in some) for some in (inputs, like))
        return load_vectors(self.store.root, keys, others)

    def train(self, images: Images, labels: Array, recipe: Recipe, seed: Seed, **more: Any) -> Trained:
        """Train a network with the random stream of `seed`, on the stage's device, from its checkpoint.

        more: further arguments of `training.train`.
        """
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

    def logits_of(self, network: Network, recipe: Recipe) -> Callable[[Images], Array]:
        """Return a function from images to a network's logits, float32 [n, classes], on the stage's device.

        recipe: how the network was trained. It says what it sees of an image, and how exactly it computes.
        """
        from prunebench.nn import training

        return partial(
            training.logits, network, device=self.device, side=recipe.side, precision=recipe.precision
        )

    def precision(self, rounding: str | None) -> str:
        """Return the precision in which the stage's device looks at images with a trained network.

        rounding: `Recipe.rounding`, for a GPU. A CPU rounds nothing.
        """
        return "fp32" if rounding is None or self.device == "cpu" else rounding

    def network(self, name: str, weights: dict[str, Array], images: Images, side: int | None) -> Network:
        """Return a network with these weights, for images like these, on the stage's device.

        side: the input size in pixels, or None for the size of the images.
        """
        import torch

        from prunebench.nn import networks

        network = networks.build(
            name,
            channels=images.channels,
            classes=len(self.classes),
            resolution=images.resolution if side is None else side,
            generator_seed=0,
        )
        networks.restore(network, weights)
        network.to(self.device)
        if self.device != "cpu":  # which might round in another way
            network.to(memory_format=torch.channels_last)
        return network


def stream(seed: Seed) -> np.random.Generator:
    """Return the random stream of a seed."""
    _root, name, repeat = seed
    return seeds.stream(name, repeat)
