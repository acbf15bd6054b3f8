"""A training step as one CUDA graph, which the host launches at once instead of kernel by kernel.

A small network's step has some three hundred kernels. To launch each takes the host longer than the GPU needs
to run it, so that most of the time the GPU would wait.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Tensor = torch.Tensor
WARM = 3  # ordinary steps before the recording, in which libraries choose their kernels and fill their caches


class Replay:
    """A recorded step. Call it with the places of a batch and a learning rate, and it returns the loss.

    step: what is recorded: (places, int64 [b]; learning rate, float32 []) -> loss. It must not wait for the
    device, and whatever it reads or writes must stay where it is. generator: from which it draws; each call
    draws anew, as if the step had been run. The loss that a call returns is overwritten by the next call.

    Raise RuntimeError where the step cannot be recorded; no step was made then.
    """

    def __init__(
        self, step: Callable[[Tensor, Tensor], Tensor], order: Tensor, generator: torch.Generator
    ) -> None:
        self.order = order.clone()
        self.rate = torch.zeros((), device=order.device)
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(generator)
        # Other threads of the process may use the device meanwhile.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.loss = step(self.order, self.rate)

    def __call__(self, order: Tensor, rate: float) -> Tensor:
        """Make a step on the images at these places; return the loss before it."""
        self.order.copy_(order)
        self.rate.fill_(rate)
        self.graph.replay()
        return self.loss
