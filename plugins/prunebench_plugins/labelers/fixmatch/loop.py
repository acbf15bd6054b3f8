"""The training of FixMatch and of its relatives, which differ in the rule that says which guesses count.

A resumed training on a CPU equals an undisturbed one bit for bit.
"""

from __future__ import annotations

import math
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from prunebench.errors import PrunebenchError
from prunebench.nn import networks, processes
from prunebench.nn.ahead import EpochReader
from prunebench.nn.augment import crop, flip, normalize, random_resized_crop
from prunebench.nn.loop import Loop, flat, run
from prunebench.nn.networks import Network
from prunebench.nn.optimizers import Sgd
from prunebench.nn.randaugment import randaugment
from prunebench.nn.replay import Steps
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Checkpoint, Progress
from prunebench.parts.images import Images
from prunebench.parts.precision import autocast, check_precision
from prunebench.parts.seeds import torch_generator
from prunebench_plugins.labelers.fixmatch.settings import FixMatchSettings

Tensor = torch.Tensor
STRONG_AREA = (0.08, 1.0)  # shares of the image that a strong view of part of it may show


class FixedThreshold(nn.Module):
    """The rule of FixMatch: a guess counts if its probability reaches the threshold.

    A rule that learns keeps what it learned in buffers: they go into checkpoints.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def mask(self, probability: Tensor, index: Tensor) -> Tensor:
        """Return the weight of each guess: float [b].

        probability: float [b, classes], of the weak views. index: int64 [b], which images they show.
        """
        return (probability.amax(1) >= self.threshold).float()


def train(
    images: Images,
    known_labels: Array,
    classes: int,
    settings: FixMatchSettings,
    rule: FixedThreshold,
    *,
    rng: np.random.Generator,
    device: str,
    progress: Progress,
    checkpoint: Checkpoint,
    side: int | None = None,
) -> Network:
    """Return the moving average of the network, in eval mode.

    known_labels: int [n], the annotated labels, -1 elsewhere.
    side: side in pixels of what the network sees of the images. None: all of them.

    Raise PrunebenchError for what cannot be trained. Raise DivergedError for a loss that is not finite: on a
    CPU at that step, elsewhere after the epoch.
    """
    _check(images, known_labels, settings, device, side)
    training = _Run(images.to(device), known_labels, classes, settings, rule, rng, side)
    run(training, progress, checkpoint)
    average: Network = training.average.eval()
    return average


def learning_rate(step: int, steps: int, lr: float) -> float:
    """Return the learning rate of a step, counted from 0: it ends at 0.195 of `lr`."""
    return lr * math.cos(7 / 16 * math.pi * step / steps)


def average_decay(step: int, ema: float, warmup: bool) -> float:
    """Return how much of the moving average stays at a step, counted from 0: with warm-up less at first."""
    return min(ema, (1 + step) / (10 + step)) if warmup else ema


def consistency(weak: Tensor, strong: Tensor, rule: FixedThreshold, index: Tensor) -> Tensor:
    """Return the cross entropy of the strong views with the guesses on the weak ones: a number.

    weak, strong: logits, float [b, classes]. The mean is over all images, whether their guess counts
    or not (FixMatch, eq. 4).
    """
    probability = weak.detach().softmax(1)
    losses = functional.cross_entropy(strong, probability.argmax(1), reduction="none")
    return (losses * rule.mask(probability, index)).mean()


def decay_groups(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters with weight decay and those without: biases and BatchNorm."""
    parameters = list(network.parameters())
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, share: float | Tensor) -> None:
    """Move the average's parameters by a share of the way to those of the network; copy the buffers."""
    kept: list[Tensor] = list(average.parameters())
    current: list[Tensor] = list(network.parameters())
    if isinstance(share, Tensor):
        ways = torch._foreach_sub(current, kept)
        torch._foreach_mul_(ways, share)
        torch._foreach_add_(kept, ways)
    else:
        torch._foreach_lerp_(kept, current, share)
    torch._foreach_copy_(list(average.buffers()), list(network.buffers()))


