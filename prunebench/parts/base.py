"""Parts: backbones, labelers, scorers and selectors are frozen values that name what they need.

A part is a frozen, keyword-only dataclass. Its fields are its hyper-parameters; the argument names of
its one method are its inputs, taken from a fixed vocabulary (`VOCABULARY`) and checked when the class
is made. An argument with a default is optional. Arrays handed to a part are read-only NumPy arrays.

images      an `Images`: images[index] is a uint8 tensor [b, channels, height, width]
names       the names of the images, a tuple of n str, or () for a dataset whose images have none
fingerprint the hash of the dataset's content, 64 hex digits
classes     the names of the classes, a tuple of str
recipe      the `Recipe` with which networks are trained in this run
side        the side of the middle square that networks see of an image, in pixels; None = all of it
rng         a NumPy Generator; a part that asks for it is made once per repeat
device      "cpu" or "cuda"
progress    call progress(done, total) to show how far a long computation is
checkpoint  `load()` and `save(dict)`, so that a long computation resumes
known       int [n], the true labels that were paid for, -1 elsewhere
embeddings  float32 [n, d], of the part's `backbone` field
labels      int [n], what the labeler said, -1 = unknown
dynamics    a `Dynamics`, recorded while a proxy network trained on the labels
weights     the `Weights` of that network in the end
scores      float64 [n], higher = harder
keep        how many images to keep
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, Protocol, Self

from prunebench.errors import require
from prunebench.parts.artefacts import Array

COMMON = (
    *("images", "names", "fingerprint", "classes", "recipe", "side"),
    *("rng", "device", "progress", "checkpoint"),
)
VOCABULARY = {
    "backbone": COMMON,
    "labeler": (*COMMON, "known", "embeddings"),
    "scorer": (*COMMON, "embeddings", "labels", "dynamics", "weights", "known"),
    "selector": (*COMMON, "embeddings", "labels", "dynamics", "weights", "scores", "keep", "known"),
}
PROXY = "proxy"  # the backbone name that means: the network trained on the labels
STANDARD_RATIOS = (30, 50, 70, 80, 90)  # percent pruned, of the papers' tables


class Checkpoint(Protocol):
    """Where a long computation leaves its state: arrays, tensors and JSON values, by flat names."""

    def load(self) -> dict[str, Any] | None:
        """Return the last saved state, or None. Arrays come back as NumPy arrays."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state, atomically."""


Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """What a backbone saw before: how many images, which labels, how many classes and GPU-hours.

    labels is "none", "text" or "supervised". gpu_hours is None where nobody reported it.
    """

    images: int
    labels: str
    classes: int
    gpu_hours: float | None
    source: str


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The values of one field that are tried where a suite tunes, and how one of them is chosen.

    at_most: "ratio" for a share of the images that cannot exceed the share pruned, "epochs" for a number
    of epochs that the recipe has to have, "" for no such bound. Each value is tried at all `ratios`, and
    the best mean accuracy decides for every ratio; with `each`, every ratio has a search and a value of
    its own. top: try with the images of the highest scores, whatever the method's selector is.
    """

    field: str
    values: tuple[int | float, ...]
    at_most: str = ""
    ratios: tuple[int, ...] = STANDARD_RATIOS
    each: bool = False
    top: bool = False

    def __post_init__(self) -> None:
        require(len(self.values) > 0, f"grid of {self.field}: values", self.values, "one or more")
        known = self.at_most in ("", "ratio", "epochs")
        require(known, f"grid of {self.field}: at_most", self.at_most, "'ratio', 'epochs' or ''")
        require(len(self.ratios) > 0, f"grid of {self.field}: ratios", self.ratios, "one or more")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Base of backbones, labelers, scorers and selectors. Bump `version` when the output changes."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    kind: ClassVar[str]
    method: ClassVar[str]

    def __new__(cls, *_positional: Any, **_fields: Any) -> Self:
        """Refuse an incomplete class before there is a value of it."""
        check_class(cls)
        return super().__new__(cls)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        inherited = {name for base in cls.__mro__[1:] if is_dataclass(base) for name in _field_names(base)}
        untyped = sorted((inherited & set(vars(cls))) - set(inspect.get_annotations(cls)))
        if untyped:
            raise TypeError(
                f"{cls.__name__} sets the field {untyped[0]!r} without a type, so the inherited default "
                f"would win; write `{untyped[0]}: TYPE = {vars(cls)[untyped[0]]!r}`"
            )
        if cls.method in vars(cls):
            allowed = VOCABULARY[cls.kind]
            wrong = [name for name in _arguments(cls) if name not in allowed]
            if wrong:
                raise TypeError(
                    f"{cls.__name__}.{cls.method}() asks for {wrong}; "
                    f"a {cls.kind} may ask for {sorted(allowed)}"
                )

    def needs(self) -> dict[str, bool]:
        """Return the inputs this part names, each with whether it is required.

        A part that hands inputs on to a part it holds takes them as `**inputs`, and adds them here.
        """
        return {name: entry.default is entry.empty for name, entry in _arguments(type(self)).items()}

    def ready(self) -> None:
        """Raise PrunebenchError where a file this part reads is not on this machine: asked before a run."""


def _field_names(cls: type) -> list[str]:
    return [entry.name for entry in fields(cls)]


def _arguments(cls: type[Part]) -> dict[str, inspect.Parameter]:
    arguments = dict(inspect.signature(getattr(cls, cls.method)).parameters)
    arguments.pop("self", None)
    return {name: entry for name, entry in arguments.items() if entry.kind is not entry.VAR_KEYWORD}


def check_class(cls: type[Part]) -> None:
    """Raise TypeError unless `cls` is a complete part: a dataclass of its own, with name and method."""
    where = f"{cls.__module__}.{cls.__qualname__}"
    if "__dataclass_params__" not in vars(cls):
        raise TypeError(f"{where} needs its own @dataclass(frozen=True, kw_only=True)")
    if not isinstance(getattr(cls, "name", None), str):
        raise TypeError(f'{where} needs a name: name = "..."')
    if not callable(getattr(cls, cls.method, None)):
        raise TypeError(f"{where} needs a method {cls.method}(self, ...)")
    if "embeddings" in _arguments(cls) and "backbone" not in _field_names(cls):
        raise TypeError(f"{where} asks for embeddings, so it needs a field `backbone`")


@dataclass(frozen=True, kw_only=True)
class Backbone(Part):
    """Turns images into embeddings: `embed(...)` returns float [n, d]."""

    kind: ClassVar[str] = "backbone"
    method: ClassVar[str] = "embed"
    pretraining: ClassVar[Pretraining | None] = None


Backbones = str | Backbone | tuple[str | Backbone, ...]


def reader(part: Part) -> Part:
    """Return the part that reads the embeddings: this one, or the one it holds and hands them on to."""
    if hasattr(part, "backbone"):
        return part
    held = (getattr(part, entry.name) for entry in fields(part))
    readers = (inner for inner in held if isinstance(inner, Part) and "embeddings" in inner.needs())
    return next(map(reader, readers), part)


def reads_proxy(part: Part) -> bool:
    """Whether `part` asks for the embeddings of the network trained on the method's labels."""
    backbone = getattr(reader(part), "backbone", None)
    return "embeddings" in part.needs() and PROXY in (
        backbone if isinstance(backbone, tuple) else (backbone,)
    )


