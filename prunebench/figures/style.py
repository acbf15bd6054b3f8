"""The look of every figure: the widths of a paper, one color per method, equal bytes for equal input."""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench.results.board import DEMONSTRATION
from prunebench.results.document import WARNING
from prunebench.results.rows import Result
from prunebench.system.files import replace_file

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.4, 7.0  # widths in inches
ENTRY = 0.13  # height of a line of a legend, in inches
DPI = 200  # of the PNG, for screens; the SVG is for print
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that text is the same everywhere
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
WEB = {  # of the SVG for pages, by what matplotlib writes
    r"'DejaVu Sans'": "'DejaVu Sans', Verdana, sans-serif",  # Verdana has its widths, where it is not there
    r"(\d\.\d\d)\d+": r"\1",
}
TRUTH, REFERENCE = "#bbbbbb", "#888888"
# Okabe and Ito's colors, then P. Tol's "muted" ones: color-blind readers can tell them apart.
# Similar colors are far apart in the list.
PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#332288", "#999933", "#882255", "#44aa99", "#117733", "#aa4499"),
)
MARKERS = ("o", "s", "^", "D", "v", "P")


def color(method: str) -> str:
    """Return the color of a method, the same in every figure. Variants such as semi_aum{...} share it.

    It is the color that the method's plugin gives it, else one by hash.
    """
    methods: Mapping[str, Method] = load().found["methods"]
    colored = {name: found.color for name, found in methods.items() if found.color}
    stems = [name for name in colored if re.match(rf"{re.escape(name)}($|[^a-z0-9])", method)]
    if stems:
        return colored[max(stems, key=len)]
    digest = hashlib.sha256(method.partition("{")[0].encode()).digest()
    return PALETTE[digest[0] % len(PALETTE)]


def markers(methods: Sequence[str]) -> dict[str, str]:
    """Return a marker for each method. Methods of one color have different markers."""
    by_method: dict[str, str] = {}
    used: dict[str, int] = {}  # color -> markers given out
    for method in dict.fromkeys(methods):
        shade = color(method)
        number = used.setdefault(shade, 0)
        by_method[method] = MARKERS[number % len(MARKERS)]
        used[shade] += 1
    return by_method


def demonstration(note: str, recipe: str) -> str:
    """Return the warning of a figure: the note of its suite, else the warning of a toy recipe, or ""."""
    if note:
        return note
    return WARNING if recipe == DEMONSTRATION else ""


def seeds_of(rows: Iterable[Result]) -> str:
    """Return the number of seeds per cell of some rows, as text."""
    seeds: dict[tuple[str, int], set[int]] = {}
    for row in rows:
        seeds.setdefault((row.method, row.ratio), set()).add(row.seed)
    return counted(map(len, seeds.values()))


def counted(seeds: Iterable[int]) -> str:
    """Return numbers of seeds as text: "1 seed", "3 seeds" or "1 to 3 seeds"."""
    numbers = sorted(set(seeds))
    if numbers == [1]:
        return "1 seed"
    return f"{numbers[0]} seeds" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]} seeds"


@contextmanager
def styled() -> Iterator[None]:
    """Set the style of figures. Draw and save inside this context."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's matplotlibrc would change the bytes
        matplotlib.rcParams.update(STYLE)
        yield


def canvas(
    rows: int,
    columns: int,
    height: float,
    title: str,
    caption: str,
    entries: int = 0,
    wide: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, with a title above and a caption below.

    A figure of one column is as wide as a column of a paper, unless it is `wide`. Any other is as wide as the
    page.

    rows, columns: the grid of panels.
    height: of a panel, in inches.
    entries: lines of the common legend. Room for them is left above the caption. See `legend`.
    """
    from matplotlib.figure import Figure

    width = COLUMN if columns == 1 and not wide else PAGE
    # Letters per inch at the font sizes below.
    title_lines = textwrap.wrap(title, round(width * 14.5))
    caption_lines = textwrap.wrap(caption, round(width * 19))
    top = 0.06 + 0.14 * len(title_lines)
    foot = 0.05 + 0.1 * len(caption_lines)
    bottom = foot + 0.05 + ENTRY * entries
    total = top + height * rows + bottom
    figure = Figure(figsize=(width, total), layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, bottom / total, 1, height * rows / total))  # type: ignore[call-arg]
    figure.text(0.01, 1 - 0.04 / total, "\n".join(title_lines), va="top", fontsize=8, fontweight="bold")
    figure.text(0.01, foot / total, "\n".join(caption_lines), va="top", fontsize=6, color="#444444")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def legend(figure: Figure, handles: Mapping[str, Artist], columns: int, length: float = 2.2) -> None:
    """Put a legend of all panels just above the caption.

    handles: an example of each line or dot, by its name.
    columns: of the legend.
    length: of an example, in units of the font size.
    """
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
    """Write stem.svg and stem.png and return their paths.

    The files carry no dates and no versions, so that equal figures have equal bytes.
    """
    _lay_out(figure)
    paths = []
    for suffix, content in (("svg", _svg(figure)), ("png", _png(figure))):
        path = stem.with_name(f"{stem.name}.{suffix}")
        replace_file(path, content, "--output")
        paths.append(path)
    return paths


def for_pages(figure: Figure, digest: str) -> bytes:
    """Return a figure as a small SVG for the web: its words are text, its numbers have two decimals.

    digest: of what it shows, to be found in the file.
    """
    _lay_out(figure)
    content = _svg(figure, {"svg.fonttype": "none"}).decode()
    for pattern, better in WEB.items():
        content = re.sub(pattern, better, content)
    return content.replace("</svg>", f"<!-- prunebench leaderboard {digest} -->\n</svg>").encode()


def _lay_out(figure: Figure) -> None:
    """Place the panels of a figure for good, at positions rounded to a millionth of its size.

    The last digits of matplotlib's own positions depend on memory addresses. They decide the ids in an SVG.
    """
    with styled():
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        left, bottom, width, height = ax.get_position(original=True).bounds
        ax.set_position((round(left, 6), round(bottom, 6), round(width, 6), round(height, 6)))


def _svg(figure: Figure, settings: Any = None) -> bytes:
    import matplotlib

    content = io.BytesIO()
    with styled(), matplotlib.rc_context(settings):
        figure.savefig(content, format="svg", dpi=DPI, metadata={"Date": None, "Creator": "prunebench"})
    return content.getvalue()


def _png(figure: Figure) -> bytes:
    """Return the PNG with a palette of 256 colors. It has a third of the bytes of one without."""
    from PIL import Image

    full_color = io.BytesIO()
    content = io.BytesIO()
    with styled():
        figure.savefig(full_color, format="png", dpi=DPI)
    with Image.open(full_color) as image:
        flat = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    flat.save(content, format="png", optimize=True, dpi=(DPI, DPI))
    return content.getvalue()
