"""ZCore's rounds: the draws, and two ways to play them, compiled on the CPU and batched on a device.

A round reads two columns of the embeddings from end to end, so these are stored by column. Rounds are
independent of one another and their gains and losses only added up, so they may be played in any order.
Both ways compute distances in float32, in the same order of operations, and rank equally near images by
their turn, a number that is another in each round: they find the same neighbors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch

from prunebench.errors import PrunebenchError
from prunebench.nn.loop import Saver
from prunebench.parts.artefacts import Array
from prunebench.parts.base import Checkpoint, Progress
from prunebench_plugins.scorers.zcore.settings import ZcoreSettings

Tensor = torch.Tensor
Function = TypeVar("Function", bound=Callable[..., Any])
BLOCK = 2**14  # rounds that share a random stream; a computation resumes after whole blocks
SLICE = 2**10  # rounds that one thread plays at a time; results depend on it in the last digits
CHUNK = 4096
DEVICE_BYTES = 2**30  # of the temporary tensors on a device
TURN = 0x9E3779B1  # odd, so that no two images have the same turn in a round
WORD = 0xFFFFFFFF


@dataclass(frozen=True, eq=False, kw_only=True)
class Space:
    """The dimensions that vary, by column: float32 [d, n]; and the bounds and median of each, float64 [d].

    places: int [n], where in the columns each image is.
    """

    columns: Array
    places: Array
    lowest: Array
    median: Array
    highest: Array


@dataclass(frozen=True, eq=False, kw_only=True)
class Rounds:
    """What is drawn for r rounds. Slicing it by an index gives those rounds alone.

    dimensions: int64 [r, sample_dim], distinct in a round. points: float32 [r, sample_dim], a place in them.
    tickets: int64 [r], 32 bits each, which decide the turns of the images: see `turns`.
    """

    dimensions: Array
    points: Array
    tickets: Array

    def __len__(self) -> int:
        return len(self.tickets)

    def __getitem__(self, index: Array | slice) -> Rounds:
        return Rounds(
            dimensions=self.dimensions[index], points=self.points[index], tickets=self.tickets[index]
        )


def play(
    embeddings: Array,
    settings: ZcoreSettings,
    *,
    seed: int,
    device: str,
    progress: Progress,
    checkpoint: Checkpoint,
) -> Array:
    """Play all rounds on embeddings [n, d], n >= 2: float64 [n], what each image gained less what it lost.

    Block b of the rounds has a stream of its own, made from seed and b.
    """
    space = survey(embeddings, settings.sample_dim, np.random.default_rng(seed))
    neighbors = min(settings.neighbors, len(embeddings) - 1)
    on_device = torch.from_numpy(space.columns).to(device) if device != "cpu" else None
    state = checkpoint.load() or {"scores": np.zeros(len(embeddings)), "blocks": 0}
    scores: Array = state["scores"]
    saver = Saver(checkpoint)
    for done in range(state["blocks"] * BLOCK, settings.rounds, BLOCK):
        block = np.random.default_rng([seed, done // BLOCK])
        upto = min(done + BLOCK, settings.rounds)
        rounds = draw(space, upto - done, settings.sample_dim, block)
        if on_device is None:
            gained = on_cpu(space.columns, rounds, neighbors, settings.exponent)
        else:
            gained = batched(on_device, rounds, neighbors, settings.exponent)
        scores = scores + gained[space.places]
        progress(upto, settings.rounds)
        if upto < settings.rounds and saver.due():
            saver.save({"scores": scores, "blocks": upto // BLOCK})
    return scores


def survey(embeddings: Array, sample_dim: int, rng: np.random.Generator) -> Space:
    """Store the embeddings by column, without the dimensions that are equal for all images.

    The images stand in a random order, so that none wins its ties because of where it is in the dataset.
    Raise PrunebenchError where fewer than `sample_dim` are left, and for what is not finite.
    """
    lowest, highest = embeddings.min(axis=0).astype(float), embeddings.max(axis=0).astype(float)
    # The distances, too, have to stay finite in float32. Comparing with nan is false.
    if not ((highest - lowest) * sample_dim < np.finfo(np.float32).max).all():
        raise PrunebenchError("zcore needs embeddings that are finite and below 1e37; some are not")
    (vary,) = np.nonzero(highest > lowest)
    if len(vary) < sample_dim:
        raise PrunebenchError(
            f"zcore.sample_dim is {sample_dim}, but {len(vary)} of the {embeddings.shape[1]} dimensions "
            "of the embeddings vary"
        )
    columns = np.empty((len(vary), len(embeddings)), np.float32)
    order = rng.permutation(len(embeddings))
    for rows in _slices(len(embeddings), CHUNK):  # a whole transposition would miss every cache
        columns[:, rows] = embeddings[np.ix_(order[rows], vary)].T
    median = np.array([np.median(column) for column in columns], float)
    return Space(
        columns=columns,
        places=np.argsort(order),
        lowest=lowest[vary],
        median=median,
        highest=highest[vary],
    )


def draw(space: Space, rounds: int, sample_dim: int, rng: np.random.Generator) -> Rounds:
    """Draw so many rounds.

    The dimensions are distinct and uniform. A coordinate is triangular from the lowest to the highest
    value of its dimension, with the mode at the median.
    """
    dimensions = np.empty((rounds, sample_dim), np.int64)
    for place in range(sample_dim):
        # The i-th of those that are left, found by stepping over those drawn before, the lowest first.
        drawn = rng.integers(len(space.columns) - place, size=rounds)
        for before in np.sort(dimensions[:, :place], axis=1).T:
            drawn += drawn >= before
        dimensions[:, place] = drawn
    sides = (side[dimensions] for side in (space.lowest, space.median, space.highest))
    points = rng.triangular(*sides).astype(np.float32)
    return Rounds(dimensions=dimensions, points=points, tickets=rng.integers(WORD + 1, size=rounds))


def turns(places: Any, ticket: Any) -> Any:
    """Return the turns of the images at some places in a round with this ticket: 32 bits, all different.

    Of equally near images those with the lowest turns count. Another ticket makes another order.
    """
    return (places ^ ticket) * TURN & WORD


def on_cpu(columns: Array, rounds: Rounds, neighbors: int, exponent: float, threads: int = 0) -> Array:
    """Play these rounds on columns, float32 [d, n]: float64 [n], gains less losses.

    1 <= neighbors < n. threads: as many as torch uses, if 0; the result does not depend on it, because
    the rounds of a slice and the slices are added up in a fixed order.
    """
    order = np.argsort(
        rounds.dimensions[:, 0], kind="stable"
    )  # so that a column is read again while it is cached

    def played(rows: slice) -> Array:
        scores = np.zeros(columns.shape[1])
        mine = rounds[order[rows]]
        drawn = mine.dimensions, mine.points, mine.tickets
        _play(columns, *drawn, neighbors, float(exponent), scores)
        return scores

    with ThreadPoolExecutor(threads or torch.get_num_threads()) as pool:
        return sum(pool.map(played, _slices(len(order), SLICE)), np.zeros(columns.shape[1]))


def batched(columns: Tensor, rounds: Rounds, neighbors: int, exponent: float) -> Array:
    """Do what `on_cpu` does with tensors, on the device of the columns, many rounds at a time."""
    images = columns.shape[1]
    everyone = torch.arange(images, device=columns.device)
    scores = torch.zeros(images, dtype=torch.float64, device=columns.device)
    for rows in _slices(len(rounds), max(1, DEVICE_BYTES // (40 * images))):
        chosen, points, tickets = (
            torch.from_numpy(drawn[rows]).to(columns.device)
            for drawn in (rounds.dimensions, rounds.points, rounds.tickets)
        )
        order = turns(everyone, tickets[:, None])
        # One integer holds a distance and a turn: no two are equal, so there are no ties to break.
        nearest = (_gaps(columns, chosen, points).view(torch.int32).long() << 32 | order).argmin(1)
        gaps = _gaps(columns, chosen, columns[chosen, nearest[:, None]])
        keys = gaps.view(torch.int32).long() << 32 | order
        keys.scatter_(1, nearest[:, None], torch.iinfo(torch.int64).max)
        keys, near = keys.topk(neighbors, largest=False)
        distances = (keys >> 32).int().view(torch.float32).double()
        weights = (distances / distances[:, :1]) ** -exponent
        # An equal image, that with the lowest turn, takes the whole loss.
        weights = torch.where(distances[:, :1] > 0, weights, (everyone[:neighbors] == 0).double())
        losses = weights / weights.sum(1, keepdim=True)
        scores.index_add_(0, nearest, torch.ones_like(nearest, dtype=torch.float64))
        scores.index_add_(0, near.flatten(), -losses.flatten())
    return scores.cpu().numpy()


def _gaps(columns: Tensor, dimensions: Tensor, places: Tensor) -> Tensor:
    """Return the L1 distances of all images to each round's place: float32 [rounds, n]."""
    gaps = (columns[dimensions[:, 0]] - places[:, :1]).abs_()
    for side in range(1, dimensions.shape[1]):
        gaps += (columns[dimensions[:, side]] - places[:, side, None]).abs_()
    return gaps


