"""The recorder of training dynamics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from prunebench.errors import PrunebenchError
from prunebench.nn.networks import array
from prunebench.parts.artefacts import Dynamics

Tensor = torch.Tensor
INSIDE_LOG = 1e-8


class Recorder:
    """Collects the dynamics: one small tensor per epoch on the device, the series in host memory."""

    def __init__(self, epochs: int, images: int, classes: int, device: str) -> None:
        if classes < 2 or epochs < 1:
            raise PrunebenchError(
                f"nothing to record in {epochs} complete epoch(s) of {classes} class(es); "
                "train longer, on two classes or more"
            )
        self.epoch = 0
        self.series = np.zeros((len(Dynamics.series), epochs, images), dtype=np.float32)
        self.current = torch.zeros(len(Dynamics.series), images, device=device)
        self.log_before = torch.zeros(images, classes, device=device)

    @torch.no_grad()
    def note(self, order: Tensor, labels: Tensor, logits: Tensor, features: Tensor) -> None:
        """Record one mini-batch: of the images at the places `order`, all in float32."""
        log_probability = logits.log_softmax(1)
        probability = log_probability.exp()
        both = torch.stack((probability, logits))
        column = labels.expand(2, -1).unsqueeze(2)
        label, logit = both.gather(2, column).squeeze(2)
        other, other_logit = both.scatter(2, column, -torch.inf).amax(2)
        # The small constant is that of TDDS; without it a probability of 0 would have no logarithm.
        log_safe = (probability + INSIDE_LOG).log_()
        before = self.log_before[order] if self.epoch else log_safe
        # Without the label, whose 1 - p would round to 0: its error is the sum of the others.
        others = probability.scatter(1, labels.unsqueeze(1), 0)
        error_norm = (others.sum(1).square() + others.square().sum(1)).sqrt_()
        entropy = (probability * log_probability).sum(1).neg_()
        divergence = (log_safe - before).mul_(probability).abs_().sum(1)
        norm = torch.linalg.vector_norm(features, dim=1)
        values = (label, other, error_norm, entropy, divergence, logit - other_logit, norm)
        self.current[:, order] = torch.stack(values)
        self.log_before[order] = log_safe

    def close(self) -> None:
        """End the epoch."""
        self.series[:, self.epoch] = self.current.cpu().numpy()
        self.epoch += 1

    def state(self) -> dict[str, Any]:
        """Return copies of what was recorded so far."""
        series = self.series[:, : self.epoch].copy()
        return {"recorded": series, "log_before": array(self.log_before)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.epoch = state["recorded"].shape[1]
        self.series[:, : self.epoch] = state["recorded"]
        self.log_before.copy_(torch.tensor(state["log_before"]))
