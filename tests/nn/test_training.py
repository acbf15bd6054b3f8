"""The training loop: its schedule, what it records, and that it resumes as if nothing had happened."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
import weakref
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from prunebench import Images, PrunebenchError, Recipe
from prunebench.errors import DivergedError
from prunebench.nn import networks, replay, training
from prunebench.nn.recorder import Recorder
from prunebench.parts.artefacts import Dynamics
from prunebench.parts.images import Vectors
from prunebench.parts.problem import MemoryCheckpoint
from tests import pretend_gpu

RECIPE = Recipe(network="cnn", epochs=4, batch=16, lr=0.05, crop=1, padding="zero")


def blobs(n: int = 70, classes: int = 3, seed: int = 0) -> tuple[Images, np.ndarray]:
    """Return gray 8 x 8 images whose bright row tells the class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    pixels = rng.integers(60, size=(n, 1, 8, 8))
    pixels[np.arange(n), 0, 2 * labels + 1] += 150
    return Images(pixels.astype(np.uint8), mean=(0.2,), std=(0.2,)), labels


def run(recipe: Recipe = RECIPE, **options) -> training.Trained:
    images, labels = blobs()
    options = {"classes": 3, "rng": np.random.default_rng(0), "device": "cpu"} | options
    return training.train(images, options.pop("labels", labels), recipe, **options)


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    rates = training.learning_rates(Recipe(network="cnn", epochs=1, lr=1.0, final_lr=0.2, warmup=0.2), 10)
    assert rates[:2] == pytest.approx([1 / 3, 2 / 3])
    assert rates[2] == pytest.approx(1.0)
    assert rates[6] == pytest.approx(0.6)  # half-way through the cosine
    assert rates[9] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi * 7 / 8)) / 2)


@pytest.mark.parametrize(
    ("images", "batch", "sizes"),
    [(70, 16, [16, 16, 16, 16, 6]), (33, 16, [16, 17]), (32, 16, [16, 16]), (2, 16, [2]), (1, 16, [1])],
)
def test_every_image_once_and_none_alone_beside_others(images: int, batch: int, sizes: list[int]) -> None:
    assert np.diff(training.batch_bounds(images, batch)).tolist() == sizes


def test_one_record_per_image_and_epoch(device: str) -> None:
    dynamics = run(record=True, device=device).dynamics
    assert dynamics is not None
    assert (dynamics.epochs, len(dynamics), dynamics.index.tolist()) == (4, 70, list(range(70)))
    for name in dynamics.series:
        assert getattr(dynamics, name).shape == (4, 70)
        assert np.isfinite(getattr(dynamics, name)).all()
    assert (dynamics.label_probability > 0).all()
    assert (dynamics.divergence[0] == 0).all()
    assert (dynamics.divergence[1:] > 0).all()


def test_dynamics_are_those_of_the_forward_pass_before_the_step() -> None:
    """With a vanishing learning rate and one batch the records follow from the initial network."""
    recipe = Recipe(network="cnn", epochs=2, batch=70, lr=1e-12, final_lr=1e-12, weight_decay=0.0)
    trained = run(recipe, record=True)
    images, labels = blobs()
    network = trained.network.train()
    with torch.no_grad():
        features = network.features(training.normalize(images[:], images.mean, images.std))
        logits = network.head(features)
    p = logits.softmax(1).numpy()
    other = np.arange(3) != labels[:, None]
    expected = {
        "label_probability": p[np.arange(70), labels],
        "other_probability": np.where(other, p, 0).max(1),
        "error_norm": np.linalg.norm(p - np.eye(3)[labels], axis=1),
        "entropy": -(p * np.log(p)).sum(1),
        "logit_margin": logits.numpy()[np.arange(70), labels] - np.where(other, logits, -np.inf).max(1),
        "feature_norm": np.linalg.norm(features.numpy(), axis=1),
        "divergence": np.zeros(70),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(trained.dynamics, name)[1], values, atol=2e-5, err_msg=name)


