"""The methods in the tables: each a name, a title, and three parts."""

from __future__ import annotations

from prunebench.hookspecs import hookimpl
from prunebench.parts import Method
from prunebench_plugins.labelers.ground_truth import GroundTruth
from prunebench_plugins.labelers.none import NoLabeler
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.scorers.dual import Dual
from prunebench_plugins.scorers.el2n import El2n
from prunebench_plugins.scorers.forgetting import Forgetting
from prunebench_plugins.selectors.beta import Beta
from prunebench_plugins.selectors.cutoff import Cutoff
from prunebench_plugins.selectors.known import Known
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.top import Top


@hookimpl
def register_methods() -> list[Method]:
    """Return the built-in methods, then the references they are read against."""
    return [
        Method("random", title="Random", selector=Random()),
        Method(
            "dual",
            title="DUAL+Beta (all labels)",
            labeler=GroundTruth(),
            scorer=Dual(),
            selector=Beta(),
        ),
        Method(
            "aum_supervised",
            title="AUM+Cutoff (all labels)",
            labeler=GroundTruth(),
            scorer=Aum(),
            selector=Cutoff(),
        ),
        Method(
            "el2n_supervised",
            title="EL2N (all labels)",
            labeler=GroundTruth(),
            scorer=El2n(),
            selector=Top(),
        ),
        Method(
            "forgetting_supervised",
            title="Forgetting (all labels)",
            labeler=GroundTruth(),
            scorer=Forgetting(),
            selector=Top(),
        ),
        Method("full", title="All images", selector=Random(), reference=True, ratio=0),
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
