"""Zeroshot: CLIP compares each image with a sentence about each class; it buys no label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array, PseudoLabels
from prunebench.parts.base import PROXY, Backbones, Labeler
from prunebench_plugins.backbones.clip import Clip

SCALE = 100.0  # of cosines in the softmax: where CLIP's training caps it, and where it ended
CHUNK = 65_536  # images compared at once


@dataclass(frozen=True, kw_only=True)
class Zeroshot(Labeler):
    """Each image gets the class whose sentence is nearest to it by cosine, as CLIP embeds both.

    Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
    Supervision", section 3.1. The name of a class takes the place of {} in each of `prompts`,
    underscores read as spaces. Of several prompts the normalised embeddings are averaged (3.1.4).
    """

    name: ClassVar[str] = "zeroshot"
    backbone: Backbones = "clip_vitl14"
    prompts: tuple[str, ...] = ("a photo of a {}.",)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.annotation == 0, "zeroshot.annotation", self.annotation, "0: it reads no label")
        # A name is only a promise; when it is resolved, this is asked again.
        possible = isinstance(self.backbone, str | Clip) and self.backbone != PROXY
        reason = "one CLIP, such as clip_vitl14: no other backbone reads sentences"
        require(possible, "zeroshot.backbone", self.backbone, reason)
        require(len(self.prompts) > 0, "zeroshot.prompts", self.prompts, "one sentence or more")
        for prompt in self.prompts:
            fits = prompt.count("{}") == 1
            require(fits, "zeroshot.prompts", prompt, "a sentence with {} in it once, for the class")

    def ready(self) -> None:
        """Raise PrunebenchError where CLIP's weights are not on this machine, embeddings or not."""
        if isinstance(self.backbone, Clip):
            self.backbone.ready()

    def label(self, embeddings: Array, classes: tuple[str, ...], device: str) -> PseudoLabels:
        """Return the nearest class of each image, none of them paid for.

        The confidence is its probability, the softmax over all classes of 100 times the cosine. Raise
        PrunebenchError for a backbone that is still a name, and for weights that are absent or wrong.
        """
        texts = self.describe(classes, device)
        values = np.empty(len(embeddings), np.int64)
        confidences = np.empty(len(embeddings), np.float32)
        for start in range(0, len(embeddings), CHUNK):
            members = slice(start, start + CHUNK)
            logits = SCALE * unit(embeddings[members]) @ texts.T
            values[members] = logits.argmax(axis=1)
            best = logits.max(axis=1, keepdims=True)
            confidences[members] = 1 / np.exp(logits - best).sum(axis=1)
        return PseudoLabels(values=values, confidences=confidences)

    def describe(self, classes: tuple[str, ...], device: str) -> Array:
        """Return one embedding per class, of length 1: float32 [classes, d]. Errors are `label`'s."""
        if not isinstance(self.backbone, Clip):
            raise PrunebenchError(
                f"zeroshot has only the name of its backbone, {self.backbone!r}; "
                "outside a run give it the backbone itself, such as ClipVitl14()"
            )
        names = [name.replace("_", " ") for name in classes]
        # Not str.format: other braces, in a prompt or in a name, mean themselves.
        sentences = [prompt.replace("{}", name) for prompt in self.prompts for name in names]
        texts = unit(self.backbone.describe(sentences, device))
        return unit(texts.reshape(len(self.prompts), len(names), -1).mean(axis=0))


def unit(vectors: Array) -> Array:
    """Scale each row of float32 [n, d] to length 1; a row of zeros stays one."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
