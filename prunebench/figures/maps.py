"""Two-dimensional maps of embeddings: which classes, and which corrupted images, lie together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prunebench.figures import style
from prunebench.parts import seeds
from prunebench.parts.artefacts import Array

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASSES, PER_CLASS = 10, 500  # SemiPrune, section 3.2: ten random classes, 500 images of each
COMPONENTS = 50  # principal components that t-SNE starts from
PERPLEXITY = 30
SIDE = 2.3  # of a panel, in inches
MOST = 6  # panels in one figure
LEGEND = 6  # columns of the legend
CLEAN, CORRUPTED = "#cccccc", "#111111"


@dataclass(frozen=True)
class Embedded:
    """Embeddings of the drawn images: float [m, d], and whose they are."""

    title: str
    values: Array


def drawn(truth: Array, classes: int) -> Array:
    """Draw up to 500 images of each of ten classes, from a stream of their own: int [m], ascending.

    truth: int [n]. Fewer classes than ten are all drawn; classes without images are not.
    """
    rng = seeds.stream("figures", 0)
    present = np.flatnonzero(np.bincount(truth, minlength=classes))
    chosen = np.sort(rng.permutation(present)[:CLASSES])
    found = [rng.permutation(np.flatnonzero(truth == label))[:PER_CLASS] for label in chosen]
    return np.sort(np.concatenate(found))


def project(values: Array) -> Array:
    """Map embeddings to the plane by t-SNE with seed 0: float64 [m, 2].

    Starts from the first 50 principal components, perplexity 30 (less for under a hundred images).
    One thread, so that equal input gives equal maps.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    size = min(COMPONENTS, *values.shape)
    with threadpool_limits(1):
        whole = np.asarray(values, dtype=np.float64)
        short = PCA(size, svd_solver="full").fit_transform(whole) if size < whole.shape[1] else whole
        perplexity = min(PERPLEXITY, (len(whole) - 1) / 3)
        found = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1).fit_transform(short)
    return np.asarray(found, dtype=np.float64)


def together(values: Array, truth: Array) -> float:
    """Return how many images have a nearest neighbour of their own class, in percent; of the embeddings.

    values: float [m, d], m >= 2, by Euclidean distance; the map itself distorts distances.
    """
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=1, n_jobs=1).fit(values).kneighbors(return_distance=False)
    return 100 * float((truth[found[:, 0]] == truth).mean())


def embeddings(
    panels: Sequence[Embedded],
    truth: Array,
    names: Sequence[str],
    corrupted: Array | None,
    title: str,
    note: str = "",
) -> Figure:
    """A panel for each embedding, coloured by true class; below it, where some are, by corruption.

    truth: int [m], indices into names. corrupted: bool [m] or None.
    """
    maps = [project(panel.values) for panel in panels]
    rows = 1 if corrupted is None else 2
    caption = (
        f"t-SNE (perplexity {PERPLEXITY}, seed 0) of {len(truth)} training images of "
        f"{len(np.unique(truth))} classes. "
        f"1-NN: images whose nearest neighbour, in the embeddings themselves, has their class. {note}".strip()
    )
    with style.styled():
        columns = max(2, len(panels))
        shown = _shown(truth, names, corrupted is not None)
        height = min(SIDE, style.PAGE / columns) + 0.3
        figure, axes = style.canvas(rows, columns, height, title, caption, -(-len(shown) // LEGEND))
        # Late classes do not cover earlier ones.
        order = seeds.stream("figures", 1).permutation(len(truth))
        for place, ax in enumerate(axes):
            ax.set_axis_off()
            if place % columns >= len(panels):
                continue
            panel, points = panels[place % columns], maps[place % columns]
            ax.set_aspect("equal", adjustable="datalim")
            if place < columns:
                ax.set_title(f"{panel.title}\n1-NN {together(panel.values, truth):.0f} %", loc="left")
                _scatter_classes(ax, points, truth, order)
            else:
                assert corrupted is not None
                _scatter(ax, points[~corrupted], CLEAN, "clean")
                _scatter(ax, points[corrupted], CORRUPTED, "corrupted")
        style.legend(figure, shown, LEGEND, length=0.7)
    return figure


def _scatter_classes(ax: Axes, points: Array, truth: Array, order: Array) -> None:
    tints = np.array([style.PALETTE[np.searchsorted(np.unique(truth), label)] for label in truth])
    # Dots as pixels: thousands of paths would make the SVG megabytes.
    ax.scatter(
        points[order, 0], points[order, 1], c=tints[order], s=2, linewidths=0, alpha=0.8, rasterized=True
    )


def _scatter(ax: Axes, points: Array, tint: str, label: str) -> None:
    ax.scatter(points[:, 0], points[:, 1], c=tint, s=2, linewidths=0, alpha=0.8, rasterized=True, label=label)


def _shown(truth: Array, names: Sequence[str], corruption: bool) -> dict[str, Artist]:
    """Return a dot of each colour, by what it stands for."""
    from matplotlib.lines import Line2D

    tints = {names[label]: style.PALETTE[place] for place, label in enumerate(np.unique(truth))}
    if corruption:
        tints |= {"clean": CLEAN, "corrupted": CORRUPTED}
    return {name: Line2D([], [], color=tint, marker="o", linestyle="") for name, tint in tints.items()}
