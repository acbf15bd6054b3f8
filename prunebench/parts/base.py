"""The whole contract a plugin author reads: parts, datasets, recipes and methods are frozen values.

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
scores      float64 [n], higher = harder
keep        how many images to keep
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array
from prunebench.system.isolation import check_not_at_work, isolated

COMMON = (
    *("images", "names", "fingerprint", "classes", "recipe", "side"),
    *("rng", "device", "progress", "checkpoint"),
)
VOCABULARY = {
    "backbone": COMMON,
    "labeler": (*COMMON, "known", "embeddings"),
    "scorer": (*COMMON, "embeddings", "labels", "dynamics", "known"),
    "selector": (*COMMON, "embeddings", "labels", "dynamics", "scores", "keep", "known"),
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
class Recipe:
    """How a network is trained on a dataset: by default SGD, with a cosine learning rate per iteration.

    epochs counts passes over the subset; `iterations`, if set, replaces them by a fixed number of
    steps. `warmup` is the share of all steps in which the learning rate rises linearly; it ends at
    `final_lr`. `shrink_batch` halves the batch from ratio 80 and quarters it from 90 (SemiPrune, A.1).
    `crop` pads that many pixels, by "reflect" or "zero", and crops back at random; `flip` mirrors
    half of the images. `evaluate_every` counts epochs between looks at the test split.
    `proxy_backbone` names a backbone on whose embeddings the proxy network trains, an MLP of one hidden
    layer, instead of on images; the final network never does.
    `side` is that of the square the networks see, in pixels; None = that of the images. Of larger images
    it is the middle, in training a place at random as `crop` or `resized_crop` say. `resized_crop` cuts a
    box at random that covers such a share of the image, from the least to the most, and resizes it to
    `side`, instead of `crop`. `final_iterations` is `iterations` for final networks alone.
    `optimizer` is "sgd", or "adam" with PyTorch's constants, which has no use for `momentum` and `nesterov`.
    From `statistics_epochs` on BatchNorm normalizes by the statistics it has gathered, and gathers no more.
    """

    network: str
    epochs: int
    iterations: int | None = None
    batch: int = 128
    shrink_batch: bool = True
    lr: float = 0.1
    final_lr: float = 1e-4
    warmup: float = 0.0
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    crop: int = 0
    padding: str = "reflect"
    flip: bool = False
    precision: str = "fp32"
    evaluate_every: int = 1
    proxy_backbone: str | None = None
    side: int | None = None
    resized_crop: tuple[float, float] | None = None
    final_iterations: int | None = None
    optimizer: str = "sgd"
    statistics_epochs: int | None = None

    def __post_init__(self) -> None:
        positive = ("epochs", "batch", "lr", "evaluate_every")
        for name in (*positive, "iterations", "side", "final_iterations", "statistics_epochs"):
            value = getattr(self, name)
            above = name not in positive if value is None else value > 0
            require(above, f"recipe.{name}", value, "above 0")
        require(0 <= self.warmup < 1, "recipe.warmup", self.warmup, "in 0..1")
        require(self.crop >= 0, "recipe.crop", self.crop, "0 or more pixels")
        require(self.padding in ("reflect", "zero"), "recipe.padding", self.padding, "'reflect' or 'zero'")
        require(self.precision in ("fp32", "bf16"), "recipe.precision", self.precision, "'fp32' or 'bf16'")
        require(self.optimizer in ("sgd", "adam"), "recipe.optimizer", self.optimizer, "'sgd' or 'adam'")
        if self.resized_crop is not None:
            least, most = self.resized_crop
            expected = "(least, most) share of the area, in 0..1"
            require(0 < least <= most <= 1, "recipe.resized_crop", self.resized_crop, expected)
            require(self.crop == 0, "recipe.crop", self.crop, "0 beside recipe.resized_crop, which crops too")

    def identity(self) -> dict[str, Any]:
        """Return the fields as JSON, those added since protocol 1 only where set: older keys stand."""
        added = dict.fromkeys(("proxy_backbone", "side", "resized_crop", "final_iterations"))
        added |= {"optimizer": "sgd", "statistics_epochs": None}
        values = asdict(self) | {"resized_crop": self.resized_crop and list(self.resized_crop)}
        return {k: v for k, v in values.items() if k not in added or v != added[k]}

    def proxy(self) -> Recipe:
        """Return this recipe without what concerns final networks alone."""
        return replace(self, final_iterations=None)

    def final(self) -> Recipe:
        """Return this recipe as final networks train by it."""
        steps = self.final_iterations or self.iterations
        return replace(self, iterations=steps, final_iterations=None, proxy_backbone=None)

    def on_vectors(self) -> Recipe:
        """Return this recipe for an MLP on embeddings, of which nothing can be cropped or mirrored."""
        return replace(self, network="mlp", crop=0, flip=False, side=None, resized_crop=None)

    def seen(self, resolution: int) -> int:
        """Return the side of what networks see of images of `resolution` pixels.

        Raise PrunebenchError where that is more than there is, and no resized crop makes it up.
        """
        side = resolution if self.side is None else self.side
        if side > resolution and self.resized_crop is None:
            raise PrunebenchError(
                f"recipe.side is {side}, but the images have {resolution} pixels; set recipe.side to "
                f"{resolution} or less, or recipe.resized_crop, which enlarges"
            )
        return side

    def at(self, ratio: int) -> Recipe:
        """Return this recipe with the batch of a run in which `ratio` percent are pruned."""
        divisor = 1 if not self.shrink_batch or ratio < 80 else 2 if ratio < 90 else 4
        return replace(self, batch=max(1, self.batch // divisor), shrink_batch=False)


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
    """Gives each training image a label: `label(...)` returns int [n] or `Labels`.

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


