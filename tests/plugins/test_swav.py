"""SwAV: its assignment, loss and steps against plain computations; that it resumes, and that it learns."""

from __future__ import annotations

import math
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prunebench import Images, PrunebenchError
from prunebench.errors import DivergedError
from prunebench.nn import networks, replay, training
from prunebench.nn.neighbors import nearest
from prunebench.parts.conformance import conform
from prunebench.parts.identity import construct
from prunebench.parts.problem import MemoryCheckpoint
from prunebench_plugins.backbones.swav import loop
from prunebench_plugins.backbones.swav.loop import larc, learning_rates, sinkhorn, swapped_loss
from prunebench_plugins.backbones.swav.part import Swav
from prunebench_plugins.datasets.digits import Digits
from tests import pretend_gpu

TINY: dict[str, Any] = {
    "network": "cnn",
    "crops": ((2, 1.0, 0.5, 1.0), (1, 0.5, 0.2, 0.5)),
    "hidden": 16,
    "projection": 8,
    "prototypes": 6,
    "temperature": 0.1,
    "epochs": 3,
    "warmup_epochs": 1,
    "batch": 16,
    "lr": 6.0,
    "freeze_steps": 2,
}
DOCUMENT = Path(__file__).parents[2] / "docs" / "methods" / "swav.md"


def noise(n: int = 70, channels: int = 1) -> Images:
    array = np.random.default_rng(0).integers(256, size=(n, channels, 8, 8), dtype=np.uint8)
    return Images(array, mean=(0.5,) * channels, std=(0.3,) * channels)


def embed(images: Images | None = None, *, device: str = "cpu", seed: int = 0, **changes: Any) -> np.ndarray:
    options = {"progress": lambda done, total: None, "checkpoint": MemoryCheckpoint()}
    options |= {name: changes.pop(name) for name in tuple(options) if name in changes}
    part = Swav(**(TINY | changes))
    rng = np.random.default_rng(seed)
    return part.embed(images or noise(), ("a", "b"), rng, device=device, **options)


def begun(**changes: Any) -> loop._Run:
    settings = Swav(**(TINY | changes))
    return loop._Run(noise(), settings.prototypes or 6, settings, np.random.default_rng(0))


