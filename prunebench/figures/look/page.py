"""What a page shows -> one HTML file. It holds its pictures, and asks for no address."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from prunebench.figures.look.content import Overview
from prunebench.figures.report.page import STYLE, THEME, environment, inlined
from prunebench.parts.artefacts import Array

FOLDER = Path(__file__).parent / "html"
SIDE = 96  # pixels of a picture
QUALITY = 70  # of a JPEG


def render(overview: Overview, pictures: Mapping[str, Array]) -> str:
    """Return a page as HTML. All its words are escaped.

    pictures: uint8 [3, SIDE, SIDE] of each file. Those of files that cannot be read are absent.
    """
    template = environment(FOLDER).get_template("look.html")
    return template.render(
        overview=overview,
        pictures={file: _data_url(pixels) for file, pixels in pictures.items()},
        side=SIDE,
        **inlined([STYLE, FOLDER / "look.css"], [THEME]),
    )


def _data_url(pixels: Array) -> str:
    """Return a picture as a JPEG in an address of its own. pixels: uint8 [3, side, side]."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(file, "jpeg", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
