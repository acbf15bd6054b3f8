"""SGD and Adam, by the functions behind the classes of torch.optim.

The classes would first load the compiler, for 3 seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

Tensor = torch.Tensor


class Sgd:
    """SGD with momentum, of parameters that lie on one device."""

    def __init__(
        self, parameters: Iterable[Tensor], *, momentum: float, nesterov: bool, weight_decay: float
    ) -> None:
        self.parameters = list(parameters)
        self.momenta = list(map(torch.zeros_like, self.parameters))
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay

    def moving(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return the parameters that have a gradient, their gradients and their momenta.

        The loss need not depend on all parameters, and those it does not depend on do not decay either.
        """
        live = [
            (parameter, parameter.grad, momentum)
            for parameter, momentum in zip(self.parameters, self.momenta, strict=True)
            if parameter.grad is not None
        ]
        return [one for one, _, _ in live], [one for _, one, _ in live], [one for _, _, one in live]

    @torch.no_grad()
    def step(self, rate: float | Tensor) -> None:
        """Change the parameters by their gradients; the learning rate may be a tensor, []."""
        parameters, gradients, momenta = self.moving()
        sgd(
            parameters,
            gradients,
            [*momenta],
            lr=rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            dampening=0,
            maximize=False,
            fused=True,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return what the next step depends on beside parameters and gradients."""
        return {f"momentum/{place}": momentum for place, momentum in enumerate(self.momenta)}


class Adam:
    """Adam with PyTorch's constants, of parameters that lie on one device and all have gradients.

    decoupled: whether weights decay apart from their gradients, as in AdamW.
    """

    def __init__(self, parameters: Iterable[Tensor], *, weight_decay: float, decoupled: bool = False) -> None:
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.rule = adamw if decoupled else adam
        self.means = list(map(torch.zeros_like, self.parameters))
        self.squares = list(map(torch.zeros_like, self.parameters))
        self.steps = torch.zeros((), device=self.parameters[0].device)

    @torch.no_grad()
    def step(self, rate: float | Tensor) -> None:
        """Change the parameters by their gradients; the learning rate may be a tensor, [].

        On a GPU one kernel does it. It reads the rate and the number of steps there, so it can be recorded.
        """
        self.rule(
            self.parameters,
            [parameter.grad for parameter in self.parameters if parameter.grad is not None],
            self.means,
            self.squares,
            [],
            [*self.steps.repeat(len(self.parameters)).unbind()],  # each is counted up
            lr=rate,
            weight_decay=self.weight_decay,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            maximize=False,
            fused=self.steps.is_cuda,
        )
        self.steps += 1

    def tensors(self) -> dict[str, Tensor]:
        """Return what the next step depends on beside parameters and gradients."""
        tensors = {f"mean/{place}": mean for place, mean in enumerate(self.means)}
        tensors |= {f"square/{place}": square for place, square in enumerate(self.squares)}
        return tensors | {"steps": self.steps}
