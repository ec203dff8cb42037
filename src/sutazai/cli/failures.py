"""The one place where a failure becomes a line on the terminal and an exit code."""

import os
import sys
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from sutazai.cli.output import printable
from sutazai.errors import SutazaiError

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER_IS_NO = 1
"""Exit code: it was done, and the answer is no (findings, a failed task, a broken installation)."""

COULD_NOT = 2
"""Exit code: it could not be done; wrong usage has the same."""

_INTERRUPTED = 130


class Failure(Exception):
    """A command cannot go on; `remarks` are printed below the message, one a line."""

    def __init__(self, message: str, *, remarks: "Sequence[str]" = ()) -> None:
        super().__init__(message)
        self.message = message
        self.remarks = tuple(remarks)


class Commands(TyperGroup):
    """A group of commands whose expected failures print no traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit code 2 where it could not be done, 130 after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            # Who reads our output has seen enough. Python flushes once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except Exception as error:
            lines = _lines(error)
            if lines is None:
                raise
            tell_failure(lines[0], lines[1:])
            raise typer.Exit(COULD_NOT) from None


def tell_failure(message: str, remarks: "Sequence[str]" = ()) -> None:
    """One clear line on standard error, and what belongs to it below."""
    typer.secho("Error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(printable(message), err=True)
    for remark in remarks:
        typer.echo("  " + printable(remark), err=True)


def _lines(error: Exception) -> list[str] | None:
    """What to print; None for what nobody expected, which is a bug and shows its traceback."""
    if isinstance(error, Failure):
        return [error.message, *error.remarks]
    if isinstance(error, SutazaiError):
        return [error.message, *(f"{field}: {text}" for field, text in error.details)]
    from sutazai_client import SutazAIError

    if isinstance(error, SutazAIError):
        details = [f"{one.get('field')}: {one.get('message')}" for one in error.details]
        return [error.message, *details]
    return None
