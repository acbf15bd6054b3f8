"""CPU seconds of scores from recorded dynamics, beside those from what published code keeps and loops over.

    python benchmarks/speed/dynamics.py [--rounds 7]

DUAL (30 epochs) and dynamic uncertainty (200 epochs) from the recorded probabilities of the label: the
published code cuts out every window and asks PyTorch for its mean and standard deviation; the same loop
in NumPy is measured too. AUM, EL2N and forgetting (60 epochs, 10 classes): the published code keeps all
logits and starts from these. The loops are restated here from the formulas, in float32 as published. All
take turns on one thread; each figure is the median over the rounds. Results are compared before.
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

WINDOW, EARLY, LONG = 10, 30, 200
LOGIT_EPOCHS, CLASSES = 60, 10

Contestants = dict[str, Callable[[], Array]]


def dual_in_torch(own: torch.Tensor) -> torch.Tensor:
    """Return DUAL, window by window, from the probabilities of the label, [epochs, n]."""
    scores = []
    for start in range(len(own) - WINDOW + 1):
        cut = own[start : start + WINDOW]
        scores.append(cut.std(dim=0) * (1 - cut.mean(dim=0)))
    return torch.stack(scores).mean(dim=0)


def dyn_unc_in_torch(own: torch.Tensor) -> torch.Tensor:
    """Return dynamic uncertainty, window by window, from the probabilities of the label, [epochs, n]."""
    cuts = (own[start : start + WINDOW] for start in range(len(own) - WINDOW + 1))
    return torch.stack([cut.std(dim=0) for cut in cuts]).mean(dim=0)


def dual_in_numpy(own: Array) -> Array:
    """Return DUAL, window by window, from the probabilities of the label, [epochs, n]."""
    total = np.zeros(own.shape[1], np.float32)
    for start in range(len(own) - WINDOW + 1):
        cut = own[start : start + WINDOW]
        total += cut.std(axis=0, ddof=1) * (1 - cut.mean(axis=0))
    return total / (len(own) - WINDOW + 1)


def dyn_unc_in_numpy(own: Array) -> Array:
    """Return dynamic uncertainty, window by window, from the probabilities of the label, [epochs, n]."""
    total = np.zeros(own.shape[1], np.float32)
    for start in range(len(own) - WINDOW + 1):
        total += own[start : start + WINDOW].std(axis=0, ddof=1)
    return total / (len(own) - WINDOW + 1)


def aum_of_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the negated mean margin from all logits, [epochs, n, classes]."""
    p = functional.softmax(logits, dim=2)
    column = labels.expand(len(p), -1).unsqueeze(2)
    own = p.gather(2, column).squeeze(2)
    return -(own - p.scatter(2, column, 0).amax(dim=2)).mean(dim=0)


def el2n_of_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean distance to the label in the first ten epochs from all logits."""
    p = functional.softmax(logits[:10], dim=2)
    return (p - functional.one_hot(labels, CLASSES)).norm(dim=2).mean(dim=0)


def forgetting_of_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return how often a correct prediction was lost from all logits."""
    correct = logits.argmax(dim=2) == labels
    return (correct[:-1] & ~correct[1:]).sum(dim=0)


def recorded(**series: Array) -> Dynamics:
    """Return dynamics that hold these series, float32 [epochs, n]; the others share one array of zeros."""
    zeros = np.zeros_like(next(iter(series.values())))
    for values in (zeros, *series.values()):
        values.setflags(write=False)  # so that the artefact need not copy it
    everything = dict.fromkeys(Dynamics.series, zeros) | series
    return Dynamics(images=zeros.shape[1], index=np.arange(zeros.shape[1]), **everything)


def windowed(images: int) -> dict[str, Contestants]:
    """Return the contestants for scores of windows."""
    rng = np.random.default_rng(0)
    walk = rng.standard_normal((LONG, images), dtype=np.float32).cumsum(axis=0) / 4
    dynamics = recorded(label_probability=1 / (1 + np.exp(-walk)))
    own = dynamics.label_probability
    tensor = torch.tensor(own)
    return {
        f"DUAL, {EARLY} epochs": {
            "PyTorch": lambda: dual_in_torch(tensor[:EARLY]).numpy(),
            "NumPy": lambda: dual_in_numpy(own[:EARLY]),
            "ours": lambda: Dual(window=WINDOW, epochs=EARLY).score(dynamics),
        },
        f"dynamic uncertainty, {LONG} epochs": {
            "PyTorch": lambda: dyn_unc_in_torch(tensor).numpy(),
            "NumPy": lambda: dyn_unc_in_numpy(own),
            "ours": lambda: DynUnc(window=WINDOW).score(dynamics),
        },
    }


def of_logits(images: int) -> dict[str, Contestants]:
    """Return the contestants for scores that published code computes from all logits."""
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
    del p
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
    """Return the CPU seconds of each contestant: the median over rounds in which all take turns."""
    spent: dict[str, dict[str, list[float]]] = {}
    for name, contestants in problems.items():
        ours = contestants["ours"]()
        for contestant in contestants.values():
            np.testing.assert_allclose(contestant(), ours, atol=1e-4)
        spent[name] = {contestant: [] for contestant in contestants}
    for _ in range(rounds):
        for name, contestants in problems.items():
            for contestant, compute in contestants.items():
                begin = time.process_time()
                compute()
                spent[name][contestant].append(time.process_time() - begin)
    return {
        name: {contestant: statistics.median(each) for contestant, each in seconds.items()}
        for name, seconds in spent.items()
    }


def rows(images: int, found: dict[str, dict[str, float]], together: str) -> list[list[str]]:
    """Return the lines of the table, and one with the sums."""
    peers = [peer for peer in ("PyTorch", "NumPy") if all(peer in seconds for seconds in found.values())]
    total = {who: sum(seconds[who] for seconds in found.values()) for who in (*peers, "ours")}
    lines = []
    for name, seconds in [*found.items(), (together, total)]:
        theirs = [f"{1000 * seconds[peer]:.1f}" if peer in peers else "" for peer in ("PyTorch", "NumPy")]
        ratios = [
            f"{seconds[peer] / seconds['ours']:.1f}" if peer in peers else "" for peer in ("PyTorch", "NumPy")
        ]
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
    peers = ["PyTorch, ms", "NumPy, ms", "ours, ms", "PyTorch / ours", "NumPy / ours"]
    print(tabulate(body, ["images", "score", *peers], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
