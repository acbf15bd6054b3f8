"""Parts: backbones, labelers, scorers, selectors and draws are frozen values that name what they need.

A part is a frozen, keyword-only dataclass. Its fields are its hyper-parameters. It has one method. The
argument names of that method are its inputs. They come from a fixed vocabulary (`VOCABULARY`), which is
checked when the class is made. An argument with a default is an optional input. Array inputs are
read-only NumPy arrays.

- images: an `Images`: images[index] is a uint8 tensor [b, channels, height, width]
- names: the names of the images, a tuple of n str, or () if the images of the dataset have no names
- fingerprint: the hash of the dataset's content, 64 hex digits
- classes: the names of the classes, a tuple of str
- recipe: the `Recipe` with which networks are trained in this run
- side: the side in pixels of the middle square of an image, which networks see, or None for all of it
- rng: a NumPy Generator. A part that asks for it is run once per repeat
- device: "cpu" or "cuda"
- progress: call progress(done, total) to show how far a long computation is
- checkpoint: `load()` and `save(dict)`, so that a long computation resumes
- known_labels: int [n], the true labels of the annotated images, -1 elsewhere
- embeddings: float32 [n, d], made by the part's `backbone` field
- labels: int [n], from the labeler, -1 = unknown
- dynamics: a `Dynamics`, recorded while a proxy network trained on the labels
- weights: the final `Weights` of that network
- scores: float64 [n], higher = harder
- keep: how many images to keep
- count: how many images to draw
- labeled: bool [n], the images that have a label before a draw, or None if none has. It draws others
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from prunebench.errors import PrunebenchError, choice, require
from prunebench.parts.artefacts import Array

if TYPE_CHECKING:
    from torch import nn

COMMON = (
    "images",
    "names",
    "fingerprint",
    "classes",
    "recipe",
    "side",
    "rng",
    "device",
    "progress",
    "checkpoint",
)
VOCABULARY = {
    "backbone": COMMON,
    "labeler": (*COMMON, "known_labels", "embeddings"),
    "scorer": (*COMMON, "embeddings", "labels", "dynamics", "weights", "known_labels"),
    "selector": (*COMMON, "embeddings", "labels", "dynamics", "weights", "scores", "keep", "known_labels"),
    "draw": (*COMMON, "embeddings", "count", "labeled"),
}
PROXY = "proxy"  # as the name of a backbone: the network trained on the labels
STANDARD_RATIOS = (30, 50, 70, 80, 90)  # percent pruned, as in the papers' tables


class Checkpoint(Protocol):
    """Storage for the state of a long computation: arrays, tensors and JSON values, by flat names."""

    def load(self) -> dict[str, Any] | None:
        """Return the last saved state, or None. Arrays come back as NumPy arrays."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state, atomically."""


Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """How a backbone was trained before it came here.

    images: number of images it was trained on, or None if that is unknown.
    labels: "none", "text", "supervised" or "unknown".
    classes: number of classes of these labels.
    gpu_hours: of the training, or None if nobody reported them.
    source: the training images and the paper or library that describes the training.
    """

    images: int | None
    labels: str
    classes: int
    gpu_hours: float | None
    source: str

    @property
    def summary(self) -> str:
        """What is known of it, in one line."""
        if self.images is None:
            return self.source
        return f"{self.images} images, labels {self.labels}, {self.source}"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The values of one field that a suite tries when it tunes, and how it chooses one of them.

    field: name of the field of the part.
    values: the values to try, one or more.
    at_most: the largest value that makes sense. "ratio" is the share of the images that is pruned, "epochs"
        the number of epochs of the recipe, "" no bound.
    ratios: percentages pruned. Each value is tried at all of them, and the best mean accuracy decides.
    each: with True, every ratio has a search and a value of its own.
    top: with True, a value is tried on the images of the highest scores, whatever the method's selector is.
    """

    field: str
    values: tuple[int | float, ...]
    at_most: str = ""
    ratios: tuple[int, ...] = STANDARD_RATIOS
    each: bool = False
    top: bool = False

    def __post_init__(self) -> None:
        require(len(self.values) > 0, f"grid of {self.field}: values", self.values, "one or more")
        choice(f"grid of {self.field}: at_most", self.at_most, ("ratio", "epochs", ""))
        require(len(self.ratios) > 0, f"grid of {self.field}: ratios", self.ratios, "one or more")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Base of backbones, labelers, scorers, selectors and draws. Bump `version` when the output changes.

    reads_class_names: True if the words of `classes` decide the output, and not their number alone. A
        certification, which hides names, then leaves these.
    data_parallel: True if its networks train by loops of ours (`training.train`, or one that uses
        `prunebench.nn.processes`). Several processes may then call its method at once and train together.
    argument: the field that the spelling NAME:VALUE sets, or None if there is no such spelling.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    kind: ClassVar[str]
    method: ClassVar[str]
    reads_class_names: ClassVar[bool] = False
    data_parallel: ClassVar[bool] = False
    argument: ClassVar[str | None] = None

    def __new__(cls, *_positional: Any, **_fields: Any) -> Self:
        """Check the class before the first value of it is made. Raise TypeError if it is incomplete."""
        check_class(cls)
        return super().__new__(cls)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        inherited: set[str] = set()
        for base in cls.__mro__[1:]:
            if is_dataclass(base):
                inherited.update(_field_names(base))
        # A dataclass takes a name for a field only if it has a type.
        untyped = sorted((inherited & set(vars(cls))) - set(inspect.get_annotations(cls)))
        if untyped:
            raise TypeError(
                f"{cls.__name__} sets the field {untyped[0]!r} without a type, so the inherited default "
                f"would win; write `{untyped[0]}: TYPE = {vars(cls)[untyped[0]]!r}`"
            )
        if cls.method in vars(cls):
            allowed = VOCABULARY[cls.kind]
            not_allowed = [name for name in _arguments(cls) if name not in allowed]
            if not_allowed:
                raise TypeError(
                    f"{cls.__name__}.{cls.method}() asks for {not_allowed}; "
                    f"a {cls.kind} may ask for {sorted(allowed)}"
                )

    def needs(self) -> dict[str, bool]:
        """Return the inputs of this part by name: True if the input is required, False if optional.

        A part that passes inputs on to a part it holds takes them as `**inputs`, and adds them here.
        """
        return {name: entry.default is entry.empty for name, entry in _arguments(type(self)).items()}

    def ready(self) -> None:
        """Raise PrunebenchError if a file that this part reads is missing. Called before a run."""

    @property
    def written(self) -> str:
        """Its name as one writes it: NAME, or NAME:VALUE with its `argument`."""
        value = self.argument and getattr(self, self.argument)
        return f"{self.name}:{value}" if value else self.name


def _field_names(cls: type) -> list[str]:
    return [entry.name for entry in fields(cls)]


def _arguments(cls: type[Part]) -> Mapping[str, inspect.Parameter]:
    return _arguments_of(getattr(cls, cls.method))


@cache  # graphs of thousands of cells ask for those of every part
def _arguments_of(method: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    arguments = dict(inspect.signature(method).parameters)
    arguments.pop("self", None)
    return {name: entry for name, entry in arguments.items() if entry.kind is not entry.VAR_KEYWORD}


def check_class(cls: type[Part]) -> None:
    """Raise TypeError unless `cls` is a complete part: a dataclass of its own, with name and method."""
    class_name = f"{cls.__module__}.{cls.__qualname__}"
    if "__dataclass_params__" not in vars(cls):
        raise TypeError(f"{class_name} needs its own @dataclass(frozen=True, kw_only=True)")
    if not isinstance(getattr(cls, "name", None), str):
        raise TypeError(f'{class_name} needs a name: name = "..."')
    if not callable(getattr(cls, cls.method, None)):
        raise TypeError(f"{class_name} needs a method {cls.method}(self, ...)")
    if "embeddings" in _arguments(cls) and "backbone" not in _field_names(cls):
        raise TypeError(f"{class_name} asks for embeddings, so it needs a field `backbone`")


@dataclass(frozen=True, kw_only=True)
class Backbone(Part):
    """Turns images into embeddings: `embed(...)` returns float [n, d].

    pretraining: how it was trained elsewhere, or None if it was not.
    """

    kind: ClassVar[str] = "backbone"
    method: ClassVar[str] = "embed"
    pretraining: ClassVar[Pretraining | None] = None

    @property
    def frozen(self) -> bool:
        """True if an embedding depends on its image alone. Only then may final networks read it."""
        return False

    def pinned(self) -> Self:
        """Return this backbone with the file of its weights named, so that its identity has their content.

        It is returned as it is if the file is absent, or if there is none.
        """
        return self

    def trainable(self, channels: int) -> nn.Module:
        """Return the pretrained network, all of whose weights are trained below a new last layer.

        It maps pixels in 0..255, float [b, channels, r, r], to features, float [b, d], and prepares the
        pixels itself.

        channels: of the images.

        Raise PrunebenchError if there is no such network, its weights are absent or do not fit, or it cannot
        see so many channels.
        """
        raise PrunebenchError(
            f"backbone {self.name!r} has no weights to fine-tune; name a pretrained one. "
            "See: prunebench list backbones"
        )


Backbones = str | Backbone | tuple[str | Backbone, ...]


def reader(part: Part) -> Part:
    """Return the part that reads the embeddings: `part`, or the part inside it that it passes them on to."""
    if hasattr(part, "backbone"):
        return part
    for entry in fields(part):
        inner = getattr(part, entry.name)
        if isinstance(inner, Part) and "embeddings" in inner.needs():
            return reader(inner)
    return part


def reads_proxy(part: Part) -> bool:
    """Whether `part` asks for the embeddings of the network trained on the method's labels."""
    if "embeddings" not in part.needs():
        return False
    backbone = getattr(reader(part), "backbone", None)
    backbones = backbone if isinstance(backbone, tuple) else (backbone,)
    return PROXY in backbones


