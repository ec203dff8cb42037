"""Answers of a form: JSON that follows a schema, found in what a model says around it."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")

_MOST_SAID = 400
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_MOST_FOLLOWED = 2_000


class StructForm(Generic[T]):
    """A msgspec type; `check` may find more wrong than the type can say, by raising ValueError."""

    def __init__(self, of: type[T], check: Callable[[T], None] | None = None) -> None:
        self._decoder = msgspec.json.Decoder(of)
        self._check = check
        self.schema: dict[str, Any] = _inlined(msgspec.json.schema(of))

    def read(self, text: str) -> T:
        """See `Form.read`."""
        try:
            value = self._decoder.decode(json_in(text))
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(str(error)) from None
        if self._check is not None:
            self._check(value)
        return value


class SchemaForm:
    """A JSON schema that a user gave, without regular expressions.

    How often it refers to its parts while an answer is checked is bounded, because a schema of a
    few lines can do so for years.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        from jsonschema import validators

        self.schema = schema
        self._followed = 0
        usual = validators.validator_for(schema)
        counted = {
            keyword: self._counted(usual.VALIDATORS[keyword])
            for keyword in _REFERENCES
            if keyword in usual.VALIDATORS
        }
        extend: Callable[..., Any] = validators.extend
        self._validator = extend(usual, counted)(schema)

    def _counted(self, follow: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
        def counting(*arguments: Any) -> Iterator[Any]:
            self._followed += 1
            if self._followed > _MOST_FOLLOWED:
                raise ValueError("the schema refers to its parts too often to be checked")
            yield from follow(*arguments) or ()

        return counting

    def read(self, text: str) -> Any:
        """See `Form.read`."""
        try:
            value = json.loads(json_in(text))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from None
        try:
            self.check(value)
        except RecursionError:
            raise ValueError("nested too deeply to be checked") from None
        return value

    def check(self, value: Any) -> None:
        """Raises ValueError with the first few things wrong."""
        wrong = []
        self._followed = 0
        for error in self._validator.iter_errors(value):
            wrong.append(f"{error.json_path}: {error.message[:_MOST_SAID]}")
            if len(wrong) == 3:
                break
        if wrong:
            raise ValueError("; ".join(wrong))


def json_in(text: str) -> str:
    """The JSON object in an answer, without the words or the code fence around it."""
    begin, end = text.find("{"), text.rfind("}")
    return text[begin : end + 1] if 0 <= begin < end else text


def _inlined(document: dict[str, Any]) -> dict[str, Any]:
    """The schema without references, which not every server follows; our types do not recur."""
    definitions = document.get("$defs", {})

    def resolve(part: Any) -> Any:
        if isinstance(part, list):
            return [resolve(one) for one in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return resolve(definitions[part["$ref"].rsplit("/", 1)[-1]])
        return {key: resolve(one) for key, one in part.items() if key != "$defs"}

    resolved: dict[str, Any] = resolve(document)
    return resolved
