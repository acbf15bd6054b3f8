"""The training of SwAV: assign two crops to clusters, predict these from the other crops.

A resumed training on a CPU equals an undisturbed one bit for bit. On a GPU steps are recorded as CUDA graphs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from prunebench.errors import require
from prunebench.nn import networks, processes
from prunebench.nn.ahead import EpochReader
from prunebench.nn.augment import normalize
from prunebench.nn.loop import Loop, flat, run
from prunebench.nn.multicrop import Crops, multicrop
from prunebench.nn.networks import Network
from prunebench.nn.optimizers import Sgd
from prunebench.nn.replay import Steps
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Checkpoint, Progress
from prunebench.parts.images import Images
from prunebench.parts.precision import autocast, check_precision
from prunebench.parts.seeds import torch_generator
from prunebench_plugins.backbones.swav.settings import SwavSettings

Tensor = torch.Tensor
ASSIGNED = 2  # crops of an image that are assigned to clusters: the first ones
LARC_EPS = 1e-8


def train(
    images: Images,
    prototypes: int,
    settings: SwavSettings,
    *,
    rng: np.random.Generator,
    device: str,
    progress: Progress,
    checkpoint: Checkpoint,
    side: int | None = None,
) -> Network:
    """Return the trained network, whose features are the embeddings; its head belongs to the projection.

    side: of the square that the sides of crops are shares of, in pixels; None = that of the images.
    Raise PrunebenchError for what cannot be trained, DivergedError for a loss that is not finite: on a
    CPU at that step, elsewhere after the epoch, so that no step waits for its loss.
    """
    _check(images, settings, device)
    training = _Run(images.to(device), prototypes, settings, rng, side)
    run(training, progress, checkpoint)
    return training.model.network.eval()


class Model(nn.Module):
    """A network, a projection of its features onto the unit sphere, and the prototypes there.

    The head of the network is the first layer of the projection. Weights depend on `seed` alone.
    """

    def __init__(self, network: Network, settings: SwavSettings, prototypes: int, seed: int) -> None:
        super().__init__()
        self.network = network
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.projection = nn.Sequential(
                nn.BatchNorm1d(settings.hidden),
                nn.ReLU(inplace=True),
                nn.Linear(settings.hidden, settings.projection),
            )
            self.prototypes = nn.Linear(settings.projection, prototypes, bias=False)

    def forward(self, groups: list[Tensor]) -> Tensor:
        """Return the projections: float [crops, d], of groups of crops of one size each."""
        features = torch.cat([self.network.features(group) for group in groups])
        return self.projection(self.network.head(features))  # type: ignore[no-any-return]

    @torch.no_grad()
    def normalize_prototypes(self) -> None:
        """Put the prototypes back onto the unit sphere."""
        weight = self.prototypes.weight
        weight.copy_(functional.normalize(weight, dim=1))


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Share images out evenly between prototypes: probabilities, float32 [b, prototypes].

    scores: float32 [b, prototypes], the cosines. Every row of the result sums to 1, every column to
    about b / prototypes (SwAV, eq. 3-5). In logarithms, where no exponential can overflow.
    """
    logarithms = scores / epsilon
    for _ in range(iterations):
        logarithms = logarithms.log_softmax(0).log_softmax(1)
    return logarithms.exp()