def shuffled(index: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` entries of `index`: whole permutations, one after another, the last cut off."""
    rounds = -(-count // len(index))
    noise = torch.rand(rounds, len(index), generator=generator, device=index.device, dtype=torch.float64)
    return index[noise.argsort(1).flatten()[:count]]


class _Run(Loop):
    """A training under way."""

    def __init__(
        self,
        images: Images,
        known_labels: Array,
        classes: int,
        settings: FixMatchSettings,
        rule: FixedThreshold,
        rng: np.random.Generator,
        side: int | None = None,
    ) -> None:
        self.images, self.settings, self.device = images, settings, images.device
        self.precision = settings.precision
        self.prefix, self.remedy = f"{settings.name}: ", f"lower {settings.name}.lr"
        self.side = images.resolution if side is None else side
        self.known_labels = torch.tensor(known_labels, device=self.device)
        pool = np.arange(len(known_labels)) if settings.include_labeled else np.flatnonzero(known_labels < 0)
        self.unlabeled = torch.tensor(pool, device=self.device)
        self.labeled = torch.tensor(np.flatnonzero(known_labels >= 0), device=self.device)
        self.per_epoch = -(-len(pool) // (settings.mu * settings.batch))
        self.steps = settings.iterations or settings.epochs * self.per_epoch
        self.network = networks.build(
            settings.network,
            channels=images.channels,
            classes=classes,
            resolution=self.side,
            generator_seed=int(rng.integers(2**63)),
        ).to(self.device)
        self.network.to(memory_format=torch.channels_last)
        if settings.bn_momentum is not None:
            for layer in self.network.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.momentum = settings.bn_momentum
        self.average = deepcopy(self.network)
        self.rule = rule.to(self.device)
        decayed, others = decay_groups(self.network)
        sgd = partial(Sgd, momentum=settings.momentum, nesterov=True)
        self.decayed = sgd(decayed, weight_decay=settings.weight_decay)
        self.others = sgd(others, weight_decay=0.0)
        self.generator = torch_generator(rng, self.device)
        self.reader = EpochReader(images)
        self.shuffle()
        self.made = Steps(self.device, batch=sum(self.sizes))

    def shuffle(self) -> None:
        """Draw the images of an epoch's steps."""
        batch, steps = self.settings.batch, self.per_epoch
        self.labeled_order = shuffled(self.labeled, steps * batch, self.generator)
        self.unlabeled_order = shuffled(self.unlabeled, steps * batch * self.settings.mu, self.generator)
        self.reader.restart()

    def order(self) -> tuple[Tensor, Tensor]:
        """Return the labeled and the unlabeled images of an epoch's steps: int64 [steps, b], [steps, mu b].

        Images without weight in the loss are not read, so there are none of them.
        """
        labeled = self.labeled_order.view(self.per_epoch, -1)
        if self.settings.weight_u == 0:
            return labeled, labeled[:, :0]
        return labeled, self.unlabeled_order.view(self.per_epoch, -1)

    @property
    def sizes(self) -> tuple[int, int]:
        """How many labeled and how many unlabeled images a step has."""
        labeled, unlabeled = self.order()
        return labeled.shape[1], unlabeled.shape[1]

    def places(self, place: int) -> Tensor:
        """Return the images of one of an epoch's steps, labeled and unlabeled: int64 [b + mu b]."""
        return torch.cat([order[place] for order in self.order()])

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return learning_rate(step, self.steps, self.settings.lr)

    def images_of(self, steps: int) -> int:
        """Return how many images the first `steps` steps train on, labeled and unlabeled."""
        return steps * sum(self.sizes)

    def advance(self) -> Tensor:
        """Make one step; return its loss."""
        order = self.places(self.step % self.per_epoch)
        decay = average_decay(self.step, self.settings.ema, self.settings.ema_warmup)
        resident = self.images.resident and not self.reader.reads_ahead
        loss = self.made.step(self, order, self.rate(self.step), 1 - decay, ready=resident)
        self.step += 1
        if self.step % self.per_epoch == 0:
            self.shuffle()
        return loss

    def make(self, order: Tensor, rate: float | Tensor, share: float | Tensor) -> Tensor:
        """Make one step, launching each kernel; return its loss.

        order: int64 [b + mu b], the labeled images, then the unlabeled ones.
        rate: the learning rate. share: of the way that the average goes to the network.
        """
        loss = self.loss(order)
        self.network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        loss = processes.added(self.network.parameters(), loss.detach())
        self.descend(rate)
        follow(self.average, self.network, share)
        return loss

    def loss(self, order: Tensor) -> Tensor:
        """Return the loss on the labeled and unlabeled images of a step: a number.

        Of several processes each returns its part.
        """
        batch, others = self.sizes
        own = processes.share(order, batch, others)
        labeled, unlabeled = own.tensor_split([processes.own(batch)])
        views = self.views(self.reader.read(own, self.rest), len(unlabeled))
        if self.settings.weight_u == 0:
            with self.autocast():
                logits = self.network(views).float()
            return self.supervised(logits, labeled)
        sizes = [len(labeled), len(unlabeled), len(unlabeled)]
        logits, weak, strong = self.logits(views, sizes)
        guessed = processes.weighed(consistency(weak, strong, self.rule, unlabeled), others)
        return self.supervised(logits, labeled) + self.settings.weight_u * guessed

    def supervised(self, logits: Tensor, labeled: Tensor) -> Tensor:
        """Return the loss on labeled images, or the part that those of this process have in it: a number."""
        mean = functional.cross_entropy(logits, self.known_labels[labeled])
        return processes.weighed(mean, self.settings.batch)

    def rest(self) -> list[Tensor]:
        """Return this process's images of this step and of each later one of the epoch."""
        orders = torch.cat(self.order(), 1)[self.step % self.per_epoch :]
        return [*processes.share(orders, *self.sizes, dim=1)]

    def autocast(self) -> torch.autocast:
        """Return the precision of forward passes."""
        return autocast(self.settings.precision, self.device)

    def views(self, pictures: Tensor, unlabeled: int) -> Tensor:
        """Return the labeled images, weak views and strong views: float [b + 2 mu b, c, side, side].

        pictures: the labeled images, then the unlabeled ones.
        unlabeled: the number of the latter, mu b.

        Views of all of an image are shifted by up to an eighth of it. Those of a part are at a random
        place of it, and for strong views of a random size too, as in USB's training on ImageNet.
        """
        batch, others = self.sizes
        seen = len(pictures)  # by the weak views
        pictures = torch.cat((pictures, pictures[seen - unlabeled :]))
        if self.side == self.images.resolution:
            with processes.drawing(batch, others, others):
                pictures = crop(pictures, self.side // 8, "reflect", self.generator)
        else:
            weak, strong = pictures.tensor_split([seen])
            with processes.drawing(batch, others):
                weak = crop(weak, 0, "zero", self.generator, self.side)
            with processes.drawing(others):
                strong = random_resized_crop(strong, STRONG_AREA, self.side, self.generator)
            pictures = torch.cat((weak, strong))
        if self.settings.flip:
            with processes.drawing(batch, others, others):
                pictures = flip(pictures, self.generator)
        if unlabeled:
            strong = pictures[-unlabeled:]
            with processes.drawing(others):
                strong.copy_(randaugment(strong, self.generator))
        return normalize(pictures, self.images.mean, self.images.std)

    def logits(self, views: Tensor, sizes: list[int]) -> list[Tensor]:
        """Return the logits of the labeled, weak and strong views."""
        with self.autocast():
            if self.settings.joint:
                return list(torch.split(self.network(views).float(), sizes))
            labeled, weak, strong = torch.split(views, sizes)
            trained = [self.network(labeled).float(), self.network(strong).float()]
            with torch.no_grad():
                return [trained[0], self.network(weak).float(), trained[1]]

    def descend(self, rate: float | Tensor) -> None:
        """Change the weights by one step of SGD."""
        self.decayed.step(rate)
        self.others.step(rate)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights, what the rule learned, the momenta and the images of the epoch's steps."""
        kept = flat(
            network=self.network.state_dict(),
            average=self.average.state_dict(),
            rule=self.rule.state_dict(),
            decayed=self.decayed.tensors(),
            others=self.others.tensors(),
        )
        return kept | {"labeled": self.labeled_order, "unlabeled": self.unlabeled_order}


def _check(
    images: Images, known_labels: Array, settings: FixMatchSettings, device: str, side: int | None
) -> None:
    """Raise PrunebenchError unless this can be trained."""
    name, annotated = settings.name, int((known_labels >= 0).sum())
    if side is not None and side > images.resolution:
        raise PrunebenchError(
            f"{name} cannot see {side} pixels (recipe.side) of images of {images.resolution}; "
            f"set recipe.side to {images.resolution} or less"
        )
    if not annotated:
        raise PrunebenchError(f"{name} needs annotated images, but has none; raise {name}.label_fraction")
    if annotated == len(known_labels) and not settings.include_labeled:
        raise PrunebenchError(
            f"{name}: all {annotated} images are annotated; lower {name}.label_fraction "
            f"or set {name}.include_labeled = true"
        )
    check_precision(f"{name}.precision", settings.precision, device)
