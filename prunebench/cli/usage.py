"""Words of a command line that are not understood, in one line each."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from prunebench.errors import PrunebenchError, unknown

# Those of click, or of its copy in newer releases of typer.
exceptions: Any = sys.modules[typer.BadParameter.__module__]
UsageError = exceptions.UsageError
REASONS = {
    "int_parsing": "is no whole number",
    "float_parsing": "is no number",
    "greater_than_equal": "is below {ge}",
    "less_than_equal": "is above {le}",
}


class Commands(TyperGroup):
    """The commands by name."""

    def get_command(self, context: Any, name: str) -> Any:
        """Return a command. Raise PrunebenchError with the nearest name if there is none."""
        command = super().get_command(context, name)
        if command is None and not name.startswith("-"):
            raise unknown("command", name, self.commands, "prunebench --help")
        return command


def explained(error: Any) -> PrunebenchError:
    """Return an error of typer as one line: the word, the reason, and where to look.

    error: a UsageError. It may lack the context of its command.
    """
    if error.ctx is None:
        return PrunebenchError(error.message)
    command = error.ctx.command_path
    see = f"{command} --help"
    if isinstance(error, exceptions.NoSuchOption):
        known = [name for parameter in error.ctx.command.params for name in parameter.opts]
        return unknown(f"option of {command}", error.option_name, known, see)
    parameter = getattr(error, "param", None)
    if parameter is None:
        return PrunebenchError(f"{error.message}. See: {see}")
    name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.opts[0].upper()
    if isinstance(error, exceptions.MissingParameter):
        return PrunebenchError(f"{command} needs {name}: {parameter.help.rstrip('.')}. See: {see}")
    return PrunebenchError(f"{name}: {_reason(error)}")


def _reason(error: Any) -> str:
    """Return what is wrong with a value, with the value."""
    if error.__cause__ is None:  # older releases of typer name the value
        return str(error.message).rstrip(".")
    problem = error.__cause__.errors()[0]
    if problem["type"] not in REASONS:
        return f"{problem['input']!r}: {problem['msg'].lower()}"
    return f"{problem['input']!r} {REASONS[problem['type']].format(**problem.get('ctx', {}))}"