def cosines(*shape: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1


# Assignment and loss


def test_every_image_is_assigned_once_and_all_prototypes_equally() -> None:
    codes = sinkhorn(cosines(60, 5), epsilon=0.5, iterations=20)
    torch.testing.assert_close(codes.sum(1), torch.ones(60))
    torch.testing.assert_close(codes.sum(0), torch.full((5,), 60 / 5), rtol=1e-3, atol=0)


def test_two_images_that_like_the_same_prototype_share_both() -> None:
    """After any number of rounds, for the scores of one are the scores of the other, but for a constant."""
    codes = sinkhorn(torch.tensor([[0.9, 0.1], [0.7, -0.1]]), epsilon=0.1, iterations=1)
    torch.testing.assert_close(codes, torch.full((2, 2), 0.5))


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_three_rounds_are_those_of_the_paper(epsilon: float) -> None:
    scores = cosines(32, 7)
    q = np.exp(scores.numpy().astype(np.float64) / epsilon).T
    q /= q.sum()
    for _ in range(3):
        q /= q.sum(axis=1, keepdims=True) * 7
        q /= q.sum(axis=0, keepdims=True) * 32
    np.testing.assert_allclose(sinkhorn(scores, epsilon, 3), q.T * 32, atol=1e-5)


def test_a_small_epsilon_neither_overflows_nor_divides_by_zero() -> None:
    codes = sinkhorn(cosines(32, 7), epsilon=0.001, iterations=3)  # exp(1 / 0.001) is infinite
    torch.testing.assert_close(codes.sum(1), torch.ones(32))


def test_the_loss_predicts_two_crops_from_all_others() -> None:
    scores, codes = cosines(4, 5, 3), cosines(2, 5, 3, seed=1).softmax(2)
    p = np.exp(scores.numpy() / 0.2)
    p /= p.sum(axis=2, keepdims=True)
    entropies = [
        -sum(float(codes[a, b, k]) * math.log(p[v, b, k]) for b in range(5) for k in range(3)) / 5
        for a in range(2)
        for v in range(4)
        if v != a
    ]
    assert float(swapped_loss(scores, codes, 0.2)) == pytest.approx(sum(entropies) / 6, rel=1e-5)


def test_the_loss_of_two_crops_by_hand() -> None:
    """Each predicts the code of the other: probabilities 1/8 and 1/2 of what is certain."""
    scores = torch.tensor([[[1.0, 7]], [[1, 1]]]).log() * 0.2
    codes = torch.tensor([[[1.0, 0]], [[1, 0]]])
    assert float(swapped_loss(scores, codes, 0.2)) == pytest.approx((math.log(8) + math.log(2)) / 2)


@pytest.mark.filterwarnings("ignore")  # lightly's other losses warn when they are imported
@pytest.mark.parametrize("queued", [0, 24])
def test_the_loss_is_that_of_lightly(queued: int) -> None:
    """Two crops that are assigned, beside those in a queue, and two small ones."""
    from lightly.loss.swav_loss import SwaVLoss

    scores = cosines(4, 16, 9).requires_grad_()
    queue = cosines(2, queued, 9, seed=1)
    codes = torch.stack(
        [sinkhorn(torch.cat(pair), 0.05, 3)[-16:] for pair in zip(queue, scores.detach()[:2], strict=True)]
    )
    ours = swapped_loss(scores, codes, 0.1)
    # lightly takes the codes of a batch that comes before its queue: the order does not matter.
    theirs = SwaVLoss(0.1, 3, 0.05)(list(scores[:2]), list(scores[2:]), list(queue) if queued else None)
    torch.testing.assert_close(ours, theirs.squeeze(), rtol=1e-5, atol=1e-5)
    for gradients in zip(*(torch.autograd.grad(loss, scores) for loss in (ours, theirs)), strict=True):
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_the_loss_of_a_network_that_knows_nothing_is_the_logarithm_of_the_prototypes() -> None:
    assert float(swapped_loss(torch.zeros(2, 9, 30), torch.full((2, 9, 30), 1 / 30), 0.5)) == pytest.approx(
        math.log(30)
    )


# Steps


def test_larc_makes_every_step_a_share_of_its_parameter() -> None:
    parameters = [torch.tensor([3.0, 4.0]), torch.zeros(2), torch.tensor([1.0])]
    gradients = [torch.tensor([0.0, 2.0]), torch.tensor([5.0, 0.0]), torch.tensor([0.0])]
    larc(parameters, gradients, trust=0.1, weight_decay=0.2)
    # (g + 0.2 p) * 0.1 * |p| / (|g| + 0.2 |p|) with |p| = 5 and |g| = 2
    torch.testing.assert_close(gradients[0], torch.tensor([0.6, 2.8]) * 0.1 * 5 / 3)
    assert gradients[1].tolist() == [5.0, 0.0], "a parameter of norm 0 keeps its gradient"
    assert gradients[2].tolist() == [0.0], "no gradient, no decay"


def test_steps_are_those_of_larc_around_torchs_sgd_with_momentum() -> None:
    """The prototypes rest in the first step, and have no momentum from it."""
    run = begun(freeze_steps=1, warmup_epochs=0, lr=0.5, momentum=0.8, weight_decay=0.1, trust=0.01)
    reference = [(name, p.detach().clone()) for name, p in run.model.named_parameters()]
    momenta = [torch.zeros_like(parameter) for _, parameter in reference]
    generator = torch.Generator().manual_seed(0)
    for run.step in range(3):
        rate = run.rates[run.step]
        for (name, expected), momentum, found in zip(reference, momenta, run.model.parameters(), strict=True):
            gradient = torch.empty_like(found).normal_(generator=generator)
            found.grad = gradient.clone()
            if name == "prototypes.weight" and run.step == 0:
                continue
            size, slope = expected.norm(), gradient.norm()
            scale = 0.01 * size / (slope + 0.1 * size + 1e-8) if size > 0 else 1.0
            momentum.mul_(0.8).add_((gradient + 0.1 * expected) * scale)
            expected.sub_(rate * momentum)
        run.descend(rate)
        for (name, expected), found in zip(reference, run.model.parameters(), strict=True):
            torch.testing.assert_close(found.detach(), expected, msg=f"{name}, step {run.step}")


@pytest.mark.parametrize("network", ["cnn", "resnet8"])
def test_gradients_lie_in_memory_as_their_parameters_do(network: str) -> None:
    """The fused step of SGD pairs them by their place in memory."""
    run = begun(freeze_steps=0, network=network)
    run.advance()
    for parameter, momentum in zip(run.model.parameters(), run.sgd.momenta, strict=True):
        assert parameter.grad is not None
        assert parameter.grad.stride() == parameter.stride() == momentum.stride()


def test_the_learning_rate_rises_from_zero_and_falls_as_a_cosine() -> None:
    settings = Swav(epochs=6, warmup_epochs=2, lr=1.0, final_lr=0.2)
    rates = learning_rates(settings, per_epoch=2)
    assert rates[:4].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert rates[4] == pytest.approx(1.0)
    assert rates[8] == pytest.approx(0.6)
    assert len(rates) == 12


def test_prototypes_rest_in_the_first_steps() -> None:
    run = begun(freeze_steps=3, warmup_epochs=0)
    run.model.normalize_prototypes()
    before, changed = run.model.prototypes.weight.detach().clone(), []
    for _ in range(5):
        run.advance()
        changed.append(not torch.allclose(run.model.prototypes.weight, before, atol=1e-6))
    assert changed == [False, False, False, True, True]


def test_every_step_finds_the_prototypes_on_the_sphere(monkeypatch: pytest.MonkeyPatch) -> None:
    run, lengths = begun(freeze_steps=0, warmup_epochs=0), []
    codes = run.codes

    def spy(*arguments: torch.Tensor) -> torch.Tensor:
        lengths.append(run.model.prototypes.weight.norm(dim=1).detach())
        return codes(*arguments)

    monkeypatch.setattr(run, "codes", spy)
    for _ in range(3):
        run.advance()
    torch.testing.assert_close(torch.cat(lengths), torch.ones(18))


def test_the_loss_of_a_step_is_that_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """From what the network gives for three crops: on the sphere, scored, two assigned, all predicted."""
    run, given = begun(temperature=0.2, epsilon=0.1), []
    run.model.register_forward_hook(lambda module, groups, projected: given.append(projected.detach()))
    loss = run.advance()
    z = given[0].reshape(3, 16, 8).double().numpy()
    z /= np.linalg.norm(z, axis=2, keepdims=True)
    c = run.model.prototypes.weight.detach().double().numpy()  # it rests in this step
    scores = z @ (c / np.linalg.norm(c, axis=1, keepdims=True)).T
    losses = []
    for assigned in range(2):
        q = np.exp(scores[assigned] / 0.1).T
        q /= q.sum()
        for _ in range(3):
            q /= q.sum(axis=1, keepdims=True) * 6
            q /= q.sum(axis=0, keepdims=True) * 16
        for crop in {0, 1, 2} - {assigned}:
            p = np.exp(scores[crop] / 0.2)
            p /= p.sum(axis=1, keepdims=True)
            losses.append(-(q.T * 16 * np.log(p)).sum(axis=1).mean())
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_no_gradient_passes_through_the_assignment() -> None:
    run = begun()
    scores = cosines(2, 16, 6).requires_grad_()
    assert not run.codes(scores, cosines(2, 16, 8), 0).requires_grad


def test_an_epoch_shows_whole_batches_of_different_images(monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = begun(), []
    groups = run.groups
    monkeypatch.setattr(run, "groups", lambda pictures: seen.append(pictures.clone()) or groups(pictures))
    for _ in range(8):
        run.advance()
    images = run.images[slice(None)].flatten(1)
    index = [(batch.flatten(1)[:, None] == images).all(2).nonzero()[:, 1] for batch in seen]
    first, second = torch.cat(index[:4]).tolist(), torch.cat(index[4:]).tolist()
    assert len(set(first)) == len(set(second)) == 64, "of 70 images, six wait for another epoch"
    assert first != second


def test_crops_are_normalized_by_the_images_mean_and_deviation() -> None:
    """A crop of an image of one shade, not jittered, is that shade."""
    run = begun(jitter=0.0, blur=0.0)
    large, small = run.groups(torch.full((5, 1, 8, 8), 51, dtype=torch.uint8))
    torch.testing.assert_close(large, torch.full((10, 1, 8, 8), (0.2 - 0.5) / 0.3))
    torch.testing.assert_close(small, torch.full((5, 1, 4, 4), (0.2 - 0.5) / 0.3))


def test_a_batch_is_no_larger_than_the_images() -> None:
    run = begun(batch=1000)
    assert (run.batch, run.per_epoch, run.steps) == (70, 1, 3)


def test_crops_of_one_size_pass_the_network_together(monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = begun(crops=((2, 1.0, 0.5, 1.0), (3, 0.5, 0.2, 0.5))), []
    features = run.model.network.features
    monkeypatch.setattr(
        run.model.network, "features", lambda x: (seen.append(tuple(x.shape)), features(x))[1]
    )
    run.advance()
    assert seen == [(32, 1, 8, 8), (48, 1, 4, 4)]


def test_the_queue_takes_part_once_it_is_full() -> None:
    """70 images make 4 steps an epoch; 40 places hold two batches of 16, complete after step 5."""
    run = begun(queue=40, queue_epochs=1)
    batches = [torch.nn.functional.normalize(cosines(2, 16, 8, seed=step), dim=2) for step in range(8)]
    score = run.model.prototypes.requires_grad_(False)
    for run.step, projected in enumerate(batches):
        codes = run.codes(score(projected), projected, run.step % 2)
        earlier = batches[run.step - 2 : run.step] if run.step >= 6 else []
        for crop in range(2):
            pool = torch.cat([score(batch[crop]) for batch in (*earlier, projected)])
            torch.testing.assert_close(codes[crop], sinkhorn(pool, 0.05, 3)[-16:])


# Steps that are recorded


def test_recorded_steps_learn_what_launched_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four kinds: prototypes rest in 5 steps; the queue is filled from step 10 on, and full at step 15."""
    monkeypatch.setattr(replay, "Replay", pretend_gpu.Replay)
    monkeypatch.setattr(pretend_gpu.Replay, "calls", 0)
    settings = {"batch": 14, "freeze_steps": 5, "queue": 70, "queue_epochs": 2, "epochs": 5, "lr": 0.1}
    launched, recorded = (begun(**settings) for _ in range(2))
    recorded.made.recordable = True
    for run in (launched, recorded):
        losses = [float(run.advance()) for _ in range(25)]
    assert np.isfinite(losses).all()
    assert pretend_gpu.Replay.calls == (5 - 3) + (5 - 3) + (5 - 3) + (10 - 3)
    for name, tensor in launched.tensors().items():
        torch.testing.assert_close(recorded.tensors()[name], tensor)


@pytest.mark.gpu
def test_recorded_steps_are_those_that_are_launched_one_by_one() -> None:
    def trained(recordable: bool) -> list[float]:
        settings = Swav(**TINY | {"lr": 0.1, "epochs": 5, "queue": 32, "queue_epochs": 1})
        run = loop._Run(noise().to("cuda"), 6, settings, np.random.default_rng(0))
        run.made.recordable = recordable
        losses = [float(run.advance()) for _ in range(run.steps)]
        assert (run.made.replay is not None) == recordable
        return losses

    # Other images or views would differ by far more.
    np.testing.assert_allclose(trained(recordable=True), trained(recordable=False), atol=0.02)


# The whole training


def test_it_keeps_the_contract_of_a_backbone(device) -> None:
    conform(Swav(**TINY), device)


def test_embeddings_are_the_features_of_the_network_not_the_projections(device) -> None:
    seen: list[tuple[int, int]] = []
    embeddings = embed(device=device, progress=lambda done, total: seen.append((done, total)))
    assert embeddings.shape == (70, 64)
    assert embeddings.dtype == np.float32
    assert seen == [(step, 12) for step in range(1, 13)]


def test_the_network_comes_back_ready_to_use() -> None:
    options: dict[str, Any] = {"progress": lambda done, total: None, "checkpoint": MemoryCheckpoint()}
    rng = np.random.default_rng(0)
    network = loop.train(noise(), 6, Swav(**TINY), rng=rng, device="cpu", **options)
    assert not network.training


def test_other_seeds_differ_and_global_random_state_does_not_matter() -> None:
    torch.manual_seed(1)
    first = embed()
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    again = embed()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, embed(seed=1))


@pytest.mark.parametrize("stop_at", [1, 4, 6, 11])
def test_a_resumed_training_equals_an_undisturbed_one(stop_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
    checkpoint, steps = MemoryCheckpoint(), []

    def stop(done: int, total: int) -> None:
        if done == stop_at + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(queue=32, queue_epochs=0, checkpoint=checkpoint, progress=stop)
    resumed = embed(
        queue=32, queue_epochs=0, checkpoint=checkpoint, progress=lambda done, total: steps.append(done)
    )
    assert steps[0] == stop_at + 1
    assert np.array_equal(resumed, embed(queue=32, queue_epochs=0))


def test_color_images_and_three_prototypes_per_class(device) -> None:
    widths: list[int] = []
    original = loop.train

    def spy(images: Images, prototypes: int, *rest: Any, **options: Any) -> networks.Network:
        widths.append(prototypes)
        return original(images, prototypes, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train", spy)
        assert np.isfinite(embed(noise(20, channels=3), device=device, prototypes=None)).all()
    assert widths == [6], "of two classes"


def test_it_learns_to_tell_digits(device) -> None:
    """By their 20 nearest neighbors; the labels are read by this test alone."""
    dataset = Digits()
    array, labels = dataset.load(Path(), "train")
    images = Images(array, mean=dataset.mean, std=dataset.std)
    settings = TINY | {"crops": ((2, 1.0, 0.5, 1.0),), "hidden": 128, "projection": 32, "prototypes": 30}
    settings |= {"epochs": 20, "batch": 128, "flip": False, "blur": 0.0, "jitter": 0.4, "final_lr": 0.006}

    def accuracy(embeddings: np.ndarray) -> float:
        near, _ = nearest(embeddings, 20)
        votes = (labels[near][:, :, None] == np.arange(10)).sum(1)
        return float((votes.argmax(1) == labels).mean())

    untrained = networks.build("cnn", channels=1, classes=2, resolution=8, generator_seed=0)
    before = training.embed(untrained.to(device), images, device=device)
    assert accuracy(embed(images, device=device, **settings)) > accuracy(before)


# What cannot be


def test_a_loss_that_is_not_finite_stops_at_its_step() -> None:
    with pytest.raises(
        DivergedError,
        match=r"^swav: the loss is not finite at step \d+ of 12, learning rate .*; lower swav\.lr or raise",
    ):
        embed(lr=1e30, trust=1e30)


def test_the_step_of_the_loss_is_named_on_a_cpu_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After four steps of warm-up to 6, the sixth has 3 (1 + cos(pi / 8))."""
    run = begun()
    loss = loop.swapped_loss
    monkeypatch.setattr(
        loop, "swapped_loss", lambda *given: loss(*given) * (math.nan if run.step == 5 else 1)
    )
    with pytest.raises(DivergedError, match=r"not finite at step 6 of 12, learning rate 5\.77; lower"):
        loop.run(run, None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "bf16"}, "swav.precision 'bf16' needs a CUDA device; on a CPU use 'fp32'"),
        ({"queue": 8}, "swav.queue is 8, expected 0, or at least a batch of 16"),
        ({"batch": 1}, "swav.batch is 1, expected 2 or more"),
        ({"warmup_epochs": 3}, "swav.warmup_epochs is 3, expected in 0..2, below swav.epochs"),
        ({"jitter": 1.5}, "swav.jitter is 1.5, expected in 0..1"),
        ({"temperature": 0.0}, "swav.temperature is 0.0, expected above 0"),
        ({"crops": ((1, 1.0, 0.5, 1.0),)}, r"a first group of two crops or more"),
        ({"crops": ((2, 1.0, 0.5, 1.5),)}, r"groups \(count, side, least area, largest area\)"),
        ({"crops": ((2, 0.4, 0.5, 1.0),)}, "needs images of 4 pixels or more, not 3"),
        ({"network": "resnet51"}, "no network named 'resnet51'"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PrunebenchError, match=message):
        embed(**changes)


def test_images_of_two_channels_are_refused() -> None:
    with pytest.raises(PrunebenchError, match="swav: channels of the images is 2, expected 1 or 3"):
        embed(noise(channels=2))


# The package and the documentation


def test_importing_the_part_loads_no_heavy_library() -> None:
    part = "prunebench_plugins.backbones.swav.part"
    code = f"import {part}, sys; assert not {{'torch', 'sklearn'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_training_does_not_wait_for_the_compiler_to_load() -> None:
    code = "import prunebench_plugins.backbones.swav.loop, sys; assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_settings_in_the_documentation_are_settings() -> None:
    blocks = DOCUMENT.read_text(encoding="utf-8").split("```toml\n")[1:]
    tables = [tomllib.loads(block.partition("```")[0])["recipe"] for block in blocks]
    settings = [
        part["swav"] for recipes in tables for datasets in recipes.values() for part in datasets.values()
    ]
    assert len(settings) == 4
    assert all(construct(Swav, fields, "swav").pretraining is None for fields in settings)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_trains_on_a_gpu(precision: str) -> None:
    embeddings = embed(device="cuda", precision=precision, queue=32, queue_epochs=0)
    assert embeddings.shape == (70, 64)
    assert np.isfinite(embeddings).all()


@pytest.mark.gpu
def test_a_loss_that_is_not_finite_stops_after_the_epoch_on_a_gpu() -> None:
    with pytest.raises(DivergedError, match="not finite at step"):
        embed(device="cuda", lr=1e30, trust=1e30)
