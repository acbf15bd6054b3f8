"""Parts that train, in two processes: what they do is what one process does, but for rounding."""

import numpy as np
import pytest

from prunebench import Images, PrunebenchError, Recipe
from prunebench.nn import training
from prunebench.parts.problem import MemoryCheckpoint
from prunebench.pipeline.store import FileCheckpoint
from prunebench_plugins.backbones.swav import loop as swav_loop
from prunebench_plugins.backbones.swav.part import Swav
from prunebench_plugins.labelers.fixmatch import loop as fixmatch_loop
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from prunebench_plugins.labelers.labeled_only import LabeledOnly
from prunebench_plugins.scorers.grand import Grand
from tests.together import losses_of, together

# Odd batches, so that the processes have unequal shares.
FIXMATCH = FixMatch(network="cnn", epochs=2, batch=5, mu=3, lr=0.05, threshold=0.4)
SWAV = Swav(
    network="cnn",
    crops=((2, 1.0, 0.5, 1.0), (1, 0.5, 0.2, 0.5)),
    hidden=16,
    projection=8,
    prototypes=6,
    temperature=0.1,
    epochs=3,
    warmup_epochs=1,
    batch=15,
    lr=0.5,
    freeze_steps=2,
    queue=30,
    queue_epochs=1,
)
PARTS = {
    "fixmatch": FIXMATCH,
    "fixmatch, apart": FixMatch(**vars(FIXMATCH) | {"joint": False}),
    "fixmatch, of a part": FIXMATCH,
    "labeled only": LabeledOnly(fixmatch=FIXMATCH),
    "swav": SWAV,
    "grand": Grand(runs=2, epochs=1),
}
LOOPS = {"labeler": fixmatch_loop._Run, "backbone": swav_loop._Run, "scorer": training._Run}
SIDES = {"fixmatch, of a part": 6}


def made(name, checkpoint=None, progress=lambda done, total: None):
    """Return the losses of the training of a part, and what it makes of 70 small images."""
    part = PARTS[name]
    array = np.random.default_rng(0).integers(256, size=(70, 1, 8, 8), dtype=np.uint8)
    arguments = {
        "images": Images(array, mean=(0.5,), std=(0.3,)),
        "classes": ("a", "b", "c"),
        "known_labels": np.where(np.arange(70) % 7 == 0, np.arange(70) % 3, -1),
        "labels": np.arange(70) % 3,
        "recipe": Recipe(network="cnn", epochs=1, batch=15, lr=0.01),
        "rng": np.random.default_rng(0),
        "device": "cpu",
        "progress": progress,
        "checkpoint": checkpoint or MemoryCheckpoint(),
        "side": SIDES.get(name),
    }
    with losses_of(LOOPS[part.kind]) as losses:
        result = getattr(part, part.method)(**{name: arguments[name] for name in part.needs()})
    return {"losses": np.array(losses), "output": getattr(result, "confidences", result)}


def in_two(folder):
    """Return what each part makes in two processes, and what it makes from where one process stopped."""
    resumed = {name: made(name, FileCheckpoint(folder / name, "test")) for name in RESUMED}
    return {name: made(name) for name in PARTS}, resumed


RESUMED = ("fixmatch", "swav")
STOP = 5  # in the second epoch of both


def stop(done, total):
    if done == STOP:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return what two processes made, by rank."""
    folder = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
        patch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
        for name in RESUMED:
            with pytest.raises(KeyboardInterrupt):
                made(name, FileCheckpoint(folder / name, "test"), stop)
    return together(2, in_two, folder)


@pytest.mark.parametrize("name", PARTS)
def test_two_processes_make_what_one_makes(pair, name):
    one, (first, second) = made(name), (whole[name] for whole, _ in pair)
    assert len(one["losses"]) > 5
    for value in ("losses", "output"):
        np.testing.assert_allclose(first[value], one[value], rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(first[value], second[value])


@pytest.mark.parametrize("name", RESUMED)
def test_two_go_on_where_one_stopped(pair, name):
    one, resumed = made(name), pair[0][1][name]
    np.testing.assert_allclose(resumed["losses"], one["losses"][STOP - 1 :], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(resumed["output"], one["output"], rtol=1e-3, atol=1e-4)


def test_swav_needs_an_image_for_each_process(monkeypatch):
    monkeypatch.setattr("prunebench.nn.processes.own", lambda images: images // 16)
    with pytest.raises(PrunebenchError, match=r"swav.batch is 15, expected an image for each process"):
        made("swav")
