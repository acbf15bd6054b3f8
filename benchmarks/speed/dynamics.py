"""CPU seconds of scores from recorded dynamics, compared with the loops of published code.

    python benchmarks/speed/dynamics.py [--rounds 7]

DUAL (30 epochs) and dynamic uncertainty (200 epochs) start from the recorded probabilities of the label. The
published code cuts out every window and computes its mean and standard deviation in PyTorch. The same loop in
NumPy is measured too.

AUM, EL2N and forgetting (60 epochs, 10 classes) start from all logits in the published code.

The published loops are rewritten here from the formulas, in float32. Before the timing, all results are
checked to be equal. All contestants take turns on one thread. A figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

import numpy as np
import torch
from tabulate import tabulate
from torch.nn import functional

from prunebench.parts.artefacts import Array, Dynamics
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.scorers.dyn_unc import DynUnc
from prunebench_plugins.scorers.el2n import El2n
from prunebench_plugins.scorers.forgetting import Forgetting

WINDOW, EARLY, LONG = 10, 30, 200  # epochs
LOGIT_EPOCHS, CLASSES = 60, 10
PEERS = ("PyTorch", "NumPy")

Contestants = dict[str, Callable[[], Array]]


def dual_in_torch(label_probability: torch.Tensor) -> torch.Tensor:
    """Return DUAL, [n], window by window. label_probability: [epochs, n]."""
    scores = []
    for start in range(len(label_probability) - WINDOW + 1):
        window = label_probability[start : start + WINDOW]
        scores.append(window.std(dim=0) * (1 - window.mean(dim=0)))
    return torch.stack(scores).mean(dim=0)


def dyn_unc_in_torch(label_probability: torch.Tensor) -> torch.Tensor:
    """Return dynamic uncertainty, [n], window by window. label_probability: [epochs, n]."""
    deviations = []
    for start in range(len(label_probability) - WINDOW + 1):
        deviations.append(label_probability[start : start + WINDOW].std(dim=0))
    return torch.stack(deviations).mean(dim=0)


def dual_in_numpy(label_probability: Array) -> Array:
    """Return DUAL, [n], window by window. label_probability: [epochs, n]."""
    windows = len(label_probability) - WINDOW + 1
    total = np.zeros(label_probability.shape[1], np.float32)
    for start in range(windows):
        window = label_probability[start : start + WINDOW]
        total += window.std(axis=0, ddof=1) * (1 - window.mean(axis=0))
    return total / windows


def dyn_unc_in_numpy(label_probability: Array) -> Array:
    """Return dynamic uncertainty, [n], window by window. label_probability: [epochs, n]."""
    windows = len(label_probability) - WINDOW + 1
    total = np.zeros(label_probability.shape[1], np.float32)
    for start in range(windows):
        total += label_probability[start : start + WINDOW].std(axis=0, ddof=1)
    return total / windows


def aum_of_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the negated mean margin, [n]. logits: [epochs, n, classes]."""
    p = functional.softmax(logits, dim=2)
    column = labels.expand(len(p), -1).unsqueeze(2)
    label_probability = p.gather(2, column).squeeze(2)
    return -(label_probability - p.scatter(2, column, 0).amax(dim=2)).mean(dim=0)


def el2n_of_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean distance to the label in the first ten epochs, [n]. logits: [epochs, n, classes]."""
    p = functional.softmax(logits[:10], dim=2)
    return (p - functional.one_hot(labels, CLASSES)).norm(dim=2).mean(dim=0)


def forgetting_of_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return how often a correct prediction was lost, [n]. logits: [epochs, n, classes]."""
    correct = logits.argmax(dim=2) == labels
    return (correct[:-1] & ~correct[1:]).sum(dim=0)


def recorded(**series: Array) -> Dynamics:
    """Return dynamics with these series, float32 [epochs, n]. All other series share one array of zeros."""
    zeros = np.zeros_like(next(iter(series.values())))
    for values in (zeros, *series.values()):
        values.setflags(write=False)  # the artefact copies writable arrays
    all_series = dict.fromkeys(Dynamics.series, zeros) | series
    return Dynamics(images=zeros.shape[1], index=np.arange(zeros.shape[1]), **all_series)


