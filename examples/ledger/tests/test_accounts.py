"""Tests of the accounts; the last one fails, on purpose."""

from ledger import accounts, money


def test_parts_add_up():
    assert money.split(100, 3) == [34, 33, 33]


def test_a_fee_is_never_nothing():
    assert money.fee(10) == 1


def test_money_moves():
    assert accounts.transfer("rent", "holidays", 100) == 89_900
