"""A small synthetic problem to try any part on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, Dynamics, Weights
from prunebench.parts.base import VOCABULARY, Labeler, Part
from prunebench.parts.blinded import other_labels
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe
from prunebench.parts.sampling import draw_labels, kept

CLASSES = ("a", "b", "c", "d")
FINGERPRINT = "0" * 64
RATIO = 70  # percent pruned, in checks that need only one ratio


class MemoryCheckpoint:
    """A `Checkpoint` in memory. It keeps arrays and tensors of the last state as NumPy copies."""

    def __init__(self) -> None:
        self.state: dict[str, Any] | None = None

    def load(self) -> dict[str, Any] | None:
        """Return the last saved state, or None."""
        return self.state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state."""
        copies: dict[str, Any] = {}
        for name, value in state.items():
            array = value.detach().cpu().numpy() if hasattr(value, "detach") else value
            copies[name] = array.copy() if isinstance(array, np.ndarray) else array
        self.state = copies


# The last layer of a network with the problem's embeddings as penultimate features.
WEIGHTS = Weights(
    network="cnn",
    values={
        "head.weight": np.eye(len(CLASSES), 16, dtype=np.float32),
        "head.bias": np.zeros(len(CLASSES), np.float32),
    },
)


@dataclass(frozen=True, eq=False)
class Problem:
    """The inputs of parts, for n images. Slicing it slices everything.

    images: uint8 [n, 3, 8, 8].
    truth: true labels, int [n].
    embeddings: float32 [n, 16].
    labels: of a labeler, int [n], -1 = unknown.
    dynamics: of a training on `labels`.
    scores: float64 [n].
    names: of the images, str [n].
    classes: names of the classes.
    device: "cpu" or "cuda", where parts compute.
    """

    images: Images
    truth: Array
    embeddings: Array
    labels: Array
    dynamics: Dynamics
    scores: Array
    names: Array
    classes: tuple[str, ...] = CLASSES
    device: str = "cpu"

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, index: Array) -> Problem:
        names = [entry.name for entry in fields(self) if entry.name not in ("images", "classes", "device")]
        sliced = {name: getattr(self, name)[index] for name in names}
        return replace(self, images=self.images.take(index), **sliced)

    def without_labels(self, index: Array) -> Problem:
        """Return the problem with the labels of `index` unknown. No network trained on these images."""
        labels = self.labels.copy()
        labels[index] = -1
        seen = np.flatnonzero(labels >= 0)
        series = {name: getattr(self.dynamics, name)[:, seen] for name in Dynamics.series}
        return replace(self, labels=labels, dynamics=replace(self.dynamics, index=seen, **series))

    def renamed(self) -> Problem:
        """Return the problem with other names of the images and of the classes, which say nothing."""
        names = np.array([f"{number:03}" for number in np.random.default_rng(3).permutation(len(self))])
        return replace(self, names=names, classes=tuple(f"class_{number}" for number in range(len(CLASSES))))

    def blinded(self, part: Part, keep: int | None = None) -> Problem:
        """Return the problem with other true labels, except those that `part` gets as `known_labels`.

        keep: as of `inputs`.
        """
        known = self._known_labels(part, self._keep(keep))
        return replace(self, truth=np.where(known < 0, other_labels(self.truth, len(CLASSES)), known))

    def tied(self) -> Problem:
        """Return the problem with many ties: coarse numbers, every second image a copy of the one before."""
        twins = np.arange(len(self)) // 2 * 2
        series = {name: (4 * getattr(self.dynamics, name)[:, twins]).round() / 4 for name in Dynamics.series}
        return replace(
            self,
            images=self.images.take(twins),
            truth=self.truth[twins],
            embeddings=(2 * self.embeddings[twins]).round() / 2,
            labels=self.labels[twins],
            dynamics=replace(self.dynamics, **series),
            scores=self.scores[twins].round(),
        )

    def inputs(self, part: Part, *, keep: int | None = None, seed: int = 0) -> dict[str, Any]:
        """Return the required and optional inputs of `part` by name, ready to be passed to its method.

        A labeler gets as many labels in `known_labels` as its `label_fraction` says. Any other part gets
        `keep` of them.

        keep: number of images that a selector keeps or a draw draws, by default that of ratio 70.
        seed: of `rng`.

        Raise PrunebenchError if `part` needs what no part of its kind may have, such as the truth.
        """
        if unknown := [name for name in part.needs() if name not in VOCABULARY[part.kind]]:
            raise PrunebenchError(
                f"needs() names {unknown}; a {part.kind} may ask for {sorted(VOCABULARY[part.kind])}"
            )
        keep = self._keep(keep)
        everything = {entry.name: getattr(self, entry.name) for entry in fields(self)} | {
            "names": tuple(self.names.tolist()),
            "fingerprint": FINGERPRINT,
            "recipe": Recipe(network="cnn", epochs=2, batch=32),
            "side": None,
            "rng": np.random.default_rng(seed),
            "progress": lambda done, total: None,
            "checkpoint": MemoryCheckpoint(),
            "known_labels": self._known_labels(part, keep),
            "weights": WEIGHTS,
            "keep": keep,
            "count": keep,
            "labeled": None,
        }
        return {name: everything[name] for name in part.needs()}

    def _keep(self, keep: int | None) -> int:
        return kept(len(self), RATIO) if keep is None else keep

    def _known_labels(self, part: Part, keep: int) -> Array:
        """Return the true labels of the annotated images, -1 elsewhere. Which these are, no label decides."""
        fraction = part.label_fraction if isinstance(part, Labeler) else keep / len(self)
        annotated = draw_labels(self.truth, fraction, "uniform", np.random.default_rng(1))
        known_labels = np.full(len(self), -1)
        known_labels[annotated] = self.truth[annotated]
        known_labels.setflags(write=False)
        return known_labels

    def digest(self) -> str:
        """Return a hash of every array in the problem."""
        arrays = [getattr(self.dynamics, name) for name in Dynamics.series]
        arrays += [self.images.array, self.embeddings, self.labels, self.scores]
        return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def synthetic_problem(device: str = "cpu") -> Problem:
    """Return a problem of 120 images, 3 x 8 x 8, in four classes of 30. A tenth of the labels is wrong.

    The images are called CLASS/000.png, CLASS/001.png, ... The dynamics have 40 epochs. In all of them, one
    image has probability 1 and one has probability 0. The embeddings have 16 dimensions. The scores have
    both signs and ties. Arrays are read-only.
    """
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.arange(120) % len(CLASSES))
    labels = np.where(rng.random(120) < 0.1, rng.integers(len(CLASSES), size=120), truth)
    pixels = 60 * truth[:, None, None, None] + rng.integers(60, size=(120, 3, 8, 8))
    problem = Problem(
        images=Images(pixels.astype(np.uint8), mean=(0.4,) * 3, std=(0.25,) * 3),
        truth=truth,
        embeddings=(np.eye(len(CLASSES), 16)[truth] + rng.normal(0, 0.3, (120, 16))).astype(np.float32),
        labels=labels,
        dynamics=_dynamics(labels, rng),
        scores=rng.normal(size=120).round(1),
        names=np.array([f"{CLASSES[label]}/{number:03}.png" for number, label in enumerate(truth)]),
        device=device,
    )
    for array in (problem.truth, problem.embeddings, problem.labels, problem.scores):
        array.setflags(write=False)
    return problem


