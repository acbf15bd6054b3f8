"""How much is computed, in units that depend neither on the machine nor on its load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

BACKWARD = 2  # a backward pass multiplies about twice as often as its forward pass: by weights, and by inputs


@dataclass
class Work:
    """What was computed.

    steps: steps of trainings.
    images: images that these trained on, each as often as it was seen.
    images_forward: images that networks only looked at, without a step, each as often as they did.
        Embeddings that a network looks at count as their images, here and in `images`.
    multiply_adds: of networks, in trainings and elsewhere.
    seen: images that networks have seen so far, for those who watch. It counts what is begun again, and is in
        no row.
    reused_seconds: what an earlier stage took to make what this one uses, see `reuse`.
    reused_cpu_seconds: the same, of the processor.
    """

    steps: int = 0
    images: int = 0
    images_forward: int = 0
    multiply_adds: int = 0
    seen: int = 0
    reused_seconds: float = 0.0
    reused_cpu_seconds: float = 0.0

    def values(self) -> dict[str, int]:
        """Return the fields of a row, as JSON."""
        return {
            "steps": self.steps,
            "images": self.images,
            "images_forward": self.images_forward,
            "multiply_adds": self.multiply_adds,
        }


_work: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def counted() -> Iterator[Work]:
    """Count the work inside."""
    work = Work()
    token = _work.set(work)
    try:
        yield work
    finally:
        _work.reset(token)


def add(*, steps: int = 0, images: int = 0, images_forward: int = 0, multiply_adds: float = 0) -> None:
    """Add to the count, if one is under way."""
    work = _work.get()
    if work is not None:
        work.steps += steps
        work.images += images
        work.images_forward += images_forward
        work.multiply_adds += round(multiply_adds)


def so_far() -> dict[str, int]:
    """Return the count so far, as `Work.values` does. All 0: no count is under way."""
    return (_work.get() or Work()).values()


def see(images: int) -> None:
    """Count images that a network has seen, if a count is under way. Call it before `progress`."""
    work = _work.get()
    if work is not None:
        work.seen += images


def seen() -> int:
    """Return the images that networks have seen since the count began. 0: no stage counts them."""
    work = _work.get()
    return work.seen if work is not None else 0


def reuse(seconds: float, cpu_seconds: float) -> None:
    """Count what was made by an earlier stage of this process as if the present one had made it."""
    work = _work.get()
    if work is not None:
        work.reused_seconds += seconds
        work.reused_cpu_seconds += cpu_seconds


@dataclass
class Passes:
    """Passes through networks, and their multiply-adds so far."""

    multiply_adds: int = 0


_passes: ContextVar[Passes | None] = ContextVar("passes", default=None)
_adding = Lock()


@contextmanager
def passes() -> Iterator[Passes]:
    """Count the multiply-adds of convolutions and linear layers, which are nearly all of a network's."""
    from torch import nn

    def note(layer: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            weights = layer.weight[0].numel()  # of one output: those of a filter, or of a unit
            multiplied(output.numel() * weights)

    found = Passes()
    token = _passes.set(found)
    hook = nn.modules.module.register_module_forward_hook(note)
    try:
        yield found
    finally:
        hook.remove()
        _passes.reset(token)


def counting() -> bool:
    """Whether multiply-adds are counted now."""
    return _passes.get() is not None


@contextmanager
def looking(images: int) -> Iterator[None]:
    """Count what a network does inside, which looks at so many images and makes no step."""
    with passes() as found:
        yield
    add(images_forward=images, multiply_adds=found.multiply_adds)


def multiplied(forward: int) -> None:
    """Add the multiply-adds of a forward pass to `passes`, if these are counted.

    A pass that keeps what gradients need counts as a forward and a backward pass.
    """
    import torch

    found = _passes.get()
    if found is not None:
        with _adding:  # several threads may compute at once
            found.multiply_adds += forward * (1 + BACKWARD * torch.is_grad_enabled())
