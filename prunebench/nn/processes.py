"""Processes that train one network together, each on its share of every batch.

Each of them makes every step: it draws what one process would draw, and keeps what belongs to its images.
Gradients, losses and the statistics of BatchNorm are those of the whole batch. So weights, optimizers,
generators and dynamics are alike in all processes, and what one process does is what several do, but for the
order in which sums are rounded. Outside of `joined` a process is alone, and all of this costs it nothing.

Networks that draw at random themselves, such as by dropout, draw alike in all processes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import torch
from torch import distributed
from torch.nn import functional
from torch.nn.modules._functions import SyncBatchNorm
from torch.overrides import TorchFunctionMode

from prunebench.errors import PartedError

Tensor = torch.Tensor
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
PATIENCE = timedelta(days=7)  # whoever started the processes ends them all, once one has died


@dataclass(frozen=True)
class _Place:
    """The place of this process: its rank, counted from 0, among so many."""

    rank: int = 0
    count: int = 1

    def span(self, images: int) -> tuple[int, int]:
        """Return the first of its images in a batch, and how many they are. Shares differ by one at most."""
        start = images * self.rank // self.count
        return start, images * (self.rank + 1) // self.count - start


ALONE = _Place()
_place: ContextVar[_Place] = ContextVar("place among the processes", default=ALONE)
_batches: ContextVar[tuple[int, ...] | None] = ContextVar("batches that are drawn for", default=None)


@contextmanager
def joined(rank: int, count: int, meeting: str, device: str) -> Iterator[None]:
    """Train together with other processes of this machine. Wait until all have come.

    rank: of this process, from 0 to `count` - 1.
    meeting: path of a file that is not there at first, the same for all.
    device: "cpu" or "cuda". On CUDA each process has a first GPU of its own.

    Inside, on a CPU, whatever needs the other processes raises PartedError if one has ended.
    After an error inside, on CUDA, this process cannot train together with others again.
    """
    # Processes of one machine need no network.
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback
    distributed.init_process_group(
        BACKENDS[device],
        store=distributed.FileStore(meeting, count),  # type: ignore[attr-defined]
        rank=rank,
        world_size=count,
        timeout=PATIENCE,
        device_id=None if device == "cpu" else torch.device("cuda", torch.cuda.current_device()),
    )
    token = _place.set(_Place(rank, count))
    done = False
    try:
        with _WholeStatistics():
            yield
        done = True
    finally:
        _place.reset(token)
        # NCCL would wait until all processes leave, and some may wait for this one.
        if done or device == "cpu":
            distributed.destroy_process_group()


def alone() -> bool:
    """Whether this process trains alone."""
    return _place.get().count == 1


def first() -> bool:
    """Whether this process writes what all know: the one of rank 0."""
    return _place.get().rank == 0


def own(images: int) -> int:
    """Return how many images of a batch are those of this process."""
    return _place.get().span(images)[1]


def share(values: Tensor, *batches: int, dim: int = 0) -> Tensor:
    """Return the values of the images of this process.

    values: of whole batches, one after another along the dimension `dim`.
    batches: how many images each batch has. By default there is one.
    """
    if alone():
        return values
    place = _place.get()
    parts = torch.split(values, list(batches) or [values.shape[dim]], dim)
    return torch.cat([part.narrow(dim, *place.span(part.shape[dim])) for part in parts], dim)


@torch.no_grad()
def whole(values: Tensor, images: int, dim: int = 0) -> Tensor:
    """Return the values of all processes, in the order of the batch.

    values: of the images of this process, along the dimension `dim`.
    images: how many images the batch has.
    """
    if alone():
        return values
    shape = list(values.shape)
    shape[dim] = images
    gathered = values.new_zeros(shape)
    gathered.narrow(dim, *_place.get().span(images)).copy_(values)
    _add_up(gathered)  # others add 0, which changes nothing
    return gathered


def weighed(mean: Tensor, images: int) -> Tensor:
    """Return the part that the images of this process have in the loss of a batch.

    mean: of the losses of these images. Of none it is not a number.
    images: how many images the batch has.
    """
    if alone():
        return mean
    return mean * (own(images) / images) if own(images) else mean.nan_to_num() * 0


@torch.no_grad()
def added(parameters: Iterable[Tensor], loss: Tensor) -> Tensor:
    """Give each parameter the sum of its gradients in all processes. Return the sum of their losses.

    loss: a number, float32 [], without gradient.
    """
    if alone():
        return loss
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    addends = [*gradients, loss]
    flat = torch.cat([addend.flatten() for addend in addends])
    _add_up(flat)
    *sums, total = torch.split(flat, [addend.numel() for addend in addends])
    torch._foreach_copy_(gradients, [one.view(old.shape) for one, old in zip(sums, gradients, strict=True)])
    return total.squeeze(0)


def summed(number: float, device: str) -> float:
    """Return the sum of the numbers of all processes."""
    if alone():
        return number
    total = torch.tensor(number, dtype=torch.float64, device=device)
    _add_up(total)
    return float(total)


def _add_up(values: Tensor) -> None:
    """Replace values by their sum over all processes."""
    try:
        distributed.all_reduce(values)
    except RuntimeError as error:
        raise PartedError(f"a process of this training has ended: {error}") from error


# What is drawn


@contextmanager
def drawing(*batches: int) -> Iterator[None]:
    """Have `rand` and `randint` draw for whole batches, and return the numbers of this process's images.

    batches: how many images each batch has. The images that are drawn for are those of this process of the
        first batch, then of the second, and so on. Then they may begin anew, as several crops of them do.
    """
    token = _batches.set(None if alone() else batches)
    try:
        yield
    finally:
        _batches.reset(token)


def rand(shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype | None = None) -> Tensor:
    """Draw numbers in 0..1 for images, on the device of the generator. Their last dimension is the images."""
    return _drawn(partial(torch.rand, dtype=dtype), shape, generator)


def randint(high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw int64 below `high` for images, as `rand` does."""
    return _drawn(partial(torch.randint, high), shape, generator)


