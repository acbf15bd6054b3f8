"""TEMI's heads: all of them as one batched computation, and the loop that trains them.

Parameters of H heads are stacked. AdamW works elementwise, so one optimizer of the stacks is H
optimizers of the heads. On a GPU a step is recorded as a CUDA graph.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from prunebench.nn.loop import Loop, flat, run
from prunebench.nn.neighbors import nearest
from prunebench.nn.optimizers import Adam
from prunebench.nn.products import linear
from prunebench.nn.replay import Steps
from prunebench.parts import work
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Checkpoint, Progress
from prunebench.parts.seeds import torch_generator
from prunebench_plugins.kept import latest
from prunebench_plugins.labelers.temi.settings import TemiSettings

Tensor = torch.Tensor
Heads = dict[str, Tensor]
LR_BATCH = 256  # the batch that `lr` is meant for
PRIOR_MOMENTUM = 0.9
LABEL_BATCH = 4096
WEIGHTS, BIASES, LAST = ("first", "second"), ("first_bias", "second_bias"), ("direction", "gain")


def cluster(
    embeddings: Array,
    classes: int,
    settings: TemiSettings,
    *,
    rng: np.random.Generator,
    device: str,
    progress: Progress,
    checkpoint: Checkpoint,
) -> tuple[Array, Array]:
    """Cluster embeddings, float [n, d]: cluster, int64 [n], and its probability, float32 [n]."""
    training = _Run(embeddings, classes, settings, rng, device)
    run(training, progress, checkpoint)
    return training.labels()


def make_heads(
    inputs: int, classes: int, settings: TemiSettings, generator: torch.Generator, device: str
) -> Heads:
    """Draw the stacked parameters of the heads: weights [inputs, heads * hidden] first, then [heads, ...]."""
    heads, hidden, bottleneck = settings.heads, settings.hidden, settings.bottleneck

    def weights(*shape: int) -> Tensor:
        return torch.nn.init.trunc_normal_(torch.empty(shape, device=device), std=0.02, generator=generator)

    bound = bottleneck**-0.5
    direction = torch.empty(heads, bottleneck, classes, device=device)
    return {
        "first": weights(inputs, heads * hidden),
        "first_bias": torch.zeros(heads * hidden, device=device),
        "second": weights(heads, hidden, bottleneck),
        "second_bias": torch.zeros(heads, 1, bottleneck, device=device),
        "direction": direction.uniform_(-bound, bound, generator=generator),
        "gain": torch.ones(heads, 1, classes, device=device),
    }


def logits(heads: Heads, x: Tensor) -> Tensor:
    """Return each head's logits, gain times cosine: [heads, b, classes], of embeddings [b, d]."""
    count = len(heads["second"])
    for name in ("first", "second", "direction"):
        work.multiplied(len(x) * heads[name].numel())
    hidden = functional.gelu(linear(x, heads["first"].T, heads["first_bias"]))
    hidden = hidden.view(len(x), count, -1).transpose(0, 1)
    features = functional.normalize(torch.baddbmm(heads["second_bias"], hidden, heads["second"]), dim=2)
    return torch.bmm(features, functional.normalize(heads["direction"], dim=1)) * heads["gain"]


