"""Supervised training, of proxy and final networks alike: on whole batches, without a data loader.

By default SGD with a cosine learning rate per iteration (SemiPrune, A.1). A CPU resumes bit for bit as if
undisturbed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from prunebench.errors import PrunebenchError
from prunebench.nn import loop, networks, processes
from prunebench.nn.ahead import EpochReader, ReadAhead
from prunebench.nn.augment import augment, center, normalize
from prunebench.nn.networks import Network
from prunebench.nn.optimizers import Adam, Sgd
from prunebench.nn.recorder import Recorder
from prunebench.nn.replay import WARM, Steps
from prunebench.parts import work
from prunebench.parts.artefacts import Array, Dynamics
from prunebench.parts.base import Checkpoint, Progress
from prunebench.parts.images import Images
from prunebench.parts.precision import arithmetic, autocast, check_precision
from prunebench.parts.recipe import Recipe
from prunebench.parts.seeds import torch_generator

Tensor = torch.Tensor
Body = Callable[[], torch.nn.Module]  # makes a network with its weights
PROBE_STEPS = 100
PROBE_SECONDS = 1.0
HALVINGS = 3  # of the images that a step sees at once, before lack of memory is an error
_shared: ContextVar[bool] = ContextVar("memory of the device is shared", default=False)


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
    body: Body | None = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train a network on the images of `index` (all, if None) with their labels.

    Every image is seen once per epoch, in batches of `recipe.batch`, in an order drawn anew each epoch. One
    image left over joins the batch before it.

    labels: int [n], in 0..classes-1 wherever trained on.
    test: images and true labels, looked at as often as the recipe says, and at the end.
    record: also return the dynamics of all complete epochs.
    body: makes a network that is trained on below a new last layer, as `networks.on_pretrained` takes
        it. None: the recipe's network is trained from scratch.
    progress: called after every step.

    Images that take more than half of the device's free memory are read ahead, batch by batch.

    Where the device runs out of memory, training starts again with the images left on the host. Then it
    starts again with half of the images of a step at a time, up to three times. The gradients add up to those
    of the batch, but BatchNorm knows only its share. Within `memory_shared` that would depend on what others
    hold, so it raises torch.OutOfMemoryError instead. So do processes that train together, as memory may lack
    in one of them alone.

    Raise PrunebenchError for what cannot be trained or does not fit.
    Raise DivergedError for a loss that is not finite. A CPU raises it at that step. Other devices raise it
    after the epoch, so that no step waits for the device.
    """
    index = np.arange(len(images)) if index is None else np.sort(index)
    beginning = rng.bit_generator.state
    sizes = [-(-recipe.batch // 2**halvings) for halvings in range(HALVINGS + 1)]
    sizes = [size for size in sizes if size >= 2] or [recipe.batch]
    shared = _shared.get()
    if shared:
        sizes = sizes[:1]
    attempts = [(size, device != "cpu") for size in sizes]
    if device != "cpu":
        attempts.insert(0, (recipe.batch, False))

    def trained(size: int, on_host: bool) -> Trained:
        rng.bit_generator.state = beginning
        seen = images.to(device)
        run = _Run(seen, labels, index, recipe, classes=classes, rng=rng, record=record, body=body)
        run.micro_batch = size
        run.reader.reads_ahead |= on_host
        run.test = (test[0].to(device), test[1]) if test else None
        loop.run(run, progress, checkpoint)
        return run.trained()

    if not processes.alone():
        return trained(recipe.batch, False)
    for size, on_host in attempts:
        try:
            return trained(size, on_host)
        except torch.OutOfMemoryError:
            pass  # and leave, so that nothing refers to what was held any more
        if device != "cpu":
            torch.cuda.empty_cache()
    if shared:
        raise torch.OutOfMemoryError(f"out of memory on {device}, beside other stages")
    raise PrunebenchError(
        f"out of memory on {device}, even with {size} of the {recipe.batch} images of a step at a time; "
        "free the device, lower recipe.side, or choose a smaller network or --device cpu"
    )


@contextmanager
def memory_shared() -> Iterator[None]:
    """Say that other processes use the memory of the device too, so that lack of it may be their doing."""
    token = _shared.set(True)
    try:
        yield
    finally:
        _shared.reset(token)


def batch_bounds(images: int, batch: int) -> list[int]:
    """Return where the batches of an epoch begin, and its end; the last holds 2 to batch + 1 images.

    A batch of one would have no variance for BatchNorm. There is one only where there is one image.
    """
    return [*range(0, max(1, images - 1), batch), images]


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
    precision: str = "fp32",
) -> Array:
    """Return the penultimate features in eval mode, of the middle `side` pixels: float32 [n, d]."""
    features = _map(network.features, network, images.to(device), side, batch, progress, precision)
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
    outputs = _map(network, network, images.to(device), side, batch, progress)
    return outputs.softmax(1).cpu().numpy()


def classify(
    network: Network, images: Images, *, device: str, side: int | None = None, precision: str = "fp32"
) -> Array:
    """Return the most probable class in eval mode, of the middle `side` pixels: int64 [n]."""
    outputs = _map(network, network, images.to(device), side, 512, None, precision)
    return outputs.argmax(1).cpu().numpy()


def logits(
    network: Network, images: Images, *, device: str, side: int | None = None, precision: str = "fp32"
) -> Array:
    """Return the logits in eval mode, of the middle `side` pixels: float32 [n, classes].

    They are those that `classify` compares.
    """
    return _map(network, network, images.to(device), side, 512, None, precision).cpu().numpy()


@torch.inference_mode()
def _map(
    function: Callable[[Tensor], Tensor],
    network: Network,
    images: Images,
    side: int | None,
    batch: int,
    progress: Progress | None,
    precision: str = "fp32",
) -> Tensor:
    """Return the `function` of all images, float32 on their device, with the network in eval mode.

    precision: of the function. What it sees is computed in IEEE float32.
    """
    network.eval()
    outputs = []
    done = 0
    with work.looking(len(images)), arithmetic(precision):
        for pixels in _in_order(images, batch):
            seen = normalize(center(pixels, side), images.mean, images.std)
            with autocast(precision, images.device):
                outputs.append(function(seen).float())
            done += len(pixels)
            if progress:
                work.see(len(pixels))
                progress(done, len(images))
    return torch.cat(outputs)


def _in_order(images: Images, batch: int) -> Iterator[Tensor]:
    """Yield all images on their device, in batches, in order. Those that do not fit are read ahead."""
    starts = range(0, len(images), batch)
    if images.resident or images.fits:
        yield from (images[start : start + batch] for start in starts)
    else:
        yield from ReadAhead(images, [np.arange(len(images))[start : start + batch] for start in starts])


def seconds_per_step(
    recipe: Recipe,
    *,
    channels: int,
    resolution: int,
    classes: int,
    device: str,
    body: Body | None = None,
) -> float:
    """Return how many seconds a training step takes, measured on noise for about a second.

    body: as in `train`.

    The first step does not count, as kernels are chosen in it. Where steps are recorded, only those that
    follow the recording count.
    """
    count = 2 * recipe.batch
    rng = np.random.default_rng(0)
    noise = rng.integers(256, size=(count, channels, resolution, resolution), dtype=np.uint8)
    gray = (0.5,) * channels
    images = Images(noise, mean=gray, std=gray, device=device)
    labels = rng.integers(classes, size=count)
    short = replace(recipe, iterations=PROBE_STEPS)
    run = _Run(images, labels, np.arange(count), short, classes=classes, rng=rng, record=False, body=body)
    order = torch.arange(recipe.batch, device=device)
    warm = 1 + WARM if run.made.recordable else 1
    with arithmetic(recipe.precision):
        for _ in range(warm):
            float(run.learn(order))  # waits for the device
        begin = time.perf_counter()
        while run.step < run.steps and time.perf_counter() - begin < PROBE_SECONDS:
            float(run.learn(order))
    return (time.perf_counter() - begin) / (run.step - warm)


class _Run(loop.Loop):
    """A supervised training under way, and what it has recorded."""

    remedy = "lower recipe.lr or raise recipe.warmup"

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
        body: Body | None = None,
    ) -> None:
        _check(labels[index], recipe, classes, images.device)
        self.recipe, self.device = recipe, images.device
        self.precision = recipe.precision
        # What a device holds are the images that it trains on, and no others.
        self.images = images if self.device == "cpu" else images.take(index)
        self.total, self.index = len(images), index
        places = index if self.images is images else np.arange(len(index))
        self.places = torch.tensor(places, device=self.device)
        self.labels = torch.tensor(labels[index], dtype=torch.int64, device=self.device)
        self.bounds = list(pairwise(batch_bounds(len(index), recipe.batch)))
        self.per_epoch = len(self.bounds)
        self.steps = recipe.iterations or recipe.epochs * self.per_epoch
        self.rates: list[float] = learning_rates(recipe, self.steps).tolist()
        self.micro_batch = recipe.batch
        self.test: tuple[Images, Array] | None = None  # on the device
        self.predictions: Array | None = None
        self.history: list[tuple[int, float]] = []
        shape = {"classes": classes, "resolution": recipe.seen(images.resolution)}
        seed = int(rng.integers(2**63))
        if body is None:
            network = networks.build(recipe.network, channels=images.channels, generator_seed=seed, **shape)
        else:
            network = networks.on_pretrained(
                body(), mean=images.mean, std=images.std, generator_seed=seed, **shape
            )
        _check_batches(network, len(index), recipe.batch)
        self.network = network.to(self.device)
        self.network.to(memory_format=torch.channels_last)
        self.generator = torch_generator(rng, self.device)
        self.optimizer = _optimizer(self.network, recipe)
        complete = self.steps // self.per_epoch
        self.recorder = Recorder(complete, len(index), classes, self.device) if record else None
        self.reader = EpochReader(self.images)
        self.made = Steps(self.device, batch=recipe.batch)

    @property
    def epochs(self) -> int:
        """Epochs begun."""
        return -(-self.step // self.per_epoch)

    @property
    def resumable(self) -> bool:
        """Whether an epoch is complete: a state has neither order nor records of one under way."""
        return self.step % self.per_epoch == 0

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.rates[step]

    def images_of(self, steps: int) -> int:
        """Return how many images the first `steps` steps train on."""
        epochs, place = divmod(steps, self.per_epoch)
        return epochs * len(self.index) + (self.bounds[place - 1][1] if place else 0)

    def advance(self) -> Tensor:
        """Make one step on the next images; return the loss before it."""
        place = self.step % self.per_epoch
        if place == 0:
            self.begin_epoch()
        start, stop = self.bounds[place]
        return self.learn(self.order[start:stop])

    def begin_epoch(self) -> None:
        """Draw the order of the images, and say whether BatchNorm still gathers statistics."""
        frozen = self.recipe.statistics_epochs
        self.network.train(frozen is None or self.epochs < frozen)
        if self.epochs == frozen:
            self.made.restart()
        self.order = torch.randperm(len(self.index), generator=self.generator, device=self.device)
        self.reader.restart()

    def epoch_places(self) -> list[Tensor]:
        """Return the places of this process's images of each step of the epoch."""
        places = self.places[self.order]
        return [processes.share(places[start:stop]) for start, stop in self.bounds]

    def end_epoch(self) -> None:
        """Close the records of a complete epoch, and look at the test split where it is time to."""
        if self.recorder and self.step % self.per_epoch == 0:
            self.recorder.close()
        if self.test and self.due():
            images, labels = self.test
            side, precision = self.recipe.side, self.recipe.precision
            self.predictions = classify(
                self.network, images, device=self.device, side=side, precision=precision
            )
            self.history.append((self.epochs, 100 * float((self.predictions == labels).mean())))

    def due(self) -> bool:
        """Whether it is time to look at the test split, at the end of an epoch or of the training."""
        if self.step == self.steps:
            return True
        if self.recipe.evaluate_steps is None:
            return self.epochs % self.recipe.evaluate_every == 0
        begun = self.step - self.per_epoch
        return self.step // self.recipe.evaluate_steps > begun // self.recipe.evaluate_steps

    def learn(self, order: Tensor) -> Tensor:
        """Make one step on the images at these places of the index; return the loss before it."""
        first = self.recorder is not None and self.recorder.epoch == 0  # its steps record less
        resident = self.images.resident and not self.reader.reads_ahead
        loss = self.made.step(self, order, self.rate(self.step), ready=resident and not first)
        self.step += 1
        return loss

    def make(self, order: Tensor, rate: float | Tensor) -> Tensor:
        """Make one step with this learning rate, launching each kernel; return the loss before it."""
        pixels = self.reader.read(processes.share(self.places[order]), self.epoch_places)
        with processes.drawing(len(order)):
            batch = augment(pixels, self.recipe, self.generator)
        for parameter in self.optimizer.parameters:
            parameter.grad = None
        losses = [
            self.collect(order[start:stop], batch[start:stop], (stop - start) / len(order))
            for start, stop in pairwise(batch_bounds(len(order), self.micro_batch))
        ]
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        loss = processes.added(self.optimizer.parameters, loss)
        self.optimizer.step(rate)
        return loss

    def collect(self, order: Tensor, batch: Tensor, share: float) -> Tensor:
        """Add this share of a step to the gradients; return it of the loss.

        order: the places of its images. batch: those of this process, augmented.
        """
        labels = self.labels[order]
        batch = normalize(batch, self.images.mean, self.images.std)
        with autocast(self.recipe.precision, self.device):
            features = self.network.features(batch)
            logits = self.network.head(features)
        mean = functional.cross_entropy(logits.float(), processes.share(labels))
        loss = processes.weighed(mean, len(order)) * share
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recorder:
            logits, features = (processes.whole(one.float(), len(order)) for one in (logits, features))
            self.recorder.note(order, labels, logits, features)
        return loss.detach()

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights, and what the optimizer keeps."""
        return loop.flat(network=self.network.state_dict(), optimizer=self.optimizer.tensors())

    def state(self) -> dict[str, Any]:
        """Return copies of all that a resumed training needs, flat."""
        recorded = self.recorder.state() if self.recorder else {}
        return super().state() | {"history": [*self.history], "micro_batch": self.micro_batch} | recorded

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        super().restore(state)
        self.history = [(epoch, percent) for epoch, percent in state["history"]]
        # What began in halves ends in them, though memory be free again. Older checkpoints do not say.
        self.micro_batch = min(self.micro_batch, state.get("micro_batch", self.micro_batch))
        if self.recorder:
            self.recorder.restore(state)

    def trained(self) -> Trained:
        """Return what the training gave."""
        return Trained(
            network=self.network.eval(),
            history=self.history,
            predictions=self.predictions,
            dynamics=self.dynamics(),
            micro_batch=self.micro_batch if self.micro_batch < self.recipe.batch else None,
        )

    def dynamics(self) -> Dynamics | None:
        """Return what was recorded."""
        if self.recorder is None:
            return None
        self.recorder.series.setflags(write=False)  # so that the artefact need not copy it
        series = dict(zip(Dynamics.series, self.recorder.series, strict=True))
        return Dynamics(images=self.total, index=self.index, **series)


def _optimizer(network: Network, recipe: Recipe) -> Sgd | Adam:
    """Return the optimizer that the recipe names."""
    if recipe.optimizer == "adam":
        return Adam(network.parameters(), weight_decay=recipe.weight_decay)
    return Sgd(
        network.parameters(),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def _check(labels: Array, recipe: Recipe, classes: int, device: str) -> None:
    """Raise PrunebenchError unless this can be trained."""
    if not len(labels):
        raise PrunebenchError("cannot train on no image; prune less, or give more images a label")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        raise PrunebenchError(
            f"{wrong.sum()} of {len(labels)} images have a label outside 0..{classes - 1}, such as "
            f"{labels[wrong][0]}; train on those with a label, through `index`"
        )
    check_precision("recipe.precision", recipe.precision, device)


def _check_batches(network: Network, images: int, batch: int) -> None:
    """Raise PrunebenchError if a network has BatchNorm, and its batches a single image."""
    if min(images, batch) >= 2 or not any(isinstance(layer, _BatchNorm) for layer in network.modules()):
        return
    remedy = "set recipe.batch to 2 or more" if batch < 2 else "prune less, or give more images a label"
    raise PrunebenchError(
        f"cannot train on {images} image(s) in batches of {batch}: BatchNorm needs two; {remedy}, or choose "
        "a network without BatchNorm"
    )
