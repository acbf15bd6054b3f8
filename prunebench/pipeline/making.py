"""How each stage is made: from stored artefacts to one new artefact, in this process, on one device.

Truth is read here alone: for the label draw, for the quality of labels and for the accuracy.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts import registry, seeds
from prunebench.parts.artefacts import (
    Accuracy,
    Array,
    Artefact,
    Choice,
    Dynamics,
    Embeddings,
    Labels,
    Quality,
    Scores,
    Subset,
    Validation,
)
from prunebench.parts.base import Labeler, Part, Progress, Selector
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import construct, identity
from prunebench.parts.images import Handed, Images, Vectors, checksums, sliced
from prunebench.parts.recipe import Recipe
from prunebench.parts.sampling import apportion, draw_labels, kept, share
from prunebench.pipeline.stages import Job
from prunebench.pipeline.store import Store
from prunebench.suites.tuning import settled
from prunebench.system.isolation import at_work, warn

if TYPE_CHECKING:
    from prunebench.nn.networks import Network
    from prunebench.nn.training import Trained

ARTEFACTS: dict[str, type[Artefact]] = {
    "known": Labels,
    "embeddings": Embeddings,
    "labels": Labels,
    "quality": Quality,
    "dynamics": Dynamics,
    "scores": Scores,
    "candidate": Subset,
    "choice": Choice,
    "subset": Subset,
    "beside": Subset,
    "accuracy": Accuracy,
}


@cache
def load_split(dataset: Dataset, data: Path, split: str) -> tuple[Images, Array]:
    """Load one split, once per process: the images, and the true labels, int64 [n]."""
    array, labels = dataset.load(data, split)
    labels = np.ascontiguousarray(labels, dtype=np.int64)
    if len(array) != len(labels):
        raise PrunebenchError(f"dataset {dataset.name} {split}: {len(array)} images but {len(labels)} labels")
    labels.setflags(write=False)
    return Images(array, mean=dataset.mean, std=dataset.std), labels


class Bench:
    """Everything one stage may reach for: its inputs, the training images, and what parts may name."""

    def __init__(self, job: Job, store: Store, progress: Progress) -> None:
        self.job, self.store, self.progress = job, store, progress
        self.data = Path(job.data).absolute()  # wherever a part goes
        self.micro_batch: int | None = None  # of its training, where memory lacked

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset of this stage."""
        return registry.load().dataset(self.job.dataset)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.dataset.classes

    @property
    def images(self) -> Images:
        """The training images."""
        return load_split(self.dataset, self.data, "train")[0]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the training images, or () where they have none."""
        names = self.dataset.names(self.data)
        if names and len(names) != len(self.images):
            raise PrunebenchError(
                f"dataset {self.dataset.name}: {len(self.images)} images but {len(names)} names"
            )
        return names

    @property
    def truth(self) -> Array:
        """The true training labels, for the label draw, the quality and the final training alone."""
        return load_split(self.dataset, self.data, "train")[1]

    @cached_property
    def part(self) -> Part:
        """The part this stage runs. Raise PrunebenchError where it is not the one its key was made from."""
        part = registry.load().rebuild(self.job.identity["part"])
        if identity(part) != self.job.identity["part"]:
            raise PrunebenchError(f"the code of {part.name!r} changed during the run; run the command again")
        for field, names in self.job.identity.get("tuned", {}).items():
            part = settled(part, field, names, self.input(f"choice/{field}").value)
        return part

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe this stage trains with."""
        return construct(Recipe, self.job.identity["recipe"], "recipe")

    @cached_property
    def rng(self) -> np.random.Generator:
        """The stage's own random stream."""
        _root, stream, repeat = self.job.identity["seed"]
        return seeds.stream(stream, repeat)

    def input(self, name: str) -> Any:
        """Read an input of this stage from the store."""
        return self.store.read(self.job.inputs[name], ARTEFACTS[name.partition("/")[0]])

    def embeddings(self) -> Array:
        """Return the part's embeddings: those of its backbones, concatenated in order."""
        names = sorted((n for n in self.job.inputs if n.startswith("embeddings/")), key=lambda n: int(n[11:]))
        joined = np.concatenate([self.input(name).values for name in names], axis=1)
        joined.setflags(write=False)
        return joined

    def arguments(self, **more: Any) -> dict[str, Any]:
        """Return what the part's method asks for, by name."""
        makers: dict[str, Callable[[], Any]] = {
            "images": lambda: Handed(self.images),
            "names": lambda: self.names,
            "fingerprint": lambda: self.job.root,
            "classes": lambda: self.classes,
            "recipe": lambda: self.recipe,
            "side": lambda: self.job.identity.get("side"),
            "rng": lambda: self.rng,
            "device": lambda: self.job.device,
            "progress": lambda: self.progress,
            "checkpoint": lambda: self.store.checkpoint(self.job.key),
            "embeddings": self.embeddings,
            "known": lambda: self.input("known").values,
            "labels": lambda: self.input("labels").values,
            "dynamics": lambda: self.input("dynamics"),
            "scores": lambda: self.input("scores").values,
        }
        artefact_names = {name.partition("/")[0] for name in self.job.inputs}
        arguments = {}
        for name, required in self.part.needs().items():
            if name in more:
                arguments[name] = more[name]
            elif required or name not in ("known", "labels", "dynamics", "scores") or name in artefact_names:
                arguments[name] = makers[name]()
        return arguments

    @cached_property
    def who(self) -> str:
        """The part this stage runs, with its distribution."""
        return registry.load().described(self.part.kind, self.part.name)

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Call the part's one method. Raise PrunebenchError where it changed what it was handed.

        Arrays are read-only, but memory that torch shares with NumPy knows nothing of that.
        """
        before = checksums(arguments)
        try:
            with at_work(self.who):
                return getattr(self.part, self.part.method)(**arguments)
        finally:
            after = checksums(arguments)
            if getattr(arguments.get("images"), "altered", False):
                warn(f"{self.who} writes to the images it is handed; they are copies, so nobody else sees it")
            if changed := [name for name in before if after[name] != before[name]]:
                load_split.cache_clear()  # so that the next stage reads them anew
                raise self.bug(f"changed its input {changed[0]}, which is shared; change a copy")

    def bug(self, what: str) -> PrunebenchError:
        """Return the error for a part that broke its contract."""
        return PrunebenchError(
            f"{self.who} {what} ({self.dataset.name}). This is a bug in {type(self.part).__module__}."
        )


def make_known(bench: Bench) -> Labels:
    """Draw the labels that are paid for, or take those bought elsewhere; all others are -1."""
    what, truth = bench.job.identity, bench.truth
    rng = bench.rng if "seed" in what else np.random.default_rng(0)
    if what["annotation"] and (truth < 0).any():  # a user's photos: there are no labels but those bought
        index = np.flatnonzero(truth >= 0)
    elif what["annotation"] in (0, 1):
        index = np.arange(len(truth) if what["annotation"] else 0)
    elif "part" in what:
        assert isinstance(bench.part, Labeler)
        with at_work(bench.who):
            index = np.asarray(bench.part.bought(len(truth), bench.names))
        if not np.isin(index, np.arange(len(truth))).all() or len(np.unique(index)) != index.size:
            raise bench.bug(f"says it bought something else than unique indices in 0..{len(truth) - 1}")
    else:
        index = draw_labels(truth, what["annotation"], what["sampling"], rng)
    values = np.full(len(truth), -1)
    values[index] = truth[index]
    return Labels(values=values, paid=values >= 0)


def make_embeddings(bench: Bench) -> Embeddings:
    """Run a backbone over the training images; without a part, the proxy network of the dynamics."""
    if "part" in bench.job.identity:
        values = np.asarray(bench.call(bench.arguments()))
        if values.ndim != 2 or len(values) != len(bench.images) or not values.shape[1]:
            raise bench.bug(f"returned embeddings of shape {values.shape}, expected [{len(bench.images)}, d]")
        if not np.isfinite(values).all():
            raise bench.bug("returned embeddings that are not finite")
        return Embeddings(values=values)
    from prunebench.nn import training

    images, recipe = _proxy(bench)
    network = _network(bench, recipe.network, bench.input("dynamics").weights, images, recipe.side)
    return Embeddings(
        values=training.embed(
            network, images, device=bench.job.device, side=recipe.side, progress=bench.progress
        )
    )


def _proxy(bench: Bench) -> tuple[Images, Recipe]:
    """Return what the proxy network sees, and how it trains: on images, or an MLP on embeddings."""
    if bench.recipe.proxy_backbone is None:
        return bench.images, bench.recipe
    return Vectors(bench.embeddings()), bench.recipe.on_vectors()


def make_labels(bench: Bench) -> Labels:
    """Ask the labeler, and check that every label is a class or -1."""
    images, given = len(bench.images), bench.call(bench.arguments())
    values = np.asarray(given.values if isinstance(given, Labels) else given)
    if values.shape != (images,) or values.dtype.kind not in "iu":
        raise bench.bug(f"returned {values.dtype} labels of shape {values.shape}, expected int [{images}]")
    if images and not -1 <= values.min() <= values.max() < len(bench.classes):
        raise bench.bug(f"returned labels outside -1..{len(bench.classes) - 1}")
    if isinstance(given, Labels):
        return given
    # A labeler that does not ask for the bought labels labels nothing with them.
    paid = bench.input("known").paid if "known" in bench.job.inputs else np.zeros(images, np.bool_)
    return Labels(values=values, paid=paid)


def make_quality(bench: Bench) -> Quality:
    """Compare what the labeler said with the truth."""
    from prunebench.pipeline import label_quality

    return label_quality.measure(bench.input("labels"), bench.truth, len(bench.classes))


def make_dynamics(bench: Bench) -> Dynamics:
    """Train the proxy network on the labelled images and keep what it saw."""
    labels = bench.input("labels").values
    index = np.flatnonzero(labels >= 0)
    if not len(index):
        raise PrunebenchError(
            f"no image of {bench.dataset.name} has a label, so no proxy network can train; "
            "choose a labeler with labels, or a scorer that needs no dynamics"
        )
    images, recipe = _proxy(bench)
    trained = _train(bench, images, labels, recipe, index=index, record=True)
    assert trained.dynamics is not None
    return trained.dynamics


def _train(bench: Bench, images: Images, labels: Array, recipe: Recipe, **more: Any) -> Trained:
    """Train a network as every stage does: by its stream, on its device, from its checkpoint."""
    from prunebench.nn import training

    trained = training.train(
        images,
        labels,
        recipe,
        classes=len(bench.classes),
        rng=bench.rng,
        device=bench.job.device,
        progress=bench.progress,
        checkpoint=bench.store.checkpoint(bench.job.key),
        **more,
    )
    bench.micro_batch = trained.micro_batch
    return trained


def make_scores(bench: Bench) -> Scores:
    """Ask the scorer; images its dynamics never saw get the mean of those they did."""
    arguments = bench.arguments()
    values = np.asarray(bench.call(arguments))
    if values.dtype.kind not in "fiub":
        raise bench.bug("returned scores that are not numbers")
    images = len(bench.images)
    dynamics = arguments.get("dynamics")
    if dynamics is not None and values.shape == dynamics.index.shape and len(values) < images:
        seen, values = values, np.full(images, values.mean())
        values[dynamics.index] = seen
    if values.shape != (images,):
        raise bench.bug(f"returned scores of shape {values.shape}, expected [{images}]")
    if not np.isfinite(values).all():
        raise bench.bug(f"returned {np.count_nonzero(~np.isfinite(values))} scores that are not finite")
    return Scores(values=values)


def make_subset(bench: Bench) -> Subset:
    """Ask the selector, once, or once per class."""
    images = len(bench.images)
    if "beside" in bench.job.inputs:
        bought = bench.input("known").paid.copy()
        bought[bench.input("beside").index] = True
        keep = int(bought.sum())
    else:
        what = bench.job.identity
        keep = what["keep"] if "keep" in what else kept(images, what["ratio"])
    return Subset(images=images, index=np.sort(_chosen(bench, keep)))


def make_candidate(bench: Bench) -> Subset:
    """Ask the selector for a subset of the images that are not held out for the validation."""
    images = len(bench.images)
    pool = np.setdiff1d(np.arange(images), _held_out(bench))
    index = _chosen(bench, kept(len(pool), bench.job.identity["ratio"]), pool)
    return Subset(images=images, index=np.sort(index))


def _held_out(bench: Bench) -> Array:
    """Return the images to validate on: a tenth of each label, paid and guessed; none for an oracle.

    With the paid ones apart, what is left is still as much paid as the whole, so that a selector that
    keeps all paid images still can.
    """
    what, labels = bench.job.identity, bench.input("labels")
    if not what["held_out"]:
        return np.arange(0)
    _root, stream, repeat = what["split"]
    rng, drawn = seeds.stream(stream, repeat), [np.arange(0)]
    for paid in (True, False):
        these = np.flatnonzero((labels.values >= 0) & (labels.paid == paid))
        if len(these):
            # Rounded up among the paid ones: else one too many could be left for who keeps them all.
            count = (
                int(np.ceil(len(these) * what["held_out"] - 1e-9))
                if paid
                else share(len(these), what["held_out"])
            )
            drawn.append(these[draw_labels(labels.values[these], count / len(these), "stratified", rng)])
    held_out = np.sort(np.concatenate(drawn))
    if not len(held_out):
        raise PrunebenchError("no image has a label, so none can be held out for the search")
    return held_out


def make_validation(bench: Bench) -> Validation:
    """Train on a candidate and test it, with the labeler's labels alone, or as an oracle with the truth."""
    candidate, labels, held_out = bench.input("candidate"), bench.input("labels").values, _held_out(bench)
    index = candidate.index
    if bench.job.identity["held_out"]:
        index = index[labels[index] >= 0]
        test = bench.images.take(held_out), labels[held_out]
    else:
        labels = bench.truth
        test = load_split(bench.dataset, bench.data, "test")
    if len(index) < 2:  # the worst that can be said of a value: nothing it keeps can be trained on
        return Validation(accuracy=0.0)
    pool = candidate.images - len(held_out)
    pruned = 100 * (pool - len(candidate)) // pool
    recipe = replace(bench.recipe.at(pruned), evaluate_every=sys.maxsize)  # only the last epoch counts
    trained = _train(bench, bench.images, labels, recipe, index=index, test=test)
    return Validation(accuracy=trained.history[-1][1])