Load = Callable[["Dataset", Path, str], "tuple[Array, Array]"]


def _isolated_load(load: Load) -> Load:
    """Return the `load` of a dataset class so that no setting of its caller reaches the images."""

    @wraps(load)
    def isolated_load(self: Dataset, root: Path, split: str) -> tuple[Array, Array]:
        check_not_at_work(self.name)
        with isolated(f"dataset {self.name!r} of {type(self).__module__}"):
            return load(self, root, split)

    return isolated_load


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images and their splits. A dataset is a value with a name; a view holds the dataset it alters.

    resolution is the side of its square images in pixels; mean and std are per channel, in 0..1.
    Whoever calls `load`, it runs on the settings that stages rest on, and never on behalf of a part.
    """

    version: ClassVar[int] = 1
    name: str

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "load" in vars(cls):
            cls.load = _isolated_load(cls.load)  # type: ignore[method-assign, assignment]

    @property
    def title(self) -> str:
        """What it is, for headings, where the name does not say it or misleads; else the name."""
        return self.name

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; label c is classes[c]."""
        raise NotImplementedError

    @property
    def resolution(self) -> int:
        """Side of the square images, in pixels."""
        raise NotImplementedError

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel, in 0..1."""
        raise NotImplementedError

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel, in 0..1."""
        raise NotImplementedError

    @property
    def lineage(self) -> tuple[str, ...]:
        """The names under which a recipe may list this dataset: its own, then those it derives from."""
        usual = next(entry.default for entry in fields(self) if entry.name == "name")
        return (self.name,) if usual in (MISSING, self.name) else (self.name, str(usual))

    @property
    def recipes(self) -> Mapping[str, Mapping[str, Any]]:
        """Recipe fields by recipe name, used where the recipes file does not list this dataset."""
        return {}

    def files(self, root: Path) -> list[Path]:
        """Return the files this dataset reads. Raise DataAbsentError where they are not there."""
        raise NotImplementedError

    def fetch(self, root: Path) -> None:
        """Download the files to `root`, where that is possible; else raise DataAbsentError."""
        self.files(root)

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return images, uint8 [n, channels, height, width], and labels, int [n], of "train" or "test"."""
        raise NotImplementedError

    def names(self, root: Path) -> tuple[str, ...]:
        """Return the names of the training images, unique and in their order; () where they have none."""
        return ()

    def paths(self, root: Path) -> tuple[Path, ...]:
        """Return the file of each training image, in their order; () where that is not told."""
        return ()


@dataclass(frozen=True, kw_only=True)
class View(Dataset):
    """A dataset made from another by changing its training split; the test split stays as it is."""

    base: Dataset

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes of the base."""
        return self.base.classes

    @property
    def resolution(self) -> int:
        """The resolution of the base."""
        return self.base.resolution

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean of the base."""
        return self.base.mean

    @property
    def std(self) -> tuple[float, ...]:
        """The standard deviation of the base."""
        return self.base.std

    @property
    def lineage(self) -> tuple[str, ...]:
        """The view's own name, then the names of the base."""
        return (self.name, *self.base.lineage)

    @property
    def recipes(self) -> Mapping[str, Mapping[str, Any]]:
        """The recipes of the base."""
        return self.base.recipes

    def files(self, root: Path) -> list[Path]:
        """Return the files of the base."""
        return self.base.files(root)

    def fetch(self, root: Path) -> None:
        """Download the files of the base."""
        self.base.fetch(root)

    def load(self, root: Path, split: str) -> tuple[Array, Array]:
        """Return the split of the base, the training split altered by `alter`."""
        images, labels = self.base.load(root, split)
        return self.alter(images, labels) if split == "train" else (images, labels)

    def alter(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return the training images and labels as this view shows them."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Method:
    """A named labeler + scorer + selector, as it stands in a table.

    A `reference` is shown beside the methods and never ranked; `ratio` pins it to one ratio (full is
    at 0). `beside` makes a Random that keeps as many images as that method bought labels in all.
    `final` says what is tested in the end: a network trained from scratch on the subset with its true
    labels ("truth", what pruning is for) or with those of the labeler ("labels"), or the network with
    which the labeler made them ("labeler").
    """

    name: str = field(kw_only=False)
    title: str
    labeler: Labeler | None = None
    scorer: Scorer | None = None
    selector: Selector
    reference: bool = False
    ratio: int | None = None
    beside: Method | None = None
    final: str = "truth"

    def __post_init__(self) -> None:
        known = self.final in ("truth", "labels", "labeler")
        require(known, f"method {self.name!r}: final", self.final, "'truth', 'labels' or 'labeler'")
        if self.final != "truth" and not self.labeler:
            raise PrunebenchError(f"method {self.name!r}: final {self.final!r} needs a labeler")
        supplied = {*COMMON, "embeddings", "keep"}
        if self.labeler:
            supplied |= {"labels", "dynamics", "known"}
        if self.scorer:
            supplied.add("scores")
        for part in (self.scorer, self.selector):
            for name in () if part is None else (n for n, required in part.needs().items() if required):
                if name not in supplied:
                    maker = "scorer" if name == "scores" else "labeler"
                    raise PrunebenchError(
                        f"method {self.name!r}: {part.name if part else ''} asks for {name}, "
                        f"but the method has no {maker}"
                    )
        for part in (self.scorer, self.selector):
            if part is not None and (rests := _annotation(part)) not in (0, 1):
                raise PrunebenchError(
                    f"method {self.name!r}: {part.name}.annotation is {rests}, expected 0 or 1; "
                    "of a few labels the labeler says which they are"
                )
        for reader in self.parts.values():
            if reads_proxy(reader) and (self.labeler is None or reader is self.labeler):
                raise PrunebenchError(
                    f"method {self.name!r}: {reader.name} asks for the embeddings of the proxy network, "
                    + ("which trains on its labels" if self.labeler else "but the method has no labeler")
                )
        if self.selector.per_class and not self.labeler:
            raise PrunebenchError(
                f"method {self.name!r}: per_class needs labels, but the method has no labeler"
            )

    @property
    def parts(self) -> dict[str, Part]:
        """The method's parts by kind, those it has."""
        parts = {"labeler": self.labeler, "scorer": self.scorer, "selector": self.selector}
        return {kind: part for kind, part in parts.items() if part is not None}

    @property
    def annotation(self) -> float:
        """The share of true labels bought before anything is selected, in 0..1.

        It is the labeler's, or, if larger, that on which the file of a scorer or selector rests.
        """
        rests = [_annotation(part) for part in (self.scorer, self.selector) if part is not None]
        return max(rests) if self.labeler is None else max(self.labeler.annotation, *rests)


def _annotation(part: Part) -> float:
    """Return the `annotation` of a part that has such a field, or of one that it holds, or 0."""
    held = (getattr(part, entry.name) for entry in fields(part))
    own: float = getattr(part, "annotation", 0.0)
    return max([own, *(_annotation(value) for value in held if isinstance(value, Part))])
