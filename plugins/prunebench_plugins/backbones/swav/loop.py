"""The training of SwAV: assign two crops to clusters, predict these from the other crops.

Everything random comes from one generator on the device, whose state a checkpoint keeps: a resumed
training on a CPU equals an undisturbed one bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.sgd import sgd

from prunebench.errors import DivergedError, PrunebenchError, require
from prunebench.nn import networks
from prunebench.nn.augment import normalise
from prunebench.nn.multicrop import Crops, multicrop
from prunebench.nn.networks import Network
from prunebench.nn.training import CHECKPOINT_SECONDS
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Checkpoint, Progress
from prunebench.parts.images import Images
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
    run = _Run(images.to(device), prototypes, settings, rng, side)
    if state := checkpoint.load():
        run.restore(state)
    saved = time.monotonic()
    while run.step < run.steps:
        run.advance()
        progress(run.step, run.steps)
        if run.step < run.steps and time.monotonic() - saved >= CHECKPOINT_SECONDS:
            checkpoint.save(run.state())
            saved = time.monotonic()
    return run.model.network.eval()


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
    def normalise_prototypes(self) -> None:
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
    return (losses.sum() - losses.trace()) / (len(codes) * (len(scores) - 1))


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


class _Run:
    """A training under way: all that its next step depends on."""

    def __init__(
        self,
        images: Images,
        prototypes: int,
        settings: SwavSettings,
        rng: np.random.Generator,
        side: int | None = None,
    ) -> None:
        self.images, self.settings, self.device = images, settings, images.device
        self.crops = crop_groups(settings, images.resolution if side is None else side)
        self.batch = min(settings.batch, len(images))
        self.per_epoch = len(images) // self.batch
        self.rates = learning_rates(settings, self.per_epoch).tolist()
        self.step, self.steps = 0, len(self.rates)
        network = networks.build(
            settings.network,
            channels=images.channels,
            classes=settings.hidden,
            resolution=min(crops.side for crops in self.crops),
            generator_seed=int(rng.integers(2**63)),
        )
        self.model = Model(network, settings, prototypes, int(rng.integers(2**63))).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        self.momenta = [torch.zeros_like(parameter) for parameter in self.model.parameters()]
        slots = settings.queue // self.batch
        self.queue = torch.zeros(slots, ASSIGNED, self.batch, settings.projection, device=self.device)
        self.losses = torch.zeros(self.per_epoch, device=self.device)
        self.generator = torch_generator(rng, self.device)
        self.shuffle()

    def shuffle(self) -> None:
        """Draw the images of an epoch's steps."""
        order = torch.randperm(len(self.images), generator=self.generator, device=self.device)
        self.order = order[: self.per_epoch * self.batch]

    def advance(self) -> None:
        """Make one step."""
        place = self.step % self.per_epoch
        pictures = self.images[self.order.view(self.per_epoch, -1)[place]]
        groups = self.groups(pictures)
        self.model.normalise_prototypes()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            projected = self.model(groups)
        projected = functional.normalize(projected.float(), dim=1)
        projected = projected.view(-1, self.batch, self.settings.projection)
        scores = self.model.prototypes(projected)
        codes = self.codes(scores[:ASSIGNED].detach(), projected[:ASSIGNED].detach())
        loss = swapped_loss(scores, codes, self.settings.temperature)
        self.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.descend()
        self.losses[place] = loss.detach()
        self.step += 1
        complete = place + 1 == self.per_epoch
        if self.device == "cpu" or complete:
            self.check(place)
        if complete:
            self.shuffle()

    def groups(self, pictures: Tensor) -> list[Tensor]:
        """Return the crops as the network sees them: float32 [count * b, c, side, side] of each size."""
        mean, std = self.images.mean, self.images.std
        return [normalise(multicrop(pictures, crops, self.generator), mean, std) for crops in self.crops]

    @torch.no_grad()
    def codes(self, scores: Tensor, projected: Tensor) -> Tensor:
        """Assign crops to clusters, beside those in the queue once it is full: [2, b, prototypes]."""
        since = self.step - self.settings.queue_epochs * self.per_epoch
        pools = list(scores)
        if len(self.queue) and since >= len(self.queue):
            earlier = self.model.prototypes(self.queue.transpose(0, 1).flatten(1, 2))
            pools = [torch.cat(pair) for pair in zip(earlier, scores, strict=True)]
        if len(self.queue) and since >= 0:
            self.queue[since % len(self.queue)] = projected
        epsilon, iterations = self.settings.epsilon, self.settings.sinkhorn_iterations
        return torch.stack([sinkhorn(pool, epsilon, iterations)[-self.batch :] for pool in pools])

    def descend(self) -> None:
        """Change the weights by one step of SGD with LARC; the prototypes rest in the first steps."""
        if self.step < self.settings.freeze_steps:
            self.model.prototypes.weight.grad = None
        moving = [
            (parameter, parameter.grad, momentum)
            for parameter, momentum in zip(self.model.parameters(), self.momenta, strict=True)
            if parameter.grad is not None
        ]
        parameters, gradients, momenta = map(list, zip(*moving, strict=True))
        larc(parameters, gradients, self.settings.trust, self.settings.weight_decay)
        # The function behind torch.optim.SGD, whose class would first load the compiler.
        sgd(
            parameters,
            gradients,
            momenta,
            lr=self.rates[self.step],
            momentum=self.settings.momentum,
            nesterov=False,
            weight_decay=0.0,
            dampening=0,
            maximize=False,
            fused=True,
        )

    def check(self, place: int) -> None:
        """Raise DivergedError if a loss of this epoch, up to `place`, is not finite."""
        finite = self.losses[: place + 1].isfinite()
        if not finite.all():
            step = self.step - 1 - place + int(finite.logical_not().nonzero()[0])
            raise DivergedError(
                f"swav: the loss is not finite at step {step + 1} of {self.steps}, "
                f"learning rate {self.rates[step]:.3g}; lower swav.lr or raise swav.warmup_epochs"
            )

    def state(self) -> dict[str, Any]:
        """Return all that a resumed training needs, flat."""
        state: dict[str, Any] = {"step": self.step, "generator": self.generator.get_state()}
        state |= {"order": self.order, "queue": self.queue}
        state |= {f"model/{name}": array for name, array in networks.state(self.model).items()}
        return state | {f"momentum/{place}": momentum for place, momentum in enumerate(self.momenta)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.step = state["step"]
        self.generator.set_state(torch.tensor(state["generator"]))
        self.order = torch.tensor(state["order"], device=self.device)
        self.queue.copy_(torch.tensor(state["queue"]))
        networks.restore(self.model, {name: state[f"model/{name}"] for name in self.model.state_dict()})
        for place, momentum in enumerate(self.momenta):
            momentum.copy_(torch.tensor(state[f"momentum/{place}"]))


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
    if settings.precision == "bf16" and device == "cpu":
        raise PrunebenchError("swav.precision 'bf16' needs a CUDA device; on a CPU use 'fp32'")
