"""Probe: a linear classifier on frozen embeddings, trained on the paid labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import Backbones, Labeler

MAX_ITERATIONS = 1000
CHUNK = 65_536  # images predicted at once


@dataclass(frozen=True, kw_only=True)
class Probe(Labeler):
    """Multinomial logistic regression on the paid images, asked about all others.

    Embeddings are first standardised over all images, paid or not. C is the inverse strength of the
    quadratic penalty on the weights, as in scikit-learn, whose default it is: it was not tuned.
    """

    name: ClassVar[str] = "probe"
    backbone: Backbones = "dino_vitb16"
    annotation: float = 0.1
    C: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.C > 0, "probe.C", self.C, "above 0")

    def label(self, embeddings: Array, known: Array) -> PseudoLabels:
        """Return the paid labels where they were bought, guesses elsewhere, with their probabilities.

        A class without a paid image is never guessed. Raise PrunebenchError unless the paid images are
        of two classes or more.
        """
        paid = known >= 0
        if (bought := len(np.unique(known[paid]))) < 2:
            raise PrunebenchError(
                f"probe needs paid labels of two classes or more, but has {bought}; raise probe.annotation"
            )
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        scaled = StandardScaler().fit_transform(embeddings)
        model = LogisticRegression(C=self.C, max_iter=MAX_ITERATIONS).fit(scaled[paid], known[paid])
        values, confidences = known.copy(), np.ones(len(known), np.float32)
        for members in np.array_split(np.flatnonzero(~paid), range(CHUNK, int((~paid).sum()), CHUNK)):
            if len(members):
                probability = model.predict_proba(scaled[members])
                values[members] = model.classes_[probability.argmax(axis=1)]
                confidences[members] = probability.max(axis=1)
        return PseudoLabels(values=values, confidences=confidences)
