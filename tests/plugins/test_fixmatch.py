"""FixMatch: which guesses count, which labels come out, and that a training resumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prunebench import Images, PrunebenchError
from prunebench.nn import networks, training
from prunebench.parts.conformance import conform
from prunebench.parts.problem import MemoryCheckpoint
from prunebench_plugins.labelers.fixmatch.loop import FixedThreshold
from prunebench_plugins.labelers.fixmatch.part import FixMatch

FAST = {
    "network": "cnn",
    "iterations": 40,
    "batch": 8,
    "mu": 2,
    "lr": 0.05,
    "ema_warmup": True,
    "bn_momentum": 0.1,
    "flip": False,
}


def stripes(n: int = 80) -> tuple[Images, np.ndarray, np.ndarray]:
    """Return two classes of gray images, bright above or below, the truth, and ten annotated labels."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.arange(n) % 2)
    pixels = rng.integers(60, size=(n, 1, 8, 8))
    pixels[truth == 0, :, :4] += 150
    pixels[truth == 1, :, 4:] += 150
    known_labels = np.full(n, -1)
    known_labels[:10] = truth[:10]
    return Images(pixels.astype(np.uint8), mean=(0.4,), std=(0.3,)), truth, known_labels


def run(
    part: FixMatch,
    known_labels: np.ndarray | None = None,
    checkpoint=None,
    progress=None,
    device: str = "cpu",
):
    images, _, annotated = stripes()
    return part.label(
        images,
        ("above", "below"),
        annotated if known_labels is None else known_labels,
        np.random.default_rng(0),
        device,
        progress or (lambda done, total: None),
        checkpoint or MemoryCheckpoint(),
    )


def test_a_guess_counts_from_the_threshold_on() -> None:
    probability = torch.tensor([[0.95, 0.05], [0.949, 0.051], [0.0, 1.0]])
    assert FixedThreshold(0.95).mask(probability, torch.arange(3)).tolist() == [1, 0, 1]


def test_ten_labels_are_enough_for_two_classes_and_annotated_labels_stay(device) -> None:
    _, truth, known_labels = stripes()
    wrong = known_labels.copy()
    wrong[0] = 1 - known_labels[0]  # a annotated label is kept even where the network knows better
    labels = run(FixMatch(**FAST), wrong, device=device)
    assert labels.values[0] == wrong[0]
    assert (labels.values[10:] == truth[10:]).mean() > 0.95
    assert labels.space == "class"
    assert (labels.confidences[:10] == 1).all()
    assert (labels.confidences[10:] > 0.5).all()


def test_annotated_labels_stay_at_their_images_wherever_these_are(device) -> None:
    """Two of them are wrong, and are kept."""
    _, truth, _ = stripes()
    known_labels = np.full(80, -1)
    known_labels[3::7] = truth[3::7]
    known_labels[[3, 73]] = 1 - truth[[3, 73]]
    labels = run(FixMatch(**FAST, include_labeled=False), known_labels, device=device)
    annotated = np.flatnonzero(known_labels >= 0)
    assert labels.values[annotated].tolist() == known_labels[annotated].tolist()
    assert (labels.values[known_labels < 0] == truth[known_labels < 0]).mean() > 0.95


def test_the_guesses_are_those_of_the_network_that_comes_with_the_labels() -> None:
    images, _, known_labels = stripes()
    labels = run(FixMatch(**FAST))
    network = networks.build("cnn", channels=1, classes=2, resolution=8, generator_seed=1)
    assert labels.network == "cnn"
    networks.restore(network, labels.weights)
    probability = training.predict(network.eval(), images, device="cpu")
    unlabeled = known_labels < 0
    assert labels.values[unlabeled].tolist() == probability.argmax(1)[unlabeled].tolist()
    assert labels.confidences[unlabeled].tolist() == probability.max(1)[unlabeled].tolist()


def test_a_class_without_a_annotated_image_is_never_guessed(device) -> None:
    known_labels = stripes()[2]
    labels = run(FixMatch(**FAST), np.where(known_labels == 0, 0, -1), device=device)
    assert set(labels.values) == {0}


def test_progress_is_reported_up_to_the_total(device) -> None:
    seen: list[tuple[int, int]] = []
    epochs = FAST | {"iterations": None, "epochs": 3}  # of five steps, each of 16 of the 80 images
    run(FixMatch(**epochs), progress=lambda done, total: seen.append((done, total)), device=device)
    assert seen == [(step, 15) for step in range(1, 16)]


def test_it_keeps_the_contract_of_a_labeler(device) -> None:
    conform(FixMatch(**FAST | {"iterations": 4}), device)


def test_the_defaults_are_those_of_the_paper_for_cifar_10() -> None:
    part = FixMatch()
    assert (part.network, part.epochs, part.batch, part.mu) == ("wrn_28_2", 100, 64, 7)
    assert (part.threshold, part.weight_u, part.joint, part.include_labeled) == (0.95, 1, True, True)
    assert (part.lr, part.momentum, part.weight_decay, part.ema) == (0.03, 0.9, 5e-4, 0.999)
    assert not part.ema_warmup


def test_two_runs_are_equal() -> None:
    first, again = run(FixMatch(**FAST)), run(FixMatch(**FAST))
    np.testing.assert_array_equal(first.confidences, again.confidences)


def test_a_resumed_training_equals_an_undisturbed_one(monkeypatch) -> None:
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    checkpoint = MemoryCheckpoint()

    def stop(done: int, total: int) -> None:
        if done == 23:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(FixMatch(**FAST), checkpoint=checkpoint, progress=stop)
    steps: list[int] = []
    resumed = run(FixMatch(**FAST), checkpoint=checkpoint, progress=lambda done, total: steps.append(done))
    assert 1 < steps[0] <= 23
    np.testing.assert_array_equal(resumed.confidences, run(FixMatch(**FAST)).confidences)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": 1.5}, r"fixmatch\.threshold is 1\.5, expected in 0\.\.1"),
        ({"mu": 0}, r"fixmatch\.mu is 0, expected above 0"),
        ({"precision": "fp16"}, r"fixmatch\.precision is 'fp16'"),
    ],
)
def test_an_impossible_value_is_named(values: dict, message: str) -> None:
    with pytest.raises(PrunebenchError, match=message):
        FixMatch(**values)


def test_without_a_annotated_label_there_is_nothing_to_learn_from() -> None:
    with pytest.raises(PrunebenchError):
        run(FixMatch(**FAST), np.full(80, -1))
