"""THE training loop: proxy and final networks alike, on whole batches, without a data loader.

By default SGD with a cosine learning rate per iteration (SemiPrune, A.1). Everything random comes from one
generator on the device, whose state a checkpoint keeps: a CPU resumes bit for bit as if undisturbed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from prunebench.errors import DivergedError, PrunebenchError
from prunebench.nn import networks
from prunebench.nn.augment import augment, centre, normalise
from prunebench.nn.networks import Network, array
from prunebench.nn.recorder import Recorder
from prunebench.nn.replay import WARM, Replay
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import Checkpoint, Progress
from prunebench.parts.images import Images
from prunebench.parts.recipe import Recipe
from prunebench.parts.seeds import torch_generator
from prunebench.system.isolation import warn

Tensor = torch.Tensor
CHECKPOINT_SECONDS = 20.0
PROBE_STEPS = 100
PROBE_SECONDS = 1.0
HALVINGS = 3  # of the images that a step sees at once, before lack of memory is an error
ADAM: dict[str, Any] = {"amsgrad": False, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}


@dataclass(frozen=True, eq=False, kw_only=True)
class Trained:
    """What a training gives.

    network: with its final weights, in eval mode. history: (epoch, percent correct on the test
    split), epochs counted from 1. predictions: int64 [test images] after the last step, or None
    without a test split. dynamics: None unless recorded. micro_batch: how many images a step saw at once
    where the device lacked memory for its batch; None: all.
    """

    network: Network
    history: list[tuple[int, float]]
    predictions: Array | None
    dynamics: Dynamics | None
    micro_batch: int | None = None


def train(
    images: Images,
    labels: Array,
    recipe: Recipe,
    *,
    classes: int,
    rng: np.random.Generator,
    device: str,
    index: Array | None = None,
    test: tuple[Images, Array] | None = None,
    record: bool = False,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train a network from scratch on the images of `index` (all, if None) with their labels.

    labels: int [n], in 0..classes-1 wherever trained on. Every image is seen once per epoch, in batches
    of recipe.batch, in an order drawn anew each epoch; one image left over joins the batch before it.
    test: images and true labels, looked at every recipe.evaluate_every epochs and at the end.
    record: also return the dynamics of all complete epochs. progress is called after every step.

    Where the device runs out of memory, training starts again with half of the images of a step at a time,
    up to three times. The gradients add up to those of the batch, but BatchNorm knows only its share.

    Raise PrunebenchError for what cannot be trained or does not fit, DivergedError for a loss that is not
    finite: on a CPU at that step, elsewhere after the epoch, so that no step waits for the device.
    """
    index = np.arange(len(images)) if index is None else np.sort(index)
    beginning = rng.bit_generator.state
    sizes = [-(-recipe.batch // 2**halvings) for halvings in range(HALVINGS + 1)]
    for size in (size for size in sizes if size >= min(2, recipe.batch)):
        rng.bit_generator.state = beginning
        run = _Run(images.to(device), labels, index, recipe, classes=classes, rng=rng, record=record)
        run.micro_batch = size
        try:
            return _trained(run, test, progress, checkpoint)
        except torch.OutOfMemoryError:
            pass  # and leave, so that nothing refers to what was held any more
        del run
        if device != "cpu":
            torch.cuda.empty_cache()
    raise PrunebenchError(
        f"out of memory on {device}, even with {size} of the {recipe.batch} images of a step at a time; "
        "free the device, lower recipe.side, or choose a smaller network or --device cpu"
    )


def _trained(
    run: _Run, test: tuple[Images, Array] | None, progress: Progress | None, checkpoint: Checkpoint | None
) -> Trained:
    """Train to the end, from the checkpoint where there is one."""
    recipe, device = run.recipe, run.device
    if checkpoint and (state := checkpoint.load()):
        run.restore(state)
    pictures = test[0].to(device) if test else None
    predictions = None
    saved = time.monotonic()
    while not run.done:
        run.epoch(progress)
        if test and pictures and (run.done or run.epochs % recipe.evaluate_every == 0):
            predictions = classify(
                run.network, pictures, device=device, side=recipe.side, precision=recipe.precision
            )
            run.history.append((run.epochs, 100 * float((predictions == test[1]).mean())))
        if checkpoint and not run.done and time.monotonic() - saved >= CHECKPOINT_SECONDS:
            checkpoint.save(run.state())
            saved = time.monotonic()
    return Trained(
        network=run.network.eval(),
        history=run.history,
        predictions=predictions,
        dynamics=run.dynamics(),
        micro_batch=run.micro_batch if run.micro_batch < recipe.batch else None,
    )


def batch_bounds(images: int, batch: int) -> list[int]:
    """Return where the batches of an epoch begin, and its end; the last holds 2 to batch + 1 images.

    A batch of one would have no variance for BatchNorm.
    """
    return [*range(0, images - 1, batch), images]


def learning_rates(recipe: Recipe, steps: int) -> Array:
    """Return the learning rate of each step: float64 [steps].

    A linear rise over the share `recipe.warmup`, then a cosine from recipe.lr that would reach
    recipe.final_lr one step after the last, as PyTorch's CosineAnnealingLR does.
    """
    rising = round(recipe.warmup * steps)
    rise = recipe.lr * np.arange(1, rising + 1) / (rising + 1)
    turn = np.pi * np.arange(steps - rising) / max(1, steps - rising)
    return np.concatenate([rise, recipe.final_lr + (recipe.lr - recipe.final_lr) * (1 + np.cos(turn)) / 2])


def embed(
    network: Network,
    images: Images,
    *,
    device: str,
    side: int | None = None,
    batch: int = 512,
    progress: Progress | None = None,
) -> Array:
    """Return the penultimate features in eval mode, of the middle `side` pixels: float32 [n, d]."""
    features = _map(network.features, network, images.to(device), side, batch, progress)
    return features.cpu().numpy()


def predict(
    network: Network,
    images: Images,
    *,
    device: str,
    side: int | None = None,
    batch: int = 512,
    progress: Progress | None = None,
) -> Array:
    """Return the class probabilities in eval mode, of the middle `side` pixels: float32 [n, classes]."""
    logits = _map(network, network, images.to(device), side, batch, progress)
    return logits.softmax(1).cpu().numpy()


def classify(
    network: Network, images: Images, *, device: str, side: int | None = None, precision: str = "fp32"
) -> Array:
    """Return the most probable class in eval mode, of the middle `side` pixels: int64 [n]."""
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        return _map(network, network, images.to(device), side, 512, None).argmax(1).cpu().numpy()


@torch.inference_mode()
def _map(
    function: Callable[[Tensor], Tensor],
    network: Network,
    images: Images,
    side: int | None,
    batch: int,
    progress: Progress | None,
) -> Tensor:
    """Return the `function` of all images, float32 on their device, with the network in eval mode."""
    network.eval()
    outputs = []
    for start in range(0, len(images), batch):
        seen = centre(images[start : start + batch], side)
        outputs.append(function(normalise(seen, images.mean, images.std)).float())
        if progress:
            progress(min(start + batch, len(images)), len(images))
    return torch.cat(outputs)


def seconds_per_image(recipe: Recipe, *, channels: int, resolution: int, classes: int, device: str) -> float:
    """Return how many seconds a training step takes per image, measured on noise for about a second.

    At least two steps are made, the first of which does not count: in it kernels are chosen.
    """
    count = 2 * recipe.batch
    rng = np.random.default_rng(0)
    noise = rng.integers(256, size=(count, channels, resolution, resolution), dtype=np.uint8)
    grey = (0.5,) * channels
    images = Images(noise, mean=grey, std=grey, device=device)
    labels = rng.integers(classes, size=count)
    short = replace(recipe, iterations=PROBE_STEPS)
    run = _Run(images, labels, np.arange(count), short, classes=classes, rng=rng, record=False)
    order = torch.arange(recipe.batch, device=device)
    float(run.advance(order))  # waits for the device
    begin = time.perf_counter()
    while not run.done and time.perf_counter() - begin < PROBE_SECONDS:
        float(run.advance(order))
    return (time.perf_counter() - begin) / ((run.step - 1) * recipe.batch)


def recordable(device: str, recipe: Recipe) -> bool:
    """Whether the steps of a training can be recorded as a CUDA graph."""
    return device != "cpu" and recipe.optimizer == "sgd"


class _Run:
    """A training under way: all that its next step depends on, and what it has recorded."""

    def __init__(
        self,
        images: Images,
        labels: Array,
        index: Array,
        recipe: Recipe,
        *,
        classes: int,
        rng: np.random.Generator,
        record: bool,
    ) -> None:
        _check(labels[index], recipe, classes, images.device)
        self.recipe, self.device = recipe, images.device
        # What a device holds are the images that it trains on, and no others.
        self.images = images if self.device == "cpu" else images.take(index)
        self.total, self.index = len(images), index
        places = index if self.images is images else np.arange(len(index))
        self.places = torch.tensor(places, device=self.device)
        self.labels = torch.tensor(labels[index], dtype=torch.int64, device=self.device)
        self.bounds = list(pairwise(batch_bounds(len(index), recipe.batch)))
        self.rates = learning_rates(recipe, recipe.iterations or recipe.epochs * len(self.bounds)).tolist()
        self.micro_batch = recipe.batch
        self.step = 0
        self.history: list[tuple[int, float]] = []
        self.network = networks.build(
            recipe.network,
            channels=images.channels,
            classes=classes,
            resolution=recipe.seen(images.resolution),
            generator_seed=int(rng.integers(2**63)),
        ).to(self.device)
        self.network.to(memory_format=torch.channels_last)
        self.generator = torch_generator(rng, self.device)
        self.parameters: list[Tensor] = list(self.network.parameters())
        self.momenta = list(map(torch.zeros_like, self.parameters))
        self.squares = list(map(torch.zeros_like, self.parameters if recipe.optimizer == "adam" else []))
        complete = len(self.rates) // len(self.bounds)
        self.recorder = Recorder(complete, len(index), classes, self.device) if record else None
        self.replay: Replay | None = None
        self.warm = 0  # steps that could have been recorded, made since there is nothing recorded
        self.recordable = recordable(self.device, recipe)

    @property
    def done(self) -> bool:
        return self.step == len(self.rates)

    @property
    def epochs(self) -> int:
        """Epochs begun."""
        return -(-self.step // len(self.bounds))

    def epoch(self, progress: Progress | None) -> None:
        """Train for one epoch, or until the last step."""
        frozen = self.recipe.statistics_epochs
        self.network.train(frozen is None or self.epochs < frozen)
        if self.epochs == frozen:
            self.replay, self.warm = None, 0
        order = torch.randperm(len(self.index), generator=self.generator, device=self.device)
        losses = torch.zeros(len(self.bounds), device=self.device)
        begin = self.step
        for place, (start, stop) in enumerate(self.bounds[: len(self.rates) - begin]):
            losses[place] = loss = self.advance(order[start:stop])
            if self.device == "cpu" and not loss.isfinite():
                break
            if progress:
                progress(self.step, len(self.rates))
        self.check(losses, begin)
        if self.recorder and self.step == begin + len(self.bounds):
            self.recorder.close()

    def advance(self, order: Tensor) -> Tensor:
        """Make one step on the images at these places of the index; return the loss before it."""
        rate = self.rates[self.step]
        whole = len(order) == self.recipe.batch
        if whole and self.recordable and not self.replay:
            self.record(order)
        loss = self.replay(order, rate) if self.replay and whole else self.make(order, rate)
        self.step += 1
        return loss

    def record(self, order: Tensor) -> None:
        """Record the step as a CUDA graph, once it would be the same from now on."""
        first = self.recorder is not None and self.recorder.epoch == 0  # its steps record less
        if first or self.warm < WARM or not self.images.resident:
            self.warm += 1
            return
        state = self.generator.get_state()
        try:
            self.replay = Replay(self.make, order, self.generator)
        except RuntimeError as error:
            self.recordable = False
            self.generator = torch.Generator(self.device)
            self.generator.set_state(state)
            warn(f"the training steps are not one CUDA graph, but slower: {' '.join(str(error).split())}")

    def make(self, order: Tensor, rate: float | Tensor) -> Tensor:
        """Make one step with this learning rate, launching each kernel; return the loss before it."""
        batch = augment(self.images[self.places[order]], self.recipe, self.generator)
        for parameter in self.parameters:
            parameter.grad = None
        losses = [
            self.collect(order[start:stop], batch[start:stop], (stop - start) / len(order))
            for start, stop in pairwise(batch_bounds(len(order), self.micro_batch))
        ]
        self.descend(rate)
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def collect(self, order: Tensor, batch: Tensor, share: float) -> Tensor:
        """Add this share of a step to the gradients; return it of the loss."""
        labels = self.labels[order]
        batch = normalise(batch, self.images.mean, self.images.std)
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            features = self.network.features(batch)
            logits = self.network.head(features)
        loss = functional.cross_entropy(logits.float(), labels) * share
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recorder:
            self.recorder.note(order, labels, logits.float(), features.float())
        return loss.detach()

    @torch.no_grad()
    def descend(self, rate: float | Tensor) -> None:
        """Change the weights by one step of SGD or Adam."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        common: dict[str, Any] = {"lr": rate, "weight_decay": self.recipe.weight_decay, "maximize": False}
        # The functions behind the classes of torch.optim, which would first load the compiler, for 3 seconds.
        if self.recipe.optimizer == "adam":
            steps = [torch.tensor(float(self.step)) for _ in gradients]
            adam(self.parameters, gradients, self.momenta, self.squares, [], steps, **ADAM, **common)
            return
        sgd(
            self.parameters,
            gradients,
            list(self.momenta),
            momentum=self.recipe.momentum,
            nesterov=self.recipe.nesterov,
            dampening=0,
            fused=True,
            **common,
        )

    def check(self, losses: Tensor, begin: int) -> None:
        """Raise DivergedError if a loss, the first being that of step `begin`, is not finite."""
        finite = losses.isfinite()
        if not finite.all():
            step = begin + int(finite.logical_not().nonzero()[0])
            raise DivergedError(
                f"the loss is not finite at step {step + 1} of {len(self.rates)}, "
                f"learning rate {self.rates[step]:.3g}; lower recipe.lr or raise recipe.warmup"
            )

    def state(self) -> dict[str, Any]:
        """Return copies of all that a resumed training needs, flat."""
        state: dict[str, Any] = {"step": self.step, "history": self.history}
        state["generator"] = self.generator.get_state()
        state |= {f"network/{name}": weight for name, weight in networks.state(self.network).items()}
        state |= {f"momentum/{place}": array(momentum) for place, momentum in enumerate(self.momenta)}
        state |= {f"square/{place}": array(square) for place, square in enumerate(self.squares)}
        return state | (self.recorder.state() if self.recorder else {})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.step = state["step"]
        self.history = [(epoch, percent) for epoch, percent in state["history"]]
        self.generator.set_state(torch.tensor(state["generator"]))
        weights = {name: state[f"network/{name}"] for name in self.network.state_dict()}
        networks.restore(self.network, weights)
        for place, momentum in enumerate(self.momenta):
            momentum.copy_(torch.tensor(state[f"momentum/{place}"]))
        for place, square in enumerate(self.squares):
            square.copy_(torch.tensor(state[f"square/{place}"]))
        if self.recorder:
            self.recorder.restore(state)

    def dynamics(self) -> Dynamics | None:
        """Return what was recorded."""
        if self.recorder is None:
            return None
        self.recorder.series.setflags(write=False)  # so that the artefact need not copy it
        series = dict(zip(Dynamics.series, self.recorder.series, strict=True))
        return Dynamics(images=self.total, index=self.index, **series)


def _check(labels: Array, recipe: Recipe, classes: int, device: str) -> None:
    """Raise PrunebenchError unless this can be trained."""
    if len(labels) < 2 or recipe.batch < 2:
        raise PrunebenchError(
            f"cannot train on {len(labels)} image(s) in batches of {recipe.batch}: BatchNorm needs two"
        )
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        raise PrunebenchError(
            f"{wrong.sum()} of {len(labels)} images have a label outside 0..{classes - 1}, such as "
            f"{labels[wrong][0]}; train on those with a label, through `index`"
        )
    if recipe.precision == "bf16" and device == "cpu":
        raise PrunebenchError("precision 'bf16' needs a CUDA device; on a CPU use precision 'fp32'")
