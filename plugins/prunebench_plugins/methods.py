"""The methods in the tables: each has a name, a title and up to three parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prunebench.parts.base import Draw, Labeler, Scorer, Selector
from prunebench.parts.hookspecs import hookimpl
from prunebench.parts.method import Method
from prunebench_plugins.draws.probcover import ProbCover
from prunebench_plugins.draws.typiclust import TypiClust
from prunebench_plugins.draws.usl import Usl
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.labelers.labeled_only import LabeledOnly
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.labelers.probe import Probe
from prunebench_plugins.labelers.propagate import Propagate
from prunebench_plugins.labelers.temi.part import Temi
from prunebench_plugins.labelers.withheld import Withheld
from prunebench_plugins.labelers.zeroshot import Zeroshot
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.scorers.correctness import Correctness
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.scorers.dyn_unc import DynUnc
from prunebench_plugins.scorers.el2n import El2n
from prunebench_plugins.scorers.entropy import Entropy
from prunebench_plugins.scorers.forgetting import Forgetting
from prunebench_plugins.scorers.grand import Grand
from prunebench_plugins.scorers.margin import Margin
from prunebench_plugins.scorers.moderate import Moderate
from prunebench_plugins.scorers.prototypicality import Prototypicality
from prunebench_plugins.scorers.score_extrapolation.part import ScoreExtrapolation
from prunebench_plugins.scorers.tdds import Tdds
from prunebench_plugins.scorers.zcore.part import Zcore
from prunebench_plugins.selectors.annotated import Annotated
from prunebench_plugins.selectors.beta import Beta
from prunebench_plugins.selectors.cutoff import Cutoff
from prunebench_plugins.selectors.d2 import D2
from prunebench_plugins.selectors.draw import Drawn
from prunebench_plugins.selectors.facility_location import FacilityLocation
from prunebench_plugins.selectors.herding import Herding
from prunebench_plugins.selectors.include import Include
from prunebench_plugins.selectors.k_center import KCenter
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.stratified import Stratified
from prunebench_plugins.selectors.top import Top

# Colors in figures, of the methods of the paper's tables and of others of the shipped suites.
COLORS = {
    "random": "#444444",
    "elfs_dino": "#0072b2",
    "elfs_swav": "#009e73",
    "elfs_pixels": "#56b4e9",
    "elfs_efficientnet": "#aa4499",
    "elfs_dinov2": "#332288",
    "elfs_clip": "#882255",
    "prototypicality": "#999933",
    "zcore": "#cc79a7",
    "semi_aum": "#d55e00",
    "semi_dual": "#882255",
    "probe_aum": "#44aa99",
    "score_extrapolation": "#e69f00",
    "dual": "#332288",
    "aum_supervised": "#e69f00",
    "el2n_supervised": "#117733",
    "forgetting_supervised": "#cc79a7",
}


@hookimpl
def register_methods() -> list[Method]:
    """Return the built-in methods, then the references that they are compared with."""
    methods = [
        Method("random", title="Random", selector=Random()),
        *unsupervised(),
        *semi_supervised(),
        *supervised(),
        *references(),
    ]
    return [replace(method, color=COLORS.get(method.name)) for method in methods]


def unsupervised() -> list[Method]:
    """Return the methods without labels: ELFS (Zheng et al. 2025) on several backbones, and others."""
    backbones = {
        "dino": ("dino_vitb16", "DINO"),
        "dinov2": ("dinov2_vitb14", "DINOv2"),
        "clip": ("clip_vitl14", "CLIP"),
        "efficientnet": ("efficientnet_lite0", "EfficientNet"),
        "pixels": ("pixels", "pixels"),
        "swav": ("swav", "self-encoder SwAV"),
    }
    elfs = [
        scored(f"elfs_{name}", f"ELFS ({title})", Temi(backbone=backbone), Aum(), Cutoff())
        for name, (backbone, title) in backbones.items()
    ]
    return [
        *elfs,
        scored("zeroshot_aum", "Zero-shot-AUM+Cutoff (CLIP)", Zeroshot(), Aum(), Cutoff()),
        *on_embeddings(),
        *on_embeddings("_efficientnet", *backbones["efficientnet"]),
        *on_embeddings("_pixels", *backbones["pixels"]),
        *drawn(),
    ]


def on_embeddings(suffix: str = "", backbone: str | None = None, title: str = "") -> list[Method]:
    """Return the methods that read embeddings alone.

    suffix: end of their names.
    backbone: backbone of the embeddings. None = the backbones of their papers.
    title: name of the backbone in their titles.
    """
    fields: dict[str, Any] = {} if backbone is None else {"backbone": backbone}
    addition = f" ({title})" if title else ""
    return [
        Method(
            f"prototypicality{suffix}",
            title=f"Prototypicality{addition}",
            scorer=Prototypicality(**fields),
            selector=Top(),
        ),
        Method(f"zcore{suffix}", title=f"ZCore{addition}", scorer=Zcore(**fields), selector=Top()),
        Method(f"k_center{suffix}", title=f"k-center{addition}", selector=KCenter(**fields)),
        Method(
            f"facility_location{suffix}",
            title=f"Facility location{addition}",
            selector=FacilityLocation(**fields),
        ),
    ]


def drawn() -> list[Method]:
    """Return the methods that keep what a draw draws first: those that are no other method already."""
    draws: dict[str, Draw] = {"TypiClust": TypiClust(), "ProbCover": ProbCover(), "USL": Usl()}
    return [Method(draw.name, title=title, selector=Drawn(draw=draw)) for title, draw in draws.items()]


def semi_supervised() -> list[Method]:
    """Return the methods with a label budget: SemiPrune's, and controls with simpler labelers or none."""
    few = NoLabeler(label_fraction=0.1)
    return [
        scored("semi_aum", "Semi-AUM+Cutoff", FixMatch(), Aum(), Cutoff()),
        scored("semi_dual", "Semi-DUAL+Beta", FixMatch(), Dual(), Beta()),
        scored(
            "semi_aum+annotated",
            "Semi-AUM+Cutoff, annotated kept",
            FixMatch(),
            Aum(),
            Include(selector=Cutoff()),
        ),
        scored(
            "semi_dual+annotated",
            "Semi-DUAL+Beta, annotated kept",
            FixMatch(),
            Dual(),
            Include(selector=Beta()),
        ),
        scored("probe_aum", "Probe-AUM+Cutoff", Probe(), Aum(), Cutoff()),
        scored("probe_dual", "Probe-DUAL+Beta", Probe(), Dual(), Beta()),
        scored("propagate_aum", "Propagate-AUM+Cutoff", Propagate(), Aum(), Cutoff()),
        scored("labeled_only_aum", "Labeled-only-AUM+Cutoff", LabeledOnly(), Aum(), Cutoff()),
        scored("uncertainty_entropy", "Uncertainty (entropy)", few, Entropy(), Top()),
        scored("uncertainty_margin", "Uncertainty (margin)", few, Margin(), Top()),
        *extrapolated(),
    ]


