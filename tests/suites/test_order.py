"""The table of what the order of the images does to a result."""

from benchmarks.order import PAGE, filled, tables


def test_a_method_that_measures_the_position_stands_out(row):
    def rows(method, *means):
        for suffix, mean in zip(("", "_by_class", "_shuffled"), means, strict=True):
            for seed, noise in enumerate((-0.3, 0.0, 0.3)):
                yield row(method=method, dataset=f"digits{suffix}", seed=seed, accuracy=mean + noise)

    table, verdict = tables([*rows("random", 92, 92.1, 91.9), *rows("position", 92, 66, 91)])
    assert "| Position | 92.0 ± 0.3   | 66.0 ± 0.3 | 91.0 ± 0.3 | 26.0         | 0.000 |" in table
    assert "| Random   | 92.0 ± 0.3   | 92.1 ± 0.3 | 91.9 ± 0.3 | 0.2          | 0.729 |" in table
    assert verdict == "Of 2 methods, corrected p is below 0.05 for: Position. The smallest p is 0.000.\n"


def test_the_page_shows_the_committed_rows():
    text = PAGE.read_text(encoding="utf-8")
    assert text == filled(text), "run: python benchmarks/order.py"
