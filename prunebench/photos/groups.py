"""Groups of photos that count as one, such as duplicates, and strata of which a draw takes equal shares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prunebench.errors import PrunebenchError
from prunebench.parts.artefacts import Array
from prunebench.photos.folder import matched, some
from prunebench.system import tables

COLUMNS = ("file", "group")
STRATA = ("file", "stratum")


def read_groups(path: Path, names: Sequence[str], folder: Path) -> Array:
    """Return the group of each image: int64 [n]. An image without a group in the .csv is alone in one.

    Groups are numbered by their first images, so neither their names nor the order of the rows matter.

    path: a .csv with the columns file and group. A row with an empty group is skipped.
    names: the images of the folder.

    Raise PrunebenchError as `tables.read` and `folder.matched` do.
    Raise PrunebenchError if a file has two groups.
    """
    group_of = _listed(path, COLUMNS, names, folder)
    first: dict[str, int] = {}
    groups = [first.setdefault(group_of[name], i) if name in group_of else i for i, name in enumerate(names)]
    return np.unique(np.array(groups, np.int64), return_inverse=True)[1]


def groups_of(path: Path | None, names: Sequence[str], everything: Sequence[str], folder: Path) -> Array:
    """Return the group of each of some images: int64 [n]. path: as in `read_groups`. None: each is alone.

    names: the images, such as those that can be read.
    everything: all images of the folder.

    Raise PrunebenchError as `read_groups` does.
    """
    if path is None:
        return np.arange(len(names))
    groups = read_groups(path, everything, folder)
    position = {name: i for i, name in enumerate(everything)}
    return groups[[position[name] for name in names]]


def read_strata(path: Path, names: Sequence[str], folder: Path) -> list[str]:
    """Return the stratum of each image. Those without one in the .csv are a stratum together, "".

    path: a .csv with the columns file and stratum.
    names: the images of the folder.

    Raise PrunebenchError as `read_groups` does.
    """
    stratum_of = _listed(path, STRATA, names, folder)
    return [stratum_of.get(name, "") for name in names]


def _listed(path: Path, columns: tuple[str, str], names: Sequence[str], folder: Path) -> dict[str, str]:
    """Return the group of each image that a .csv gives one. columns: those of the file and of the group."""
    listed: dict[str, str] = {}
    for _, (name, group) in tables.read(path, *columns):
        if group.strip() and listed.setdefault(name, group.strip()) != group.strip():
            raise _two_groups(path, name, listed[name], group.strip())
    group_of: dict[str, str] = {}
    for listed_name, name in matched(path, listed, names, folder).items():
        group = listed[listed_name]
        if group_of.setdefault(name, group) != group:
            raise _two_groups(path, name, group_of[name], group)
    return group_of


def _two_groups(path: Path, name: str, first: str, second: str) -> PrunebenchError:
    return PrunebenchError(
        f"{path} puts {some([name])} into both {first!r} and {second!r}; keep one of the two, "
        "or give both one name"
    )


def in_proportion(strata: Sequence[str], rng: np.random.Generator) -> Array:
    """Return positions in an order of which every beginning holds the strata in proportion: int64 [n].

    Images of one stratum keep their order, and have places between 0 and 1 at even distances. The first of
    them is at random: else small strata would all come at once.

    strata: the stratum of each image.
    """
    names, stratum = np.unique(np.asarray(strata), return_inverse=True)
    sizes = np.bincount(stratum)
    by_stratum = np.argsort(stratum, kind="stable")
    begins = np.cumsum(sizes) - sizes
    rank = np.empty(len(strata), np.int64)
    rank[by_stratum] = np.arange(len(strata)) - begins[stratum[by_stratum]]
    first = rng.random(len(names))
    return np.argsort((rank + first[stratum]) / sizes[stratum], kind="stable")


def joined(groups: Array, others: Array) -> Array:
    """Return the groups that hold together what either of two groupings does: int64 [n], in 0..n - 1.

    groups, others: int [n], in 0..n - 1.
    """
    from prunebench.nn.neighbors import merged

    _, first, inverse = np.unique(others, return_index=True, return_inverse=True)
    return merged(groups, np.arange(len(groups)), first[inverse])


def stand_ins(groups: Array, labeled: Array) -> Array:
    """Return the image that stands for each image: int64 [n]. An image that counts stands for itself.

    It is the first labeled image of its group, or the first. A labeled image always counts.

    groups: int [n].
    labeled: bool [n].
    """
    order = np.lexsort((~labeled, groups))  # stable: of equals the first comes first
    _, first, inverse = np.unique(groups[order], return_index=True, return_inverse=True)
    standing = np.empty(len(groups), np.int64)
    standing[order] = order[first][inverse]
    return np.where(labeled, np.arange(len(groups)), standing)


def counting(standing: Array) -> Array:
    """Return the images that stand for themselves: int64 [m], ascending."""
    return np.flatnonzero(standing == np.arange(len(standing)))


def write_groups(groups: Array, names: Sequence[str], folder: Path) -> Path:
    """Write the .csv of the groups of more than one image into a folder. Return its path: `tables.filed`."""
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    rows = [(names[i], str(inverse[i])) for i in np.flatnonzero(sizes[inverse] > 1).tolist()]
    return tables.filed(folder, COLUMNS, rows)
