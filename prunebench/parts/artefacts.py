"""Artefacts: the results that one stage hands to the next, as frozen values with read-only NumPy arrays.

`n` is the number of training images, in the order of the dataset. Slicing an artefact with an integer
index keeps those images only. A selector that works class by class gets its inputs in this way.
The store writes an artefact by `arrays` and reads it by `from_arrays`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from prunebench.errors import PrunebenchError

Array = np.ndarray[Any, np.dtype[Any]]


class Artefact:
    """Base of all artefacts. Its array fields become read-only. The store keeps them as tensors."""

    def arrays(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return the arrays by name, and the other fields as JSON values by name.

        An array in a dictionary field is called "FIELD/NAME".
        """
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
        """Rebuild an artefact from the two dictionaries that `arrays` returned."""
        field_values: dict[str, Any] = dict(values)
        for name, array in arrays.items():
            group, _, member = name.partition("/")
            if member:
                field_values.setdefault(group, {})[member] = array
            else:
                field_values[group] = array
        return cls(**field_values)

    def _freeze(self, name: str, dtype: type, dimensions: int) -> None:
        """Turn one field into a read-only contiguous array.

        Raise PrunebenchError if it has another number of dimensions.
        """
        array: Array = np.ascontiguousarray(getattr(self, name), dtype=dtype)
        if array.ndim != dimensions:
            raise PrunebenchError(
                f"{type(self).__name__}.{name} has shape {array.shape}, expected {dimensions} dimension(s)"
            )
        if array is getattr(self, name) and array.flags.writeable:
            array = array.copy()  # never lock an array that belongs to the caller
        array.setflags(write=False)
        object.__setattr__(self, name, array)


def _freeze_labels(artefact: PseudoLabels | Labels) -> None:
    """Turn labels and their confidences into read-only arrays.

    Raise PrunebenchError unless the labels are whole numbers, with a confidence each or none at all.
    """
    name = type(artefact).__name__
    values = np.asarray(artefact.values)
    if values.size and values.dtype.kind not in "iu":  # NumPy takes an empty list for floats
        raise PrunebenchError(
            f"{name}.values are {values.dtype}, expected int: a class or cluster each, or -1; make them so"
        )
    artefact._freeze("values", np.int64, 1)
    if artefact.confidences is None:
        return
    artefact._freeze("confidences", np.float32, 1)
    if len(artefact.confidences) != len(artefact):
        raise PrunebenchError(
            f"{name} has {len(artefact)} values but {len(artefact.confidences)} confidences; give each label "
            "one, or None"
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class PseudoLabels(Artefact):
    """The labels that a labeler predicts, one per training image.

    values: the labels, int [n], -1 = unknown.
    space: "class" if value c means class c, "cluster" if the numbers carry no names.
    confidences: of the labels, float [n] in 0..1, or None.
    network: name in `prunebench.nn.networks` of the network that made the labels, or None.
    weights: parameters and buffers of that network by name, so that the network itself can be tested.
    resize: side in pixels to which images are resized before that network sees them. None: they are not.
    """

    values: Array
    space: str = "class"
    confidences: Array | None = None
    network: str | None = None
    weights: dict[str, Array] = field(default_factory=dict, metadata={"arrays": True})
    resize: int | None = None

    def __post_init__(self) -> None:
        _freeze_labels(self)
        if self.space not in ("class", "cluster"):
            raise PrunebenchError(f"{type(self).__name__}.space is {self.space!r}, not 'class' or 'cluster'")

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False, kw_only=True)
class Labels(Artefact):
    """One label per training image, and the ledger of annotated images. Only the core makes this value.

    values: the labels, int [n], -1 = unknown.
    annotated: bool [n], True if the labeler was given the true label of the image.
    space: "class" or "cluster", as in `PseudoLabels`.
    confidences: of the labels, float [n] in 0..1, or None.
    """

    values: Array
    annotated: Array
    space: str = "class"
    confidences: Array | None = None

    def __post_init__(self) -> None:
        _freeze_labels(self)
        self._freeze("annotated", np.bool_, 1)
        if self.annotated.shape != self.values.shape:
            raise PrunebenchError(
                f"Labels: {len(self.values)} values but {len(self.annotated)} in the ledger"
            )

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Array) -> Labels:
        confidences = None if self.confidences is None else self.confidences[index]
        annotated = self.annotated[index]
        return replace(self, values=self.values[index], annotated=annotated, confidences=confidences)


@dataclass(frozen=True, eq=False, kw_only=True)
class Weights(Artefact):
    """A trained network.

    network: its name in `prunebench.nn.networks`.
    values: its parameters and buffers, by name.
    resize: side in pixels to which images are resized before the network sees them. None: they are not.
    """

    network: str
    values: dict[str, Array] = field(metadata={"arrays": True})
    resize: int | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Embeddings(Artefact):
    """One feature vector per training image.

    values: the vectors, float32 [n, d].
    """

    values: Array

    def __post_init__(self) -> None:
        self._freeze("values", np.float32, 2)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Array) -> Embeddings:
        return Embeddings(values=self.values[index])


