"""Figures: what is drawn are the numbers of the rows, and the same rows give the same files."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from prunebench.errors import PrunebenchError
from prunebench.figures import drawings, histograms, lines, maps, sources, style
from prunebench.parts.artefacts import Subset
from prunebench.parts.dataset import View
from prunebench.parts.method import Method
from prunebench.parts.registry import load
from prunebench.pipeline.context import load_split
from prunebench.pipeline.executors.engine import Engine
from prunebench.pipeline.forecast import forecast_from_store
from prunebench.results.board import Page, boards, stems
from prunebench.results.journal import Journal
from prunebench.runs import label_report as judging
from prunebench.runs.run import make_labels
from prunebench_plugins.selectors.random import Random

FEW = {"label_fraction": 0.1, "labels_selection": 6, "labels_total": 35}
FULL = {"reference": True, "kept": 64, "kept_per_class": [16, 16, 16, 16]}
SEVERAL = [
    *(("random", ratio, seed, 80 - ratio / 10 + seed) for ratio in (30, 50) for seed in (0, 1)),
    *(("elfs_dino", ratio, 0, 60.0) for ratio in (30, 50)),
    *(("semi_aum", ratio, seed, 85 - ratio / 10 - seed, FEW) for ratio in (30, 50) for seed in (0, 1)),
    *(("full", 0, seed, 90 + seed, FULL) for seed in (0, 1)),
    *(("random_twin", ratio, 0, 70.0, {"reference": True}) for ratio in (30, 50)),
    ("random_matched{semi_aum}", 30, 0, 10.0, {"reference": True, "matched_to": "semi_aum"}),
]


@pytest.fixture
def page(row):
    """page((method, ratio, seed, accuracy, {...}), ...) is a page with these rows."""

    def made(*cells, **fields):
        rows = [
            row(method=method, ratio=ratio, seed=seed, accuracy=accuracy, **dict(*more))
            for method, ratio, seed, accuracy, *more in cells
        ]
        ordinary = {"suite": "toys", "title": "Toys", "note": "", "ratios": [30, 50], "seeds": [0, 1]}
        return Page(**ordinary | {"rows": rows} | fields)

    return made


@pytest.fixture
def board(page):
    """board(cells...) is the one board of a page with these rows."""

    def made(*cells, **fields):
        (found,) = boards(page(*cells, **fields))
        return found

    return made


def drawn(ax):
    """Return the points of each line in a panel, by its name in the legend."""
    return {line.get_label(): np.array(line.get_data()).T.tolist() for line in ax.lines}


def bands(ax):
    """Return the lowest and highest y of each band or bar of a panel, by x."""
    found = []
    for collection in ax.collections:
        points = np.concatenate([path.vertices for path in collection.get_paths()])
        found.append({x: (min(y), max(y)) for x in set(points[:, 0]) for y in [points[points[:, 0] == x, 1]]})
    return found


# Accuracy by ratio


def test_accuracy_draws_the_means_of_the_rows_in_a_panel_for_each_use_of_labels(board):
    none, few = lines.accuracy(board(*SEVERAL)).axes
    assert [ax.get_title(loc="left") for ax in (none, few)] == ["no labels to select", "few labels to select"]
    random, full = [[30, 77.5], [50, 75.5]], [[0, 90.5], [1, 90.5]]
    alone = {"Elfs_Dino": [[30, 60], [50, 60]], "Random_Twin": [[30, 70], [50, 70]]}
    assert drawn(none) == {"Random": random, "Full": full} | alone
    assert drawn(few) == {"Random": random, "Semi_Aum": [[30, 81.5], [50, 79.5]], "Full": full}


def test_bands_are_a_standard_deviation_to_either_side(board):
    none, _ = lines.accuracy(board(*SEVERAL)).axes
    ((low, high),) = [found[30] for found in bands(none)]
    assert (low, high) == pytest.approx((77.5 - 0.5**0.5, 77.5 + 0.5**0.5))


def test_one_seed_has_no_band(board):
    (ax,) = lines.accuracy(board(("random", 30, 0, 80.0))).axes
    assert drawn(ax) == {"Random": [[30, 80.0]]} and not ax.collections


def test_references_are_dashed_and_methods_are_not(board):
    none, _ = lines.accuracy(board(*SEVERAL)).axes
    assert {line.get_label(): line.is_dashed() for line in none.lines} == {
        "Random": False,
        "Elfs_Dino": False,
        "Full": True,
        "Random_Twin": True,
    }


def test_a_reference_stands_with_a_panel_even_where_no_method_buys_as_many_labels(board):
    all_labels = {"reference": True, "label_fraction": 1.0}
    (ax,) = lines.accuracy(board(*SEVERAL[:4], ("stratified", 30, 0, 60.0, all_labels))).axes
    assert drawn(ax)["Stratified"] == [[0, 60.0], [1, 60.0]]


def test_the_title_states_dataset_recipe_and_seeds_and_the_caption_warns(board):
    title, caption = (text.get_text() for text in lines.accuracy(board(*SEVERAL)).texts)
    assert title == "toy, recipe tiny, 1 to 2 seeds: test accuracy"
    assert style.WARNING in caption.replace("\n", " ")
    paper = [(*cell[:4], {**dict(*cell[4:]), "recipe": "paper"}) for cell in SEVERAL]
    caption = lines.accuracy(board(*paper)).texts[1].get_text()
    assert "Demonstration" not in caption


def test_panels_share_an_axis_unless_that_flattens_one(board):
    near = [("elfs_dino", r, 0, 80 - r / 10) for r in (30, 50)]
    for lowest, shared in ((70, True), (10, False)):
        few = [("semi_aum", 30, 0, 78.0, FEW), ("semi_aum", 50, 0, lowest, FEW)]
        figure = lines.accuracy(board(*near, *few))
        limits = [ax.get_ylim() for ax in figure.axes]
        assert (limits[0] == limits[1]) is shared
        assert ("axes of their own" in figure.texts[1].get_text().replace("\n", " ")) is not shared


def test_a_single_ratio_is_a_line_for_each_method_by_use_of_labels_then_by_mean(board):
    cells = [cell for cell in SEVERAL if cell[1] in (0, 50)]
    figure = lines.accuracy(board(*cells, ("best", 50, 0, 99.0), ratios=[50]))
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        *("no labels to select", "Best", "Random", "Elfs_Dino"),
        *("few labels to select", "Semi_Aum"),
    ]
    points = [sorted(line.get_xdata()) for line in ax.lines if line.get_marker() in "o|"]
    assert [75.0, 76.0] in points and [75.5] in points  # the seeds of Random, and their mean
    dashed = {line.get_linestyle(): line.get_xdata()[0] for line in ax.lines if line.get_linestyle() in ":--"}
    assert (dashed[":"], dashed["--"]) == (75.5, 90.5)  # Random, and all images
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("a seed", "mean over seeds", "mean of Random", "all images")
    ]


def test_a_single_ratio_has_room_for_all_methods(board):
    many = [(f"m{number:02}", 50, 0, 50.0 + number) for number in range(30)]
    (ax,) = lines.accuracy(board(*many, ratios=[50])).axes
    assert len(ax.get_yticklabels()) == 31


def test_too_many_methods_are_one_line_that_says_how_to_choose(board):
    cells = [(f"m{place}", 30, 0, 80.0) for place in range(13)]
    with pytest.raises(
        PrunebenchError, match=r"13 methods on toy are too many .* up to 12 .* --methods m0,m1"
    ):
        lines.accuracy(board(*cells))
    assert len(lines.accuracy(board(*cells[:12])).axes[0].lines) == 12


# Accuracy by label budget

BUDGETS = [
    *(("semi_aum", 30, seed, 90 + seed, FEW) for seed in (0, 1)),
    ("semi_aum{fixmatch.label_fraction=0.05}", 30, 0, 85.0, {"label_fraction": 0.05}),
    ("semi_aum_2", 30, 0, 80.0, {"label_fraction": 0.02, "title": "Semi_Aum, 2 % of the labels"}),
    ("elfs_dino", 30, 0, 84.0),
    ("elfs_swav", 30, 0, 70.0),
    ("full", 0, 0, 99.0, FULL),
]


def test_labels_joins_the_budgets_of_a_method_into_one_line(board):
    (ax,) = lines.labels(board(*BUDGETS, ratios=[30])).axes
    assert drawn(ax) == {
        "Semi_Aum": [[2, 80], [5, 85], [10, 90.5]],
        "Elfs_Dino": [[0, 84], [1, 84]],
        "Elfs_Swav": [[0, 70], [1, 70]],
        "Full": [[0, 99], [1, 99]],
    }
    assert ax.get_xscale() == "log"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["2", "5", "10"]


def test_labels_has_a_panel_for_each_ratio_and_all_images_in_each(board):
    other = [(name, 50, seed, 50.0, *more) for name, _, seed, _, *more in BUDGETS[:-1]]
    first, second, *rest = lines.labels(board(*BUDGETS, *other)).axes
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["30 % pruned", "50 % pruned"]
    assert drawn(second)["Semi_Aum"] == [[2, 50], [5, 50], [10, 50]]
    assert drawn(second)["Full"] == drawn(first)["Full"] and not rest


@pytest.mark.parametrize(
    ("method", "label_fraction", "name"),
    [
        ("semi_aum", 0.1, "semi_aum"),
        ("semi_aum{fixmatch.label_fraction=0.05}", 0.05, "semi_aum"),
        ("semi_aum{aum.window=5,fixmatch.label_fraction=0.05}", 0.05, "semi_aum{aum.window=5}"),
        ("semi_aum_1", 0.01, "semi_aum"),
        ("semi_aum_1", 0.1, "semi_aum_1"),
        ("semi_dual+annotated", 0.1, "semi_dual+annotated"),
    ],
)
def test_a_family_is_named_without_its_budget(row, method, label_fraction, name):
    assert lines.family(row(method=method, label_fraction=label_fraction))[0] == name


def test_labels_needs_two_budgets_and_says_how_to_get_them(board):
    with pytest.raises(PrunebenchError, match=r"run, for example: .* --set fixmatch\.label_fraction=0\.05"):
        lines.labels(board(*SEVERAL))


# What is kept


def test_kept_draws_shares_and_the_whole_sets_as_a_dashed_level(board):
    share = lines.Share("corrupted", 30.0, lambda row: row.accuracy)
    none, few = lines.kept(board(*SEVERAL), [share]).axes
    whole = {"all training images": [[0, 30], [1, 30]]}
    random = {"Random": [[30, 77.5], [50, 75.5]]}
    assert drawn(none) == random | {"Elfs_Dino": [[30, 60], [50, 60]]} | whole
    assert drawn(few) == random | {"Semi_Aum": [[30, 81.5], [50, 79.5]]} | whole
    assert few.lines[-1].is_dashed()


def test_two_parts_are_two_rows_of_panels(board):
    shares = [lines.Share("a", 30.0, lambda row: 1.0), lines.Share("b", 20.0, lambda row: 2.0)]
    axes = lines.kept(board(*SEVERAL), shares).axes
    assert [drawn(ax)["Random"][0][1] for ax in axes] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("sizes", "rare"),
    [
        ([10, 8, 4], [2]),
        ([4, 8, 10, 3, 8, 8], [0, 3]),
        ([10, 4, 4, 4], [3]),  # of equal ones the last
        ([10, 4], [1]),
        ([10, 5], None),  # exactly half is no tail
        ([7, 7, 7], None),
    ],
)
def test_the_tail_is_the_rarest_third_of_the_classes(sizes, rare):
    found = lines.tail(np.array(sizes))
    assert found is rare if rare is None else found.tolist() == rare


@dataclass(frozen=True, kw_only=True)
class Spoiled(View):
    """The toy images; every fourth one counts as corrupted, in one of two ways."""

    def alter(self, images, labels):
        return images, labels

    def corrupted(self, labels):
        return np.where(np.arange(len(labels)) % 4 == 0, 1 + np.arange(len(labels)) % 8 // 4, 0)


def test_the_share_of_corrupted_images_is_counted_in_the_stored_subsets(toy, offer, board, store, tmp_path):
    spoiled = Spoiled(name="toy_c", base=toy)
    store.write("aa" * 32, [Subset(images=64, index=[0, 1, 4, 8, 9])], {})
    key = {"subset_key": "aa" * 32, "dataset": "toy_c", "kept_per_class": [3, 2, 0, 0], "kept": 5}
    rows = board(("random", 30, 0, 80.0, key))
    (share,) = sources.shares(rows, spoiled, tmp_path / "data", store)
    assert (share.name, share.whole) == ("corrupted", 25.0)
    assert share.of(rows.rows[0]) == 60.0


def test_the_share_of_the_tail_needs_rows_alone(board, store, tmp_path):
    sizes = {"reference": True, "kept": 64, "kept_per_class": [40, 14, 8, 2]}
    of_rows = board(
        ("random", 30, 0, 80.0, {"kept": 10, "kept_per_class": [5, 1, 1, 3]}), ("full", 0, 0, 90.0, sizes)
    )
    (share,) = sources.shares(of_rows, None, tmp_path, store)
    assert (share.name, share.whole, share.of(of_rows.rows[0])) == ("tail-class", 100 * 2 / 64, 30.0)


def test_subsets_that_are_not_stored_are_counted_in_the_error(toy, board, store, tmp_path):
    with pytest.raises(PrunebenchError, match=r"1 of 1 subsets of toy .* run: prunebench run --suite toys"):
        sources.shares(
            board(("random", 30, 0, 80.0)), Spoiled(name="toy_c", base=toy), tmp_path / "data", store
        )


def test_nothing_to_keep_an_eye_on_is_an_error(toy, board, store, tmp_path):
    with pytest.raises(PrunebenchError, match="no corrupted images, and no class of less than half"):
        sources.shares(board(("random", 30, 0, 80.0)), toy, tmp_path / "data", store)


@pytest.mark.parametrize("name", ["digits_c", "digits_c_fixed"])
def test_built_in_corrupted_datasets_say_which_images_they_corrupt(name, tmp_path):
    dataset = load().dataset(name)
    images, labels = dataset.load(tmp_path, "train")
    clean, _ = dataset.base.load(tmp_path, "train")
    kinds = dataset.corrupted(labels)
    changed = (images != clean).any(axis=(1, 2, 3))
    assert np.bincount(kinds)[1:].tolist() == [len(labels) * 6 // 100] * 5
    assert not changed[kinds == 0].any()
    assert changed[kinds > 0].mean() > 0.95  # a corruption may leave a dark picture as it was


# Images per label

GUESSED = {"labeler": "fixmatch", "quality": {"nmi": 1.0}} | FEW


def test_classes_draws_labels_over_the_truth_commonest_first(board):
    found = board(
        ("semi_aum", 30, 0, 80.0, GUESSED | {"labels_per_class": [10, 20, 30]}),
        ("semi_aum", 50, 0, 80.0, GUESSED | {"labels_per_class": [10, 20, 30]}),  # the same labels
        ("semi_aum", 30, 1, 80.0, GUESSED | {"labels_per_class": [20, 20, 20]}),
        ("elfs", 30, 0, 80.0, {"labeler": "temi on pixels", "labels_per_class": [0, 30, 30]}),
    )
    given = histograms.of_board(found, np.array([5, 40, 15]), ("a", "b", "c"))
    clusters, guessed = histograms.classes(given).axes
    assert clusters.get_title(loc="left") == "temi on pixels, no labels"
    assert guessed.get_title(loc="left") == "fixmatch, 10 % of the labels"
    assert [tick.get_text() for tick in guessed.get_xticklabels()] == ["b", "c", "a"]
    truth, band, mean = (patch.get_data() for patch in guessed.patches)
    assert truth.values.tolist() == [40, 15, 5]
    assert mean.values.tolist() == [20, 25, 15]
    assert (band.baseline.tolist(), band.values.tolist()) == ([20, 20, 10], [20, 30, 20])
    assert guessed.get_ylim()[1] > 40


def test_labelers_of_one_title_have_a_panel_each_and_a_shared_one_is_one_run(board):
    shared = GUESSED | {"labels_per_class": [10, 20, 30], "repeats": "training"}
    drawn = ("near", "uniform"), ("far", "stratified")
    cells = [(name, 30, seed, 80.0, shared | {"label_draw": draw}) for name, draw in drawn for seed in (0, 1)]
    found = histograms.of_board(board(*cells), np.array([5, 40, 15]), ())
    share = "10 % of the labels"
    assert {name: len(runs) for name, runs in found.counts.items()} == {
        f"fixmatch(sampling=uniform), {share}": 1,
        f"fixmatch(sampling=stratified), {share}": 1,
    }


def test_classes_without_guessed_labels_is_an_error(board):
    with pytest.raises(PrunebenchError, match="no method on toy made pseudo-labels"):
        histograms.classes(histograms.of_board(board(*SEVERAL), np.array([1, 1]), ()))


def test_classes_needs_no_rows_where_labels_are_stored(matrix):
    chosen = matrix("elfs_pixels", changes={"temi.epochs": 1, "temi.heads": 1})
    (drawing,) = drawings.classes(chosen, "")
    assert "prunebench labels --make" in str(drawing.error)
    assert not make_labels(chosen, forecast_from_store(chosen), Engine(workers=0))
    (drawing,) = drawings.classes(chosen, "")
    (group,) = judging.judged(chosen)
    (ax,) = drawing.figure.axes
    truth, _, mean = (patch.get_data().values.tolist() for patch in ax.patches)
    assert truth == [16] * 4 and mean == group.found[0].labels_per_class


# Embeddings


def test_ten_classes_and_up_to_500_images_of_each_are_drawn():
    truth = np.repeat(np.arange(20), [600, 300] * 10)
    index = maps.drawn(truth, 20)
    counts = np.bincount(truth[index], minlength=20)
    assert np.count_nonzero(counts) == 10 and set(counts) <= {0, 300, 500}
    assert (np.diff(index) > 0).all()
    assert (maps.drawn(truth, 20) == index).all()
    assert maps.drawn(np.array([2, 0, 2]), 3).tolist() == [0, 1, 2]


def test_the_share_with_a_neighbor_of_their_class_is_counted_in_the_embeddings():
    values = np.array([[0.0], [1.0], [10.0], [11.0], [12.5]])
    assert maps.together(values, np.array([0, 0, 1, 1, 0])) == 80.0


@pytest.fixture
def groups():
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3
    return np.eye(3)[truth] * 20 + rng.normal(size=(60, 3)), truth


def test_a_map_keeps_separate_classes_apart_and_is_the_same_each_time(groups):
    values, truth = groups
    points = maps.project(values)
    assert points.shape == (60, 2) and maps.together(points, truth) == 100
    assert (maps.project(values) == points).all()


def test_embeddings_colors_by_class_and_below_by_corruption(groups):
    values, truth = groups
    corrupted = np.arange(60) < 20
    panels = [maps.Embedded("one", values), maps.Embedded("two", values[:, :2])]
    figure = maps.embeddings(panels, truth, ("x", "y", "z"), corrupted, "t")
    one, two, below, _ = figure.axes
    assert one.get_title(loc="left") == "one\n1-NN 100 %" and two.get_title(loc="left").startswith("two")
    assert len(one.collections[0].get_offsets()) == 60
    assert len(np.unique(one.collections[0].get_facecolors(), axis=0)) == 3
    assert [len(found.get_offsets()) for found in below.collections] == [40, 20]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["x", "y", "z", "clean", "corrupted"]


SHORT = {"fixmatch.iterations": 3}  # what they are matters here, not how good


def test_embeddings_makes_what_is_missing_and_nothing_else(matrix):
    chosen = matrix("elfs_pixels", "labeled_only_aum", changes=SHORT)
    (drawing,) = drawings.embeddings(chosen, "", 0)
    assert drawing.error is None
    titles = [ax.get_title(loc="left").partition("\n")[0] for ax in drawing.figure.axes]
    assert titles == ["pixels", "labeled_only, 10 % of the labels"]
    made = {stage.kind for stage in chosen.graph.stages.values() if stage.key in chosen.store}
    assert made == {"known_labels", "labels", "embeddings"}
    assert not [
        s for s in chosen.graph.stages.values() if s.title.startswith("temi") and s.key in chosen.store
    ]


def test_features_are_those_of_the_labelers_own_network(matrix):
    from prunebench.nn import networks, training
    from prunebench.parts.artefacts import Weights

    chosen = matrix("labeled_only_aum", changes=SHORT)
    list(drawings.embeddings(chosen, "", 0))
    ((source,),) = sources.sources(chosen).values()
    given = chosen.store.read(source.stage.key, Weights)
    images, _ = load_split(source.stage.dataset, chosen.data, "train")
    network = networks.build(given.network, channels=1, classes=4, resolution=8, generator_seed=5)
    networks.restore(network, given.values)
    index = np.array([3, 60, 7])
    expected = training.embed(network, images, device="cpu")[index]
    np.testing.assert_allclose(sources.features(source, chosen, index), expected, rtol=1e-5)


def test_methods_without_embeddings_are_an_error(matrix):
    (drawing,) = drawings.embeddings(matrix("random", "dual"), "", 0)
    assert "none of these methods embeds the images of toy" in str(drawing.error)


# The look


def test_a_method_has_one_color_in_all_figures(board):
    wanted = style.color("semi_aum")
    for figure in (lines.accuracy(board(*SEVERAL)), lines.labels(board(*BUDGETS))):
        found = {
            line.get_color() for ax in figure.axes for line in ax.lines if line.get_label() == "Semi_Aum"
        }
        assert found == {wanted}


def test_relatives_share_a_color_and_differ_in_marker():
    names = ["semi_aum", "semi_aum{aum.window=5}", "semi_aum+annotated", "semi_dual"]
    assert len({style.color(name) for name in names[:3]}) == 1 and style.color(names[3]) != style.color(
        names[0]
    )
    assert len({style.markers(names)[name] for name in names[:3]}) == 3
    assert style.color("zcore_pixels") == style.color("zcore")
    assert style.color("dualist") in style.PALETTE != style.color("dual")  # a stranger, by its own name


def test_a_plugin_gives_its_methods_their_colors(offer):
    assert style.color("birds") in style.PALETTE
    offer(Method("birds", title="Birds", selector=Random(), color="#abcdef"))
    assert {style.color(name) for name in ("birds", "birds{random.stream=1}")} == {"#abcdef"}


def test_a_color_is_written_one_way():
    with pytest.raises(PrunebenchError, match="color is 'red', expected '#rrggbb' in lower case, or None"):
        Method("m", title="M", selector=Random(), color="red")


def test_the_same_rows_give_the_same_bytes_and_a_users_settings_change_nothing(board, tmp_path):
    import matplotlib

    written = []
    for name in ("a", "b"):
        with matplotlib.rc_context({"axes.facecolor": "pink"} if name == "b" else {}):
            paths = style.save(lines.accuracy(board(*SEVERAL)), tmp_path / name / "figure")
        written.append([path.read_bytes() for path in paths])
    assert [path.name for path in paths] == ["figure.svg", "figure.png"]
    assert written[0] == written[1]
    assert b"<dc:date>" not in written[0][0]


CLASSES = """
import random, sys
from pathlib import Path
import numpy as np
random.seed(sys.argv[1])  # another layout of memory in each process
memory = [bytearray(random.randrange(4000)) for _ in range(random.randrange(20_000))]
for _ in range(len(memory) // 2):
    memory.pop(random.randrange(len(memory)))
from prunebench.figures import histograms, style
counts = {f"labeler {number}": [range(number, number + 10)] for number in range(9)}
given = histograms.Histogram("toy", "toy, recipe tiny", np.arange(10), counts, list("abcdefghij"))
style.save(histograms.classes(given), Path(sys.argv[1]) / "classes")
"""


def test_two_processes_write_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        subprocess.run([sys.executable, "-c", CLASSES, name], cwd=tmp_path, check=True)
    for suffix in ("svg", "png"):
        content = [(tmp_path / name / f"classes.{suffix}").read_bytes() for name in ("a", "b")]
        assert content[0] == content[1]


def test_the_last_digits_of_a_layout_change_nothing(board, tmp_path, monkeypatch):
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    execute = ConstrainedLayoutEngine.execute

    def execute_elsewhere(self, figure):
        execute(self, figure)
        for ax in figure.axes:
            ax._set_position(ax.get_position(original=True).translated(1e-15, -1e-15))

    written = []
    for name in ("a", "b"):
        paths = style.save(lines.accuracy(board(*SEVERAL)), tmp_path / name / "figure")
        written.append([path.read_bytes() for path in paths])
        monkeypatch.setattr(ConstrainedLayoutEngine, "execute", execute_elsewhere)
    assert written[0] == written[1]


def test_an_output_that_cannot_be_written_is_one_line(board, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PrunebenchError, match=r"cannot write .*--output"):
        style.save(lines.accuracy(board(*SEVERAL)), tmp_path / "file" / "figure")


# Which rows


def test_choosing_rows(page):
    both = page(*SEVERAL)
    narrowed = sources.narrowed(both, sources.Chosen(ratios=[50], seeds=[1]))
    assert {(row.method, row.ratio, row.seed) for row in narrowed.rows} == {
        ("random", 50, 1),
        ("semi_aum", 50, 1),
        ("full", 0, 1),
    }
    assert (narrowed.ratios, narrowed.seeds) == ([50], [1])
    named = sources.narrowed(both, sources.Chosen(methods=["semi_aum"]))
    assert {row.method for row in named.rows} == {"semi_aum"}
    budgets = sources.narrowed(page(*BUDGETS), sources.Chosen(methods=["semi_aum"], families=True))
    assert len(budgets.rows) == 4


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            {"methods": ["semi_aun"]},
            "no method with rows of suite 'toys' named 'semi_aun'. Did you mean 'semi_aum'",
        ),
        ({"datasets": ["digits"]}, "no dataset with rows of suite 'toys' named 'digits'"),
        ({"recipe": "paper"}, "no recipe with rows of suite 'toys' named 'paper'"),
        ({"ratios": [31]}, "no chosen row of suite 'toys' has these ratios and seeds"),
        ({"seeds": [9]}, "no chosen row of suite 'toys' has these ratios and seeds"),
    ],
)
def test_what_no_row_has_is_one_line(page, chosen, message):
    with pytest.raises(PrunebenchError, match=message):
        sources.narrowed(page(*SEVERAL), sources.Chosen(**chosen))


# The command


@pytest.fixture
def rows_on_disk(row, suite_file, tmp_path, toy):
    def written(*cells):
        suite = suite_file()
        for method, ratio, seed, accuracy, *more in cells:
            values = {"kept_per_class": [8] * 4} | dict(*more)
            found = row(method=method, ratio=ratio, seed=seed, accuracy=accuracy, **values)
            Journal(tmp_path / "leaderboard").append(found)
        return suite

    return written


def test_the_command_writes_two_files_and_a_line_for_each(cli, rows_on_disk, tmp_path, monkeypatch):
    monkeypatch.setattr("prunebench.runs.pages.cells_today", lambda *_: {})
    suite = rows_on_disk(*SEVERAL)
    from prunebench.runs.pages import remember
    from prunebench.suites.schema import read

    remember(read(suite), tmp_path / "leaderboard")
    found = cli(f"figures accuracy --suite {suite} --datasets all --output out")
    assert found.out.splitlines() == ["wrote out/accuracy-toy.svg", "wrote out/accuracy-toy.png"]
    assert (tmp_path / "out" / "accuracy-toy.png").read_bytes()[:4] == b"\x89PNG"
    failed = cli(f"figures labels --suite {suite}")
    assert failed.code == 2 and failed.err.startswith("Error: no method on toy was run with several label")


def test_boards_of_one_dataset_have_files_of_their_own(page):
    cells = [("random", 30, 0, 80.0, more) for more in ({}, {"recipe": "paper"}, {"tuning": "search"})]
    found = list(stems([*boards(page(*cells)), *boards(page(("random", 30, 0, 1.0, {"dataset": "b"})))]))
    assert found == ["toy-tiny", "toy-paper", "toy-tiny-2", "b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "figures acuracy",
            "Error: no figure named 'acuracy'. Did you mean 'accuracy'? See: prunebench figures --help",
        ),
        (
            "figures accuracy --suite quickstart",
            "Error: no rows of suite 'quickstart' under leaderboard/results",
        ),
        ("figures kept --set a.b=1", "Error: figures kept only draws rows that exist"),
        ("figures embeddings --suite quickstart --methods nope", "Error: no method named 'nope'"),
    ],
)
def test_bad_input_is_one_line(cli, line, message):
    found = cli(line)
    assert found.code == 2 and found.err.startswith(message) and found.err.count("\n") == 1
