"""What decoding rests on in the whole process: set while any thread decodes, and put back when none does.

Scripts and libraries change settings of Pillow for all that runs beside them. With one of them a file that
was cut short becomes a photo that is half grey.
"""

from __future__ import annotations

import ctypes
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

LARGEST = 2**30 // 12  # pixels; Pillow's own limit, and a file of more than twice as many is refused
SETTINGS = (
    ("PIL.ImageFile", "LOAD_TRUNCATED_IMAGES", False),
    ("PIL.GifImagePlugin", "LOADING_STRATEGY", 0),
    ("PIL.PngImagePlugin", "MAX_TEXT_CHUNK", 2**20),
    ("PIL.PngImagePlugin", "MAX_TEXT_MEMORY", 2**26),
)
AT_ONCE = 2**27  # pixels that all threads together decode; a transparent one takes 20 bytes for a while

_lock = threading.Lock()
_held = ExitStack()
_users = 0


@contextmanager
def decoders() -> Iterator[None]:
    """Load the decoders, set what they rest on, and silence their warnings, as long as any thread is in here.

    A warning of Pillow or libtiff concerns one odd file of many, which it does not name.
    """
    global _users
    with _lock:
        if not _users:
            _held.enter_context(_settled())
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _held.close()


@contextmanager
def _settled() -> Iterator[None]:
    from PIL import Image

    Image.init()  # before threads do it at the same time
    wanted = (*SETTINGS, ("PIL.Image", "MAX_IMAGE_PIXELS", LARGEST))
    before = [(import_module(module), name) for module, name, _ in wanted]
    values = [getattr(module, name) for module, name in before]
    with ExitStack() as stack:
        for (module, name), value in zip(before, values, strict=True):
            stack.callback(setattr, module, name, value)
        for (module, name), (*_, value) in zip(before, wanted, strict=True):
            setattr(module, name, value)
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for quieted in _complaints():
            stack.callback(quieted, quieted(None))
        yield


def _complaints() -> Iterator[Callable[[Any], Any]]:
    """Yield the functions that say what libtiff does with its complaints: it prints them, past Python."""
    from PIL import _imaging

    library = ctypes.CDLL(_imaging.__file__)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if hasattr(library, name):  # not where libtiff is built into Pillow
            function = getattr(library, name)
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            yield function


class Room:
    """So many pixels for all threads together; who wants more than there are at all gets them alone."""

    def __init__(self, pixels: int) -> None:
        self.pixels = self.left = pixels
        self.changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until there is room, and take it for a while."""
        share = min(pixels, self.pixels)
        with self.changed:
            self.changed.wait_for(lambda: share <= self.left)
            self.left -= share
        try:
            yield
        finally:
            with self.changed:
                self.left += share
                self.changed.notify_all()


ROOM = Room(AT_ONCE)
