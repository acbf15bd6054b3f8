"""ZCore: its rounds by hand and against plain loops, its draws, and its edges."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from prunebench.errors import PrunebenchError
from prunebench.parts.conformance import conform
from prunebench.parts.problem import MemoryCheckpoint
from prunebench_plugins.scorers.zcore import loop
from prunebench_plugins.scorers.zcore.loop import Rounds
from prunebench_plugins.scorers.zcore.part import Zcore

FOUR = np.array([[0, 0], [1, 0], [0, 2], [4, 4]], np.float32)


def score(part, embeddings, *, seed=0, device="cpu", progress=lambda done, total: None, checkpoint=None):
    checkpoint = checkpoint or MemoryCheckpoint()
    return part.score(embeddings, np.random.default_rng(seed), device, progress, checkpoint)


def compiled(embeddings, rounds, *settings, **options):
    return loop.on_cpu(np.ascontiguousarray(embeddings.T), rounds, *settings, **options)


def batched(embeddings, rounds, *settings):
    return loop.batched(torch.from_numpy(np.ascontiguousarray(embeddings.T)), rounds, *settings)


both = pytest.mark.parametrize("play", [compiled, batched])


def one_round(dimensions, *point, ticket=0):
    return Rounds(
        dimensions=np.array([dimensions]), points=np.array([point], np.float32), tickets=np.array([ticket])
    )


def turns(images, ticket):
    return np.array([(image ^ int(ticket)) * 0x9E3779B1 % 2**32 for image in range(images)])


def naive(embeddings, rounds, neighbors, exponent):
    """Play the rounds as the definition has them: one by one, everything sorted."""
    scores = np.zeros(len(embeddings))
    for chosen, point, ticket in zip(rounds.dimensions, rounds.points, rounds.tickets, strict=True):
        shown, turn = embeddings[:, chosen], turns(len(embeddings), ticket)
        best = np.lexsort((turn, np.abs(shown - point).sum(axis=1)))[0]
        scores[best] += 1
        gaps = np.abs(shown - shown[best]).sum(axis=1)
        order = [i for i in np.lexsort((turn, gaps)) if i != best][:neighbors]
        if gaps[order[0]] == 0:
            scores[order[0]] -= 1
        else:
            weights = (gaps[order] / gaps[order[0]].astype(float)) ** -exponent
            scores[order] -= weights / weights.sum()
    return scores


def drawn(embeddings, rounds, sample_dim=2):
    space = loop.survey(embeddings, sample_dim, np.random.default_rng(0))
    return loop.draw(space, rounds, sample_dim, np.random.default_rng(5))


def normal(n, d, levels=None):
    """Normal embeddings, rounded to `levels` per unit, so that many are equal."""
    values = np.random.default_rng(1).normal(size=(n, d))
    return (values if levels is None else np.round(values * levels)).astype(np.float32)


# Rounds


@both
def test_two_rounds_by_hand(play):
    # Image 0 is nearest to (0.2, 0.1), and 1, 2, 3 are 1, 2, 8 from it: the weights are 1 and 1/16.
    first = play(FOUR, one_round([0, 1], 0.2, 0.1), 2, 4.0)
    np.testing.assert_allclose(first, [1, -16 / 17, -1 / 17, 0], atol=1e-12)
    # Image 3 is nearest to (3, 5), and 2, 1, 0 are 6, 7, 8 from it: the weights are 1 and (6/7)^4.
    second = play(FOUR, one_round([1, 0], 5, 3), 2, 4.0)
    np.testing.assert_allclose(second, [0, -1296 / 3697, -2401 / 3697, 1], atol=1e-12)


@both
@pytest.mark.parametrize(
    ("n", "d", "levels", "sample_dim", "neighbors", "exponent"),
    [
        (300, 12, None, 2, 50, 4.0),
        (300, 12, None, 3, 200, 3.5),
        (300, 12, None, 1, 100, 1.0),
        (64, 5, None, 5, 20, 0.0),
        (400, 6, 1, 2, 30, 4.0),
        (400, 6, 1, 2, 390, 4.0),
        (400, 6, 4, 2, 100, 4.0),
        (400, 6, 4, 3, 100, 2.5),
        (9, 4, 1, 2, 8, 4.0),
        (2, 3, None, 2, 1, 4.0),
        (9001, 3, None, 2, 1000, 4.0),
        (9001, 3, 2, 2, 1000, 4.0),
        (4096, 3, 40, 2, 70, 4.0),
    ],
)
def test_rounds_are_those_of_plain_loops(play, n, d, levels, sample_dim, neighbors, exponent):
    embeddings = normal(n, d, levels)
    draws = drawn(embeddings, 20 if n > 1000 else 150, sample_dim)
    expected = naive(embeddings, draws, neighbors, exponent)
    np.testing.assert_allclose(play(embeddings, draws, neighbors, exponent), expected, atol=1e-9)


@both
def test_in_a_round_one_image_gains_one_and_the_others_lose_one(play):
    embeddings = normal(200, 4)
    rounds = drawn(embeddings, 30)
    for turn in range(30):
        scores = play(embeddings, rounds[turn : turn + 1], 40, 4.0)
        assert scores.max() == 1
        assert (scores < 0).sum() == 40
        assert scores[scores < 0].sum() == pytest.approx(-1, abs=1e-12)


@both
def test_an_equal_image_takes_the_whole_loss_and_never_the_winner(play):
    embeddings = np.array([[9, 9], [1, 1], [5, 5], [1, 1], [1, 1], [1.5, 1]], np.float32)
    for ticket in range(20):
        scores = play(embeddings, one_round([0, 1], 0, 0, ticket=ticket), 4, 4.0)
        winner, loser = scores.argmax(), scores.argmin()
        assert (winner, loser) == tuple(sorted([1, 3, 4], key=lambda i: turns(6, ticket)[i])[:2])
        assert (scores[winner], scores[loser], np.abs(scores).sum()) == (1, -1, 2)


@both
def test_images_that_are_equal_only_where_a_round_looks_are_equal(play):
    scores = play(np.array([[1, 5], [1, 7], [2, 6]], np.float32), one_round([0], 1), 2, 4.0)
    assert sorted(scores[:2]) == [-1, 1]
    assert scores[2] == 0


@both
def test_of_equally_near_images_any_may_be_a_neighbor(play):
    """Images 0, 2 and 4 are 2 from image 1, and two of them are neighbors beside image 3."""
    embeddings = np.array([[2], [0], [-2], [-1], [2]], np.float32)
    left_out = []
    for ticket in range(0, 2**32, 2**27):
        scores = play(embeddings, one_round([0], 0.1, ticket=ticket), 3, 1.0)
        np.testing.assert_allclose(np.sort(scores), [-1 / 2, -1 / 4, -1 / 4, 0, 1], atol=1e-12)
        left_out.append(int(np.abs(scores).argmin()))
    assert set(left_out) == {0, 2, 4}


@both
@pytest.mark.parametrize("scale", [2.0**-60, 2.0**100])
def test_the_scale_of_the_embeddings_does_not_matter(play, scale):
    """Powers of float32 distances would be 0 or infinite, and the losses nan."""
    embeddings = normal(100, 4)
    rounds = drawn(embeddings, 50)
    expected = play(embeddings, rounds, 99, 4.0)
    scale = np.float32(scale)
    scaled = replace(rounds, points=rounds.points * scale)
    np.testing.assert_array_equal(play(embeddings * scale, scaled, 99, 4.0), expected)


@both
def test_a_neighbor_far_beyond_all_powers_loses_nothing(play):
    embeddings = np.array([[0], [1e-40], [1e38]], np.float32)
    assert play(embeddings, one_round([0], 0), 2, 20.0).tolist() == [1, -1, 0]


def test_neighbors_are_found_where_the_sample_misleads():
    """The reach is guessed from every second image: these lie close together, the others do not."""
    embeddings = normal(1000, 2)
    embeddings[::2] *= 0.01
    draws = drawn(embeddings, 40)
    expected = naive(embeddings, draws, 140, 4.0)
    np.testing.assert_allclose(compiled(embeddings, draws, 140, 4.0), expected, atol=1e-9)


def test_the_number_of_threads_changes_no_digit():
    embeddings = normal(60, 6)
    draws = drawn(embeddings, 5000)
    one, two, five = (compiled(embeddings, draws, 30, 4.0, threads=threads) for threads in (1, 2, 5))
    np.testing.assert_allclose(one, batched(embeddings, draws, 30, 4.0), atol=1e-9)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, five)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        three = compiled(embeddings, draws, 30, 4.0)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(one, three)


def test_batches_change_nothing(monkeypatch):
    embeddings = normal(50, 6)
    draws = drawn(embeddings, 100)
    whole = batched(embeddings, draws, 30, 4.0)
    monkeypatch.setattr(loop, "DEVICE_BYTES", 32 * 50 * 7)
    np.testing.assert_allclose(batched(embeddings, draws, 30, 4.0), whole, atol=1e-12)


@pytest.mark.gpu
def test_a_gpu_plays_the_same_rounds():
    embeddings = normal(2000, 6, 20)
    draws = drawn(embeddings, 500)
    columns = torch.from_numpy(np.ascontiguousarray(embeddings.T)).to("cuda")
    scores = loop.batched(columns, draws, 100, 4.0)
    np.testing.assert_allclose(scores, compiled(embeddings, draws, 100, 4.0), atol=1e-9)


@pytest.mark.gpu
def test_a_gpu_scores_the_same():
    part = Zcore(rounds=2000, neighbors=100)
    options = (lambda done, total: None, MemoryCheckpoint())
    scores = part.score(normal(500, 6), np.random.default_rng(0), "cuda", *options)
    np.testing.assert_allclose(scores, score(part, normal(500, 6)), atol=1e-9)


# Draws


@pytest.mark.parametrize("sample_dim", [1, 2, 3, 5])
def test_dimensions_are_distinct_and_uniform(sample_dim):
    dimensions = drawn(normal(50, 5), 20_000, sample_dim).dimensions
    assert dimensions.shape == (20_000, sample_dim)
    assert all(len(set(row)) == sample_dim for row in dimensions[:500].tolist())
    ordered = dimensions @ 10 ** np.arange(sample_dim)
    counts = np.unique(ordered, return_counts=True)[1]
    assert len(counts) == np.prod(5 - np.arange(sample_dim)), "every ordered choice occurs"
    assert stats.chisquare(counts).pvalue > 1e-3


def test_points_are_triangular_with_the_mode_at_the_median():
    embeddings = np.random.default_rng(2).gamma(2, [1, 10, 100], size=(500, 3)).astype(np.float32)
    rounds = drawn(embeddings, 30_000)
    for side in range(3):
        low, mode, high = np.percentile(embeddings[:, side], [0, 50, 100])
        triangle = stats.triang((mode - low) / (high - low), low, high - low)
        assert stats.kstest(rounds.points[rounds.dimensions == side], triangle.cdf).pvalue > 1e-3


def test_a_dimension_whose_median_is_its_lowest_value_can_be_drawn_from():
    embeddings = normal(30, 2)
    embeddings[:20, 0] = embeddings[:, 0].min()
    assert np.isfinite(drawn(embeddings, 100).points).all()


def test_every_block_of_rounds_has_a_stream_of_its_own(monkeypatch):
    monkeypatch.setattr(loop, "BLOCK", 50)
    blocks = []
    draw = loop.draw
    monkeypatch.setattr(loop, "draw", lambda *args: blocks.append(draw(*args)) or blocks[-1])
    score(Zcore(rounds=120), normal(40, 6))
    assert [len(block) for block in blocks] == [50, 50, 20]
    assert len(np.unique(np.concatenate([block.points for block in blocks]))) == 240


# Scores


def test_scores_are_the_sums_of_the_rounds_scaled(device):
    embeddings = normal(80, 6)
    rng = np.random.default_rng(3)
    seed = int(rng.integers(2**63))
    space = loop.survey(embeddings, 2, np.random.default_rng(seed))
    draws = loop.draw(space, 700, 2, np.random.default_rng([seed, 0]))
    for jitter, noise in ((False, 0), (True, rng.random(80))):
        sums = naive(space.columns.T, draws, 25, 3.0)[space.places] + noise
        part = Zcore(rounds=700, neighbors=25, exponent=3.0, jitter=jitter)
        scores = score(part, embeddings, seed=3, device=device)
        assert scores.dtype == np.float64
        assert (scores.min(), scores.max()) == (0, 1)
        np.testing.assert_allclose(scores, (sums - sums.min()) / np.ptp(sums), atol=1e-9)


def test_isolated_images_score_high_and_crowded_ones_low(device):
    rng = np.random.default_rng(0)
    embeddings = np.concatenate([rng.normal(0, 0.01, (90, 8)), rng.normal(0, 1, (10, 8))]).astype(np.float32)
    scores = score(Zcore(rounds=3000, neighbors=20), embeddings, device=device)
    assert scores[90:].min() > scores[:90].max()


def test_the_place_in_the_dataset_does_not_matter(device):
    """Of five equal images the first would gain all and the second lose all."""
    embeddings = np.repeat(normal(20, 4, 1), 5, axis=0)
    scores = score(Zcore(rounds=20_000, neighbors=20), embeddings, device=device)
    by_place = scores.reshape(20, 5).mean(axis=0)
    assert np.ptp(by_place) < 0.1


def test_equal_seeds_score_equally():
    first, again, other = (score(Zcore(rounds=500), normal(50, 6), seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("stop_at", [64, 192, 256])
def test_a_resumed_computation_equals_an_undisturbed_one(stop_at, monkeypatch):
    monkeypatch.setattr(loop, "BLOCK", 64)
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    part, embeddings, checkpoint = Zcore(rounds=300, neighbors=20), normal(50, 6), MemoryCheckpoint()

    def stop(done, total):
        assert total == 300
        if done == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(part, embeddings, checkpoint=checkpoint, progress=stop)
    seen = []
    resumed = score(
        part, embeddings, checkpoint=checkpoint, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(min(done, 300), 300) for done in range(stop_at, 321, 64)], (
        "it went on where it was saved"
    )
    np.testing.assert_array_equal(resumed, score(part, embeddings))


def test_what_is_complete_is_not_saved(monkeypatch):
    monkeypatch.setattr("prunebench.nn.loop.CHECKPOINT_SECONDS", 0.0)
    checkpoint = MemoryCheckpoint()
    score(Zcore(rounds=10), normal(20, 4), checkpoint=checkpoint)
    assert checkpoint.load() is None


def test_more_neighbors_than_images_are_all_others():
    embeddings = normal(30, 4)
    all_others, more = (score(Zcore(rounds=200, neighbors=k), embeddings) for k in (29, 1000))
    np.testing.assert_array_equal(all_others, more)


def test_constant_dimensions_are_dropped():
    embeddings = normal(50, 4)
    dead = np.insert(embeddings, [0, 2, 4], 0.3, axis=1)
    np.testing.assert_array_equal(*(score(Zcore(rounds=200), shown) for shown in (embeddings, dead)))


@pytest.mark.parametrize("images", [0, 1])
def test_too_few_images_to_compare_score_zero(images):
    assert score(Zcore(), normal(images, 3)).tolist() == [0] * images


def test_equal_scores_are_all_zero(monkeypatch):
    monkeypatch.setattr(loop, "play", lambda embeddings, *_, **__: np.full(len(embeddings), -2.0))
    assert score(Zcore(jitter=False), normal(5, 3)).tolist() == [0] * 5


@pytest.mark.parametrize(
    ("fields", "embeddings", "message"),
    [
        (
            {},
            np.ones((5, 3), np.float32),
            "zcore.sample_dim is 2, but 0 of the 3 dimensions of the embeddings vary",
        ),
        (
            {"sample_dim": 4},
            np.insert(normal(5, 3), 1, 7, axis=1),
            "zcore.sample_dim is 4, but 3 of the 4 dimensions of the embeddings vary",
        ),
        *(
            (
                {},
                np.array([[0, 1], [1, 0], [value, 2]], np.float32),
                "zcore needs embeddings that are finite and below 1e37; some are not",
            )
            for value in (np.nan, np.inf, 3e38)
        ),
    ],
)
def test_embeddings_that_cannot_be_scored_are_one_line(fields, embeddings, message):
    with pytest.raises(PrunebenchError) as error:
        score(Zcore(**fields), embeddings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rounds": 0}, "zcore.rounds is 0, expected above 0"),
        ({"sample_dim": 0}, "zcore.sample_dim is 0, expected above 0"),
        ({"neighbors": 0}, "zcore.neighbors is 0, expected above 0"),
        ({"exponent": -1.0}, "zcore.exponent is -1.0, expected 0 or more"),
    ],
)
def test_a_wrong_field_is_one_line(fields, message):
    with pytest.raises(PrunebenchError) as error:
        Zcore(**fields)
    assert str(error.value) == message


@pytest.mark.parametrize("fields", [{}, {"sample_dim": 3, "exponent": 2.5}, {"jitter": False}], ids=str)
def test_the_contract_holds(device, fields):
    conform(Zcore(rounds=300, **fields), device)


def test_the_defaults_are_the_published_ones():
    published = Zcore(rounds=1_000_000, sample_dim=2, neighbors=1000, exponent=4.0, jitter=True)
    assert Zcore() == published
    assert Zcore().backbone == ("clip_vitl14", "resnet18_imagenet")


def test_nothing_is_compiled_before_it_is_needed():
    code = (
        "import sys, prunebench_plugins.scorers.zcore.part; assert not {'numba', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
