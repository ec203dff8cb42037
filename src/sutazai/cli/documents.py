"""What a user hands over: JSON or YAML files, and NAME=VALUE on the command line."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sutazai.cli.failures import Failure

_MOST = 10 * 1024 * 1024
"""Characters: what the server takes in one request."""


def read_object(path: Path) -> dict[str, Any]:
    """The JSON or YAML object in a file, `-` standing for standard input; Failure otherwise."""
    name = "standard input" if str(path) == "-" else str(path)
    try:
        text = sys.stdin.read(_MOST + 1) if str(path) == "-" else _text(path)
    except UnicodeDecodeError as error:
        raise Failure(f"{name} is not text in UTF-8.") from error
    if len(text) > _MOST:
        raise Failure(f"{name} is larger than {_MOST // (1024 * 1024)} MiB.")
    value = _value(text, name)
    if not isinstance(value, dict):
        raise Failure(f'{name} does not hold an object, such as {{"name": …}}.')
    return value


def _text(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(_MOST + 1)


def _value(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith(("{", "[")) and name.endswith(".json"):
            raise Failure(f"{name} is not JSON: {error}") from error
    import yaml

    try:
        return _plain(yaml.safe_load(text), name)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise Failure(f"{name} is neither JSON nor YAML: {reason}") from error


def _plain(value: Any, name: str) -> Any:
    """The value as JSON has it; an alias can name the same thing a billion times, so bounded."""
    pieces, size = [], 0
    try:
        for piece in json.JSONEncoder().iterencode(value):
            size += len(piece)
            if size > _MOST:
                raise Failure(f"{name} is larger than {_MOST // (1024 * 1024)} MiB when read.")
            pieces.append(piece)
    except TypeError as error:
        raise Failure(
            f"{name} holds what JSON has not, such as a date: put it in quotes. ({error})"
        ) from error
    return json.loads("".join(pieces))


def object_of(pairs: Sequence[str], file: Path | None) -> dict[str, Any]:
    """The object in the file, with each NAME=VALUE over it; a value that is no JSON is text."""
    given = {} if file is None else read_object(file)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise Failure(f"{pair!r} is not NAME=VALUE.")
        try:
            given[name] = json.loads(text)
        except (ValueError, RecursionError):
            given[name] = text
    return given


def parsed_object(text: str | None, option: str) -> dict[str, Any]:
    """The JSON object that was given as an option, empty without; Failure for anything else."""
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise Failure(f"{option} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Failure(f'{option} must be a JSON object, such as \'{{"files": ["src"]}}\'')
    return value
