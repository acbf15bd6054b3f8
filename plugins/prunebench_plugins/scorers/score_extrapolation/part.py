"""Score extrapolation: scores of a few labelled images, carried over to all others by their embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import PROXY
from prunebench_plugins.scorers.score_extrapolation.settings import NEIGHBOURS, ScoreExtrapolationSettings


@dataclass(frozen=True, kw_only=True)
class ScoreExtrapolation(ScoreExtrapolationSettings):
    """The scores of `scorer` where a network trained on labels, and what neighbours suggest elsewhere.

    Schmidt et al. 2025 (arXiv 2506.09010).
    """

    name: ClassVar[str] = "score_extrapolation"

    def needs(self) -> dict[str, bool]:
        """Return what the held scorer, the training and the chosen way need."""
        names = ["dynamics", "embeddings", "device"]
        if self.own_network:
            names += ["images", "labels", "classes", "recipe", "rng", "progress", "checkpoint"]
        if self.via == "gnn":
            names += ["rng", "progress"]
            if self.labels != "none":
                names += ["classes", "known" if self.labels == "all" else "labels"]
        needs = self.scorer.needs() | dict.fromkeys(names, True)
        return {name: required for name, required in needs.items() if name not in self._made()}

    def _made(self) -> set[str]:
        """Return the inputs that a network trained here gives."""
        if not self.own_network:
            return set()
        return {"dynamics", "embeddings"} if self.backbone == PROXY else {"dynamics"}

    def score(
        self,
        device: str,
        dynamics: Dynamics | None = None,
        embeddings: Array | None = None,
        **inputs: Any,
    ) -> Array:
        """Return float64 [n]; where every image has a label, what the held scorer says and nothing else.

        Raise PrunebenchError where there are too few images for `neighbours`, or too few scored ones, or
        where `labels` is "all" and not all were paid for; DivergedError for a loss that is not finite.
        """
        if self.own_network:
            dynamics, own_embeddings = self._trained(device, inputs)
            embeddings = own_embeddings if embeddings is None else embeddings
        assert dynamics is not None and embeddings is not None
        given = {"dynamics": dynamics, "device": device} | inputs
        asked = {name: given[name] for name in self.scorer.needs() if name in given}
        own = np.asarray(getattr(self.scorer, self.scorer.method)(**asked), np.float64)
        seeds = dynamics.index
        if own.shape != seeds.shape:
            raise PrunebenchError(
                f"{self.name}.scorer {self.scorer.name!r} returned scores of shape {own.shape}, "
                f"expected one for each of the {len(seeds)} images trained on"
            )
        if len(seeds) == len(embeddings):
            return own
        if self.via == "gnn":
            scores = self._predict(embeddings, seeds, own, device, inputs)
        else:
            scores = self._average(embeddings, seeds, own, device)
        scores[seeds] = own
        return scores

    def _trained(self, device: str, inputs: Mapping[str, Any]) -> tuple[Dynamics, Array]:
        """Train a network as the published code does: its dynamics, and its embeddings, float32 [n, d]."""
        if not (inputs["labels"] >= 0).any():
            raise PrunebenchError(f"{self.name} needs labels to train on; raise the labeler's annotation")
        from prunebench_plugins.scorers.score_extrapolation import loop

        names = ("images", "labels", "classes", "recipe", "rng", "progress", "checkpoint")
        given = {name: inputs[name] for name in names}
        return loop.record(settings=self, device=device, **given)

    def _average(self, embeddings: Array, seeds: Array, own: Array, device: str) -> Array:
        """Return float64 [n]: the mean, plain or weighted, over the nearest scored images; 0 at these."""
        from prunebench_plugins.scorers.score_extrapolation.graph import nearest_seeds

        k = self._neighbours(len(seeds), "scored images")
        others = np.setdiff1d(np.arange(len(embeddings)), seeds)
        near, distances = nearest_seeds(embeddings, seeds, others, k, metric=self.metric, device=device)
        # A softmax: exp(-distance) alone is 0 for every neighbour where all are far.
        far = distances.astype(np.float64) - distances.min(axis=1, keepdims=True)
        weights = np.exp(-far) if self.via == "knn_weighted" else np.ones_like(far)
        scores = np.zeros(len(embeddings))
        scores[others] = (own[near] * weights).sum(axis=1) / weights.sum(axis=1)
        return scores

    def _predict(
        self, embeddings: Array, seeds: Array, own: Array, device: str, inputs: Mapping[str, Any]
    ) -> Array:
        """Return float64 [n]: what the graph network says, which has learned from the scored images."""
        k = self._neighbours(len(embeddings) - 1, "other images")
        if len(seeds) < 2:
            raise PrunebenchError(
                f"{self.name} needs two scored images or more to learn from, but has {len(seeds)}; "
                "raise the labeler's annotation"
            )
        features = self._features(embeddings, inputs)

        from prunebench.nn.neighbours import nearest
        from prunebench_plugins.scorers.score_extrapolation import graph

        placed = graph.unit(embeddings) if self.metric == "cosine" else embeddings
        near, distances = nearest(placed, k, metric="euclidean", device=device)
        weights = np.exp(distances / np.float64(-2))
        return graph.learn(
            features,
            near,
            weights,
            seeds,
            own,
            self,
            rng=inputs["rng"],
            device=device,
            progress=inputs["progress"],
        )

    def _features(self, embeddings: Array, inputs: Mapping[str, Any]) -> Array:
        """Return float32 [n, classes + d], a one-hot label, or zeros, before each embedding."""
        if self.labels == "none":
            return embeddings
        labels = inputs["known" if self.labels == "all" else "labels"]
        unknown = int((labels < 0).sum())
        if self.labels == "all" and unknown:
            raise PrunebenchError(
                f"{self.name}.labels is 'all', but {unknown} of {len(labels)} labels were not paid for; "
                "take the labeler 'withheld', or labels 'paid'"
            )
        hot = np.eye(len(inputs["classes"]), dtype=np.float32)[labels]
        hot[labels < 0] = 0
        return np.concatenate([hot, embeddings], axis=1)

    def _neighbours(self, most: int, of: str) -> int:
        k = self.neighbours or NEIGHBOURS[self.via]
        if k > most:
            raise PrunebenchError(
                f"{self.name}.neighbours is {k}, but an image has {most} {of}; "
                "lower it or raise the labeler's annotation"
            )
        return k
