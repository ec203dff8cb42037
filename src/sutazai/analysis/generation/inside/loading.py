"""Importing the module under test, and saying in plain words why it cannot be."""

import importlib
import os
import sys
import types

from sutazai.analysis.generation.inside.forks import STDIN, Alarm, Builtins, OutOfTime, has_children

REMEDY = 'let it do that in a function, or below `if __name__ == "__main__":`'


class NotLoadable(Exception):
    """The module cannot be imported; the message says why."""


def load(
    name: str, path: str, roots: list[str], blocked: list[str], seconds: float
) -> types.ModuleType:
    """Import the module under test, before any of the standard library's of the same name.

    `blocked` modules count as not there: those in C that would take its place. NotLoadable where
    it takes more than `seconds`, or does what no test could bear.
    """
    for one in blocked:
        sys.modules[one] = None  # type: ignore[assignment]  # this is how an import is refused
    sys.path[:0] = [root for root in roots if root not in sys.path]
    top = name.partition(".")[0]
    for known in [one for one in sys.modules if one == top or one.startswith(f"{top}.")]:
        del sys.modules[known]
    importlib.invalidate_caches()
    process, names = os.getpid(), Builtins()
    try:
        with Alarm(seconds, wait=seconds):
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or "a module"
        raise NotLoadable(
            f"it imports {missing}, which is not installed where the tests were generated"
        ) from None
    except BaseException as error:  # whatever a module does when it is imported
        raise NotLoadable(_import_failure(error)) from None
    finally:
        replaced = names.restored()
        if os.getpid() != process:
            os._exit(0)  # the import forked: one of the two goes on
    if replaced:
        raise NotLoadable(
            f"importing it replaces Python's own {', '.join(replaced[:3])}, for pytest, too; "
            "let it do that in a function, and undo it there"
        )
    if has_children():
        raise NotLoadable(
            "importing it starts a process, and so would every test that imports it; " + REMEDY
        )
    if getattr(module, "__file__", None) != path:
        raise NotLoadable(
            f"`import {name}` gives {getattr(module, '__file__', 'a built-in module')} instead: "
            "another module of this name comes first; rename the file"
        )
    return module


def _import_failure(error: BaseException) -> str:
    """What happened at the import, and what to do where the module's author can."""
    if isinstance(error, SystemExit):
        return f"importing it ends the program (SystemExit: {error}); {REMEDY}"
    if isinstance(error, OutOfTime):
        return f"importing it takes too long; {REMEDY}"
    if isinstance(error, BlockingIOError) or "can't start new thread" in str(error):
        return f"importing it starts more processes or threads than the sandbox allows; {REMEDY}"
    if str(error) == STDIN:
        return f"importing it reads from standard input, where nothing is; {REMEDY}"
    if isinstance(error, MemoryError):
        return "importing it takes more memory than the sandbox allows"
    return f"importing it raises {type(error).__name__}: {error}"[:300]
