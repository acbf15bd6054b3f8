"""TEMI: its loss against plain loops, its training rules, and what it finds."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from prunebench.conformance import MemoryCheckpoint, conform
from prunebench.errors import DivergedError, PrunebenchError
from prunebench.neighbours import kmeans
from prunebench_plugins.labelers import temi_heads
from prunebench_plugins.labelers.temi import Temi

SMALL = {"heads": 4, "hidden": 64, "bottleneck": 32, "batch": 256, "warmup_epochs": 5}
FAST = {"lr": 3e-3, "momentum": 0.98}  # for hundreds of steps rather than thousands


def cluster(part, embeddings, classes=10, *, seed=0, progress=lambda done, total: None, checkpoint=None):
    names = tuple(map(str, range(classes)))
    checkpoint = checkpoint or MemoryCheckpoint()
    return part.label(embeddings, names, np.random.default_rng(seed), "cpu", progress, checkpoint)


def blobs(n, classes=10, d=32):
    """Embeddings around one random centre per class, and the truth."""
    rng = np.random.default_rng(0)
    truth = np.arange(n) % classes
    centres = 2 * rng.normal(size=(classes, d))
    return (centres[truth] + rng.normal(size=(n, d))).astype(np.float32), truth


def matched(clusters, truth):
    """Accuracy under the best pairing of clusters with classes."""
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((10, 10), int)
    np.add.at(table, (clusters, truth), 1)
    return table[linear_sum_assignment(-table)].sum() / len(truth)


def a_run(n=40, classes=3, **fields):
    settings = Temi(**{"heads": 2, "hidden": 5, "bottleneck": 4, "neighbours": 3, "batch": 20} | fields)
    embeddings = np.random.default_rng(0).normal(size=(n, 6))
    return temi_heads._Run(embeddings, classes, settings, np.random.default_rng(0), "cpu")


# The loss


def test_loss_equals_its_definition_in_plain_loops():
    heads, images, classes, beta = 3, 4, 5, 0.6
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(heads, 2 * images, classes, generator=generator).softmax(2) for _ in "pq")
    prior = torch.rand(heads, classes, generator=generator)
    expected = torch.zeros(heads)
    for i in range(images):
        a, b = i, images + i
        weight = sum((q[h, a] * q[h, b]).sum() for h in range(heads)) / heads
        for h in range(heads):
            for s, t in ((b, a), (a, b)):
                ratio = sum((p[h, s, k] * q[h, t, k]) ** beta / prior[h, k] for k in range(classes))
                expected[h] += weight * -ratio.log() / (2 * images)
    torch.testing.assert_close(temi_heads.loss(p.log(), q.log(), prior, beta), expected)


def test_loss_of_a_vanishing_probability_has_a_gradient():
    student = torch.tensor([[[0.0, -200.0], [-200.0, 0.0]]], requires_grad=True)
    losses = temi_heads.loss(student, torch.zeros(1, 2, 2), torch.full((1, 2), 0.5), 0.6)
    (gradient,) = torch.autograd.grad(losses.sum(), student)
    assert gradient.isfinite().all() and losses.isfinite().all()


def test_stacked_heads_are_the_heads():
    run = a_run()
    x = run.inputs[:7]
    both = temi_heads.logits(run.student, x)
    for head in (0, 1):
        alone = {name: tensor[0] for name, tensor in temi_heads.one_head(run.student, head, 5).items()}
        first = run.student["first"][:, 5 * head : 5 * head + 5]
        hidden = torch.nn.functional.gelu(x @ first)
        features = torch.nn.functional.normalize(hidden @ alone["second"] + alone["second_bias"])
        cosines = features @ torch.nn.functional.normalize(alone["direction"], dim=0)
        torch.testing.assert_close(both[head], cosines * alone["gain"])


# The training


def test_the_prior_is_updated_before_it_is_used(monkeypatch):
    run, seen = a_run(), []
    plain = temi_heads.loss
    monkeypatch.setattr(temi_heads, "loss", lambda *given: seen.append(given) or plain(*given))
    run.advance(torch.arange(20), 0)
    _student, teacher, prior, _beta = seen[0]
    torch.testing.assert_close(prior, 0.9 / 3 + 0.1 * teacher.exp().mean(1))


def test_weights_decay_and_biases_do_not():
    run = a_run(lr=0.5, weight_decay=0.1, warmup_epochs=0, freeze_epochs=0)
    for tensor in run.student.values():
        tensor.fill_(2)
    run.descend({name: torch.zeros_like(tensor) for name, tensor in run.student.items()}, 0)
    rate = 0.5 * 20 / 256
    for name, tensor in run.student.items():
        after = 2 if name.endswith("bias") else 2 * (1 - rate * 0.1)
        torch.testing.assert_close(tensor, torch.full_like(tensor, after))


def test_the_last_layer_rests_in_the_first_epoch_and_the_rate_begins_at_0():
    run = a_run(warmup_epochs=2)
    begin = {name: tensor.clone() for name, tensor in run.student.items()}
    run.advance(torch.arange(20), 0)
    assert all(torch.equal(tensor, begin[name]) for name, tensor in run.student.items())
    run.advance(torch.arange(20), 1)
    assert {name for name, tensor in run.student.items() if torch.equal(tensor, begin[name])} == {
        "direction",
        "gain",
    }
    run.advance(torch.arange(20), 2)
    assert not torch.equal(run.student["gain"], begin["gain"])


def test_the_teacher_follows_the_student():
    run = a_run(warmup_epochs=0, momentum=0.75)
    before = run.teacher["first"].clone()
    run.advance(torch.arange(20), 0)
    torch.testing.assert_close(run.teacher["first"], 0.75 * before + 0.25 * run.student["first"].detach())


def test_a_batch_is_no_larger_than_the_images():
    run = a_run(n=40, batch=1024)
    assert (run.batch, run.steps) == (40, 1)


def test_the_head_of_least_loss_names_the_clusters():
    run = a_run()
    by_head = temi_heads.logits(run.teacher, run.inputs).argmax(2)
    for head, losses in ((0, [1.0, 2.0]), (1, [2.0, 1.0])):
        run.losses = torch.tensor(losses)
        assert run.labels()[0].tolist() == by_head[head].tolist()


# The labels


def test_separate_blobs_are_found():
    embeddings, truth = blobs(2000)
    part = Temi(**SMALL, **FAST, epochs=30)
    labels = cluster(part, embeddings)
    assert matched(labels.values, truth) > 0.95
    assert labels.space == "cluster" and not labels.paid.any()
    assert labels.confidences.mean() > 0.9


@pytest.mark.slow
def test_at_least_as_good_as_kmeans_on_digits():
    digits = load_digits()
    embeddings = (digits.data / 16).astype(np.float32)
    part = Temi(**SMALL | {"heads": 8, "hidden": 128, "bottleneck": 64}, **FAST, epochs=100)
    found = matched(cluster(part, embeddings).values, digits.target)
    plain = kmeans(embeddings, 10, rng=np.random.default_rng(0)).assignments
    assert found >= matched(plain, digits.target)


def test_a_resumed_training_equals_an_undisturbed_one(monkeypatch):
    monkeypatch.setattr(temi_heads, "CHECKPOINT_SECONDS", 0)
    embeddings, _truth = blobs(200)
    part = Temi(**SMALL | {"batch": 64}, **FAST, epochs=6)
    whole = cluster(part, embeddings)

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    checkpoint, epochs = MemoryCheckpoint(), []
    with pytest.raises(KeyboardInterrupt):
        cluster(part, embeddings, progress=stop, checkpoint=checkpoint)
    resumed = cluster(part, embeddings, progress=lambda done, _: epochs.append(done), checkpoint=checkpoint)
    assert epochs == [4, 5, 6]
    assert resumed.values.tolist() == whole.values.tolist()
    assert resumed.confidences.tolist() == whole.confidences.tolist()


def test_standardised_embeddings_may_have_any_scale():
    embeddings, _truth = blobs(100)
    part = Temi(**SMALL, **FAST, epochs=3, standardise=True)
    inputs = temi_heads._Run(100 + 50 * embeddings, 10, part, np.random.default_rng(0), "cpu").inputs
    torch.testing.assert_close(inputs.mean(0), torch.zeros(32), atol=1e-4, rtol=0)
    torch.testing.assert_close(inputs.std(0, correction=0), torch.ones(32))


def test_it_keeps_the_contract():
    conform(Temi(**SMALL, epochs=2))


def test_the_defaults_are_the_published_ones():
    part = Temi()
    assert (part.heads, part.epochs, part.batch, part.neighbours) == (50, 200, 1024, 50)
    assert (part.lr, part.momentum, part.beta, part.temperature) == (1e-4, 0.996, 0.6, 0.1)


def test_bad_input_is_one_line():
    with pytest.raises(PrunebenchError, match=r"temi\.annotation is 0\.1, expected 0"):
        Temi(annotation=0.1)
    with pytest.raises(PrunebenchError, match="asked for 50 neighbours of each of 20 vectors"):
        cluster(Temi(), np.ones((20, 4)))
    with pytest.raises(DivergedError, match="temi: the loss is not finite in epoch 2 of 3; lower"):
        cluster(Temi(**SMALL | {"warmup_epochs": 0}, epochs=3, lr=1e25, neighbours=5), blobs(100)[0])