def _drawn(draw: Callable[..., Tensor], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    draw = partial(draw, generator=generator, device=generator.device)
    batches = _batches.get()
    if batches is None:
        return draw(shape)
    if mine := sum(map(own, batches)):
        batches *= shape[-1] // mine  # several crops of each image
    return share(draw((*shape[:-1], sum(batches))), *batches, dim=-1)


# The statistics of BatchNorm


class _WholeStatistics(TorchFunctionMode):
    """Has every BatchNorm, of whatever library, train with the statistics of the whole batch."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch."""
        if func is functional.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return what torch.nn.functional.batch_norm returns for the whole batch: for the images of this process.

    A layer without running statistics, which then has no momentum, or without weights is not supported in
    training.
    """
    if not training:
        return functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    assert running_mean is not None and running_var is not None and weight is not None and bias is not None
    if x.is_cuda:
        # The function behind torch.nn.SyncBatchNorm.
        count = distributed.get_world_size()
        group = distributed.group.WORLD
        return SyncBatchNorm.apply(x, weight, bias, running_mean, running_var, eps, momentum, group, count)  # type: ignore[no-any-return]
    # It has kernels for CUDA alone.
    dims = [0, *range(2, x.ndim)]
    channels = (1, -1, *[1] * (x.ndim - 2))
    number = summed(x.numel() // x.shape[1], "cpu")
    mean: Tensor = _Sum.apply(x.sum(dims)) / number
    centered = x - mean.view(channels)
    variance: Tensor = _Sum.apply(centered.square().sum(dims)) / number
    with torch.no_grad():
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * (number / (number - 1)), momentum)
    scale = weight * (variance + eps).rsqrt()
    return centered * scale.view(channels) + bias.view(channels)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes. So is the gradient, as the losses of all add up."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        """Return the sum."""
        total = own.clone()
        _add_up(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the gradient with respect to the tensor of this process."""
        total = gradient.clone(memory_format=torch.contiguous_format)
        _add_up(total)
        return total
