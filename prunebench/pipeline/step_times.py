"""What trainings take, from a few of their steps on noise. Forecasts and the costs of photos ask here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from prunebench.parts.recipe import Recipe
from prunebench.pipeline.stage import Stage
from prunebench.system.heap import freed_memory_kept
from prunebench.system.sealed_json import canonical

FEW = 16  # images of the small step that is timed beside a whole one


@contextmanager
def as_in_a_worker() -> Iterator[None]:
    """Compute on one thread and keep freed memory, as stages do. Restore the number of threads afterwards."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with freed_memory_kept():
            yield
    finally:
        torch.set_num_threads(threads)


class StepTimes:
    """Times the steps of trainings on a device. Steps that are alike are timed once."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._seconds: dict[str, float] = {}

    def training(self, stage: Stage, recipe: Recipe, images: int, **shape: int) -> float:
        """Return the seconds of a training on so many images.

        stage: the stage that trains, which has the backbone if it fine-tunes one.
        recipe: how it trains on these images.
        shape: channels, resolution and classes, as `nn.training.seconds_per_step` takes them.
        """
        from prunebench.nn.training import batch_bounds

        batches = max(1, len(batch_bounds(images, recipe.batch)) - 1)
        steps = recipe.iterations or recipe.epochs * batches
        return steps * self._step(stage, recipe, images / batches, shape)

    def _step(self, stage: Stage, recipe: Recipe, images: float, shape: dict[str, int]) -> float:
        """Return the seconds of a step on so many images: a part that stays, and one that grows with them."""
        few = min(FEW, recipe.batch)
        short, long = (self._timed(stage, recipe, batch, shape) for batch in (few, recipe.batch))
        if few == recipe.batch:
            return long
        return short + (long - short) * max(0.0, images - few) / (recipe.batch - few)

    def _timed(self, stage: Stage, recipe: Recipe, batch: int, shape: dict[str, int]) -> float:
        """Return the measured seconds of a step."""
        from prunebench.nn import training

        # A step depends neither on their number nor on the name of what embeds.
        step = replace(recipe, batch=batch, shrink_batch=False, epochs=1, iterations=None)
        step = replace(step, proxy_backbone=None, final_backbone=None, finetune=False)
        alike = canonical([step.identity(), stage.identity.get("backbone"), shape])
        if alike not in self._seconds:
            self._seconds[alike] = training.seconds_per_step(
                step, device=self.device, body=stage.body, **shape
            )
        return self._seconds[alike]
