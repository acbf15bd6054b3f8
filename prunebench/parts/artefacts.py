"""What stages hand to one another: frozen values holding read-only NumPy arrays.

`n` is always the number of training images, in the order of the dataset. Slicing an artefact with an
integer index gives the same artefact for those images only, which is how a computation is done once
per class. `arrays` and `from_arrays` are how the store writes and reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from prunebench.errors import PrunebenchError

Array = np.ndarray[Any, np.dtype[Any]]


class Artefact:
    """Base of all artefacts: array fields become read-only, and are what the store keeps as tensors."""

    def arrays(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return the named arrays and the remaining JSON values of this artefact."""
        arrays: dict[str, Array] = {}
        values: dict[str, Any] = {}
        for entry in fields(self):  # type: ignore[arg-type]
            value = getattr(self, entry.name)
            if isinstance(value, np.ndarray):
                arrays[entry.name] = value
            elif isinstance(value, dict) and entry.metadata.get("arrays"):
                arrays |= {f"{entry.name}/{name}": array for name, array in value.items()}
            else:
                values[entry.name] = value
        return arrays, values

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> Self:
        """Rebuild the artefact from what `arrays` returned."""
        given: dict[str, Any] = dict(values)
        for name, array in arrays.items():
            group, _, member = name.partition("/")
            if member:
                given.setdefault(group, {})[member] = array
            else:
                given[group] = array
        return cls(**given)

    def _freeze(self, name: str, dtype: type, dimensions: int) -> None:
        """Turn one field into a read-only contiguous array, checking its number of dimensions."""
        array: Array = np.ascontiguousarray(getattr(self, name), dtype=dtype)
        if array.ndim != dimensions:
            raise PrunebenchError(
                f"{type(self).__name__}.{name} has shape {array.shape}, expected {dimensions} dimension(s)"
            )
        if array is getattr(self, name) and array.flags.writeable:
            array = array.copy()  # never lock an array that belongs to the caller
        array.setflags(write=False)
        object.__setattr__(self, name, array)


@dataclass(frozen=True, eq=False, kw_only=True)
class PseudoLabels(Artefact):
    """What a labeler says of each training image.

    values: int [n], -1 = unknown.
    space: "class" where value c means class c, "cluster" where the numbers carry no names.
    confidences: float [n] in 0..1, or None.
    network: the name of the network of `prunebench.nn.networks` that made the labels, if one did.
    weights: its parameters and buffers by name, so that it can be tested itself.
    """

    values: Array
    space: str = "class"
    confidences: Array | None = None
    network: str | None = None
    weights: dict[str, Array] = field(default_factory=dict, metadata={"arrays": True})

    def __post_init__(self) -> None:
        self._freeze("values", np.int64, 1)
        if self.space not in ("class", "cluster"):
            raise PrunebenchError(f"{type(self).__name__}.space is {self.space!r}, not 'class' or 'cluster'")
        if self.confidences is not None:
            self._freeze("confidences", np.float32, 1)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False, kw_only=True)
class Labels(Artefact):
    """One label per training image, and the ledger of those that were annotated. Made by the core alone.

    values, space, confidences: as in `PseudoLabels`.
    annotated: bool [n], whether the true label was handed out.
    """

    values: Array
    annotated: Array
    space: str = "class"
    confidences: Array | None = None

    def __post_init__(self) -> None:
        self._freeze("values", np.int64, 1)
        self._freeze("annotated", np.bool_, 1)
        if self.annotated.shape != self.values.shape:
            raise PrunebenchError(
                f"Labels: {len(self.values)} values but {len(self.annotated)} in the ledger"
            )
        if self.confidences is not None:
            self._freeze("confidences", np.float32, 1)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Array) -> Labels:
        confidences = None if self.confidences is None else self.confidences[index]
        annotated = self.annotated[index]
        return replace(self, values=self.values[index], annotated=annotated, confidences=confidences)


@dataclass(frozen=True, eq=False, kw_only=True)
class Weights(Artefact):
    """A trained network. network: its name. values: its parameters and buffers, by name."""

    network: str
    values: dict[str, Array] = field(metadata={"arrays": True})


@dataclass(frozen=True, eq=False, kw_only=True)
class Embeddings(Artefact):
    """One feature vector per training image. values: float32 [n, d]."""

    values: Array

    def __post_init__(self) -> None:
        self._freeze("values", np.float32, 2)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Array) -> Embeddings:
        return Embeddings(values=self.values[index])


