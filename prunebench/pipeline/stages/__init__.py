"""The stages of a cell, each in a file of its own.

dataset --+--> known_labels, given --------------------+
          +--> embeddings ----------+------------------+---------+
          |                         v                            v
          +----------------------> labels --> dynamics -------> scores --> subset --> accuracy
                                     |             +--> proxy_embeddings ---^            ^
                                     +--> quality                labeler_accuracy  test_embeddings

A Random that is matched in work trains longer, by what the stages of a selection trained on:

labels, dynamics, scores, subset --> selection_work --> accuracy

`prunebench draw` draws the images to label first, before any of this:

embeddings, duplicates --> order

`prunebench recommend` asks what more labels would bring:

dataset, embeddings --> learning_curve

If a suite tunes a field of a scorer or selector, a choice sets its value:

labels, dynamics, scores --> candidate --> validation --+--> choice --> scores, subset
                         (a subset with one of the values)

`prunebench draw` and `prune` look for duplicates first. A draw or method sees one image of each group:

dataset --> duplicates
"""

from __future__ import annotations

from prunebench.pipeline.stage import Stage
from prunebench.pipeline.stages.accuracy import TrainedAccuracy
from prunebench.pipeline.stages.candidate import Candidate
from prunebench.pipeline.stages.choice import FieldChoice
from prunebench.pipeline.stages.duplicates import Duplicates
from prunebench.pipeline.stages.embeddings import BackboneEmbeddings
from prunebench.pipeline.stages.embeddings_of_test import TestSplitEmbeddings
from prunebench.pipeline.stages.given import Given
from prunebench.pipeline.stages.known_labels import KnownLabels
from prunebench.pipeline.stages.labeler_accuracy import LabelerAccuracy
from prunebench.pipeline.stages.labels import LabelerLabels
from prunebench.pipeline.stages.learning_curve import LearningCurve
from prunebench.pipeline.stages.order import DrawnOrder
from prunebench.pipeline.stages.pooled_embeddings import PooledEmbeddings
from prunebench.pipeline.stages.proxy import Proxy
from prunebench.pipeline.stages.proxy_embeddings import ProxyEmbeddings
from prunebench.pipeline.stages.quality import LabelQuality
from prunebench.pipeline.stages.scores import ScorerScores
from prunebench.pipeline.stages.selection_work import SelectionWork
from prunebench.pipeline.stages.subset import SelectorSubset
from prunebench.pipeline.stages.validation import CandidateValidation

# In the order in which plans list them.
STAGES: list[type[Stage]] = [
    KnownLabels,
    Given,
    BackboneEmbeddings,
    TestSplitEmbeddings,
    Duplicates,
    PooledEmbeddings,
    DrawnOrder,
    LabelerLabels,
    LabelQuality,
    Proxy,
    ProxyEmbeddings,
    ScorerScores,
    Candidate,
    CandidateValidation,
    FieldChoice,
    SelectorSubset,
    SelectionWork,
    TrainedAccuracy,
    LabelerAccuracy,
    LearningCurve,
]
