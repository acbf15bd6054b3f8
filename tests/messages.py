"""Errors of users, as the tests of several modules ask for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prunebench.errors import PrunebenchError


def line(action: Callable[[], object], kind: type[Exception] = PrunebenchError) -> str:
    """Return the message of the error that an action raises. It has to be one line."""
    with pytest.raises(kind) as error:
        action()
    message = str(error.value)
    assert "\n" not in message
    return message
