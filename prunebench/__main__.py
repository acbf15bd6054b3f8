"""The command `prunebench`, and `python -m prunebench`. Imports next to nothing before Ctrl-C is heard."""

from __future__ import annotations

from prunebench.system import signals

TYPE_CHECKING = False  # see `signals`
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    signals.listen()

    from prunebench.system import terminal

    terminal.run(_command)


def _command() -> None:
    from prunebench.cli.main import app

    signals.state["phase"] = signals.WORKING  # up to here there is nothing to be stopped in good order
    app(prog_name="prunebench")


if __name__ == "__main__":
    main()