@dataclass(frozen=True, eq=False, kw_only=True)
class Groups(Artefact):
    """Images that count as one.

    values: the group of each image, int [n]. The numbers carry no meaning.
    """

    values: Array

    def __post_init__(self) -> None:
        self._freeze("values", np.int64, 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Quality(Artefact):
    """The quality of labels against the truth, as `prunebench.pipeline.label_quality.measure` defines it.

    metrics: the numbers, by name.
    labels_per_class: number of images with each label, clusters renamed to the classes they match best.
    truth_per_class: number of images of each class.
    """

    metrics: dict[str, float]
    labels_per_class: list[int]
    truth_per_class: list[int]


@dataclass(frozen=True, eq=False, kw_only=True)
class Dynamics(Artefact):
    """Training dynamics: one record per image and epoch, taken while the network trains.

    The record of an image is made in the augmented forward pass of its mini-batch, before the step
    (SemiPrune, section 3.4; protocol of the released code). Below, y is the label trained on and p the
    softmax. Each series is float32 [epochs, m].

    images: n.
    index: the images trained on, which are those with a label, int [m], ascending. m = n if all have one.
    label_probability: p[y].
    other_probability: the largest p[c] with c != y.
    error_norm: Euclidean norm of p - onehot(y), accurate even if p[y] rounds to 1.
    entropy: of p, in nats.
    divergence: sum over c of |p log(p / p of the epoch before)|, 0 in the first epoch (TDDS, eq. 5).
    logit_margin: the logit of y minus the largest other logit.
    feature_norm: Euclidean norm of the penultimate features.
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
        """Probability margin: p[y] minus the largest other p[c], float32 [epochs, m], in -1..1."""
        return self.label_probability - self.other_probability

    @property
    def correct(self) -> Array:
        """True if the training pass predicted the label: bool [epochs, m]. A tie is not correct."""
        return self.label_probability > self.other_probability

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: Array) -> Dynamics:
        new_positions = np.full(self.images, -1)
        new_positions[index] = np.arange(len(index))
        positions = new_positions[self.index]  # of each recorded image, -1 if the slice leaves it out
        order = np.argsort(positions, kind="stable")
        columns = order[np.count_nonzero(positions < 0) :]  # -1 sorts first
        sliced = {name: getattr(self, name)[:, columns] for name in self.series}
        return replace(self, images=len(index), index=positions[columns], **sliced)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores(Artefact):
    """One number per training image, higher = harder.

    values: the numbers, finite, float64 [n].
    """

    values: Array

    def __post_init__(self) -> None:
        self._freeze("values", np.float64, 1)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Array) -> Scores:
        return Scores(values=self.values[index])


@dataclass(frozen=True, eq=False, kw_only=True)
class Subset(Artefact):
    """The kept images.

    images: n.
    index: the kept ones, int [keep], ascending and unique.
    """

    images: int
    index: Array

    def __post_init__(self) -> None:
        self._freeze("index", np.int64, 1)

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, eq=False, kw_only=True)
class Order(Artefact):
    """The images to label first.

    images: n.
    index: int [count], unique, in the order in which to label.
    """

    images: int
    index: Array

    def __post_init__(self) -> None:
        self._freeze("index", np.int64, 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Validation(Artefact):
    """The validation accuracy of a network that was trained with one candidate value of a search.

    accuracy: percent, last epoch.
    """

    accuracy: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice(Artefact):
    """The value that a search chose.

    value: the one with the best mean accuracy, the first of equals.
    tried: all [value, mean accuracy] pairs.
    """

    value: int | float
    tried: list[list[float]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Accuracy(Artefact):
    """The test accuracy of a network that was trained on a subset. All rates are percentages.

    predictions: of the last epoch, int [test images].
    accuracy: of the last epoch.
    best_accuracy: the largest of the evaluated epochs. It is an oracle, chosen on the test split.
    balanced_accuracy: mean recall over classes.
    worst_decile_recall: mean recall of the worst tenth of the classes, of at least one class.
    history: [epoch, accuracy] pairs.
    kept_per_class: number of kept images of each true class.
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


@dataclass(frozen=True, eq=False, kw_only=True)
class HeldOut(Artefact):
    """How networks fared that were trained on ever more labels, on the images held out from all of them.

    sizes: number of labels that each network was trained on, int [k], ascending.
    index: the images held out, int [m].
    wrong: whether a network was wrong on an image held out, bool [m, k].
    """

    sizes: Array
    index: Array
    wrong: Array

    def __post_init__(self) -> None:
        self._freeze("sizes", np.int64, 1)
        self._freeze("index", np.int64, 1)
        self._freeze("wrong", np.bool_, 2)


@dataclass(frozen=True, eq=False, kw_only=True)
class Spent(Artefact):
    """What a selection cost.

    images: the images that its trainings trained on, each as often as it was seen.
    """

    images: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Exam(Artefact):
    """What further tests of the same network found.

    shifted: accuracy on the test images under a corruption, in percent, by the name of the corruption.
    calibration: how well its probabilities fit, as `prunebench.pipeline.calibration.measure` defines it.
    probabilities: of the classes of the test images, float16 [test images, classes], or None.
    """

    shifted: dict[str, float] = field(default_factory=dict)
    calibration: dict[str, float] = field(default_factory=dict)
    probabilities: Array | None = None

    def __post_init__(self) -> None:
        if self.probabilities is not None:
            self._freeze("probabilities", np.float16, 2)
