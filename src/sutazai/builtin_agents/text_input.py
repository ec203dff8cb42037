"""The metadata of a task about text, checked field by field before any work is done."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from sutazai.analysis.globs import InputError

MOST_TEXT = 1_000_000
"""Characters of text that a task may be about."""

_MOST_TOKENS = 32_768
_MOST_SCHEMA_BYTES = 64 * 1024


class PromptInput(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt; `is_random`: another answer to the same is wanted another time."""

    prompt: str
    system: str | None
    text: str | None
    schema: dict[str, Any] | None
    max_tokens: int
    is_random: bool


def parse_prompt(
    description: str, metadata: Mapping[str, Any], configuration: Mapping[str, Any]
) -> PromptInput:
    """What an `llm_prompt` asks for. Raises InputError naming the wrong field."""
    return PromptInput(
        prompt=text_of(metadata, "prompt") or description,
        system=text_of(metadata, "system"),
        text=text_of(metadata, "text"),
        schema=schema_of(metadata),
        max_tokens=whole_of(metadata, "max_tokens", usual=1024, most=_MOST_TOKENS),
        is_random=float(configuration.get("temperature", 0)) > 0,
    )


EXAMPLES: Mapping[str, Any] = {
    "prompt": "-",
    "system": "-",
    "text": "-",
    "schema": {"type": "object"},
    "max_tokens": 1,
}
"""A right value of each field that `wrong_field` looks at."""

_FIELD = re.compile(r"`(\w+)`")


def wrong_field(
    task_type: str, description: str, metadata: Mapping[str, Any]
) -> tuple[str, str] | None:
    """The first wrong field of such a task's metadata, and what is wrong; None where none is."""
    try:
        if task_type == "extraction":
            parse_extraction(metadata)
        else:
            parse_prompt(description, metadata, {})
    except InputError as error:
        named = _FIELD.search(str(error))
        return (named[1] if named else "", str(error))
    return None


class SummaryInput(msgspec.Struct, frozen=True, kw_only=True):
    """A text to summarise, None where files are named; `may_ask` a model, where there is one."""

    text: str | None
    sentences: int | None
    max_tokens: int
    may_ask: bool


class ExtractionInput(msgspec.Struct, frozen=True, kw_only=True):
    """A text, and the form of what is to be got out of it."""

    text: str
    schema: dict[str, Any]
    max_tokens: int


_OF_NAMED = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
_NAMES_FILES = ("file_path", "file", "files", "paths", "repository")


def parse_summary(metadata: Mapping[str, Any]) -> SummaryInput:
    """What a `summarization` asks for. Raises InputError naming the wrong field."""
    text = text_of(metadata, "text")
    if text is None and not any(metadata.get(field) for field in _NAMES_FILES):
        raise InputError("Give the `text` to summarise, or name `files` that have it.")
    sentences = metadata.get("max_sentences")
    if sentences is not None:
        sentences = whole_of(metadata, "max_sentences", usual=1, most=100)
    return SummaryInput(
        text=text,
        sentences=sentences,
        max_tokens=whole_of(metadata, "max_tokens", usual=600, most=_MOST_TOKENS),
        may_ask=metadata.get("model") is not False,
    )


def parse_extraction(metadata: Mapping[str, Any]) -> ExtractionInput:
    """What an `extraction` asks for. Raises InputError naming the wrong field."""
    text, schema = text_of(metadata, "text"), schema_of(metadata)
    if text is None:
        raise InputError("Give the `text` to extract from.")
    if schema is None:
        raise InputError("Give the `schema` of what to extract.")
    most = whole_of(metadata, "max_tokens", usual=1024, most=_MOST_TOKENS)
    return ExtractionInput(text=text, schema=schema, max_tokens=most)


def text_of(metadata: Mapping[str, Any], field: str) -> str | None:
    """A text that may be missing, but not be empty."""
    value = metadata.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"`{field}` must be a text that is not empty.")
    if len(value) > MOST_TEXT:
        raise InputError(f"`{field}` has over {MOST_TEXT:,} characters.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"`{field}` is not valid Unicode: it holds a lone surrogate.") from None
    return value


def whole_of(metadata: Mapping[str, Any], field: str, *, usual: int, most: int) -> int:
    """A whole number from 1 on."""
    value = metadata.get(field, usual)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InputError(f"`{field}` must be a whole number from 1 to {most:,}.")
    return value


def schema_of(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """A JSON schema of an object that refers to nothing outside itself."""
    schema = metadata.get("schema")
    if schema is None:
        return None
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise InputError('`schema` must be a JSON schema with "type": "object".')
    if len(msgspec.json.encode(schema)) > _MOST_SCHEMA_BYTES:
        raise InputError("`schema` is larger than 64 KiB.")
    try:
        refers_outside = _refers_outside(schema)
    except RecursionError:
        raise InputError("`schema` is nested too deeply.") from None
    if refers_outside:
        raise InputError("`schema` may refer to its own parts (`#/…`) only.")
    if _has_expressions(schema):
        raise InputError(
            "`schema` may not use `pattern` or `patternProperties`: some expressions hold a server "
            "up for years. List what is allowed as an `enum`."
        )
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        raise InputError(f"`schema` is no JSON schema: {error.message[:300]}.") from None
    return schema


def _has_expressions(schema: Any) -> bool:
    """Whether regular expressions are among the keywords; properties may have any name."""
    if isinstance(schema, list):
        return any(map(_has_expressions, schema))
    if not isinstance(schema, dict):
        return False
    for keyword, value in schema.items():
        if keyword in ("pattern", "patternProperties"):
            return True
        named = keyword in _OF_NAMED and isinstance(value, dict)
        if any(map(_has_expressions, value.values())) if named else _has_expressions(value):
            return True
    return False


def _refers_outside(part: Any) -> bool:
    if isinstance(part, list):
        return any(_refers_outside(one) for one in part)
    if not isinstance(part, dict):
        return False
    for key, one in part.items():
        if key in ("$ref", "$dynamicRef") and not str(one).startswith("#"):
            return True
        if key == "$id":
            return True
        if _refers_outside(one):
            return True
    return False
