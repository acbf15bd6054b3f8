"""Any pretrained network of timm, by its name there."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.errors import PrunebenchError
from prunebench.parts.base import Pretraining
from prunebench_plugins.backbones.pretrained import PretrainedBackbone

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Timm(PretrainedBackbone):
    """A pretrained network of timm. Its features are those before its classifier, pooled as timm does.

    Written as `timm:MODEL`. Networks that are made for one size of images, such as most transformers, are
    made for `side`. None is the side of the model's pretraining.

    model: name of the network in timm, with the tag of its weights or without, such as
        "vit_small_patch14_dinov2.lvd142m". None = not set, which `ready` refuses.
    """

    name: ClassVar[str] = "timm"
    argument: ClassVar[str | None] = "model"
    model: str | None = None
    side: int | None = None  # type: ignore[assignment] # that of the model

    def __post_init__(self) -> None:
        if self.side is not None:
            super().__post_init__()

    @property
    def pretraining(self) -> Pretraining:  # type: ignore[override] # that of the model
        """Where to read what the weights saw, which timm does not say in numbers."""
        source = f"the weights of timm's {self.model}, whose card says what they saw"
        return Pretraining(images=None, labels="unknown", classes=0, gpu_hours=None, source=source)

    @property
    def shown(self) -> int:
        """Side of the squares that the network is shown, in pixels."""
        return self.side or int(self._facts().input_size[-1])

    @property
    def mean(self) -> tuple[float, ...]:  # type: ignore[override] # that of the model
        """Mean of the channels in the model's pretraining."""
        return tuple(self._facts().mean)

    @property
    def std(self) -> tuple[float, ...]:  # type: ignore[override] # that of the model
        """Standard deviation of the channels in the model's pretraining."""
        return tuple(self._facts().std)

    def ready(self) -> None:
        """Raise PrunebenchError if timm has no such model, or if its weights are not on this machine."""
        self._facts()
        super().ready()

    def kept_weights(self) -> Path:
        """Return model.safetensors of timm's repository in the Hugging Face cache.

        Raise PrunebenchError if it is absent.
        """
        return self.from_hub(f"timm/{_full_name(self._facts())}", "model.safetensors")

    def network(self, weights: Path) -> nn.Module:
        """Return the network with these weights, without its classifier.

        Raise PrunebenchError if it cannot see images of `shown` pixels.
        """
        import timm
        import torch
        from timm.models import load_checkpoint

        facts = self._facts()
        options: dict[str, Any] = {"img_size": self.shown} if facts.fixed_input_size else {}
        try:
            network: nn.Module = timm.create_model(_full_name(facts), **options)
            with torch.no_grad():
                network.eval()(torch.zeros(1, 3, self.shown, self.shown))
        except Exception as error:  # each family of networks has errors of its own
            reason = " ".join(str(error).split()).rstrip(".")
            raise PrunebenchError(
                f"timm's {self.model} cannot see {self.shown} pixels ({reason}); set timm.side"
            ) from error
        # As timm does it: the module of a family knows how to read its older files.
        filter_fn = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        load_checkpoint(network, str(weights), use_ema=False, filter_fn=filter_fn, weights_only=True)
        network.reset_classifier(0)  # type: ignore[operator]
        return network

    def _facts(self) -> Any:
        """Return what timm knows of the model. Raise PrunebenchError if it does not know it."""
        import timm

        if self.model is None:
            raise PrunebenchError("backbone 'timm' needs the name of a model: write it as timm:MODEL")
        try:
            facts = timm.get_pretrained_cfg(self.model)
        except RuntimeError:  # of a tag that the network does not have
            facts = None
        if facts is None or not facts.tag:
            near = difflib.get_close_matches(self.model, timm.list_pretrained(), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise PrunebenchError(
                f"timm has no weights of a model named {self.model!r}.{hint} See: timm.list_pretrained()"
            )
        return facts


def _full_name(facts: Any) -> str:
    """Return the name of a model with the tag of its weights."""
    return f"{facts.architecture}.{facts.tag}"