def test_the_error_of_an_easy_image_is_not_rounded_away() -> None:
    """In float32 p[y] is 1 from a logit of 17 on, and 1 - p[y] would be 0 for all of these images."""
    rng = np.random.default_rng(0)
    labels = rng.integers(5, size=400)
    logits = rng.normal(size=(400, 5))
    logits[np.arange(400), labels] += np.linspace(-5, 40, 400)
    logits = logits.astype(np.float32).astype(float)
    exact = np.exp(logits - logits.max(1, keepdims=True))
    exact /= exact.sum(1, keepdims=True)
    others = np.where(np.arange(5) != labels[:, None], exact, 0)
    expected = np.hypot(others.sum(1), np.linalg.norm(others, axis=1))

    recorder = Recorder(1, 400, 5, "cpu")
    everyone, ones = torch.arange(400), torch.ones(400, 1)
    recorder.note(everyone, torch.tensor(labels), torch.tensor(logits, dtype=torch.float32), ones)
    recorder.close()
    found = recorder.series[Dynamics.series.index("error_norm"), 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.argsort(found)[:100].tolist() == np.argsort(expected)[:100].tolist()


def test_only_the_images_of_the_index_are_trained_on(device: str) -> None:
    _, labels = blobs()
    index = np.arange(0, 70, 2)
    incomplete = np.where(np.isin(np.arange(70), index), labels, -1)
    dynamics = run(index=index, labels=incomplete, record=True, device=device).dynamics
    assert dynamics is not None
    assert dynamics.index.tolist() == index.tolist()
    assert dynamics.label_probability.shape == (4, 35)


def test_two_runs_are_equal_bit_for_bit_and_other_seeds_differ() -> None:
    first, again, other = (run(record=True, rng=np.random.default_rng(seed)) for seed in (0, 0, 1))
    for name in first.dynamics.series:
        assert np.array_equal(getattr(first.dynamics, name), getattr(again.dynamics, name))
    assert not np.array_equal(first.dynamics.label_probability, other.dynamics.label_probability)


def test_global_random_state_neither_matters_nor_changes() -> None:
    torch.manual_seed(1)
    first = run(test=blobs(seed=1))
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    again = run(test=blobs(seed=1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(first.predictions, again.predictions)


ADAM = replace(RECIPE, optimizer="adam", lr=1e-3, statistics_epochs=2)


@pytest.mark.parametrize("recipe", [RECIPE, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("stop_at", [7, 12, 19])
def test_a_resumed_training_equals_an_undisturbed_one(stop_at: int, recipe: Recipe, monkeypatch) -> None:
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
    checkpoint = MemoryCheckpoint()

    def stop(done: int, total: int) -> None:
        if done == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe, record=True, test=blobs(seed=1), checkpoint=checkpoint, progress=stop)
    steps = []
    resumed = run(
        recipe, record=True, test=blobs(seed=1), checkpoint=checkpoint, progress=lambda d, t: steps.append(d)
    )
    whole = run(recipe, record=True, test=blobs(seed=1))
    assert steps[0] == 5 * (stop_at // 5) + 1, "it went on from the last complete epoch"
    assert resumed.history == whole.history
    for name in whole.dynamics.series:
        assert np.array_equal(getattr(resumed.dynamics, name), getattr(whole.dynamics, name)), name
    after = networks.state(resumed.network)
    for name, weights in networks.state(whole.network).items():
        assert np.array_equal(after[name], weights), name


@pytest.mark.parametrize(
    "change", [{}, {"nesterov": False}, {"momentum": 0.0}, {"weight_decay": 0.1}], ids=str
)
def test_steps_are_those_of_torch_sgd(change: dict) -> None:
    recipe = Recipe(network="cnn", epochs=3, batch=70, lr=0.1, final_lr=0.01, **change)
    images, labels = blobs()
    network = networks.build("cnn", channels=1, classes=3, resolution=8, generator_seed=seed_of_network())
    optimizer = torch.optim.SGD(
        network.parameters(),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
    )
    for rate in training.learning_rates(recipe, 3):
        optimizer.param_groups[0]["lr"] = rate
        logits = network(training.normalize(images[:], images.mean, images.std))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
        optimizer.step()
    trained = run(recipe)
    for ours, theirs in zip(trained.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_are_those_of_torch_adam(decay: float) -> None:
    """At a constant rate, in an epoch that gathers statistics and three that normalize by them."""
    recipe = Recipe(network="cnn", epochs=4, batch=70, lr=0.01, final_lr=0.01, weight_decay=decay)
    recipe = replace(recipe, optimizer="adam", statistics_epochs=1)
    images, labels = blobs()
    network = networks.build("cnn", channels=1, classes=3, resolution=8, generator_seed=seed_of_network())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=decay)
    for epoch in range(4):
        network.train(epoch < 1)
        logits = network(training.normalize(images[:], images.mean, images.std))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
        optimizer.step()
    trained = run(recipe).network.state_dict()
    for name, expected in network.state_dict().items():
        torch.testing.assert_close(trained[name], expected, atol=1e-4, rtol=1e-3)


def seed_of_network() -> int:
    return int(np.random.default_rng(0).integers(2**63))


def test_training_does_not_wait_for_the_compiler_to_load() -> None:
    code = """
import sys, numpy as np
from prunebench import Images, Recipe
from prunebench.nn import training
images = Images(np.zeros((4, 1, 8, 8), np.uint8), mean=(0.5,), std=(0.5,))
recipe = Recipe(network="cnn", epochs=1, crop=1, flip=True)
rng = np.random.default_rng(0)
training.train(images, np.arange(4), recipe, classes=4, rng=rng, device="cpu", record=True)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_budget_of_iterations_is_met_exactly(device: str) -> None:
    steps = []
    trained = run(
        Recipe(network="cnn", epochs=1, iterations=13, batch=16),
        record=True,
        device=device,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps[-1] == (13, 13)
    assert trained.dynamics.epochs == 2, "13 steps are two complete epochs of five"


def test_the_test_split_is_looked_at_as_often_as_asked_and_at_the_end(device: str) -> None:
    recipe = Recipe(network="cnn", epochs=5, batch=16, evaluate_every=2)
    trained = run(recipe, test=blobs(seed=1), device=device)
    assert [epoch for epoch, _ in trained.history] == [2, 4, 5]
    assert trained.history[-1][1] == 100 * (trained.predictions == blobs(seed=1)[1]).mean()


@pytest.mark.parametrize(
    ("steps", "epochs"), [(5, [1, 2, 3, 4, 5]), (7, [2, 3, 5]), (10, [2, 4, 5]), (11, [3, 5]), (99, [5])]
)
def test_the_test_split_is_looked_at_once_so_many_steps_are_made(steps: int, epochs: list[int]) -> None:
    """Epochs end after 5, 10, 15, 20 and 25 steps."""
    recipe = Recipe(network="cnn", epochs=5, batch=16, evaluate_every=4, evaluate_steps=steps)
    assert [epoch for epoch, _ in run(recipe, test=blobs(seed=1)).history] == epochs


def test_a_training_of_so_many_steps_is_looked_at_at_its_end_too() -> None:
    recipe = Recipe(network="cnn", epochs=1, iterations=13, batch=16, evaluate_steps=5)
    assert [epoch for epoch, _ in run(recipe, test=blobs(seed=1)).history] == [1, 2, 3]


def test_it_learns(device: str) -> None:
    recipe = Recipe(network="cnn", epochs=15, batch=16, lr=0.05)
    assert run(recipe, test=blobs(seed=1), device=device).history[-1][1] > 95


# A part of larger images


def stored(n: int = 90, side: int = 40, seed: int = 0) -> tuple[Images, np.ndarray]:
    """Return gray images of `side` pixels whose bright stripe within the middle 32 tells the class.

    The frame around it is bright wherever it likes.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3)
    pixels = rng.integers(60, size=(n, 1, side, side))
    edge = (side - 32) // 2
    pixels[:, :, :edge] = rng.integers(255, size=(n, 1, 1, 1))
    for label in range(3):
        top = edge + 4 + 10 * label
        pixels[labels == label, :, top : top + 5] += 150
    return Images(pixels.astype(np.uint8), mean=(0.2,), std=(0.2,)), labels


SEEN = {"network": "cnn", "epochs": 8, "batch": 16, "lr": 0.05, "side": 32}
VIEWS = [{}, {"crop": 2, "padding": "zero"}, {"resized_crop": (0.7, 1.0)}]


def seen(views: dict[str, Any], **options: Any) -> training.Trained:
    images, labels = stored()
    options = {"classes": 3, "rng": np.random.default_rng(0), "device": "cpu"} | options
    return training.train(images, labels, Recipe(**SEEN | views), **options)


@pytest.mark.parametrize("views", VIEWS, ids=str)
def test_it_learns_from_the_middle_of_larger_images(views: dict[str, Any]) -> None:
    images, labels = test = stored(seed=1)
    trained = seen(views, test=test)
    assert trained.history[-1][1] > 90
    middle = Images(images.array[:, :, 4:36, 4:36], mean=images.mean, std=images.std)
    expected = training.classify(trained.network, middle, device="cpu")
    assert trained.predictions.tolist() == expected.tolist()
    assert trained.history[-1][1] == 100 * (expected == labels).mean()


def test_without_random_crops_the_frame_is_never_seen() -> None:
    """Bit for bit what a training on the middle squares gives."""
    images, labels = stored()
    middle = Images(images.array[:, :, 4:36, 4:36], mean=images.mean, std=images.std)
    recipe = Recipe(**SEEN | {"flip": True})
    options: dict[str, Any] = {"classes": 3, "device": "cpu", "record": True}
    ours, theirs = (
        training.train(given, labels, recipe, rng=np.random.default_rng(0), **options)
        for given in (images, middle)
    )
    for name in ours.dynamics.series:
        assert np.array_equal(getattr(ours.dynamics, name), getattr(theirs.dynamics, name)), name


@pytest.mark.parametrize("function", [training.embed, training.predict, training.classify])
def test_outputs_are_those_of_the_middle(function: Any) -> None:
    images, _ = stored(20, side=41)
    network = networks.build("cnn", channels=1, classes=3, resolution=32, generator_seed=0)
    middle = Images(images.array[:, :, 4:36, 4:36], mean=images.mean, std=images.std)  # 4.5 to even
    expected = function(network, middle, device="cpu")
    np.testing.assert_array_equal(function(network, images, device="cpu", side=32), expected)
    assert not np.array_equal(training.embed(network, images, device="cpu"), expected)


@pytest.mark.parametrize("views", VIEWS[1:], ids=str)
def test_a_resumed_training_on_crops_equals_an_undisturbed_one(views: dict, monkeypatch) -> None:
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
    checkpoint = MemoryCheckpoint()

    def stop(done: int, total: int) -> None:
        if done == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seen(views, record=True, checkpoint=checkpoint, progress=stop)
    resumed, whole = (seen(views, record=True, checkpoint=c) for c in (checkpoint, None))
    for name in whole.dynamics.series:
        assert np.array_equal(getattr(resumed.dynamics, name), getattr(whole.dynamics, name)), name
    after = networks.state(resumed.network)
    for name, weights in networks.state(whole.network).items():
        assert np.array_equal(after[name], weights), name


def test_images_smaller_than_what_is_to_be_seen_are_refused_unless_enlarged() -> None:
    with pytest.raises(PrunebenchError, match=r"recipe\.side is 64, but the images have 40 pixels"):
        seen({"side": 64})
    trained = seen({"side": 44, "resized_crop": (0.7, 1.0)}, test=stored(seed=1))
    assert trained.history[-1][1] > 90, "the whole image, enlarged, is tested on"


def test_a_probe_sees_what_the_training_sees() -> None:
    recipe = Recipe(**SEEN | {"resized_crop": (0.5, 1.0)})
    assert 0 < training.seconds_per_step(recipe, channels=1, resolution=40, classes=3, device="cpu") < 8


def test_a_loss_that_is_not_finite_stops_at_its_step() -> None:
    with pytest.raises(
        DivergedError, match=r"not finite at step \d+ of 20, learning rate .*; lower recipe.lr"
    ):
        run(Recipe(network="cnn", epochs=4, batch=16, lr=1e30))


def test_bf16_on_a_cpu_is_refused_naming_the_alternative() -> None:
    with pytest.raises(
        PrunebenchError, match=r"recipe\.precision 'bf16' needs a CUDA device; on a CPU use 'fp32'"
    ):
        run(Recipe(network="cnn", epochs=1, precision="bf16"))


def test_labels_outside_the_classes_are_refused() -> None:
    _, labels = blobs()
    with pytest.raises(PrunebenchError, match=r"70 of 70 images have a label outside 0\.\.2, such as -1"):
        run(labels=np.full_like(labels, -1))


@pytest.mark.parametrize(
    ("batch", "index", "message"),
    [
        (16, [], "cannot train on no image; prune less, or give more images a label"),
        (
            16,
            [3],
            "cannot train on 1 image(s) in batches of 16: BatchNorm needs two; prune less, or give more "
            "images a label, or choose a network without BatchNorm",
        ),
        (
            1,
            [3, 5, 6],
            "cannot train on 3 image(s) in batches of 1: BatchNorm needs two; set recipe.batch to 2 or more, "
            "or choose a network without BatchNorm",
        ),
    ],
)
def test_too_few_images_for_batch_norm_are_refused_naming_what_helps(batch, index, message) -> None:
    with pytest.raises(PrunebenchError) as error:
        run(replace(RECIPE, batch=batch), index=np.array(index, int))
    assert str(error.value) == message


@pytest.mark.parametrize(("batch", "count", "steps"), [(16, 1, 4), (1, 1, 4), (1, 5, 16), (16, 20, 8)])
def test_a_network_without_batch_norm_trains_on_one_image_too(batch: int, count: int, steps: int) -> None:
    rng = np.random.default_rng(0)
    vectors, labels = Vectors(rng.normal(size=(20, 6))), rng.integers(3, size=20)
    made = training.train(
        vectors,
        labels,
        Recipe(network="linear", epochs=4, batch=batch),
        classes=3,
        rng=np.random.default_rng(1),
        device="cpu",
        index=np.arange(count),
        test=(vectors, labels),
        record=True,
    )
    assert made.dynamics is not None
    assert made.dynamics.label_probability.shape == (4, count)
    assert len(made.history) == 4
    assert len(training.batch_bounds(count, batch)) - 1 == steps / 4


def test_features_and_probabilities_are_those_of_eval_mode() -> None:
    images, _ = blobs()
    network = networks.build("cnn", channels=1, classes=3, resolution=8, generator_seed=0)
    features = training.embed(network, images, device="cpu", batch=32)
    probabilities = training.predict(network, images, device="cpu", batch=32)
    assert features.shape == (70, 64)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(training.embed(network, images, device="cpu", batch=32), features)
    assert training.classify(network, images, device="cpu").tolist() == probabilities.argmax(1).tolist()


def test_a_probe_says_how_long_a_step_takes() -> None:
    assert 0 < training.seconds_per_step(RECIPE, channels=1, resolution=8, classes=3, device="cpu") < 2


def test_a_probe_times_recorded_steps_without_their_recording(monkeypatch) -> None:
    clock = [0.0]
    learn = training._Run.learn

    class Slow(pretend_gpu.Replay):
        def __init__(self, *given) -> None:
            clock[0] += 100
            super().__init__(*given)

    def ticking(probe, order):
        clock[0] += 0.1
        return learn(probe, order)

    monkeypatch.setattr(replay, "recordable", lambda device: True)
    monkeypatch.setattr(replay, "Replay", Slow)
    monkeypatch.setattr(training._Run, "learn", ticking)
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    seconds = training.seconds_per_step(RECIPE, channels=1, resolution=8, classes=3, device="cpu")
    assert clock[0] > 100 and seconds == pytest.approx(0.1)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_a_probe_computes_in_the_precision_of_the_recipe(monkeypatch, precision) -> None:
    learn, rounds = training._Run.learn, set()

    def noting(probe, order):
        rounds.add(torch.backends.cudnn.allow_tf32)
        return learn(probe, order)

    monkeypatch.setattr(training._Run, "learn", noting)
    recipe = replace(RECIPE, precision=precision)
    training.seconds_per_step(recipe, channels=1, resolution=8, classes=3, device="cpu")
    assert rounds == {precision == "tf32"}


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns_on_a_gpu(precision: str) -> None:
    recipe = Recipe(network="cnn", epochs=15, batch=16, lr=0.05, precision=precision)
    trained = run(recipe, device="cuda", record=True, test=blobs(seed=1))
    assert trained.history[-1][1] > 95
    assert np.isfinite(trained.dynamics.label_probability).all()


@pytest.mark.gpu
@pytest.mark.parametrize("views", VIEWS, ids=str)
def test_it_learns_from_the_middle_of_larger_images_on_a_gpu(views: dict[str, Any]) -> None:
    assert seen(views, device="cuda", test=stored(seed=1)).history[-1][1] > 90


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu_at_first() -> None:
    recipe = Recipe(network="cnn", epochs=1, batch=70, lr=1e-12, final_lr=1e-12)
    cpu, gpu = (run(recipe, device=device, record=True).dynamics for device in ("cpu", "cuda"))
    np.testing.assert_allclose(np.sort(gpu.entropy[0]), np.sort(cpu.entropy[0]), atol=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("network", "precision", "optimizer"),
    [
        ("cnn", "fp32", "sgd"),
        ("cnn", "bf16", "sgd"),
        ("resnet8", "fp32", "sgd"),
        ("resnet8", "bf16", "sgd"),
        ("cnn", "fp32", "adam"),
    ],
)
def test_recorded_steps_are_those_that_are_launched_one_by_one(
    monkeypatch, network, precision, optimizer
) -> None:
    # So slow that what sums in another order change does not grow.
    rate = 1e-3 if optimizer == "sgd" else 1e-4
    recipe = Recipe(network=network, epochs=6, batch=16, lr=rate, crop=1, flip=True, optimizer=optimizer)
    recipe = replace(recipe, precision=precision)
    recorded = run(recipe, device="cuda", record=True)
    monkeypatch.setattr(replay, "WARM", 10**9)
    launched = run(recipe, device="cuda", record=True)
    # Other views of an image would differ by far more.
    margin = recorded.dynamics.margin - launched.dynamics.margin
    assert np.abs(margin).max() < 0.02


@pytest.mark.gpu
def test_a_recorded_training_resumes(monkeypatch) -> None:
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
    checkpoint = MemoryCheckpoint()
    recipe = Recipe(network="cnn", epochs=6, batch=16, lr=0.01, flip=True)
    whole = run(recipe, device="cuda", record=True, checkpoint=checkpoint)
    assert checkpoint.load()["step"] == 5 * 5
    again = run(recipe, device="cuda", record=True, checkpoint=checkpoint)
    np.testing.assert_allclose(again.dynamics.margin[:5], whole.dynamics.margin[:5])
    assert np.abs(again.dynamics.margin[5] - whole.dynamics.margin[5]).mean() < 0.02


def waiting(monkeypatch) -> None:
    """Let each training step wait for the GPU."""
    real = training.augment

    def augment(batch, *given):
        float(batch.float().mean())
        return real(batch, *given)

    monkeypatch.setattr(training, "augment", augment)


@pytest.mark.gpu
def test_a_step_that_waits_is_not_recorded(monkeypatch, capsys) -> None:
    def never(*_given):
        raise AssertionError

    waiting(monkeypatch)
    monkeypatch.setattr(replay, "Replay", never)
    run(Recipe(network="cnn", epochs=3, batch=16), device="cuda")
    assert capsys.readouterr().err.count("not one CUDA graph, but slower: they wait for the GPU") == 1


@pytest.mark.gpu(real=True)
def test_a_step_that_cannot_be_recorded_is_launched(monkeypatch, capsys) -> None:
    waiting(monkeypatch)
    monkeypatch.setattr(replay, "waits", lambda: nullcontext([]))
    trained = run(Recipe(network="cnn", epochs=15, batch=16, lr=0.05), device="cuda", test=blobs(seed=1))
    assert trained.history[-1][1] > 90
    assert "not one CUDA graph" in capsys.readouterr().err
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


@pytest.mark.gpu
def test_a_loss_that_is_not_finite_stops_after_the_epoch_on_a_gpu() -> None:
    with pytest.raises(DivergedError, match="not finite at step"):
        run(Recipe(network="cnn", epochs=4, batch=16, lr=1e30), device="cuda")


# Steps that are recorded


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("frozen", [None, 2])
@pytest.mark.parametrize("record", [False, True])
def test_whole_batches_are_replayed_once_the_step_stays_the_same(
    monkeypatch, record, frozen, optimizer
) -> None:
    recipe = replace(RECIPE, statistics_epochs=frozen, flip=True, optimizer=optimizer)
    launched = run(recipe, record=record, test=blobs(seed=1))
    monkeypatch.setattr(replay, "recordable", lambda device: True)
    monkeypatch.setattr(replay, "Replay", pretend_gpu.Replay)
    monkeypatch.setattr(pretend_gpu.Replay, "calls", 0)
    replayed = run(recipe, record=record, test=blobs(seed=1))
    # Four of five batches an epoch are whole. Three are made before the recording. The first epoch of a
    # record is another step, so the last of the three is in the second epoch.
    whole = 4 * recipe.epochs - 3 - (3 if frozen else 0) - (2 if record else 0)
    assert pretend_gpu.Replay.calls == whole
    assert replayed.history == launched.history
    for mine, theirs in zip(replayed.network.parameters(), launched.network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_recording_that_fails_costs_nothing_but_time(monkeypatch, capsys) -> None:
    launched = run(test=blobs(seed=1))
    monkeypatch.setattr(replay, "recordable", lambda device: True)

    def fails(step, order, numbers, generator):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(replay, "Replay", fails)
    again = run(test=blobs(seed=1))
    assert capsys.readouterr().err.count("not one CUDA graph, but slower: operation not permitted when") == 1
    for mine, theirs in zip(again.network.parameters(), launched.network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


# Too little memory


@pytest.fixture
def room_for(monkeypatch):
    """room_for(10) lets the device hold as many images of a step; it tells how many each step saw."""

    def limited(most: int) -> list[int]:
        real, seen = training.normalize, []

        def normalize(batch, *given):
            seen.append(len(batch))
            if len(batch) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
            return real(batch, *given)

        monkeypatch.setattr(training, "normalize", normalize)
        return seen

    return limited


def test_a_step_that_does_not_fit_is_made_in_halves(room_for) -> None:
    seen = room_for(9)
    trained = run(RECIPE, record=True)
    assert trained.micro_batch == 8
    assert seen[:3] == [16, 8, 8]
    assert trained.dynamics is not None and trained.dynamics.epochs == 4
    assert run(replace(RECIPE, batch=8)).micro_batch is None


def test_an_attempt_without_memory_holds_none_when_the_next_begins(room_for, monkeypatch) -> None:
    room_for(4)
    begin, attempts = training._Run.__init__, []

    def noting(attempt, *given, **named) -> None:
        assert [earlier() for earlier in attempts] == [None] * len(attempts)
        attempts.append(weakref.ref(attempt))
        begin(attempt, *given, **named)

    monkeypatch.setattr(training._Run, "__init__", noting)
    gc.disable()
    try:
        assert run(RECIPE).micro_batch == 4
    finally:
        gc.enable()
    assert len(attempts) == 3


def test_halves_step_as_the_whole_does_but_for_batch_norm(room_for, monkeypatch) -> None:
    """In eval mode BatchNorm knows no batch, and the steps are the same."""
    monkeypatch.setattr(networks.Network, "train", lambda self, mode=True: torch.nn.Module.train(self, False))
    whole = run(RECIPE)
    room_for(4)
    halves = run(RECIPE)
    assert halves.micro_batch == 4
    for ours, theirs in zip(halves.network.parameters(), whole.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_resumed_training_goes_on_in_the_halves_that_it_began_in(room_for, monkeypatch) -> None:
    """Memory is free again by then. Steps of the whole batch would be another training, under this label."""
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
    checkpoint = MemoryCheckpoint()

    def stop(done: int, total: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    room_for(9)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=checkpoint, progress=stop)
    whole = run()
    monkeypatch.undo()
    seen = room_for(16)
    resumed = run(checkpoint=checkpoint)
    assert resumed.micro_batch == whole.micro_batch == max(seen) == 8
    for ours, theirs in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_a_checkpoint_of_whole_batches_goes_on_in_halves_where_memory_lacks(room_for, monkeypatch) -> None:
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
    checkpoint = MemoryCheckpoint()
    run(checkpoint=checkpoint)  # saved before its last epoch
    room_for(9)
    assert run(checkpoint=checkpoint).micro_batch == 8


def test_beside_other_stages_lack_of_memory_changes_no_step(room_for) -> None:
    """The others may hold what is lacking, and no result may depend on them."""
    seen = room_for(9)
    with pytest.raises(torch.OutOfMemoryError, match="beside other stages"), training.memory_shared():
        run(RECIPE)
    assert seen == [16]
    assert run(RECIPE).micro_batch == 8


def test_no_step_sees_a_single_image(room_for) -> None:
    seen = room_for(5)
    run(replace(RECIPE, batch=9))  # 5 + 4 of 9; the last batch, 7 images, is 7 or 5 + 2
    assert min(seen) >= 2


def test_what_does_not_fit_in_eighths_is_an_error_that_says_what_to_do(room_for) -> None:
    seen = room_for(1)
    with pytest.raises(PrunebenchError) as error:
        run(RECIPE)
    assert seen == [16, 8, 4, 2]
    assert str(error.value) == (
        "out of memory on cpu, even with 2 of the 16 images of a step at a time; "
        "free the device, lower recipe.side, or choose a smaller network or --device cpu"
    )