@dataclass(frozen=True, kw_only=True)
class Labeler(Part):
    """Gives each training image a label: `label(...)` returns int [n] or `PseudoLabels`.

    Which labels were bought is for the core to say: a labeler that returns `Labels`, which tell, is refused.

    annotation: the share of the true labels it buys, in 0..1, handed to it as `known`.
    sampling: how the bought labels are drawn: "uniform", or "class_balanced" or "stratified", which
    read every label to draw, or "given", where `bought` says which they are. guesses: whether it labels
    images that it did not pay for; how well is then measured, from outside, and shown in every row.
    """

    kind: ClassVar[str] = "labeler"
    method: ClassVar[str] = "label"
    guesses: ClassVar[bool] = True
    annotation: float = 0.0
    sampling: str = "uniform"

    def __post_init__(self) -> None:
        require(0 <= self.annotation <= 1, f"{self.name}.annotation", self.annotation, "in 0..1")

    def bought(self, images: int, names: tuple[str, ...]) -> Array:
        """Return which of the images had their label bought elsewhere, int [b]: asked where "given"."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Scorer(Part):
    """Gives each training image one number, higher = harder: `score(...)` returns float [n].

    A scorer of `dynamics` may return one number per image in `dynamics.index`; the images outside,
    of which nothing was seen, then get the mean of those inside. grids: what tuning tries, in this order.
    """

    kind: ClassVar[str] = "scorer"
    method: ClassVar[str] = "score"
    grids: ClassVar[tuple[Grid, ...]] = ()


@dataclass(frozen=True, kw_only=True)
class Selector(Part):
    """Turns scores into a subset: `select(...)` returns exactly `keep` unique indices, in any order.

    per_class: `keep` is shared between the labels by largest remainder, and `select` called once for
    each, with every input sliced to it. grids: what tuning tries, in this order, after the scorer's.
    """

    kind: ClassVar[str] = "selector"
    method: ClassVar[str] = "select"
    grids: ClassVar[tuple[Grid, ...]] = ()
    per_class: bool = False

    def at(self, ratio: int) -> Self:
        """Return this selector with the fields that depend on the ratio filled in."""
        return self
