"""The engine of FixMatch: loss, steps, moving average, batches, views and checkpoints, checked by hand."""

from __future__ import annotations

import math
from copy import deepcopy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from prunebench import Images, PrunebenchError
from prunebench.errors import DivergedError
from prunebench.nn import networks, randaugment
from prunebench.nn.augment import normalize
from prunebench.parts.problem import MemoryCheckpoint
from prunebench_plugins.labelers.fixmatch import loop
from prunebench_plugins.labelers.fixmatch.loop import (
    FixedThreshold,
    average_decay,
    consistency,
    decay_groups,
    follow,
    learning_rate,
    shuffled,
)
from prunebench_plugins.labelers.fixmatch.part import FixMatch
from tests import pretend_gpu

LN2 = math.log(2)
PAID = 10  # of 70 images, one in seven
TINY: dict[str, Any] = {"network": "cnn", "epochs": 2, "batch": 4, "mu": 3, "lr": 0.05, "threshold": 0.6}


def noise(n: int = 70, side: int = 8) -> Images:
    array = np.random.default_rng(0).integers(256, size=(n, 1, side, side), dtype=np.uint8)
    return Images(array, mean=(0.5,), std=(0.3,))


def annotated(n: int = 70) -> np.ndarray:
    """Three classes in turn, known of every seventh image."""
    return np.where(np.arange(n) % 7 == 0, np.arange(n) % 3, -1)


def begun(
    images: Images | None = None, known_labels: np.ndarray | None = None, rule: Any = None, **changes: Any
) -> loop._Run:
    settings = FixMatch(**TINY | changes)
    rule = rule or FixedThreshold(settings.threshold)
    known_labels = annotated() if known_labels is None else known_labels
    return loop._Run(images or noise(), known_labels, 3, settings, rule, np.random.default_rng(0))


def views_of(run: loop._Run, labeled: torch.Tensor, unlabeled: torch.Tensor) -> torch.Tensor:
    return run.views(run.images[torch.cat((labeled, unlabeled))], len(unlabeled))


def train(rule: Any = None, *, known_labels: np.ndarray | None = None, **changes: Any) -> networks.Network:
    options = {"progress": lambda done, total: None, "checkpoint": MemoryCheckpoint()}
    options |= {name: changes.pop(name) for name in tuple(options) if name in changes}
    settings = FixMatch(**TINY | changes)
    rule = rule or FixedThreshold(settings.threshold)
    known_labels = annotated() if known_labels is None else known_labels
    rng = np.random.default_rng(0)
    return loop.train(noise(), known_labels, 3, settings, rule, rng=rng, device="cpu", **options)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def copies(tensors: Any) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


# The loss

# The guesses on four weak views: 1/2 for the first of two classes, 1/3 of three, 3/4 for the second, 1/3.
WEAK = torch.tensor([[0, 0, -200], [0, 0, 0], [0, math.log(3), -200], [0, 0, 0]])
STRONG = torch.tensor([[4, 2, 2], [1, 1, 6], [2, 1, 5], [6, 1, 1]]).div(8).log()
LABELED = torch.tensor([[2, 2, 4], [4, 3, 1]]).div(8).log()  # both of the third class


class Answers(nn.Module):
    """A network that answers with given logits, whatever it is shown, and remembers how much it was."""

    def __init__(self, *batches: torch.Tensor) -> None:
        super().__init__()
        self.batches = [batch.clone().requires_grad_() for batch in batches]
        self.shown: list[int] = []

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        self.shown.append(len(views))
        return self.batches[len(self.shown) - 1] * 1


def asked(network: Answers, **changes: Any) -> torch.Tensor:
    """Return the loss of the first step of a training on such a network, two annotated images of class 2."""
    known_labels = np.array([2, 2, -1, -1, -1, -1])
    run = begun(noise(6), known_labels, batch=2, mu=2, threshold=0.5, weight_u=3.0, **changes)
    run.network = network  # type: ignore[assignment]
    return run.loss(run.places(0))


def test_the_loss_of_a_step_is_that_of_the_paper() -> None:
    network = Answers(torch.cat((LABELED, WEAK, STRONG)))
    loss = asked(network)
    assert network.shown == [2 + 4 + 4]
    labeled = (LN2 + 3 * LN2) / 2  # of probabilities 1/2 and 1/8
    # The first and third guess count, 1/2 being enough. They are the first class, which the strong view
    # gives 1/2, and the second, 1/8. The mean is over all four.
    unlabeled = (LN2 + 0 + 3 * LN2 + 0) / 4
    assert loss.item() == pytest.approx(labeled + 3 * unlabeled)


