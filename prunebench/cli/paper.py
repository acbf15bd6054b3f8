"""The command `claims`: checks claims of the paper against its tables and against our rows."""

from __future__ import annotations

from pathlib import Path

from prunebench.cli.options import ResultsOption, SuiteOption
from prunebench.errors import PrunebenchError
from prunebench.system.files import near
from prunebench.system.terminal import echo


def claims(suite: SuiteOption = None, results: ResultsOption = Path("leaderboard")) -> None:
    """Check the claims of the SemiPrune paper against its tables and against our rows."""
    from prunebench.paper.claims import claims as claim_file
    from prunebench.paper.claims import examine
    from prunebench.paper.points import groups, measured, printed
    from prunebench.results.rows import suites
    from prunebench.runs.format import table
    from prunebench.runs.pages import page_of

    names = [Path(suite).stem] if suite else list(suites(results))
    if suite and names[0] not in suites(results):
        raise PrunebenchError(
            f"no rows of suite {names[0]!r} under {near(results)}/results; "
            "run it first, or name --results DIR"
        )
    file = claim_file()
    published = {name: examine(claim, printed()) for name, claim in file.claim.items()}
    for name, claim in file.claim.items():
        echo(f"{name}: {claim.sentence} ({claim.section})")
    if not names:
        verdicts = [(name, f"{outcome.verdict}: {outcome.scale}") for name, outcome in published.items()]
        echo(f"\nno rows under {near(results)}/results\n")
        echo(table(verdicts, ["claim", "published"]))
    for name in names:
        page = page_of(name, results)
        # Rows that were tuned on the test split are no results.
        current = [row for row in page.rows if not page.stale(row) and row.tuning != "oracle_test"]
        if not current:
            echo(f"\nsuite {name}: no rows of its current settings")
        for title, group in groups(current).items():
            points = measured(group)
            datasets = dict.fromkeys(row.dataset for row in group)
            echo(f"\nsuite {name}, {title}: {', '.join(datasets)}\n")
            lines = []
            for key, claim in file.claim.items():
                ours = examine(claim, points, file.stand_in)
                remarks = "; ".join(ours.remarks)
                lines.append((key, published[key].verdict, ours.verdict, ours.scale, remarks))
            if page.note:
                echo(f"{page.note}\n")
            echo(table(lines, ["claim", "published", "ours", "gain of ours", ""]))
    echo(
        "\nOurs: last epoch; a gain is clear where its 95 % interval, paired by seed, excludes zero. "
        "Published: plain comparison, since no spread is printed. See docs/paper.md."
    )
