"""Settings of Pillow and libtiff for the whole process, set while any thread decodes and restored after.

Other scripts and libraries change these settings for the whole process. One of them turns a truncated file
into a photo that is half gray.
"""

from __future__ import annotations

import ctypes
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from prunebench.photos.formats import reads_heic

LARGEST = 2**30 // 12  # pixels, Pillow's default. Pillow refuses files of more than twice as many
SETTINGS = (
    ("PIL.ImageFile", "LOAD_TRUNCATED_IMAGES", False),
    ("PIL.GifImagePlugin", "LOADING_STRATEGY", 0),
    ("PIL.PngImagePlugin", "MAX_TEXT_CHUNK", 2**20),
    ("PIL.PngImagePlugin", "MAX_TEXT_MEMORY", 2**26),
)
AT_ONCE = 2**27  # pixels that all threads together may decode; a transparent pixel takes 20 bytes at peak

_lock = threading.Lock()
_held = ExitStack()
_users = 0


@contextmanager
def decoders() -> Iterator[None]:
    """Load the decoders, set their settings and silence their warnings, while any thread is inside.

    Warnings are silenced because Pillow and libtiff do not name the file.
    """
    global _users
    with _lock:
        if not _users:
            _held.enter_context(_settings())
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _held.close()


@contextmanager
def _settings() -> Iterator[None]:
    """Set all settings, and restore the previous values at the end."""
    from PIL import Image

    Image.init()  # now: threads that do it at the same time would clash
    if reads_heic():
        import pillow_heif

        pillow_heif.register_heif_opener()
    with ExitStack() as stack:
        for module_name, name, value in (*SETTINGS, ("PIL.Image", "MAX_IMAGE_PIXELS", LARGEST)):
            module = import_module(module_name)
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for set_handler in _libtiff_handlers():
            previous = set_handler(None)
            stack.callback(set_handler, previous)
        yield


def _libtiff_handlers() -> Iterator[Callable[[Any], Any]]:
    """Yield libtiff's setters of the error and the warning handler.

    By default libtiff prints to stderr by itself, and Python cannot catch it.
    """
    from PIL import _imaging

    library = ctypes.CDLL(_imaging.__file__)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if hasattr(library, name):  # missing if libtiff is linked into Pillow
            function = getattr(library, name)
            function.argtypes = [ctypes.c_void_p]
            function.restype = ctypes.c_void_p
            yield function


class Room:
    """A number of pixels that all threads share. A larger photo is decoded alone."""

    def __init__(self, pixels: int) -> None:
        self.pixels = self.left = pixels
        self.changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until `pixels` are free, and take them during the block."""
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
