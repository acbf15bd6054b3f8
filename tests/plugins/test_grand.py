from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from prunebench.errors import PrunebenchError
from prunebench.nn.augment import normalize
from prunebench.nn.training import train
from prunebench.parts import work
from prunebench.parts.conformance import conform
from prunebench.parts.images import Images
from prunebench.parts.problem import CLASSES, MemoryCheckpoint, synthetic_problem
from prunebench.parts.recipe import Recipe
from prunebench_plugins.scorers import grand
from prunebench_plugins.scorers.grand import Grand, gradient_norms

RECIPE = Recipe(network="cnn", epochs=50, batch=32, warmup=0.2, crop=1, flip=True)


def score(
    part,
    problem,
    seed=0,
    recipe=RECIPE,
    device="cpu",
    checkpoint=None,
    progress=lambda done, total: None,
):
    return part.score(
        problem.images,
        problem.labels,
        CLASSES,
        recipe,
        np.random.default_rng(seed),
        device,
        progress,
        checkpoint or MemoryCheckpoint(),
    )


def by_autograd(network, images, labels):
    """Return the norm of the gradient of each image's loss, one by one."""
    network.eval()
    found = []
    for place, label in enumerate(labels):
        picture = normalize(images[np.array([place])], images.mean, images.std)
        loss = functional.cross_entropy(network(picture), torch.tensor([label]))
        gradients = torch.autograd.grad(loss, [network.head.weight, network.head.bias])
        found.append(sum(float((g.double() ** 2).sum()) for g in gradients) ** 0.5)
    return found


@pytest.mark.parametrize("batch", [50, grand.BATCH])
def test_the_closed_form_is_the_gradient_of_the_last_layer(batch, monkeypatch):
    monkeypatch.setattr(grand, "BATCH", batch)
    problem = synthetic_problem()
    rng = np.random.default_rng(0)
    short = Recipe(network="cnn", epochs=1, batch=32)
    network = train(problem.images, problem.labels, short, classes=4, rng=rng, device="cpu").network
    found = gradient_norms(network, problem.images, problem.labels, np.arange(120))
    np.testing.assert_allclose(found, by_autograd(network, problem.images, problem.labels), rtol=1e-4)
    some = np.arange(3, 120, 7)
    with work.counted() as done:
        alone = gradient_norms(network, problem.images, problem.labels, some)
    np.testing.assert_allclose(alone, found[some], rtol=1e-4)
    assert (done.steps, done.images, done.images_forward) == (0, 0, len(some))
    assert done.multiply_adds > 0


def test_the_score_is_the_mean_over_networks_of_their_own_at_a_constant_learning_rate():
    problem = synthetic_problem()
    short = replace(RECIPE, epochs=2, final_lr=RECIPE.lr)
    norms = []
    for stream in np.random.default_rng(5).spawn(2):
        trained = train(problem.images, problem.labels, short, classes=4, rng=stream, device="cpu")
        norms.append(by_autograd(trained.network, problem.images, problem.labels))
    expected = np.mean(norms, axis=0)
    # Steps of the recipe, which count epochs anew, do not lengthen the runs.
    for recipe in (RECIPE, replace(RECIPE, iterations=999)):
        found = score(Grand(runs=2, epochs=2), problem, seed=5, recipe=recipe)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.abs(np.subtract(*norms)).max() > 0.01


def test_an_image_with_a_wrong_label_pulls_harder(device):
    problem = synthetic_problem()
    wrong = problem.labels != problem.truth
    scores = score(Grand(runs=2, epochs=6), problem, device=device)
    assert 2 * np.median(scores[~wrong]) < np.median(scores[wrong])


class KilledError(Exception):
    pass


@pytest.mark.parametrize("saves", [1, 2, 3, 6], ids=lambda saves: f"killed after {saves} saves")
def test_an_interrupted_score_resumes_exactly(saves, monkeypatch, store):
    """Three runs of two epochs, each leaving a state after its first epoch and at its end."""
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    problem, part = synthetic_problem(), Grand(runs=3, epochs=2)
    with work.counted() as whole_work:
        whole = score(part, problem)

    file = store.checkpoint("a" * 64)
    saved, steps = [], []

    class Killed:
        load = file.load

        def save(self, state):
            file.save(state)
            saved.append(state["runs"])
            if len(saved) == saves:
                raise KilledError

    with work.counted(), pytest.raises(KilledError):
        score(part, problem, checkpoint=Killed())
    assert saved == [0, 1, 1, 2, 2, 3][:saves]
    with work.counted() as all_work:
        again = score(
            part, problem, checkpoint=file, progress=lambda done, total: steps.append((done, total))
        )
    assert again.tolist() == whole.tolist()
    assert all_work.values() == whole_work.values()
    # An epoch has four steps, so a third of 24 a run; what was saved is not trained again.
    assert steps == [(step, 24) for step in range(4 * saves + 1, 25)]


def test_images_without_a_label_are_not_trained_on_and_get_the_mean():
    problem = synthetic_problem()
    part = problem.without_labels(np.arange(0, 120, 3))
    scores = score(Grand(runs=1, epochs=1), part)
    seen = part.labels >= 0
    np.testing.assert_allclose(scores[~seen], scores[seen].mean())
    pixels = problem.images.array.copy()
    pixels[::3] = 255
    other = replace(part, images=Images(pixels, mean=problem.images.mean, std=problem.images.std))
    assert score(Grand(runs=1, epochs=1), other).tolist() == scores.tolist()


def test_no_label_at_all_is_one_line():
    problem = synthetic_problem().without_labels(np.arange(120))
    with pytest.raises(PrunebenchError, match=r"^grand needs labels, but no image has one"):
        score(Grand(), problem)


@pytest.mark.parametrize("name", ["runs", "epochs"])
def test_a_wrong_field_is_one_line(name):
    with pytest.raises(PrunebenchError) as error:
        Grand(**{name: 0})
    assert str(error.value) == f"grand.{name} is 0, expected above 0"


def test_grand_conforms(device):
    conform(Grand(runs=2, epochs=1), device)


@pytest.mark.gpu
def test_a_gpu_finds_the_norms_that_a_cpu_finds():
    problem, rng = synthetic_problem(), np.random.default_rng(0)
    network = train(
        problem.images, problem.labels, replace(RECIPE, epochs=5), classes=4, rng=rng, device="cpu"
    ).network
    index = np.arange(3, 120, 2)
    on_cpu = gradient_norms(network, problem.images, problem.labels, index)
    on_gpu = gradient_norms(network.to("cuda"), problem.images.to("cuda"), problem.labels, index)
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=0.05, atol=1e-3)  # convolutions may round to TF32


@pytest.mark.gpu
def test_an_image_with_a_wrong_label_pulls_harder_on_a_gpu():
    problem = synthetic_problem()
    part = Grand(runs=2, epochs=6)
    scores = part.score(**problem.inputs(part) | {"device": "cuda"})
    wrong = problem.labels != problem.truth
    assert scores.dtype == np.float64
    assert 2 * np.median(scores[~wrong]) < np.median(scores[wrong])
