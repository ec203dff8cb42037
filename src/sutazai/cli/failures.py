"""The one place where a failure becomes a line on the terminal and an exit code."""

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from sutazai.cli.output import printable
from sutazai.errors import SutazaiError

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER_IS_NO = 1
"""Exit code: it was done, and the answer is no (findings, a failed task, a broken installation)."""

COULD_NOT = 2
"""Exit code: it could not be done; wrong usage has the same."""

_INTERRUPTED = 130
_UNREAD = 141
"""As of a program that was ended by SIGPIPE: nobody has seen the whole answer."""


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
            try:
                return super().invoke(ctx)
            finally:
                # Here, where its failure can still be told.
                if sys.stdout is not None:
                    sys.stdout.flush()
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            _drop_output()
            raise typer.Exit(_UNREAD) from None
        except (typer.Exit, typer.Abort, TyperException):
            raise
        except Exception as error:
            if os.environ.get("SUTAZAI_LOG_LEVEL", "").upper() == "DEBUG":
                raise
            if isinstance(error, OSError):
                _drop_output()
            lines = _lines(error)
            tell_failure(lines[0], lines[1:])
            raise typer.Exit(COULD_NOT) from None


def _drop_output() -> None:
    """Python flushes standard output once more at exit, and would complain again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell_failure(message: str, remarks: "Sequence[str]" = ()) -> None:
    """One clear line on standard error, and what belongs to it below."""
    typer.secho("Error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(printable(message), err=True)
    for remark in remarks:
        typer.echo("  " + printable(remark), err=True)


def told(error: SutazaiError) -> str:
    """The whole error on one line."""
    return ": ".join(_with_details(error))


def _with_details(error: SutazaiError) -> list[str]:
    details = [f"{field}: {text}" for field, text in error.details]
    return [error.message, *(one for one in details if one not in error.message)]


def _lines(error: Exception) -> list[str]:
    """The message, and what to print below it."""
    if isinstance(error, Failure):
        return [error.message, *error.remarks]
    if isinstance(error, SutazaiError):
        return _with_details(error)
    from sutazai_client import SutazAIError

    if isinstance(error, SutazAIError):
        details = [f"{one.get('field')}: {one.get('message')}" for one in error.details]
        # Where the server's own log is the only one to say more, this is what to look for there.
        names_it = error.request_id and error.status >= 500
        return [error.message, *details, *([f"Request id: {error.request_id}"] if names_it else ())]
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return ["The current folder is not there any more. Change to another."]
    if isinstance(error, OSError):
        about = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return [f"{about}{error.strerror or error}."]
    return [
        f"{type(error).__name__}: {error}",
        "This is a defect in sutazai. SUTAZAI_LOG_LEVEL=DEBUG shows where; please report it.",
    ]