@dataclass(frozen=True, eq=False, kw_only=True)
class Quality(Artefact):
    """How good labels are, measured against the truth: see `prunebench.pipeline.label_quality.measure`.

    metrics: numbers by name. labels_per_class: how many images have each label, clusters renamed to
    the classes they match best. truth_per_class: how many images each class has.
    """

    metrics: dict[str, float]
    labels_per_class: list[int]
    truth_per_class: list[int]


@dataclass(frozen=True, eq=False, kw_only=True)
class Dynamics(Artefact):
    """How a network in training saw each image: one record per epoch, taken in the training pass.

    The record of an image is made in the augmented forward pass of its mini-batch, before the step
    (SemiPrune, section 3.4; protocol of the released code). y is the label trained on, p the softmax.

    images: n. index: int [m], the images trained on (those with a label), ascending; m = n with
    complete labels. Each of the following is float32 [epochs, m]:
    label_probability p[y]; other_probability, the largest p[c] with c != y; error_norm, the Euclidean
    norm of p - onehot(y), accurate where p[y] rounds to 1; entropy in nats; divergence, the sum over c of
    |p log(p / p of the epoch before)| (0 in the first epoch; TDDS, eq. 5); logit_margin, the logit of y
    minus the largest other logit; feature_norm, the Euclidean norm of the penultimate features.
    """

    images: int
    index: Array
    label_probability: Array
    other_probability: Array
    error_norm: Array
    entropy: Array
    divergence: Array
    logit_margin: Array
    feature_norm: Array

    series: ClassVar[tuple[str, ...]] = (
        "label_probability",
        "other_probability",
        "error_norm",
        "entropy",
        "divergence",
        "logit_margin",
        "feature_norm",
    )

    def __post_init__(self) -> None:
        self._freeze("index", np.int64, 1)
        for name in self.series:
            self._freeze(name, np.float32, 2)
            if getattr(self, name).shape != (self.epochs, len(self.index)):
                raise PrunebenchError(
                    f"Dynamics.{name} has shape {getattr(self, name).shape}, "
                    f"expected {(self.epochs, len(self.index))}"
                )

    @property
    def epochs(self) -> int:
        """Number of recorded epochs."""
        return len(self.label_probability)

    @property
    def margin(self) -> Array:
        """Probability margin p[y] - max over c != y of p[c]: float32 [epochs, m], in -1..1."""
        return self.label_probability - self.other_probability

    @property
    def correct(self) -> Array:
        """Whether the training pass predicted the label: bool [epochs, m]. A tie is not correct."""
        return self.label_probability > self.other_probability

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: Array) -> Dynamics:
        place = np.full(self.images, -1)
        place[index] = np.arange(len(index))
        places = place[self.index]
        columns = np.argsort(places, kind="stable")[(places < 0).sum() :]
        sliced = {name: getattr(self, name)[:, columns] for name in self.series}
        return replace(self, images=len(index), index=places[columns], **sliced)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores(Artefact):
    """One number per training image, higher = harder. values: finite float64 [n]."""

    values: Array

    def __post_init__(self) -> None:
        self._freeze("values", np.float64, 1)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Array) -> Scores:
        return Scores(values=self.values[index])


@dataclass(frozen=True, eq=False, kw_only=True)
class Subset(Artefact):
    """The kept images. images: n. index: int [keep], ascending and unique."""

    images: int
    index: Array

    def __post_init__(self) -> None:
        self._freeze("index", np.int64, 1)

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, eq=False, kw_only=True)
class Validation(Artefact):
    """How well a network did that was trained on a candidate. accuracy: percent, last epoch."""

    accuracy: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice(Artefact):
    """What a search chose. value: the best, the first of equals. tried: [value, mean accuracy] pairs."""

    value: int | float
    tried: list[list[float]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Accuracy(Artefact):
    """What the network trained on a subset achieved on the test split.

    predictions: int [test images], of the last epoch. accuracy: percent, last epoch.
    best_accuracy: percent, the largest over the evaluated epochs: an oracle, chosen on the test split.
    balanced_accuracy: percent, mean recall over classes. worst_decile_recall: percent, mean recall of
    the worst tenth of the classes (at least one). history: [epoch, percent] pairs.
    kept_per_class: kept images by true class.
    """

    predictions: Array
    accuracy: float
    best_accuracy: float
    balanced_accuracy: float
    worst_decile_recall: float
    history: list[list[float]]
    kept_per_class: list[int]

    def __post_init__(self) -> None:
        self._freeze("predictions", np.int64, 1)
