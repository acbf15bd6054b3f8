"""GraNd: how strongly an image pulls at the last layer, early in training, over several networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Checkpoint, Progress, Scorer
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from prunebench.nn.networks import Network

BATCH = 512  # images per look at a trained network


@dataclass(frozen=True, kw_only=True)
class Grand(Scorer):
    """The norm of the gradient of the loss with respect to the last layer, averaged over networks.

    In closed form ||p - onehot(y)|| * sqrt(1 + ||h||^2), with p the probabilities and h the penultimate
    features, in eval mode on the plain image. runs: how many networks are trained, each for `epochs`
    epochs of the recipe, at its learning rate throughout, as early in a long training. Paul et al. 2021
    (arXiv 2107.07075); last layer, ten runs and ten epochs as in DeepCore (Guo et al. 2022).
    """

    name: ClassVar[str] = "grand"
    runs: int = 10
    epochs: int = 10

    def __post_init__(self) -> None:
        require(self.runs > 0, "grand.runs", self.runs, "above 0")
        require(self.epochs > 0, "grand.epochs", self.epochs, "above 0")

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
        """Return float64 [n], 0 or more; images without a label, which have no gradient, get the mean.

        Raise PrunebenchError where no image has a label, and what `prunebench.nn.training.train` raises.
        """
        from prunebench.nn.training import train

        index = np.flatnonzero(labels >= 0)
        if not len(index):
            raise PrunebenchError("grand needs labels, but no image has one; choose another labeler")
        short = replace(recipe, epochs=self.epochs, iterations=None, final_lr=recipe.lr)
        images, done = images.to(device), _Done(checkpoint, len(index))
        for run, stream in enumerate(rng.spawn(self.runs)):
            if run < done.runs:
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

    index: int [m], the images looked at; labels: int [n], 0 or more there. side: pixels of the middle that
    the network sees; None = all. The gradient of the weights
    is the outer product of p - onehot(y) and h, so its norm is the product of theirs.
    """
    import torch

    from prunebench.nn.augment import centre, normalise

    def norms(chosen: Array) -> torch.Tensor:
        seen = normalise(centre(images[chosen], side), images.mean, images.std)
        features = network.features(seen).float()
        errors = network.head(features).double().softmax(1)
        places = torch.arange(len(chosen), device=errors.device)
        errors[places, torch.tensor(labels[chosen], device=errors.device)] -= 1
        pull: torch.Tensor = torch.linalg.vector_norm(errors, dim=1)
        return pull * (1 + features.double().square().sum(1)).sqrt()

    network.eval()
    with torch.inference_mode():
        batches = [norms(index[start : start + BATCH]) for start in range(0, len(index), BATCH)]
        return torch.cat(batches).cpu().numpy()


class _Done:
    """What the finished runs gave, and the checkpoint of the run under way: both in one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, images: int) -> None:
        self.checkpoint = checkpoint
        state = checkpoint.load() or {"runs": 0, "norms": np.zeros(images)}
        self.runs: int = state["runs"]
        self.norms: Array = state["norms"]
        prefix = "training/"
        self.training = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}

    def load(self) -> dict[str, Any] | None:
        """Return where the run under way stood, or None, once: the next run begins anew."""
        training, self.training = self.training, {}
        return training or None

    def save(self, state: Mapping[str, Any]) -> None:
        """Save where the run under way stands."""
        own = {"runs": self.runs, "norms": self.norms}
        self.checkpoint.save(own | {f"training/{name}": value for name, value in state.items()})

    def add(self, norms: Array) -> None:
        """Count a finished run, and save that."""
        self.runs += 1
        self.norms = self.norms + norms
        self.save({})


def _part_of(progress: Progress, run: int, runs: int) -> Progress:
    """Return the progress of one of several equally long runs."""
    return lambda done, total: progress(run * total + done, runs * total)
