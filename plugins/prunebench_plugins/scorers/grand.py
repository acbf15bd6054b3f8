"""GraNd: the gradient norm of an image at the last layer, early in training, over several networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, positive
from prunebench.parts import work
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Checkpoint, Progress, Scorer
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from prunebench.nn.networks import Network

BATCH = 512  # images per forward pass of a trained network


@dataclass(frozen=True, kw_only=True)
class Grand(Scorer):
    """The norm of the gradient of the loss with respect to the last layer, averaged over networks.

    In closed form it is ||p - onehot(y)|| * sqrt(1 + ||h||^2), with p the probabilities and h the
    penultimate features, in eval mode on the plain image. After the warm-up each network trains at the full
    learning rate of the recipe, as early in a long training.

    runs: number of networks trained, above 0.
    epochs: epochs of training per network, above 0.

    Source: Paul et al. 2021 (arXiv 2107.07075). The last layer, ten runs and ten epochs are those of DeepCore
    (Guo et al. 2022).
    """

    name: ClassVar[str] = "grand"
    data_parallel: ClassVar[bool] = True
    runs: int = 10
    epochs: int = 10

    def __post_init__(self) -> None:
        positive("grand.runs", self.runs)
        positive("grand.epochs", self.epochs)

    def score(
        self,
        images: Images,
        labels: Array,
        classes: tuple[str, ...],
        recipe: Recipe,
        rng: np.random.Generator,
        device: str,
        progress: Progress,
        checkpoint: Checkpoint,
    ) -> Array:
        """Return float64 [n], 0 or more.

        An image without a label has no gradient, so it gets the mean score.
        Raise PrunebenchError if no image has a label. Errors of `prunebench.nn.training.train` pass through.
        """
        from prunebench.nn.training import train

        index = np.flatnonzero(labels >= 0)
        if not len(index):
            raise PrunebenchError("grand needs labels, but no image has one; choose another labeler")
        short = replace(recipe, epochs=self.epochs, iterations=None, final_lr=recipe.lr)
        images = images.to(device)
        done = _Done(checkpoint, len(index))
        for run, stream in enumerate(rng.spawn(self.runs)):
            if run < done.runs:  # finished before an interruption
                continue
            trained = train(
                images,
                labels,
                short,
                classes=len(classes),
                rng=stream,
                device=device,
                index=index,
                progress=_part_of(progress, run, self.runs),
                checkpoint=done,
            )
            done.add(gradient_norms(trained.network, images, labels, index, recipe.side))
        scores = np.full(len(labels), done.norms.mean())
        scores[index] = done.norms
        return scores / self.runs


def gradient_norms(
    network: Network, images: Images, labels: Array, index: Array, side: int | None = None
) -> Array:
    """Return the norm of each image's gradient with respect to the last layer, bias included: float64 [m].

    The gradient of the weights is the outer product of p - onehot(y) and h, so its norm is the product of
    their norms.

    labels: int [n], 0 or more at `index`.
    index: int [m], positions of the images.
    side: side of the central square that the network sees, in pixels. None = the whole image.
    """
    import torch

    from prunebench.nn.augment import center, normalize

    def norms(batch: Array) -> torch.Tensor:
        inputs = normalize(center(images[batch], side), images.mean, images.std)
        features = network.features(inputs).float()
        errors = network.head(features).double().softmax(1)
        rows = torch.arange(len(batch), device=errors.device)
        errors[rows, torch.tensor(labels[batch], device=errors.device)] -= 1
        error_norms: torch.Tensor = torch.linalg.vector_norm(errors, dim=1)
        return error_norms * (1 + features.double().square().sum(1)).sqrt()  # the 1 is the bias

    network.eval()
    with torch.inference_mode(), work.looking(len(index)):
        batches = [norms(index[start : start + BATCH]) for start in range(0, len(index), BATCH)]
        return torch.cat(batches).cpu().numpy()


class _Done:
    """Norms and work of the finished runs, summed, and the state of the current run, in one checkpoint.

    The work done before an interruption is added to what this process counts.
    """

    def __init__(self, checkpoint: Checkpoint, images: int) -> None:
        self.checkpoint = checkpoint
        state: dict[str, Any] = {"runs": 0, "norms": np.zeros(images), "work": {}}
        state |= checkpoint.load() or {}
        self.runs: int = state["runs"]
        self.norms: Array = state["norms"]
        self.work: dict[str, int] = state["work"]
        work.add(**self.work)
        prefix = "training/"
        self.training = {}
        for name, value in state.items():
            if name.startswith(prefix):
                self.training[name.removeprefix(prefix)] = value

    def load(self) -> dict[str, Any] | None:
        """Return the saved state of the current run once, or None. The next run starts afresh."""
        training = self.training
        self.training = {}
        return training or None

    def save(self, state: Mapping[str, Any]) -> None:
        """Save the state of the current run beside the finished runs."""
        finished = {"runs": self.runs, "norms": self.norms, "work": self.work}
        self.checkpoint.save(finished | {f"training/{name}": value for name, value in state.items()})

    def add(self, norms: Array) -> None:
        """Add the norms of a finished run, and save the sum with the work so far."""
        self.runs += 1
        self.norms = self.norms + norms
        self.work = work.so_far()
        self.save({})


def _part_of(progress: Progress, run: int, runs: int) -> Progress:
    """Map the progress of one run to the progress of all, which are equally long."""
    return lambda done, total: progress(run * total + done, runs * total)
