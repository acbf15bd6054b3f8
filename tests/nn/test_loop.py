"""The one loop of all trainings: how often it saves, where it resumes, when it stops, what it reports."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prunebench.errors import DivergedError
from prunebench.nn import loop
from prunebench.parts import work
from prunebench.parts.problem import MemoryCheckpoint

ELSEWHERE = "cpu:0"  # stands in for a GPU: a device that is not named "cpu"


class Walk(loop.Loop):
    """Goes a random way, of three epochs of four steps; its losses are given, or 1."""

    prefix = "walk: "
    remedy = "go slower"

    def __init__(self, device: str = "cpu", losses: dict[int, float] | None = None, steps: int = 12) -> None:
        self.device, self.steps, self.per_epoch = device, steps, 4
        self.generator = torch.Generator().manual_seed(0)
        self.place = torch.zeros(())
        self.way: list[float] = []
        self.losses = losses or {}
        self.epochs: list[int] = []

    def rate(self, step: int) -> float:
        return 0.5**step

    def images_of(self, steps: int) -> int:
        return 8 * steps

    def advance(self) -> torch.Tensor:
        self.place += torch.rand((), generator=self.generator)
        self.way.append(float(self.place))
        self.step += 1
        return torch.tensor(self.losses.get(self.step - 1, 1.0))

    def tensors(self) -> dict[str, torch.Tensor]:
        return loop.flat(walker={"place": self.place})

    def end_epoch(self) -> None:
        self.epochs.append(self.step)


class Kept(MemoryCheckpoint):
    """A checkpoint that knows after which steps it was saved."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def save(self, state: Any) -> None:
        super().save(state)
        self.steps.append(state["step"])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that is set by hand."""
    now = [1000.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    yield now


def test_the_images_of_each_step_are_seen_before_it_is_reported() -> None:
    seen: list[int] = []
    walk = Walk()
    walk.step = 10  # resumed
    with work.counted() as counted:
        loop.run(walk, lambda *_: seen.append(work.seen()), None)
    assert seen == [8, 16]
    assert "seen" not in counted.values()
    assert work.seen() == 0


def killed_after(steps: int, checkpoint: MemoryCheckpoint, walk: Walk) -> None:
    def progress(done: int, total: int) -> None:
        if done == steps:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(loop, "SAVING_SHARE", 0.0)
        loop.run(walk, progress, checkpoint)


def test_progress_is_reported_after_every_step_and_epochs_end_before_the_next_step() -> None:
    seen: list[tuple[int, int]] = []
    walk = Walk(steps=10)
    loop.run(walk, lambda done, total: seen.append((done, total)), None)
    assert seen == [(step, 10) for step in range(1, 11)]
    assert walk.epochs == [4, 8, 10], "the last one is cut off"


def test_a_state_is_saved_when_the_last_one_is_old_and_not_after_the_last_step(clock: list[float]) -> None:
    """Of steps of 6 seconds, a save every 20 comes after each fourth."""

    def progress(done: int, total: int) -> None:
        clock[0] += 6

    checkpoint = Kept()
    loop.run(Walk(steps=13), progress, checkpoint)
    assert checkpoint.steps == [4, 8, 12]
    loop.run(Walk(steps=12), progress, checkpoint := Kept())
    assert checkpoint.steps == [4, 8]


def test_a_loop_that_resumes_after_whole_epochs_alone_is_saved_there(monkeypatch: Any) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "SAVING_SHARE", 0.0)
    monkeypatch.setattr(Walk, "resumable", property(lambda self: self.step % self.per_epoch == 0))
    loop.run(Walk(), None, checkpoint := Kept())
    assert checkpoint.steps == [4, 8]


@pytest.mark.parametrize("stop_at", [1, 4, 7, 12])
def test_it_resumes_as_if_undisturbed(stop_at: int) -> None:
    checkpoint, whole, resumed = MemoryCheckpoint(), Walk(), Walk()
    loop.run(whole, None, None)
    killed_after(stop_at, checkpoint, Walk())
    loop.run(resumed, None, checkpoint)
    assert resumed.way == whole.way[stop_at - 1 :], "the step in which it was killed is made again"


def test_a_state_is_a_copy() -> None:
    walk = Walk()
    walk.advance()
    state = walk.state()
    before = float(state["walker/place"])
    walk.advance()
    assert float(state["walker/place"]) == before != float(walk.place)


@pytest.mark.parametrize("device", ["cuda", None], ids=["another device", "of unknown origin"])
def test_a_checkpoint_of_another_device_is_ignored(device: str | None) -> None:
    """The state of a CUDA generator has 16 bytes, that of a CPU's 5056: none can be set on the other."""
    checkpoint, whole, again = MemoryCheckpoint(), Walk(), Walk()
    killed_after(6, checkpoint, Walk())
    assert checkpoint.state is not None and checkpoint.state["device"] == "cpu"
    checkpoint.state |= {"device": device, "generator": torch.zeros(16, dtype=torch.uint8).numpy()}
    with pytest.raises(RuntimeError):
        Walk().restore(checkpoint.state)
    loop.run(whole, None, None)
    loop.run(again, None, checkpoint)
    assert again.way == whole.way


def test_a_checkpoint_of_other_tensors_is_ignored() -> None:
    """Another version of a part left it."""
    checkpoint, whole, again = MemoryCheckpoint(), Walk(), Walk()
    killed_after(6, checkpoint, Walk())
    assert checkpoint.state is not None
    checkpoint.state["walker/somewhere"] = checkpoint.state.pop("walker/place")
    loop.run(whole, None, None)
    loop.run(again, None, checkpoint)
    assert again.way == whole.way


def diverged(device: str, losses: dict[int, float], **changes: Any) -> tuple[str, int]:
    """Return what a walk with these losses dies of, and after how many steps."""
    walk = Walk(device, losses, **changes)
    with pytest.raises(DivergedError) as error:
        loop.run(walk, None, None)
    return str(error.value), walk.step


def test_a_loss_that_is_not_finite_ends_it_at_that_step_on_a_cpu() -> None:
    message, steps = diverged("cpu", {5: math.nan})
    assert steps == 6
    assert message == (
        "walk: the loss is not finite at step 6 of 12, learning rate 0.0312; go slower"
    )  # 0.5 ** 5


@pytest.mark.parametrize(("losses", "after"), [({5: math.inf, 6: math.nan}, 8), ({9: -math.inf}, 10)])
def test_elsewhere_it_ends_after_the_epoch_and_names_the_first(losses: dict[int, float], after: int) -> None:
    """Of two epochs, and of two steps of a third."""
    message, steps = diverged(ELSEWHERE, losses, steps=10)
    assert steps == after
    assert f"not finite at step {min(losses) + 1} of 10" in message


def test_a_diverged_step_is_neither_reported_nor_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "SAVING_SHARE", 0.0)
    seen: list[int] = []
    with pytest.raises(DivergedError):
        loop.run(Walk(losses={2: math.nan}), lambda done, total: seen.append(done), checkpoint := Kept())
    assert seen == checkpoint.steps == [1, 2]


def test_a_step_that_is_an_epoch_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Walk, "unit", "epoch")
    assert "not finite at epoch 3 of 12" in diverged("cpu", {2: math.nan})[0]