def extrapolated() -> list[Method]:
    """Return Score Extrapolation (Schmidt et al. 2025), which needs scores of annotated images only."""
    few = NoLabeler(label_fraction=0.1)
    published = ScoreExtrapolation(
        scorer=DynUnc(start=2), training="published", batch=128, standardize=False, inference="one_hop"
    )
    leaky = replace(published, labels="all")
    return [
        scored(f"score_extrapolation{suffix}", f"Score Extrapolation ({title})", labeler, scorer, Top())
        for suffix, title, labeler, scorer in (
            ("", "Dyn-Unc", few, ScoreExtrapolation(scorer=DynUnc())),
            ("_dual", "DUAL", few, ScoreExtrapolation(scorer=Dual())),
            ("_knn", "Dyn-Unc, kNN", few, ScoreExtrapolation(scorer=DynUnc(), via="knn")),
            ("_published", "Dyn-Unc, published training", few, published),
            ("_leaky", "Dyn-Unc, as published: reads all labels", Withheld(), leaky),
        )
    ]


def supervised() -> list[Method]:
    """Return the methods that need all labels."""
    return [
        scored(name, f"{title} (all labels)", GroundTruth(), scorer, selector)
        for name, title, scorer, selector in (
            ("dual", "DUAL+Beta", Dual(), Beta()),
            ("aum_supervised", "AUM+Cutoff", Aum(), Cutoff()),
            ("el2n_supervised", "EL2N", El2n(), Top()),
            ("forgetting_supervised", "Forgetting", Forgetting(), Top()),
            ("ccs_supervised", "CCS", Aum(), Stratified()),
            ("d2_supervised", "D2", Forgetting(), D2()),
            ("dyn_unc_supervised", "Dyn-Unc", DynUnc(), Top()),
            ("tdds_supervised", "TDDS", Tdds(), Top()),
            ("entropy_supervised", "Entropy", Entropy(), Top()),
            ("grand_supervised", "GraNd", Grand(), Top()),
            ("moderate_supervised", "Moderate", Moderate(), Top()),
            ("correctness_supervised", "Correctness", Correctness(), Top()),
            ("herding_supervised", "Herding", None, Herding()),
        )
    ]


def scored(name: str, title: str, labeler: Labeler, scorer: Scorer | None, selector: Selector) -> Method:
    """Return a method with a labeler, and a scorer unless its selector needs no scores."""
    return Method(name, title=title, labeler=labeler, scorer=scorer, selector=selector)


def references() -> list[Method]:
    """Return the references that methods are compared with. They are never ranked."""
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
            selector=Annotated(),
            reference=True,
            ratio=90,
            final="labeler",
        ),
        Method(
            "labeled_only",
            title="The annotated 10 %",
            labeler=NoLabeler(label_fraction=0.1),
            selector=Annotated(),
            reference=True,
            ratio=90,
        ),
        Method("random_twin", title="Random (second stream)", selector=Random(stream=1), reference=True),
        Method(
            "random_stratified",
            title="Random, stratified by true class",
            labeler=GroundTruth(),
            selector=Random(per_class=True),
            reference=True,
        ),
    ]
