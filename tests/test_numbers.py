"""Hand-written pages say what the committed rows say. A failure shows the lines that would be true."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from statistics import median

import pytest

from prunebench.paper import claims, points
from prunebench.results import losses
from prunebench.results.agreement import setting, tolerances
from prunebench.results.board import Board, at, boards, label_usage
from prunebench.results.exams import agreement_table
from prunebench.results.rows import Result
from prunebench.results.spelling import spelled, words
from prunebench.results.statistics import summarize, variance_components
from prunebench.results.tables import verdicts
from prunebench.runs.pages import page_of
from tests.readme_blocks import ROOT

COUNTS = dict(
    enumerate(["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])
)
COUNTS |= {11: "eleven", 12: "twelve", 13: "thirteen", 14: "fourteen", 15: "fifteen"}
LABELS = {"none": "none", "few": "10 %", "full": "all"}
SHOWN = {  # the methods of the tables of docs/real.md
    "caltech101": (
        "random typiclust probcover usl facility_location_efficientnet elfs_pixels "
        "zcore_efficientnet prototypicality_efficientnet "
        "probe_dual semi_aum semi_dual uncertainty_margin score_extrapolation ccs_supervised dual "
        "herding_supervised"
    ),
    "cifar10_jpeg": (
        "random typiclust probcover usl facility_location_efficientnet elfs_efficientnet "
        "zcore_efficientnet k_center_efficientnet prototypicality_efficientnet "
        "semi_aum semi_dual uncertainty_margin score_extrapolation probe_dual probe_aum dual "
        "ccs_supervised herding_supervised el2n_supervised"
    ),
    "cifar10_small": (
        "random probcover typiclust usl elfs_efficientnet zcore_pixels zcore_efficientnet "
        "k_center_efficientnet prototypicality_efficientnet "
        "semi_aum semi_dual labeled_only_aum probe_dual uncertainty_margin score_extrapolation "
        "aum_supervised dual ccs_supervised d2_supervised herding_supervised el2n_supervised"
    ),
}
PHOTOS = ("caltech101", "cifar10_jpeg")  # on frozen features
RATIOS = (30, 70, 90)  # of these tables


@cache
def all_boards(suite: str) -> list[Board]:
    return boards(page_of(suite, ROOT / "leaderboard"))


def board(suite: str, dataset: str) -> Board:
    """Return the first board of a dataset in a suite, of the committed rows."""
    return next(found for found in all_boards(suite) if found.rows[0].dataset == dataset)


def rows_of(found: Board, method: str, ratio: int) -> list[Result]:
    return [*at([row for row in found.rows if row.method == method], ratio).values()]


def mean(values: Iterable[float]) -> float:
    return summarize([*values]).mean


def accuracy(found: Board, method: str, ratio: int) -> float:
    return mean(row.accuracy for row in rows_of(found, method, ratio))


def behind(found: Board, method: str, ratio: int, other: str = "random") -> float:
    """Return by how many points the mean of a method is below that of another."""
    return accuracy(found, other, ratio) - accuracy(found, method, ratio)


def guessed(found: Board, method: str) -> str:
    """Return the share of right labels on the images that are not annotated, in percent."""
    return f"{mean(row.quality['unlabeled_accuracy'] for row in rows_of(found, method, 90)):.1f} %"


def worse(sentences: Iterable[str], ratio: int) -> list[str]:
    """Return by how many points methods are worse than what the sentences name, where it is separated."""
    apart = (sentence.partition(";")[0] for sentence in sentences if " is worse than " in sentence)
    return [found for text in apart for found in re.findall(rf"([\d.]+) points at {ratio}\b", text)]


def separated_above(found: Board, ratio: int) -> set[str]:
    """Return the methods without all labels that the seeds separate from Random, and that are better."""
    usage = {rows[0].method: label_usage(rows[0]) for rows in found.methods(reference=False)}
    return {
        name
        for name, verdict in verdicts(found, ratio).items()
        if verdict == "better" and usage.get(name, "full") != "full"
    }


def lines(found: Board) -> Iterator[str]:
    """Yield the lines of the table of a board in docs/real.md."""
    for method in SHOWN[found.rows[0].dataset].split():
        row = rows_of(found, method, 90)[0]
        cells = []
        for ratio in RATIOS:
            points = f"{round(-behind(found, method, ratio), 1) + 0.0:+.1f}"
            points = f" (**{points}**)" if method in verdicts(found, ratio) else f" ({points})"
            cells.append(f"{accuracy(found, method, ratio):.1f}{'' if method == 'random' else points}")
        title = row.title.removesuffix(" (all labels)")
        yield f"| {title} | {LABELS[label_usage(row)]} | {' | '.join(cells)} |"


def what_ran(dataset: str) -> str:
    """Return how many methods and references of the suite `real` have rows, as docs/real.md says it."""
    found = board("real", dataset)
    methods = len(found.methods(reference=False))
    references = [rows for rows in found.methods(reference=True) if rows[0].matched_to is None]
    first = {
        "caltech101": f"{methods} of the {len(found.page.methods)} methods that need no download, ",
        "cifar10_jpeg": f"{methods} of these methods, the ",
    }
    matched = COUNTS[len(found.twins("labels"))]
    return (
        f"| {first[dataset]}{COUNTS[len(references)]} references, "
        f"a Random with as many labels as each of {matched} methods |"
    )


def outcomes(places: Iterable[Board]) -> Iterator[str]:
    """Yield what the lines on the paper's claims in docs/real.md end with, put to the rows of some boards."""
    file = claims.claims()
    numbers = points.measured([row for found in places for row in found.rows])
    found = {name: claims.examine(claim, numbers, file.stand_in) for name, claim in file.claim.items()}
    for name, finding in found.items():
        if finding.interval is None or name == "standard":  # it has the numbers of `domain`
            continue
        low, high = map(finding.spell, finding.interval)
        above = sum(cell.mean > 0 for cell in finding.cells)
        clear = sum(cell.sign(claims.LEVEL) > 0 for cell in finding.cells)
        ratios = "" if finding.claim.kind == "equal_labels" else " ratios"
        yield (
            f"| {finding.verdict} | {finding.spell(finding.mean)}, between {low} and {high}; "
            f"better at {above} of {len(finding.cells)}{ratios}, clearly at {clear} |"
        )


