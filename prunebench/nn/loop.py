"""THE loop: how every training gets from its first step to its last.

A `Loop` says what a step is and what the next one depends on. `run` makes the steps: it resumes, reports
progress, looks whether the loss is finite and saves checkpoints.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from prunebench.errors import DivergedError
from prunebench.nn import processes
from prunebench.nn.networks import array
from prunebench.parts import work
from prunebench.parts.base import Checkpoint, Progress
from prunebench.parts.precision import arithmetic

Tensor = torch.Tensor
CHECKPOINT_SECONDS = 20.0
SAVING_SHARE = 20.0


class Loop(ABC):
    """A training under way: all that its next step depends on.

    step: number of steps made.
    steps: number of steps of the whole training.
    per_epoch: number of steps of an epoch.
    device: "cpu" or "cuda", where it trains.
    generator: source of everything random, on the device.
    precision: one of `prunebench.parts.precision.PRECISIONS`.
    unit: what a step is called. It may be a whole epoch.
    prefix: what the message about a loss that is not finite begins with.
    remedy: what that message asks the user to do.
    """

    unit: ClassVar[str] = "step"
    precision: str = "fp32"
    prefix: str = ""
    remedy: str
    device: str
    generator: torch.Generator
    step: int = 0
    steps: int
    per_epoch: int

    @abstractmethod
    def advance(self) -> Tensor:
        """Make the next step, and count it; return its loss: a number on the device, without gradient.

        A step must not wait for a GPU, as it would to read the loss.
        """

    @abstractmethod
    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""

    @abstractmethod
    def images_of(self, steps: int) -> int:
        """Return how many images the first `steps` steps train on, each as often as it is seen."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that the next step depends on, by name: those themselves, no copies."""

    def end_epoch(self) -> None:  # noqa: B027 - most have nothing to do then
        """Do what follows the last step of an epoch, or of the training."""

    @property
    def resumable(self) -> bool:
        """Whether the state is complete now: False where a training resumes after whole epochs alone."""
        return True

    def state(self) -> dict[str, Any]:
        """Return copies of all that a resumed training needs, flat."""
        tensors = {name: array(tensor) for name, tensor in self.tensors().items()}
        return {"step": self.step, "generator": self.generator.get_state()} | tensors

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken, on a device of the same type."""
        self.step = state["step"]
        self.generator.set_state(torch.tensor(state["generator"]))
        for name, tensor in self.tensors().items():
            tensor.copy_(torch.tensor(state[name]))


def run(loop: Loop, progress: Progress | None, checkpoint: Checkpoint | None) -> None:
    """Make all steps of a loop that are left, after those that the checkpoint knows of.

    progress: called after every step.
    checkpoint: ignored if a device of another type left it, whose random generator cannot be continued here,
        or a version that had other tensors. Of processes that train together all read it, and the first
        writes it.

    Raise DivergedError for a loss that is not finite. A CPU raises it at that step. Other devices raise it
    after the epoch, so that no step waits for the device.
    """
    with arithmetic(loop.precision):
        per_image = _run(loop, progress, checkpoint)
    images = loop.images_of(loop.steps)
    work.add(steps=loop.steps, images=images, multiply_adds=per_image * images)


def _run(loop: Loop, progress: Progress | None, checkpoint: Checkpoint | None) -> float:
    """Make the steps. Return the multiply-adds of one image, measured in the first of them."""
    state = checkpoint.load() if checkpoint else None
    if state and state.get("device") == loop.device and loop.tensors().keys() <= state.keys():
        loop.restore(state)
    saver = Saver(checkpoint) if checkpoint and processes.first() else None
    losses = torch.zeros(loop.per_epoch, device=loop.device)
    per_image: float | None = None
    while loop.step < loop.steps:
        place = loop.step % loop.per_epoch
        images = loop.images_of(loop.step)
        if per_image is None:
            losses[place], per_image = _measured(loop)
        else:
            losses[place] = loop.advance()
        epoch_ends = place + 1 == loop.per_epoch or loop.step == loop.steps
        if loop.device == "cpu" or epoch_ends:
            _check(loop, losses[: place + 1])
        if progress:
            work.see(loop.images_of(loop.step) - images)
            progress(loop.step, loop.steps)
        if epoch_ends:
            loop.end_epoch()
        if saver and loop.step < loop.steps and loop.resumable and saver.due():
            saver.save(loop.state() | {"device": loop.device, "steps": loop.steps})
    return per_image or 0.0


def _measured(loop: Loop) -> tuple[Tensor, float]:
    """Make a step. Return its loss, and its multiply-adds by image."""
    before = loop.images_of(loop.step)
    with work.passes() as passes:
        loss = loop.advance()
    multiply_adds = processes.summed(passes.multiply_adds, loop.device)
    return loss, multiply_adds / (loop.images_of(loop.step) - before)


class Saver:
    """A checkpoint, and when it is time for the next.

    That is CHECKPOINT_SECONDS after the last, or the beginning. Where saving is slow it is later, so that
    computing takes SAVING_SHARE times as long as saving.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.pause = CHECKPOINT_SECONDS
        self.saved = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self.saved >= self.pause

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state."""
        begun = time.monotonic()
        self.checkpoint.save(state)
        self.saved = time.monotonic()
        self.pause = max(CHECKPOINT_SECONDS, SAVING_SHARE * (self.saved - begun))


def flat(**groups: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of all groups, each by its name in its group: GROUP/NAME."""
    return {f"{group}/{name}": one for group, tensors in groups.items() for name, one in tensors.items()}


def _check(loop: Loop, losses: Tensor) -> None:
    """Raise DivergedError unless these losses, of the latest steps, are finite."""
    finite = losses.isfinite()
    if not finite.all():
        step = loop.step - len(losses) + int(finite.logical_not().nonzero()[0])
        raise DivergedError(
            f"{loop.prefix}the loss is not finite at {loop.unit} {step + 1} of {loop.steps}, "
            f"learning rate {loop.rate(step):.3g}; {loop.remedy}"
        )
