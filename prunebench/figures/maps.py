"""Two-dimensional maps of embeddings, colored by class and by corruption."""

from __future__ import annotations

import math
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
    """Embeddings of the drawn images.

    title: of the panel, such as the name of the backbone.
    values: float [m, d].
    """

    title: str
    values: Array


def drawn(truth: Array, classes: int, per_class: int = PER_CLASS) -> Array:
    """Draw up to `per_class` images of each of ten classes: int [m], ascending.

    Classes without images are never drawn. Up to ten classes are all drawn. The random stream is one of
    figures alone.

    truth: int [n], the class of each image.
    classes: number of classes.
    """
    rng = seeds.stream("figures", 0)
    present = np.flatnonzero(np.bincount(truth, minlength=classes))
    chosen = np.sort(rng.permutation(present)[:CLASSES])
    index = [rng.permutation(np.flatnonzero(truth == label))[:per_class] for label in chosen]
    return np.sort(np.concatenate(index))


def project(values: Array) -> Array:
    """Map embeddings to the plane by t-SNE with seed 0: float64 [m, 2].

    t-SNE gets the first 50 principal components. Its perplexity is 30, or less for fewer than 91 images.
    It runs on one thread, so that equal input gives equal maps.

    values: float [m, d].
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    size = min(COMPONENTS, *values.shape)
    with threadpool_limits(1):
        vectors = np.asarray(values, dtype=np.float64)
        if size < vectors.shape[1]:
            components = PCA(size, svd_solver="full").fit_transform(vectors)
        else:
            components = vectors
        perplexity = min(
            PERPLEXITY, (len(vectors) - 1) / 3
        )  # t-SNE looks at three neighbors per unit of perplexity
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1)
        points = tsne.fit_transform(components)
    return np.asarray(points, dtype=np.float64)


def together(values: Array, truth: Array) -> float:
    """Return the share of images whose nearest neighbor has their class, in percent.

    Neighbors are those of the embeddings, by Euclidean distance, since the map distorts distances.

    values: float [m, d], m >= 2.
    truth: int [m], the class of each image.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=1, n_jobs=1).fit(values)
    neighbors = search.kneighbors(return_distance=False)[:, 0]
    return 100 * float((truth[neighbors] == truth).mean())


def embeddings(
    panels: Sequence[Embedded],
    truth: Array,
    names: Sequence[str],
    corrupted: Array | None,
    title: str,
    note: str = "",
) -> Figure:
    """Draw a panel for each embedding, colored by true class.

    If some images are corrupted, a second row of panels is colored by corruption.

    panels: the embeddings.
    truth: int [m], indices into `names`.
    names: class names.
    corrupted: bool [m], or None.
    title: above the panels.
    note: a warning below the panels, or "".
    """
    maps = [project(panel.values) for panel in panels]
    rows = 1 if corrupted is None else 2
    caption = (
        f"t-SNE (perplexity {PERPLEXITY}, seed 0) of {len(truth)} training images of "
        f"{len(np.unique(truth))} classes. "
        f"1-NN: images whose nearest neighbor, in the embeddings themselves, has their class. {note}".strip()
    )
    with style.styled():
        columns = max(2, len(panels))
        handles = _legend_dots(truth, names, corrupted is not None)
        height = min(SIDE, style.PAGE / columns) + 0.3
        entries = math.ceil(len(handles) / LEGEND)
        figure, axes = style.canvas(rows, columns, height, title, caption, entries)
        # In random order, so that late classes do not cover earlier ones.
        order = seeds.stream("figures", 1).permutation(len(truth))
        for number, ax in enumerate(axes):
            ax.set_axis_off()
            column = number % columns
            if column >= len(panels):
                continue
            panel = panels[column]
            points = maps[column]
            ax.set_aspect("equal", adjustable="datalim")
            if number < columns:
                ax.set_title(f"{panel.title}\n1-NN {together(panel.values, truth):.0f} %", loc="left")
                _scatter_classes(ax, points, truth, order)
            else:
                assert corrupted is not None
                _scatter(ax, points[~corrupted], CLEAN, "clean")
                _scatter(ax, points[corrupted], CORRUPTED, "corrupted")
        style.legend(figure, handles, LEGEND, length=0.7)
    return figure


def _scatter_classes(ax: Axes, points: Array, truth: Array, order: Array) -> None:
    colors = np.array([style.PALETTE[np.searchsorted(np.unique(truth), label)] for label in truth])
    # Dots as pixels: thousands of paths would make the SVG megabytes.
    ax.scatter(
        points[order, 0], points[order, 1], c=colors[order], s=2, linewidths=0, alpha=0.8, rasterized=True
    )


def _scatter(ax: Axes, points: Array, color: str, label: str) -> None:
    ax.scatter(
        points[:, 0], points[:, 1], c=color, s=2, linewidths=0, alpha=0.8, rasterized=True, label=label
    )


def _legend_dots(truth: Array, names: Sequence[str], corruption: bool) -> dict[str, Artist]:
    """Return a dot of each color, by the name for the legend."""
    from matplotlib.lines import Line2D

    colors = {names[label]: style.PALETTE[number] for number, label in enumerate(np.unique(truth))}
    if corruption:
        colors |= {"clean": CLEAN, "corrupted": CORRUPTED}
    return {name: Line2D([], [], color=color, marker="o", linestyle="") for name, color in colors.items()}