def real() -> Iterator[str]:
    caltech, cifar = (board("real", dataset) for dataset in PHOTOS)
    small, pixels = board("small_all", "fashion_mnist_small"), board("cifar10_small", "cifar10_small")
    for dataset in PHOTOS:
        yield what_ran(dataset)
    for found in (caltech, cifar, pixels):
        yield from lines(found)
    yield from outcomes([caltech, cifar])
    yield from outcomes([pixels])

    stratified = (f"{accuracy(caltech, 'random_stratified', ratio):.1f}" for ratio in (30, 70, 90))
    yield f"| *Random, stratified by true class* | all | {' | '.join(stratified)} |"
    seconds = [row.seconds["accuracy"] for row in caltech.rows if "accuracy" in row.seconds]
    yield f"the {len(seconds):,} final trainings {sum(seconds) / 60:.0f} min"
    work = [row.work["accuracy"]["cpu_seconds"] for row in cifar.rows if "accuracy" in row.work]
    yield f"and {len(work):,} final trainings {sum(work) / 60:.0f} min"
    yield (
        f"right on {guessed(caltech, 'semi_aum')} of the images that are not annotated, "
        f"against {guessed(caltech, 'probe_aum')} of a linear probe"
    )
    yield f"Its pseudo-labels are right on {guessed(cifar, 'probe_dual')} of the others"
    yield from from_pixels(pixels)

    sentences = losses.to_random_at_equal_labels(caltech)
    lost = sorted(map(float, worse(sentences, 90)))
    yield (
        f"At 90 % {COUNTS[len(lost)]} of the fourteen methods are worse than Random with as many labels, "
        f"by {lost[0]:.0f} to {lost[-1]:.0f} points"
    )
    yield (
        f"With as many labels as Semi-DUAL it has {accuracy(cifar, 'random_matched{semi_dual}', 90):.1f} % "
        f"at 90 % pruned, {behind(cifar, 'semi_dual', 90, 'random_matched{semi_dual}'):.1f} points more"
    )
    first = {ratio: sum(low == 1 for _, low, _ in cifar.ranks(ratio).values()) for ratio in (70, 80, 90)}
    yield f"to {first[70]} methods at 70 %, to {first[80]} at 80 % and to {first[90]} at 90 %"
    gmac = {
        (method, stage): rows_of(cifar, method, 90)[0].work[stage]["multiply_adds"] / 1e9
        for method, stage in (("semi_aum", "labels"), ("elfs_swav", "embeddings"), ("dual", "embeddings"))
    }  # DUAL has the embeddings of EfficientNet alone
    swav = gmac["elfs_swav", "embeddings"] - gmac["dual", "embeddings"]
    yield f"a FixMatch took {gmac['semi_aum', 'labels']:,.0f} GMAC, and a SwAV {swav:,.0f}"
    yield f"DUAL is {behind(cifar, 'probe_dual', 90, 'dual'):.1f} points better at 90 %"

    coverage = ("typiclust", "probcover", "usl", "facility_location_efficientnet")
    yield "They are {:.1f}, {:.1f}, {:.1f} and {:.1f} points above Random there".format(
        *(-behind(caltech, name, 90) for name in coverage)
    )
    better = {ratio: separated_above(caltech, ratio) for ratio in (30, 50, 70, 80, 90)}
    assert better == {30: set(), 50: {"probe_dual"}, 70: set(), 80: set(), 90: set(coverage)}
    names = [rows[0].method for rows in caltech.methods(reference=False)]
    means = {name: accuracy(caltech, name, 90) for name in names}
    assert max(means, key=means.__getitem__) == "typiclust"
    stratified_at_90 = accuracy(caltech, "random_stratified", 90)
    assert [name for name, value in means.items() if value > stratified_at_90] == ["typiclust"]

    highest = ("grand_supervised", "el2n_supervised", "dyn_unc_supervised", "tdds_supervised")
    far = [behind(caltech, method, 90) for method in highest]
    gone = [row.lost_classes for method in highest for row in rows_of(caltech, method, 90)]
    yield (
        f"They lose {min(far):.0f} to {max(far):.0f} points, and keep no image of {min(gone)} to {max(gone)} "
        "of the 101 classes"
    )
    entropy, correctness, forgetting = (
        behind(caltech, f"{name}_supervised", 90) for name in ("entropy", "correctness", "forgetting")
    )
    yield f"Entropy loses {entropy:.0f}, Correctness {correctness:.0f} and Forgetting {forgetting:.0f}"
    for method, title in {
        "forgetting_supervised": "Forgetting costs",
        "zcore_pixels": "ZCore on pixels costs",
        "semi_aum": "Semi-AUM costs",
    }.items():
        costs = [behind(found, method, 90) for found in (small, cifar, caltech)]
        yield title + " {} points there, {} on CIFAR-10 and {} on Caltech-101".format(*map(rounded, costs))


