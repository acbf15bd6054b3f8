"""The built-in parts as tests make them: those that train, in settings that take a fraction of a second."""

from __future__ import annotations

from prunebench.errors import PrunebenchError
from prunebench.parts.base import Part
from prunebench.parts.registry import load
from prunebench_plugins.backbones.efficientnet import EfficientnetLite0
from prunebench_plugins.backbones.swav.part import Swav
from prunebench_plugins.draws.zcore import ZcoreDraw
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from prunebench_plugins.labelers.labeled_only import LabeledOnly
from prunebench_plugins.labelers.temi.part import Temi
from prunebench_plugins.scorers.grand import Grand
from prunebench_plugins.scorers.zcore.part import Zcore

FIXMATCH = FixMatch(network="cnn", iterations=10, batch=8, mu=2, ema_warmup=True, bn_momentum=0.1)
BRIEF = {
    (f"{part.kind}s", part.name): part
    for part in (
        FIXMATCH,
        LabeledOnly(fixmatch=FIXMATCH),
        Temi(heads=2, neighbors=5, hidden=16, bottleneck=8, epochs=4, warmup_epochs=1, batch=32, lr=0.01),
        Swav(network="cnn", hidden=16, projection=8, epochs=2, warmup_epochs=1, batch=32, freeze_steps=1),
        EfficientnetLite0(side=32),
        Grand(runs=2, epochs=2),
        Zcore(rounds=2000, neighbors=20),
        ZcoreDraw(rounds=2000, neighbors=20),
    )
}
KINDS = ("backbones", "labelers", "scorers", "selectors", "draws")


def brief(kind: str, name: str) -> Part:
    """Return a built-in part, at its defaults where they are quick."""
    return BRIEF.get((kind, name)) or load().part(kind.removesuffix("s"), name)


def ready(kind: str, name: str) -> bool:
    """Whether everything a part reads is here, and it takes any embeddings."""
    try:
        brief(kind, name).ready()
    except PrunebenchError:
        return False
    return name != "zeroshot"  # it wants the embeddings of its own backbone


BUILT_IN = [
    (kind, name)
    for (kind, name), owner in sorted(load().owners.items())
    if owner == "prunebench" and kind in KINDS
]
READY = [(kind, name) for kind, name in BUILT_IN if ready(kind, name)]
