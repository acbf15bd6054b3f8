"""Recipes: how a network is trained on a dataset."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from prunebench.errors import PrunebenchError, choice, positive, require
from prunebench.parts.precision import check_precision

# Fields that came after the first rows. Left at None or False they are in no identity, so that the rows and
# artefacts made before them keep their keys. A new field belongs here if that means what was done without it.
LATER = ("final_network", "finetune", "evaluate_steps")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained on a dataset. The default is SGD with a cosine learning rate per step.

    Raise PrunebenchError if a value is out of its range, or if two values contradict each other: `crop` and
    `resized_crop`, `final_network` and `final_backbone`, or `finetune` without `final_backbone`.

    network: name of the network in `prunebench.nn.networks`, or "timm:NAME".
    epochs: passes over the subset, above 0.
    iterations: number of steps, above 0, which replaces `epochs`. None: train for `epochs`.
    batch: images per step, above 0.
    shrink_batch: halve the batch from ratio 80 on, quarter it from 90 on (SemiPrune, A.1), to 2 at least.
    lr: highest learning rate, above 0.
    final_lr: last learning rate.
    warmup: share of all steps, in 0..1, in which the learning rate rises linearly to `lr`.
    momentum: of SGD. "adam" ignores it.
    nesterov: use Nesterov's momentum. "adam" ignores it.
    weight_decay: of the optimizer.
    crop: pixels by which an image is padded, 0 or more, before a random crop of the original size.
    padding: the pixels of that padding, "reflect" or "zero".
    flip: mirror half of the images, drawn at random.
    precision: "fp32", "tf32" or "bf16". See `prunebench.parts.precision`.
    evaluate_every: epochs between two evaluations on the test split, above 0.
    proxy_backbone: name of a backbone. The proxy network is then a head on its embeddings.
    final_backbone: name of a frozen backbone. Final networks are then heads on its embeddings.
    head: network of proxy and final networks on embeddings: "mlp", of one hidden layer, or "linear".
    side: side in pixels of the square that networks see. None: that of the images. Tests see the middle of
        a larger image. Trainings see a random place, as `crop` or `resized_crop` says.
    resized_crop: least and largest share of the image, in 0..1, that a random box covers. The box is resized
        to `side`. It replaces `crop`.
    final_iterations: overrides `iterations` for the final networks. None: it does not.
    optimizer: "sgd", or "adam" with PyTorch's constants.
    statistics_epochs: number of epochs, above 0, after which BatchNorm normalizes by the statistics gathered
        so far and gathers no more. None: it always gathers.
    final_network: overrides `network` for the final networks, which the selection then knows nothing of.
        None: it does not.
    finetune: train all weights of `final_backbone`, below a new linear layer, on images. False: it is frozen.
    evaluate_steps: steps between two evaluations, above 0, which replaces `evaluate_every`. Each follows the
        epoch in which a multiple of so many steps was reached. None: by `evaluate_every`.
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
    final_backbone: str | None = None
    head: str = "mlp"
    side: int | None = None
    resized_crop: tuple[float, float] | None = None
    final_iterations: int | None = None
    optimizer: str = "sgd"
    statistics_epochs: int | None = None
    final_network: str | None = None
    finetune: bool = False
    evaluate_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "lr", "evaluate_every"):
            positive(f"recipe.{name}", getattr(self, name))
        for name in ("iterations", "side", "final_iterations", "statistics_epochs", "evaluate_steps"):
            value = getattr(self, name)
            if value is not None:
                positive(f"recipe.{name}", value)
        require(0 <= self.warmup < 1, "recipe.warmup", self.warmup, "in 0..1")
        require(self.crop >= 0, "recipe.crop", self.crop, "0 or more pixels")
        choice("recipe.padding", self.padding, ("reflect", "zero"))
        check_precision("recipe.precision", self.precision)
        choice("recipe.head", self.head, ("mlp", "linear"))
        choice("recipe.optimizer", self.optimizer, ("sgd", "adam"))
        if self.resized_crop is not None:
            least, most = self.resized_crop
            expected = "(least, most) share of the area, in 0..1"
            require(0 < least <= most <= 1, "recipe.resized_crop", self.resized_crop, expected)
            require(self.crop == 0, "recipe.crop", self.crop, "0 beside recipe.resized_crop, which crops too")
        if self.final_backbone is not None:
            expected = "None beside recipe.final_backbone, which says what final networks are"
            require(self.final_network is None, "recipe.final_network", self.final_network, expected)
        elif self.finetune:
            raise PrunebenchError(
                "recipe.finetune needs recipe.final_backbone, the pretrained network to train"
            )

    def identity(self) -> dict[str, Any]:
        """Return the fields as JSON, for keys. Fields in `LATER` that are None or False are left out."""
        crop = self.resized_crop
        values = asdict(self) | {"resized_crop": crop and list(crop)}  # JSON has no tuples
        return {name: value for name, value in values.items() if name not in LATER or value}

    def proxy(self) -> Recipe:
        """Return this recipe for proxy networks, without the fields of final networks."""
        return replace(
            self,
            final_iterations=None,
            final_backbone=None,
            final_network=None,
            finetune=False,
            evaluate_steps=None,
        )

    def final(self) -> Recipe:
        """Return this recipe for final networks, with the fields that are theirs alone in their places."""
        return replace(
            self,
            network=self.final_network or self.network,
            iterations=self.final_iterations or self.iterations,
            final_iterations=None,
            proxy_backbone=None,
            final_network=None,
        )

    def selecting(self) -> Recipe:
        """Return this recipe for the trainings of a search, of one network and one test each."""
        return replace(self, final_network=None, evaluate_steps=None).final()

    def transferred(self, network: str) -> Recipe:
        """Return this recipe for final networks of another name."""
        return replace(self, final_network=network).final()

    def on_vectors(self) -> Recipe:
        """Return this recipe for a head on embeddings, which cannot be cropped or mirrored."""
        return replace(self, network=self.head, crop=0, flip=False, side=None, resized_crop=None)

    @property
    def rounding(self) -> str | None:
        """The precision, or None if it is IEEE float32, so that it is in no key of what nothing rounds."""
        return None if self.precision == "fp32" else self.precision

    def seen(self, resolution: int) -> int:
        """Return the side in pixels of the square that networks see of images of `resolution` pixels.

        Raise PrunebenchError if it is larger than the images, unless `resized_crop` enlarges them.
        """
        side = resolution if self.side is None else self.side
        if side > resolution and self.resized_crop is None:
            raise PrunebenchError(
                f"recipe.side is {side}, but the images have {resolution} pixels; set recipe.side to "
                f"{resolution} or less, or recipe.resized_crop, which enlarges"
            )
        return side

    def at(self, ratio: int) -> Recipe:
        """Return this recipe with the batch size for a run that prunes `ratio` percent."""
        if not self.shrink_batch or ratio < 80:
            divisor = 1
        elif ratio < 90:
            divisor = 2
        else:
            divisor = 4
        smallest = min(2, self.batch)  # of one image BatchNorm knows no variance
        return replace(self, batch=max(smallest, self.batch // divisor), shrink_batch=False)