def from_pixels(found: Board) -> Iterator[str]:
    yield f"right on {guessed(found, 'semi_aum')} of the images that are not annotated"
    yield (
        f"trained on the annotated images alone, is right on {guessed(found, 'labeled_only_aum')}, "
        f"a linear probe on pixels on {guessed(found, 'probe_aum')}"
    )
    pseudo = mean(row.accuracy for row in found.rows if row.method == "pseudo_all")
    yield (
        f"right on {accuracy(found, 'ssl_model', 90):.1f} % of the test images, and a network trained on all "
        f"its labels on {pseudo:.1f} %. Random with a tenth of the images has "
        f"{accuracy(found, 'random', 90):.1f} %"
    )
    usage = {rows[0].method: label_usage(rows[0]) for rows in found.methods(reference=False)}
    ours = {method for method, used in usage.items() if used != "full"}
    lower, first = {}, {}
    for ratio in RATIOS:
        assert not separated_above(found, ratio)
        apart = verdicts(found, ratio)
        lower[ratio] = sum(apart.get(method) == "worse" for method in ours)
        first[ratio] = sum(low == 1 for _, low, _ in found.ranks(ratio).values())
    assert not lower[30]
    yield f"they separate none of {len(ours) - 1} at 30 %, {lower[70]} at 70 % and {lower[90]} at 90 %"
    yield (
        f"the first rank to {first[30]} of the {len(ours)} at 30 %, to {first[70]} at 70 % and to "
        f"{first[90]} at 90 %"
    )
    above = [-behind(found, method, 90) for method in ("ccs_supervised", "aum_supervised", "dual")]
    yield "CCS, AUM and DUAL are {:.1f}, {:.1f} and {:.1f} points above Random at 90 %".format(*above)
    sentences = losses.to_random_at_equal_labels(found)
    lost = {ratio: sorted(map(float, worse(sentences, ratio))) for ratio in RATIOS}
    assert len(lost[70]) == len(lost[90]) == 12
    yield (
        f"At 70 % it is {lost[70][0]:.0f} to {lost[70][-1]:.0f} points, "
        f"at 90 % {lost[90][0]:.0f} to {lost[90][-1]:.0f}"
    )
    yield f"At 30 % {COUNTS[len(lost[30])]} are, by {lost[30][0]} and {lost[30][1]}"


