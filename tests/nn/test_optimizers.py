"""The optimizers beside those of PyTorch, of which they are the functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from prunebench.nn.optimizers import Adam, Sgd

MADE: dict[str, tuple[Callable[..., Any], Callable[..., torch.optim.Optimizer]]] = {
    "sgd": (
        lambda parameters: Sgd(parameters, momentum=0.8, nesterov=False, weight_decay=0.1),
        lambda parameters: torch.optim.SGD(parameters, lr=1.0, momentum=0.8, weight_decay=0.1),
    ),
    "nesterov": (
        lambda parameters: Sgd(parameters, momentum=0.8, nesterov=True, weight_decay=0.1),
        lambda parameters: torch.optim.SGD(parameters, lr=1.0, momentum=0.8, nesterov=True, weight_decay=0.1),
    ),
    "adam": (
        lambda parameters: Adam(parameters, weight_decay=0.1),
        lambda parameters: torch.optim.Adam(parameters, weight_decay=0.1),
    ),
    "adamw": (
        lambda parameters: Adam(parameters, weight_decay=0.1, decoupled=True),
        lambda parameters: torch.optim.AdamW(parameters, weight_decay=0.1),
    ),
}


def layers(device: str = "cpu") -> list[nn.Parameter]:
    """Return the same parameters each time."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4), (4,), ())
    return [nn.Parameter(torch.randn(shape, generator=generator).to(device)) for shape in shapes]


def give_gradients(parameters: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.device)


@pytest.mark.parametrize("name", MADE)
def test_steps_are_those_of_torch(name: str, device: str) -> None:
    ours, theirs = layers(device), layers(device)
    optimizer, reference = MADE[name][0](ours), MADE[name][1](theirs)
    for step, rate in enumerate((0.1, 0.05, 0.2)):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        optimizer.step(rate)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        for mine, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("name", MADE)
def test_on_a_gpu_a_rate_that_lies_there_makes_the_step_of_a_cpu(name: str) -> None:
    here, there = layers(), layers("cuda")
    of_here, of_there = (MADE[name][0](parameters) for parameters in (here, there))
    for step, rate in enumerate((0.1, 0.05, 0.2)):
        give_gradients(here, step)
        give_gradients(there, step)
        of_here.step(rate)
        of_there.step(torch.full((), rate, device="cuda"))
    for mine, expected in zip(there, here, strict=True):
        torch.testing.assert_close(mine.cpu(), expected)


@pytest.mark.parametrize("name", MADE)
def test_the_next_step_depends_on_its_tensors_and_nothing_else(name: str) -> None:
    parameters = layers()
    optimizer = MADE[name][0](parameters)
    for step in range(2):
        give_gradients(parameters, step)
        optimizer.step(0.1)
    others = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    again = MADE[name][0](others)
    for key, tensor in again.tensors().items():
        tensor.copy_(optimizer.tensors()[key])
    for each, held in ((optimizer, parameters), (again, others)):
        give_gradients(held, 2)
        each.step(0.1)
    for first, second in zip(parameters, others, strict=True):
        assert torch.equal(first, second)


def test_a_parameter_without_gradient_neither_moves_nor_decays() -> None:
    parameters = layers()
    begin = [parameter.detach().clone() for parameter in parameters]
    give_gradients(parameters, 0)
    parameters[0].grad = None
    optimizer = Sgd(parameters, momentum=0.9, nesterov=True, weight_decay=0.5)
    optimizer.step(0.1)
    assert [torch.equal(*pair) for pair in zip(parameters, begin, strict=True)] == [True, False, False]
    assert not optimizer.momenta[0].any() and optimizer.momenta[1].any()