def _dynamics(labels: Array, rng: np.random.Generator, epochs: int = 40) -> Dynamics:
    """Simulate a training in which the logit of the label grows at another pace for every image."""
    images = np.arange(len(labels))
    pace = rng.gamma(2, 0.1, len(labels))
    pace[:2] = 1000, -1000
    logits = rng.normal(size=(epochs, len(labels), len(CLASSES)))
    logits[:, images, labels] += np.arange(1, epochs + 1)[:, None] * pace
    p = np.exp(logits - logits.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    log_p = np.log(p + 1e-8)
    other = np.arange(len(CLASSES)) != labels[:, None]
    return Dynamics(
        images=len(labels),
        index=images,
        label_probability=p[:, images, labels],
        other_probability=np.where(other, p, 0).max(axis=2),
        error_norm=np.sqrt((np.where(other, p, 0) ** 2).sum(axis=2) + np.where(other, p, 0).sum(axis=2) ** 2),
        entropy=-(p * log_p).sum(axis=2),
        divergence=np.abs(p * np.diff(log_p, axis=0, prepend=log_p[:1])).sum(axis=2),
        logit_margin=logits[:, images, labels] - np.where(other, logits, -np.inf).max(axis=2),
        feature_norm=rng.gamma(5, 1, (epochs, len(labels))),
    )
