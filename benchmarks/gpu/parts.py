"""Is it right: the tests of parts and networks that may compute anywhere, on the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.session import Session
from benchmarks.gpu.tests import summary

FOLDERS = ["-n", "auto", "--device", "cuda", "tests/nn", "tests/plugins"]
TINY = ["--device", "cuda", "tests/plugins/test_herding.py"]


def findings(session: Session) -> Iterator[dict[str, Any]]:
    """Yield the summary of the tests, and which failed."""
    yield summary(session, "parts", TINY if session.rehearse else FOLDERS)
