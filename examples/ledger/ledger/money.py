"""Amounts in cents, never in floating point."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Money:
    cents: int
    currency: str = "EUR"

    def __str__(self):
        return f"{self.cents // 100}.{self.cents % 100:02} {self.currency}"

    def plus(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise ValueError("two currencies")
        return Money(self.cents + other.cents, self.currency)


def parse(text: str) -> Money:
    """Read an amount such as `12.50 EUR`.

    >>> str(parse("12.50 EUR"))
    '12.50 EUR'
    >>> parse("0.99 USD").cents
    100
    """
    amount, _, currency = text.partition(" ")
    whole, _, rest = amount.partition(".")
    return Money(int(whole) * 100 + int(rest or 0), currency or "EUR")


def split(total: int, parts: int) -> list[int]:
    if parts < 1:
        raise ValueError("at least one part")
    share, rest = divmod(total, parts)
    return [share + (index < rest) for index in range(parts)]


def fee(cents: int, percent: int = 2) -> int:
    return max(1, cents * percent // 100)