def rounded(value: float) -> str:
    """Spell small numbers to a tenth."""
    return f"{value:.1f}" if value < 2 else f"{value:.0f}"


def statistics() -> Iterator[str]:
    ladder = all_boards("spread")

    def parts(method: str) -> dict[str, float]:
        values = {found.rows[0].repeats: [r.accuracy for r in rows_of(found, method, 90)] for found in ladder}
        found = variance_components(values)
        assert found is not None
        return {rung: variance**0.5 for rung, variance in found.items()}

    whole = summarize([row.accuracy for row in rows_of(ladder[0], "aum_supervised", 90)]).spread
    aum, probe = parts("aum_supervised"), parts("probe_aum")
    yield (
        f"AUM+Cutoff with all labels spreads by {whole:.1f} points. Another proxy network adds "
        f"{aum['proxy']:.1f} of them, in squares, and another selection and training {aum['training']:.1f}. "
        f"Another label draw adds {probe['pipeline']:.1f} points to Probe-AUM+Cutoff"
    )


def protocol() -> Iterator[str]:
    found = board("equal_compute", "digits")
    for kind, against, sentences in (
        ("work", "Random trained as long", losses.to_random_at_equal_compute(found)),
        ("labels", "Random with as many labels", losses.to_random_at_equal_labels(found)),
    ):
        twins = found.twins(kind)
        below = [method for method, rows in twins.items() if behind(found, method, 90, rows[0].method) > 0]
        counts = (len(twins), len(below), len(worse(sentences, 90)))
        yield f"| {against} | {' | '.join(COUNTS[count] for count in counts)} |"


def verification() -> Iterator[str]:
    rows = board("equal_compute", "digits").rows
    allowed = tolerances(rows)
    near, far = ({allowed[setting(row)] for row in rows if row.ratio == ratio} for ratio in (30, 90))
    yield f"the tolerance is {near.pop():.1f} points at 30 % pruned, and {far.pop():.1f} at 90 %"


def scale() -> Iterator[str]:
    taken: dict[int, list[float]] = {}
    for row in board("equal_compute", "digits").rows:
        if row.matched_in != "work":  # that Random trains longer
            taken.setdefault(row.ratio, []).append(row.work["accuracy"]["cpu_seconds"])
    share = median(taken[90]) / median(taken[0])
    yield f"The committed rows say {(share - 0.1) / 0.9:.1f} on `digits`"


