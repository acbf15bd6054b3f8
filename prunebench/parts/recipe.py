"""Recipes: how a network is trained on a dataset."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from prunebench.errors import PrunebenchError, require
from prunebench.parts.precision import check_precision


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained on a dataset: by default SGD, with a cosine learning rate per iteration.

    epochs counts passes over the subset; `iterations`, if set, replaces them by a fixed number of
    steps. `warmup` is the share of all steps in which the learning rate rises linearly; it ends at
    `final_lr`. `shrink_batch` halves the batch from ratio 80 and quarters it from 90 (SemiPrune, A.1).
    `crop` pads that many pixels, by "reflect" or "zero", and crops back at random; `flip` mirrors
    half of the images. `evaluate_every` counts epochs between looks at the test split.
    `proxy_backbone` names a backbone on whose embeddings the proxy network trains, an MLP of one hidden
    layer, instead of on images; the final network never does.
    `side` is that of the square the networks see, in pixels; None = that of the images. Of larger images
    it is the middle, in training a place at random as `crop` or `resized_crop` say. `resized_crop` cuts a
    box at random that covers such a share of the image, from the least to the most, and resizes it to
    `side`, instead of `crop`. `final_iterations` is `iterations` for final networks alone.
    `optimizer` is "sgd", or "adam" with PyTorch's constants, which has no use for `momentum` and `nesterov`.
    From `statistics_epochs` on BatchNorm normalizes by the statistics it has gathered, and gathers no more.
    """

    network: str
    epochs: int
    iterations: int | None = None
    batch: int = 128
    shrink_batch: bool = True
    lr: float = 0.1
    final_lr: float = 1e-4
    warmup: float = 0.0
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    crop: int = 0
    padding: str = "reflect"
    flip: bool = False
    precision: str = "fp32"
    evaluate_every: int = 1
    proxy_backbone: str | None = None
    side: int | None = None
    resized_crop: tuple[float, float] | None = None
    final_iterations: int | None = None
    optimizer: str = "sgd"
    statistics_epochs: int | None = None

    def __post_init__(self) -> None:
        positive = ("epochs", "batch", "lr", "evaluate_every")
        for name in (*positive, "iterations", "side", "final_iterations", "statistics_epochs"):
            value = getattr(self, name)
            above = name not in positive if value is None else value > 0
            require(above, f"recipe.{name}", value, "above 0")
        require(0 <= self.warmup < 1, "recipe.warmup", self.warmup, "in 0..1")
        require(self.crop >= 0, "recipe.crop", self.crop, "0 or more pixels")
        require(self.padding in ("reflect", "zero"), "recipe.padding", self.padding, "'reflect' or 'zero'")
        check_precision("recipe.precision", self.precision)
        require(self.optimizer in ("sgd", "adam"), "recipe.optimizer", self.optimizer, "'sgd' or 'adam'")
        if self.resized_crop is not None:
            least, most = self.resized_crop
            expected = "(least, most) share of the area, in 0..1"
            require(0 < least <= most <= 1, "recipe.resized_crop", self.resized_crop, expected)
            require(self.crop == 0, "recipe.crop", self.crop, "0 beside recipe.resized_crop, which crops too")

    def identity(self) -> dict[str, Any]:
        """Return the fields as JSON, those added since protocol 1 only where set: older keys stand."""
        added = dict.fromkeys(("proxy_backbone", "side", "resized_crop", "final_iterations"))
        added |= {"optimizer": "sgd", "statistics_epochs": None}
        values = asdict(self) | {"resized_crop": self.resized_crop and list(self.resized_crop)}
        return {k: v for k, v in values.items() if k not in added or v != added[k]}

    def proxy(self) -> Recipe:
        """Return this recipe without what concerns final networks alone."""
        return replace(self, final_iterations=None)

    def final(self) -> Recipe:
        """Return this recipe as final networks train by it."""
        steps = self.final_iterations or self.iterations
        return replace(self, iterations=steps, final_iterations=None, proxy_backbone=None)

    def on_vectors(self) -> Recipe:
        """Return this recipe for an MLP on embeddings, of which nothing can be cropped or mirrored."""
        return replace(self, network="mlp", crop=0, flip=False, side=None, resized_crop=None)

    def seen(self, resolution: int) -> int:
        """Return the side of what networks see of images of `resolution` pixels.

        Raise PrunebenchError where that is more than there is, and no resized crop makes it up.
        """
        side = resolution if self.side is None else self.side
        if side > resolution and self.resized_crop is None:
            raise PrunebenchError(
                f"recipe.side is {side}, but the images have {resolution} pixels; set recipe.side to "
                f"{resolution} or less, or recipe.resized_crop, which enlarges"
            )
        return side

    def at(self, ratio: int) -> Recipe:
        """Return this recipe with the batch of a run in which `ratio` percent are pruned."""
        divisor = 1 if not self.shrink_batch or ratio < 80 else 2 if ratio < 90 else 4
        return replace(self, batch=max(1, self.batch // divisor), shrink_batch=False)