def swapped_loss(scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Return the cross entropy of the predictions with the codes of all other crops: a number.

    scores: [crops, b, prototypes]. codes: [2, b, prototypes], of the first two crops (SwAV, eq. 1-2,
    extended to several crops in section 3.3).
    """
    predicted = (scores / temperature).log_softmax(2)
    losses = -torch.einsum("abk,cbk->ac", codes, predicted) / scores.shape[1]
    own = losses.diagonal().sum()  # the gradient of trace() would wait for the device
    return (losses.sum() - own) / (len(codes) * (len(scores) - 1))


@torch.no_grad()
def larc(parameters: list[Tensor], gradients: list[Tensor], trust: float, weight_decay: float) -> None:
    """Add weight decay to the gradients and scale each to `trust` times the norm of its parameter.

    In place. A parameter of norm 0 keeps its gradient (You et al. 2017, as NVIDIA's apex has it).
    """
    size = torch.stack(torch._foreach_norm(parameters))
    slope = torch.stack(torch._foreach_norm(gradients))
    scale = trust * size / (slope + weight_decay * size + LARC_EPS)
    scale = scale.where(size > 0, 1) * (slope > 0)
    torch._foreach_add_(gradients, parameters, alpha=weight_decay)
    torch._foreach_mul_(gradients, list(scale.unbind()))


def learning_rates(settings: SwavSettings, per_epoch: int) -> Array:
    """Return the learning rate of each step: float64 [epochs * per_epoch]."""
    rising = settings.warmup_epochs * per_epoch
    falling = (settings.epochs - settings.warmup_epochs) * per_epoch
    cosine = (1 + np.cos(np.pi * np.arange(falling) / falling)) / 2
    fall = settings.final_lr + (settings.lr - settings.final_lr) * cosine
    return np.concatenate([np.linspace(0, settings.lr, rising), fall])


class _Run(Loop):
    """A training under way."""

    prefix = "swav: "
    remedy = "lower swav.lr or raise swav.warmup_epochs"

    def __init__(
        self,
        images: Images,
        prototypes: int,
        settings: SwavSettings,
        rng: np.random.Generator,
        side: int | None = None,
    ) -> None:
        self.images, self.settings, self.device = images, settings, images.device
        self.precision = settings.precision
        self.crops = crop_groups(settings, images.resolution if side is None else side)
        self.batch = min(settings.batch, len(images))
        self.per_epoch = len(images) // self.batch
        self.rates: list[float] = learning_rates(settings, self.per_epoch).tolist()
        self.steps = len(self.rates)
        network = networks.build(
            settings.network,
            channels=images.channels,
            classes=settings.hidden,
            resolution=min(crops.side for crops in self.crops),
            generator_seed=int(rng.integers(2**63)),
        )
        self.model = Model(network, settings, prototypes, int(rng.integers(2**63))).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        # LARC adds the weight decay.
        self.sgd = Sgd(self.model.parameters(), momentum=settings.momentum, nesterov=False, weight_decay=0.0)
        slots = settings.queue // self.batch
        self.queue = torch.zeros(slots, ASSIGNED, self.batch, settings.projection, device=self.device)
        self.slots = torch.arange(slots, device=self.device).view(-1, 1, 1, 1)
        self.generator = torch_generator(rng, self.device)
        self.reader = EpochReader(images)
        self.shuffle()
        self.made = Steps(self.device, batch=self.batch)
        self.phase_before = self.phase

    def shuffle(self) -> None:
        """Draw the images of an epoch's steps."""
        order = torch.randperm(len(self.images), generator=self.generator, device=self.device)
        self.order = order[: self.per_epoch * self.batch]
        self.reader.restart()

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.rates[step]

    def images_of(self, steps: int) -> int:
        """Return how many images the first `steps` steps train on."""
        return steps * self.batch

    @property
    def filled(self) -> int:
        """Batches that were ever put into the queue. Below 0: steps until the first is."""
        return self.step - self.settings.queue_epochs * self.per_epoch

    @property
    def phase(self) -> tuple[bool, bool, bool]:
        """Whether the prototypes rest, the queue takes in projections, and it is full: what a step does."""
        slots = len(self.queue)
        resting = self.step < self.settings.freeze_steps
        return resting, slots > 0 and self.filled >= 0, slots > 0 and self.filled >= slots

    def advance(self) -> Tensor:
        """Make one step; return its loss."""
        if self.phase != self.phase_before:
            self.phase_before = self.phase
            self.made.restart()
        order = self.order.view(self.per_epoch, -1)[self.step % self.per_epoch]
        slot = self.filled % max(1, len(self.queue))
        resident = self.images.resident and not self.reader.reads_ahead
        loss = self.made.step(self, order, self.rate(self.step), slot, ready=resident)
        self.step += 1
        if self.step % self.per_epoch == 0:
            self.shuffle()
        return loss

    def make(self, order: Tensor, rate: float | Tensor, slot: float | Tensor) -> Tensor:
        """Make one step, launching each kernel; return its loss.

        order: int64 [b], the images.
        rate: the learning rate. slot: the place of their projections in the queue.
        """
        with processes.drawing(self.batch):
            groups = self.groups(self.reader.read(processes.share(order), self.rest))
        self.model.normalize_prototypes()
        with autocast(self.settings.precision, self.device):
            projected = self.model(groups)
        projected = functional.normalize(projected.float(), dim=1)
        projected = projected.view(-1, processes.own(self.batch), self.settings.projection)
        scores = self.model.prototypes(projected)
        scored, placed = (
            processes.whole(one[:ASSIGNED].detach(), self.batch, 1) for one in (scores, projected)
        )
        codes = processes.share(self.codes(scored, placed, slot), dim=1)
        mean = swapped_loss(scores, codes, self.settings.temperature)
        loss = processes.weighed(mean, self.batch)
        self.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        loss = processes.added(self.model.parameters(), loss.detach())
        self.descend(rate)
        return loss

    def rest(self) -> list[Tensor]:
        """Return this process's images of this step and of each later one of the epoch."""
        orders = self.order.view(self.per_epoch, -1)[self.step % self.per_epoch :]
        return [*processes.share(orders, dim=1)]

    def groups(self, pictures: Tensor) -> list[Tensor]:
        """Return the crops as the network sees them: float32 [count * b, c, side, side] of each size."""
        mean, std = self.images.mean, self.images.std
        return [normalize(multicrop(pictures, crops, self.generator), mean, std) for crops in self.crops]

    @torch.no_grad()
    def codes(self, scores: Tensor, projected: Tensor, slot: float | Tensor) -> Tensor:
        """Assign crops to clusters, beside those in the queue once it is full: [2, b, prototypes].

        slot: the place in the queue that these crops take over.
        """
        _, filling, full = self.phase
        pools = list(scores)
        if full:
            earlier = self.model.prototypes(self.queue.transpose(0, 1).flatten(1, 2))
            pools = [torch.cat(pair) for pair in zip(earlier, scores, strict=True)]
        if filling:
            # Not by an index, which a recorded step could not change without a wait.
            self.queue.copy_(torch.where(self.slots == slot, projected, self.queue))
        epsilon, iterations = self.settings.epsilon, self.settings.sinkhorn_iterations
        return torch.stack([sinkhorn(pool, epsilon, iterations)[-self.batch :] for pool in pools])

    def descend(self, rate: float | Tensor) -> None:
        """Change the weights by one step of SGD with LARC; the prototypes rest in the first steps."""
        resting, _, _ = self.phase
        if resting:
            self.model.prototypes.weight.grad = None
        parameters, gradients, _ = self.sgd.moving()
        larc(parameters, gradients, self.settings.trust, self.settings.weight_decay)
        self.sgd.step(rate)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights, their momenta, the queue and the images of the epoch's steps."""
        kept = flat(model=self.model.state_dict(), sgd=self.sgd.tensors())
        return kept | {"order": self.order, "queue": self.queue}


def crop_groups(settings: SwavSettings, resolution: int) -> list[Crops]:
    """Return the groups of crops for networks that see `resolution` pixels."""
    return [
        Crops(
            count=count,
            side=round(side * resolution),
            smallest=least,
            largest=largest,
            flip=settings.flip,
            jitter=settings.jitter,
            blur=settings.blur,
        )
        for count, side, least, largest in settings.crops
    ]


def _check(images: Images, settings: SwavSettings, device: str) -> None:
    """Raise PrunebenchError unless this can be trained."""
    require(images.channels in (1, 3), "swav: channels of the images", images.channels, "1 or 3")
    require(len(images) > 1, "swav: the number of images", len(images), "2 or more")
    batch = min(settings.batch, len(images))
    whole = settings.queue == 0 or settings.queue >= batch
    require(whole, "swav.queue", settings.queue, f"0, or at least a batch of {batch}")
    require(processes.own(batch) > 0, "swav.batch", batch, "an image for each process of the training")
    check_precision("swav.precision", settings.precision, device)
