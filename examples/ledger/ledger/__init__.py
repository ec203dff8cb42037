"""Accounts and the money in them."""

from ledger.accounts import Account, find, transfer
from ledger.money import Money, parse, split

__all__ = ["Account", "Money", "find", "parse", "split", "transfer"]
