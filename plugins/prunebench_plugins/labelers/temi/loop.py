"""TEMI's heads: all of them as one batched computation, and the loop that trains them.

Parameters of H heads are stacked. AdamW works elementwise, so one optimiser of the stacks is H
optimisers of the heads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.optim.adamw import adamw

from prunebench.errors import DivergedError
from prunebench.nn.neighbours import nearest
from prunebench.nn.training import CHECKPOINT_SECONDS
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
    run = _Run(embeddings, classes, settings, rng, device)
    if state := checkpoint.load():
        run.restore(state)
    saved = time.monotonic()
    while run.epoch < settings.epochs:
        run.train_epoch()
        progress(run.epoch, settings.epochs)
        if run.epoch < settings.epochs and time.monotonic() - saved >= CHECKPOINT_SECONDS:
            checkpoint.save(run.state())
            saved = time.monotonic()
    return run.labels()


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


class _Run:
    """A training under way: all that its next epoch depends on."""

    def __init__(
        self, embeddings: Array, classes: int, settings: TemiSettings, rng: np.random.Generator, device: str
    ) -> None:
        self.settings, self.device = settings, device
        near, _distances = nearest(embeddings, settings.neighbours, device=device)
        self.near = torch.tensor(near, device=device)
        self.inputs = torch.tensor(embeddings, dtype=torch.float32, device=device)
        if settings.standardise:
            deviation, mean = torch.std_mean(self.inputs, 0, correction=0)
            self.inputs = (self.inputs - mean) / deviation.clamp(min=1e-6)
        self.batch = min(settings.batch, len(embeddings))
        self.steps = len(embeddings) // self.batch
        self.generator = torch_generator(rng, device)
        self.student = make_heads(self.inputs.shape[1], classes, settings, self.generator, device)
        self.teacher = {name: tensor.clone() for name, tensor in self.student.items()}
        self.means = {name: torch.zeros_like(tensor) for name, tensor in self.student.items()}
        self.squares = {name: torch.zeros_like(tensor) for name, tensor in self.student.items()}
        self.prior = torch.full((settings.heads, classes), 1 / classes, device=device)
        self.losses = torch.zeros(settings.heads, device=device)
        self.epoch = 0

    def train_epoch(self) -> None:
        """Pair each image with a neighbour, in batches; what is left over waits for another epoch."""
        count = self.steps * self.batch
        order = torch.randperm(len(self.inputs), generator=self.generator, device=self.device)[:count]
        self.losses.zero_()
        for place, index in enumerate(order.view(self.steps, self.batch)):
            self.advance(index, self.epoch * self.steps + place)
        self.losses /= self.steps
        if not self.losses.isfinite().all():
            raise DivergedError(
                f"temi: the loss is not finite in epoch {self.epoch + 1} of {self.settings.epochs}; "
                "lower temi.lr or set temi.standardise = true"
            )
        self.epoch += 1

    def advance(self, index: Tensor, step: int) -> None:
        """Make one step on these images, each with a neighbour drawn anew."""
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
            self.descend(dict(zip(leaves, gradients, strict=True)), step)
            for name, tensor in self.teacher.items():
                tensor.lerp_(self.student[name], 1 - self.settings.momentum)

    def descend(self, gradients: Heads, step: int) -> None:
        """Change the student by one step of AdamW; the last layer rests in the first epochs."""
        rising = self.settings.warmup_epochs * self.steps - 1
        rate = self.settings.lr * self.batch / LR_BATCH * min(1.0, step / rising if rising > 0 else 1.0)
        resting = self.settings.freeze_epochs * self.steps
        for name, gradient in gradients.items():
            begun = resting if name in LAST else 0
            if step < begun:
                continue
            # The function behind torch.optim.AdamW, whose class would first load the compiler.
            adamw(
                [self.student[name].detach()],
                [gradient],
                [self.means[name]],
                [self.squares[name]],
                [],
                [torch.tensor(float(step - begun))],
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=rate,
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
        outputs = [logits(heads, self.inputs[start : start + LABEL_BATCH])[0] for start in starts]
        scaled = torch.cat(outputs) / self.settings.temperature
        confidences, clusters = scaled.softmax(1).max(1)
        return clusters.cpu().numpy(), confidences.cpu().numpy()

    def state(self) -> dict[str, Any]:
        """Return all that a resumed training needs, flat."""
        state: dict[str, Any] = {"epoch": self.epoch, "generator": self.generator.get_state()}
        state |= {"prior": self.prior, "losses": self.losses}
        return state | {
            f"{group}/{name}": tensor
            for group in ("student", "teacher", "means", "squares")
            for name, tensor in getattr(self, group).items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.epoch = state["epoch"]
        self.generator.set_state(torch.tensor(state["generator"]))
        self.prior.copy_(torch.tensor(state["prior"]))
        self.losses.copy_(torch.tensor(state["losses"]))
        for group in ("student", "teacher", "means", "squares"):
            for name, tensor in getattr(self, group).items():
                tensor.copy_(torch.tensor(state[f"{group}/{name}"]))


def one_head(heads: Heads, head: int, hidden: int) -> Heads:
    """Return the parameters of a single head, still stacked."""
    columns = slice(head * hidden, (head + 1) * hidden)
    first = {"first": heads["first"][:, columns], "first_bias": heads["first_bias"][columns]}
    return first | {name: heads[name][head, None] for name in heads if name not in first}
