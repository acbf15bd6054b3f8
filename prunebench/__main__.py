"""The command `prunebench`, and `python -m prunebench`. Handles Ctrl-C before any slow import."""

from __future__ import annotations

from prunebench.system import signals

TYPE_CHECKING = False  # without importing typing, see `signals`
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    signals.listen()

    from prunebench.system import terminal

    terminal.run(_command)


def _command() -> None:
    from prunebench.cli.main import command_line

    signals.state["phase"] = signals.WORKING  # until here Ctrl-C may stop at once
    command_line()


if __name__ == "__main__":
    main()
