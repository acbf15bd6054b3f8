"""Is it right: the tests that need a GPU."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.session import Session

# A bare machine has other versions, which may warn, and lacks what other tests import.
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default"]
PYTEST += ["--continue-on-collection-errors"]
PRETENDING = ["-p", "tests.pretend_gpu"]
MARKED = ["-m", "gpu", "tests"]
TINY = ["-m", "gpu", "tests/parts/test_images.py"]
PROBLEMS = ("FAILED ", "ERROR ")


def findings(session: Session) -> Iterator[dict[str, Any]]:
    """Yield the summary of the tests, and which failed."""
    yield summary(session, "tests", TINY if session.rehearse else MARKED)


def summary(session: Session, name: str, arguments: list[str]) -> dict[str, Any]:
    """Run pytest, and return its last line and which tests failed. Its output is in OUT/NAME.txt."""
    path = session.out / f"{name}.txt"
    command = [*PYTEST, *(PRETENDING if session.rehearse else []), *arguments]
    with path.open("w") as output:
        code = session.run(command, output, signal.SIGINT)
    lines = path.read_text(errors="replace").splitlines() or [""]
    failed = [line for line in lines if line.startswith(PROBLEMS)]
    asked = " ".join(arguments)
    return {"finding": name, "pytest": asked, "exit": code, "summary": lines[-1], "failed": failed}
