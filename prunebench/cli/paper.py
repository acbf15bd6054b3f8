"""The command `claims`: checks claims of the paper against its tables and against our rows."""

from __future__ import annotations

from pathlib import Path

from prunebench.cli.options import ResultsOption, SuiteOption, with_rows
from prunebench.system.files import near
from prunebench.system.terminal import echo


def claims(suite: SuiteOption = None, results: ResultsOption = Path("leaderboard")) -> None:
    """Check the claims of the SemiPrune paper against its tables and against our rows."""
    from prunebench.results.rows import suites
    from prunebench.runs.claim_report import examined, of_the_paper
    from prunebench.runs.format import table
    from prunebench.runs.pages import page_of

    names = with_rows([Path(suite).stem], results) if suite else list(suites(results))
    published = of_the_paper()
    for name, finding in published.items():
        echo(f"{name}: {finding.claim.sentence} ({finding.claim.section})")
    if not names:
        verdicts = [(name, f"{finding.verdict}: {finding.scale}") for name, finding in published.items()]
        echo(f"\nno rows under {near(results)}/results\n")
        echo(table(verdicts, ["claim", "published"]))
    for name in names:
        page = page_of(name, results)
        groups = examined(page)
        if not groups:
            echo(f"\nsuite {name}: no rows of its current settings")
        for group in groups:
            datasets = dict.fromkeys(row.dataset for row in group.rows)
            echo(f"\nsuite {name}, {group.title}: {', '.join(datasets)}\n")
            lines = [
                (key, published[key].verdict, ours.verdict, ours.scale, "; ".join(ours.remarks))
                for key, ours in group.findings.items()
            ]
            if page.note:
                echo(f"{page.note}\n")
            echo(table(lines, ["claim", "published", "ours", "gain of ours", ""]))
    echo(
        "\nOurs: last epoch; a gain is clear where its 95 % interval, paired by seed, excludes zero. "
        "Published: plain comparison, since no spread is printed. See docs/paper.md."
    )
