"""Processes that train together: what they do is what one process does, but for rounding."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from prunebench import Recipe
from prunebench.nn import networks, processes, training
from prunebench.nn.processes import _Place
from prunebench.parts import work
from prunebench.pipeline.store import FileCheckpoint
from tests.nn.test_training import blobs
from tests.together import losses_of, together

RECIPE = Recipe(network="cnn", epochs=4, batch=16, lr=0.05, crop=1, padding="zero", flip=True)
FROZEN = replace(RECIPE, optimizer="adam", lr=1e-3, statistics_epochs=2)
STOP = 12  # a step after the second of four epochs, of five steps


def trained(recipe=RECIPE, n=70, **options):
    """Return all that a training on `n` images gives, as plain values."""
    images, labels = blobs(n)
    with losses_of(training._Run) as losses, work.counted() as done:
        fixed = {"classes": 3, "rng": np.random.default_rng(0), "device": "cpu", "test": blobs(seed=1)}
        made = training.train(images, labels, recipe, record=True, **fixed, **options)
    series = {name: getattr(made.dynamics, name) for name in made.dynamics.series}
    weights = networks.state(made.network)
    return {
        "losses": np.array(losses),
        **weights,
        **series,
        "work": [*done.values().values()],
        "history": made.history,
    }


def same(several, one):
    """Assert that two trainings differ by rounding alone."""
    assert several.keys() == one.keys()
    for name, value in one.items():
        np.testing.assert_allclose(several[name], value, rtol=1e-4, atol=2e-5, err_msg=name)


def stopped(path):
    """Train until step STOP, with a checkpoint after each epoch."""

    def stop(done, total):
        if done == STOP:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
        patch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
        trained(checkpoint=FileCheckpoint(path, "test"), progress=stop)


def resumed(path):
    """Return the training that goes on from a checkpoint. It does not know what its tests took before."""
    steps = []
    made = trained(checkpoint=FileCheckpoint(path, "test"), progress=lambda done, _total: steps.append(done))
    assert steps[0] == 11
    del made["work"]
    return made


def undisturbed():
    """Return the training as it is, of its losses those after the checkpoint."""
    made = trained()
    del made["work"]
    return made | {"losses": made["losses"][10:]}


# Two processes


def in_two(folder):
    """Return what each of two processes makes: trainings whole, stopped and resumed, and what it drew."""
    made = {"sgd": trained(), "adam": trained(FROZEN), "resumed by two": resumed(folder / "stopped by one")}
    stopped(folder / f"stopped by two {processes.first()}")
    return made | {"drawn": drawn(), "layers": {name: layer(name) for name in LAYERS}}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return what two processes made, by rank, and the folder of their checkpoints."""
    folder = tmp_path_factory.mktemp("pair")
    stopped(folder / "stopped by one")
    return together(2, in_two, folder), folder


@pytest.mark.parametrize(("name", "recipe"), [("sgd", RECIPE), ("adam", FROZEN)])
def test_two_processes_train_as_one(pair, name, recipe):
    """Losses, weights, statistics, test accuracy, work, and dynamics in the order of the images."""
    same(pair[0][0][name], trained(recipe))


def test_all_processes_know_the_same(pair):
    first, second = pair[0]
    for name, value in first["sgd"].items():
        np.testing.assert_array_equal(second["sgd"][name], value, err_msg=name)


def test_two_go_on_where_one_stopped(pair):
    same(pair[0][0]["resumed by two"], undisturbed())


def test_one_goes_on_where_two_stopped_and_only_the_first_saved(pair):
    folder = pair[1]
    same(resumed(folder / "stopped by two True"), undisturbed())
    assert not (folder / "stopped by two False").exists()


# What is drawn