def loss(student: Tensor, teacher: Tensor, prior: Tensor, beta: float) -> Tensor:
    """Return the loss of each head: [heads].

    student, teacher: log probabilities [heads, 2b, classes], the two views of an image b rows apart.
    prior: the mean cluster probabilities, [heads, classes]. (TEMI, eq. 8: the pointwise mutual
    information of the views, weighted by how likely they are of one class in the mean of all heads.)
    """
    weight = (teacher[:, : teacher.shape[1] // 2] + teacher[:, teacher.shape[1] // 2 :]).exp().sum(2).mean(0)
    crossed = teacher.roll(teacher.shape[1] // 2, dims=1)
    # In logarithms: the plain power has an infinite gradient where a probability underflows.
    information = torch.logsumexp(beta * (student + crossed) - prior.log()[:, None], dim=2)
    return -(weight.repeat(2) * information).mean(1)


class _Run(Loop):
    """A training under way, in which a step of the loop is a whole epoch: its batches are quick."""

    unit = "epoch"
    prefix = "temi: "
    remedy = "lower temi.lr or set temi.standardize = true"
    per_epoch = 1

    def __init__(
        self, embeddings: Array, classes: int, settings: TemiSettings, rng: np.random.Generator, device: str
    ) -> None:
        self.settings, self.device = settings, device
        near, _distances = latest(nearest, embeddings, settings.neighbors, device=device)
        self.near = torch.tensor(near, device=device)
        self.inputs = torch.tensor(embeddings, dtype=torch.float32, device=device)
        if settings.standardize:
            deviation, mean = torch.std_mean(self.inputs, 0, correction=0)
            self.inputs = (self.inputs - mean) / deviation.clamp(min=1e-6)
        self.batch = min(settings.batch, len(embeddings))
        self.batches = len(embeddings) // self.batch
        self.steps = settings.epochs
        self.generator = torch_generator(rng, device)
        self.student = make_heads(self.inputs.shape[1], classes, settings, self.generator, device)
        self.teacher = {name: tensor.clone() for name, tensor in self.student.items()}
        self.weights = self.optimizer(WEIGHTS, settings.weight_decay)
        self.biases = self.optimizer(BIASES, 0.0)
        self.last = self.optimizer(LAST, settings.weight_decay)
        self.prior = torch.full((settings.heads, classes), 1 / classes, device=device)
        self.losses = torch.zeros(settings.heads, device=device)
        self.resting = False
        self.made = Steps(self.device, batch=self.batch)

    def optimizer(self, names: tuple[str, ...], weight_decay: float) -> Adam:
        """Return AdamW for these of the student's parameters."""
        parameters = [self.student[name] for name in names]
        return Adam(parameters, weight_decay=weight_decay, decoupled=True)

    def rate(self, step: int) -> float:
        """Return the learning rate that an epoch ends with."""
        return self.rate_of((step + 1) * self.batches - 1)

    def rate_of(self, batch: int) -> float:
        """Return the learning rate of a batch, counted from the first epoch on."""
        rising = self.settings.warmup_epochs * self.batches - 1
        return self.settings.lr * self.batch / LR_BATCH * min(1.0, batch / rising if rising > 0 else 1.0)

    def images_of(self, steps: int) -> int:
        """Return how many embeddings the first `steps` epochs train on."""
        return steps * self.batches * self.batch

    def advance(self) -> Tensor:
        """Pair each image with a neighbor, in batches; what is left over waits for another epoch.

        Return the sum of the losses of the heads, each the mean of the epoch.
        """
        count = self.batches * self.batch
        order = torch.randperm(len(self.inputs), generator=self.generator, device=self.device)[:count]
        self.losses.zero_()
        for place, index in enumerate(order.view(self.batches, self.batch)):
            self.learn(index, self.step * self.batches + place)
        self.losses /= self.batches
        self.step += 1
        return self.losses.sum()

    def learn(self, index: Tensor, batch: int) -> None:
        """Learn from these images; batches are counted from 0. The last layer rests in the first epochs."""
        resting = batch < self.settings.freeze_epochs * self.batches
        if resting != self.resting:
            self.resting = resting
            self.made.restart()
        self.losses += self.made.step(self, index, self.rate_of(batch), ready=True)

    def make(self, index: Tensor, rate: float | Tensor) -> Tensor:
        """Learn from these images, each with a neighbor drawn anew; return the losses before it: [heads].

        rate: the learning rate.
        """
        drawn = torch.randint(self.near.shape[1], index.shape, generator=self.generator, device=self.device)
        views = self.inputs[torch.cat((index, self.near[index, drawn]))]
        with torch.no_grad():
            teacher = (logits(self.teacher, views) / self.settings.temperature).log_softmax(2)
            self.prior.lerp_(teacher.exp().mean(1), 1 - PRIOR_MOMENTUM)
        leaves = {name: tensor.requires_grad_() for name, tensor in self.student.items()}
        student = (logits(leaves, views) / self.settings.temperature).log_softmax(2)
        losses = loss(student, teacher, self.prior, self.settings.beta)
        gradients = torch.autograd.grad(losses.mean(), list(leaves.values()))
        self.descend(dict(zip(leaves, gradients, strict=True)), rate)
        with torch.no_grad():
            followers, leaders = list(self.teacher.values()), list(self.student.values())
            torch._foreach_lerp_(followers, leaders, 1 - self.settings.momentum)
        return losses.detach()

    def descend(self, gradients: Heads, rate: float | Tensor) -> None:
        """Change the student by one step of AdamW, but for the last layer while it rests."""
        for name, gradient in gradients.items():
            self.student[name].grad = gradient
        for optimizer in (self.weights, self.biases, self.last)[: 2 if self.resting else 3]:
            optimizer.step(rate)

    @torch.no_grad()
    def labels(self) -> tuple[Array, Array]:
        """Return the cluster and its probability according to the teacher of the best head."""
        best = int(self.losses.argmin())
        heads = one_head(self.teacher, best, self.settings.hidden)
        starts = range(0, len(self.inputs), LABEL_BATCH)
        with work.looking(len(self.inputs)):
            outputs = [logits(heads, self.inputs[start : start + LABEL_BATCH])[0] for start in starts]
        scaled = torch.cat(outputs) / self.settings.temperature
        confidences, clusters = scaled.softmax(1).max(1)
        return clusters.cpu().numpy(), confidences.cpu().numpy()

    def tensors(self) -> dict[str, Tensor]:
        """Return the heads, what their optimizers keep, and the prior."""
        optimizers = {name: getattr(self, name).tensors() for name in ("weights", "biases", "last")}
        return flat(student=self.student, teacher=self.teacher, **optimizers) | {"prior": self.prior}


def one_head(heads: Heads, head: int, hidden: int) -> Heads:
    """Return the parameters of a single head, still stacked."""
    columns = slice(head * hidden, (head + 1) * hidden)
    first = {"first": heads["first"][:, columns], "first_bias": heads["first_bias"][columns]}
    return first | {name: heads[name][head, None] for name in heads if name not in first}
