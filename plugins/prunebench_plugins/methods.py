"""The methods in the tables: each a name, a title, and three parts."""

from __future__ import annotations

from prunebench.hookspecs import hookimpl
from prunebench.parts import Labeler, Method, Scorer, Selector
from prunebench_plugins.labelers.fixmatch import FixMatch
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.labelers.labelled_only import LabelledOnly
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.labelers.probe import Probe
from prunebench_plugins.labelers.propagate import Propagate
from prunebench_plugins.labelers.temi import Temi
from prunebench_plugins.labelers.zeroshot import Zeroshot
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.scorers.el2n import El2n
from prunebench_plugins.scorers.forgetting import Forgetting
from prunebench_plugins.selectors.beta import Beta
from prunebench_plugins.selectors.cutoff import Cutoff
from prunebench_plugins.selectors.include import Include
from prunebench_plugins.selectors.known import Known
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.top import Top


@hookimpl
def register_methods() -> list[Method]:
    """Return the built-in methods, then the references they are read against."""
    return [
        Method("random", title="Random", selector=Random()),
        *unsupervised(),
        *semi_supervised(),
        *supervised(),
        *references(),
    ]


def unsupervised() -> list[Method]:
    """Return the methods that guess without a label: ELFS (Zheng et al. 2025) on several embeddings, CLIP."""
    backbones = {
        "dino": ("dino_vitb16", "DINO"),
        "dinov2": ("dinov2_vitb14", "DINOv2"),
        "clip": ("clip_vitl14", "CLIP"),
        "efficientnet": ("efficientnet_lite0", "EfficientNet"),
        "pixels": ("pixels", "pixels"),
        "swav": ("swav", "self-encoder SwAV"),
    }
    return [
        scored(f"elfs_{name}", f"ELFS ({shown})", Temi(backbone=backbone), Aum(), Cutoff())
        for name, (backbone, shown) in backbones.items()
    ] + [scored("zeroshot_aum", "Zero-shot-AUM+Cutoff (CLIP)", Zeroshot(), Aum(), Cutoff())]


def semi_supervised() -> list[Method]:
    """Return the methods that buy some labels: SemiPrune's, and the controls with cheaper labelers."""
    return [
        scored("semi_aum", "Semi-AUM+Cutoff", FixMatch(), Aum(), Cutoff()),
        scored("semi_dual", "Semi-DUAL+Beta", FixMatch(), Dual(), Beta()),
        scored("semi_aum+known", "Semi-AUM+Cutoff, paid kept", FixMatch(), Aum(), Include(selector=Cutoff())),
        scored("semi_dual+known", "Semi-DUAL+Beta, paid kept", FixMatch(), Dual(), Include(selector=Beta())),
        scored("probe_aum", "Probe-AUM+Cutoff", Probe(), Aum(), Cutoff()),
        scored("probe_dual", "Probe-DUAL+Beta", Probe(), Dual(), Beta()),
        scored("propagate_aum", "Propagate-AUM+Cutoff", Propagate(), Aum(), Cutoff()),
        scored("labelled_only_aum", "Labelled-only-AUM+Cutoff", LabelledOnly(), Aum(), Cutoff()),
    ]


def supervised() -> list[Method]:
    """Return the methods that buy every label."""
    return [
        scored("dual", "DUAL+Beta (all labels)", GroundTruth(), Dual(), Beta()),
        scored("aum_supervised", "AUM+Cutoff (all labels)", GroundTruth(), Aum(), Cutoff()),
        scored("el2n_supervised", "EL2N (all labels)", GroundTruth(), El2n(), Top()),
        scored("forgetting_supervised", "Forgetting (all labels)", GroundTruth(), Forgetting(), Top()),
    ]


def scored(name: str, title: str, labeler: Labeler, scorer: Scorer, selector: Selector) -> Method:
    """Return a method of three parts."""
    return Method(name, title=title, labeler=labeler, scorer=scorer, selector=selector)


def references() -> list[Method]:
    """Return what methods are read against; none of it is ranked."""
    return [
        Method("full", title="All images", selector=Random(), reference=True, ratio=0),
        Method(
            "pseudo_all",
            title="All images, labels of FixMatch",
            labeler=FixMatch(),
            selector=Random(),
            reference=True,
            ratio=0,
            final="labels",
        ),
        Method(
            "ssl_model",
            title="FixMatch's own network",
            labeler=FixMatch(),
            selector=Known(),
            reference=True,
            ratio=90,
            final="labeler",
        ),
        Method(
            "labelled_only",
            title="The paid 10 %",
            labeler=NoLabeler(annotation=0.1),
            selector=Known(),
            reference=True,
            ratio=90,
        ),
        Method("random_twin", title="Random, again", selector=Random(stream=1), reference=True),
        Method(
            "random_stratified",
            title="Random, stratified by true class",
            labeler=GroundTruth(),
            selector=Random(per_class=True),
            reference=True,
        ),
    ]
