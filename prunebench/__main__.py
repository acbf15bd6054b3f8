"""The command `prunebench`, and `python -m prunebench`. Imports nothing heavy before Ctrl-C is heard."""

from __future__ import annotations

from typing import NoReturn

from prunebench import terminal


def main() -> NoReturn:
    """Run the command line."""
    terminal.run(_command)


def _command() -> None:
    from prunebench.cli import app

    terminal.state["phase"] = terminal.WORKING  # up to here there is nothing to be stopped in good order
    app(prog_name="prunebench")


if __name__ == "__main__":
    main()