def windowed(images: int) -> dict[str, Contestants]:
    """Return the contestants of each score over windows of epochs."""
    rng = np.random.default_rng(0)
    walk = rng.standard_normal((LONG, images), dtype=np.float32).cumsum(axis=0) / 4
    dynamics = recorded(label_probability=1 / (1 + np.exp(-walk)))
    array = dynamics.label_probability
    tensor = torch.tensor(array)
    return {
        f"DUAL, {EARLY} epochs": {
            "PyTorch": lambda: dual_in_torch(tensor[:EARLY]).numpy(),
            "NumPy": lambda: dual_in_numpy(array[:EARLY]),
            "ours": lambda: Dual(window=WINDOW, epochs=EARLY).score(dynamics),
        },
        f"dynamic uncertainty, {LONG} epochs": {
            "PyTorch": lambda: dyn_unc_in_torch(tensor).numpy(),
            "NumPy": lambda: dyn_unc_in_numpy(array),
            "ours": lambda: DynUnc(window=WINDOW).score(dynamics),
        },
    }


def of_logits(images: int) -> dict[str, Contestants]:
    """Return the contestants of each score that published code computes from all logits."""
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.standard_normal((LOGIT_EPOCHS, images, CLASSES), dtype=np.float32) * 3)
    labels = torch.tensor(rng.integers(CLASSES, size=images))
    p = logits.softmax(2)
    column = labels.expand(LOGIT_EPOCHS, -1).unsqueeze(2)
    dynamics = recorded(
        label_probability=p.gather(2, column).squeeze(2).numpy(),
        other_probability=p.scatter(2, column, 0).amax(2).numpy(),
        error_norm=(p - torch.nn.functional.one_hot(labels, CLASSES)).norm(dim=2).numpy(),
    )
    del p  # as large as the logits
    return {
        "AUM": {
            "PyTorch": lambda: aum_of_logits(logits, labels).numpy(),
            "ours": lambda: Aum().score(dynamics),
        },
        "EL2N, 10 epochs": {
            "PyTorch": lambda: el2n_of_logits(logits, labels).numpy(),
            "ours": lambda: El2n(stop=10).score(dynamics),
        },
        "forgetting": {
            "PyTorch": lambda: forgetting_of_logits(logits, labels).numpy(),
            "ours": lambda: Forgetting().score(dynamics),
        },
    }


def measure(problems: dict[str, Contestants], rounds: int) -> dict[str, dict[str, float]]:
    """Return the CPU seconds of each contestant, by problem: the median over rounds.

    All contestants take turns. Their results are compared before.
    """
    seconds: dict[str, dict[str, list[float]]] = {}
    for name, contestants in problems.items():
        ours = contestants["ours"]()
        for compute in contestants.values():
            np.testing.assert_allclose(compute(), ours, atol=1e-4)
        seconds[name] = {contestant: [] for contestant in contestants}
    for _ in range(rounds):
        for name, contestants in problems.items():
            for contestant, compute in contestants.items():
                begin = time.process_time()
                compute()
                seconds[name][contestant].append(time.process_time() - begin)
    medians: dict[str, dict[str, float]] = {}
    for name, by_contestant in seconds.items():
        medians[name] = {
            contestant: statistics.median(values) for contestant, values in by_contestant.items()
        }
    return medians


def rows(images: int, medians: dict[str, dict[str, float]], title_of_sum: str) -> list[list[str]]:
    """Return the lines of the table, the last with the sums. medians: see `measure`."""
    peers = []
    for peer in PEERS:
        if all(peer in seconds for seconds in medians.values()):
            peers.append(peer)
    total = {name: sum(seconds[name] for seconds in medians.values()) for name in (*peers, "ours")}
    lines = []
    for name, seconds in [*medians.items(), (title_of_sum, total)]:
        theirs = [f"{1000 * seconds[peer]:.1f}" if peer in peers else "" for peer in PEERS]
        ratios = [f"{seconds[peer] / seconds['ours']:.1f}" if peer in peers else "" for peer in PEERS]
        lines.append([str(images), name, *theirs, f"{1000 * seconds['ours']:.1f}", *ratios])
    return lines


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, nargs="+", default=[5_000, 20_000, 50_000])
    options = parser.parse_args()
    torch.set_num_threads(1)
    body = []
    for images in options.images:
        body += rows(images, measure(windowed(images), options.rounds), "both")
        body += rows(images, measure(of_logits(images), options.rounds), "all three")
    columns = ["PyTorch, ms", "NumPy, ms", "ours, ms", "PyTorch / ours", "NumPy / ours"]
    print(tabulate(body, ["images", "score", *columns], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