def make_choice(bench: Bench) -> Choice:
    """Take the value with the best mean accuracy over the ratios it was tried at, the first of equals."""
    found: dict[float, list[float]] = {}
    for name, key in bench.job.inputs.items():  # named VALUE/RATIO
        value = json.loads(name.partition("/")[0])
        found.setdefault(value, []).append(bench.store.read(key, Validation).accuracy)
    tried = [[value, float(np.mean(accuracies))] for value, accuracies in found.items()]
    return Choice(value=max(tried, key=lambda pair: pair[1])[0], tried=tried)


def _chosen(bench: Bench, keep: int, pool: Array | None = None) -> Array:
    """Return `keep` images as the selector chooses them from all, or from `pool`: once, or once per class."""
    part = bench.part
    assert isinstance(part, Selector)
    arguments = bench.arguments(keep=keep) | (
        {"labels": bench.input("labels").values} if part.per_class else {}
    )
    if pool is not None:
        arguments = sliced(arguments, pool)
    images = len(bench.images) if pool is None else len(pool)
    if part.per_class:
        labels = arguments["labels"]
        asked = {name: value for name, value in arguments.items() if name in part.needs()}
        index = np.concatenate(list(_per_class(bench, asked, labels, keep)))
    else:
        index = _selected(bench, arguments, images)
    if len(index) != keep or len(np.unique(index)) != keep:
        raise bench.bug(f"returned {len(np.unique(index))} distinct indices, expected {keep}")
    return index if pool is None else pool[index]