@dataclass(frozen=True, kw_only=True)
class Labeler(Part):
    """Gives each training image a label: `label(...)` returns int [n] or `PseudoLabels`.

    The core alone records which images are annotated. A labeler that returns `Labels`, with a record of
    its own, is refused.

    label_fraction: the label budget, as a share of the true labels in 0..1. The labeler gets them as
        `known_labels`.
    sampling: how the annotated images are drawn: "uniform", "class_balanced" or "stratified". The last two
        read every label to draw. "given" takes the images that `annotated_images` returns.
    makes_pseudo_labels: True if it labels images that are not annotated. The core then measures the quality
        of these labels, and shows it in every row.
    """

    kind: ClassVar[str] = "labeler"
    method: ClassVar[str] = "label"
    makes_pseudo_labels: ClassVar[bool] = True
    label_fraction: float = 0.0
    sampling: str = "uniform"

    def __post_init__(self) -> None:
        require(0 <= self.label_fraction <= 1, f"{self.name}.label_fraction", self.label_fraction, "in 0..1")

    def annotated_images(self, images: int, names: tuple[str, ...]) -> Array:
        """Return the images that were annotated elsewhere, int [b]. Called if `sampling` is "given".

        images: n.
        names: of the images, n of them, or () if they have none.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Scorer(Part):
    """Gives each training image one number, higher = harder: `score(...)` returns float [n].

    A scorer of `dynamics` may return one number per image in `dynamics.index`. The other images, which the
    network never saw, then get the mean of these numbers.

    grids: the fields that tuning searches, in this order.
    """

    kind: ClassVar[str] = "scorer"
    method: ClassVar[str] = "score"
    grids: ClassVar[tuple[Grid, ...]] = ()


@dataclass(frozen=True, kw_only=True)
class Selector(Part):
    """Turns scores into a subset: `select(...)` returns exactly `keep` unique indices, in any order.

    grids: the fields that tuning searches, in this order, after those of the scorer.
    keeps_annotated: True if it keeps all annotated images, so that no `include` has to.
    per_class: with True, `keep` is shared between the labels by largest remainder. `select` is then called
        once for each label, with every input sliced to its images.
    """

    kind: ClassVar[str] = "selector"
    method: ClassVar[str] = "select"
    grids: ClassVar[tuple[Grid, ...]] = ()
    keeps_annotated: ClassVar[bool] = False
    per_class: bool = False

    def at(self, ratio: int) -> Self:
        """Return this selector with the fields filled in that depend on the ratio, in percent pruned."""
        return self


@dataclass(frozen=True, kw_only=True)
class Draw(Part):
    """Says which images to label first, before any label is known: `draw(...)` returns `count` indices.

    They are unique, and in the order in which to label, because a person may stop at any of them.
    """

    kind: ClassVar[str] = "draw"
    method: ClassVar[str] = "draw"