def test_apart_the_views_give_the_same_loss_in_the_order_labeled_strong_weak() -> None:
    network = Answers(LABELED, STRONG, WEAK)
    assert asked(network, joint=False).item() == pytest.approx(5 * LN2)
    assert network.shown == [2, 4, 4]


def test_no_gradient_reaches_the_weak_views_nor_the_strong_views_of_guesses_that_do_not_count() -> None:
    network = Answers(torch.cat((LABELED, WEAK, STRONG)))
    asked(network).backward()
    (logits,) = network.batches
    assert logits.grad is not None
    labeled, weak, strong = logits.grad.split([2, 4, 4])
    # Softmax minus truth, over two images; for the strong views weighted by 3 and over four images.
    torch.testing.assert_close(labeled, torch.tensor([[2, 2, -4], [4, 3, -7]]) / 8 / 2)
    assert not weak.any()
    rows = torch.tensor([[-4, 2, 2], [0, 0, 0], [2, -7, 5], [0, 0, 0]])
    torch.testing.assert_close(strong, rows / 8 * 3 / 4)


def test_apart_no_gradient_is_computed_for_the_weak_views() -> None:
    run, computed = begun(joint=False), []
    run.network.register_forward_hook(lambda module, given, logits: computed.append(logits.requires_grad))
    run.loss(run.places(0))
    assert computed == [True, True, False], "labeled, strong, weak"


def test_without_weight_the_unlabeled_images_are_not_looked_at() -> None:
    network = Answers(LABELED)
    known_labels = np.array([2, 2, -1, -1, -1, -1])
    run = begun(noise(6), known_labels, batch=2, mu=2, weight_u=0.0)
    run.network = network  # type: ignore[assignment]
    assert run.loss(run.places(0)).item() == pytest.approx(2 * LN2)
    assert network.shown == [2]


