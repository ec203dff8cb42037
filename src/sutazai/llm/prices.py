"""What tokens cost: only what the settings say, and nothing on the own machine."""

from collections.abc import Mapping

import msgspec

_MILLION = 1_000_000
ANY = "*"


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """USD for a million tokens."""

    input: float
    output: float


class Prices:
    """A table by the models' names; `*` stands for all others."""

    def __init__(self, table: Mapping[str, Price], *, is_local: bool) -> None:
        self._table = table
        self._is_local = is_local

    def cost(self, model: str, *, input_tokens: int, output_tokens: int) -> float | None:
        """USD; None where the table has no price for a model that is not on this machine."""
        price = self._table.get(model) or self._table.get(ANY)
        if price is None:
            return 0.0 if self._is_local else None
        return (price.input * input_tokens + price.output * output_tokens) / _MILLION
