"""Probe: a linear classifier on frozen embeddings, trained on the annotated images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, positive
from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import Backbones, Labeler

MAX_ITERATIONS = 1000
CHUNK = 65_536  # images predicted at once: bounds the memory of the probabilities


@dataclass(frozen=True, kw_only=True)
class Probe(Labeler):
    """Multinomial logistic regression, fitted to the annotated images, predicts all others.

    Embeddings are first standardized over all images.

    backbone: backbone of the embeddings.
    label_fraction: label budget, as a share of the images, in 0..1.
    C: inverse strength of the quadratic penalty on the weights, above 0, as in scikit-learn. The default is
        scikit-learn's and was not tuned.
    """

    name: ClassVar[str] = "probe"
    backbone: Backbones = "dino_vitb16"
    label_fraction: float = 0.1
    C: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("probe.C", self.C)

    def label(self, embeddings: Array, known_labels: Array) -> PseudoLabels:
        """Return annotated labels and predictions for the other images, with their probabilities.

        A class without an annotated image is never predicted.

        Raise PrunebenchError unless two or more classes have an annotated image.
        """
        annotated = known_labels >= 0
        if (classes := len(np.unique(known_labels[annotated]))) < 2:
            raise PrunebenchError(
                f"probe needs annotated images of two classes or more, but has {classes}; "
                "raise probe.label_fraction"
            )
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        scaled = StandardScaler().fit_transform(embeddings)
        model = LogisticRegression(C=self.C, max_iter=MAX_ITERATIONS)
        model.fit(scaled[annotated], known_labels[annotated])
        values = known_labels.copy()
        confidences = np.ones(len(known_labels), np.float32)
        others = np.flatnonzero(~annotated)
        for start in range(0, len(others), CHUNK):
            chunk = others[start : start + CHUNK]
            probability = model.predict_proba(scaled[chunk])
            values[chunk] = model.classes_[probability.argmax(axis=1)]
            confidences[chunk] = probability.max(axis=1)
        return PseudoLabels(values=values, confidences=confidences)
