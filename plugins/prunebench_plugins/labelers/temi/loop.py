"""TEMI's heads: all of them as one batched computation, and the loop that trains them.

Parameters of H heads are stacked. AdamW works elementwise, so one optimizer of the stacks is H
optimizers of the heads.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional
from torch.optim.adamw import adamw

from prunebench.nn.loop import Loop, flat, run
from prunebench.nn.neighbors import nearest
from prunebench.parts import work
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Checkpoint, Progress
from prunebench.parts.seeds import torch_generator
from prunebench_plugins.labelers.temi.settings import TemiSettings

Tensor = torch.Tensor
Heads = dict[str, Tensor]
LR_BATCH = 256  # the batch that `lr` is meant for
PRIOR_MOMENTUM = 0.9
LABEL_BATCH = 4096
DECAYED = ("first", "second", "direction", "gain")  # by name: stacked biases have two dimensions as well
LAST = ("direction", "gain")


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
    hidden = functional.gelu(torch.addmm(heads["first_bias"], x, heads["first"]))
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
        near, _distances = nearest(embeddings, settings.neighbors, device=device)
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
        self.means = {name: torch.zeros_like(tensor) for name, tensor in self.student.items()}
        self.squares = {name: torch.zeros_like(tensor) for name, tensor in self.student.items()}
        self.prior = torch.full((settings.heads, classes), 1 / classes, device=device)
        self.losses = torch.zeros(settings.heads, device=device)

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
        """Learn from these images, each with a neighbor drawn anew; batches are counted from 0."""
        drawn = torch.randint(self.near.shape[1], index.shape, generator=self.generator, device=self.device)
        views = self.inputs[torch.cat((index, self.near[index, drawn]))]
        with torch.no_grad():
            teacher = (logits(self.teacher, views) / self.settings.temperature).log_softmax(2)
            self.prior.lerp_(teacher.exp().mean(1), 1 - PRIOR_MOMENTUM)
        leaves = {name: tensor.requires_grad_() for name, tensor in self.student.items()}
        student = (logits(leaves, views) / self.settings.temperature).log_softmax(2)
        losses = loss(student, teacher, self.prior, self.settings.beta)
        gradients = torch.autograd.grad(losses.mean(), list(leaves.values()))
        self.losses += losses.detach()
        with torch.no_grad():
            self.descend(dict(zip(leaves, gradients, strict=True)), batch)
            for name, tensor in self.teacher.items():
                tensor.lerp_(self.student[name], 1 - self.settings.momentum)

    def descend(self, gradients: Heads, batch: int) -> None:
        """Change the student by one step of AdamW; the last layer rests in the first epochs."""
        resting = self.settings.freeze_epochs * self.batches
        for name, gradient in gradients.items():
            begun = resting if name in LAST else 0
            if batch < begun:
                continue
            # The function behind torch.optim.AdamW, whose class would first load the compiler.
            adamw(
                [self.student[name].detach()],
                [gradient],
                [self.means[name]],
                [self.squares[name]],
                [],
                [torch.tensor(float(batch - begun))],
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=self.rate_of(batch),
                weight_decay=self.settings.weight_decay if name in DECAYED else 0.0,
                eps=1e-8,
                maximize=False,
            )

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
        """Return the heads, the moments of their gradients and the prior."""
        groups = {name: getattr(self, name) for name in ("student", "teacher", "means", "squares")}
        return flat(**groups) | {"prior": self.prior}


def one_head(heads: Heads, head: int, hidden: int) -> Heads:
    """Return the parameters of a single head, still stacked."""
    columns = slice(head * hidden, (head + 1) * hidden)
    first = {"first": heads["first"][:, columns], "first_bias": heads["first_bias"][columns]}
    return first | {name: heads[name][head, None] for name in heads if name not in first}