def order() -> Iterator[str]:
    found = board("order", "digits")
    yield f"{len(found.methods(reference=False))} of its {len(found.page.methods)} methods have rows"
    places = [board("order", f"fashion_mnist_tiny{view}") for view in ("", "_by_class", "_shuffled")]
    shipped, by_class, shuffled = (accuracy(place, "elfs_swav", 90) for place in places)
    low, high = sorted((shipped - shuffled, by_class - shuffled))
    yield f"has {low:.0f} to {high:.0f} points less than in the two other orders"
    right = (row.quality["hungarian"] for row in rows_of(places[1], "elfs_swav", 90))
    yield "in two seeds of one order {:.0f} and {:.0f} % of them are right".format(*right)


def exams() -> Iterator[str]:
    def correlations(suite: str, exam: str, other: str) -> list[str]:
        table = agreement_table(board(suite, "digits"))
        assert table is not None
        found = next(row.cells[2:] for row in table.rows if [*map(words, row.cells[:2])] == [exam, other])
        return [spelled(cell) for cell in found]

    resnet = correlations("transfer", "accuracy", "accuracy of resnet8")
    yield "correlate by {} at 70 % pruned and by {} at 90 %".format(*resnet)
    other = "accuracy of timm:test_efficientnet"
    far = correlations("transfer", "accuracy", other)
    _, at_90 = correlations("transfer", other, "itself, on other seeds")
    yield "It correlates with the CNN by {} and by {}.".format(*far)
    yield f"on other seeds it correlates with itself by {at_90} alone"
    brier = correlations("shift", "accuracy", "Brier score")
    assert len({*brier}) == 1
    yield f"the correlation is {brier[0]} at both ratios"
    shift = correlations("shift", "accuracy", "accuracy under shift")
    yield "Accuracy and accuracy under shift correlate by {} at 70 % pruned and by {} at 90 %".format(*shift)
    itself = correlations("shift", "accuracy under shift", "itself, on other seeds")
    yield "on other seeds it correlates with itself by {} and {}".format(*itself)


def pseudo_labels() -> Iterator[str]:
    places = [
        board("order", "digits"),
        *(board("small", f"fashion_mnist_small{view}") for view in ("", "_lt", "_c")),
    ]

    def cells(method: str, field: str) -> str:
        found = ([row.quality[field] for row in rows_of(place, method, 90)] for place in places)
        return " | ".join(str(summarize(values)) for values in found)

    for title, method in {"`fixmatch`": "semi_aum", "`probe` on pixels": "probe_aum"}.items():
        yield f"| {title} | 10 % | {cells(method, 'accuracy')} |"
        yield f"| {title} | {cells(method, 'unlabeled_accuracy')} |"
    for title, method in {
        "pixels": "elfs_pixels",
        "`swav`": "elfs_swav",
        "`efficientnet_lite0`": "elfs_efficientnet",
    }.items():
        yield f"| `temi` on {title} | 0 % | {cells(method, 'hungarian')} |"
    for title, method in {
        "FixMatch": "semi_aum",
        "clusters on pixels": "elfs_pixels",
        "clusters on `swav`": "elfs_swav",
    }.items():
        sizes = [row.labels_per_class for row in rows_of(places[2], method, 90)]
        yield f"| {title} | {mean(map(min, sizes)):.0f} | {mean(map(max, sizes)):.0f} |"


@pytest.mark.parametrize(
    "said", [real, statistics, protocol, verification, scale, order, exams, pseudo_labels]
)
def test_a_page_says_what_the_rows_say(said: Callable[[], Iterator[str]]) -> None:
    page = " ".join((ROOT / "docs" / f"{said.__name__}.md").read_text(encoding="utf-8").split())
    missing = [text for text in said() if text not in page]
    assert not missing, "\n".join(missing)