def test_a_rule_judges_the_probabilities_of_the_weak_views() -> None:
    class Listening(FixedThreshold):
        def mask(self, probability: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
            torch.testing.assert_close(probability, LABELED.exp())
            assert not probability.requires_grad
            assert index.tolist() == [4, 9]
            return torch.zeros(2)

    weak = (LABELED + 5).requires_grad_()
    assert consistency(weak, LABELED, Listening(0), torch.tensor([4, 9])).item() == 0


def test_a_rule_may_weigh_guesses() -> None:
    class Halves(FixedThreshold):
        def mask(self, probability: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
            return index / 8

    index = torch.tensor([0, 4, 8, 0])
    expected = (0.5 * 3 * LN2 + 1 * 3 * LN2) / 4  # the labels 0 and 1 have probability 1/8 each
    assert consistency(WEAK, STRONG, Halves(0), index).item() == pytest.approx(expected)


# The step


def test_the_learning_rate_falls_from_lr_to_a_fifth_of_it() -> None:
    rates = [learning_rate(step, 1000, 0.03) for step in range(1001)]
    assert rates[0] == 0.03
    assert rates[500] == pytest.approx(0.0231903)  # 0.03 cos(7/32 pi)
    assert rates[1000] == pytest.approx(0.00585271)  # 0.03 cos(7/16 pi)
    assert all(later < earlier for earlier, later in pairwise(rates))


def test_every_step_has_its_own_learning_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    run, rates = begun(iterations=4, lr=0.1), []
    monkeypatch.setattr(run, "descend", rates.append)
    for _ in range(4):
        run.advance()
    assert rates == pytest.approx([0.1 * math.cos(7 / 16 * math.pi * t / 4) for t in range(4)])


def kinds(network: nn.Module) -> tuple[set[str], set[str]]:
    """Return the names of the weights of convolutions and linear layers, and of all other parameters."""
    layers = {name: type(layer) for name, layer in network.named_modules()}
    names = {name for name, _ in network.named_parameters()}
    decayed = {
        name
        for name in names
        if name.endswith(".weight")
        and issubclass(layers[name.removesuffix(".weight")], nn.Conv2d | nn.Linear)
    }
    return decayed, names - decayed


def test_biases_and_batchnorm_do_not_decay() -> None:
    network = networks.build("wrn_28_2", channels=3, classes=3, resolution=8, generator_seed=0)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decayed, others = ({names[id(p)] for p in group} for group in decay_groups(network))
    assert (decayed, others) == kinds(network)
    assert {"head.weight", "body.stem.weight"} <= decayed
    assert {"head.bias", "body.stem.bias", "body.final.0.weight"} <= others


def test_steps_are_those_of_torchs_sgd_with_nesterov_momentum() -> None:
    run = begun(network="wrn_28_2", weight_decay=0.1, momentum=0.8)
    reference = deepcopy(run.network)
    decayed, _ = kinds(reference)
    split: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for name, parameter in reference.named_parameters():
        split[name not in decayed].append(parameter)
    groups = [{"params": split[0], "weight_decay": 0.1}, {"params": split[1], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.8, nesterov=True)
    for place, rate in enumerate((0.05, 0.03, 0.02)):
        run.network.zero_grad()
        run.loss(run.places(place)).backward()
        for ours, theirs in zip(run.network.parameters(), reference.parameters(), strict=True):
            theirs.grad = ours.grad.clone()
        for group in optimizer.param_groups:
            group["lr"] = rate
        run.descend(rate)
        optimizer.step()
        for ours, theirs in zip(run.network.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_a_parameter_without_gradient_neither_moves_nor_decays() -> None:
    run = begun(weight_decay=0.5)
    (begin,) = copies([run.network.head.weight])
    for parameter in run.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.network.head.weight.grad = None
    run.descend(0.1)
    assert torch.equal(run.network.head.weight, begin)


def test_gradients_do_not_add_up_over_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    run, sizes = begun(), []
    loss = nn.Parameter(torch.tensor(2.0))
    run.network = nn.ParameterList([loss])  # type: ignore[assignment]
    monkeypatch.setattr(run, "loss", lambda order: 3 * loss)
    monkeypatch.setattr(run, "descend", lambda rate: sizes.append(loss.grad.item()))
    monkeypatch.setattr(loop, "follow", lambda *given: None)
    for _ in range(3):
        run.advance()
    assert sizes == [3, 3, 3]


# The moving average


def test_the_memory_of_the_average_is_constant_unless_it_warms_up() -> None:
    assert [average_decay(step, 0.999, warmup=False) for step in (0, 1, 8990)] == [0.999] * 3


def test_the_memory_of_the_average_grows_as_it_warms_up() -> None:
    decays = [average_decay(step, 0.999, warmup=True) for step in (0, 1, 2, 90, 8990, 10**6)]
    assert decays == pytest.approx([1 / 10, 2 / 11, 3 / 12, 91 / 100, 0.999, 0.999])
    assert average_decay(90, 0.5, warmup=True) == 0.5


def test_parameters_are_averaged_and_buffers_copied() -> None:
    kept, current = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(kept.weight, 8.0)
    nn.init.constant_(current.weight, 4.0)
    current.running_mean = torch.tensor([5.0, 6.0])
    current.num_batches_tracked = torch.tensor(7)
    follow(kept, current, 0.25)
    assert kept.weight.tolist() == [7, 7]
    assert kept.running_mean.tolist() == [5, 6]  # type: ignore[union-attr]
    assert kept.num_batches_tracked == 7
    assert current.weight.tolist() == [4, 4]


@pytest.mark.parametrize(
    ("warmup", "decays"),
    [(False, (0.2, 0.2, 0.2, 0.2)), (True, (1 / 10, 2 / 11, 0.2, 0.2))],  # with 3/12 the warm-up is over
)
def test_the_average_follows_every_step_of_the_network(warmup: bool, decays: tuple[float, ...]) -> None:
    run = begun(ema=0.2, ema_warmup=warmup)
    by_hand = copies(run.network.parameters())
    for decay in decays:
        run.advance()
        now = run.network.parameters()
        by_hand = [decay * a + (1 - decay) * p.detach() for a, p in zip(by_hand, now, strict=True)]
        for average, expected in zip(run.average.parameters(), by_hand, strict=True):
            torch.testing.assert_close(average.detach(), expected)
        for average, buffer in zip(run.average.buffers(), run.network.buffers(), strict=True):
            assert torch.equal(average, buffer)


def test_a_share_on_the_device_moves_the_average_as_a_number_does() -> None:
    network, by_number = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(network.weight, 4.0)
    by_tensor = deepcopy(by_number)
    follow(by_number, network, 0.3)
    follow(by_tensor, network, torch.tensor(0.3))
    assert by_number.weight.tolist() == pytest.approx([1.9, 1.9])
    torch.testing.assert_close(by_tensor.state_dict(), by_number.state_dict())


def test_the_average_comes_back_ready_to_use() -> None:
    run, average = begun(), train()
    while run.step < run.steps:
        run.advance()
    assert not average.training
    for expected, found in zip(run.average.parameters(), average.parameters(), strict=True):
        assert torch.equal(expected, found)


# Steps that are recorded


@pytest.mark.parametrize("weight_u", [1.0, 0.0])
def test_recorded_steps_learn_what_launched_ones_do(weight_u: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prunebench.nn.replay.Replay", pretend_gpu.Replay)
    monkeypatch.setattr(pretend_gpu.Replay, "calls", 0)
    launched, recorded = (begun(weight_u=weight_u, ema_warmup=True) for _ in range(2))
    recorded.made.recordable = True
    for run in (launched, recorded):
        for _ in range(7):
            run.advance()
    assert pretend_gpu.Replay.calls == 7 - 3
    for name in ("network", "average"):
        ours, theirs = (getattr(run, name).state_dict() for run in (recorded, launched))
        torch.testing.assert_close(ours, theirs)


@pytest.mark.gpu
@pytest.mark.parametrize("joint", [True, False])
def test_recorded_steps_are_those_that_are_launched_one_by_one(joint: bool) -> None:
    def trained(recordable: bool) -> list[float]:
        settings = FixMatch(**TINY | {"joint": joint, "iterations": 12, "lr": 1e-3})
        rng = np.random.default_rng(0)
        images = noise().to("cuda")
        run = loop._Run(images, annotated(), 3, settings, FixedThreshold(settings.threshold), rng)
        run.made.recordable = recordable
        losses = [float(run.advance()) for _ in range(run.steps)]
        assert (run.made.replay is not None) == recordable
        return losses

    # Other images or views would differ by far more.
    np.testing.assert_allclose(trained(recordable=True), trained(recordable=False), atol=0.02)


# Batches


def test_whole_permutations_follow_one_another() -> None:
    index = torch.tensor([3, 5, 8, 9, 12])
    drawn = shuffled(index, 23, seeded()).tolist()
    rounds = [drawn[start : start + 5] for start in range(0, 23, 5)]
    assert [sorted(whole) for whole in rounds[:4]] == [[3, 5, 8, 9, 12]] * 4
    assert len(rounds[4]) == len(set(rounds[4])) == 3
    assert len({tuple(whole) for whole in rounds[:4]}) > 1, "each in an order of its own"


def test_fewer_than_all_are_drawn_without_repetition() -> None:
    assert len(set(shuffled(torch.arange(50), 20, seeded()).tolist())) == 20


def test_an_epoch_passes_once_over_the_unlabeled_images() -> None:
    run = begun()  # 70 images in steps of 12: six steps, and two places left over
    assert (run.per_epoch, run.steps) == (6, 12)
    assert begun(iterations=7).steps == 7
    seen = run.unlabeled_order.tolist()
    assert len(seen) == 72 and sorted(seen[:70]) == list(range(70))
    assert sorted(run.labeled_order.tolist()[:PAID]) == list(range(0, 70, 7))


def test_each_step_takes_the_next_images_and_each_epoch_another_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, seen = begun(), []
    orders = [(run.labeled_order, run.unlabeled_order)]
    read = run.reader.read

    def noting(index, rest):
        seen.append(copies(index.split([4, 12])))
        assert torch.equal(rest()[0], index)
        return read(index, rest)

    monkeypatch.setattr(run.reader, "read", noting)
    for _ in range(7):
        run.advance()
    orders.append((run.labeled_order, run.unlabeled_order))
    for stream, size in enumerate((4, 12)):
        first, second = (order[stream] for order in orders)
        assert torch.equal(torch.cat([step[stream] for step in seen[:6]]), first)
        assert torch.equal(seen[6][stream], second[:size])
        assert not torch.equal(first, second)


def test_annotated_images_are_among_the_unlabeled_ones_unless_told_otherwise() -> None:
    annotated = set(range(0, 70, 7))
    assert annotated <= set(begun().unlabeled_order.tolist())
    run = begun(include_labeled=False)
    assert run.per_epoch == 5, "60 images in steps of 12"
    for _ in range(3):
        assert sorted(run.unlabeled_order.tolist()) == sorted(set(range(70)) - annotated)
        assert set(run.labeled_order.tolist()) <= annotated
        run.shuffle()


# Views


@pytest.fixture
def only_cutout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let RandAugment draw nothing but Identity."""
    monkeypatch.setattr(randaugment, "OPERATIONS", {"Identity": (randaugment.identity, 0, 1)})


def pixels(views: torch.Tensor) -> torch.Tensor:
    """Return the uint8 images behind views of images of mean 0.5 and deviation 0.3."""
    return ((views * 0.3 + 0.5) * 255).round().to(torch.uint8)


def shades(n: int = 30) -> Images:
    """Return image i in the one shade i."""
    return Images(np.full((n, 1, 8, 8), np.arange(n).reshape(-1, 1, 1, 1), np.uint8), mean=(0.5,), std=(0.3,))


def test_weak_and_strong_views_are_of_the_same_images_and_only_the_strong_ones_always_have_cutout(
    only_cutout: None,
) -> None:
    run = begun(shades(), annotated(30))
    labeled, unlabeled = torch.tensor([7, 14, 28]), torch.arange(30)
    for _ in range(20):
        views = pixels(views_of(run, labeled, unlabeled)).flatten(1)
        plain, strong = views[:33], views[33:]
        expected = torch.cat((labeled, unlabeled))
        assert (plain == expected[:, None]).all()
        assert ((strong == 123) | (strong == unlabeled[:, None])).all()
        assert (strong == 123).any(1).all()
        assert (strong == unlabeled[:, None]).any(1).all()


def test_operations_change_strong_views_alone() -> None:
    images = noise()
    run, index = begun(images, flip=False), torch.arange(70)
    views = pixels(views_of(run, index[:0], index))
    weak, strong = views[:70], views[70:]
    values = [set(image.flatten().tolist()) for image in images[index]]

    def foreign(batch: torch.Tensor) -> int:
        """Return how many images have a value that is neither of the original nor of Cutout."""
        found = [set(image.flatten().tolist()) for image in batch]
        return sum(not new <= old | {123} for new, old in zip(found, values, strict=True))

    assert foreign(weak) == 0
    assert foreign(strong) > 50


def test_each_view_is_cropped_and_mirrored_by_itself(only_cutout: None) -> None:
    """Images of 16 pixels are padded by 2, reflected; the first column tells where a crop began."""
    ramp = np.tile(np.arange(100, 116, dtype=np.uint8), (50, 1, 16, 1))
    images = Images(ramp, mean=(0.5,), std=(0.3,))
    straight, mirrored = {100, 101, 102}, {113, 114, 115}
    index = torch.arange(50)

    def columns(*, flip: bool) -> torch.Tensor:
        views = pixels(views_of(begun(images, annotated(50), flip=flip), index, index))[:, 0, :, 0]
        return views.where(views != 123, 0).amax(1)  # 123 is Cutout

    assert set(columns(flip=False).tolist()) - {0} == straight
    labeled, weak, strong = columns(flip=True).split(50)
    for views in (labeled, weak, strong):
        assert set(views.tolist()) - {0} == straight | mirrored
    assert (labeled != weak).any() and ((weak != strong) & (strong > 0)).any()


def test_views_of_a_part_lie_in_the_image_and_strong_ones_are_resized(only_cutout: None) -> None:
    """Of a ramp 40 wide: weak views are 32 neighboring columns, strong ones a box stretched to 32."""
    ramp = np.tile(np.arange(130, 170, dtype=np.uint8), (50, 1, 40, 1))
    index, run = torch.arange(50), part(Images(ramp, mean=(0.5,), std=(0.3,)), flip=False)
    views = pixels(views_of(run, index, index))
    assert views.shape == (150, 1, 32, 32)
    weak, strong = views[:100, 0, 0].int(), views[100:, 0]
    assert (weak.diff() == 1).all(), "no padding, no resizing, and no Cutout"
    assert set(weak[:, 0].tolist()) == set(range(130, 139)), "at nine places"
    assert (weak[:50, 0] != weak[50:, 0]).any(), "each at its own"
    spans = [image[image != 123].int() for image in strong]
    widths = {int(span.max() - span.min()) for span in spans if len(span)}
    assert min(widths) < 15 and max(widths) > 31


def test_views_of_a_part_are_mirrored_too(only_cutout: None) -> None:
    ramp = np.tile(np.arange(130, 170, dtype=np.uint8), (50, 1, 40, 1))
    index = torch.arange(50)
    views = pixels(views_of(part(Images(ramp, mean=(0.5,), std=(0.3,))), index, index[:0]))[:, 0, 0].int()
    assert views.shape == (50, 32)
    assert set(views.diff().flatten().tolist()) == {1, -1}


def part(images: Images, **changes: Any) -> loop._Run:
    """Begin a training that sees 32 pixels of images."""
    settings = FixMatch(**TINY | changes)
    known_labels, rng = annotated(len(images)), np.random.default_rng(0)
    return loop._Run(images, known_labels, 3, settings, FixedThreshold(0.6), rng, 32)


def test_all_of_an_image_is_what_no_side_means() -> None:
    images, options = noise(), {"device": "cpu", "progress": lambda done, total: None}
    settings = FixMatch(**TINY)
    ours, theirs = (
        loop.train(
            *(images, annotated(), 3, settings, FixedThreshold(0.6)),
            **{"rng": np.random.default_rng(0), "checkpoint": MemoryCheckpoint(), "side": side} | options,
        )
        for side in (None, 8)
    )
    for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("weight_u", [1.0, 0.0])
def test_a_training_on_a_part_resumes_as_if_undisturbed(weight_u: float, monkeypatch) -> None:
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
    settings = FixMatch(**TINY | {"weight_u": weight_u})

    def trained(checkpoint: MemoryCheckpoint, progress: Any) -> networks.Network:
        return loop.train(
            *(noise(side=12), annotated(), 3, settings, FixedThreshold(0.6)),
            rng=np.random.default_rng(0),
            device="cpu",
            progress=progress,
            checkpoint=checkpoint,
            side=8,
        )

    def stop(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    checkpoint = MemoryCheckpoint()
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint, stop)
    resumed, whole = (trained(c, lambda done, total: None) for c in (checkpoint, MemoryCheckpoint()))
    for left, right in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(left, right)


def test_more_than_there_is_cannot_be_seen() -> None:
    with pytest.raises(PrunebenchError) as error:
        loop.train(
            *(noise(), annotated(), 3, FixMatch(**TINY), FixedThreshold(0.6)),
            rng=np.random.default_rng(0),
            device="cpu",
            progress=lambda done, total: None,
            checkpoint=MemoryCheckpoint(),
            side=9,
        )
    assert str(error.value) == (
        "fixmatch cannot see 9 pixels (recipe.side) of images of 8; set recipe.side to 8 or less"
    )


def test_views_are_normalized() -> None:
    run = begun(shades(), annotated(30))
    weak = views_of(run, torch.arange(30)[:0], torch.arange(30))[:30]
    torch.testing.assert_close(weak, normalize(shades()[slice(None)], (0.5,), (0.3,)))


# BatchNorm


def statistics(run: loop._Run) -> tuple[torch.Tensor, torch.Tensor, int]:
    norm = next(layer for layer in run.network.modules() if isinstance(layer, nn.BatchNorm2d))
    assert norm.running_mean is not None and norm.num_batches_tracked is not None
    return norm.running_mean, next(run.network.parameters()).detach(), int(norm.num_batches_tracked)


@pytest.mark.parametrize("joint", [True, False])
def test_batchnorm_sees_all_views_at_once_or_labeled_strong_and_weak_in_turn(
    joint: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(joint=joint, bn_momentum=0.25)
    kept: list[torch.Tensor] = []
    views = run.views
    monkeypatch.setattr(run, "views", lambda *index: kept.append(views(*index)) or kept[-1])
    run.loss(run.places(0))
    mean, kernel, batches = statistics(run)
    outputs = nn.functional.conv2d(kept[0], kernel, padding=1)
    labeled, weak, strong = (part.mean((0, 2, 3)) for part in outputs.split([4, 12, 12]))
    if joint:
        assert batches == 1
        torch.testing.assert_close(mean, (4 * labeled + 12 * weak + 12 * strong) / 28 * 0.25)
    else:
        assert batches == 3
        torch.testing.assert_close(mean, ((labeled * 0.75 + strong) * 0.75 + weak) * 0.25)


def test_batchnorm_forgets_as_it_is_told_or_as_the_network_has_it() -> None:
    def momenta(**changes: Any) -> set[float]:
        layers = begun(network="wrn_28_2", **changes).network.modules()
        return {layer.momentum for layer in layers if isinstance(layer, nn.BatchNorm2d)}

    assert momenta() == {0.001}
    assert momenta(bn_momentum=0.05) == {0.05}


# The whole training


class Learning(nn.Module):
    """A rule that learns: its threshold follows the mean of the guesses, and it counts what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.tensor(0.5))
        self.register_buffer("shown", torch.zeros(70, dtype=torch.int64))

    def mask(self, probability: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        best = probability.amax(1)
        self.level.lerp_(best.mean(), 0.1)
        self.shown += index.bincount(minlength=70)
        return (best >= self.level).float()


def killed_after(steps: int, checkpoint: MemoryCheckpoint, rule: Any, **changes: Any) -> None:
    """Train with a checkpoint after every step; die in the progress report of one of them."""

    def progress(done: int, total: int) -> None:
        if done == steps:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
        patch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
        train(rule, checkpoint=checkpoint, progress=progress, **changes)


def test_a_rule_is_told_which_images_it_judges_and_its_buffers_are_kept() -> None:
    rule, checkpoint, run = Learning(), MemoryCheckpoint(), begun()
    killed_after(4, checkpoint, rule)
    assert checkpoint.state is not None
    assert checkpoint.state["step"] == 3
    shown = np.bincount(run.unlabeled_order[: 3 * 12], minlength=70)
    assert checkpoint.state["rule/shown"].tolist() == shown.tolist()
    assert 0.33 < checkpoint.state["rule/level"] < 1
    assert checkpoint.state["rule/level"] != 0.5


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("stop_at", [2, 6, 7, 12])
def test_a_killed_and_resumed_training_equals_an_undisturbed_one_bit_for_bit(
    stop_at: int, joint: bool
) -> None:
    """Of two epochs of six steps: killed within one, after one, and in the last step."""
    undisturbed, resumed, checkpoint, steps = Learning(), Learning(), MemoryCheckpoint(), []
    expected = networks.state(train(undisturbed, joint=joint))
    killed_after(stop_at, checkpoint, Learning(), joint=joint)
    again = train(
        resumed, joint=joint, checkpoint=checkpoint, progress=lambda done, total: steps.append(done)
    )
    assert steps == list(range(stop_at, 13))
    for name, array in networks.state(again).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert torch.equal(resumed.level, undisturbed.level)
    assert torch.equal(resumed.shown, undisturbed.shown)


def test_checkpoints_wait_for_their_time_and_none_is_taken_after_the_last_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint, steps = MemoryCheckpoint(), []
    monkeypatch.setattr(checkpoint, "save", lambda state: steps.append(state["step"]))
    train(checkpoint=checkpoint)
    assert steps == []
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("prunebench.nn.loop.SAVING_SHARE", 0.0)
    train(checkpoint=checkpoint)
    assert steps == list(range(1, 12))


def test_progress_is_reported_step_by_step_up_to_the_total() -> None:
    seen: list[tuple[int, int]] = []
    train(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(step, 12) for step in range(1, 13)]


def test_the_global_random_state_neither_matters_nor_changes() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = networks.state(train())
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again = networks.state(train())
    assert all(np.array_equal(array, again[name]) for name, array in first.items())


# What cannot be


def message(**changes: Any) -> str:
    with pytest.raises(PrunebenchError) as error:
        train(**changes)
    return str(error.value)


def test_half_precision_needs_a_gpu() -> None:
    assert message(precision="bf16") == "fixmatch.precision 'bf16' needs a CUDA device; on a CPU use 'fp32'"


def test_without_a_annotated_label_there_is_nothing_to_begin_with() -> None:
    assert (
        message(known_labels=np.full(70, -1))
        == "fixmatch needs annotated images, but has none; raise fixmatch.label_fraction"
    )


def test_where_everything_is_annotated_the_annotated_images_must_be_included() -> None:
    everything = np.arange(70) % 3
    assert message(known_labels=everything, include_labeled=False) == (
        "fixmatch: all 70 images are annotated; lower fixmatch.label_fraction "
        "or set fixmatch.include_labeled = true"
    )
    train(known_labels=everything)


def test_a_loss_that_is_not_finite_stops_at_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun()
    loss = run.loss
    monkeypatch.setattr(run, "loss", lambda place: loss(place) * (math.nan if run.step == 7 else 1))
    with pytest.raises(DivergedError) as error:
        loop.run(run, None, None)
    assert str(error.value) == (
        "fixmatch: the loss is not finite at step 8 of 12, learning rate 0.0348; lower fixmatch.lr"
    )
