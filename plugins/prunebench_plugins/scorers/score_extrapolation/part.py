"""Score extrapolation: predicts the scores of unlabeled images from a few labeled ones, by embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import PROXY
from prunebench_plugins.kept import latest
from prunebench_plugins.scorers.score_extrapolation.settings import NEIGHBORS, ScoreExtrapolationSettings


@dataclass(frozen=True, kw_only=True)
class ScoreExtrapolation(ScoreExtrapolationSettings):
    """The scores of `scorer` for labeled images, and predictions from neighbors for all others.

    Source: Schmidt et al. 2025 (arXiv 2506.09010).

    The fields are those of `ScoreExtrapolationSettings`.
    """

    name: ClassVar[str] = "score_extrapolation"

    def needs(self) -> dict[str, bool]:
        """Return the inputs that the held scorer, the training and `via` need."""
        names = ["dynamics", "embeddings", "device"]
        if self.own_network:
            names += ["images", "labels", "classes", "recipe", "rng", "progress", "checkpoint"]
        if self.via == "gnn":
            names += ["rng", "progress"]
            if self.labels == "all":
                names += ["classes", "known_labels"]
            elif self.labels != "none":
                names += ["classes", "labels"]
        needs = self.scorer.needs() | dict.fromkeys(names, True)
        return {name: required for name, required in needs.items() if name not in self._made_here()}

    def _made_here(self) -> set[str]:
        """Return the inputs that the scorer makes itself, with a network that it trains."""
        if not self.own_network:
            return set()
        if self.backbone == PROXY:
            return {"dynamics", "embeddings"}
        return {"dynamics"}

    def score(
        self,
        device: str,
        dynamics: Dynamics | None = None,
        embeddings: Array | None = None,
        **inputs: Any,
    ) -> Array:
        """Return float64 [n]. If every image has a label, these are the scores of the held scorer.

        Raise PrunebenchError if there are fewer images, or scored images, than `neighbors`.
        Raise PrunebenchError if `labels` is "all" and some images are not annotated.
        Raise DivergedError if the loss is not finite.
        """
        if self.own_network:
            dynamics, network_embeddings = self._train(device, inputs)
            if embeddings is None:
                embeddings = network_embeddings
        assert dynamics is not None and embeddings is not None
        available = {"dynamics": dynamics, "device": device} | inputs
        arguments = {name: available[name] for name in self.scorer.needs() if name in available}
        seeds = dynamics.index
        seed_scores = np.asarray(getattr(self.scorer, self.scorer.method)(**arguments), np.float64)
        if seed_scores.shape != seeds.shape:
            raise PrunebenchError(
                f"{self.name}.scorer {self.scorer.name!r} returned scores of shape {seed_scores.shape}, "
                f"expected one for each of the {len(seeds)} images trained on"
            )
        if len(seeds) == len(embeddings):
            return seed_scores
        if self.via == "gnn":
            scores = self._predict(embeddings, seeds, seed_scores, device, inputs)
        else:
            scores = self._average(embeddings, seeds, seed_scores, device)
        scores[seeds] = seed_scores
        return scores

    def _train(self, device: str, inputs: Mapping[str, Any]) -> tuple[Dynamics, Array]:
        """Train a network as the published code does. Return its dynamics and embeddings, float32 [n, d]."""
        if not (inputs["labels"] >= 0).any():
            raise PrunebenchError(f"{self.name} needs labels to train on; raise the labeler's label_fraction")
        from prunebench_plugins.scorers.score_extrapolation import loop

        names = ("images", "labels", "classes", "recipe", "rng", "progress", "checkpoint")
        arguments = {name: inputs[name] for name in names}
        return loop.record(settings=self, device=device, **arguments)

    def _average(self, embeddings: Array, seeds: Array, seed_scores: Array, device: str) -> Array:
        """Return the plain or weighted mean score of the nearest seeds: float64 [n], 0 at the seeds."""
        from prunebench_plugins.scorers.score_extrapolation.graph import nearest_seeds

        k = self._neighbors(len(seeds), "scored images")
        others = np.setdiff1d(np.arange(len(embeddings)), seeds)
        near, distances = nearest_seeds(embeddings, seeds, others, k, metric=self.metric, device=device)
        # Subtracting the minimum changes no mean. Without it exp(-distance) is 0 if all neighbors are far.
        excess = distances.astype(np.float64) - distances.min(axis=1, keepdims=True)
        weights = np.exp(-excess) if self.via == "knn_weighted" else np.ones_like(excess)
        scores = np.zeros(len(embeddings))
        scores[others] = (seed_scores[near] * weights).sum(axis=1) / weights.sum(axis=1)
        return scores

    def _predict(
        self, embeddings: Array, seeds: Array, seed_scores: Array, device: str, inputs: Mapping[str, Any]
    ) -> Array:
        """Fit the graph network to the seeds. Return its prediction for every image: float64 [n]."""
        k = self._neighbors(len(embeddings) - 1, "other images")
        if len(seeds) < 2:
            raise PrunebenchError(
                f"{self.name} needs two scored images or more to learn from, but has {len(seeds)}; "
                "raise the labeler's label_fraction"
            )
        features = self._features(embeddings, inputs)

        from prunebench.nn.neighbors import nearest
        from prunebench_plugins.scorers.score_extrapolation import graph

        points = graph.unit(embeddings) if self.metric == "cosine" else embeddings
        near, distances = latest(nearest, points, k, metric="euclidean", device=device)
        weights = np.exp(distances / np.float64(-2))
        return graph.learn(
            features,
            near,
            weights,
            seeds,
            seed_scores,
            self,
            rng=inputs["rng"],
            device=device,
            progress=inputs["progress"],
        )

    def _features(self, embeddings: Array, inputs: Mapping[str, Any]) -> Array:
        """Return the embeddings after one-hot labels: float32 [n, classes + d]. Unknown labels are zeros."""
        if self.labels == "none":
            return embeddings
        labels = inputs["known_labels" if self.labels == "all" else "labels"]
        unknown = int((labels < 0).sum())
        if self.labels == "all" and unknown:
            raise PrunebenchError(
                f"{self.name}.labels is 'all', but {unknown} of {len(labels)} images are not annotated; "
                "take the labeler 'withheld', or labels 'annotated'"
            )
        one_hot = np.eye(len(inputs["classes"]), dtype=np.float32)[labels]
        one_hot[labels < 0] = 0
        return np.concatenate([one_hot, embeddings], axis=1)

    def _neighbors(self, candidates: int, kind: str) -> int:
        """Return the number of neighbors. Raise PrunebenchError if there are fewer candidates."""
        k = self.neighbors or NEIGHBORS[self.via]
        if k > candidates:
            raise PrunebenchError(
                f"{self.name}.neighbors is {k}, but an image has {candidates} {kind}; "
                "lower it or raise the labeler's label_fraction"
            )
        return k
