"""Zeroshot: CLIP compares each image with a sentence about each class. It needs no label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import PROXY, Backbones, Labeler
from prunebench_plugins.backbones.clip import Clip

SCALE = 100.0  # of cosines in the softmax: the cap in CLIP's training, which its scale reached
CHUNK = 65_536  # images compared at once: bounds the memory of the logits


@dataclass(frozen=True, kw_only=True)
class Zeroshot(Labeler):
    """Each image gets the class whose sentence is nearest by cosine, both embedded by CLIP.

    The normalized embeddings of several prompts are averaged (section 3.1.4).

    backbone: one CLIP backbone, for images and sentences.
    prompts: sentences with {} in each, which stands for the name of the class. Underscores in a name become
        spaces.

    Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
    section 3.1.
    """

    name: ClassVar[str] = "zeroshot"
    reads_class_names: ClassVar[bool] = True
    backbone: Backbones = "clip_vitl14"
    prompts: tuple[str, ...] = ("a photo of a {}.",)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.label_fraction == 0, "zeroshot.label_fraction", self.label_fraction, "0: it reads no label"
        )
        # A name may turn out to be no CLIP. This check runs again when the name is resolved.
        possible = isinstance(self.backbone, str | Clip) and self.backbone != PROXY
        expected = "one CLIP, such as clip_vitl14: no other backbone reads sentences"
        require(possible, "zeroshot.backbone", self.backbone, expected)
        require(len(self.prompts) > 0, "zeroshot.prompts", self.prompts, "one sentence or more")
        for prompt in self.prompts:
            fits = prompt.count("{}") == 1
            require(fits, "zeroshot.prompts", prompt, "a sentence with {} in it once, for the class")

    def ready(self) -> None:
        """Raise PrunebenchError if CLIP's weights are not on this machine.

        They are needed even if the embeddings are stored, since the sentences are embedded too.
        """
        if isinstance(self.backbone, Clip):
            self.backbone.ready()

    def label(self, embeddings: Array, classes: tuple[str, ...], device: str) -> PseudoLabels:
        """Return the nearest class of each image, with its probability as confidence.

        The probability is the softmax over all classes of 100 times the cosine.

        Raise PrunebenchError if the backbone is still a name, or if weights are absent or wrong.
        """
        texts = self.describe(classes, device)
        values = np.empty(len(embeddings), np.int64)
        confidences = np.empty(len(embeddings), np.float32)
        for start in range(0, len(embeddings), CHUNK):
            chunk = slice(start, start + CHUNK)
            logits = SCALE * unit(embeddings[chunk]) @ texts.T
            values[chunk] = logits.argmax(axis=1)
            best = logits.max(axis=1, keepdims=True)
            confidences[chunk] = 1 / np.exp(logits - best).sum(axis=1)
        return PseudoLabels(values=values, confidences=confidences)

    def describe(self, classes: tuple[str, ...], device: str) -> Array:
        """Return one embedding per class, of length 1: float32 [classes, d].

        Raise PrunebenchError if the backbone is still a name, or if weights are absent or wrong.
        """
        if not isinstance(self.backbone, Clip):
            raise PrunebenchError(
                f"zeroshot has only the name of its backbone, {self.backbone!r}; "
                "outside a run give it the backbone itself, such as ClipVitl14()"
            )
        names = [name.replace("_", " ") for name in classes]
        # str.format would fail on other braces in a prompt.
        sentences = [prompt.replace("{}", name) for prompt in self.prompts for name in names]
        texts = unit(self.backbone.describe(sentences, device))
        return unit(texts.reshape(len(self.prompts), len(names), -1).mean(axis=0))


def unit(vectors: Array) -> Array:
    """Scale each row of float32 [n, d] to length 1. A row of zeros stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