def drawn():
    """Return numbers for the own images of batches of 5 and 4, and of two crops of each of 5."""
    generator = torch.Generator().manual_seed(0)
    with processes.drawing(5, 4):
        images = processes.own(5) + processes.own(4)
        both = processes.rand((3, images), generator), processes.randint(9, (images,), generator)
    with processes.drawing(5):
        crops = processes.rand((2 * processes.own(5),), generator, torch.float64)
    return [values.numpy() for values in (*both, crops)]


def test_each_draws_what_one_would_draw_for_its_images(pair):
    numbers, integers, crops = drawn()
    first, second = (made["drawn"] for made in pair[0])
    for values, which in ((numbers, 0), (integers, 1)):
        np.testing.assert_array_equal(first[which], values[..., [0, 1, 5, 6]])
        np.testing.assert_array_equal(second[which], values[..., [2, 3, 4, 7, 8]])
    np.testing.assert_array_equal(first[2], crops[[0, 1, 5, 6]])
    np.testing.assert_array_equal(second[2], crops[[2, 3, 4, 7, 8, 9]])


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("images", [2, 5, 16])
def test_shares_are_even_and_make_up_the_batch(count, images):
    spans = [_Place(rank, count).span(images) for rank in range(count)]
    owned = [start + place for start, length in spans for place in range(length)]
    assert owned == [*range(images)]
    sizes = [length for _, length in spans]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("device", "left"), [("cpu", 1), ("cuda", 0)])
def test_after_an_error_none_waits_for_the_others_to_leave(monkeypatch, tmp_path, device, left):
    """NCCL would: the others wait for a sum to which this process adds nothing any more."""
    destroyed = []
    monkeypatch.setattr(processes.distributed, "init_process_group", lambda *given, **named: None)
    monkeypatch.setattr(processes.distributed, "destroy_process_group", lambda: destroyed.append(1))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    with processes.joined(0, 2, str(tmp_path / "meeting"), device):
        assert not processes.alone()
    assert len(destroyed) == 1 and processes.alone()
    with pytest.raises(ValueError, match="mine"), processes.joined(0, 2, str(tmp_path / "again"), device):
        raise ValueError("mine")
    assert len(destroyed) == 1 + left and processes.alone()


# BatchNorm

LAYERS = {
    "1d": (nn.BatchNorm1d(3), (7, 3)),
    "2d": (nn.BatchNorm2d(3, momentum=0.3), (7, 3, 4, 5)),
    "averaging": (nn.BatchNorm2d(3, momentum=None), (7, 3, 4, 5)),
}


def layer(name):
    """Return the output of a layer for the own images of a batch, its gradients and its statistics."""
    made, shape = LAYERS[name]
    made = deepcopy(made)
    generator = torch.Generator().manual_seed(0)
    images = 30 + 5 * torch.randn(shape, generator=generator)
    slopes = torch.randn(shape, generator=generator)
    own = processes.share(images).requires_grad_()
    out = made(own)
    (out * processes.share(slopes)).sum().backward()
    processes.added(made.parameters(), torch.zeros(()))
    values = {"out": out, "gradient": own.grad, "weight": made.weight.grad, "bias": made.bias.grad}
    still = {"eval": made.eval()(own)}
    return {name: value.detach().numpy() for name, value in (values | still | made.state_dict()).items()}


@pytest.mark.parametrize("name", LAYERS)
def test_batch_norm_has_the_statistics_of_the_whole_batch(pair, name):
    one, (first, second) = layer(name), (made["layers"][name] for made in pair[0])
    for value in ("out", "gradient", "eval"):
        both = np.concatenate((first[value], second[value]))
        np.testing.assert_allclose(both, one[value], rtol=1e-4, atol=1e-5)
    for value in ("weight", "bias", "running_mean", "running_var"):
        np.testing.assert_allclose(first[value], one[value], rtol=1e-4, atol=1e-5)


# Three processes


def in_three(folder):
    return trained(n=66)


def test_a_process_without_an_image_in_a_step_goes_along(tmp_path):
    """The last step of an epoch has two images."""
    same(together(3, in_three, tmp_path)[0], trained(n=66))
