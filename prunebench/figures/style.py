"""The look of every figure: the widths of a paper, one colour per method, equal bytes for equal input."""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.results.document import DEMONSTRATION
from prunebench.results.rows import Result
from prunebench.system.files import replace_file

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.4, 7.0  # widths in inches
ENTRY = 0.13  # height of a line of a legend, in inches
DPI = 200  # of the PNG; who prints takes the SVG
DEMONSTRATIONS = ("tiny",)  # recipes of which this holds, whatever their suite says
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that text is the same everywhere
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "figure.dpi": DPI,
    "svg.hashsalt": "prunebench",
}
TRUTH, REFERENCE, RANDOM = "#bbbbbb", "#888888", "#444444"
# Okabe and Ito's colours and P. Tol's "muted" ones, which the colour-blind tell apart; near ones far off.
PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#332288", "#999933", "#882255", "#44aa99", "#117733", "#aa4499"),
)
# The methods of the paper's tables and those beside them in the shipped suites; others by their name's hash.
COLOURS = {
    "random": RANDOM,
    "elfs_dino": "#0072b2",
    "elfs_swav": "#009e73",
    "elfs_pixels": "#56b4e9",
    "elfs_efficientnet": "#aa4499",
    "elfs_dinov2": "#332288",
    "elfs_clip": "#882255",
    "prototypicality": "#999933",
    "zcore": "#cc79a7",
    "semi_aum": "#d55e00",
    "semi_dual": "#882255",
    "probe_aum": "#44aa99",
    "score_extrapolation": "#e69f00",
    "dual": "#332288",
    "aum_supervised": "#e69f00",
    "el2n_supervised": "#117733",
    "forgetting_supervised": "#cc79a7",
}
MARKERS = ("o", "s", "^", "D", "v", "P")


def colour(method: str) -> str:
    """Return the colour that a method has in every figure; relatives such as semi_aum{...} share it."""
    stems = [name for name in COLOURS if re.match(rf"{re.escape(name)}($|[^a-z0-9])", method)]
    if stems:
        return COLOURS[max(stems, key=len)]
    digest = hashlib.sha256(method.partition("{")[0].encode()).digest()
    return PALETTE[digest[0] % len(PALETTE)]


def markers(methods: Sequence[str]) -> dict[str, str]:
    """Return a marker for each method; those of one colour have different ones."""
    found: dict[str, str] = {}
    used: dict[str, int] = {}
    for method in dict.fromkeys(methods):
        place = used.setdefault(colour(method), 0)
        found[method] = MARKERS[place % len(MARKERS)]
        used[colour(method)] += 1
    return found


def demonstration(note: str, recipe: str) -> str:
    """Return the warning that a figure carries: the note of its suite, or that of a recipe for toys."""
    return note or (DEMONSTRATION if recipe in DEMONSTRATIONS else "")


def seeds_of(rows: Iterable[Result]) -> str:
    """Spell how many seeds the cells of some rows have."""
    found: dict[tuple[str, int], set[int]] = {}
    for row in rows:
        found.setdefault((row.method, row.ratio), set()).add(row.seed)
    return counted(map(len, found.values()))


def counted(seeds: Iterable[int]) -> str:
    """Spell numbers of seeds: 1 seed, 3 seeds, 1 to 3 seeds."""
    found = sorted(set(seeds))
    if found == [1]:
        return "1 seed"
    return f"{found[0]} seeds" if len(found) == 1 else f"{found[0]} to {found[-1]} seeds"


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save inside of this."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the user's would change the bytes
        matplotlib.rcParams.update(STYLE)
        yield


def canvas(
    rows: int, columns: int, height: float, title: str, caption: str, entries: int = 0
) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels `height` inches high, a title above and a caption below all of them.

    It is as wide as a column of a paper for one panel, as its page for more. entries: lines of a legend
    for all panels, to which room is left above the caption; see `legend`.
    """
    from matplotlib.figure import Figure

    width = COLUMN if columns == 1 else PAGE
    above = textwrap.wrap(title, round(width * 14.5))
    below = textwrap.wrap(caption, round(width * 19))
    top, foot = 0.06 + 0.14 * len(above), 0.05 + 0.1 * len(below)
    bottom = foot + 0.05 + ENTRY * entries
    whole = top + height * rows + bottom
    figure = Figure(figsize=(width, whole), layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, bottom / whole, 1, height * rows / whole))  # type: ignore[call-arg]
    figure.text(0.01, 1 - 0.04 / whole, "\n".join(above), va="top", fontsize=8, fontweight="bold")
    figure.text(0.01, foot / whole, "\n".join(below), va="top", fontsize=6, color="#444444")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def legend(figure: Figure, handles: Mapping[str, Artist], columns: int, length: float = 2.2) -> None:
    """Put a legend of all panels just above the caption: drawn examples by name, `length` letters long."""
    _title, caption = figure.texts
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="lower left",
        bbox_to_anchor=caption.get_position(),
        borderaxespad=0.2,
        borderpad=0,
        ncols=columns,
        handlelength=length,
        columnspacing=1.2,
    )


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write stem.svg and stem.png, without dates or versions, and return their paths."""
    written = []
    for suffix, content in (("svg", _svg(figure)), ("png", _png(figure))):
        path = stem.with_name(f"{stem.name}.{suffix}")
        replace_file(path, content, "--output")
        written.append(path)
    return written


def _svg(figure: Figure) -> bytes:
    content = io.BytesIO()
    with styled():
        figure.savefig(content, format="svg", dpi=DPI, metadata={"Date": None, "Creator": "prunebench"})
    return content.getvalue()


def _png(figure: Figure) -> bytes:
    """Return the PNG with a palette of 256 colours, a third of the bytes of one without."""
    from PIL import Image

    drawn, content = io.BytesIO(), io.BytesIO()
    with styled():
        figure.savefig(drawn, format="png", dpi=DPI)
    with Image.open(drawn) as image:
        flat = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    flat.save(content, format="png", optimize=True, dpi=(DPI, DPI))
    return content.getvalue()