def _slices(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def _compiled(function: Function) -> Function:
    """Compile a function when it is first called; it then runs without Python's global lock."""
    return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))


_turns = _compiled(turns)


@_compiled
def _play(
    columns: Array,
    dimensions: Array,
    points: Array,
    tickets: Array,
    neighbors: int,
    exponent: float,
    scores: Array,
) -> None:
    """Play rounds one after the other and add what they bring to `scores`.

    Distances are compared through their bits: as integers, non-negative floats have the same order, and
    only integers are compared many at a time.
    """
    images = columns.shape[1]
    gaps = np.empty(images, np.float32)
    bits = gaps.view(np.int32)
    flags = np.zeros(images // 8 * 8 + 8, np.uint8)
    found = np.empty(len(flags), np.int64)
    place = np.empty(dimensions.shape[1], np.float32)
    whole = int(exponent)
    # How far the neighbors reach is guessed from a sample in which about 64 of them are expected.
    step = max(1, neighbors // 64)
    rank = neighbors // step + int(2.5 * math.sqrt(neighbors / step)) + 1
    for turn in range(len(dimensions)):
        chosen, ticket = dimensions[turn], tickets[turn]
        nearest, least = 0, 2**31 - 1
        for start in range(0, images, CHUNK):
            part = gaps[:CHUNK][: images - start]
            _measure(columns, chosen, points[turn], start, part)
            low = _smallest(part.view(np.int32))
            if low <= least:
                here = start + _drawn(part.view(np.int32), low, start, ticket)
                if low < least or _turns(here, ticket) < _turns(nearest, ticket):
                    nearest, least = here, low
        scores[nearest] += 1

        for side in range(len(place)):
            place[side] = columns[chosen[side], nearest]
        _measure(columns, chosen, place, 0, gaps)
        sample = bits[::step].copy()
        count = _within(bits, _limit(sample, min(rank, len(sample))), nearest, flags, found)
        if count < neighbors:  # the guess was too low: all are looked at, the image itself among them
            count = _within(bits, _limit(bits, neighbors + 1), nearest, flags, found)
        _cut(bits, found[:count], neighbors, ticket)
        near = found[:neighbors]
        closest = gaps[near[_find(bits[near], _smallest(bits[near]))]]
        if closest == 0:
            equal = near[gaps[near] == 0]
            scores[equal[_turns(equal, ticket).argmin()]] -= 1
            continue
        ratios = gaps[near] / np.float64(closest)  # at least 1: whatever the scale, no power is nan
        weights = 1 / ratios**whole if whole == exponent else ratios**-exponent
        weights /= weights.sum()
        for i in range(neighbors):
            scores[near[i]] -= weights[i]


@_compiled
def _measure(columns: Array, chosen: Array, place: Array, start: int, gaps: Array) -> None:
    """Fill gaps with the L1 distances from a place to the images from `start` on."""
    stop = start + len(gaps)
    column, at = columns[chosen[0], start:stop], place[0]
    for i in range(len(gaps)):
        gaps[i] = abs(column[i] - at)
    for side in range(1, len(chosen)):
        column, at = columns[chosen[side], start:stop], place[side]
        for i in range(len(gaps)):
            gaps[i] += abs(column[i] - at)


@_compiled
def _smallest(bits: Array) -> int:
    low: int = bits[0]
    for i in range(len(bits)):
        low = min(low, bits[i])
    return low


@_compiled
def _find(bits: Array, value: int) -> int:
    """Return the first index of a value that is there."""
    index = 0
    while bits[index] != value:
        index += 1
    return index


@_compiled
def _drawn(bits: Array, value: int, start: int, ticket: int) -> int:
    """Return an index of a value that is there, of several the lowest turn's; bits[0] is image `start`."""
    first = _find(bits, value)
    bits[first] = 2**31 - 1
    other = _smallest(bits)
    bits[first] = value
    if other != value:  # most often there is one alone, and looking for the smallest is quick
        return first
    equal = np.flatnonzero(bits == value)
    found: int = equal[_turns(equal + start, ticket).argmin()]
    return found


@_compiled
def _limit(bits: Array, rank: int) -> int:
    """Return a number with exactly `rank` entries at or below it, or the rank-th smallest if it is tied."""
    low: int = bits[0]
    high: int = bits[0]
    for i in range(len(bits)):
        low, high = min(low, bits[i]), max(high, bits[i])
    low -= 1
    while high - low > 1:
        middle: Any = np.int32((low + high) >> 1)  # as wide as the bits: half as wide is twice as fast
        count = 0
        for i in range(len(bits)):
            count += bits[i] <= middle
        if count >= rank:
            high = middle
        else:
            low = middle
        if count == rank:
            break
    return high


@_compiled
def _within(bits: Array, limit: int, without: int, flags: Array, found: Array) -> int:
    """Write the indices of all at or below the limit but one to `found`, ascending; return how many."""
    for i in range(len(bits)):
        flags[i] = bits[i] <= limit
    flags[without] = 0
    count = 0
    words = flags.view(np.uint64)
    for word in range(len(words)):
        if words[word]:  # eight flags at a time, because most are 0
            for i in range(8 * word, 8 * word + 8):
                found[count] = i
                count += flags[i]
    return count


@_compiled
def _cut(bits: Array, found: Array, keep: int, ticket: int) -> None:
    """Move the nearest `keep` of those found to the front, ascending; of equals the lowest turns."""
    near = bits[found]
    limit = _limit(near, keep)
    room, tied, last = keep, 0, WORD
    for i in range(len(near)):
        room -= near[i] < limit
        tied += near[i] == limit
    if tied > room:
        last = np.sort(_turns(found[near == limit], ticket))[room - 1]
    kept = 0
    for i in range(len(near)):
        found[kept] = found[i]
        kept += near[i] < limit or (near[i] == limit and _turns(found[kept], ticket) <= last)
