"""TEMI: its loss against plain loops, its training rules, and what it finds."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from prunebench.errors import DivergedError, PrunebenchError
from prunebench.nn import replay
from prunebench.nn.neighbors import kmeans
from prunebench.parts import work
from prunebench.parts.conformance import conform
from prunebench.parts.problem import MemoryCheckpoint
from prunebench_plugins.labelers.temi import loop
from prunebench_plugins.labelers.temi.part import Temi
from tests import pretend_gpu

SMALL = {"heads": 4, "hidden": 64, "bottleneck": 32, "batch": 256, "warmup_epochs": 5}
FAST = {"lr": 3e-3, "momentum": 0.98}  # for hundreds of steps rather than thousands


def cluster(part, embeddings, *, device="cpu", progress=lambda done, total: None, checkpoint=None):
    names = tuple("0123456789")
    checkpoint = checkpoint or MemoryCheckpoint()
    return part.label(embeddings, names, np.random.default_rng(0), device, progress, checkpoint)


def blobs(n, classes=10, d=32):
    """Embeddings around one random center per class, and the truth."""
    rng = np.random.default_rng(0)
    truth = np.arange(n) % classes
    centers = 2 * rng.normal(size=(classes, d))
    return (centers[truth] + rng.normal(size=(n, d))).astype(np.float32), truth


def matched(clusters, truth):
    """Accuracy under the best pairing of clusters with classes."""
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((10, 10), int)
    np.add.at(table, (clusters, truth), 1)
    return table[linear_sum_assignment(-table)].sum() / len(truth)


def a_run(n=40, classes=3, **fields):
    settings = Temi(**{"heads": 2, "hidden": 5, "bottleneck": 4, "neighbors": 3, "batch": 20} | fields)
    embeddings = np.random.default_rng(0).normal(size=(n, 6))
    return loop._Run(embeddings, classes, settings, np.random.default_rng(0), "cpu")


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
    torch.testing.assert_close(loop.loss(p.log(), q.log(), prior, beta), expected)


def test_loss_of_one_image_by_hand():
    """Two views, sure of the same of two clusters, which are 1/4 and 3/4 of all."""
    sure = torch.tensor([[[1.0, 0], [1, 0]]]).log()
    (loss,) = loop.loss(sure, sure, torch.tensor([[0.25, 0.75]]), 0.6)
    assert loss.item() == pytest.approx(-math.log(4))
    unsure = torch.full((1, 2, 2), 0.5).log()
    (loss,) = loop.loss(unsure, unsure, torch.tensor([[0.5, 0.5]]), 1.0)
    assert loss.item() == pytest.approx(0), "both clusters are as likely as chance has it"


def test_heads_share_the_weight_of_an_image_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(3, 8, 5, generator=generator).log_softmax(2) for _ in "pq")
    prior = torch.full((3, 5), 0.2)
    losses = loop.loss(p, q, prior, 0.6)
    other_student = loop.loss(torch.cat((p[:2], p[:1])), q, prior, 0.6)
    other_teacher = loop.loss(p, torch.cat((q[:2], q[:1])), prior, 0.6)
    assert other_student[:2].tolist() == losses[:2].tolist()
    assert (other_teacher[:2] != losses[:2]).all()


def test_loss_of_a_vanishing_probability_has_a_gradient():
    student = torch.tensor([[[0.0, -200.0], [-200.0, 0.0]]], requires_grad=True)
    losses = loop.loss(student, torch.zeros(1, 2, 2), torch.full((1, 2), 0.5), 0.6)
    (gradient,) = torch.autograd.grad(losses.sum(), student)
    assert gradient.isfinite().all() and losses.isfinite().all()


def test_stacked_heads_are_the_heads():
    run = a_run()
    x = run.inputs[:7]
    both = loop.logits(run.student, x)
    for head in (0, 1):
        alone = {name: tensor[0] for name, tensor in loop.one_head(run.student, head, 5).items()}
        first = run.student["first"][:, 5 * head : 5 * head + 5]
        hidden = torch.nn.functional.gelu(x @ first)
        features = torch.nn.functional.normalize(hidden @ alone["second"] + alone["second_bias"])
        cosines = features @ torch.nn.functional.normalize(alone["direction"], dim=0)
        torch.testing.assert_close(both[head], cosines * alone["gain"])


def test_heads_begin_small_with_unit_gain_and_the_teacher_as_the_student():
    run = a_run(hidden=400, bottleneck=100)
    first, second, direction = (run.student[name] for name in ("first", "second", "direction"))
    for weights in (first, second):
        assert weights.std().item() == pytest.approx(0.02, rel=0.1)
    assert direction.abs().max().item() == pytest.approx(0.1, rel=0.02)  # 100 ** -0.5
    assert not run.student["first_bias"].any() and not run.student["second_bias"].any()
    assert (run.student["gain"] == 1).all()
    assert all(torch.equal(tensor, run.teacher[name]) for name, tensor in run.student.items())
    assert not torch.equal(second[0], second[1]), "each head is drawn by itself"
    torch.testing.assert_close(run.prior, torch.full((2, 3), 1 / 3))


# The training


def views_of(run, monkeypatch):
    """Return what will be the embeddings that the teacher is shown, step by step."""
    seen, plain = [], loop.logits

    def spy(heads, x):
        if heads is run.teacher:
            seen.append(x)
        return plain(heads, x)

    monkeypatch.setattr(loop, "logits", spy)
    return seen


def rows(embeddings, views):
    """Return which embedding each view is."""
    return (views[:, None] == embeddings).all(2).nonzero()[:, 1]


def test_an_image_is_never_its_own_neighbor_not_even_among_equals(device):
    embeddings = np.repeat(np.random.default_rng(0).normal(size=(10, 6)), 4, axis=0)
    near = loop._Run(embeddings, 3, Temi(neighbors=3), np.random.default_rng(0), device).near.cpu()
    own = torch.arange(40)[:, None]
    assert not (near == own).any()
    assert (near // 4 == own // 4).all(), "the three others of the same four"


def test_neighbors_are_found_by_cosine(device):
    """At any distance: the even images point one way, the odd ones another."""
    embeddings = np.array([[10.0**place, 0] if place % 2 == 0 else [0, 10.0**place] for place in range(8)])
    near = loop._Run(embeddings, 2, Temi(neighbors=3), np.random.default_rng(0), device).near.cpu()
    assert (near % 2 == torch.arange(8)[:, None] % 2).all()


def test_each_image_is_paired_with_one_of_its_neighbors_drawn_anew(monkeypatch):
    run = a_run()
    seen, index, drawn = views_of(run, monkeypatch), torch.arange(5, 25), []
    for step in range(30):
        run.learn(index, step)
        first, second = rows(run.inputs, seen[-1]).split(20)
        assert torch.equal(first, index)
        drawn.append(second)
    for image, partners in zip(index.tolist(), torch.stack(drawn, 1), strict=True):
        assert set(partners.tolist()) == set(run.near[image].tolist())


def test_an_epoch_shows_whole_batches_of_different_images(monkeypatch):
    run = a_run(n=50)
    seen = views_of(run, monkeypatch)
    run.advance()
    run.advance()
    epochs = torch.stack([rows(run.inputs, views)[:20] for views in seen]).view(2, 40)
    assert [len(set(epoch.tolist())) for epoch in epochs] == [40, 40], "ten images are left over"
    assert not torch.equal(*epochs)


def test_the_rate_rises_to_its_share_of_the_batch_and_stays(monkeypatch):
    run, rates = a_run(warmup_epochs=2, lr=0.256), []
    monkeypatch.setattr(run, "descend", lambda gradients, rate: rates.append(rate))
    for step in range(6):
        run.learn(torch.arange(20), step)
    assert rates == pytest.approx([0, 0.02 / 3, 0.04 / 3, 0.02, 0.02, 0.02])  # 0.256 * 20 / 256


def test_steps_are_those_of_torchs_adamw():
    """With two steps of 20 an epoch, the last layer rests in the first two and then begins afresh."""
    run = a_run(warmup_epochs=2, lr=0.5, weight_decay=0.1)
    reference = {name: tensor.clone().requires_grad_() for name, tensor in run.student.items()}
    decayed = ("first", "second", "direction", "gain")
    groups = [
        {"params": [tensor], "weight_decay": 0.1 if name in decayed else 0.0}
        for name, tensor in reference.items()
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
    peak, generator = 0.5 * 20 / 256, torch.Generator().manual_seed(0)
    for step, rate in enumerate([0, peak / 3, 2 * peak / 3, peak, peak]):
        gradients = {name: torch.randn(t.shape, generator=generator) for name, t in reference.items()}
        for name, tensor in reference.items():
            rests = step < 2 and name in ("direction", "gain")
            tensor.grad = None if rests else gradients[name].clone()
        for group in optimizer.param_groups:
            group["lr"] = rate
        run.resting = step < 2
        run.descend(gradients, run.rate_of(step))
        optimizer.step()
        for name, tensor in reference.items():
            torch.testing.assert_close(run.student[name], tensor.detach(), msg=f"{name}, step {step}")


def test_a_step_descends_the_mean_loss_of_the_heads(monkeypatch):
    """Of logits over the temperature, with the prior that this step has moved, and a teacher at rest."""
    run, given = a_run(heads=3, temperature=0.2), []
    for tensor in run.student.values():
        tensor.normal_(generator=run.generator)
    teacher = {name: tensor.clone() for name, tensor in run.teacher.items()}
    seen = views_of(run, monkeypatch)
    monkeypatch.setattr(run, "descend", lambda gradients, rate: given.append(gradients))
    run.learn(torch.arange(20), 0)

    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in run.student.items()}
    p = (loop.logits(leaves, seen[0]) / 0.2).log_softmax(2)
    q = (loop.logits(teacher, seen[0]) / 0.2).log_softmax(2)
    prior = 0.9 / 3 + 0.1 * q.exp().mean(1)
    losses = loop.loss(p, q, prior, 0.6)
    torch.testing.assert_close(run.losses, losses.detach())
    expected = torch.autograd.grad(losses.sum() / 3, list(leaves.values()))
    torch.testing.assert_close(given[0], dict(zip(leaves, expected, strict=True)))


def test_the_prior_is_updated_before_it_is_used(monkeypatch):
    run, seen = a_run(), []
    plain = loop.loss
    monkeypatch.setattr(loop, "loss", lambda *given: seen.append(given) or plain(*given))
    run.learn(torch.arange(20), 0)
    _student, teacher, prior, _beta = seen[0]
    torch.testing.assert_close(prior, 0.9 / 3 + 0.1 * teacher.exp().mean(1))


def test_weights_decay_and_biases_do_not():
    run = a_run(lr=0.5, weight_decay=0.1, warmup_epochs=0, freeze_epochs=0)
    for tensor in run.student.values():
        tensor.fill_(2)
    rate = 0.5 * 20 / 256
    run.descend({name: torch.zeros_like(tensor) for name, tensor in run.student.items()}, rate)
    for name, tensor in run.student.items():
        after = 2 if name.endswith("bias") else 2 * (1 - rate * 0.1)
        torch.testing.assert_close(tensor, torch.full_like(tensor, after))


def test_the_last_layer_rests_in_the_first_epoch_and_the_rate_begins_at_0():
    run = a_run(warmup_epochs=2)
    begin = {name: tensor.clone() for name, tensor in run.student.items()}
    run.learn(torch.arange(20), 0)
    assert all(torch.equal(tensor, begin[name]) for name, tensor in run.student.items())
    run.learn(torch.arange(20), 1)
    assert {name for name, tensor in run.student.items() if torch.equal(tensor, begin[name])} == {
        "direction",
        "gain",
    }
    run.learn(torch.arange(20), 2)
    assert not torch.equal(run.student["gain"], begin["gain"])


def test_the_teacher_follows_the_student():
    run = a_run(warmup_epochs=0, momentum=0.75)
    before = run.teacher["first"].clone()
    run.learn(torch.arange(20), 0)
    torch.testing.assert_close(run.teacher["first"], 0.75 * before + 0.25 * run.student["first"].detach())


def test_all_of_the_teacher_follows_at_every_step():
    run = a_run(warmup_epochs=0, freeze_epochs=0, momentum=0.75)
    by_hand = {name: tensor.clone() for name, tensor in run.teacher.items()}
    for step in range(3):
        run.learn(torch.arange(20), step)
        for name, tensor in run.teacher.items():
            by_hand[name] = 0.75 * by_hand[name] + 0.25 * run.student[name].detach()
            torch.testing.assert_close(tensor, by_hand[name])
            assert not torch.equal(tensor, run.student[name])


def test_a_batch_is_no_larger_than_the_images():
    run = a_run(n=40, batch=1024)
    assert (run.batch, run.batches) == (40, 1)


def test_the_head_of_least_loss_names_the_clusters():
    run = a_run()
    by_head = loop.logits(run.teacher, run.inputs).argmax(2)
    for head, losses in ((0, [1.0, 2.0]), (1, [2.0, 1.0])):
        run.losses = torch.tensor(losses)
        assert run.labels()[0].tolist() == by_head[head].tolist()


def test_the_loss_of_a_head_is_its_mean_over_the_steps_of_the_latest_epoch(monkeypatch):
    run, losses = a_run(warmup_epochs=0), []
    plain = loop.loss
    monkeypatch.setattr(loop, "loss", lambda *given: losses.append(plain(*given)) or losses[-1])
    for _ in range(3):
        run.advance()
    assert len(losses) == 6
    torch.testing.assert_close(run.losses, (losses[4] + losses[5]).detach() / 2)


def test_clusters_are_those_of_the_teacher_not_of_the_student():
    run = a_run()
    before = run.labels()
    for tensor in run.student.values():
        tensor.normal_(generator=run.generator)
    after = run.labels()
    assert after[0].tolist() == before[0].tolist() and after[1].tolist() == before[1].tolist()
    for tensor in run.teacher.values():
        tensor.normal_(generator=run.generator)
    assert run.labels()[1].tolist() != before[1].tolist()


def test_a_confidence_is_the_probability_of_the_cluster(monkeypatch):
    run = a_run(temperature=0.2)
    monkeypatch.setattr(loop, "LABEL_BATCH", 7)
    with work.counted() as done:
        clusters, confidences = run.labels()
    one_head = 6 * 5 + 5 * 4 + 4 * 3  # of one embedding
    assert (done.images_forward, done.multiply_adds) == (40, 40 * one_head)
    outputs = loop.logits(run.teacher, run.inputs)[int(run.losses.argmin())].numpy()
    powers = np.exp(outputs / 0.2)
    probability = powers / powers.sum(axis=1, keepdims=True)
    assert clusters.tolist() == outputs.argmax(axis=1).tolist()
    np.testing.assert_allclose(confidences, probability.max(axis=1), rtol=1e-5)


def test_gradients_lie_in_memory_as_their_parameters_do():
    """The fused step of AdamW, on a GPU, pairs them by their place in memory."""
    run = a_run(heads=3)
    run.learn(torch.arange(20), 0)
    for name, tensor in run.student.items():
        assert tensor.grad.stride() == tensor.stride(), name


# Steps that are recorded


def test_recorded_steps_learn_what_launched_ones_do(monkeypatch):
    """Those after the last layer rested, and three others."""
    monkeypatch.setattr(replay, "Replay", pretend_gpu.Replay)
    monkeypatch.setattr(pretend_gpu.Replay, "calls", 0)
    launched, recorded = (a_run(warmup_epochs=2, freeze_epochs=2, lr=0.1) for _ in range(2))
    recorded.made.recordable = True
    for run in (launched, recorded):
        for _ in range(5):
            run.advance()
    assert pretend_gpu.Replay.calls == (4 - 3) + (6 - 3)
    for name, tensor in launched.tensors().items():
        torch.testing.assert_close(recorded.tensors()[name], tensor)
    torch.testing.assert_close(recorded.losses, launched.losses)


def test_work_is_counted_in_steps_that_are_launched(monkeypatch):
    """Of which the first epoch has ten, and would be recorded after three. So is the first of the second."""

    def worked():
        with work.counted() as done:
            cluster(Temi(**SMALL | {"batch": 20, "freeze_epochs": 0}, epochs=2), blobs(200)[0])
        return done.multiply_adds

    monkeypatch.setattr(replay, "Replay", pretend_gpu.Replay)
    monkeypatch.setattr(pretend_gpu.Replay, "calls", 0)
    launched = worked()
    monkeypatch.setattr(replay, "recordable", lambda device: True)
    assert worked() == launched
    assert pretend_gpu.Replay.calls == 9


@pytest.mark.gpu
def test_recorded_steps_are_those_that_are_launched_one_by_one():
    def trained(recordable):
        settings = Temi(heads=2, hidden=8, bottleneck=4, neighbors=3, batch=20, warmup_epochs=0, lr=1e-2)
        embeddings = np.random.default_rng(0).normal(size=(80, 6))
        run = loop._Run(embeddings, 3, settings, np.random.default_rng(0), "cuda")
        run.made.recordable = recordable
        losses = [float(run.advance()) for _ in range(6)]
        assert (run.made.replay is not None) == recordable
        return losses

    # Other neighbors would differ by far more.
    np.testing.assert_allclose(trained(recordable=True), trained(recordable=False), atol=1e-3)


# The labels


def test_separate_blobs_are_found(device):
    embeddings, truth = blobs(2000)
    part = Temi(**SMALL, **FAST, epochs=30)
    labels = cluster(part, embeddings, device=device)
    assert matched(labels.values, truth) > 0.95
    assert labels.space == "cluster"
    assert labels.confidences.mean() > 0.9


@pytest.mark.slow
def test_at_least_as_good_as_kmeans_on_digits(device):
    digits = load_digits()
    embeddings = (digits.data / 16).astype(np.float32)
    part = Temi(**SMALL | {"heads": 8, "hidden": 128, "bottleneck": 64}, **FAST, epochs=100)
    found = matched(cluster(part, embeddings, device=device).values, digits.target)
    plain = kmeans(embeddings, 10, rng=np.random.default_rng(0)).assignments
    assert found >= matched(plain, digits.target)


def test_a_resumed_training_equals_an_undisturbed_one(monkeypatch):
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
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


def test_standardized_embeddings_may_have_any_scale():
    embeddings, _truth = blobs(100)
    part = Temi(**SMALL, **FAST, epochs=3, standardize=True)
    inputs = loop._Run(100 + 50 * embeddings, 10, part, np.random.default_rng(0), "cpu").inputs
    torch.testing.assert_close(inputs.mean(0), torch.zeros(32), atol=1e-4, rtol=0)
    torch.testing.assert_close(inputs.std(0, correction=0), torch.ones(32))


def test_embeddings_are_taken_as_they_are_unless_told_otherwise():
    embeddings, _truth = blobs(100)
    run = loop._Run(100 + 50 * embeddings, 10, Temi(**SMALL), np.random.default_rng(0), "cpu")
    np.testing.assert_array_equal(run.inputs, 100 + 50 * embeddings)


def test_it_keeps_the_contract(device):
    conform(Temi(**SMALL, epochs=2), device)


def test_the_defaults_are_the_published_ones():
    part = Temi()
    assert (part.heads, part.epochs, part.batch, part.neighbors) == (50, 200, 1024, 50)
    assert (part.lr, part.momentum, part.beta, part.temperature) == (1e-4, 0.996, 0.6, 0.1)


def test_bad_input_is_one_line():
    with pytest.raises(PrunebenchError, match=r"temi\.label_fraction is 0\.1, expected 0"):
        Temi(label_fraction=0.1)
    with pytest.raises(PrunebenchError, match="asked for 50 neighbors of each of 20 vectors"):
        cluster(Temi(), np.ones((20, 4)))
    with pytest.raises(
        DivergedError, match=r"^temi: the loss is not finite at epoch 2 of 3, learning rate .*; lower"
    ):
        cluster(Temi(**SMALL | {"warmup_epochs": 0}, epochs=3, lr=1e25, neighbors=5), blobs(100)[0])
