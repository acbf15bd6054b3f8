"""The command line. It only parses and prints.

Results go to stdout, progress and errors to stderr. `terminal` handles the end of a command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from prunebench.cli.benchmark import labels, plan, status
from prunebench.cli.convert import convert
from prunebench.cli.exchange import pull, push
from prunebench.cli.export import export
from prunebench.cli.figures import figures
from prunebench.cli.inspect import check, doctor, list_
from prunebench.cli.leaderboard import leaderboard
from prunebench.cli.look import look
from prunebench.cli.paper import claims
from prunebench.cli.photos import draw, evaluate, prune
from prunebench.cli.recommend import recommend
from prunebench.cli.report import report
from prunebench.cli.run import run
from prunebench.cli.scaffold import new
from prunebench.cli.usage import Commands, UsageError, explained
from prunebench.cli.verify import verify
from prunebench.system import terminal
from prunebench.system.terminal import echo

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    help="Which part of a training set is worth keeping, and what does it cost to find out?",
)


def main() -> NoReturn:
    """Run the command line within another program, such as a test."""
    sys.exit(terminal.ended(command_line))


def command_line() -> NoReturn:
    """Run the command line, and exit. Raise PrunebenchError if it does not understand a word."""
    try:
        code = app(prog_name="prunebench", standalone_mode=False)
    except UsageError as error:
        raise explained(error) from error
    sys.exit(code)


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        echo(f"prunebench {version('prunebench')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error came from.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop if a plugin is broken.")] = False,
) -> None:
    """Options before the command."""
    terminal.state["traceback"] = show_traceback
    if context.invoked_subcommand is None:
        echo(context.get_help())
        raise typer.Exit(terminal.MISUSED)
    if strict:
        from prunebench.parts.registry import load

        load().check_healthy()


COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "plan": plan,
    "status": status,
    "labels": labels,
    "list": list_,
    "leaderboard": leaderboard,
    "verify": verify,
    "check": check,
    "new": new,
    "doctor": doctor,
    "figures": figures,
    "report": report,
    "export": export,
    "push": push,
    "pull": pull,
    "draw": draw,
    "prune": prune,
    "look": look,
    "evaluate": evaluate,
    "recommend": recommend,
    "convert": convert,
    "claims": claims,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