def _selected(bench: Bench, arguments: dict[str, Any], images: int) -> Array:
    # A selector without an input of length n has no other way to know how many images there are.
    if not any(
        name in arguments for name in ("images", "scores", "embeddings", "labels", "dynamics", "known")
    ):
        raise PrunebenchError(f"{bench.who} asks for nothing that tells how many images there are")
    index = np.asarray(bench.call(arguments))
    if index.ndim != 1 or (
        len(index)
        and not (np.issubdtype(index.dtype, np.integer) and index.min() >= 0 and index.max() < images)
    ):
        raise bench.bug(f"returned something else than indices in 0..{images - 1}")
    return index


def _per_class(bench: Bench, arguments: dict[str, Any], labels: Array, keep: int) -> Iterator[Array]:
    """Yield the chosen indices of each label, `keep` shared by largest remainder; -1 is a class too."""
    quotas = apportion(keep, np.bincount(labels + 1))
    for label, quota in enumerate(quotas):
        members = np.flatnonzero(labels + 1 == label)
        if len(members):
            own = sliced(arguments, members) | {"keep": int(quota)}
            yield members[_selected(bench, own, len(members))]


def make_accuracy(bench: Bench) -> Accuracy:
    """Test on the clean test split: what was trained on the subset, or the labeler's own network."""
    subset: Subset = bench.input("subset")
    classes = len(bench.classes)
    test = load_split(bench.dataset, bench.data, "test")
    tested = _trained if "recipe" in bench.job.identity else _labelers_own
    predictions, history = tested(bench, subset, test)
    correct = predictions == test[1]
    sizes = np.bincount(test[1], minlength=classes)
    recalls = np.bincount(test[1], weights=correct, minlength=classes)[sizes > 0] / sizes[sizes > 0]
    worst = np.sort(recalls)[: max(1, len(recalls) // 10)]
    accuracy = 100 * float(correct.mean())
    return Accuracy(
        predictions=predictions,
        accuracy=accuracy,
        best_accuracy=max((percent for _, percent in history), default=accuracy),
        balanced_accuracy=100 * float(recalls.mean()),
        worst_decile_recall=100 * float(worst.mean()),
        history=[[epoch, percent] for epoch, percent in history],
        kept_per_class=np.bincount(bench.truth[subset.index], minlength=classes).tolist(),
    )


Tested = tuple[Array, list[tuple[int, float]]]  # predictions on the test split, and its history


def _trained(bench: Bench, subset: Subset, test: tuple[Images, Array]) -> Tested:
    """Train from scratch on the subset, with its true labels or, where they are an input, the labeler's."""
    labels, index = bench.truth, subset.index
    if "labels" in bench.job.inputs:
        labels = _classes(bench, "train on").values
        index = index[labels[index] >= 0]
    pruned = 100 * (subset.images - len(subset)) // subset.images
    trained = _train(bench, bench.images, labels, bench.recipe.at(pruned), index=index, test=test)
    assert trained.predictions is not None
    return trained.predictions, trained.history


def _labelers_own(bench: Bench, _subset: Subset, test: tuple[Images, Array]) -> Tested:
    """Test the network with which the labeler made its labels."""
    from prunebench.nn import training

    given = _classes(bench, "test")
    if given.network is None:
        raise PrunebenchError("the labeler keeps no network of its own, so there is none to test")
    side = bench.job.identity.get("side")
    network = _network(bench, given.network, given.weights, bench.images, side)
    return training.classify(network, test[0], device=bench.job.device, side=side), []


def _classes(bench: Bench, what: str) -> Labels:
    given: Labels = bench.input("labels")
    if given.space != "class":
        raise PrunebenchError(f"cannot {what} the labeler's clusters: nothing says which class is which")
    return given


def _network(bench: Bench, name: str, weights: dict[str, Array], images: Images, side: int | None) -> Network:
    """Return a network that sees `side` pixels (None: all) of images like these, with these weights."""
    from prunebench.nn import networks

    network = networks.build(
        name,
        channels=images.channels,
        classes=len(bench.classes),
        resolution=images.resolution if side is None else side,
        generator_seed=0,
    )
    networks.restore(network, weights)
    return network.to(bench.job.device)


MAKERS: dict[str, Callable[[Bench], Artefact]] = {
    "known": make_known,
    "embeddings": make_embeddings,
    "labels": make_labels,
    "quality": make_quality,
    "dynamics": make_dynamics,
    "scores": make_scores,
    "candidate": make_candidate,
    "validation": make_validation,
    "choice": make_choice,
    "subset": make_subset,
    "accuracy": make_accuracy,
}
