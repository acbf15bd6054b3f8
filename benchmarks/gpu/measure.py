"""How long a step takes, how often it makes the host wait, and what it computes."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu.session import Session
from prunebench.nn.replay import WARM, waits
from prunebench.parts.precision import PRECISIONS, arithmetic

Step = Callable[[], object]
WARM_UP = WARM + 2  # steps, the last of which are recorded
SIDE = 8192  # of the matrices whose product says how fast the GPU multiplies
TINY_SIDE = 64


def tried(measure: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """Return what was measured, or why nothing could be. Free what the measurement held."""
    try:
        return measure(*given)
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def timed(make: Callable[[], Step], precision: str, session: Session) -> dict[str, Any]:
    """Return the milliseconds of a step, the waits of its host, and the most memory it took."""
    torch.cuda.reset_peak_memory_stats()
    step = make()
    with arithmetic(precision):
        ms = milliseconds(step, session)
        with waits() as found:
            step()
    return {"ms": ms, "waits": len(found), "peak_gb": torch.cuda.max_memory_allocated() / 1e9}


def milliseconds(step: Step, session: Session) -> float:
    """Return the milliseconds of a step: the median over rounds of several steps."""
    for _ in range(WARM_UP):
        step()
    torch.cuda.synchronize()
    rounds: list[float] = []
    begin = time.perf_counter()
    while not rounds or time.perf_counter() - begin < session.seconds:
        start = time.perf_counter()
        for _ in range(session.steps):
            step()
        torch.cuda.synchronize()
        rounds.append(1e3 * (time.perf_counter() - start) / session.steps)
    return statistics.median(rounds)


def gflop(step: Step) -> float:
    """Return the billions of operations in the matrix products and convolutions of a launched step."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


def product_rates(session: Session) -> dict[str, float]:
    """Return the TFLOP/s of the product of two large matrices, by precision: about the most of any step."""
    return {precision: _product_rate(precision, session) for precision in PRECISIONS}


def _product_rate(precision: str, session: Session) -> float:
    side = TINY_SIDE if session.rehearse else SIDE
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    matrix = torch.randn(side, side, device="cuda").to(kind)
    with arithmetic(precision):
        ms = milliseconds(lambda: matrix @ matrix, session)
    return 2 * side**3 / ms / 1e9
