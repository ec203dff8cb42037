"""Accounts, and moving money between them."""

from ledger.money import Money


class Unknown(Exception):
    """There is no such account."""


class Account:
    def __init__(self, name: str, balance: Money):
        self.name = name
        self.balance = balance
        self.closed = False


ACCOUNTS = [Account("rent", Money(90_000)), Account("food", Money(12_345))]


def find(name):
    """Find an account.

    Args:
        name: Its name.
        owner (str): Whose it is.

    Returns:
        The account.

    Raises:
        Unknown: If there is none.
    """
    for account in ACCOUNTS:
        if account.name == name:
            return account


def balance_of(name: str) -> int:
    account = find(name)
    return account.balance.cents


def transfer(source: str, target: str, cents: int, *, note: str = "") -> int:
    """Move money.

    Args:
        source: From which account.
        target: To which account.
        cents: How much.
        note: What for. Defaults to "transfer".
    """
    if cents <= 0:
        raise ValueError("nothing to move")
    left = balance_of(source) - cents
    gained = balance_of(target) + cents
    find(source).balance = Money(left)
    find(target).balance = Money(gained)
    return left
