"""`prunebench claims`: sentences of the paper against its own numbers and against rows of ours."""

from __future__ import annotations

from pathlib import Path

from prunebench.cli.options import ResultsOption, SuiteOption
from prunebench.errors import PrunebenchError
from prunebench.system.files import near
from prunebench.system.terminal import echo


def claims(suite: SuiteOption = None, results: ResultsOption = Path("leaderboard")) -> None:
    """Show what the SemiPrune paper claims, and what its numbers and ours say about it."""
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
    theirs = {name: examine(claim, printed()) for name, claim in file.claim.items()}
    for name, claim in file.claim.items():
        echo(f"{name}: {claim.sentence} ({claim.section})")
    shown = {name: f"{found.verdict}: {found.scale}" for name, found in theirs.items()}
    if not names:
        echo(f"\nno rows under {near(results)}/results\n")
        echo(table(list(shown.items()), ["claim", "published"]))
    for name in names:
        page = page_of(name, results)
        # What was chosen on the test split is no result.
        current = [row for row in page.rows if not page.stale(row) and row.tuning != "oracle_test"]
        if not current:
            echo(f"\nsuite {name}: no rows of its present settings")
        for title, group in groups(current).items():
            points = measured(group)
            found = {key: examine(claim, points, file.stand_in) for key, claim in file.claim.items()}
            echo(f"\nsuite {name}, {title}: {', '.join(dict.fromkeys(row.dataset for row in group))}\n")
            lines = [
                (key, theirs[key].verdict, ours.verdict, ours.scale, "; ".join(ours.remarks))
                for key, ours in found.items()
            ]
            if page.note:
                echo(f"{page.note}\n")
            echo(table(lines, ["claim", "published", "ours", "gain of ours", ""]))
    echo(
        "\nOurs: last epoch; a gain is clear where its 95 % interval, paired by seed, excludes zero. "
        "Published: plain comparison, since no spread is printed. See docs/paper.md."
    )
