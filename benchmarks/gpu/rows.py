"""Rows of the suite `cifar10_short`, one method after another."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.session import Session
from prunebench.results import rows

SUITE = "cifar10_short"
METHODS = (  # the cheapest first
    "random",
    "full",
    "dual",
    "aum_supervised",
    "el2n_supervised",
    "prototypicality_efficientnet",
    "elfs_efficientnet",
    "semi_dual",
    "semi_aum",
    "ssl_model",
)
RUN = [sys.executable, "-m", "prunebench", "run", "--suite", SUITE]
TINY_SUITE = "quickstart"
TINY_RUN = [sys.executable, "-m", "tests.pretend_gpu", "run", "--suite", TINY_SUITE, "--workers", "0"]
TINY_RUN += ["--ratios", "90", "--seeds", "1", "--set", "recipe.epochs=2"]


def findings(session: Session) -> Iterator[dict[str, Any]]:
    """Yield how each run ended, and how many rows there are by then.

    A run that is stopped is resumed by the same command, as artefacts are in the store of the user. Rows and
    page are in OUT/leaderboard, and what the runs say in OUT/rows.txt.
    """
    results, said = session.out / "leaderboard", session.out / "rows.txt"
    command = [*RUN, "--device", "cuda", "--data", str(session.data), "--results", str(results)]
    if session.rehearse:
        command[: len(RUN)] = [*TINY_RUN, "--store", str(session.out / "store")]
    for method in METHODS[:1] if session.rehearse else METHODS:
        with said.open("a") as output:
            code = session.run([*command, "--methods", method], output, signal.SIGTERM)
        made, _messages = rows.read(results, TINY_SUITE if session.rehearse else SUITE)
        last = said.read_text(errors="replace").splitlines()[-1:]
        yield {"finding": "rows", "method": method, "exit": code, "rows": len(made), "said": last}
