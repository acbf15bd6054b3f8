"""A training step as one CUDA graph, which the host launches at once instead of kernel by kernel.

A small network's step has some three hundred kernels. To launch each takes the host longer than the GPU needs
to run it, so that most of the time the GPU would wait.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

from prunebench.nn import processes
from prunebench.parts import work
from prunebench.system.isolation import warn

Tensor = torch.Tensor
WARM = 3  # ordinary steps before the recording, in which libraries choose their kernels and fill their caches


class Training(Protocol):
    """A training whose steps may be recorded.

    generator: from which it draws.
    """

    generator: torch.Generator

    @property
    def make(self) -> Callable[..., Tensor]:
        """Makes a step. (places, int64 [b]; numbers of the step, float or float32 []) -> loss.

        As a graph it must not wait for the device, and whatever it reads or writes must stay where it is.
        """


def recordable(device: str) -> bool:
    """Whether steps on a device can be recorded at all. Those that need other processes never are."""
    return device != "cpu" and processes.alone()


@contextmanager
def waits() -> Iterator[list[warnings.WarningMessage]]:
    """Yield a list that has an entry at the end for each time that the host waited for a GPU.

    It has none on a CPU.
    """
    found: list[warnings.WarningMessage] = []
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        yield found
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
    found += [warning for warning in told if "synchronizing CUDA operation" in str(warning.message)]


class Steps:
    """The steps of a training: launched kernel by kernel at first, and then as one CUDA graph.

    device: on which they are made.
    batch: how many images the recorded step sees. A step that sees another number is always launched.

    A step whose work is counted is launched, as a graph says nothing of its multiply-adds. The last step
    before the recording shows whether it waits, as no graph could. So few recordings fail: those leave what
    they reserved of the GPU to the process.
    The training holds its steps, but they do not hold it. So its memory is free once it ends or fails.
    """

    def __init__(self, device: str, *, batch: int) -> None:
        self.batch = batch
        self.recordable = recordable(device)
        self.restart()

    def restart(self) -> None:
        """Forget what is recorded, as the step is another from now on."""
        self.replay: Replay | None = None
        self.warm = 0  # steps that could have been recorded, made since
        self.watched = False  # whether one of them showed that it does not wait

    def step(self, training: Training, order: Tensor, *numbers: float, ready: bool) -> Tensor:
        """Make a step of a training on the images at these places; return the loss before it.

        ready: whether the step would be the same from now on, so that it may be recorded.
        """
        whole = len(order) == self.batch
        if whole and self.recordable and not self.replay:
            self.warm += 1
            if ready and self.warm >= WARM and not work.counting():
                if not self.watched:
                    return self._watch(training, order, numbers)
                self._record(training, order, numbers)
        step = self.replay if self.replay and whole else training.make
        return step(order, *numbers)

    def _watch(self, training: Training, order: Tensor, numbers: tuple[float, ...]) -> Tensor:
        """Make the last step before the recording. If it waits, say once that there will be none."""
        self.watched = True
        with waits() as found:
            loss: Tensor = training.make(order, *numbers)
        if found:
            self._stay_launched("they wait for the GPU")
        return loss

    def _stay_launched(self, why: str) -> None:
        self.recordable = False
        warn(f"the training steps are not one CUDA graph, but slower: {why}")

    def _record(self, training: Training, order: Tensor, numbers: tuple[float, ...]) -> None:
        """Record the step, or say once that it cannot be."""
        generator = training.generator
        state = generator.get_state()
        try:
            self.replay = Replay(training.make, order, len(numbers), generator)
        except RuntimeError as error:
            training.generator = torch.Generator(generator.device)
            training.generator.set_state(state)
            self._stay_launched(" ".join(str(error).split()))


class Replay:
    """A recorded step. Call it with the places of a batch and the numbers of the step. It returns the loss.

    step: what is recorded. See `Training.make`.
    numbers: how many numbers it takes.
    generator: from which it draws. Each call draws anew, as if the step had been launched.

    The next call overwrites the loss that a call returns.

    Raise RuntimeError where the step cannot be recorded; no step was made then.
    """

    def __init__(
        self, step: Callable[..., Tensor], order: Tensor, numbers: int, generator: torch.Generator
    ) -> None:
        self.order = order.clone()
        self.numbers = [torch.zeros((), device=order.device) for _ in range(numbers)]
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(generator)
        # Other threads of the process may use the device meanwhile. A recording that fails leaves its own
        # stream as the current one.
        with (
            torch.cuda.stream(torch.cuda.current_stream()),
            torch.cuda.graph(self.graph, capture_error_mode="thread_local"),
        ):
            self.loss = step(self.order, *self.numbers)

    def __call__(self, order: Tensor, *numbers: float) -> Tensor:
        """Make a step; return the loss before it."""
        self.order.copy_(order)
        for kept, number in zip(self.numbers, numbers, strict=True):
            kept.fill_(number)
        self.graph.replay()
        return self.loss
