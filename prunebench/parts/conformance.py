"""The contract of parts, as checks for any part: `prunebench check NAME`, or `conform(part)` in a test.

A part runs on a small synthetic problem, with exactly the inputs it names. The checks cover the contract
alone. Only a suite shows how good a part is. Datasets have checks of their own: `dataset_conformance`.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from prunebench.errors import PrunebenchError, require
from prunebench.parts.artefacts import Array, Labels, PseudoLabels
from prunebench.parts.base import Backbone, Draw, Part, Scorer, Selector
from prunebench.parts.identity import identity
from prunebench.parts.images import sliced
from prunebench.parts.permutation import told_apart
from prunebench.parts.problem import CLASSES, RATIO, Problem, synthetic_problem
from prunebench.parts.registry import said
from prunebench.parts.sampling import kept
from prunebench.system.isolation import at_work, isolated

COUNTS = (1, 2, 36, 119, 120)  # images that a draw draws, of the problem's 120
RUNS = (2, 4, 8)  # in each order. More runs follow only if fewer runs tell the orders apart


@dataclass(frozen=True)
class Check:
    """The result of one check.

    name: of the check.
    error: why it failed, in one line, or None.
    trace: the traceback of a failure, or "".
    """

    name: str
    error: str | None
    trace: str = ""


@dataclass(frozen=True)
class _Run:
    """One call of a part and its result.

    label: of the call, at the start of messages.
    images: number of images that the part was given.
    lengths: correct lengths of the result.
    result: the array that the part returned.
    """

    label: str
    images: int
    lengths: tuple[int, ...]
    result: Array


def check(part: Part, device: str = "cpu") -> list[Check]:
    """Check a part against the contract, on `synthetic_problem(device)`.

    A selector runs at every ratio that its `at` accepts, a draw with each of `COUNTS`. A part that raises an
    error fails a check.
    """
    named = attempt("identity is JSON", lambda: json.dumps(identity(part), allow_nan=False))
    problem = synthetic_problem(device)
    before = problem.digest()
    try:
        with isolated(f"{part.kind} {part.name!r}") as settings:
            runs = _runs(part, problem)
    except Exception as error:
        return [named, failed("runs", error)]
    changed = None if problem.digest() == before else "an input was changed"
    shared = f"changed {', '.join(settings)}" if settings else None
    obeyed = [attempt(name, partial(_apply, rule, runs)) for name, rule in RULES[part.kind].items()]
    repeated = attempt("same seed, same result", lambda: _check_repeat(part, problem, runs))
    attempts: dict[str, Callable[[], object]] = {}
    if not repeated.error:  # else nothing shows what a difference comes from
        attempts["hidden labels say nothing"] = lambda: _check_hidden_labels(part, problem, runs)
    if isinstance(part, Selector):
        attempts["one class at a time"] = lambda: _check_classes(part, problem)
    if isinstance(part, Scorer | Selector | Draw) and "fingerprint" not in part.needs():
        attempts["order of the images"] = lambda: _check_order(part, problem)
    if {"names", "classes"} & set(part.needs()) and "fingerprint" not in part.needs():
        attempts["names say nothing"] = lambda: _check_names(part, problem, runs)
    if isinstance(part, Backbone) and part.frozen:
        attempts["frozen"] = lambda: _check_frozen(part, problem)
    if isinstance(part, Scorer | Selector) and {"labels", "dynamics"} & set(part.needs()):
        attempts["incomplete labels"] = lambda: _check_incomplete(part, problem)
    further = [attempt(name, action) for name, action in attempts.items()]
    untouched = [Check("inputs untouched", changed), Check("settings untouched", shared)]
    return [named, Check("runs", None), *untouched, *obeyed, repeated, *further]


def conform(part: Part, device: str = "cpu") -> None:
    """Raise AssertionError with every check that `part` fails. For the tests of a plugin."""
    problems = [f"{result.name}: {result.error}" for result in check(part, device) if result.error]
    if problems:
        raise AssertionError(f"{part.kind} {part.name!r} breaks the contract\n  " + "\n  ".join(problems))


def attempt(name: str, action: Callable[[], object]) -> Check:
    """Run one check. It fails if `action` raises an error."""
    try:
        with isolated("the check"):  # so that each run has the settings of a stage
            action()
    except Exception as error:
        return failed(name, error)
    return Check(name, None)


def failed(name: str, error: Exception) -> Check:
    """Return a check that failed with an error."""
    return Check(name, said(error), "".join(traceback.format_exception(error)))


def _call(part: Part, problem: Problem, keep: int | None = None) -> Array:
    inputs = problem.inputs(part, keep=keep)
    with at_work(f"{part.kind} {part.name!r}"):
        result = getattr(part, part.method)(**inputs)
    if isinstance(result, Labels):
        raise PrunebenchError("returned Labels, whose `annotated` only the core may set; return PseudoLabels")
    return np.asarray(result.values if isinstance(result, PseudoLabels) else result)


def _call_blinded(part: Part, problem: Problem, keep: int | None = None) -> Array:
    """Call a part where the true labels are others, but for those that it is given."""
    return _call(part, problem.blinded(part, keep), keep)


def _runs(part: Part, problem: Problem, call: Callable[..., Array] = _call) -> list[_Run]:
    """Run a part once, a selector at every ratio that it accepts, a draw with some counts."""
    n = len(problem)
    if isinstance(part, Draw):
        return [_Run(f"count {count}: ", n, (count,), call(part, problem, count)) for count in COUNTS]
    if not isinstance(part, Selector):
        return [_Run("", n, (n,), call(part, problem))]
    return [_select(settled, problem, ratio, call=call) for ratio, settled in _settled(part).items()]


def _settled(part: Selector) -> dict[int, Selector]:
    """Return the selector at each ratio that it accepts. Raise its last error if it accepts none."""
    settled: dict[int, Selector] = {}
    refusal: PrunebenchError | None = None
    for ratio in range(100):
        try:
            settled[ratio] = part.at(ratio)
        except PrunebenchError as error:
            refusal = error
    if refusal and not settled:
        raise refusal
    return settled


def _select(
    part: Selector, problem: Problem, ratio: int, label: str = "", call: Callable[..., Array] = _call
) -> _Run:
    keep = kept(len(problem), ratio)
    label = f"{label}ratio {ratio}: "
    return _Run(label, len(problem), (keep,), call(part, problem, keep))


def _apply(rule: Callable[[_Run], None], runs: Iterable[_Run]) -> None:
    for run in runs:
        try:
            rule(run)
        except PrunebenchError as error:
            raise PrunebenchError(f"{run.label}{error}") from None


def _floating(run: _Run) -> None:
    require(run.result.dtype.kind == "f", "dtype", str(run.result.dtype), "a floating one")


def _integer(run: _Run) -> None:
    require(run.result.dtype.kind in "iu", "dtype", str(run.result.dtype), "an integer one")


def _vector(run: _Run) -> None:
    allowed = [(length,) for length in run.lengths]
    require(run.result.shape in allowed, "shape", run.result.shape, " or ".join(map(str, allowed)))


def _matrix(run: _Run) -> None:
    right = run.result.ndim == 2 and len(run.result) == run.images and run.result.size > 0
    require(right, "shape", run.result.shape, f"({run.images}, d)")


def _finite(run: _Run) -> None:
    wrong = int((~np.isfinite(run.result)).sum())
    require(wrong == 0, "the number of values that are not finite", wrong, "0")


def _distinct(run: _Run) -> None:
    """Check that not all scores are equal. A run allows that, and its row says so."""
    different = len(np.unique(run.result))
    require(different > 1, "the number of different scores", different, "more than one")


def _labels(run: _Run) -> None:
    wrong = np.setdiff1d(run.result, np.arange(-1, len(CLASSES)))
    require(not len(wrong), "label", wrong[:3].tolist(), f"-1..{len(CLASSES) - 1}")


def _indices(run: _Run) -> None:
    wrong = np.setdiff1d(run.result, np.arange(run.images))
    require(not len(wrong), "index", wrong[:3].tolist(), f"0..{run.images - 1}")


def _unique(run: _Run) -> None:
    unique = len(np.unique(run.result))
    require(unique == run.result.size, "number of unique indices", unique, f"{run.result.size}")


RULES: dict[str, dict[str, Callable[[_Run], None]]] = {
    "backbone": {"dtype": _floating, "one row per image": _matrix, "finite": _finite},
    "labeler": {"dtype": _integer, "one label per image": _vector, "labels in range": _labels},
    "scorer": {
        "dtype": _floating,
        "one score per image": _vector,
        "finite": _finite,
        "tells images apart": _distinct,
    },
    "selector": {"dtype": _integer, "exact size": _vector, "unique": _unique, "indices in range": _indices},
}
RULES["draw"] = RULES["selector"]


def _check_repeat(part: Part, problem: Problem, runs: Iterable[_Run]) -> None:
    for run, again in zip(runs, _runs(part, problem), strict=True):
        if not _repeats(run.result, again.result, problem.device):
            raise PrunebenchError(f"{run.label}two runs with the same seed differ; draw from `rng` only")


def _repeats(result: Array, again: Array, device: str) -> bool:
    """Whether two results are equal. A GPU adds in no fixed order, so its numbers may differ a little."""
    if device == "cpu" or result.dtype.kind != "f":
        return np.array_equal(result, again, equal_nan=result.dtype.kind == "f")
    return result.shape == again.shape and np.allclose(result, again, rtol=1e-2, atol=1e-4, equal_nan=True)


def _check_hidden_labels(part: Part, problem: Problem, runs: Iterable[_Run]) -> None:
    """Run with other true labels outside of `known_labels`, by which the result may not change.

    No input holds these labels. So this finds a part that goes around its inputs, such as to the frames of
    its caller. It does not find one that makes the problem itself, or that reads a dataset: see `closed`.
    """
    for run, again in zip(runs, _runs(part, problem, _call_blinded), strict=True):
        if not _repeats(run.result, again.result, problem.device):
            raise PrunebenchError(
                f"{run.label}the result depends on true labels that nobody annotated; ask for known_labels"
            )


def _check_names(part: Part, problem: Problem, runs: Iterable[_Run]) -> None:
    """Run with other names. The names of the images hold their class, and the result may not depend on it.

    A part that reads the words of classes keeps these.
    """
    renamed = problem.renamed()
    if part.reads_class_names:
        renamed = replace(renamed, classes=problem.classes)
    for run, again in zip(runs, _runs(part, renamed), strict=True):
        if not _repeats(run.result, again.result, problem.device):
            raise PrunebenchError(
                f"{run.label}the result depends on the names of images or classes, which may hold labels "
                "that nobody annotated; ask for known_labels"
            )


def _obey(part: Part, runs: Iterable[_Run]) -> None:
    runs = list(runs)
    for rule in RULES[part.kind].values():
        _apply(rule, runs)


def _check_classes(part: Selector, problem: Problem) -> None:
    """Select from the images of each class alone, and from a class with a single image."""
    settled = _settled(part)
    groups = {f"class {name}": np.flatnonzero(problem.labels == c) for c, name in enumerate(CLASSES)}
    groups["a class of one image"] = np.array([len(problem) - 1])
    for label, members in groups.items():
        for ratio in {_usual_ratio(settled), min(settled)}:
            _obey(part, [_select(settled[ratio], problem[members], ratio, f"{label}, ")])


def _usual_ratio(settled: Iterable[int]) -> int:
    """Return the ratio nearest to `RATIO`."""
    return min(settled, key=lambda ratio: abs(ratio - RATIO))


def _check_incomplete(part: Scorer | Selector, problem: Problem) -> None:
    """Run without the labels of a third of the images. A part may refuse that with a PrunebenchError."""
    incomplete = problem.without_labels(np.arange(0, len(problem), 3))
    try:
        if isinstance(part, Selector):
            runs = _runs(part, incomplete)
        else:
            lengths = (len(problem), len(incomplete.dynamics.index))
            runs = [_Run("", len(problem), lengths, _call(part, incomplete))]
    except PrunebenchError:
        return
    _obey(part, runs)


def _check_frozen(part: Backbone, problem: Problem) -> None:
    """Embed every third image alone. A frozen backbone returns the same vectors as among all images."""
    index = np.arange(0, len(problem), 3)
    alone = np.asarray(part.embed(**sliced(problem.inputs(part), index)))  # type: ignore[attr-defined]
    among_all = _call(part, problem)[index]
    # A GPU may choose another kernel for fewer images, and in TF32 three digits of its sums agree.
    rounding = 1e-5 if problem.device == "cpu" else 1e-2 * float(np.abs(among_all).max())
    if alone.shape != among_all.shape or not np.allclose(alone, among_all, rtol=1e-3, atol=rounding):
        raise PrunebenchError("the embedding of an image depends on the other images; set `frozen` to False")


def _check_order(part: Scorer | Selector | Draw, problem: Problem) -> None:
    """Run on the same images in another order. The result has to follow the images, many of which are equal.

    Without random draws it has to follow exactly, up to rounding. With them it has to follow in distribution.
    """
    if isinstance(part, Selector):
        settled = _settled(part)
        part = settled[_usual_ratio(settled)]
    runs = RUNS if "rng" in part.needs() else (1,)
    if all(_depends_on_order(part, problem.tied(), count) for count in runs):
        raise PrunebenchError(
            "the result depends on the position of an image in the dataset; treat all positions alike, and "
            "break ties by `rng`"
        )


def _depends_on_order(part: Scorer | Selector | Draw, problem: Problem, runs: int) -> bool:
    """Whether runs in one order differ from as many runs, with other seeds, in another order."""
    order = np.arange(len(problem))
    shuffled = np.random.default_rng(2).permutation(order)
    ordered_runs = np.array([_by_image(part, problem, order, seed) for seed in range(runs)])
    shuffled_runs = np.array([_by_image(part, problem, shuffled, runs + seed) for seed in range(runs)])
    if runs > 1:
        return told_apart(ordered_runs, shuffled_runs)
    return not np.allclose(ordered_runs, shuffled_runs, rtol=0, atol=1e-5 * np.ptp(ordered_runs))


def _by_image(part: Scorer | Selector | Draw, problem: Problem, order: Array, seed: int) -> Array:
    """Run a part on the images in an order. Return each score, or 1 for a chosen image: float [n]."""
    inputs = sliced(problem.inputs(part, seed=seed), order)
    result = np.asarray(getattr(part, part.method)(**inputs))
    values = np.zeros(len(problem))
    if isinstance(part, Scorer):
        values[order] = result
    else:
        values[order[result]] = 1
    return values
